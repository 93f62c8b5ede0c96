"""All that an evaluation says about the training text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.config.evaluate_memorization import MemorizationConfig
from pipeline.config.evaluate_suite import LanguageModelTask, SuiteConfig
from pipeline.evaluate.memorization.contamination import clean_and_dirty, contamination
from pipeline.evaluate.memorization.verbatim import samples_in_corpus, verbatim
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.suite.compare import read_examples
from pipeline.evaluate.suite.sets import present_tasks


def memorization(
    scorer: Scorer, config: MemorizationConfig, suite: SuiteConfig | None, folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """(for `result.json`, metrics): overlap of the suite's sets, verbatim completion, parts of samples.

    Args:
        scorer: the model.
        config: what is asked.
        suite: the tasks, which have been scored; None if there are none.
        folder: of the run, with what each example got.

    Raises:
        UserError: the corpus or a set cannot be read.
    """
    result: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    if suite is not None:
        tasks, _ = present_tasks(suite)
        for name, overlap in contamination(suite, tasks, config.corpus, config.documents).items():
            # What a language model's example is, is a window, not a line.
            scored = not isinstance(suite.definitions[name], LanguageModelTask)
            rows = clean_and_dirty(overlap, read_examples(str(folder), name)) if scored else []
            about = asdict(overlap)
            about["dirty"] = len(overlap.dirty)
            result.setdefault("overlap", {})[name] = {**about, "scores": rows}
            metrics[f"overlap/{name}/percent"] = overlap.percent
            for row in rows:
                for part in ("clean", "dirty"):
                    _add(metrics, "/".join(filter(None, (name, row["variant"], part))), row[part])
    if config.passages:
        result["verbatim"] = verbatim(scorer, config)
        for row in result["verbatim"]:
            _add(metrics, f"verbatim/copies_{row['copies'][0]}", row["completed"])
    if config.samples:
        result["samples"] = samples_in_corpus(scorer, config)
        for kind in ("samples", "held_out"):
            _add(metrics, f"longest_common/{kind}", result["samples"][kind])
    return result, metrics


def _add(metrics: dict[str, float], name: str, estimate: Mapping[str, float] | None) -> None:
    """An estimate, if there is one, and its standard error, if it has one."""
    if estimate is not None:
        metrics[name] = estimate["value"]
        if math.isfinite(estimate["stderr"]):
            metrics[f"{name}_stderr"] = estimate["stderr"]


def lines(found: dict[str, Any]) -> list[str]:
    """The findings for people."""
    text = []
    for name, overlap in found.get("overlap", {}).items():
        text.append(
            f"{name}: {overlap['percent']:.2f} % of its 8-grams stand in the training text; "
            f"{overlap['dirty']:,} of {overlap['examples']:,} examples share {overlap['n']} words with it"
        )
        text += [f"    {_parts(row)}" for row in overlap["scores"] if row["dirty"] is not None]
    for row in found.get("verbatim", []):
        low, high = row["copies"]
        copies = "1 copy" if high == 1 else f"{low} to {high} copies" if high < 1 << 62 else f"{low} or more copies"
        done = row["completed"]
        text.append(
            f"passages with {copies}: {100 * done['value']:.2f} % of {row['passages']:,} completed word by word "
            f"({100 * done['low']:.2f} .. {100 * done['high']:.2f} %)"
        )
    samples = found.get("samples")
    if samples and samples["samples"] and samples["held_out"]:
        text.append(
            f"longest part that stands in the training text, of {samples['tokens']} tokens: "
            f"samples {_with_error(samples['samples'], 1)}, held-out text {_with_error(samples['held_out'], 1)}"
        )
    return text


def _parts(row: dict[str, Any]) -> str:
    parts: Sequence[str] = ("all", "clean", "dirty")
    shown = [f"{part} {_with_error(row[part], 4)} of {row[part]['n']:,}" for part in parts if row[part] is not None]
    return ": ".join(filter(None, (row["variant"], ", ".join(shown))))


def _with_error(estimate: Mapping[str, float], places: int) -> str:
    error = estimate["stderr"]
    return f"{estimate['value']:.{places}f}" + (f" ± {error:.{places}f}" if math.isfinite(error) else "")
