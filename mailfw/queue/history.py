"""
The lives of messages, written down for `mailfw trace`.

Events are lines of JSON in ``history/current``, which is numbered and left behind when it is large enough; the oldest
go.  Nothing waits for them and nothing depends on them: a full or broken disk costs events, never mail.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.mail.reply import Reply
from mailfw.site import Site
from mailfw.turns import Turns

log = Logger()

#: Seconds that events wait for more of them.
_PAUSE = 0.5
#: Events that may wait for the disk; more are forgotten.
_WAITING = 100_000
#: Events of one message that are shown.
_SHOWN = 10_000
#: Octets that are searched at once.
_BLOCK = 1024 * 1024

_Event = tuple[float, str, str, Mapping[str, object]]


class History:
    """
    Takes notes of what happens to messages and finds them again.

    It keeps `files` files of about `size` octets.  `close` writes what waits; what a process that is killed had not
    written yet, half a second's worth, is gone.
    """

    def __init__(self, site: Site, *, size: int = 16 * 1024 * 1024, files: int = 8) -> None:
        self._clock = site.reactor
        self._disk = Disk(site.reactor)
        self._directory = site.data / "history"
        self._size = size
        self._files = files
        self._events: list[_Event] = []
        self._lost = 0
        self._is_broken = False
        self._timer: Any = None
        self._turns = Turns()

    def note(self, name: str, event: str, /, **facts: object) -> None:
        """Write down, later, what has happened to a message; facts that JSON does not know become text."""
        if len(self._events) >= _WAITING:
            self._lost += 1
            return
        self._events.append((self._clock.seconds(), name, event, facts))
        if self._timer is None:
            self._timer = self._clock.callLater(_PAUSE, self._begin)

    def _begin(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self.flush())

    async def flush(self) -> None:
        """Wait until everything noted so far is in the file, or lost; never raises."""
        async with self._turns:
            events, self._events = self._events, []
            if events:
                await self._write(events)

    async def _write(self, events: list[_Event]) -> None:
        lost, self._lost = self._lost, 0
        try:
            await self._disk.run(self._append, events)
            self._is_broken = False
        except Exception:
            lost += len(events)
            if not self._is_broken:  # once, not twice a second
                log.failure("The history of messages cannot be written")
            self._is_broken = True
        if lost:
            log.info("{count} events are missing from the history of messages", count=lost)

    async def close(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.flush()

    async def of(self, name: str) -> list[dict[str, Any]]:
        """Return what happened to a message, oldest first: each event has ``at``, ``id``, ``event`` and its facts."""
        await self.flush()
        return await self._disk.run(self._find, name)

    # ------------------------------------------------------------ in a thread

    def _append(self, events: list[_Event]) -> None:
        octets = b"".join([_line(event) for event in events])
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        current = self._directory / "current"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(current, flags, 0o600)
        try:
            self._disk.write(descriptor, octets)
            size = self._disk.size(descriptor)
        finally:
            self._disk.close(descriptor)
        if size >= self._size:
            self._turn(current)

    def _turn(self, current: Path) -> None:
        """Leave a file behind, and the oldest to nobody."""
        numbers = self._numbers()
        self._disk.rename(current, self._directory / f"{(numbers[-1] if numbers else 0) + 1:08}")
        for number in numbers[: max(0, len(numbers) + 2 - self._files)]:
            self._disk.unlink(self._directory / f"{number:08}")

    def _numbers(self) -> list[int]:
        return [int(each) for each in self._disk.names(self._directory) if each.isdecimal()]

    def _find(self, name: str) -> list[dict[str, Any]]:
        needle = b'"id":' + json.dumps(name).encode("ascii") + b","
        found: list[dict[str, Any]] = []
        if not self._directory.is_dir():
            return found
        for file in (*(f"{number:08}" for number in self._numbers()), "current"):
            try:
                found += _search(self._directory / file, needle, _SHOWN - len(found))
            except FileNotFoundError:
                continue
        return found


def _line(event: _Event) -> bytes:
    at, name, what, facts = event
    written = {"at": round(at, 3), "id": name, "event": what, **facts}
    try:
        return json.dumps(written, separators=(",", ":"), default=_as_text).encode("ascii") + b"\n"
    except (TypeError, ValueError, RecursionError):  # keys that are no text, facts that hold themselves
        return json.dumps({"at": at, "id": name, "event": what}, separators=(",", ":")).encode("ascii") + b"\n"


def _as_text(fact: object) -> object:
    if isinstance(fact, Reply):
        return " ".join(part for part in (str(fact.code), fact.status, fact.text) if part)
    return list(fact) if isinstance(fact, frozenset | set) else str(fact)


def _search(path: Path, needle: bytes, limit: int) -> Iterator[dict[str, Any]]:
    """Yield the events of one file whose line has the needle; a line that a crash has torn is none."""
    with path.open("rb") as file:
        while limit > 0 and (block := file.read(_BLOCK)):
            block += file.readline()
            if needle not in block:
                continue
            for line in block.splitlines():
                if needle in line and limit > 0:
                    event = _read(line)
                    if event is not None:
                        limit -= 1
                        yield event


def _read(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
