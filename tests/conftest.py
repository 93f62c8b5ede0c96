"""Fixtures that tests of several packages share."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes says something about the machine only.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A shell ignores it for what it runs in the background, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


HERE = Path(__file__).parent
LONGEST = [
    HERE / name
    for name in (
        "slurm/test_training_jobs.py",
        "data_prep/test_kills.py",
        "slurm/test_chain_jobs.py",
        "launch/test_demo.py",
        "launch/test_pretrain.py",
        "slurm/test_hosts.py",
        "data_prep/test_slurm_executor.py",
        "pipeline/parity/test_parity.py",
        "pipeline/train/test_parallelize.py",
        "pipeline/train/test_faulty_runs.py",
        "pipeline/train/test_random_kills.py",
        "pipeline/train/test_reshard.py",
    )
]
"""Files of half a minute and more, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files go first, then those with slow tests, so that no worker begins one of them last."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    first = {path: number for number, path in enumerate(LONGEST)}
    items.sort(key=lambda item: (first.get(item.path, len(first)), -slow[item.path]))


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a token dataset; not to be written to."""
    from small_model import write_dataset

    folder = tmp_path_factory.mktemp("data") / "shards"
    write_dataset(folder)
    return folder


@pytest.fixture(scope="session")
def pretrained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small model that has learned something; not to be written to."""
    from harness import ranks
    from small_model import model_config, pretrain_config

    from pipeline.pretrain import pretrain

    config = pretrain_config(
        small_dataset,
        tmp_path_factory.mktemp("pretrained"),
        model=model_config(d_model=32).model_dump(),
        train={"tokens": 40 * 12 * 16, "global_batch": 12, "micro_batch": 12, "log_every": 20},
        checkpoint={"every": 40},
        validation={"every": 40},
    )
    return Path(ranks(1, pretrain, config)[0]["checkpoint"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 1 MiB."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
