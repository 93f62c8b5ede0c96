from __future__ import annotations

from pathlib import Path

from data_prep import configfile
from data_prep.config import DataConfig
from data_prep.step import RAW, Step, ancestors, connected
from data_prep.steps import STEPS, enabled_steps

DEMO = str(Path(__file__).parents[2] / "configs" / "data" / "demo.yaml")
EVALUATION = ["evaluation.sets={a: x}", "decontaminate={}", "overlap={}"]
QUALITY = ["quality={positive: [a], negative: [b]}"]


def steps_of(*overrides: str) -> dict[str, Step]:
    return {step.name: step for step in enabled_steps(configfile.load(DEMO, DataConfig, list(overrides)))}


def readers(steps: dict[str, Step], source: str) -> set[str]:
    return {name for name, step in steps.items() for found in step.reads.values() for of, _ in found if of == source}


def test_later_stages_read_the_last_stage_that_makes_documents() -> None:
    plain, cut = steps_of(), steps_of(*EVALUATION)
    for steps, last in ((plain, "near-dedup"), (cut, "decontaminate")):
        for name in ("tokenizer", "tasks"):
            assert steps[name].reads["documents"] == ((last, "part-"),)
    assert readers(cut, "near-dedup") == {"contaminant-documents", "decontaminate"}
    assert {"tokenizer", "overlap-hits"} < readers(cut, "decontaminate")
    assert readers(steps_of(*QUALITY), "filter") == {"quality"}
    assert readers(steps_of(*QUALITY), "quality") == readers(plain, "filter") != set()


def test_a_stage_reads_only_stages_before_it_that_the_corpus_has() -> None:
    for overrides in ([], EVALUATION, QUALITY, [*EVALUATION, *QUALITY], [*EVALUATION[:1], EVALUATION[2]]):
        known = {RAW}
        for name, step in steps_of(*overrides).items():
            optional = {step.name for step in STEPS if step.optional}
            assert {source for found in step.reads.values() for source, _ in found} <= known | optional
            known.add(name)


def test_ancestors_follow_replacements() -> None:
    steps = steps_of(*EVALUATION, *QUALITY)
    every = list(steps.values())
    assert {"decontaminate", "contaminants", "contaminant-ngrams", "quality", "quality-model", "filter"} <= ancestors(
        [steps["tokenizer"]], every
    )
    assert "decontaminate" not in ancestors([steps["contaminants"]], every)
    assert "overlap" not in ancestors([steps["tokenizer"]], every)


def test_steps_among_which_none_replaces_another_are_as_they_are() -> None:
    some = [step for step in STEPS if not step.replaces]
    assert connected(some) == some
