"""Why a request gave nothing: every error of the HTTP client as one short reason."""

from __future__ import annotations

import socket
import ssl

import aiohttp

_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}


class Failure(Exception):
    """A URL cannot be fetched, or may not.

    Args:
        reason: short name that the counts and the removal log carry.
        detail: what a reader of the log needs beside it.
        retry: whether it may pass.
        host: whether no connection came about, so that no other page of the host can be had either.
        offline: whether it looks the same when this machine has lost its network.
    """

    def __init__(
        self, reason: str, detail: str = "", *, retry: bool = False, host: bool = False, offline: bool = False
    ) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
        self.retry, self.host, self.offline = retry, host, offline

    def fresh(self) -> Failure:
        """The same without the traceback, which would keep what the request held in memory."""
        return Failure(self.reason, self.detail, retry=self.retry, host=self.host, offline=self.offline)


def failure_of(error: Exception) -> Failure:
    """What an exception of one request means.

    An exception that is not foreseen is the page's fault too: no page of a hostile server may end the whole crawl.
    """
    text = " ".join(str(error).split())[:200]
    if isinstance(error, Failure):
        return error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        known = isinstance(error.os_error, socket.gaierror) and error.os_error.errno in _NO_SUCH_NAME
        return Failure("no-such-host" if known else "dns", text, retry=not known, host=True, offline=not known)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.CertificateError):
        return Failure("bad-certificate", text, host=True)
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Failure("tls", text, host=True)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure("connect-timeout", retry=True, host=True, offline=True)
    if isinstance(error, TimeoutError):
        return Failure("timeout", text)
    if isinstance(error, aiohttp.ClientConnectorError):
        return Failure("no-connection", text, retry=True, host=True, offline=True)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure("incomplete", text, retry=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Failure("bad-url", text)
    if isinstance(error, aiohttp.ClientResponseError):
        return Failure("bad-response", text)
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        return Failure("connection-lost", text, retry=True)
    return Failure("client-error", f"{type(error).__name__}: {text}")
