"""A terminal for programs that draw on one: what they show is what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from pathlib import Path
from types import TracebackType

import pyte

LINES, COLUMNS = 40, 120
PATIENCE = 60.0


class Terminal:
    """
    Runs a program until it ends, in a ``with``; `home` is its home.

    A key has its effect at some time after it was pressed: `see` what it does before the next.
    """

    def __init__(self, home: Path, *command: str) -> None:
        self._program = command[0]
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self._is_open = True
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.environ.update(HOME=str(home), TERM="linux", LANG="C.UTF-8", LC_ALL="C.UTF-8")
            os.chdir(home)
            os.execv(command[0], command)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    @property
    def shown(self) -> str:
        """All lines of the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def press(self, keys: str) -> None:
        """Press keys, as they come."""
        os.write(self._terminal, keys.encode())

    def see(self, words: str, *, gone: bool = False) -> None:
        """Wait until these words are on the screen, or are `gone`."""
        until = time.monotonic() + PATIENCE
        while (words in self.shown) is gone:
            if not self._read() or time.monotonic() > until:
                raise AssertionError(f"{self._program} does not show {words!r}, but:\n{self.shown}")

    def do(self, *steps: tuple[str, str]) -> None:
        """Press keys and see what comes of them, again and again."""
        for keys, words in steps:
            self.press(keys)
            self.see(words)

    def _read(self) -> bool:
        """Take what the program writes; not true when it has ended."""
        if self._is_open and select.select([self._terminal], [], [], 0.2)[0]:
            try:
                octets = os.read(self._terminal, 65536)
            except OSError:  # the program has closed its side
                octets = b""
            self._is_open = bool(octets)
            self._stream.feed(octets)
        return self._is_open

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = time.monotonic() + PATIENCE
        while kind is None and self._read() and time.monotonic() < until:
            pass
        is_on = self._is_open
        if is_on:
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._terminal)
        if is_on and kind is None:
            raise AssertionError(f"{self._program} does not end, but shows:\n{self.shown}")
