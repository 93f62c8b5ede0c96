"""The misbehaving server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile_server import Certificates, HostileServer


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setenv("SSL_CERT_FILE", certificates.trusted)
    with HostileServer(certificates) as running:
        yield running
