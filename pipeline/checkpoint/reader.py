"""Reading the canonical state of a checkpoint under whatever topology."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from data_prep.errors import CorruptFile
from pipeline.checkpoint.pieces import PIECES, WEIGHT, Box, Piece, flaw
from pipeline.checkpoint.store import STATE, CheckpointManifest

_FIX = "use another checkpoint"


class StateReader:
    """The state of a verified checkpoint; reads the bytes that are asked for.

    Args:
        folder: of the checkpoint.
        manifest: its manifest.

    Attributes:
        names: canonical names of all parameters, sorted.
        scalars: those of `LocalState`.

    Raises:
        CorruptFile: the pieces in the files do not make whole parameters, each element once.
    """

    def __init__(self, folder: Path, manifest: CheckpointManifest) -> None:
        self.scalars = manifest.state
        self._folder = folder
        self._files: dict[Path, Any] = {}
        self._pieces: dict[str, list[tuple[Piece, Path]]] = {}
        for name in sorted(manifest.files):
            if name.startswith(f"{STATE}/"):
                self._index(folder / name)
        self.names = sorted(self._pieces)
        if not self.names:
            raise CorruptFile("the checkpoint holds no state", where=str(folder), fix=_FIX)
        for name, held in self._pieces.items():
            problem = flaw([piece for piece, _ in held])
            if problem is not None:
                raise CorruptFile(f"the state of {name} is not whole: {problem}", where=str(folder), fix=_FIX)

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            try:
                self._files[path] = safe_open(path, framework="pt", device="cpu")
            except (OSError, SafetensorError) as error:
                raise CorruptFile(f"not a safetensors file ({error})", where=str(path), fix=_FIX) from None
        return self._files[path]

    def _index(self, path: Path) -> None:
        try:
            table = json.loads(self._open(path).metadata()[PIECES])
            for name, (shape, box, start, end) in table.items():
                piece = Piece(name, tuple(shape), tuple((first, last) for first, last in box), start, end)
                self._pieces.setdefault(name, []).append((piece, path))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"its metadata name no pieces ({error!r})", where=str(path), fix=_FIX) from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a whole parameter, without padded rows.

        Raises:
            CorruptFile: there is none of this name.
        """
        return self._held(name)[0][0].shape

    def whole(self, name: str, kind: str = WEIGHT) -> Tensor:
        """A whole parameter (or one of its moments), fp32 on the CPU.

        Raises:
            CorruptFile: it is not there.
        """
        held = self._held(name)
        shape = held[0][0].shape
        whole = torch.empty(shape)
        for box in {piece.box for piece, _ in held}:
            part = torch.empty([end - start for start, end in box])
            self._fill_from_box(name, kind, box, 0, part.flatten())
            whole[tuple(slice(start, end) for start, end in box)] = part
        return whole

    def fill(self, piece: Piece, kind: str, out: Tensor) -> None:
        """Copy what the checkpoint has at a piece, into memory on any device.

        Where the file's boxes are those of the piece, only its own bytes are read; else the whole parameter is.

        Args:
            piece: what is asked for.
            kind: one of `KINDS`.
            out: 1-D, as many elements as the piece.

        Raises:
            CorruptFile: it is not there, or the parameter has another shape.
        """
        held = self._held(piece.name)
        if self.shape(piece.name) != piece.shape:
            raise CorruptFile(
                f"{piece.name} has shape {list(self.shape(piece.name))}, the model's has {list(piece.shape)}",
                where=str(self._folder),
                fix=_FIX,
            )
        if any(one.box == piece.box for one, _ in held):
            self._fill_from_box(piece.name, kind, piece.box, piece.start, out)
        else:
            slices = tuple(slice(start, end) for start, end in piece.box)
            out.copy_(self.whole(piece.name, kind)[slices].flatten()[piece.start : piece.end])

    def _held(self, name: str) -> list[tuple[Piece, Path]]:
        if name not in self._pieces:
            raise CorruptFile(f"the checkpoint holds nothing of {name}", where=str(self._folder), fix=_FIX)
        return self._pieces[name]

    def _fill_from_box(self, name: str, kind: str, box: Box, start: int, out: Tensor) -> None:
        end = start + out.numel()
        for piece, path in self._pieces[name]:
            first, last = max(start, piece.start), min(end, piece.end)
            if piece.box != box or first >= last:
                continue
            try:
                stored = self._open(path).get_slice(f"{kind}/{name}")
                if stored.get_shape() != [piece.numel]:
                    raise SafetensorError(f"{kind}/{name} has shape {stored.get_shape()}, not [{piece.numel}]")
            except SafetensorError as error:
                raise CorruptFile(f"the {kind} of {name} cannot be read: {error}", where=str(path), fix=_FIX) from None
            out[first - start : last - start].copy_(stored[first - piece.start : last - piece.start])


def read_weights(folder: Path, manifest: CheckpointManifest) -> dict[str, Tensor]:
    """Canonical name -> whole fp32 weight on the CPU, of a verified checkpoint.

    Raises:
        CorruptFile: the weights are not all there.
    """
    reader = StateReader(folder, manifest)
    return {name: reader.whole(name) for name in reader.names}
