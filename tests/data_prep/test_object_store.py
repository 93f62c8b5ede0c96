"""The whole chain with inputs and outputs on object stores: in memory, and on a local server that speaks S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_web
import test_chain
from object_store import s3_bucket
from test_chain import Finished, finished, web  # noqa: F401 -- fixtures

from data_prep import chain, configfile, lock, runner, store
from data_prep.config import DataConfig
from data_prep.errors import UserError

BUCKET = "corpus"


def put(web: list[str], root: str) -> list[str]:  # noqa: F811
    """Copy a small web; returns the overrides that name it there."""
    folder = web[0].partition("[")[2].rpartition("/")[0]
    for path in store.listing(folder):
        store.write_bytes(store.join(root, Path(path).name), store.read_bytes(path))
    return [f"inputs.dumps=[{root}/RS_*]", f"inputs.archives=[{root}/pages-*.warc.gz]"]


def hashes(root: str) -> dict[str, str]:
    """As `test_chain.hashes`."""
    found = {path.removeprefix(root).lstrip("/"): path for path in store.listing(f"{root}/**")}
    kept = {name: path for name, path in found.items() if "logs" not in name.split("/")}
    return {name: store.sha256_of(path) for name, path in kept.items() if not name.endswith(runner.PLAN_FILE)}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(small_web.CONFIG)
    return str(path)


def test_in_memory(
    config: str,
    web: list[str],  # noqa: F811
    finished: Finished,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    given = put(web, f"{root}/input")
    settings = configfile.load(config, DataConfig, [f"root={root}/root", *given])
    monkeypatch.setattr(runner, "_run_tasks", test_chain.run_here)  # no other process sees this memory
    chain.Chain(settings, workers=1, say=lambda line: None).run()
    assert hashes(f"{root}/root") == test_chain.hashes(finished[0] / "root")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket, for this process and those that it starts."""
    with s3_bucket(BUCKET) as url:
        yield url


@pytest.mark.slow
@pytest.mark.timeout(900)  # on two busy cores
def test_on_s3_killed_and_run_again(s3: str, config: str, web: list[str], finished: Finished) -> None:  # noqa: F811
    given = put(web, f"{s3}/input")
    command = [sys.executable, "-m", "data_prep.cli", "run", config, f"root={s3}/root", *given, "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not store.listing(f"{s3}/root/pages/tasks") and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert store.exists(f"{s3}/root/{lock.FILE}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "complete, verified" in done.stdout
    assert hashes(f"{s3}/root") == test_chain.hashes(finished[0] / "root")


def test_one_run_at_a_time_on_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"{s3}/{uuid.uuid4().hex}"
    path = f"{root}/{lock.FILE}"
    with lock.held(root):
        with pytest.raises(UserError, match=f"{path}: process {os.getpid()} on .* works here; wait"), lock.held(root):
            pass
        assert (lock.holder(root) or {})["pid"] == os.getpid()
    assert lock.holder(root) is None
    gone = subprocess.Popen(["true"])
    gone.wait()
    for stale in ({"pid": gone.pid}, {"host": "elsewhere", "time": time.time() - lock.STALE_SECONDS - 1}):
        store.write_json(path, {**lock._me(), **stale})
        with lock.held(root):
            pass
    store.write_json(path, {**lock._me(), "host": "elsewhere"})
    with pytest.raises(UserError, match="on elsewhere"), lock.held(root):
        pass


def test_what_other_processes_write_is_seen_at_once(s3: str) -> None:
    root = f"{s3}/{uuid.uuid4().hex}"
    assert store.listing(root) == []
    assert not store.exists(f"{root}/a")
    program = "import sys; from data_prep import store; store.write_bytes(sys.argv[1], b'1')"
    subprocess.run([sys.executable, "-c", program, f"{root}/a"], check=True)
    assert store.listing(root) == [f"{root}/a"]
    assert store.exists(f"{root}/a")


def test_an_upload_that_breaks_off_leaves_nothing(s3: str) -> None:
    class Breaks:
        count = 0

        def read(self, size: int) -> bytes:
            self.count += 1
            if self.count > 12:
                raise ZeroDivisionError
            return b"x" * size

    path = f"{s3}/{uuid.uuid4().hex}/big"
    with pytest.raises(ZeroDivisionError):
        store.upload(Breaks(), path)  # type: ignore[arg-type]
    assert not store.exists(path)


def test_refusals_are_one_clear_line(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^s3://no-such-bucket/a: cannot be written .*make the bucket first"):
        store.write_bytes("s3://no-such-bucket/a", b"1")
    with pytest.raises(UserError, match=r"nosuch://a: .*check the path"):
        store.exists("nosuch://a")
    program = "import sys; from data_prep import store; from data_prep.errors import exit_on_user_error\n"
    program += "with exit_on_user_error(): store.listing(sys.argv[1])"
    environment = {**os.environ, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, s3], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {s3}: the object store cannot be used (EndpointConnectionError: ")
    assert done.stderr.count("\n") == 1
