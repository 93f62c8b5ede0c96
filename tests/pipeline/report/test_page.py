import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_runs import all_runs, comparison, evaluate_run, finetune_run, pretrain_run

from pipeline.report import page
from pipeline.report.files import write
from pipeline.report.runs import RunView
from pipeline.report.sections import analyse

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "link", "br", "use", "path", "rect"}


class Reader(HTMLParser):
    """Checks that tags close in order, and collects text, what a browser would load, and where links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        addresses = [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "data", "srcset")]
        if tag == "a":
            self.links += addresses
        elif tag != "use":  # those are marks within a plot
            self.loaded += addresses
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_everything_itself() -> None:
    text = page.render(analyse(comparison()), NOW, Path())
    reader = Reader(text)
    assert all(address.startswith("data:") for address in reader.loaded)
    assert all(address.startswith("#") for address in reader.links)  # nothing is known of where these runs lie
    assert "script" not in reader.tags
    assert not re.findall(r"@import|url\((?!#)", text)
    words = " ".join(reader.words)
    for expected in (
        *("61,234 → 48,110 rows", "9,120", "karma <3>"),
        *("unigram entropy 6.50", "fast 4.00", "slow 5.00", "best validation loss"),
        *("pretrained 80 %", "random 55 %", "majority class 20 %", "+25.0 points"),
        *("41.2 ± 2.1 %", "digest digest-f", "2026-01-02 03:04 UTC", "7 runs"),
    ):
        assert expected in words, expected


def test_names_are_shown_and_not_interpreted() -> None:
    evil = RunView("x", "<script>alert(1)</script>", "pretrain", params={"a": "<b>"}, curves={"val/loss": [(1, 2.0)]})
    reader = Reader(page.render(analyse(comparison([evil])), NOW, Path()))
    assert "script" not in reader.tags
    assert "<script>alert(1)</script>" in reader.words


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [pretrain_run("only", "1", 4.0)],
        [finetune_run("random", 0.5)],
        [evaluate_run()],
        [RunView("x", "just begun", "pretrain", "RUNNING")],
        all_runs()[:1],
    ],
)
def test_few_runs_make_a_shorter_page(runs: list[RunView]) -> None:
    reader = Reader(page.render(analyse(comparison(runs)), NOW, Path()))
    assert ("No runs" in reader.words) is (not runs)


def test_page_markdown_and_csv_are_written_side_by_side(tmp_path: Path) -> None:
    written = write(tmp_path / "new" / "report.html", analyse(comparison()), NOW)
    assert [path.name for path in written] == ["report.html", "report.md", "report.csv"]
    assert written[0].read_text().endswith("</html>\n")


def test_a_run_is_a_link_to_its_page_or_its_folder(tmp_path: Path) -> None:
    on_server = RunView("a", "a", "pretrain", url="http://tracking:5000/#/experiments/1/runs/a", folder="/elsewhere")
    on_disk = RunView("b", "b", "pretrain", folder=str(tmp_path / "runs" / "b c"))
    assert page.address(on_server, tmp_path) == on_server.url
    assert page.address(on_disk, tmp_path / "reports") == "../runs/b%20c/"
    links = Reader(page.render(analyse(comparison([on_server, on_disk])), NOW, tmp_path / "reports")).links
    assert {on_server.url, "../runs/b%20c/", "#run-a", "#run-b"} <= set(links)
