"""The log as text, the same that `twistd` writes by itself, at a fifth of the price."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEventAsClassicLogText
from twisted.python.logfile import LogFile
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

#: Events that are written at once: they may be the last.
_URGENT = frozenset({LogLevel.error, LogLevel.critical})
#: Characters that wait to be written.
_WAITING = 256 * 1024


@implementer(ILogObserver)
class TextLog:
    """
    Writes a line for each event; in the reactor's thread those of one turn together.

    What a process that is killed has not written is the lines of its last turn; errors are written at once, with all
    that came before them.
    """

    def __init__(self, file: IO[Any] | LogFile, reactor: Any) -> None:
        self._file = file
        self._reactor = reactor
        self._is_text = not isinstance(file, LogFile)
        self._lines: list[str] = []
        self._size = 0
        self._is_due = False
        self._second = -1
        self._time = ""

    def __call__(self, event: LogEvent) -> None:
        """Write an event, now or soon."""
        if self._reactor.running and not isInIOThread():
            self._reactor.callFromThread(self, event)
            return
        line = self._line(event)
        if not line:
            return
        self._lines.append(line)
        self._size += len(line)
        if not self._reactor.running or event.get("log_level") in _URGENT or self._size > _WAITING:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._reactor.callLater(0, self._write_soon)

    def _write_soon(self) -> None:
        self._is_due = False
        self.flush()

    def flush(self) -> None:
        """Write all that waits."""
        lines, self._lines, self._size = self._lines, [], 0
        if lines:
            octets = "".join(lines).encode("utf-8", "backslashreplace")
            self._file.write(octets.decode("utf-8") if self._is_text else octets)
            self._file.flush()

    def _line(self, event: LogEvent) -> str | None:
        """Return what Twisted's own observer writes."""
        form = event.get("log_format")
        if "log_failure" in event or "log_system" in event or not isinstance(form, str) or "(" in form:
            return formatEventAsClassicLogText(event, self._stamp)
        try:
            text = form.format_map(event)
        except Exception:  # Twisted says what is wrong with it
            return formatEventAsClassicLogText(event, self._stamp)
        if not text:
            return None
        level: Any = event.get("log_level")
        system = f"{event.get('log_namespace', '-')}#{level.name if level is not None else '-'}"
        return f"{self._stamp(event.get('log_time'))} [{system}] {text.replace(chr(10), chr(10) + chr(9))}\n"

    def _stamp(self, when: float | None) -> str:
        """Return a time as RFC 3339 has it, which is made once a second."""
        if when is None:
            return "-"
        second = int(when)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
        return self._time


def text_log(options: Mapping[str, Any], reactor: Any) -> TextLog | None:
    """
    Return what writes to where ``twistd --logfile`` says; a file is turned over by its size, and when SIGUSR1 comes.

    None is for where Twisted is to do it: with ``--syslog`` and ``--logger``, and under `twist`.
    """
    if "logfile" not in options or options.get("syslog") or options.get("logger"):
        return None
    name, stays = options["logfile"] or "", options.get("nodaemon")
    if name == "-" or (stays and not name):
        return TextLog(sys.stdout, reactor) if stays else None
    file = LogFile.fromFullPath(name or "twistd.log")
    log = TextLog(file, reactor)
    if not signal.getsignal(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return log
