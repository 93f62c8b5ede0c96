"""What documentation text this machine has: modules, language reference, README and licence files, word lists."""

from __future__ import annotations

import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from data_prep.keyed import draw

STANDARD_LIBRARY = "python"
"""The name under which the standard library is listed among the packages."""

_SEED = 1
_LOOKED_AT = 300
_OWN_NAME = "webtext-pipeline"
_LICENCE = re.compile(r"licen[sc]e|copying|notice", re.IGNORECASE)
_NOT_DOCUMENTATION = re.compile(
    r"^(tests?|testing|_?vendor(ed)?|extern(al)?|_distutils|__main__|conftest|idlelib|turtledemo|lib2to3|antigravity|"
    r"ensurepip|pydoc_data|site-packages|dist-packages|config-.*|.*_pb2(_grpc)?|test_.*|.*_test)$",
    re.IGNORECASE,
)
_DOCSTRING = re.compile(rb'"""(.*?)"""', re.DOTALL)


@dataclass(frozen=True)
class Package:
    """An installed distribution, or the standard library.

    Attributes:
        name: normalised (lower case, dashes).
        version: as its metadata say.
    """

    name: str
    version: str


@dataclass(frozen=True)
class Module:
    """A module's dotted name and its source file."""

    name: str
    path: Path


@dataclass(frozen=True)
class Text:
    """A text file; `name` is relative to where the package keeps such files."""

    name: str
    data: bytes


def installed() -> list[Package]:
    """The standard library and every installed distribution but this one, sorted by name."""
    found = {STANDARD_LIBRARY: "{}.{}.{}".format(*sys.version_info[:3])}
    for distribution in metadata.distributions():
        name = normalised(distribution.metadata["Name"] or "")
        if name and name != _OWN_NAME:
            found.setdefault(name, distribution.version)  # the first one on sys.path is the one that is imported
    return [Package(name, version) for name, version in sorted(found.items())]


def normalised(name: str) -> str:
    """A distribution's name as package indexes spell it in addresses."""
    return re.sub(r"[-_.]+", "-", name).lower()


def modules(package: Package, largest_bytes: int) -> list[Module]:
    """Modules with source, the one with most documentation first; ties are settled by name.

    Of a large package only a part, drawn by keyed hash, is looked at, to bound the time.

    Args:
        package: where to look.
        largest_bytes: longer source files, mostly tables and generated code, are left out.
    """
    found = sorted(_source_files(package), key=lambda item: draw(_SEED, "module", f"{package.name} {item[0]}"))
    ranked = []
    for name, path in found[:_LOOKED_AT]:
        if path.stat().st_size > largest_bytes:
            continue
        prose = sum(len(text) for text in _DOCSTRING.findall(path.read_bytes()))
        if prose:
            ranked.append((-prose, name, path))
    return [Module(name, path) for _, name, path in sorted(ranked)]


def readme(package: Package) -> tuple[str, str]:
    """(text, content type) of the long description; empty text if there is none."""
    if package.name == STANDARD_LIBRARY:
        return "", ""
    data = metadata.metadata(package.name)
    payload = data.get_payload()  # type: ignore[attr-defined]
    text = payload if isinstance(payload, str) and payload.strip() else (data["Description"] or "")
    return text, (data["Description-Content-Type"] or "text/x-rst").partition(";")[0]


def licences(package: Package) -> list[Text]:
    """The licence files among the package's metadata."""
    found = []
    for name, path in _files(package):
        folder, _, inside = name.partition(".dist-info/")
        if inside and "/" not in folder and _LICENCE.search(inside):
            found.append((inside.removeprefix("licenses/"), path))
    return _read(found)


def word_lists(package: Package) -> list[Text]:
    """Lists of common words in many languages, which some text libraries carry."""
    return _read([(n, path) for n, path in _files(package) if "/stoplists/" in n and n.endswith(".txt")])


def _read(found: list[tuple[str, Path]]) -> list[Text]:
    return [Text(name, path.read_bytes()) for name, path in found if path.is_file()]


def topics(package: Package) -> dict[str, str]:
    """Chapters of Python's language reference as pydoc carries them; only for the standard library."""
    if package.name != STANDARD_LIBRARY:
        return {}
    try:
        from pydoc_data.topics import topics as found
    except ImportError:  # some systems package it separately
        return {}
    return dict(found)


def _source_files(package: Package) -> Iterator[tuple[str, Path]]:
    for name, path in _files(package):
        parts = name.removesuffix(".py").split("/")
        if not name.endswith(".py") or parts[0] == ".." or any(map(_NOT_DOCUMENTATION.match, parts)):
            continue
        dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if dotted and path.is_file():
            yield dotted, path


@lru_cache(maxsize=1)
def _files(package: Package) -> tuple[tuple[str, Path], ...]:
    """(path relative to where packages are installed, with forward slashes; path) of all files, sorted."""
    if package.name != STANDARD_LIBRARY:
        listed = metadata.files(package.name) or []
        return tuple(sorted((f.as_posix(), Path(str(f.locate()))) for f in listed))
    root = Path(sysconfig.get_path("stdlib"))
    tops = [p for p in root.iterdir() if p.stem in sys.stdlib_module_names and not p.name.startswith("_")]
    paths = [f for top in tops for f in (top.rglob("*.py") if top.is_dir() else [top])]
    return tuple(sorted((f.relative_to(root).as_posix(), f) for f in paths))
