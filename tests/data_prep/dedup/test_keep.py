from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.dedup import keep

SCHEMA = keep.MEMBER.append(pa.field("group", pa.int64()))
ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abc"),
        "url": st.just("u"),
        "score": st.none() | st.integers(0, 2),
        "created_utc": st.none() | st.integers(0, 2),
        "file": st.just(0),
        "row": st.just(0),
        "group": st.integers(0, 3),
    }
)


def rank(row: dict[str, Any]) -> tuple[Any, ...]:
    """The keep rule in words: smaller is better."""
    score, created = row["score"], row["created_utc"]
    return (score is None, -(score or 0), created is None, created or 0, row["id"], row["file"], row["row"])


@settings(deadline=None)
@given(st.lists(ROW, max_size=30), st.integers(0, 2**32))
def test_of_each_group_the_best_stays_whatever_the_order(rows: list[dict[str, Any]], seed: int) -> None:
    rows = [{**row, "row": i} for i, row in enumerate(rows)]
    best = {row["group"]: row for row in sorted(rows, key=rank, reverse=True)}
    shuffled = rows[:]
    random.Random(seed).shuffle(shuffled)
    kept, lost, instead = keep.split_group(pa.Table.from_pylist(shuffled, schema=SCHEMA), "group")
    assert kept.to_pylist() == [best[group] for group in sorted(best)]
    assert lost.to_pylist() == [row for row in rows if row is not best[row["group"]]]
    assert instead.to_pylist() == [best[row["group"]] for row in lost.to_pylist()]
    assert keep.lost_table(lost, instead).to_pylist() == [
        {"file": 0, "row": row["row"], "kept_id": best[row["group"]]["id"], "kept_url": "u", "jaccard": None}
        for row in lost.to_pylist()
    ]


def test_a_column_may_go_before_the_rule() -> None:
    rows = [
        {"id": str(i), "url": "u", "score": i, "created_utc": 0, "file": 0, "row": i, "group": 1, "first": i == 1}
        for i in range(3)
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.append(pa.field("first", pa.bool_())))
    kept, _, _ = keep.split_group(table, "group", first="first")
    assert kept.column("id").to_pylist() == ["1"]
