"""Two hosts on one machine: private ssh daemons on addresses of their own, in network namespaces where these can be."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ports import free_port

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass(frozen=True)
class Host:
    """A host.

    Attributes:
        address: IPv4.
        enter: words in front of a command that is to run there.
    """

    address: str
    enter: tuple[str, ...] = ()


def require(*programs: str) -> None:
    """Skip where a program is not installed; in continuous integration, which installs them, fail."""
    missing = [name for name in programs if shutil.which(name) is None and not Path("/usr/sbin", name).exists()]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)} not found: .ci/run installs them")
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: apt install openssh-server pdsh iproute2")


@contextlib.contextmanager
def ssh_daemons(folder: Path, hosts: list[Host]) -> Iterator[Path]:
    """A daemon on each host that lets this user in; gives the file for `ssh -F`."""
    folder.mkdir()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where root's sshd keeps itself apart
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    with contextlib.ExitStack() as stack:
        for host in hosts:
            config = folder / f"sshd-{host.address}"
            config.write_text(
                f"ListenAddress {host.address}\nPort {port}\nHostKey {folder}/host\nStrictModes no\nUsePAM no\n"
                f"AuthorizedKeysFile {folder}/user.pub\nPidFile none\nClientAliveInterval 2\nClientAliveCountMax 2\n"
            )
            daemon = subprocess.Popen([*host.enter, SSHD, "-D", "-f", str(config), "-E", f"{config}.log"])
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
        client = folder / "ssh_config"
        client.write_text(
            f"Host *\nPort {port}\nIdentityFile {folder}/user\nStrictHostKeyChecking no\nBatchMode yes\n"
            "UserKnownHostsFile /dev/null\nLogLevel ERROR\nServerAliveInterval 2\nServerAliveCountMax 2\n"
        )
        for host in hosts:
            _wait_until_up(host, client)
        yield client


def _wait_until_up(host: Host, client: Path) -> None:
    command = [*host.enter, "ssh", "-F", str(client), host.address, "true"]
    deadline = time.monotonic() + 60
    while (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.1)


@contextlib.contextmanager
def joined_namespaces() -> Iterator[list[Host]]:
    """Two hosts with a network each and a cable between them, at `eth0` of both; skips where that cannot be made."""
    names = [f"webtext-{os.getpid()}-{letter}" for letter in "ab"]
    hosts = [Host(f"10.231.77.{number}", ("ip", "netns", "exec", name)) for number, name in enumerate(names, 1)]
    with contextlib.ExitStack() as stack:
        for name in names:
            made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        ends = ["netns", names[0], "type", "veth", "peer", "name", "eth0", "netns", names[1]]
        cable = subprocess.run(["ip", "link", "add", "eth0", *ends], capture_output=True, text=True, check=False)
        if cable.returncode:
            pytest.skip(f"a virtual cable cannot be made here: {cable.stderr.strip()}")
        for host in hosts:
            for words in (
                ["addr", "add", f"{host.address}/24", "dev", "eth0"],
                ["link", "set", "lo", "up"],
                ["link", "set", "eth0", "up"],
            ):
                subprocess.run([*host.enter, "ip", *words], check=True)
        yield hosts


def cable(host: Host, state: str) -> None:
    """Pull the cable out at a host ("down"), or put it in again ("up")."""
    subprocess.run([*host.enter, "ip", "link", "set", "eth0", state], check=True)
