from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a small corpus whose stages are all complete; not to be changed (see `finished_corpus.copied`)."""
    import finished_corpus

    return finished_corpus.make(tmp_path_factory.mktemp("finished-corpus"))
