"""A real browser: headless Chromium, told what to do over the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

NAME = "chromium"
_START_SECONDS, _LOAD_SECONDS = 240, 120


def chromium() -> str:
    """Path of the browser; without one the test is skipped, in continuous integration failed."""
    found = shutil.which(NAME)
    if found is None:
        message = f"{NAME} not found: apt install {NAME}"
        pytest.fail(f"{NAME} not found: .ci/run installs it") if os.environ.get("CI") else pytest.skip(message)
    return found


class Browser:
    """One tab.

    Attributes:
        errors: what the pages opened so far wrote to the console as errors, uncaught exceptions included.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket, self._number = loop, socket, 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        return self._loop.run_until_complete(self._call(method, parameters))

    async def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=_LOAD_SECONDS)
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message}"
                return dict(message["result"])
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, about = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(" ".join(str(one.get("value", one.get("description"))) for one in about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")

    def open(self, url: str, width: int = 1100, height: int = 900, dark: bool = False) -> None:
        """Open a page in a window of so many CSS pixels, and wait until it has loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, script: str, seconds: float = _LOAD_SECONDS) -> Any:
        """Wait until a JavaScript expression is true; returns its value."""
        end = time.monotonic() + seconds
        while True:
            result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
            if value := result["result"].get("value"):
                return value
            assert time.monotonic() < end, f"waited in vain for {script}; the page says {self.text()[:2000]}"
            time.sleep(0.1)

    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def screenshot(self, path: Path) -> None:
        """A PNG of the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its files in `folder`."""
    log = folder / "chromium.log"
    command = [
        *(chromium(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}"),
        *("--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--mute-audio"),
        *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
        *(["--no-sandbox"] if os.geteuid() == 0 else []),  # which root cannot have
        "about:blank",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    loop = asyncio.new_event_loop()
    try:
        port = _port(folder / "profile" / "DevToolsActivePort", process, log)
        session, socket = loop.run_until_complete(_connect(port))
        try:
            yield Browser(loop, socket)
        finally:
            loop.run_until_complete(_close(session, socket))
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers too
        process.wait()
        loop.close()


def _port(file: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + _START_SECONDS
    while not file.exists() or not file.read_text().strip():
        assert process.poll() is None, f"the browser ended: {log.read_text(errors='replace')[-2000:]}"
        assert time.monotonic() < end, f"the browser did not start: {log.read_text(errors='replace')[-2000:]}"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as answer:
        tab = await answer.json(content_type=None)
    return session, await session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0)


async def _close(session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
    await socket.close()
    await session.close()
