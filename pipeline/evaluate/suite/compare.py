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
    pairs, if both have the same tokens in them.

    Args:
        folder: of this run.
        described: what it will say of its suite in `result.json`.
        against: folder of the other run.

    Returns:
        A row for each task and variant: names, `difference` (this minus the other), `stderr`, `p_value`, `test`, `n`,
        `better`, `worse`, or `not_compared`, which says why.
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
            rows += _task(task, read_examples(folder, task), read_examples(against, task))
    return rows


def _task(
    task: str, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    from pipeline.evaluate.statistics import mcnemar, permutation  # scipy: not before it is needed

    for variant in dict.fromkeys(row["variant"] for row in ours):
        mine = {row["id"]: row for row in ours if row["variant"] == variant}
        other = {row["id"]: row for row in theirs if row["variant"] == variant}
        about = {"task": task, "variant": variant}
        if mine.keys() != other.keys() or not mine:
            yield {**about, "not_compared": "the other run has other examples"}
            continue
        pairs = [(mine[id], other[id]) for id in mine]
        if all("correct" in one and "correct" in two for one, two in pairs):
            found = mcnemar([one["correct"] for one, _ in pairs], [two["correct"] for _, two in pairs])
        elif any(one.get("tokens") != two.get("tokens") for one, two in pairs):
            yield {**about, "not_compared": "the other run has another tokenizer or window"}
            continue
        else:
            found = permutation([one["value"] for one, _ in pairs], [two["value"] for _, two in pairs])
        yield {
            **about,
            "difference": found.difference,
            "stderr": found.stderr,
            "p_value": found.p_value,
            "test": found.test,
            "n": found.n,
            "better": found.better,
            "worse": found.worse,
        }
