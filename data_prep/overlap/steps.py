"""The stages that look for evaluation sets in a corpus: GPT-3's decontamination and GPT-2's overlap table."""

from __future__ import annotations

from data_prep.config import DataConfig
from data_prep.overlap import decontaminate, table
from data_prep.overlap.evaluation import NgramsSettings
from data_prep.stage import Stage
from data_prep.step import Digests, Files, Step, part_of


def _evaluation_ngrams(config: DataConfig, ngram: int) -> NgramsSettings:
    assert config.evaluation is not None  # or the step is not enabled
    return NgramsSettings(**config.evaluation.model_dump(), ngram=ngram)


def _decontaminate(config: DataConfig) -> bool:
    return config.decontaminate is not None


def _overlap(config: DataConfig) -> bool:
    return config.overlap is not None


def _overlap_settings(config: DataConfig) -> table.HitsSettings:
    assert config.overlap is not None  # or the step is not enabled
    return table.HitsSettings(**config.overlap.model_dump(), partitions=config.partitions)


def _overlap_hits(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
    settings = _overlap_settings(config)
    stage = table.BloomHitsStage if settings.method == "bloom" else table.ExactHitsStage
    return stage(folder, settings, inputs, upstream)


OVERLAP_STEPS: tuple[Step, ...] = (
    Step(
        "contaminant-ngrams",
        "decontaminate",
        {},
        lambda c, f, i, u: decontaminate.ContaminantNgramsStage(
            f, _evaluation_ngrams(c, part_of(decontaminate.LengthSettings, c.decontaminate).ngram), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "contaminant-documents",
        "decontaminate",
        {"documents": (("near-dedup", "part-"),), "distinct": (("contaminant-ngrams", "distinct"),)},
        lambda c, f, i, u: decontaminate.ContaminantDocumentsStage(
            f, part_of(decontaminate.LengthSettings, c.decontaminate), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "contaminants",
        "decontaminate",
        {
            "found": (("contaminant-documents", "part-"),),
            "ngrams": (("contaminant-ngrams", "ngrams"),),
            "distinct": (("contaminant-ngrams", "distinct"),),
        },
        lambda c, f, i, u: decontaminate.ContaminantsStage(
            f, part_of(decontaminate.CommonSettings, c.decontaminate), i, u
        ),
        funnel=False,
        enabled=_decontaminate,
    ),
    Step(
        "decontaminate",
        "decontaminate",
        {"documents": (("near-dedup", "part-"),), "contaminants": (("contaminants", "contaminants"),)},
        lambda c, f, i, u: decontaminate.DecontaminateStage(
            f, part_of(decontaminate.CutSettings, c.decontaminate), i, u
        ),
        enabled=_decontaminate,
        replaces="near-dedup",
    ),
    Step(
        "overlap-ngrams",
        "overlap",
        {},
        lambda c, f, i, u: table.OverlapNgramsStage(f, _evaluation_ngrams(c, _overlap_settings(c).ngram), i, u),
        funnel=False,
        enabled=_overlap,
    ),
    Step(
        "overlap-hits",
        "overlap",
        {"documents": (("near-dedup", "part-"),), "distinct": (("overlap-ngrams", "distinct"),)},
        _overlap_hits,
        funnel=False,
        enabled=_overlap,
    ),
    Step(
        "overlap",
        "overlap",
        {"hits": (("overlap-hits", "part-"),), "ngrams": (("overlap-ngrams", "ngrams"),)},
        lambda c, f, i, u: table.OverlapStage(f, _overlap_settings(c), i, u),
        funnel=False,
        enabled=_overlap,
    ),
)
