"""The machine-pages stage: documentation of installed packages as WARC files."""

from __future__ import annotations

import ast
import gc
import hashlib
import io
import sys
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

import orjson
from pydantic import Field
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data_prep.configfile import Count, Settings
from data_prep.keyed import draw
from data_prep.machine_docs import render, sources
from data_prep.machine_docs.sources import STANDARD_LIBRARY, Package
from data_prep.stage import Stage, Task, TaskOutput

WARCS = "part-"
INDEX = "index/"
_DATE = "2024-01-01T00:00:00Z"
_SEED = 1
_TOO_LARGE = "over the size limit"
_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122 name space "URL"


class PagesSettings(Settings):
    """How much documentation is taken.

    Attributes:
        modules_per_package: modules of one package, those with most documentation first.
        standard_modules: modules of the standard library.
        largest_source: bytes; longer source files are left out.
        largest_page: bytes; longer pages are left out.
        bytes_per_package: bytes of module pages taken from one package.
        texts_per_package: licence files, and word lists, of one package.
        packages: names to take; empty for all that are installed.
        parts: number of WARC files.
    """

    modules_per_package: Count = Field(default=20, ge=1)
    standard_modules: Count = Field(default=200, ge=1)
    largest_source: Count = Field(default=120_000, ge=1)
    largest_page: Count = Field(default=80_000, ge=1)
    bytes_per_package: Count = Field(default=250_000, ge=1)
    texts_per_package: Count = Field(default=12, ge=0)
    packages: tuple[str, ...] = ()
    parts: int = Field(default=8, ge=1)


@dataclass(frozen=True)
class Page:
    """One page of the archive.

    Attributes:
        url: where it is said to stand.
        title: one line.
        body: HTML or plain text.
        content_type: "text/html" or "text/plain".
    """

    url: str
    title: str
    body: str | bytes
    content_type: str


class MachinePagesStage(Stage):
    """Renders the documentation of installed packages into `part-TTTTT.warc.gz`, and lists them in `index/`.

    Packages are dealt to the parts in order of name. What a task writes depends on its packages' names and versions,
    which are part of the plan. Held in memory: one package's file list, one source file and its page.
    """

    name: ClassVar[str] = "machine-pages"
    settings: PagesSettings

    def plan(self) -> list[Task]:
        """A task for each WARC file."""
        wanted = set(self.settings.packages)
        found = [[p.name, p.version] for p in sources.installed() if not wanted or p.name in wanted]
        parts = self.settings.parts
        python = list(sys.version_info[:3])  # the parser decides what a page shows
        return [Task(i, {}, {"packages": found[i::parts], "python": python}) for i in range(parts)]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Write one WARC file and its index of addresses and titles."""
        index = out.file(f"{INDEX}part-{task.index:05d}.jsonl")
        writer = WARCWriter(out.file(f"{WARCS}{task.index:05d}.warc.gz"), gzip=True)
        packages = [Package(*item) for item in task.params["packages"]]
        for done, package in enumerate(packages):
            out.advance(done, len(packages), "packages")
            for page in package_pages(package, self.settings, out):
                body, content_type = encode(page)
                _write(writer, page.url, body, content_type)
                index.write(orjson.dumps({"url": page.url, "title": page.title, "package": package.name}) + b"\n")
                out.rows_out += 1
                out.extra["bytes"] += len(body)


def package_pages(package: Package, settings: PagesSettings, out: TaskOutput) -> Iterator[Page]:
    """All pages of one package; counts in `out` what is left out."""
    yield from _module_pages(package, settings, out)
    yield from _chapters(package, out)
    text, kind = sources.readme(package)
    if text.strip():
        out.rows_in += 1
        body = _page(package, f"{package.name} - PyPI", render.readme(text, kind))
        yield Page(f"https://pypi.org/project/{package.name}/", f"{package.name} {package.version}", body, "text/html")
        if draw(_SEED, "encyclopedia", package.name) < 0.1:
            # The same text as an encyclopedia article, so that the removal of Wikipedia has something to find.
            out.rows_in += 1
            yield Page(f"https://en.wikipedia.org/wiki/{package.name}", package.name, body, "text/html")
    kinds = [("licence", sources.licences(package)), ("word list", sources.word_lists(package))]
    for label, texts in kinds:
        for text_file in texts[: settings.texts_per_package]:
            out.rows_in += 1
            if len(text_file.data) > settings.largest_page:
                out.skip(_TOO_LARGE)
                continue
            url = f"https://github.com/{package.name}/{package.name}/blob/main/{quote(text_file.name)}"
            yield Page(url, f"{label} of {package.name}: {text_file.name}", text_file.data, "text/plain")


def _module_pages(package: Package, settings: PagesSettings, out: TaskOutput) -> Iterator[Page]:
    standard = package.name == STANDARD_LIBRARY
    left = settings.standard_modules if standard else settings.modules_per_package
    room = settings.bytes_per_package * (10 if standard else 1)
    for module in sources.modules(package, settings.largest_source):
        if left == 0 or room <= 0:
            break
        out.rows_in += 1
        try:
            tree = _parse(module.path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):
            out.skip("not valid source for this Python")  # templates, or code for another version
            continue
        synopsis, content = render.module(module.name, tree)
        body = _page(package, f"{module.name} - {package.name} documentation", content)
        if not content:
            out.skip("no documentation of public names")
            continue
        if len(body) > settings.largest_page:
            out.skip(_TOO_LARGE)
            continue
        if standard:
            url = f"https://docs.python.org/3/library/{module.name}.html"
        else:
            url = f"https://{package.name}.readthedocs.io/en/stable/{module.name}.html"
        left, room = left - 1, room - len(body)
        yield Page(url, f"{module.name}: {synopsis}" if synopsis else module.name, body, "text/html")


def _parse(source: bytes) -> ast.Module:
    # A tree is many small objects without cycles; collecting garbage meanwhile doubles the time.
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in other people's source
            return ast.parse(source)
    finally:
        gc.enable()


def _chapters(package: Package, out: TaskOutput) -> Iterator[Page]:
    for name, text in sorted(sources.topics(package).items()):
        out.rows_in += 1
        title = text.strip().partition("\n")[0]
        body = _page(package, f"{title} - Python documentation", "\n".join(render.prose(text)))
        yield Page(f"https://docs.python.org/3/reference/{name}.html", title, body, "text/html")


def _page(package: Package, title: str, content: str) -> str:
    home = f"https://pypi.org/project/{package.name}/"
    places = [("Home", "/"), ("Index", "/genindex.html"), ("Modules", "/modules.html"), (package.name, home)]
    return render.page(title, places, content, f"{package.name} {package.version} documentation. Rendered from source.")


def encode(page: Page) -> tuple[bytes, str]:
    """(body, Content-Type header) of a page.

    Nearly all are UTF-8 and say so. A few HTML pages, as on the web, are in Windows-1252 (declared in the header, in
    <meta>, or not at all) or are UTF-8 declared as something else.
    """
    if isinstance(page.body, bytes):
        return page.body, page.content_type
    chance = draw(_SEED, "encoding", page.url)
    western = page.body.encode("cp1252", errors="ignore")
    has_accents = not page.body.isascii() and western.decode("cp1252") == page.body
    if has_accents and chance < 0.10:
        return western, f"{page.content_type}; charset=windows-1252"
    if has_accents and chance < 0.15:
        return western.replace(b"<head>", b'<head>\n<meta charset="windows-1252">', 1), page.content_type
    if has_accents and chance < 0.20:
        return western, page.content_type
    if has_accents and chance < 0.25:
        return page.body.encode(), f"{page.content_type}; charset=iso-8859-1"
    body = page.body.encode("utf-8", errors="replace")
    return body.replace(b"<head>", b'<head>\n<meta charset="utf-8">', 1), f"{page.content_type}; charset=utf-8"


def _write(writer: WARCWriter, url: str, body: bytes, content_type: str) -> None:
    # Date and id come from the address, not from the clock, so that equal pages give equal bytes.
    identity = uuid.uuid5(_NAMESPACE, url + hashlib.sha256(body).hexdigest())
    headers = StatusAndHeaders(
        "200 OK",
        [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Server", "demo")],
        protocol="HTTP/1.1",
    )
    record = writer.create_warc_record(
        url,
        "response",
        payload=io.BytesIO(body),
        length=len(body),
        http_headers=headers,
        warc_headers_dict={"WARC-Date": _DATE, "WARC-Record-ID": f"<urn:uuid:{identity}>"},
    )
    writer.write_record(record)
