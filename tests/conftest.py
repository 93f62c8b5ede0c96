"""Fixtures that tests of several packages share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a token dataset; not to be written to."""
    from small_model import write_dataset

    folder = tmp_path_factory.mktemp("data") / "shards"
    write_dataset(folder)
    return folder
