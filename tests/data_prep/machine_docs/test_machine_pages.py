import gzip
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from data_prep.configfile import Settings
from data_prep.machine_docs import sources
from data_prep.machine_docs.pages import MachinePagesStage, Page, PagesSettings, encode
from data_prep.stage import PROGRESS, TaskOutput

SMALL = PagesSettings(modules_per_package=3, standard_modules=4, packages=("python", "click", "pytest"), parts=2)


def make(folder: Path, settings: Settings = SMALL) -> MachinePagesStage:
    """Every task of the stage, in this process, last one first."""
    stage = MachinePagesStage(str(folder), settings, {}, {})
    for task in reversed(stage.plan()):
        with TaskOutput(stage, task) as out:
            stage.run_task(task, out)
    return stage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages")
    make(path)
    return path


def records(folder: Path) -> dict[str, tuple[str, bytes]]:
    found = {}
    for path in sorted(folder.glob("part-*.warc.gz")):
        with path.open("rb") as handle:
            for record in ArchiveIterator(handle, check_digests="raise"):
                assert record.rec_type == "response"
                assert record.http_headers.get_statuscode() == "200"
                url = record.rec_headers.get_header("WARC-Target-URI")
                assert url not in found
                found[url] = (record.http_headers.get_header("Content-Type"), record.content_stream().read())
    return found


def test_pages_of_each_kind_stand_under_documentation_addresses(folder: Path) -> None:
    pages = records(folder)
    modules = [url for url in pages if url.startswith("https://docs.python.org/3/library/")]
    assert len(modules) == 4
    assert len([url for url in pages if url.startswith("https://click.readthedocs.io/en/stable/click.")]) == 3
    assert b"Rendered from source" in pages["https://pypi.org/project/click/"][1]
    kind, licence = next(p for url, p in pages.items() if url.startswith("https://github.com/click/click/blob/main/"))
    assert kind == "text/plain"
    assert b"Redistribution" in licence
    assert "https://docs.python.org/3/reference/with.html" in pages


def test_every_record_is_a_gzip_member_of_its_own(folder: Path) -> None:
    data = (folder / "part-00000.warc.gz").read_bytes()
    assert gzip.decompress(data).count(b"WARC/1.0\r\n") == data.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00")


def test_the_index_lists_the_pages(folder: Path) -> None:
    import orjson

    rows = [orjson.loads(line) for p in (folder / "index").iterdir() for line in p.read_bytes().splitlines()]
    assert {row["url"] for row in rows} == set(records(folder))
    assert {row["package"] for row in rows} == {"python", "click", "pytest"}
    assert all(row["title"] for row in rows)


def test_the_same_machine_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    make(tmp_path)
    made = [path for path in sorted(folder.rglob("*.*")) if PROGRESS not in path.parts]  # it says how long it took
    assert made
    for path in made:
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_no_path_of_this_machine_is_told(folder: Path) -> None:
    home = str(Path(pytest.__file__).parent.parent).encode()
    assert not [url for url, (_, body) in records(folder).items() if home in body]


def test_installed_lists_the_standard_library_and_not_this_project() -> None:
    names = [package.name for package in sources.installed()]
    assert names == sorted(set(names))
    assert "python" in names
    assert "click" in names
    assert "webtext-pipeline" not in names


def test_modules_leave_out_tests_and_vendored_code() -> None:
    pip = next(p for p in sources.installed() if p.name == "pip")
    names = [module.name for module in sources.modules(pip, 10**6)]
    assert names
    assert not [name for name in names if "_vendor" in name]


def test_some_pages_are_not_utf8_and_some_say_something_else() -> None:
    kinds = set()
    for i in range(300):
        page = Page(f"https://e.org/{i}", "t", "<html><head></head>caf\u00e9</html>", "text/html")
        body, kind = encode(page)
        if b"caf\xe9" in body:
            kinds.add("windows-1252 " + ("header" if "windows" in kind else "meta" if b"<meta" in body else "silent"))
        else:
            kinds.add("utf-8 as " + kind.partition("charset=")[2])
    assert kinds == {
        "windows-1252 header",
        "windows-1252 meta",
        "windows-1252 silent",
        "utf-8 as utf-8",
        "utf-8 as iso-8859-1",
    }


def test_text_outside_windows_1252_is_always_utf8() -> None:
    for i in range(50):
        body, kind = encode(Page(f"https://e.org/{i}", "t", "<head></head>\u4e2d", "text/html"))
        assert "\u4e2d".encode() in body
        assert kind == "text/html; charset=utf-8"
