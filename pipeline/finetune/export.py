"""A fine-tuned checkpoint as a sequence classifier of Hugging Face `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, processors
from tokenizers import Tokenizer as HuggingFaceTokenizer
from torch import Tensor

from data_prep.errors import UserError
from data_prep.tokenizer import END_OF_TEXT
from pipeline.checkpoint.disk import new_folder
from pipeline.checkpoint.hugging_face import export_model, write_folder
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import TOKENIZER, CheckpointManifest, open_checkpoint
from pipeline.finetune.heads import BODY, HEAD
from pipeline.finetune.inputs import SPECIAL_TOKENS
from pipeline.finetune.origin import TASK, body_of
from pipeline.model import hf

START, DELIMITER, EXTRACT = "<|start|>", "<|delimiter|>", "<|extract|>"
_CLASS = {hf.GPT2: "GPT2ForSequenceClassification", hf.GPT1: "OpenAIGPTForSequenceClassification"}
_FITS = 1e-4
"""How far a logit may move when the head's bias is moved into the last norm."""


def export_any(checkpoint: str, out: str) -> Path:
    """Write a checkpoint as a folder that `transformers` opens: a language model, or a fine-tuned classifier.

    Raises:
        UserError: see `export_model` and `export_classifier`.
    """
    manifest = CheckpointManifest.load(Path(checkpoint).resolve())
    return export_classifier(checkpoint, out) if manifest.kind == "finetune" else export_model(checkpoint, out)


def export_classifier(checkpoint: str, out: str) -> Path:
    """Write a fine-tuned checkpoint as a sequence classifier.

    Theirs reads the last token that is not padding, which is the extract token. Their head has no bias: ours goes into
    the bias of the norm before it, which reaches nothing else (`without_bias`).

    Args:
        checkpoint: folder of the checkpoint (or `best`, `latest`).
        out: folder to make; it must not exist or be empty.

    Raises:
        UserError: not a checkpoint of fine-tuning, or Hugging Face has no class for its task or body.
    """
    target = new_folder(out)
    folder, manifest = open_checkpoint(checkpoint)
    task: dict[str, Any] | None = manifest.model.get(TASK)
    if task is None:
        raise UserError("this checkpoint has no head for a task", where=checkpoint, fix="give one of fine-tuning")
    if task["kind"] not in ("classification", "entailment"):
        raise UserError(
            f"a {task['kind']} task reads several sequences of an example, and no sequence classifier of Hugging Face "
            "does",
            where=checkpoint,
            fix="export one of classification or entailment; launch/predict.py predicts with this one",
        )
    shape, vocab_size = body_of(manifest, float(manifest.model["dropout"]), checkpoint)
    shape = shape.model_copy(update={"document_mask": False})  # an example is one document
    kind = hf.model_type(shape)
    weights = read_weights(folder, manifest)
    body = {name.removeprefix(BODY): value for name, value in weights.items() if name.startswith(BODY)}
    norm = "transformer.ln_f.bias" if shape.norm == "pre" else f"transformer.h.{shape.n_layer - 1}.ln_2.bias"
    head = weights[f"{HEAD}weight"]
    body[norm] = without_bias(head, weights[f"{HEAD}bias"], body[norm], checkpoint)
    labels = {str(number): label for number, label in enumerate(task["labels"])}
    config = {
        **hf.config_of(shape, vocab_size + SPECIAL_TOKENS),
        "architectures": [_CLASS[kind]],
        "bos_token_id": vocab_size,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
        "id2label": labels,
        "label2id": {label: int(number) for number, label in labels.items()},
        "problem_type": "single_label_classification",
    }
    tokens = {"bos_token": START, "sep_token": DELIMITER, "cls_token": EXTRACT}
    tokens |= dict.fromkeys(("eos_token", "unk_token", "pad_token"), END_OF_TEXT)
    return write_folder(
        target,
        config,
        {**hf.weights_to_hf(body, shape), f"{HEAD}weight": head},
        with_special_tokens((folder / TOKENIZER).read_bytes()),
        tokens,
    )


def without_bias(head: Tensor, bias: Tensor, norm: Tensor, where: str) -> Tensor:
    """The bias of the last norm that does what the head's bias did: norm + W^+ b, as W (norm + W^+ b) = W norm + b.

    Args:
        head: [classes, d_model] W.
        bias: [classes] b.
        norm: [d_model] bias of the norm whose output the head reads.
        where: the checkpoint, for the error.

    Raises:
        UserError: W has too few independent rows for that.
    """
    wide = head.double()
    moved = torch.linalg.pinv(wide) @ bias.double()
    if (wide @ moved - bias.double()).abs().max() > _FITS:
        raise UserError(
            "the head's bias has no place in a classifier of Hugging Face (its rows depend on each other)",
            where=where,
            fix="fine-tune with fewer labels or a wider model",
        )
    result: Tensor = (norm.double() + moved).float()
    return result


def with_special_tokens(tokenizer: bytes) -> bytes:
    """A tokenizer.json that puts start, delimiter and extract where fine-tuning puts them, ids behind its vocabulary.

    A tokenizer of theirs cuts the longer text first; ours cuts each (`longest_segment`).
    """
    library = HuggingFaceTokenizer.from_str(tokenizer.decode())
    names = (START, DELIMITER, EXTRACT)
    library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    library.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {EXTRACT}",
        pair=f"{START} $A {DELIMITER} $B {EXTRACT}",
        special_tokens=[(name, library.token_to_id(name)) for name in names],
    )
    return bytes(library.to_str(pretty=True).encode())
