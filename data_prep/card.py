"""The data card: what a corpus is, in Markdown, from its manifests alone.

Headings follow Gebru et al. 2021 (Datasheets for Datasets), the metadata block that of Hugging Face's dataset cards.
What the pipeline cannot know is left to whoever publishes the corpus, and said to be.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import yaml

from data_prep import __version__, store
from data_prep.configfile import flatten
from data_prep.corpus import Corpus, StageView
from data_prep.excerpt import printable
from data_prep.report.build import load_figures
from data_prep.report.page import size
from data_prep.report.published import CORPORA
from data_prep.shards import DatasetManifest
from data_prep.step import RAW

_SHOWN_FILES = 20
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_SIZES_ABOVE = ((10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B"))
_TO_FILL = "Not recorded by the pipeline; to be filled in by whoever publishes the corpus"


def render(corpus: Corpus) -> str:
    """The card of a corpus as Markdown; the same text for the same manifests.

    Raises:
        UserError: no stage that makes documents is complete.
    """
    documents = corpus.document_stages()[-1]
    complete = [view for view in corpus.stages if view.manifest is not None]
    by_name = {view.name: view for view in complete}
    dataset = DatasetManifest.load(by_name["shards"].folder) if "shards" in by_name else None
    parts = [
        _metadata(corpus, by_name, documents),
        f"# {_md(corpus.name)}\n",
        _summary(corpus, documents, dataset, by_name),
        _section("Motivation", _motivation()),
        _section("Composition", _composition(corpus, documents, dataset, by_name)),
        _section("Collection process", _sources(complete)),
        _section("Preprocessing, cleaning and filtering", _processing(complete)),
        _section("Uses", _uses(by_name)),
        _section("Distribution and licence", _licence()),
        _section("Maintenance", _maintenance(complete, dataset)),
        _section("Known limits", _limits(by_name)),
    ]
    return "\n".join(parts)


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body.strip()}\n"


def _md(value: object) -> str:
    """A value inside a line of Markdown: no character of it means anything."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in printable(str(value)))
    return escaped


def _code(value: object) -> str:
    return f"`{printable(str(value)).replace('`', chr(0x2019)).replace('|', chr(0xFF5C))}`"


def _plain(value: Any) -> str:
    """A setting as YAML spells it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    rule = "|".join("---" if i < left else "---:" for i in range(len(heads)))
    lines = [f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _totals(view: StageView) -> Any:
    assert view.manifest is not None
    return view.manifest.totals


def _settings(by_name: Mapping[str, StageView], stage: str) -> dict[str, Any]:
    view = by_name.get(stage)
    return {} if view is None or view.manifest is None else flatten(view.manifest.settings)


def _metadata(corpus: Corpus, by_name: Mapping[str, StageView], documents: StageView) -> str:
    rows = _totals(documents).rows_out
    category = next((name for limit, name in (*_SIZES, *_SIZES_ABOVE) if rows < limit), "10B<n<100B")
    front: dict[str, Any] = {"pretty_name": corpus.name, "license": "other"}
    if languages := _targets(by_name):
        front["language"] = languages
    front |= {"size_categories": [category], "task_categories": ["text-generation"], "tags": ["webtext", "pretraining"]}
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n"


def _targets(by_name: Mapping[str, StageView]) -> list[str]:
    """Languages that the filter kept."""
    target = _settings(by_name, "filter").get("language.target")
    return [target] if isinstance(target, str) else [str(item) for item in target or []]


def _summary(
    corpus: Corpus, documents: StageView, dataset: DatasetManifest | None, by_name: Mapping[str, StageView]
) -> str:
    lines = [
        f"{_totals(documents).rows_out:,} documents: text of web pages that Reddit submissions link to, made by "
        f"`data-prep` {__version__} after the description of WebText (Radford et al. 2019, section 2.1).",
        "",
        f"State: the stage {_code(documents.name)}"
        + ("" if documents.name == "near-dedup" else " (the last complete one that makes documents)")
        + (f"; token dataset {_code(dataset.digest[:16])}." if dataset else "; no token shards yet."),
        "",
    ]
    return "\n".join(lines)


def _motivation() -> str:
    paper = CORPORA[0]
    return (
        "To pretrain language models on a corpus whose every step can be traced and repeated, as near to WebText as "
        f"what was published about it allows. For comparison, WebText: {paper.links:,} links, slightly over "
        f"{paper.documents:,} documents, {size(paper.text_bytes or 0)} ({paper.source}).\n\n"
        f"{_TO_FILL}: who built it, for whom, and who paid."
    )


def _composition(
    corpus: Corpus, documents: StageView, dataset: DatasetManifest | None, by_name: Mapping[str, StageView]
) -> str:
    parts = [
        "One instance is one web page: `id` (hash of the canonical URL), `url`, `text`, `source`, `score` (karma), "
        "`created_utc` (first submission), `language`, `metadata` (title, encoding, subreddit ...). Nothing links the "
        "instances; there are no labels.\n"
    ]
    figures = load_figures(corpus, documents)
    if figures:
        parts.append(_table(["documents", ""], _figures(figures), left=1))
        languages = {k.removeprefix("language/"): v for k, v in figures.items() if k.startswith("language/")}
        shares = [f"{_md(name)} {100 * share:.1f} %" for name, share in list(_ranked(languages).items())[:8]]
        parts.append(f"Languages as detected: {', '.join(shares)}.\n")
    else:
        parts.append("Lengths and languages: `data-prep report` measures them, and has not been run on this state.\n")
    if targets := _targets(by_name):
        parts.append(f"Kept by the language filter: {', '.join(map(_code, targets))}.\n")
    if dataset:
        rows = [
            [name, f"{split.documents:,}", f"{split.tokens:,}", f"{len(split.shards):,}", size(split.text_bytes)]
            for name, split in dataset.splits.items()
        ]
        parts.append(_table(["split", "documents", "tokens", "shards", "text"], rows))
        parts.append(
            f"Splits are drawn by a keyed hash of the document id. Tokenizer: BPE, {dataset.vocab_size:,} "
            f"ids, end of text {dataset.eot_id}, sha256 {_code(dataset.tokenizer_sha256)}; tokens are {dataset.dtype}. "
            f"Dataset digest {_code(dataset.digest)}.\n"
        )
    parts.append(
        "The text is what people published on the web. It can hold personal data, offensive content and errors; "
        + _pii(by_name)
    )
    return "\n".join(parts)


def _figures(figures: Mapping[str, float]) -> list[list[str]]:
    found = [["number", f"{figures['documents']:,}"], ["text", size(figures["text_bytes"])]]
    for name in ("characters", "words"):
        if f"{name}/p50" in figures:
            values = (figures[f"{name}/{q}"] for q in ("p5", "p50", "p95"))
            found.append([f"{name}: 5 %, median, 95 %", ", ".join(f"{value:,.0f}" for value in values)])
    return found


def _ranked(shares: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _pii(by_name: Mapping[str, StageView]) -> str:
    on = sorted(
        {
            key
            for view in by_name.values()
            if view.manifest is not None
            for key, value in flatten(view.manifest.settings).items()
            if "pii" in key.split(".") and value not in (False, None)
        }
    )
    return f"the scrubbing of personal data was set to {', '.join(map(_code, on))}." if on else "nothing was scrubbed."


def _sources(complete: Sequence[StageView]) -> str:
    parts = [
        "Links were taken from dumps of Reddit submissions; the pages of these links from the archives below. Each "
        "file is named with the sha256 of its bytes.\n"
    ]
    network = {"common-crawl": "looked up by URL in Common Crawl", "fetch": "fetched from the web"}
    for view in complete:
        if view.name in network:
            parts.append(f"Pages were also {network[view.name]}: {_totals(view).rows_out:,} (settings below).\n")
    told: set[str] = set()
    for view in complete:
        labels = {label for label, sources in view.step.reads.items() if any(source == RAW for source, _ in sources)}
        for label in sorted(labels - told):
            told.add(label)
            files = {ref["path"]: ref for task in view.plan["tasks"] for ref in task["inputs"].get(label, [])}
            rows = [
                [_code(posixpath.basename(path)), f"{ref['bytes']:,}", _code(ref["sha256"])]
                for path, ref in sorted(files.items())
            ]
            total = sum(ref["bytes"] for ref in files.values())
            count = "1 file" if len(rows) == 1 else f"{len(rows):,} files"
            parts.append(f"### Input: {label} ({count}, {size(total)})\n")
            parts.append(_table(["file", "bytes", "sha256"], rows[:_SHOWN_FILES]))
            if len(rows) > _SHOWN_FILES:
                parts.append(f"and {len(rows) - _SHOWN_FILES:,} more; all in {_code(view.name + '/plan.json')}.\n")
            assert view.manifest is not None
            if label in view.manifest.upstream:
                parts.append(f"Digest of them all: {_code(view.manifest.upstream[label])}\n")
    return "\n".join(parts)


def _processing(complete: Sequence[StageView]) -> str:
    funnel = [view for view in complete if view.step.funnel]
    rows = []
    for view in funnel:
        t = _totals(view)
        share = f"{100 * t.rows_out / t.rows_in:.1f} %" if t.rows_in else ""
        rows.append([view.name, f"{t.rows_in:,}", f"{t.rows_out:,}", share])
    parts = [_table(["stage", "in", "out", "kept"], rows), "### Left out, by reason\n"]
    reasons = [
        [view.name, _md(reason), f"{count:,}", f"{100 * count / max(_totals(view).rows_in, 1):.2f} %"]
        for view in funnel
        for reason, count in sorted(_totals(view).dropped.items(), key=lambda item: (-item[1], item[0]))
    ]
    parts.append(_table(["stage", "reason", "rows", "of its input"], reasons, left=2) if reasons else "Nothing.\n")
    parts.append(
        "What a filter or a deduplication removed stands in the removal log of its stage, with reason and score; rows "
        "that never were documents (a self post, a submission with too little karma) are only counted.\n"
    )
    parts.append("### Settings\n")
    for view in complete:
        assert view.manifest is not None
        settings = flatten(view.manifest.settings)
        values = "; ".join(f"{_code(key)} = {_code(_plain(value))}" for key, value in settings.items()) or "no settings"
        digest = store.digest(view.manifest.settings)
        parts.append(f"- **{view.name}** ({_code(view.manifest.code)}, settings {_code(digest[:16])}): {values}")
    return "\n".join(parts)


def _uses(by_name: Mapping[str, StageView]) -> str:
    lines = ["Pretraining of language models and research on such data."]
    if "tasks" in by_name:
        lines.append("A labelled task and a multiple-choice task were made from the same documents.")
    lines.append(
        "Not checked for any other use. Text of a benchmark can stand in it: test for overlap before evaluating a "
        "model that was trained on it."
    )
    return " ".join(lines)


def _licence() -> str:
    return (
        "The project ships no data. The texts belong to their authors; no licence to them is granted here. Reddit's "
        "terms have limited dumps and access since 2023. **Whoever builds, keeps or passes on this corpus must see to "
        "it that they may**: the terms of Reddit and of the sites, copyright and its exceptions for text and data "
        "mining, data protection law, and requests to take pages out.\n\n"
        "If the language filter ran, it used lid.176 (Joulin et al. 2016), whose model is under CC BY-SA 3.0.\n\n"
        f"{_TO_FILL}: where and under which terms it is distributed."
    )


def _maintenance(complete: Sequence[StageView], dataset: DatasetManifest | None) -> str:
    rows = []
    for view in complete:
        assert view.manifest is not None
        rows.append([view.name, _code(view.manifest.digest), f"{sum(ref.bytes for ref in view.manifest.outputs):,}"])
    text = "The same inputs and settings give the same bytes. Each digest names the complete history of its stage.\n\n"
    text += _table(["stage", "digest of its manifest", "bytes"], rows, left=2)
    return text + f"\n{_TO_FILL}: who keeps it, and how to report an error or ask for removal."


def _limits(by_name: Mapping[str, StageView]) -> str:
    karma = _settings(by_name, "links").get("karma")
    extractor = _settings(by_name, "pages").get("extractor") or _settings(by_name, "extract").get("extractor")
    lines = [
        "Karma is what the dump recorded when it was made; posts whose score changed later count as they stood then."
        + (f" The karma of several submissions of one URL counts by the rule {_code(karma)}." if karma else ""),
        "No public recipe gives WebText's 45 million links; public re-creations find about half as many.",
        "WebText's text was extracted with Dragnet and Newspaper; Dragnet can no longer be installed, so the exact "
        "text of WebText cannot be made again." + (f" Used here: {_code(extractor)}." if extractor else ""),
        "The rules of cleaning, the threshold of deduplication and the method of language detection of the GPT-2 and "
        "GPT-3 papers are unpublished; the values used here stand above and are not theirs.",
        "Pages are as the archives hold them, which may be years after the submission.",
    ]
    return "\n".join(f"- {line}" for line in lines)
