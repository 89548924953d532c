"""How far it is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from mailfw.commands.words import octets, safe

#: Seconds between two drawings of a bar, and between two lines.
_DRAWN, _TOLD = 0.1, 10.0
_WIDTH = 28


class Bar:
    """Shows on standard error how far it is; `clock` counts seconds."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_drawn = self._stream.isatty()
        self._what = ""
        self._total = self._done = self._octets = 0
        self._began = self._shown = 0.0

    def begin(self, what: str, messages: int) -> None:
        """Show something new."""
        self._what, self._total = safe(what), messages
        self._done = self._octets = 0
        self._began = self._shown = self._clock()
        if self._is_drawn and messages:
            self._draw()

    def advance(self, messages: int, octets: int) -> None:
        """Count so many more as done."""
        self._done += messages
        self._octets += octets
        if self._clock() - self._shown >= (_DRAWN if self._is_drawn else _TOLD):
            self._shown = self._clock()
            self._draw()

    def end(self) -> None:
        """Leave the last drawing where it is."""
        if self._is_drawn and self._total:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def _draw(self) -> None:
        start, end = ("\r", "\x1b[K") if self._is_drawn else ("", "\n")
        self._stream.write(f"{start}{self.text()}{end}")
        self._stream.flush()

    def text(self) -> str:
        """Return what is shown."""
        passed = max(self._clock() - self._began, 0.001)
        rate = self._done / passed
        total = max(self._total, self._done)
        filled = _WIDTH * self._done // total if total else _WIDTH
        counts = f"{self._done}/{total}" if self._total else f"{self._done}"
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] " if self._is_drawn else ""
        left = f", {_duration((total - self._done) / rate)} left" if self._done and self._done < total else ""
        size = f", {octets(self._octets)}" if self._octets else ""
        return f"{self._what[:40]} {bar}{counts} messages{size}, {rate:.0f}/s{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
