from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import finished_corpus
import pytest
import small_web

from data_prep.corpus import Corpus
from data_prep.errors import UserError
from data_prep.report import build
from data_prep.report.published import TOP_DOMAINS, read_domains

VOID = {"meta", "link", "br"}


class Balance(HTMLParser):
    """Collects the text, and fails on tags that do not close."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.resources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action"):
                self.resources.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def corpus(finished_config: Path, tmp_path: Path) -> Corpus:
    return Corpus.open(str(finished_corpus.copied(finished_config, tmp_path / "corpus")))


def test_the_page_is_self_contained_and_shows_every_part(corpus: Corpus) -> None:
    made = build.make(corpus)
    assert made.stage == "near-dedup"
    assert made.page == f"{corpus.root}/report/near-dedup.html"
    page = Path(made.page).read_text()
    parsed = Balance()
    parsed.feed(page)
    assert parsed.open == []
    assert parsed.resources == ["data:,"]
    assert "<script" not in page
    assert not re.search(r"url\(|@import|https?://[^ <\"]*\.(js|css|png|woff)", page)
    text = " ".join(parsed.text)
    for part in ("Funnel", "Lengths", "Languages", "Domains", "Dates and karma", "Left out, by reason", "Samples"):
        assert part in text
    assert "near-dedup: near-duplicate" in text
    assert "45M" in text
    assert "40 GB" in text


def test_the_figures_are_those_of_the_corpus(corpus: Corpus) -> None:
    made = build.make(corpus)
    data = json.loads(Path(made.figures).read_text())
    view = corpus.stage("near-dedup")
    assert view.manifest is not None
    assert data["digest"] == view.manifest.digest
    assert data["page"]["sha256"] == hashlib.sha256(Path(made.page).read_bytes()).hexdigest()
    metrics = data["metrics"]
    assert metrics["documents"] == small_web.PAGES
    assert metrics["language/en"] == 1.0
    assert metrics["domains/different"] == 3
    assert metrics["share_of_links"] == pytest.approx(small_web.PAGES / 90)
    assert metrics["text_bytes"] == view.manifest.totals.extra.get("bytes", metrics["text_bytes"])
    assert build.load_figures(corpus, view) == metrics


def test_the_same_corpus_gives_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    once = build.make(corpus, output=f"{tmp_path}/a.html")
    again = build.make(corpus, output=f"{tmp_path}/b.html")
    assert Path(once.page).read_bytes() == Path(again.page).read_bytes()
    assert once.figures == f"{tmp_path}/a.json"


def test_a_stage_before_the_language_filter(corpus: Corpus) -> None:
    made = build.make(corpus, "pages")
    assert "Not detected yet at this stage" in Path(made.page).read_text()
    assert made.metrics["documents"] == 90
    assert made.metrics["language/none"] == 1.0


def test_text_of_the_web_cannot_break_the_page(tmp_path: Path, finished_config: Path) -> None:
    from small_corpus import document, write_documents

    from data_prep.corpus import StageView
    from data_prep.report.measure import measure
    from data_prep.report.page import Content, render

    row = document(1, "<script>alert(1)</script> \x1b[2J \u202e" + "word " * 50, url="https://x.org/?<b>")
    measures = measure(write_documents(tmp_path, [{**row, "language": '"><i>'}]), lambda n: None)
    funnel: list[StageView] = []
    page = render(Content("<name>", "/r", "filter", "0" * 64, funnel, 0, measures, [], dict(TOP_DOMAINS)))
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    parsed = Balance()
    parsed.feed(page)
    assert parsed.open == []


def test_bad_stages_are_named(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="the stage links makes no documents; give one of pages, filter"):
        build.make(corpus, "links")
    with pytest.raises(UserError, match="unknown stage 'fliter'; did you mean filter"):
        build.make(corpus, "fliter")
    assert not Path(corpus.root, "report").exists()


def test_the_list_of_domains(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt"
    path.write_text("5 b\n20068 \n7 a\n")
    assert list(read_domains(str(path)).items()) == [("a", 7), ("b", 5)]
    path.write_text("5 b\nb 5\n")
    with pytest.raises(UserError, match=r"domains\.txt:2: not a line"):
        read_domains(str(path))
    with pytest.raises(UserError, match="cannot be read"):
        read_domains(str(tmp_path / "none"))
    assert [count for _, count in TOP_DOMAINS] == sorted((count for _, count in TOP_DOMAINS), reverse=True)
