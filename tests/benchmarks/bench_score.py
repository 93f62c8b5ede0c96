"""Scoring and generating beside the lm-evaluation-harness's own `hf` model: one export, one list of requests, turns.

A model of GPT-2's smallest shape with random weights and GPT-2's vocabulary; texts of HellaSwag and of the corpus
(WEBTEXT_DATA_ROOT). Both use the cores that they are given; some minutes on one. Requests per second of wall-clock and
of processor time, and the largest difference of a log-likelihood; the peer's batch is the fastest of those tried
(BENCH_SCORE_BATCHES), in the pass that is not counted.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
import zstandard
from measure import Row

from data_prep.tokenizer import published

ITEMS = int(os.environ.get("BENCH_SCORE_ITEMS", "4"))
SHOTS = int(os.environ.get("BENCH_SCORE_SHOTS", "2"))
BATCHES = [int(size) for size in os.environ.get("BENCH_SCORE_BATCHES", "8").split(",")]
REPEATS = int(os.environ.get("BENCH_SCORE_REPEATS", "2"))
LAYERS = int(os.environ.get("BENCH_SCORE_LAYERS", "12"))
TEXT_CHARACTERS = 6000
"""Of each text for rolling log-likelihood: more than a window of 1,024 tokens."""
ROOT = os.environ.get("WEBTEXT_DATA_ROOT")


def export(root: Path, folder: Path) -> Path:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=LAYERS))
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(published.read(str(root / "gpt2_vocab")))
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def hellaswag(root: Path) -> list[tuple[str, list[str], int]]:
    """(context, endings, number of the right one)."""
    with zstandard.open(root / "eval" / "hellaswag.tar.zst") as packed:
        data = io.BytesIO(packed.read())
    with tarfile.open(fileobj=data) as archive:
        lines = archive.extractfile("hellaswag/hellaswag_val_full.txt").read().decode().splitlines()  # type: ignore[union-attr]
    return [(lines[at], lines[at + 2 : at + 6], int(lines[at + 1])) for at in range(0, len(lines) - 5, 6)]


def documents(root: Path, count: int) -> list[str]:
    with zstandard.open(root / "text_en" / "text_en.jsonl.zst", "rt", encoding="utf-8") as lines:
        texts = (json.loads(line)["text"] for line in lines)
        return [text[:TEXT_CHARACTERS] for text, _ in zip((t for t in texts if len(t) > TEXT_CHARACTERS), range(count))]  # noqa: B905


def instances(arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [SimpleNamespace(args=one) for one in arguments]


@pytest.mark.benchmark
@pytest.mark.timeout(3000)
@pytest.mark.skipif(ROOT is None, reason="WEBTEXT_DATA_ROOT is not set")
def test_score(table: list[Row], tmp_path: Path) -> None:
    from lm_eval.models.huggingface import HFLM

    from pipeline.evaluate.harness_model import WebtextLM

    root = Path(str(ROOT))
    folder = export(root, tmp_path / "gpt2")
    questions = hellaswag(root)
    shots = "".join(f"{context} {endings[right]}\n\n" for context, endings, right in questions[-SHOTS:])
    asked = questions[:ITEMS]
    plain = [(context, f" {ending}") for context, endings, _ in asked for ending in endings]
    few = [(shots + context, continuation) for context, continuation in plain[: len(plain) // 2]]
    how = {"until": ["\n"], "max_gen_toks": 24}
    work: list[tuple[str, str, list[tuple[Any, ...]]]] = [
        ("HellaSwag, 4 endings", "loglikelihood", list(plain)),
        (f"HellaSwag, {SHOTS} shots", "loglikelihood", list(few)),
        (
            f"rolling, {TEXT_CHARACTERS:,} characters",
            "loglikelihood_rolling",
            [(text,) for text in documents(root, max(1, ITEMS // 4))],
        ),
        ("greedy, 24 tokens", "generate_until", [(context, how) for context, _, _ in asked]),
    ]
    ours: Any = WebtextLM(checkpoint=str(folder))
    peers = {size: HFLM(pretrained=str(folder), dtype="float32", batch_size=size, device="cpu") for size in BATCHES}
    for name, kind, arguments in work:
        requests = instances(arguments)
        tried = {size: timed(partial(call, peer, kind, requests)) for size, peer in peers.items()}
        size = min(tried, key=lambda size: tried[size].wall)
        mine = [timed(partial(call, ours, kind, requests))]
        theirs = [tried[size]]
        for _ in range(REPEATS):
            mine.append(timed(partial(call, ours, kind, requests)))
            theirs.append(timed(partial(call, peers[size], kind, requests)))
        difference = compare(mine[0].answers, theirs[0].answers)
        count = len(requests)
        wall, their_wall = (count / statistics.median(one.wall for one in runs[1:]) for runs in (mine, theirs))
        used, their_used = (count / statistics.median(one.processor for one in runs[1:]) for runs in (mine, theirs))
        table.append(
            Row(
                name,
                f"{used:.3g} requests/s of processor time, {wall:.3g} by the clock",
                f"hf, batch {size}: {their_used:.3g}, {their_wall:.3g}",
                f"{used / their_used:.2f}x, {wall / their_wall:.2f}x",
                f"{count} requests; {difference}",
            )
        )


@dataclass(frozen=True)
class Run:
    """Answers, and the seconds that they took."""

    answers: list[Any]
    wall: float
    processor: float


def call(model: Any, kind: str, requests: list[Any]) -> Any:
    return getattr(model, kind)(requests, disable_tqdm=True)


def timed(function: Callable[[], list[Any]]) -> Run:
    wall, processor = time.perf_counter(), time.process_time()
    answers = function()
    return Run(answers, time.perf_counter() - wall, time.process_time() - processor)


def compare(ours: list[Any], theirs: list[Any]) -> str:
    """What the answers differ by; they must not by more than rounding."""
    if isinstance(ours[0], str):
        same = sum(one == other for one, other in zip(ours, theirs, strict=True))
        assert same == len(ours)
        return f"{same} of {len(ours)} texts the same"
    values = [one[0] if isinstance(one, tuple) else one for one in ours]
    others = [one[0] if isinstance(one, tuple) else one for one in theirs]
    worst = max(abs(one - other) / max(1.0, abs(other)) for one, other in zip(values, others, strict=True))
    assert worst < 1e-4
    return f"log-likelihoods differ by {worst:.0e} of their size at most"
