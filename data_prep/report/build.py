"""Makes the report of one stage: measures its documents, writes the page and its figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_prep import inspect, store
from data_prep.corpus import Corpus, StageView
from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from data_prep.report.measure import Measures, measure
from data_prep.report.page import Content, Removed, render
from data_prep.report.published import TOP_DOMAINS, read_domains

REPORTS = "report"
"""Folder of a corpus: `STAGE.html` and `STAGE.json` for each stage that was reported."""
FORMAT = 1
_EXAMPLES = 3


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        page: path of the page.
        figures: path of its figures.
        stage: the stage reported.
        metrics: figures by name.
    """

    page: str
    figures: str
    stage: str
    metrics: Mapping[str, float]


def make(corpus: Corpus, stage: str | None = None, output: str | None = None, domains: str | None = None) -> Report:
    """Measure the documents of a stage and write `report/STAGE.html` and `.json` under the root.

    Args:
        corpus: the corpus.
        stage: name of the stage; None for the last complete one that makes documents.
        output: another path for the page; the figures stand beside it, with the ending .json.
        domains: OpenAI's domains.txt; None for the first twenty of its domains.

    Raises:
        UserError: the stage is not complete or makes no documents; the file of domains cannot be read; a full disk.
    """
    known = corpus.document_stages()
    view = known[-1] if stage is None else corpus.complete(stage)
    refs = view.documents
    if not refs:
        names = ", ".join(item.name for item in known)
        raise UserError(f"the stage {view.name} makes no documents", where=view.folder, fix=f"give one of {names}")
    webtext = dict(TOP_DOMAINS) if domains is None else read_domains(domains)
    with ProgressBar("report", sum(ref.rows or 0 for ref in refs), "documents") as bar:
        measures = measure(refs, bar.update)
    funnel = [item for item in corpus.stages[: corpus.stages.index(view) + 1] if item.manifest is not None]
    assert view.manifest is not None
    content = Content(
        corpus.name,
        corpus.root,
        view.name,
        view.manifest.digest,
        funnel,
        next((item.manifest.totals.rows_out for item in funnel if item.name == "links" and item.manifest), None),
        measures,
        _removed(corpus, funnel),
        webtext,
    )
    page = render(content).encode()
    path = output or store.join(corpus.root, REPORTS, f"{view.name}.html")
    figures = path.removesuffix(".html") + ".json"
    metrics = figures_of(measures, webtext, content.links)
    store.write_bytes(path, page)
    store.write_json(
        figures,
        {
            "format": FORMAT,
            "stage": view.name,
            "digest": view.manifest.digest,
            "page": {"name": path.rpartition("/")[2], "sha256": hashlib.sha256(page).hexdigest()},
            "metrics": metrics,
        },
    )
    return Report(path, figures, view.name, metrics)


def figures_of(m: Measures, webtext: Mapping[str, int], links: int | None) -> dict[str, float]:
    """The page's figures by name, for tracking."""
    found: dict[str, float] = {"documents": m.documents, "text_bytes": m.text_bytes}
    for name, histogram in (("characters", m.characters), ("words", m.words), ("karma", m.karma)):
        if histogram.count:
            found |= {
                f"{name}/{label}": histogram.quantile(q) for label, q in (("p5", 0.05), ("p50", 0.5), ("p95", 0.95))
            }
            found |= {f"{name}/mean": histogram.mean, f"{name}/least": histogram.least, f"{name}/most": histogram.most}
    if m.documents:
        top = sorted(m.languages.items(), key=lambda item: (-item[1], item[0]))[:20]
        found |= {f"language/{name or 'none'}": count / m.documents for name, count in top}
        found["domains/in_webtext_list"] = sum(m.domains.count(name) for name in webtext) / m.documents
    if not m.domains.error:
        found["domains/different"] = len(m.domains)
    if links:
        found["share_of_links"] = m.documents / links
    return found


def load_figures(corpus: Corpus, view: StageView) -> Mapping[str, Any] | None:
    """The figures of the report of a stage as it is now; None if there is none."""
    path = store.join(corpus.root, REPORTS, f"{view.name}.json")
    if view.manifest is None or not store.exists(path):
        return None
    data: Mapping[str, Any] = store.read_json(path)
    return data["metrics"] if data.get("digest") == view.manifest.digest else None


def _removed(corpus: Corpus, stages: list[StageView]) -> list[Removed]:
    found = []
    for view in stages:
        if view.step.funnel:
            examples = inspect.examples(corpus, view, _EXAMPLES)
            found += [Removed(reason, examples.get(reason.reason, [])) for reason in inspect.reasons(view)]
    return found
