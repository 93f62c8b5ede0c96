"""Fine-tuning by the Trainer beside transformers' Trainer: the same shape, data, batch, micro-batch and optimizer.

One rank, fp32, a classifier of some 3 million parameters without the language-model loss, which theirs does not have.
Texts of lognormal lengths. Both pad each micro-batch to its longest text; theirs draws at random by default, and sorts
fifty micro-batches by length if asked. Both log every fourth step and neither validates nor saves in between.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from finetuned import VOCAB, write_checkpoint
from harness import ranks
from measure import Row
from small_model import finetune_config, model_config, sentence, tokenizer_bytes, write_rows

from data_prep.tokenizer import Tokenizer
from pipeline.config.schema import FinetuneConfig, ModelConfig
from pipeline.finetune.run import finetune
from pipeline.finetune.task import Task
from pipeline.model.gpt import GPT
from pipeline.model.init import initialize
from pipeline.model.sizes import parameter_count

LENGTH, BATCH, MICRO_BATCH, STEPS, LAP, REPEATS = 128, 32, 8, 16, 4, 3
SHAPE: ModelConfig = model_config(n_layer=4, n_head=4, d_model=256, sequence_length=LENGTH)
LABELS = ("cat", "dog")
Seconds = float


def write_texts(folder: Path) -> float:
    """A task whose texts have lognormal lengths; mean tokens of the training texts."""
    draw, lengths = random.Random(0), []
    for split, count in (("train", STEPS * BATCH), ("validation", 8), ("test", 8)):
        rows = []
        for number in range(count):
            sentences = max(1, round(draw.lognormvariate(1.7, 0.7)))
            rows.append({"text": " ".join(sentence(draw) for _ in range(sentences)), "label": LABELS[number % 2]})
        write_rows(folder / f"{split}.jsonl", rows)
        if split == "train":
            encoded = Tokenizer(tokenizer_bytes()).encode_batch([row["text"] for row in rows])
            lengths = [min(len(one), LENGTH - 2) for one in encoded]
    return statistics.mean(lengths)


def ours(config: FinetuneConfig) -> Seconds:
    """Seconds of all steps behind the first lap of a real run."""
    finetune(config)
    lines = (Path(config.run.dir) / config.run.name / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line)["metrics"].get("perf/examples_per_s") for line in lines]
    laps: list[float] = [LAP * BATCH / rate for rate in rates if rate]
    assert len(laps) == STEPS // LAP
    return sum(laps[1:])


def theirs(config: FinetuneConfig, sampling: str, threads: int) -> Seconds:
    """The same of transformers' Trainer."""
    torch.set_num_threads(threads)
    import transformers

    task, tokenizer = Task.load(config.task), Tokenizer(tokenizer_bytes())
    texts = [one.texts[0] for one in task.splits["train"]]
    # Ours adds a start and an extract token; here two ids stand in their places, so that the lengths are the same.
    rows: list[dict[str, Any]] = [
        {"input_ids": [0, *ids[: LENGTH - 2], 1], "labels": task.labels.index(str(one.label))}
        for ids, one in zip(tokenizer.encode_batch(texts), task.splits["train"], strict=True)
    ]
    shape: dict[str, Any] = {
        "vocab_size": VOCAB + 3,
        "n_layer": SHAPE.n_layer,
        "n_head": SHAPE.n_head,
        "n_embd": SHAPE.d_model,
        "n_positions": LENGTH,
        "num_labels": len(LABELS),
        "pad_token_id": VOCAB - 1,
        "use_cache": False,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    }
    model = transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**shape))
    (Path(config.run.dir) / "tokenizer.json").write_bytes(tokenizer_bytes())
    padding = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(Path(config.run.dir) / "tokenizer.json"), pad_token="<|endoftext|>"
    )
    ends: list[float] = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    options = config.optimizer
    arguments = transformers.TrainingArguments(
        output_dir=str(Path(config.run.dir) / "theirs"),
        per_device_train_batch_size=MICRO_BATCH,
        gradient_accumulation_steps=BATCH // MICRO_BATCH,
        num_train_epochs=1,
        learning_rate=options.lr,
        weight_decay=options.weight_decay,
        max_grad_norm=options.grad_clip,
        lr_scheduler_type="linear",
        train_sampling_strategy=sampling,
        logging_steps=LAP,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(padding),
        callbacks=[Clock()],
    ).train()
    assert len(ends) == STEPS
    return ends[-1] - ends[LAP - 1]


@pytest.mark.benchmark
def test_finetune(tmp_path: Path, table: list[Row]) -> None:
    mean = write_texts(tmp_path / "task")
    body = GPT(SHAPE, VOCAB)
    initialize(body, SHAPE, 1)
    checkpoint = write_checkpoint(tmp_path / "body", "pretrain", SHAPE.facts(VOCAB), dict(body.named_parameters()))
    base: dict[str, Any] = {
        "train": {"epochs": 1, "global_batch": BATCH, "micro_batch": MICRO_BATCH, "log_every": LAP},
        "optimizer": {"lr": 1e-4},
        "validation": {"every": STEPS},
        "checkpoint": {"every": STEPS},
    }
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {}
    for number in range(REPEATS):
        for aux_lm in (0.0, 0.5):
            name = f"ours, lambda {aux_lm:g}"
            own = {"run": {"name": f"{number}-{aux_lm}"}, "task": {"aux_lm": aux_lm}}
            config = finetune_config(checkpoint, tmp_path / "task", tmp_path, **base, **own)
            seconds.setdefault(name, []).append(ranks(1, ours, config, timeout=280)[0])
        for sampling in ("random", "group_by_length"):
            found = ranks(1, theirs, config, sampling, threads, timeout=280)[0]
            seconds.setdefault(sampling, []).append(found)
    examples = (STEPS - LAP) * BATCH
    rate = {name: examples / statistics.median(times) for name, times in seconds.items()}
    size = parameter_count(SHAPE, VOCAB) / 1e6
    about = (
        f"{size:.1f}M parameters, texts of {mean:.0f} tokens on average, at most {LENGTH}, "
        f"batch {BATCH} as {BATCH // MICRO_BATCH} x {MICRO_BATCH}, {threads} threads"
    )
    for name in ("ours, lambda 0", "ours, lambda 0.5"):
        for sampling in ("random", "group_by_length"):
            table.append(
                Row(
                    f"fine-tuning, 1 rank, fp32; {name}",
                    f"{rate[name]:.1f} examples/s",
                    f"transformers' Trainer ({sampling}) {rate[sampling]:.1f} examples/s",
                    f"{rate[name] / rate[sampling]:.2f}x as fast",
                    about,
                )
            )
