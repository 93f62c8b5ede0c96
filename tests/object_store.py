"""A local server that speaks S3."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from data_prep import store


@contextmanager
def s3_bucket(name: str) -> Iterator[str]:
    """The URL of a bucket, for this process and those that it starts; skips where the server is not installed."""
    missing = [package for package in ("moto", "s3fs", "flask") if importlib.util.find_spec(package) is None]
    if missing:
        message = f"{', '.join(missing)} not installed: pip install -e '.[dev]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store.filesystem(f"s3://{name}")[0].mkdir(name)
        yield f"s3://{name}"
    server.stop()
