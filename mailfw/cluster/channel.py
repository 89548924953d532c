"""
The connection between a worker and the keeper: calls and their answers, and news without an answer.

What one turn of the reactor asks for leaves in one write, and arrives as one batch.  Nobody is flooded: beyond a number
of calls under way the keeper reads no further from this worker, and a worker whose socket is full waits with calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailfw.cluster.codec import Blobs, Malformed
from mailfw.cluster.frames import FrameReader, write_frame
from mailfw.cluster.procedures import (
    ConnectionToKeeperLost,
    Procedure,
    procedures_of,
    read_failure,
    write_failure,
)

log = Logger()

#: Calls of one worker that the keeper works on at once; what comes beyond waits, and then the worker does.
MOST_CALLS = 256

#: Octets of news that wait for an end which does not read, before it is given up.
MOST_UNREAD = 16 * 1024 * 1024

#: The first item of a message.
_CALL, _ANSWER, _FAILURE, _NEWS = range(4)

#: Hears news; what they say is plain JSON.
Listener = Callable[..., None]


@implementer(IPushProducer)
class Channel(Protocol):
    """One end: reads frames, and writes them while the other end reads."""

    def __init__(self, listeners: Mapping[str, Listener], on_lost: Callable[[], None]) -> None:
        self._listeners = listeners
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._may_write = True
        self._unread = 0
        self.is_connected = False

    def connectionMade(self) -> None:
        """Begin."""
        transport: Any = self.transport
        transport.registerProducer(self, True)
        self.is_connected = True

    def dataReceived(self, data: bytes) -> None:
        """Take what came; nonsense ends the connection."""
        try:
            for message, blobs in self._reader.feed(data):
                if message[0] == _NEWS:
                    self._hear(message)
                else:
                    self._take(message, blobs)
        except Malformed as reason:
            log.error("Another process of the server is not understood: {reason}", reason=str(reason))
            transport: Any = self.transport
            transport.abortConnection()

    def _take(self, message: list[Any], blobs: Blobs) -> None:
        raise Malformed("nobody asked")

    def _hear(self, message: list[Any]) -> None:
        _, name, *said = message
        listener = self._listeners.get(name) if type(name) is str else None
        if listener is None:
            raise Malformed(f"nobody listens to {name!r}")
        try:
            listener(*said)
        except Malformed:
            raise
        except Exception:
            log.failure("News of {name} could not be taken in", name=name)

    def tell(self, name: str, *said: Any) -> None:
        """Send news; plain values alone.  Nothing happens when the other end is gone."""
        if not self.is_connected:
            return
        sent = self._send([_NEWS, name, *said], [])
        if self._may_write:
            return
        self._unread += sent
        if self._unread > MOST_UNREAD:
            log.error("Another process of the server does not read what it is told: its connection is ended")
            transport: Any = self.transport
            transport.abortConnection()

    def _send(self, message: list[Any], blobs: Blobs) -> int:
        frame = write_frame(message, blobs)
        transport: Any = self.transport
        transport.writeSequence(frame)
        return sum(map(len, frame))

    @property
    def is_full(self) -> bool:
        """Whether the other end does not read at the moment."""
        return not self._may_write

    def pauseProducing(self) -> None:
        """Have the transport say that the other end does not read."""
        self._may_write = False

    def resumeProducing(self) -> None:
        """Have the transport say that it does."""
        self._may_write = True
        self._unread = 0

    def stopProducing(self) -> None:
        """Have the transport say that nobody reads any more; `connectionLost` follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on that the other end is gone."""
        self.is_connected = False
        self._on_lost()


# ---------------------------------------------------------------- the worker's end


@dataclass(slots=True)
class _Asked:
    """A call under way; without `answer` nobody waits any more, and `dispose` undoes what it has done."""

    procedure: Procedure
    answer: Deferred[Any] | None
    dispose: Callable[[Any], None] | None


class Asking(Channel):
    """
    The worker's end.

    `desk` is the class of what is asked; `listeners` hear the keeper's news; `on_lost` is called when it is gone.
    """

    def __init__(self, desk: type, listeners: Mapping[str, Listener], on_lost: Callable[[], None] = lambda: None):
        super().__init__(listeners, on_lost)
        self._procedures = procedures_of(desk)
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._waiting: deque[Deferred[None]] = deque()

    async def call(self, name: str, *arguments: Any, dispose: Callable[[Any], None] | None = None) -> Any:
        """
        Ask the desk, and return its answer.  Raises what the desk raises where that is declared, else `RemoteFault`.

        `dispose` is given an answer that comes when the caller no longer waits.
        """
        while not self._may_write and self.is_connected:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
        if not self.is_connected:
            raise ConnectionToKeeperLost("the keeper is gone")
        procedure, blobs = self._procedures[name], Blobs()
        self._number += 1
        number = self._number
        self._send([_CALL, number, name, procedure.write(arguments, blobs)], blobs)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        self._asked[number] = _Asked(procedure, answer, dispose)
        return await answer

    def _forget(self, number: int) -> None:
        self._asked[number].answer = None

    def _take(self, message: list[Any], blobs: Blobs) -> None:
        match message:
            case [int(kind), int(number), plain] if number in self._asked and kind in (_ANSWER, _FAILURE):
                self._settle(self._asked.pop(number), kind, plain, blobs)
            case _:
                raise Malformed("an answer nobody asked for")

    def _settle(self, asked: _Asked, kind: int, plain: Any, blobs: Blobs) -> None:
        if kind == _ANSWER:
            value = asked.procedure.answer.read(plain, blobs)
            if asked.answer is not None:
                asked.answer.callback(value)
            elif asked.dispose is not None:
                asked.dispose(value)
        elif asked.answer is not None:
            asked.answer.errback(read_failure(plain))

    def resumeProducing(self) -> None:
        """Let those go on who wait for room."""
        super().resumeProducing()
        while self._waiting and self._may_write:
            turn = self._waiting.popleft()
            if not turn.called:
                turn.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell everybody who waits."""
        super().connectionLost(reason)
        asked, self._asked = self._asked, {}
        for each in asked.values():
            if each.answer is not None:
                each.answer.errback(ConnectionToKeeperLost("the keeper is gone"))
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.called:
                turn.callback(None)


# ---------------------------------------------------------------- the keeper's end


class Answering(Channel):
    """
    The keeper's end: does what a worker asks, up to `most_calls` at once.

    `desk` makes what answers, given this channel to send news by.
    """

    def __init__(
        self,
        desk: Any,
        listeners: Mapping[str, Listener],
        on_lost: Callable[[], None] = lambda: None,
        most_calls: int = MOST_CALLS,
    ) -> None:
        super().__init__(listeners, on_lost)
        self._desk = desk
        kind: Any = type(desk)
        self._procedures = procedures_of(kind)
        self._most_calls = most_calls
        self._under_way = 0
        self._waiting: deque[tuple[int, str, Any, Blobs]] = deque()
        self._reads = True

    @property
    def under_way(self) -> int:
        """How many calls are being worked on."""
        return self._under_way

    @property
    def is_behind(self) -> bool:
        """Whether we have so much to do that we do not hear the worker."""
        return not self._reads and self._under_way >= self._most_calls

    def _take(self, message: list[Any], blobs: Blobs) -> None:
        match message:
            case [0, int(number), str(name), arguments] if name in self._procedures:
                self._waiting.append((number, name, arguments, blobs))
                self._go_on()
            case _:
                raise Malformed("no such call")

    def _go_on(self) -> None:
        """Begin what may begin, and read on if nothing waits."""
        while self._waiting and self._under_way < self._most_calls and self._may_write and self.is_connected:
            number, name, arguments, blobs = self._waiting.popleft()
            read = self._procedures[name].read(arguments, blobs)
            self._under_way += 1
            Deferred.fromCoroutine(self._answer(number, name, read))
        if self._reads == bool(self._waiting) and self.is_connected:
            self._reads = not self._waiting
            transport: Any = self.transport
            (transport.resumeProducing if self._reads else transport.pauseProducing)()

    async def _answer(self, number: int, name: str, arguments: list[Any]) -> None:
        try:
            value = await getattr(self._desk, name)(*arguments)
            blobs = Blobs()
            said = self._procedures[name].answer.write(value, blobs)
            if self.is_connected:
                self._send([_ANSWER, number, said], blobs)
        except CancelledError:
            self._refuse(number, None)
        except Exception as error:
            declared = write_failure(error)
            if declared is None:
                log.failure("What a worker asked for failed: {name}", name=name)
            self._refuse(number, declared)
        finally:
            self._under_way -= 1
            self._go_on_safely()

    def _refuse(self, number: int, why: list[Any] | None) -> None:
        if self.is_connected:
            self._send([_FAILURE, number, why], [])

    def _go_on_safely(self) -> None:
        try:
            self._go_on()
        except Malformed as reason:
            log.error("A worker is not understood: {reason}", reason=str(reason))
            transport: Any = self.transport
            transport.abortConnection()

    def resumeProducing(self) -> None:
        """Work on."""
        super().resumeProducing()
        self._go_on_safely()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget what was not begun."""
        self._waiting.clear()
        super().connectionLost(reason)
