"""A tiny tokenizer, token dataset, labelled task and settings for tests of training."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from data_prep import store, tokenizer
from data_prep.configfile import merge, validate
from data_prep.shards import TOKENIZER, DatasetManifest, ShardInfo, SplitInfo, token_dtype, write_shard
from data_prep.tokenizer import Tokenizer
from pipeline.config.schema import FinetuneConfig, ModelConfig, OptimizerConfig, PretrainConfig
from pipeline.data.batches import Batch
from pipeline.model.gpt import GPT

SUBJECTS = ("the cat", "a dog", "my sister", "the old man", "nobody", "the river")
VERBS = ("sees", "likes", "finds", "follows", "forgets")
OBJECTS = ("the moon", "a boat", "two apples", "the long road", "it")


def sentence(draw: random.Random) -> str:
    return f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)}."


def text(draw: random.Random, sentences: int = 4) -> str:
    return " ".join(sentence(draw) for _ in range(sentences))


@cache
def tokenizer_bytes(vocab_size: int = 300) -> bytes:
    draw = random.Random(0)
    return tokenizer.train(iter([text(draw) for _ in range(200)]), vocab_size)


def _shard(folder: Path, name: str, texts: list[str], encoder: Tokenizer) -> ShardInfo:
    dtype = token_dtype(encoder.vocab_size)
    documents = [np.array([*encoder.encode(one), encoder.eot_id], dtype) for one in texts]
    path = folder / name
    with path.open("wb") as handle:
        tokens = write_shard(handle, [f"{name}-{i}" for i in range(len(texts))], documents, dtype)
    return ShardInfo(name, store.sha256_of(str(path)), path.stat().st_size, len(texts), tokens)


def write_dataset(
    folder: Path, train: int = 120, validation: int = 12, seed: int = 0, vocab_size: int = 300
) -> DatasetManifest:
    """A token dataset of so many documents, train in two shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).write_bytes(tokenizer_bytes(vocab_size))
    encoder = Tokenizer.load(str(folder / TOKENIZER))
    draw = random.Random(seed)
    texts = [text(draw, draw.randint(2, 6)) for _ in range(train + validation)]
    parts = {"train": [texts[: train // 2], texts[train // 2 : train]], "validation": [texts[train:]]}
    splits = {}
    for split, shards in parts.items():
        infos = tuple(_shard(folder, f"{split}-{i}.arrow", shard, encoder) for i, shard in enumerate(shards) if shard)
        everything = [one for shard in shards for one in shard]
        splits[split] = SplitInfo(
            infos, sum(len(one.encode()) for one in everything), sum(len(one.split()) for one in everything)
        )
    manifest = DatasetManifest(
        name="small",
        tokenizer_sha256=encoder.sha256,
        vocab_size=encoder.vocab_size,
        eot_id=encoder.eot_id,
        dtype=token_dtype(encoder.vocab_size).name,
        splits=splits,
        lineage={"links": "aa", "pages": "bb"},
    )
    manifest.save(str(folder))
    return manifest


def model_config(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate({"n_layer": 2, "n_head": 2, "d_model": 16, "sequence_length": 16, **changes})


def plain_optimizer(module: torch.nn.Module, options: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW as the papers have it, written without the product's grouping: the oracle of what engines do."""
    decay = [p for p in module.parameters() if p.ndim > 1]
    rest = [p for p in module.parameters() if p.ndim == 1]
    return torch.optim.AdamW(
        [{"params": decay, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        betas=options.betas,
        eps=options.eps,
    )


def plain_steps(
    module: GPT, optimizer: torch.optim.Optimizer, clip: float, batches: Iterable[Batch], rates: Iterable[float]
) -> tuple[list[float], list[float]]:
    """(loss, gradient norm before clipping) of each step without DeepSpeed, a whole global batch at once."""
    losses, norms = [], []
    for batch, rate in zip(batches, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        logits = module.logits(batch["tokens"])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(module.parameters(), clip).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms


def pretrain_config(dataset: Path, runs: Path, /, **changes: Any) -> PretrainConfig:
    """8 steps of 12 x 16 tokens, a checkpoint every 4."""
    data = {
        "run": {"name": "run", "dir": str(runs), "seed": 7},
        "model": model_config().model_dump(),
        "data": {"path": str(dataset)},
        "train": {"tokens": 8 * 12 * 16, "global_batch": 12, "micro_batch": 2, "log_every": 1},
        "optimizer": {"lr": 1e-2},
        "schedule": {"warmup_tokens": 2 * 12 * 16},
        "validation": {"every": 4, "tokens": 400},
        "checkpoint": {"every": 4, "keep_last": 2},
        "tracking": {"mlflow": False},
    }
    return validate(PretrainConfig, merge(data, changes), "test")


def finetune_config(checkpoint: Path, task: Path, runs: Path, /, **changes: Any) -> FinetuneConfig:
    """8 examples a step."""
    data = {
        "run": {"name": "finetune", "dir": str(runs), "seed": 7},
        "init": {"checkpoint": str(checkpoint)},
        "task": {"name": "animals", "path": str(task), "dropout": 0.0},
        "train": {"epochs": 2, "global_batch": 8, "micro_batch": 2, "log_every": 1},
        "optimizer": {"lr": 1e-2, "weight_decay": 0.01},
        "schedule": {"kind": "linear", "final_ratio": 0.0},
        "validation": {"every": 4},
        "checkpoint": {"every": 4, "keep_last": 1},
        "tracking": {"mlflow": False},
    }
    return validate(FinetuneConfig, merge(data, changes), "test")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def write_task(folder: Path, train: int = 48, validation: int = 11, test: int = 13) -> None:
    """An easy task: the label is the subject of the sentence."""
    draw = random.Random(5)
    for split, count in (("train", train), ("validation", validation), ("test", test)):
        rows = []
        for number in range(count):
            label = ("cat", "dog", "river")[number % 3]
            start = {"cat": "the cat", "dog": "a dog", "river": "the river"}[label]
            rows.append({"text": f"{start} {draw.choice(VERBS)} {draw.choice(OBJECTS)}.", "label": label})
        write_rows(folder / f"{split}.jsonl", rows)


def random_tokens(shape: tuple[int, ...], vocab_size: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(seed))
