"""Every topology trains the model that one process of plain PyTorch trains; docs/parity.md is the table of it."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import numpy as np
import parity_runs as runs
import pytest
from harness import ranks

from data_prep.errors import UserError

TABLE = Path(__file__).parents[3] / "docs" / "parity.md"
FP32 = {"loss": 2e-6, "norm": 1e-5, "weight": 2e-6, "validation": 1e-6}
"""Absolute, except for the norm and the summed validation loss, which are relative."""
BF16 = {"loss": 2e-3, "norm": 1e-2, "weight": 1e-2, "validation": 1e-3}
"""bf16 has 8 bits of mantissa; fp32 master weights. Of weights up to 0.1 and steps of up to 0.01."""
WORLDS = sorted({topology.ranks for topology in runs.TOPOLOGIES})
EQUAL, REFUSED = "equal", "refused"
HEAD = f"""# Parity of topologies

One model (2 blocks, tied embeddings, a padded vocabulary) is trained for 4 steps with clipping and weight decay in
every topology, and in one process of plain PyTorch in fp32 that takes every global batch at once. A cell names the
verdict and the largest difference of any weight after the 4 steps; "tied weights" is the token embedding, which is also
the output head. "equal" means, on every rank:

| | loss | gradient norm (relative) | every weight | validation (relative) |
|---|---|---|---|---|
| fp32 | {FP32["loss"]:g} | {FP32["norm"]:g} | {FP32["weight"]:g} | {FP32["validation"]:g} |
| bf16, against fp32 | {BF16["loss"]:g} | {BF16["norm"]:g} | {BF16["weight"]:g} | {BF16["validation"]:g} |

The batch ramp goes from 4 over 8 to 12 samples. bf16 with ZeRO-0 is refused.

Written by `make parity`; the tests compare rows and verdicts with what they find.

"""


def is_refused(topology: runs.Topology, variant: runs.Variant) -> bool:
    return topology.zero == 0 and variant.name == "bf16"


@cache
def reference(variant: runs.Variant) -> runs.Result:
    return runs.plain(variant)


def differences(found: runs.Result, expected: runs.Result, copies: int) -> dict[str, float]:
    weights = {name: float(np.abs(found["weights"][name] - value).max()) for name, value in expected["weights"].items()}
    losses, norms = (np.array(found[name]) - np.array(expected[name]) for name in ("losses", "norms"))
    validation = expected["validation"][copies]
    return {
        "loss": float(np.abs(losses).max()),
        "norm": float(np.abs(norms / np.array(expected["norms"])).max()),
        "weight": max(weights.values()),
        "validation": abs(found["validation"]["nll"] - validation) / validation,
        "embedding": weights["transformer.wte.weight"],
    }


def row_of(topology: runs.Topology, cells: dict[str, str]) -> str:
    return f"| {topology.label} | " + " | ".join(cells[name] for name in columns()) + " |"


def columns() -> list[str]:
    names = [variant.name for variant in runs.VARIANTS]
    return [*names[:2], "tied weights", *names[2:]]


def written_rows() -> dict[str, str]:
    """Label -> row of the committed table."""
    lines = TABLE.read_text().splitlines() if TABLE.is_file() else []
    return {line.split("|")[1].strip(): line for line in lines if re.match(r"\| (ZeRO|PP)", line)}


def verdicts(row: str) -> list[str]:
    return [cell.split(",")[0].strip() for cell in row.split("|")[2:-1]]


def write(rows: dict[str, str]) -> None:
    """Put rows in place of those of the same label."""
    rows = {**written_rows(), **rows}
    kept = [rows[topology.label] for topology in runs.TOPOLOGIES if topology.label in rows]
    table = ["| topology | " + " | ".join(columns()) + " |", "|---" * (len(columns()) + 1) + "|", *kept]
    TABLE.write_text(HEAD + "\n".join(table) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_training_equals_plain_pytorch(world: int) -> None:
    topologies = [topology for topology in runs.TOPOLOGIES if topology.ranks == world]
    cases = [(t, variant) for t in topologies for variant in runs.VARIANTS if not is_refused(t, variant)]
    by_rank = ranks(world, runs.trained, cases)
    rows, wrong = {}, []
    for topology in topologies:
        cells = {variant.name: REFUSED for variant in runs.VARIANTS}
        for variant in runs.VARIANTS:
            if is_refused(topology, variant):
                continue
            number = cases.index((topology, variant))
            found, expected = by_rank[0][number], reference(variant)
            assert set(found["weights"]) == set(expected["weights"])
            for other in by_rank[1:]:
                assert other[number]["weights"] == {}
                assert {key: other[number][key] for key in ("losses", "norms", "validation")} == {
                    key: found[key] for key in ("losses", "norms", "validation")
                }
            bounds = BF16 if variant.name == "bf16" else FP32
            seen = differences(found, expected, topology.data)
            broken = {name: seen[name] for name, bound in bounds.items() if not seen[name] <= bound}
            wrong += [f"{topology.label}, {variant.name}: {broken}"] * bool(broken)
            verdict = "NOT equal" if broken else EQUAL
            cells[variant.name] = f"{verdict}, {seen['weight']:.0e}"
            if variant.name == "accumulation 3":
                cells["tied weights"] = f"{verdict}, {seen['embedding']:.0e}"
        rows[topology.label] = row_of(topology, cells)
    assert wrong == []
    if os.environ.get("WRITE_PARITY"):
        write(rows)
    committed = written_rows()
    for label, row in rows.items():
        assert verdicts(committed[label]) == verdicts(row)


def test_the_table_has_a_row_for_every_topology_and_nothing_else() -> None:
    assert list(written_rows()) == [topology.label for topology in runs.TOPOLOGIES]
    assert TABLE.read_text().startswith(HEAD)


def test_the_reference_clips_learns_and_differs_between_variants() -> None:
    found = {variant.name: reference(variant) for variant in runs.VARIANTS}
    for one in found.values():
        assert max(one["norms"]) > 0.5
        assert one["losses"][-1] < one["losses"][0]
    assert len({tuple(one["losses"]) for one in found.values()}) == 3  # one batch, a ramp, documents


@pytest.mark.parametrize("topology", [topology for topology in runs.TOPOLOGIES if topology.zero == 0])
def test_bf16_without_zero_is_refused(topology: runs.Topology) -> None:
    (bf16,) = [variant for variant in runs.VARIANTS if variant.name == "bf16"]
    with pytest.raises(UserError, match="zero_stage 0 trains right with precision fp32 only"):
        runs.settings(topology, bf16)
