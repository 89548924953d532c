"""A server in a process of its own, for tests that must see it from outside."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

#: Seconds to wait for a server to start or stop; only a server that is broken takes as long.
PATIENCE = 60.0
#: What listens by default, here on ports that the system picks.
SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "http")
BIN = Path(sys.executable).parent


def listen_anywhere(*services: str) -> list[str]:
    """Return settings that turn on these services and no other."""
    return [
        f'--set=listen.{name}=["tcp:0:interface=127.0.0.1"]' if name in services else f"--set=listen.{name}=[]"
        for name in SERVICES
    ]


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for what must become true, and fail with `what` when it does not."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


#: No port is given out twice in a row, and processes that work side by side begin in different places.
_places = itertools.count(os.getpid() * 2_500)


def free_port() -> int:
    """Return a loopback port that was free a moment ago, below those that outgoing connections take by themselves."""
    while True:
        port = 12_000 + next(_places) % 20_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def own_address(number: int) -> str:
    """Return a loopback address that no other process of a test run uses, for what needs a port of its own."""
    process = os.getpid()
    return f"127.{number}.{process >> 8 & 255}.{process & 255}"


class NotStarted(Exception):
    """The server ended, or said nothing in time; the text is what it said."""


class RunningServer:
    """
    ``twistd mailfw`` (or `program`), started in `folder`; `said` is all it has said.

    A test adds `stop` to its cleanups.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: Sequence[str] = ("twistd", "--nodaemon", "--pidfile="),
        until: str = " serves mail for ",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._asked = False
        self._log = (folder / "said").open("w+b")
        # A test that wants workers says so: `--workers` among the arguments comes later, and wins.
        command = [str(BIN / program[0]), *program[1:], "mailfw", "--workers=0", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until(until)
        except BaseException:
            self.stop()
            raise

    def _wait_until(self, word: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while word not in self.said or not self.said.endswith("\n"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(self.said)
            time.sleep(0.02)

    @property
    def said(self) -> str:
        """Everything on standard output and error so far."""
        return (self.folder / "said").read_text("utf-8", "replace")

    @property
    def ports(self) -> dict[str, int]:
        """The port of each service, as the server tells them."""
        return {
            name: int(port) for name, port in re.findall(r"^\s+(\w+) +127\.0\.0\.1:(\d+)$", self.said, re.MULTILINE)
        }

    @property
    def password(self) -> str | None:
        """The first account's, if the server has just made it."""
        found = re.search(r"Password: (\S+)", self.said)
        return found[1] if found else None

    def terminate(self) -> None:
        """Ask it to stop, once, as a service manager does."""
        if not self._asked:
            self.process.send_signal(signal.SIGTERM)
        self._asked = True

    def stop(self) -> int:
        """Stop it, if it runs, and return its exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._log.close()


def run(program: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end."""
    return subprocess.run(
        [str(BIN / program), *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )
