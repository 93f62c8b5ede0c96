from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a small corpus whose stages are all complete; not to be changed (see `finished_corpus.copied`)."""
    import finished_corpus

    return finished_corpus.make(tmp_path_factory.mktemp("finished-corpus"))


@pytest.fixture(scope="session", autouse=True)
def _one_server_for_all_stages() -> Iterator[None]:
    """The first pool of a process decides what the server imports from which all its workers are forked."""
    original = forkserver.set_forkserver_preload
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            forkserver, "set_forkserver_preload", lambda names: original(["pandas", "data_prep.chain", *names])
        )
        yield
