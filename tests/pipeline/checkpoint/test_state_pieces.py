"""The canonical state in pieces: arithmetic of boxes and stretches, and files read under another cut."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from data_prep.errors import CorruptFile
from pipeline.checkpoint.pieces import (
    KINDS,
    PIECES,
    Box,
    LocalState,
    Piece,
    box_numel,
    copy_to_host,
    cut,
    flaw,
    state_file,
    whole_weights,
    write_state,
)
from pipeline.checkpoint.reader import StateReader, read_weights

Pieces = list[Piece]


@st.composite
def boxes_of(draw: st.DrawFn, shape: tuple[int, ...]) -> list[Box]:
    """The slices of a tensor-parallel group, or the whole."""
    whole = tuple((0, size) for size in shape)
    ranks = draw(st.integers(1, 3))
    dims = [dim for dim, size in enumerate(shape) if size % ranks == 0]
    if not dims:
        return [whole]
    dim = draw(st.sampled_from(dims))
    part = shape[dim] // ranks
    return [(*whole[:dim], (rank * part, (rank + 1) * part), *whole[dim + 1 :]) for rank in range(ranks)]


@st.composite
def cuts_of(draw: st.DrawFn, name: str, shape: tuple[int, ...], rows: int | None = None) -> Pieces:
    """A parameter dealt out to tensor-parallel and data-parallel ranks."""
    pieces = []
    for box in draw(boxes_of(shape)):
        numel = box_numel(box)
        inner = draw(st.lists(st.integers(0, numel), max_size=3))
        ends = sorted({0, numel, *inner})
        pieces += [cut(name, shape, box, start, end, rows) for start, end in pairwise(ends)]
    return [piece for piece in pieces if piece is not None]


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)


@given(st.data(), shapes)
def test_a_parameter_dealt_out_is_whole(data: st.DataObject, shape: tuple[int, ...]) -> None:
    pieces = data.draw(cuts_of("p", shape))
    assert flaw(pieces) is None
    assert sum(piece.numel for piece in pieces) == prod(shape)


@given(st.data(), shapes)
def test_a_piece_that_is_missing_short_or_doubled_shows(data: st.DataObject, shape: tuple[int, ...]) -> None:
    pieces = data.draw(cuts_of("p", shape))
    chosen = data.draw(st.integers(0, len(pieces) - 1))
    one = pieces[chosen]
    rest = pieces[:chosen] + pieces[chosen + 1 :]
    total = prod(shape)
    assert flaw([*pieces, one]) == "pieces overlap"
    if rest:
        assert flaw(rest) == f"{total - one.numel:,} of {total:,} elements are there"
    if one.numel > 1:
        assert flaw([*rest, replace(one, end=one.end - 1)]) == f"{total - 1:,} of {total:,} elements are there"
    if one.start > 0:
        assert flaw([*rest, replace(one, start=one.start - 1)]) == "pieces overlap"


def test_slices_of_different_splits_overlap_where_they_meet() -> None:
    rows = Piece("p", (4, 4), ((0, 2), (0, 4)), 0, 8)
    columns = Piece("p", (4, 4), ((0, 4), (2, 4)), 0, 8)
    assert flaw([rows, columns]) == "pieces overlap"
    assert flaw([rows, replace(columns, box=((2, 4), (0, 4)))]) is None
    assert "different shapes" in str(flaw([rows, replace(rows, shape=(5, 4))]))


@pytest.mark.parametrize(
    ("box", "start", "end"),
    [
        (((0, 3), (0, 4)), 3, 3),
        (((0, 3), (0, 4)), 0, 13),
        (((0, 3), (0, 4)), -1, 3),
        (((0, 4), (0, 4)), 0, 3),
        (((2, 2), (0, 4)), 0, 0),
        (((0, 3),), 0, 3),
    ],
)
def test_a_stretch_outside_its_parameter_is_no_piece(box: Box, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="no stretch"):
        Piece("p", (3, 4), box, start, end)


@given(st.data(), shapes, st.integers(0, 5))
def test_padded_rows_are_left_out(data: st.DataObject, shape: tuple[int, ...], padding: int) -> None:
    rows = max(1, shape[0] - padding)
    pieces = data.draw(cuts_of("p", shape, rows))
    assert flaw(pieces) is None
    assert pieces[0].shape == (rows, *shape[1:])


Dealt = dict[str, Pieces]


@st.composite
def dealt(draw: st.DrawFn) -> tuple[dict[str, tuple[int, ...]], Dealt, Dealt, int]:
    """Shapes, and the same parameters dealt out twice; number of ranks of the first."""
    sizes = {f"p{number}": draw(shapes) for number in range(draw(st.integers(1, 3)))}
    one, other = ({name: draw(cuts_of(name, shape)) for name, shape in sizes.items()} for _ in range(2))
    return sizes, one, other, max(len(pieces) for pieces in one.values())


def values(name: str, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(crc32(f"{kind}/{name}".encode()))
    return torch.rand(shape, generator=generator)


def taken(piece: Piece, whole: torch.Tensor) -> torch.Tensor:
    return whole[tuple(slice(*ends) for ends in piece.box)].reshape(-1)[piece.start : piece.end]


def manifest_of(folder: Path, **scalars: Any) -> Any:
    files = {str(path.relative_to(folder)): {} for path in sorted(folder.rglob("*")) if path.is_file()}
    return SimpleNamespace(files=files, state=scalars)


def write(folder: Path, pieces: Dealt, ranks: int, sizes: dict[str, tuple[int, ...]]) -> StateReader:
    """Each rank writes one piece of every parameter."""
    (folder / "state").mkdir()
    for rank in range(ranks):
        mine = [held[rank] for held in pieces.values() if rank < len(held)]
        kinds = [{kind: taken(one, values(one.name, sizes[one.name], kind)) for kind in KINDS} for one in mine]
        state = LocalState(list(zip(mine, kinds, strict=True)), {"adam_step": 3})
        write_state(folder / state_file(rank), copy_to_host(state))
    return StateReader(folder, manifest_of(folder, adam_step=3))


@settings(max_examples=60, deadline=None)
@given(dealt())
def test_what_one_cut_wrote_another_reads(
    case: tuple[dict[str, tuple[int, ...]], Dealt, Dealt, int],
) -> None:
    sizes, one, other, ranks = case
    with tempfile.TemporaryDirectory() as folder:
        reader = write(Path(folder), one, ranks, sizes)
        assert reader.names == sorted(sizes)
        assert reader.scalars == {"adam_step": 3}
        for name, shape in sizes.items():
            assert reader.shape(name) == shape
            for kind in KINDS:
                whole = values(name, shape, kind)
                assert torch.equal(reader.whole(name, kind), whole)
                for piece in one[name] + other[name]:
                    out = torch.full((piece.numel,), torch.nan)
                    reader.fill(piece, kind, out)
                    assert torch.equal(out, taken(piece, whole))


SIZES = {"a": (4, 3), "b": (5,)}
HALVES: Dealt = {
    "a": [Piece("a", (4, 3), ((0, 4), (0, 3)), 0, 5), Piece("a", (4, 3), ((0, 4), (0, 3)), 5, 12)],
    "b": [Piece("b", (5,), ((0, 5),), 0, 2), Piece("b", (5,), ((0, 5),), 2, 5)],
}


def _retell(path: Path, table: Any) -> None:
    save_file({"weight/a": torch.zeros(5)}, path, metadata={PIECES: json.dumps(table)})


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "file missing": (lambda f: (f / state_file(1)).unlink(), "the state of a is not whole: 5 of 12 elements are there"),
    "file twice": (
        lambda f: (f / state_file(2)).write_bytes((f / state_file(0)).read_bytes()),
        "the state of a is not whole: pieces overlap",
    ),
    "no state": (lambda f: [path.unlink() for path in (f / "state").iterdir()], "the checkpoint holds no state"),
    "cut short": (lambda f: (f / state_file(0)).write_bytes(b"abc"), "not a safetensors file"),
    "no metadata": (lambda f: save_file({"x": torch.zeros(1)}, f / state_file(0)), "its metadata name no pieces"),
    "other metadata": (lambda f: _retell(f / state_file(0), [1]), "its metadata name no pieces"),
    "impossible piece": (
        lambda f: _retell(f / state_file(0), {"a": [[4, 3], [[0, 4], [0, 9]], 0, 5]}),
        "its metadata name no pieces",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_state_that_is_not_whole_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    write(tmp_path, HALVES, 2, SIZES)
    break_it, message = DAMAGE[damage]
    break_it(tmp_path)
    with pytest.raises(CorruptFile, match=message) as caught:
        StateReader(tmp_path, manifest_of(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tensor_that_is_not_as_long_as_its_piece_is_refused(tmp_path: Path) -> None:
    write(tmp_path, HALVES, 2, SIZES)
    table = {"a": [[4, 3], [[0, 4], [0, 3]], 0, 5], "b": [[5], [[0, 5]], 0, 2]}
    save_file({"weight/a": torch.zeros(4)}, tmp_path / state_file(0), metadata={PIECES: json.dumps(table)})
    reader = StateReader(tmp_path, manifest_of(tmp_path))
    with pytest.raises(CorruptFile, match=r"the weight of a cannot be read: .* has shape \[4\], not \[5\]"):
        reader.whole("a")


def test_what_is_not_there_cannot_be_asked_for(tmp_path: Path) -> None:
    reader = write(tmp_path, HALVES, 2, SIZES)
    wide = Piece("b", (6,), ((0, 6),), 0, 6)
    for piece, kind, message in (
        (replace(wide, name="c"), "weight", "the checkpoint holds nothing of c"),
        (wide, "weight", r"b has shape \[5\], the model's has \[6\]"),
        (HALVES["b"][1], "exp_max", "the exp_max of b cannot be read"),
    ):
        with pytest.raises(CorruptFile, match=message):
            reader.fill(piece, kind, torch.empty(piece.numel))


def test_weights_alone_are_a_state_without_moments(tmp_path: Path) -> None:
    weights = {"a": torch.rand(4, 3), "b": torch.rand(5).bfloat16(), "c": torch.rand(3, 4).T}
    (tmp_path / "state").mkdir()
    write_state(tmp_path / state_file(0), copy_to_host(whole_weights(weights)))
    found = read_weights(tmp_path, manifest_of(tmp_path))
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(found[name], value.float()), name
    with pytest.raises(CorruptFile, match="the exp_avg of a cannot be read"):
        StateReader(tmp_path, manifest_of(tmp_path)).whole("a", "exp_avg")


def test_a_copy_on_the_host_is_apart_from_what_lives_and_its_memory_is_used_again() -> None:
    live = torch.arange(5.0)
    state = LocalState([(Piece("b", (5,), ((0, 5),), 0, 5), {"weight": live})])
    first = copy_to_host(state)
    live.zero_()
    assert first.pieces[0][1]["weight"].tolist() == [0, 1, 2, 3, 4]
    second = copy_to_host(state, first)
    assert second.buffer.data_ptr() == first.buffer.data_ptr()
    assert second.pieces[0][1]["weight"].tolist() == [0] * 5
    other = LocalState([(Piece("b", (4,), ((0, 4),), 0, 4), {"weight": live[:4]})])
    third = copy_to_host(other, second)
    assert third.buffer.data_ptr() != second.buffer.data_ptr()


def test_a_rank_that_keeps_nothing_writes_an_empty_file(tmp_path: Path) -> None:
    reader = write(tmp_path, HALVES, 3, SIZES)
    assert (tmp_path / state_file(2)).is_file()
    assert torch.equal(reader.whole("b"), values("b", (5,), "weight"))


def test_two_pieces_of_one_parameter_on_a_rank_are_a_mistake(tmp_path: Path) -> None:
    state = LocalState([(piece, {"weight": torch.zeros(piece.numel)}) for piece in HALVES["b"]])
    with pytest.raises(ValueError, match="several pieces"):
        write_state(tmp_path / "x", copy_to_host(state))
