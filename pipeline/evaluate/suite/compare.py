"""Two evaluation runs, example by example: which differences are more than chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import UserError

EXAMPLES = "examples"
"""Folder of what each example got, below a run's; a file for each task."""
RESULT = "result.json"


def examples_digest(folder: str) -> str:
    """sha256 (hex) of the result of another evaluation run.

    Raises:
        UserError: the folder holds none.
    """
    path = store.join(folder, RESULT)
    if not store.exists(path):
        raise UserError(
            "no complete evaluation here", where=f"against, {folder}", fix="give the folder of an evaluation run"
        )
    return store.sha256_of(path)


def read_examples(folder: str, task: str) -> list[dict[str, Any]]:
    """What each example of a task got in a run, in order; empty if the run has not scored it."""
    path = store.join(folder, EXAMPLES, f"{task}.jsonl")
    if not store.exists(path):
        return []
    return [orjson.loads(line) for line in store.read_bytes(path).splitlines()]


def compare(folder: str, described: Mapping[str, Any], against: str) -> list[dict[str, Any]]:
    """Paired tests of the tasks that two runs have scored on the same files.

    Right and wrong answers by McNemar's exact test, other values by a permutation test; of language models, windows are
    pairs, if both have the same tokens in them, and what is compared is the log-probability per token.

    Args:
        folder: of this run.
        described: what it will say of its suite in `result.json`.
        against: folder of the other run.

    Returns:
        A row for each task and variant: names, `of` (what is compared, more is better), `difference` (this minus the
        other), `stderr`, `p_value`, `test`, `n`, `better`, `worse`, or `not_compared`, which says why.
    """
    other = store.read_json(store.join(against, RESULT)).get("suite", {})
    rows = []
    for task, files in described["sets"].items():
        theirs = other.get("sets", {}).get(task)
        if theirs is None:
            rows.append({"task": task, "not_compared": "the other run has not scored it"})
        elif theirs["digest"] != files["digest"]:
            rows.append({"task": task, "not_compared": "the other run read other files or had another definition"})
        else:
            seeds = _seeds(described, task), _seeds(other, task)
            rows += _task(task, read_examples(folder, task), read_examples(against, task), *seeds)
    return rows


def _seeds(described: Mapping[str, Any], task: str) -> dict[str, int | None]:
    """Variant -> seed of its solved examples."""
    scores = described.get("scores", [])
    return {score["variant"]: score["definition"].get("seed") for score in scores if score["task"] == task}


def _task(
    task: str,
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
    seeds: Mapping[str, int | None],
    their_seeds: Mapping[str, int | None],
) -> Iterator[dict[str, Any]]:
    from pipeline.evaluate.statistics import mcnemar, permutation  # scipy: not before it is needed

    for variant in dict.fromkeys(row["variant"] for row in ours):
        mine = {row["id"]: row for row in ours if row["variant"] == variant}
        other = {row["id"]: row for row in theirs if row["variant"] == variant}
        about = {"task": task, "variant": variant}
        if mine.keys() != other.keys() or not mine:
            yield {**about, "not_compared": "the other run has other examples"}
            continue
        if seeds.get(variant) != their_seeds.get(variant):
            yield {**about, "not_compared": "the other run drew its solved examples by another seed"}
            continue
        pairs = [(mine[id], other[id]) for id in mine]
        first = pairs[0][0]
        of = next(name for name in ("correct", "value", "nll") if name in first)
        if of == "correct":
            found = mcnemar([one[of] for one, _ in pairs], [two[of] for _, two in pairs])
        elif of == "value":
            found = permutation([one[of] for one, _ in pairs], [two[of] for _, two in pairs])
        elif any(one["tokens"] != two["tokens"] for one, two in pairs):
            yield {**about, "not_compared": "the other run has another tokenizer or window"}
            continue
        else:
            scale = -len(pairs) / sum(one["tokens"] for one, _ in pairs)
            found = permutation([scale * one[of] for one, _ in pairs], [scale * two[of] for _, two in pairs])
        yield {
            **about,
            "of": {"correct": "accuracy", "value": "score", "nll": "log-probability per token"}[of],
            "difference": found.difference,
            "stderr": found.stderr,
            "p_value": found.p_value,
            "test": found.test,
            "n": found.n,
            "better": found.better,
            "worse": found.worse,
        }
