"""What a fine-tuned model starts from: a checkpoint of ours, or a folder of Hugging Face's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from data_prep import store
from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint import hf_folder
from pipeline.checkpoint.hugging_face import read_folder, read_shape
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, CheckpointManifest, open_checkpoint
from pipeline.config.finetune import InitConfig
from pipeline.config.model import ModelConfig
from pipeline.finetune.heads import BODY
from pipeline.model.gpt import EMBEDDING

TASK = "task"
"""Entry of a fine-tuned checkpoint's model that says what its head is for."""
_FIX = "give a checkpoint of pretraining or fine-tuning, or a Hugging Face folder"


@dataclass(frozen=True)
class Origin:
    """Shape, tokenizer and weights to start from.

    Attributes:
        folder: the checkpoint, or the folder of Hugging Face's.
        manifest: of a checkpoint.
        shape: of the body.
        vocab_size: entries of the tokenizer, without the special tokens of fine-tuning.
        tokenizer: content of tokenizer.json.
        lineage: stage name -> digest of what the weights were made from, themselves included.
    """

    folder: Path
    manifest: CheckpointManifest | None
    shape: ModelConfig
    vocab_size: int
    tokenizer: bytes
    lineage: Mapping[str, str]

    @staticmethod
    def open(path: str, dropout: float) -> Origin:
        """Look at a checkpoint, all of whose files are verified, or at a folder of Hugging Face's.

        Args:
            path: of the folder (`latest` and `best` are links).
            dropout: probability to use instead of the one that it was trained with.

        Raises:
            UserError: there is no model, or it is damaged.
        """
        folder = Path(path).resolve()
        if hf_folder.is_model(folder):
            shape, _, tokenizer = read_shape(folder)
            return Origin(
                folder,
                None,
                shape.model_copy(update={"dropout": dropout}),
                Tokenizer(tokenizer, path).vocab_size,
                tokenizer,
                {"imported": hf_folder.weights_digest(folder)},
            )
        folder, manifest = open_checkpoint(path)
        shape, vocab_size = body_of(manifest, dropout, path)
        tokenizer = store.read_bytes(str(folder / TOKENIZER))
        lineage = {**manifest.lineage, manifest.kind: manifest.digest}
        return Origin(folder, manifest, shape, vocab_size, tokenizer, lineage)

    def weights(self, transfer_layers: int | None = None) -> dict[str, Tensor]:
        """Canonical name -> weight of what is transferred; the head of a fine-tuned model is left out.

        Args:
            transfer_layers: see `transferred`.

        Raises:
            UserError: there are not so many blocks.
            CorruptFile: the weights are not all there.
        """
        if self.manifest is None:
            given = read_folder(self.folder)
        else:
            given = read_weights(self.folder, self.manifest)
            if self.manifest.kind == "finetune":
                given = {name.removeprefix(BODY): one for name, one in given.items() if name.startswith(BODY)}
        return {name: given[name] for name in transferred(list(given), self.shape.n_layer, transfer_layers)}


def body_of(manifest: CheckpointManifest, dropout: float, where: str) -> tuple[ModelConfig, int]:
    """(shape of the body with another dropout, entries of the tokenizer) of a checkpoint of ours.

    Raises:
        UserError: it is none of pretraining or fine-tuning.
    """
    if manifest.kind not in ("pretrain", "finetune"):
        raise UserError(f"this checkpoint was written by {manifest.kind}", where=where, fix=_FIX)
    facts: dict[str, Any] = {name: value for name, value in manifest.model.items() if name != TASK}
    vocab_size = int(facts.pop("vocab_size"))
    return ModelConfig.model_validate({**facts, "dropout": dropout}), vocab_size


def transferred(names: list[str], n_layer: int, transfer_layers: int | None) -> list[str]:
    """The parameters that are taken over (GPT-1 5, "impact of number of layers transferred").

    Args:
        names: canonical names of all.
        n_layer: number of blocks, or of LSTM layers.
        transfer_layers: -1 for none; 0 for token and position embeddings; k for these and the first k blocks; None for
            all. What follows the last block (final norm, an LSTM's projection) goes with the last block.

    Raises:
        UserError: there are not so many blocks.
    """
    if transfer_layers is None or transfer_layers == n_layer:
        return names
    if transfer_layers > n_layer:
        raise UserError(
            f"the model has {n_layer} blocks, fewer than {transfer_layers}",
            where="init.transfer_layers",
            fix=f"give a number from -1 to {n_layer}",
        )
    if transfer_layers < 0:
        return []
    wanted = [EMBEDDING, "transformer.wpe", *(f"transformer.h.{index}" for index in range(transfer_layers))]
    return [name for name in names if any(name.startswith(f"{part}.") for part in wanted)]


def start_weights(origin: Origin, init: InitConfig) -> dict[str, Tensor]:
    """What `TaskModel.start_from` takes of an origin.

    Raises:
        UserError, CorruptFile: as `Origin.weights`.
    """
    return origin.weights(init.transfer_layers) if init.transfers else {}
