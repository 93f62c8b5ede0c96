import pytest
import torch

from data_prep.errors import UserError
from pipeline.finetune.inputs import NO_ROW, SpecialTokens, collate, language_targets, longest_segment, transform

SPECIAL = SpecialTokens.after(100)
S, D, E = 100, 101, 102
A, B, C = [1, 2, 3], [4, 5], [6]


def test_special_tokens_follow_the_vocabulary() -> None:
    assert (SPECIAL.start, SPECIAL.delimiter, SPECIAL.extract) == (S, D, E)


@pytest.mark.parametrize(
    ("kind", "segments", "rows"),
    [
        ("classification", [A], [[S, 1, 2, 3, E]]),
        ("entailment", [A, B], [[S, 1, 2, 3, D, 4, 5, E]]),
        ("similarity", [A, B], [[S, 1, 2, 3, D, 4, 5, E], [S, 4, 5, D, 1, 2, 3, E]]),
        ("choice", [A, B, C], [[S, 1, 2, 3, D, 4, 5, E], [S, 1, 2, 3, D, 6, E]]),
    ],
)
def test_layouts_are_those_of_the_paper(kind: str, segments: list[list[int]], rows: list[list[int]]) -> None:
    assert transform(kind, segments, SPECIAL, 16) == rows  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "length", "segments", "rows"),
    [
        ("classification", 4, [A], [[S, 1, 2, E]]),
        ("entailment", 8, [A, B], [[S, 1, 2, D, 4, 5, E]]),
        ("entailment", 9, [A, A], [[S, 1, 2, D, 1, 2, E]]),
        ("similarity", 6, [A, B], [[S, 1, D, 4, E], [S, 4, D, 1, E]]),
        ("choice", 8, [A, B, A], [[S, 2, 3, D, 4, 5, E], [S, 2, 3, D, 1, 2, E]]),  # the context's end is kept
    ],
)
def test_each_segment_is_cut_and_the_extract_token_kept(
    kind: str, length: int, segments: list[list[int]], rows: list[list[int]]
) -> None:
    """`n_ctx - 2` of one segment, `n_ctx // 2 - 2` of each of two (GPT-1 code)."""
    found = transform(kind, segments, SPECIAL, length)  # type: ignore[arg-type]
    assert found == rows
    assert all(len(row) <= length for row in found)


def test_a_context_without_room_is_refused() -> None:
    assert longest_segment("classification", 3) == longest_segment("entailment", 6) == 1
    with pytest.raises(UserError, match="a context of 5 tokens has no room for a similarity example"):
        longest_segment("similarity", 5)


def arrays(examples: list[list[list[int]]]) -> list[list[torch.Tensor]]:
    return [[torch.tensor(row).numpy() for row in rows] for rows in examples]  # type: ignore[misc]


EXAMPLES = [[[S, 5, E], [S, 6, 7, 8, E]], [[S, 9, E]], [[S, 1, 2, E], [S, E], [S, 3, E]]]


def test_collate_pads_on_the_right_and_numbers_the_sequences() -> None:
    batch = collate(arrays(EXAMPLES))  # type: ignore[arg-type]
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "tokens": [
            [S, 5, E, 0, 0],
            [S, 6, 7, 8, E],
            [S, 9, E, 0, 0],
            [S, 1, 2, E, 0],
            [S, E, 0, 0, 0],
            [S, 3, E, 0, 0],
        ],
        "extract": [2, 4, 2, 3, 1, 2],
        "rows": [[0, 1, NO_ROW], [2, NO_ROW, NO_ROW], [3, 4, 5]],
    }


def test_language_targets_are_the_own_tokens_of_each_sequence() -> None:
    batch = collate(arrays(EXAMPLES))  # type: ignore[arg-type]
    found = language_targets(batch)
    assert found["targets"].tolist() == [5, E, 6, 7, 8, E, 9, E, 1, 2, E, E, 3, E]
    assert batch["tokens"].flatten()[found["asked"]].tolist() == [S, 5, S, 6, 7, 8, S, 9, S, 1, 2, S, S, 3]
    weights = [1 / 4] * 2 + [1 / 8] * 4 + [1 / 2] * 2 + [1 / 9] * 3 + [1 / 3] + [1 / 6] * 2
    torch.testing.assert_close(found["weights"], torch.tensor(weights))
    assert found["weights"].sum() == pytest.approx(len(EXAMPLES))
