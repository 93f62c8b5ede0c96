"""One near-dedup of a folder of documents by ours or a peer, in a process of its own: `dedup_runs.py WHO IN OUT`.

IN holds Parquet files of documents (id, text, ...); OUT gets what stays, and `result.json` with the processor seconds
of the process and all that it started, the seconds on the wall and the peak memory in MiB. Imports are not counted, the
loading of compiled loops is.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Run = Callable[[Path, Path], None]


def ours(**settings: object) -> Run:
    """All stages of the command `near-dedup`, with the real runner, one task after the other."""
    from data_prep.config import DataConfig
    from data_prep.manifest import FileRef, StageManifest
    from data_prep.runner import run_stage
    from data_prep.steps import enabled_steps

    def run(source: Path, target: Path) -> None:
        config = DataConfig.model_validate(
            {"name": "x", "root": str(target), "inputs": {"dumps": ["d"], "archives": ["a"]}, "near_dedup": settings}
        )
        documents = [FileRef(str(path), path.name, path.stat().st_size) for path in sorted(source.glob("*.parquet"))]
        made: dict[str, StageManifest] = {}
        for step in enabled_steps(config):
            if step.command == "near-dedup":
                files: dict[str, list[FileRef]] = {}
                for label, sources in step.reads.items():
                    found = [
                        ref
                        for stage, part in sources
                        for ref in (made[stage].files(str(target / stage), part) if stage in made else [])
                    ]
                    files[label] = documents if sources[0][0] == "exact-dedup" else found
                start = time.process_time()
                stage_built = step.build(config, str(target / step.name), files, {})
                made[step.name] = run_stage(stage_built, 1, lambda line: None, "inline")
                print(f"{step.name} {time.process_time() - start:.2f}", file=sys.stderr)

    return run


def datatrove() -> Run:
    """Its four stages with its own word tokenizer (spaCy)."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader
    from datatrove.pipeline.writers import ParquetWriter

    def run(source: Path, target: Path) -> None:
        config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
        tasks = len(list(source.glob("*.parquet")))
        at = {name: str(target / name) for name in ("signatures", "buckets", "removed", "kept")}
        for stage, count in (
            ([ParquetReader(str(source)), MinhashDedupSignature(at["signatures"], config)], tasks),
            ([MinhashDedupBuckets(at["signatures"], at["buckets"], config=config)], 14),
            ([MinhashDedupCluster(at["buckets"], at["removed"], config=config)], 1),
            ([ParquetReader(str(source)), MinhashDedupFilter(at["removed"]), ParquetWriter(at["kept"])], tasks),
        ):
            executor = LocalPipelineExecutor(stage, tasks=count, workers=1, logging_dir=None, skip_completed=False)
            executor.run()

    return run


def daft() -> Run:
    """Its MinHash, bands by group-by, connected components by scipy, and the filter, as its documentation shows."""
    import daft as df
    import numpy as np
    from daft import col
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    def run(source: Path, target: Path) -> None:
        frame = df.read_parquet(str(source / "*.parquet"))
        text = col("text").normalize(remove_punct=True, lowercase=True, nfd_unicode=False, white_space=True)
        hashes = text.minhash(num_hashes=112, ngram_size=5, seed=1, hash_function="xxhash")
        signed = frame.select(col("id"), hashes.alias("signature")).collect()
        ids = signed.select("id").to_arrow().column("id")
        numbered = signed.with_column("document", df.functions.monotonically_increasing_id())
        bands = numbered.select(
            col("document"), col("signature").chunk(8).alias("key"), df.lit(list(range(14))).alias("band")
        ).explode("key", "band")
        groups = bands.groupby("band", "key").agg(col("document").list_agg())
        buckets = groups.where(col("document").list_count() > 1).select("document").to_pydict()["document"]
        left = [min(bucket) for bucket in buckets for _ in bucket]
        right = [document for bucket in buckets for document in bucket]
        graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(len(ids), len(ids)))
        _, label = connected_components(graph, directed=False)
        first = np.unique(label, return_index=True)[1]
        stay = ids.take(first).to_pylist()
        keep = df.from_pydict({"id": stay})
        frame.join(keep, on="id", how="semi").write_parquet(str(target / "kept"))

    return run


RUNS: dict[str, Callable[[], Run]] = {
    "ours": ours,
    "verified": lambda: ours(verify=True, threshold=0.5),
    "gpt3": lambda: ours(bands=10, rows=1, verify=True, threshold=0.5),
    "stars": lambda: ours(star_rounds=3),
    "datatrove": datatrove,
    "daft": daft,
}


def seconds() -> float:
    """Processor seconds of this process and of those it started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def main(arguments: Sequence[str]) -> None:
    """Run and write the result."""
    who, source, target = arguments[0], Path(arguments[1]), Path(arguments[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    target.mkdir(parents=True)
    run = RUNS[who]()
    start, wall = seconds(), time.perf_counter()
    run(source, target)
    result = {"seconds": seconds() - start, "wall": time.perf_counter() - wall}
    # Not ru_maxrss: a process that was forked and then executed starts with the peak of its parent.
    (peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
    (target / "result.json").write_text(json.dumps({**result, "mib": int(peak) / 1024}))


if __name__ == "__main__":
    main(sys.argv[1:])
