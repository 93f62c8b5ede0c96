from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from finetuned import VOCAB, write_checkpoint, write_finetuned
from small_model import model_config, tokenizer_bytes

from data_prep.errors import UserError
from pipeline.checkpoint.store import CheckpointManifest
from pipeline.complete import model_digest
from pipeline.config.finetune import InitConfig
from pipeline.finetune.heads import TaskModel
from pipeline.finetune.origin import Origin, start_weights, transferred
from pipeline.model.gpt import GPT
from pipeline.model.hf import weights_to_hf
from pipeline.model.init import initialize

PARTS = {"wte", "wpe", "h.0", "h.1", "ln_f"}


def part(name: str) -> str:
    """`h.0`, `wte`, ... of a canonical name."""
    words = name.removeprefix("transformer.").split(".")
    return ".".join(words[:2]) if words[0] == "h" else words[0]


def pretrained(folder: Path, **shape: Any) -> tuple[Path, dict[str, torch.Tensor]]:
    config = model_config(**shape)
    body = GPT(config, VOCAB)
    initialize(body, config, 99)
    weights = {name: value.detach() + 1 for name, value in body.named_parameters()}
    return write_checkpoint(folder, "pretrain", config.facts(VOCAB), weights), weights


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        (None, PARTS),
        (2, PARTS),
        (1, {"wte", "wpe", "h.0"}),
        (0, {"wte", "wpe"}),
        (-1, set()),
    ],
)
def test_what_is_transferred_is_copied_and_the_rest_drawn(tmp_path: Path, layers: int | None, taken: set[str]) -> None:
    checkpoint, given = pretrained(tmp_path)
    origin = Origin.open(str(checkpoint), dropout=0.0)
    drawn, model = (TaskModel(origin.shape, VOCAB, "classification", "label", 2, 0.5, 0.0) for _ in range(2))
    drawn.start_from({}, seed=5)
    model.start_from(start_weights(origin, InitConfig(checkpoint=str(checkpoint), transfer_layers=layers)), seed=5)
    fresh = dict(drawn.named_parameters())
    for name, value in model.named_parameters():
        own = name.removeprefix("body.")
        copied = own in given and part(own) in taken
        rows = len(value)
        if own == "transformer.wte.weight":
            assert torch.equal(value[VOCAB:], fresh[name][VOCAB:])
            rows = VOCAB
        assert torch.equal(value[:rows], given[own] if copied else fresh[name][:rows]), name


def test_the_layers_of_an_lstm() -> None:
    names = [name for name, _ in GPT(model_config(kind="lstm", n_head=0, n_layer=2, units=24), 9).named_parameters()]
    assert {part(name) for name in transferred(names, 2, 1)} == {"wte", "h.0"}
    assert {part(name) for name in transferred(names, 2, 2)} == {"wte", "h.0", "h.1", "proj"}


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"transfer_layers: the model has 2 blocks, fewer than 3; give .* -1 to 2"):
        transferred([], 2, 3)
    with pytest.raises(ValueError, match="transfer_layers belongs to weights pretrained"):
        InitConfig(checkpoint="c", weights="random", transfer_layers=1)


def test_another_task_gives_its_body_and_special_tokens_but_not_its_head(tmp_path: Path) -> None:
    checkpoint, before = write_finetuned(tmp_path, "classification", labels=["a", "b", "c"], norm="post")
    origin = Origin.open(str(checkpoint), dropout=0.1)
    assert (origin.shape.dropout, origin.vocab_size) == (0.1, VOCAB)
    digest = CheckpointManifest.load(checkpoint).digest
    assert origin.lineage == {"before": "aa", "finetune": digest}
    assert model_digest(str(checkpoint)) == digest
    model = TaskModel(origin.shape, VOCAB, "similarity", "score", 1, 0.5, 0.0)
    model.start_from(start_weights(origin, InitConfig(checkpoint=str(checkpoint))), seed=5)
    for (name, value), (_, old) in zip(model.body.named_parameters(), before.body.named_parameters(), strict=True):
        assert torch.equal(value, old), name
    assert model.score.weight.std() < 0.05 < before.score.weight.std()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_a_folder_of_hugging_face(tmp_path: Path, kind: str) -> None:
    shape: dict[str, Any] = {"vocab_size": VOCAB, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    theirs: Any
    if kind == "gpt2":
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        theirs = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**shape))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_bytes())
    origin = Origin.open(str(tmp_path), dropout=0.1)
    assert (origin.shape.norm, origin.shape.dropout) == ("pre" if kind == "gpt2" else "post", 0.1)
    assert origin.tokenizer == tokenizer_bytes()
    for name, value in weights_to_hf(origin.weights(), origin.shape).items():
        assert torch.equal(value, theirs.state_dict()[name]), name
    digest = model_digest(str(tmp_path))
    assert origin.lineage.keys() == {"imported"}
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + "\n")
    assert model_digest(str(tmp_path)) != digest


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint here"):
        Origin.open(str(tmp_path), dropout=0.0)
    other = write_checkpoint(tmp_path, "evaluate", {}, {"a": torch.ones(1)})
    with pytest.raises(UserError, match="was written by evaluate; give a checkpoint of pretraining or fine-tuning"):
        Origin.open(str(other), dropout=0.0)
