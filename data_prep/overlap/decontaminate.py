"""GPT-3's decontamination (appendix C): the 13-grams of evaluation sets are cut out of the corpus.

Stages: the n-grams of the sets -> in how many documents of each file each of them stands -> the contaminants, which are
those that stand in some document, but not in so many that they are common phrases -> documents without them.

A document is cut 200 characters on each side of every contaminant; windows that touch are one. If that makes more than
10 pieces, the document is removed, whatever their length. Of the others, pieces of at least 200 characters stay, each
as a document of its own, as the paper and lm-evaluation-harness's `janitor` have it: the first one keeps the document's
id, the others get one derived from it; all have its URL. The agreement with `janitor` ends where that departs from the
paper: it counts n-grams instead of pieces, so that one passage of 23 words removes a document; it drops any document
under 200 characters; and it cuts a character less before a piece that another cut follows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import xxhash
from pydantic import Field

from data_prep.configfile import Settings
from data_prep.dedup.keep import read_table
from data_prep.documents import DOCUMENT, Document, read_rows
from data_prep.manifest import FileRef, Totals
from data_prep.ngrams import Form, Matches, NgramSet
from data_prep.overlap.evaluation import EvaluationNgramsStage, read_distinct, read_ngrams
from data_prep.overlap.pieces import pieces
from data_prep.stage import Stage, Task, TaskOutput

FORM: Form = "unpunctuated"
CONTAMINATED = "contaminated"
IN_DOCUMENTS = pa.schema(
    [pa.field("hash", pa.uint64(), nullable=False), pa.field("documents", pa.int64(), nullable=False)]
)
"""An n-gram of the evaluation sets and the number of documents of one file in which it stands; sorted by hash."""
CONTAMINANT = IN_DOCUMENTS.append(pa.field("sets", pa.string(), nullable=False))
"""The same of the whole corpus, and the sets it comes from, with commas."""


class LengthSettings(Settings):
    """The length of the n-grams."""

    ngram: int = Field(default=13, gt=0, le=64)
    """Words in an n-gram."""


class CommonSettings(Settings):
    """What is no contamination."""

    max_documents: int = Field(default=10, gt=0)
    """N-grams that stand in more documents are none."""


class CutSettings(LengthSettings):
    """What is cut."""

    window: int = Field(default=200, ge=0)
    """Characters cut on each side of an n-gram."""
    min_chars: int = Field(default=200, gt=0)
    """Shorter pieces are dropped."""
    max_pieces: int = Field(default=10, gt=0)
    """Documents that fall into more pieces are removed."""


class DecontaminateSettings(CommonSettings, CutSettings):
    """All of them; a stage gets those that decide its bytes."""


class ContaminantNgramsStage(EvaluationNgramsStage):
    """The n-grams of the evaluation sets in GPT-3's form."""

    name = "contaminant-ngrams"
    form = FORM


class ContaminantDocumentsStage(Stage):
    """Documents of one file to the n-grams of the sets that stand in them, each with the number of documents.

    Memory: 33 bytes for each distinct n-gram of the sets.
    """

    name = "contaminant-documents"
    settings: LengthSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=["distinct"])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Look up all n-grams of one file."""
        (source,) = task.inputs["documents"]
        wanted = read_distinct(task.inputs["distinct"])
        ngrams = NgramSet(wanted, self.settings.ngram, FORM)
        documents = np.zeros(len(wanted), np.int64)
        for row in read_rows(source.path, ["text"]):
            out.rows_in += 1
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
            documents[np.unique(ngrams.find(row["text"]).index)] += 1
        some = documents > 0
        table = pa.table([wanted[some], documents[some]], schema=IN_DOCUMENTS)
        out.rows(f"part-{task.index:05d}.parquet", IN_DOCUMENTS).add_table(table)
        out.rows_out = table.num_rows


class ContaminantsStage(Stage):
    """The n-grams found in each file to those that will be cut out, `contaminants.parquet`, in one task.

    Memory: some 60 bytes for each distinct n-gram of the sets.
    """

    name = "contaminants"
    settings: CommonSettings

    def plan(self) -> list[Task]:
        """One task."""
        return [Task(0, self.inputs, {})]

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Add up the documents, leave out what is common."""
        ngrams = read_ngrams(task.inputs["ngrams"])
        every = read_distinct(task.inputs["distinct"])
        documents = np.zeros(len(every), np.int64)
        for ref in task.inputs["found"]:
            part = read_table([ref], IN_DOCUMENTS)
            documents[np.searchsorted(every, part.column("hash").to_numpy())] += part.column("documents").to_numpy()
        kept = np.flatnonzero((documents > 0) & (documents <= self.settings.max_documents))
        sets: list[list[str]] = [[] for _ in kept]
        for name in ngrams.column("set").unique().sort().to_pylist():
            mine = ngrams.filter(pa.compute.equal(ngrams.column("set"), name)).column("hash").to_numpy()
            at = np.searchsorted(every, mine)
            out.extra[f"{name}:ngrams"] = len(mine)
            out.extra[f"{name}:common"] = int((documents[at] > self.settings.max_documents).sum())
            of_set = np.zeros(len(every), bool)
            of_set[at] = True
            out.extra[f"{name}:contaminants"] = int(of_set[kept].sum())
            for number in np.flatnonzero(of_set[kept]):
                sets[number].append(name)
        table = pa.table([every[kept], documents[kept], [",".join(names) for names in sets]], schema=CONTAMINANT)
        out.rows("contaminants.parquet", CONTAMINANT).add_table(table)
        out.rows_in, out.rows_out = len(every), len(kept)

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """How many n-grams of each set stand in the corpus."""
        names = sorted(key.rpartition(":")[0] for key in totals.extra if key.endswith(":ngrams"))
        return {
            name: f"{totals.extra[f'{name}:contaminants']:,} of {totals.extra[f'{name}:ngrams']:,} distinct n-grams "
            f"will be cut out; {totals.extra[f'{name}:common']:,} more stand in over {self.settings.max_documents} "
            "documents"
            for name in names
        }


class DecontaminateStage(Stage):
    """Documents to documents without contaminants; the rows out are documents and further pieces of documents.

    The metadata of a piece says `decontaminated`: number of the piece among those that stay, how many there are, the
    characters of the document, the place of the piece in it, and the sets. Memory: 25 bytes a contaminant, 80 for the
    name of its set.
    """

    name = "decontaminate"
    settings: CutSettings

    def plan(self) -> list[Task]:
        """One task for each file of documents."""
        return self.one_task_per_file("documents", shared=["contaminants"])

    def run_task(self, task: Task, out: TaskOutput) -> None:
        """Cut one file."""
        (source,) = task.inputs["documents"]
        contaminants = read_table(task.inputs["contaminants"], CONTAMINANT)
        ngrams = NgramSet(contaminants.column("hash").to_numpy(), self.settings.ngram, FORM)
        sets = contaminants.column("sets").to_pylist()
        kept = out.rows(f"part-{task.index:05d}.parquet", DOCUMENT)
        for document in read_rows(source.path):
            out.rows_in += 1
            out.advance(out.rows_in, source.rows or out.rows_in, "documents")
            matches = ngrams.find(document["text"])
            if not len(matches.index):
                kept.add(document)
                out.rows_out += 1
                continue
            names = sorted({name for at in matches.index.tolist() for name in sets[at].split(",")})
            found, why = cut(document, matches, names, self.settings, out.extra)
            for piece in found:
                kept.add(piece)
            out.rows_out += len(found)
            if not found:
                score = float(len(matches.index))
                out.drop(CONTAMINATED, id=document["id"], url=document["url"], score=score, detail=why)

    def finish(self, outputs: Sequence[FileRef], totals: Totals) -> dict[str, Any]:
        """What was cut."""
        return dict(totals.extra)


def cut(
    document: Document, matches: Matches, names: Sequence[str], settings: CutSettings, counts: Counter[str]
) -> tuple[list[Document], str]:
    """The pieces of a document that stay, as documents; if there are none, why.

    Args:
        document: with at least one contaminant.
        matches: its contaminants.
        names: the sets they come from.
        settings: what is cut.
        counts: what was done is added to them.
    """
    text, where = document["text"], ", ".join(names)
    places = zip(matches.start.tolist(), matches.end.tolist(), strict=True)
    every = pieces(len(text), places, settings.window)
    if len(every) > settings.max_pieces:
        return [], f"{where}: {len(every)} pieces"
    spans = [(start, end) for start, end in every if end - start >= settings.min_chars]
    counts["pieces_dropped"] += len(every) - len(spans)
    if not spans:
        return [], f"{where}: no piece of {settings.min_chars} characters"
    counts["documents_cut"] += 1
    counts["further_pieces"] += len(spans) - 1
    counts["characters_cut"] += len(text) - sum(end - start for start, end in spans)
    metadata: dict[str, Any] = orjson.loads(document["metadata"])
    made: list[Document] = []
    for number, (start, end) in enumerate(spans):
        facts = {"piece": number, "pieces": len(spans), "start": start, "characters": len(text), "sets": list(names)}
        piece = document.copy()
        piece["id"] = piece_id(document["id"], number)
        piece["text"] = text[start:end]
        piece["metadata"] = orjson.dumps({**metadata, "decontaminated": facts}).decode()
        made.append(piece)
    return made, ""


def piece_id(id: str, number: int) -> str:
    """The id of a piece, 32 hex digits: of the first one the document's, else a hash of it and the number."""
    return id if number == 0 else xxhash.xxh3_128_hexdigest(f"{id}\0piece\0{number}".encode())
