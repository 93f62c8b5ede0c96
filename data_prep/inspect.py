"""Looks into a corpus: what each stage kept and left out and why, samples of both, and one document's way.

Samples are keyed draws: the same seed gives the same documents. Memory: the samples, and one group of rows of a file.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_prep import keyed, store
from data_prep.corpus import Corpus, StageView, holds, unknown
from data_prep.errors import CorruptFile, UserError
from data_prep.manifest import FileRef
from data_prep.report.sketches import KeyedSample
from data_prep.shards import Shard
from data_prep.urls import canonical_url, url_id

_BATCH = 4096
_PURPOSE = "inspect"
_TWIN = re.compile(r"kept ([0-9a-f]{32}) (\S+)")
"""What the removal log of dedup says of the document that stays."""


@dataclass(frozen=True)
class Reason:
    """Why a stage left rows out.

    Attributes:
        stage: the stage's name.
        reason: the reason's name.
        rows: how many.
        share: of the rows that the stage read.
        logged: how many of them stand in the removal log; the others were never documents (a self post, a broken line).
    """

    stage: str
    reason: str
    rows: int
    share: float
    logged: int


@dataclass(frozen=True)
class Found:
    """A row of a stage's output or removal log.

    Attributes:
        stage: the stage's name.
        kept: False if it is a removal.
        id: of the canonical URL.
        url: canonical URL.
        reason: why it was removed; "" if kept.
        score: the number that decided; if kept, its karma.
        detail: what the removal log adds.
        text: of the document; None where the stage's rows have none, or the file is gone.
        fields: the other columns of a row that was kept.
        twin_url: URL of the document that was kept instead of this one, if there is such a document.
        twin_text: its text; None if its file is gone.
    """

    stage: str
    kept: bool
    id: str
    url: str
    reason: str = ""
    score: float | None = None
    detail: str = ""
    text: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    twin_url: str = ""
    twin_text: str | None = None


@dataclass(frozen=True)
class Event:
    """What became of one page at one stage.

    Attributes:
        stage: the stage's name.
        found: rows about it; none if the stage never saw it, or drops without a log.
        place: where it stands in the token shards ("train/shard-00000.arrow, row 3, 812 tokens"), for that stage.
    """

    stage: str
    found: tuple[Found, ...]
    place: str = ""


def reasons(view: StageView) -> list[Reason]:
    """Why a complete stage left rows out, most frequent first."""
    assert view.manifest is not None
    totals = view.manifest.totals
    logged = dict.fromkeys(totals.dropped, 0)
    for ref in view.removals:
        if ref.rows != 0:
            for batch in _batches(ref.path, ["reason"]):
                for item in batch.column("reason").value_counts().to_pylist():
                    logged[item["values"]] = logged.get(item["values"], 0) + item["counts"]
    found = [
        Reason(view.name, reason, rows, rows / max(totals.rows_in, 1), logged[reason])
        for reason, rows in totals.dropped.items()
    ]
    return sorted(found, key=lambda item: (-item.rows, item.reason))


def check_reason(views: Sequence[StageView], reason: str) -> None:
    """Make sure that one of the stages knows this reason.

    Raises:
        UserError: none does; names the nearest.
    """
    known = sorted({name for view in views if view.manifest for name in view.manifest.totals.dropped})
    if reason not in known:
        raise unknown("reason", reason, known)


def dropped(
    corpus: Corpus, views: Sequence[StageView], n: int, seed: int = 0, reason: str | None = None
) -> list[Found]:
    """A keyed sample of what stages removed, with the text from their input files.

    Args:
        corpus: the corpus.
        views: complete stages to draw from.
        n: how many at most.
        seed: of the draw.
        reason: only removals for this reason; None for all.
    """
    logs = _logs(views)
    return _removals(corpus, logs, _draw([log.ref for log in logs], n, seed, reason))


def examples(corpus: Corpus, view: StageView, n: int, seed: int = 0) -> dict[str, list[Found]]:
    """A keyed sample for each reason that a stage logged, in one pass over its log; arguments as for `dropped`."""
    logs = _logs([view])
    samples: dict[str, KeyedSample] = {}
    for at, log in enumerate(logs):
        first = 0
        for batch in _batches(log.ref.path, ["id", "reason"]):
            rows = zip(batch.column("id").to_pylist(), batch.column("reason").to_pylist(), strict=True)
            for row, (id, reason) in enumerate(rows, first):
                samples.setdefault(reason, KeyedSample(n)).add(keyed.key(seed, _PURPOSE, id), (at, row))
            first += batch.num_rows
    return {reason: _removals(corpus, logs, sample.items) for reason, sample in sorted(samples.items())}


def kept(view: StageView, n: int, seed: int = 0) -> list[Found]:
    """A keyed sample of what a complete stage kept; none if its rows are not pages."""
    refs = [ref for ref in view.outputs if holds(ref, "id", "url")]
    found = []
    for at, rows in _by_file(_draw(refs, n, seed)).items():
        taken = _take(refs[at].path, [row for _, row in rows])
        found += [(rank, _kept(view, taken[row])) for rank, row in rows]
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def page_id(corpus: Corpus, id: str | None, url: str | None) -> str:
    """The id that a user means.

    Raises:
        UserError: the id is not one, or the URL not a web address.
    """
    if url is not None:
        canonical = canonical_url(url)
        if canonical is None:
            raise UserError("not an absolute http(s) address", where=url, fix="give it as it was posted")
        return url_id(canonical)
    assert id is not None
    if len(id) != 32 or not set(id) <= set("0123456789abcdef"):
        raise UserError(f"not a document id: {id!r}", where="--id", fix="give 32 hex digits, or use --url")
    return id


def trail(corpus: Corpus, id: str) -> list[Event]:
    """The way of one page through the complete stages of the funnel, in order.

    Raises:
        UserError: no stage has ever heard of it.
    """
    events = []
    for view in corpus.stages:
        if view.manifest is None or not view.step.funnel:
            continue
        found = [_kept(view, row) for ref in view.outputs if holds(ref, "id", "url") for row in _with_id(ref, id)]
        for ref in view.removals:
            for row in _with_id(ref, id):
                found.append(Found(view.name, False, id, row["url"], row["reason"], row["score"], row["detail"]))
        events.append(Event(view.name, tuple(found), _place(view, id)))
    if not any(event.found or event.place for event in events):
        raise UserError(
            f"no stage knows the page {id}",
            where=corpus.root,
            fix="it was never a link of the dumps, or left out before (a self post, a broken line)",
        )
    return events


@dataclass(frozen=True)
class _Log:
    """The removal log of one task."""

    view: StageView
    task: int
    ref: FileRef


def _logs(views: Sequence[StageView]) -> list[_Log]:
    return [_Log(view, task, ref) for view in views for task, ref in enumerate(view.removals) if ref.rows != 0]


def _removals(corpus: Corpus, logs: Sequence[_Log], chosen: Sequence[tuple[int, int]]) -> list[Found]:
    """The removals at (log, row), in this order, with their texts."""
    found: list[tuple[int, Found]] = []
    for at, rows in _by_file(chosen).items():
        log = logs[at]
        logged = _take(log.ref.path, [row for _, row in rows])
        texts = _texts(corpus, log.view, log.task, {item["id"] for item in logged.values()})
        for rank, row in rows:
            item = logged[row]
            why = (item["reason"], item["score"], item["detail"])
            found.append((rank, Found(log.view.name, False, item["id"], item["url"], *why, texts.get(item["id"]))))
    found = list(zip([rank for rank, _ in found], _with_twins(corpus, [item for _, item in found]), strict=True))
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


def _with_twins(corpus: Corpus, found: Sequence[Found]) -> list[Found]:
    """The removals, those with a twin that was kept instead with its URL and text."""
    twins = [_TWIN.match(item.detail) for item in found]
    texts: dict[str, str] = {}
    for name in {item.stage for item, twin in zip(found, twins, strict=True) if twin}:
        wanted = {twin[1] for item, twin in zip(found, twins, strict=True) if twin and item.stage == name}
        for path in _twin_files(corpus, corpus.stage(name)):
            missing = pa.array(sorted(wanted - texts.keys()), pa.string())
            if not len(missing):
                break
            texts |= {
                row["id"]: row["text"] for row in _take(path, _rows_where(path, missing), ["id", "text"]).values()
            }
    return [
        item if twin is None else replace(item, twin_url=twin[2], twin_text=texts.get(twin[1]))
        for item, twin in zip(found, twins, strict=True)
    ]


def _twin_files(corpus: Corpus, view: StageView) -> Iterator[str]:
    """Where the twins may be: in what the stage kept, or in the corpora against which this one was compared."""
    yield from (ref.path for ref in view.documents)
    for other in corpus.stages:
        for task in other.plan["tasks"]:
            for ref in task["inputs"].get("against", ()):
                if store.exists(ref["path"]):
                    yield ref["path"]


def _kept(view: StageView, row: dict[str, Any]) -> Found:
    rest = {key: value for key, value in row.items() if key not in ("id", "url", "score", "text")}
    return Found(view.name, True, row["id"], row["url"], score=row.get("score"), text=row.get("text"), fields=rest)


def _batches(path: str, columns: Sequence[str], rows: int = _BATCH) -> Iterator[pa.RecordBatch]:
    try:
        with store.open_read(path) as handle:
            yield from pq.ParquetFile(handle).iter_batches(batch_size=rows, columns=list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptFile(f"cannot be read as Parquet ({error})", where=path, fix="run its stage again") from None


def _draw(refs: Sequence[FileRef], n: int, seed: int, reason: str | None = None) -> list[tuple[int, int]]:
    """(file, row) of the n rows whose ids have the smallest keys, in the order of the keys."""

    def keys() -> Iterator[tuple[int, int, int]]:
        for at, ref in enumerate(refs):
            first = 0
            for batch in _batches(ref.path, ["id"] if reason is None else ["id", "reason"]):
                ids = batch.column("id").to_pylist()
                rows: Iterable[int] = range(len(ids))
                if reason is not None:
                    rows = pc.indices_nonzero(pc.equal(batch.column("reason"), reason)).to_pylist()
                for row in rows:
                    yield keyed.key(seed, _PURPOSE, ids[row]), at, first + row
                first += len(ids)

    return [(at, row) for _, at, row in heapq.nsmallest(n, keys())]


def _by_file(chosen: Sequence[tuple[int, int]]) -> dict[int, list[tuple[int, int]]]:
    """File -> (rank in the draw, row)."""
    found: dict[int, list[tuple[int, int]]] = {}
    for rank, (at, row) in enumerate(chosen):
        found.setdefault(at, []).append((rank, row))
    return found


def _take(path: str, rows: Sequence[int], columns: Sequence[str] | None = None) -> dict[int, dict[str, Any]]:
    """Row number -> row; reads only the row groups that hold one."""
    found: dict[int, dict[str, Any]] = {}
    with store.open_read(path) as handle:
        parquet = pq.ParquetFile(handle)
        first = 0
        for group in range(parquet.num_row_groups):
            count = parquet.metadata.row_group(group).num_rows
            mine = [row for row in rows if first <= row < first + count]
            if mine:
                table = parquet.read_row_group(group, columns=list(columns) if columns else None)
                taken = table.take([row - first for row in mine]).to_pylist()
                found.update(zip(mine, taken, strict=True))
            first += count
    return found


def _texts(corpus: Corpus, view: StageView, task: int, ids: set[str]) -> dict[str, str]:
    """Id -> text of the documents that a task read, as far as its input files hold documents and are there."""
    sources = [source for sources in view.step.reads.values() for source, _ in sources]
    wanted = pa.array(sorted(ids), pa.string())
    found: dict[str, str] = {}
    for refs in view.plan["tasks"][task]["inputs"].values():
        for ref in refs:
            path = corpus.here(ref["path"], sources)
            if path is None or not holds(FileRef(path, "", 0), "id", "text"):
                break  # the files of one label are of one kind
            rows = _rows_where(path, wanted)
            for item in _take(path, rows, ["id", "text"]).values():
                found.setdefault(item["id"], item["text"])
    return found


def _rows_where(path: str, ids: pa.Array) -> list[int]:
    rows, first = [], 0
    for batch in _batches(path, ["id"]):
        rows += [first + row for row in pc.indices_nonzero(pc.is_in(batch.column("id"), value_set=ids)).to_pylist()]
        first += batch.num_rows
    return rows


def _with_id(ref: FileRef, id: str) -> Iterator[dict[str, Any]]:
    if ref.rows != 0:
        yield from _take(ref.path, _rows_where(ref.path, pa.array([id], pa.string()))).values()


def _place(view: StageView, id: str) -> str:
    for ref in view.outputs:
        if ref.path.endswith(".arrow"):
            shard = Shard.open(ref.path)
            row = pc.index(shard.ids, pa.scalar(id, pa.string())).as_py()
            if row >= 0:
                return f"{ref.path.removeprefix(store.join(view.folder, ''))}, row {row:,}"
    return ""
