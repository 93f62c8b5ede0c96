"""The comparison as a person sees it: the page, and a real MLflow server's pages, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
import report_folders
from browser import Browser, browser
from mlflow_server import Server

from launch import compare
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow import sync

PHONE, DESK = 375, 1100
# Boxes of what is shown, and of its texts, in CSS pixels.
PLOTS = """[...document.querySelectorAll('svg[role=img]')].filter(one => one.checkVisibility()).map(one => {
  const box = one.getBoundingClientRect();
  const texts = [...one.querySelectorAll('text')].map(text => {
    const at = text.getBoundingClientRect();
    return {text: text.textContent, left: at.left, right: at.right, top: at.top, bottom: at.bottom};
  });
  return {label: one.getAttribute('aria-label'), lineage: one.classList.contains('lineage'), texts,
    marks: one.querySelectorAll('path, rect').length,
    width: box.width, height: box.height, left: box.left, right: box.right, top: box.top, bottom: box.bottom};
})"""
LINKS = "[...document.querySelectorAll('a')].map(one => one.href.baseVal ?? one.getAttribute('href'))"
COLOURS = "[document.body, document.querySelector('section p, section td')].map(one => getComputedStyle(one))"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of every kind of run."""
    folder = tmp_path_factory.mktemp("page")
    report_folders.write_all(folder / "runs", "browser")
    compare.main([str(folder / "runs"), "--output", str(folder / "report.html")])
    return folder / "report.html"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


def overlapping(texts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of texts that are written over each other by more than a pixel."""
    return [
        (one["text"], two["text"])
        for i, one in enumerate(texts)
        for two in texts[i + 1 :]
        if min(one["right"], two["right"]) - max(one["left"], two["left"]) > 1
        and min(one["bottom"], two["bottom"]) - max(one["top"], two["top"]) > 1
    ]


@pytest.mark.parametrize(("width", "dark"), [(DESK, False), (DESK, True), (PHONE, False)])
def test_the_page_opens_and_every_plot_is_whole_and_legible(tab: Browser, page: Path, width: int, dark: bool) -> None:
    tab.errors.clear()
    tab.open(page.as_uri(), width, dark=dark)
    assert tab.errors == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    plots = [one for one in tab.evaluate(PLOTS) if not one["lineage"]]
    labels = {one["label"] for one in plots}
    assert {"Loss against tokens", "Validation loss against training FLOPs", "piqa: accuracy"} <= labels
    assert {"test accuracy against transferred blocks", "two-digit-addition: exact"} <= labels
    for one in plots:
        assert one["width"] > 250, one["label"]
        assert one["height"] > 150, one["label"]
        assert one["marks"] > 3, one["label"]
        assert overlapping(one["texts"]) == [], one["label"]
        for text in one["texts"]:
            inside = one["left"] - 1 <= text["left"] and text["right"] <= one["right"] + 1
            assert inside and one["top"] - 1 <= text["top"] and text["bottom"] <= one["bottom"] + 1, text
    ink = tab.evaluate(f"{COLOURS}.map(one => one.color)[1]")
    paper = tab.evaluate(f"{COLOURS}.map(one => one.backgroundColor)[0]")
    assert (brightness(paper) < brightness(ink)) is dark


def brightness(colour: str) -> float:
    return sum(float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_every_link_leads_somewhere(tab: Browser, page: Path) -> None:
    tab.open(page.as_uri())
    links = tab.evaluate(LINKS)
    anchors = {link for link in links if link.startswith("#")}
    folders = {link for link in links if not link.startswith("#")}
    assert len(anchors) > 10
    for link in anchors:
        assert tab.evaluate(f"document.getElementById({link[1:]!r}) !== null"), link
    assert folders == {f"runs/{name}/" for size in report_folders.SIZES for name in (size, f"suite-{size}")}
    for link in folders:
        assert (page.parent / unquote(urlparse(link).path) / "run.json").is_file(), link
    tab.evaluate("document.querySelector('svg.lineage a').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert tab.evaluate("document.querySelector(':target').tagName") == "TR"


@pytest.mark.slow
def test_mlflow_shows_runs_with_their_settings_and_the_comparison(tab: Browser, tmp_path: Path) -> None:
    server = Server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    server.start()
    try:
        for folder in report_folders.write_all(tmp_path / "runs", "shown"):
            sync(folder, server.uri)
        output = tmp_path / "report.html"
        compare.main(["--uri", server.uri, "--experiment", "shown", "--output", str(output)])
        client = connect(server.uri)
        experiment = client.get_experiment_by_name("shown").experiment_id
        runs = {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}
        pages = f"{server.uri}/#/experiments/{experiment}/runs"
        tab.open(pages)
        for name in ("tiny", "suite-tiny", "layers", "comparison-report"):
            tab.wait(f"document.body.innerText.includes({name!r})")
        tab.open(f"{pages}/{runs['comparison-report']}")
        tab.wait("document.body.innerText.includes('Power laws') || document.body.innerText.includes('Pretraining')")
        tab.open("about:blank")
        tab.open(f"{pages}/{runs['comparison-report']}/artifacts/report.html")
        tab.wait("document.body.innerText.includes('report.csv')")
        # The links of the page itself lead back to the server.
        tab.open(output.as_uri())
        link = f"{pages}/{runs['tiny']}"
        assert link in tab.evaluate(LINKS)
        tab.open(link)
        tab.wait("document.body.innerText.includes('optimizer.lr')")
    finally:
        server.kill()
