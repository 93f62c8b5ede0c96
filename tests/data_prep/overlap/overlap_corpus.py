"""Small evaluation sets, and the stages of `data_prep.overlap` run over small corpora."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from small_corpus import complete

from data_prep.manifest import FileRef, StageManifest
from data_prep.overlap import decontaminate, table
from data_prep.overlap.evaluation import NgramsSettings

Made = tuple[Path, dict[str, StageManifest]]


def write_set(path: Path, documents: Sequence[str]) -> str:
    """A file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return str(path)


def overlap(
    folder: Path, documents: list[FileRef], sets: Mapping[str, Any], reverse: bool = False, **given: Any
) -> Made:
    """The three stages of the table."""
    settings = table.HitsSettings(**{"partitions": 3, **given})
    words = NgramsSettings(sets=dict(sets), ngram=settings.ngram)
    hits = table.BloomHitsStage if settings.method == "bloom" else table.ExactHitsStage
    return _run(
        folder,
        reverse,
        lambda made: table.OverlapNgramsStage(f"{folder}/overlap-ngrams", words, {}, {}),
        lambda made: hits(
            f"{folder}/overlap-hits",
            settings,
            {
                "documents": documents,
                "distinct": made("overlap-ngrams", "distinct"),
                "ngrams": made("overlap-ngrams", "ngrams"),
            },
            {},
        ),
        lambda made: table.OverlapStage(
            f"{folder}/overlap",
            settings,
            {
                "hits": made("overlap-hits"),
                "distinct": made("overlap-ngrams", "distinct"),
                "ngrams": made("overlap-ngrams", "ngrams"),
            },
            {},
        ),
    )


def decontaminated(
    folder: Path, documents: list[FileRef], sets: Mapping[str, Any], reverse: bool = False, **given: Any
) -> Made:
    """The four stages of the decontamination."""
    settings = decontaminate.DecontaminateSettings(**given)
    words = NgramsSettings(sets=dict(sets), ngram=settings.ngram)
    d = decontaminate
    return _run(
        folder,
        reverse,
        lambda made: d.ContaminantNgramsStage(f"{folder}/contaminant-ngrams", words, {}, {}),
        lambda made: d.ContaminantDocumentsStage(
            f"{folder}/contaminant-documents",
            settings,
            {
                "documents": documents,
                "distinct": made("contaminant-ngrams", "distinct"),
                "ngrams": made("contaminant-ngrams", "ngrams"),
            },
            {},
        ),
        lambda made: d.ContaminantsStage(
            f"{folder}/contaminants",
            settings,
            {
                "found": made("contaminant-documents"),
                "distinct": made("contaminant-ngrams", "distinct"),
                "ngrams": made("contaminant-ngrams", "ngrams"),
            },
            {},
        ),
        lambda made: d.DecontaminateStage(
            f"{folder}/decontaminate", settings, {"documents": documents, "contaminants": made("contaminants")}, {}
        ),
    )


def _run(folder: Path, reverse: bool, *builds: Any) -> Made:
    manifests: dict[str, StageManifest] = {}

    def made(name: str, part: str = "") -> list[FileRef]:
        return [ref for ref in manifests[name].files(f"{folder}/{name}", part) if "/removed/" not in ref.path]

    for build in builds:
        stage = build(made)
        manifests[stage.name] = complete(stage, reverse=reverse)
    return folder, manifests
