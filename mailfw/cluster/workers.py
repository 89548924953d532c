"""The processes: started with the ports to listen on, started again when they die, replaced by new ones when asked."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from mailfw.cluster.channel import Answering
from mailfw.cluster.keeper import Keeper

log = Logger()

#: Seconds before a worker that died is started again; doubled each time that it dies young, up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds that a worker has to live to be forgiven.
GROWN_UP = 10.0
#: Seconds that a worker which has been replaced may go on with the connections it has.
RETIREMENT = 3600.0
#: Seconds that a worker has to end when it is asked to: sessions get 30, and then 5.
LAST_WORDS = 45.0
#: Workers of earlier configurations that may still be there, for each present one; the oldest are asked to end.
GENERATIONS = 3
#: Seconds between two looks whether workers answer; who has not after so many looks has hung, and so has who was not
#: ready after so many.
LOOK, SILENCE, SLOW_START = 5.0, 4, 24
#: Deaths of one worker before all were ready for the first time, after which there is no point in going on.
HOPELESS = 3


@dataclass(frozen=True, slots=True)
class SharedPort:
    """
    A listening socket that workers accept from.

    `family` is of the `socket` module, and `backlog` how many connections the system keeps until they are accepted.
    """

    service: str
    descriptor: int
    family: int
    backlog: int


@dataclass(frozen=True, slots=True)
class Program:
    """
    What a worker runs, and what it is told when it is there: plain JSON, but for its ports.

    It inherits other descriptors too, of which it is told the numbers they have there.
    """

    arguments: Sequence[str]
    orders: dict[str, Any]
    inherited: Mapping[str, int] = field(default_factory=dict)


class Worker(ProcessProtocol):
    """One process."""

    def __init__(self, number: int, workers: Workers) -> None:
        self.number = number
        self._workers = workers
        self.channel: Answering | None = None
        self.is_ready = False
        self.is_retired = False
        self.started = 0.0
        #: Looks since it last said something, or since it was started.
        self.silence = 0
        self.ended: Deferred[None] = Deferred()
        self._timers: list[Any] = []

    @property
    def pid(self) -> int | None:
        """The process, None when it has ended."""
        process: Any = self.transport
        return process.pid if process is not None else None

    def look(self) -> None:
        """End it if it has hung; ask it to answer.  While we cannot hear it, that is not its fault."""
        if self.channel is not None and self.channel.is_behind:
            self.silence = 0
            return
        most = SILENCE if self.is_ready else SLOW_START
        self.silence += 1
        if self.silence > most:
            log.critical(
                "Worker {number} has not answered for {seconds} s: it is ended",
                number=self.number,
                seconds=int(most * LOOK),
            )
            self._signal("KILL")
        elif self.channel is not None and self.is_ready:
            self.channel.tell("answer")

    def hear(self) -> None:
        """Hear that it is alive."""
        self.silence = 0

    def retire(self) -> None:
        """Have it take no more connections, finish those it has, and end."""
        if self.is_retired:
            return
        self.is_retired = True
        if self.channel is not None:
            self.channel.tell("retire")
        self._later(RETIREMENT, self.terminate)

    def terminate(self) -> None:
        """Have it tell its sessions to end, and end."""
        if self.pid is None:
            return
        self.is_retired = True
        self._signal("TERM")
        self._later(LAST_WORDS, lambda: self._signal("KILL"))

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._timers.append(self._workers.reactor.callLater(seconds, do))

    def _signal(self, name: str) -> None:
        process: Any = self.transport
        if process is not None and process.pid is not None:
            process.signalProcess(name)

    def outReceived(self, data: bytes) -> None:
        """Log what it says."""
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        """Log what it says where it should say nothing."""
        log.error("Worker {number}: {said}", number=self.number, said=data.decode("utf-8", "replace").rstrip())

    def processEnded(self, reason: Any) -> None:
        """Pass it on."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._workers.ended(self, reason)
        self.ended.callback(None)


def processor_seconds(pid: int) -> float:
    """Return how long a process has worked, 0 where the system does not say."""
    try:
        # What clock_getcpuclockid(3) makes of a process's number on Linux; Python knows it for threads alone.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


class Workers:
    """
    Keeps `count` workers running.

    `program` is asked for each new worker, so that it is what is wanted now.  `on_hopeless` is called when none can be
    started.
    """

    def __init__(
        self,
        *,
        count: int,
        ports: Sequence[SharedPort],
        keeper: Keeper,
        program: Callable[[], Program],
        reactor: Any,
        on_hopeless: Callable[[], None],
    ) -> None:
        self._count = count
        self._ports = ports
        self._keeper = keeper
        self._program = program
        self._on_hopeless = on_hopeless
        self._present: dict[int, Worker] = {}
        self._old: list[Worker] = []
        self._deaths: dict[int, int] = {}
        self._restarts: list[Any] = []
        self._is_stopping = False
        self._started: Deferred[None] = Deferred()
        self._waiting: list[tuple[set[Worker], Deferred[None]]] = []
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor
        self.reactor = reactor

    @property
    def pids(self) -> list[int]:
        """The processes that take connections."""
        return [worker.pid for worker in self._present.values() if worker.pid and worker.is_ready]

    def start(self) -> Deferred[None]:
        """Start all; fires when they are ready."""
        for number in range(self._count):
            self._present[number] = self._spawn(number)
        self._watch.start(LOOK, now=False)
        return self._started

    def _look(self) -> None:
        """
        End workers that have hung.

        It is looks that are counted and not seconds: those in which we were stopped ourselves are nobody's fault.
        """
        for worker in (*self._present.values(), *self._old):
            worker.look()

    def _ready(self, workers: Sequence[Worker]) -> Deferred[None]:
        """Return what fires when all are ready, or have ended."""
        ready: Deferred[None] = Deferred()
        self._waiting.append((set(workers), ready))
        return ready

    def _settle(self, worker: Worker) -> None:
        for waiting, ready in list(self._waiting):
            waiting.discard(worker)
            if not waiting and not ready.called:
                self._waiting.remove((waiting, ready))
                ready.callback(None)

    def _spawn(self, number: int) -> Worker:
        program = self._program()
        worker = Worker(number, self)
        worker.started = self.reactor.seconds()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._connect(worker, program, ours.fileno(), theirs.fileno())
        return worker

    def _connect(self, worker: Worker, program: Program, ours: int, theirs: int) -> None:
        """Start the process, with its end of a connection to us; where that fails the connection ends."""
        descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: "r", 3: theirs}
        told = []
        for place, port in enumerate(self._ports, 4):
            descriptors[place] = port.descriptor
            told.append([port.service, place, port.family, port.backlog])
        first = 4 + len(self._ports)
        descriptors.update(enumerate(program.inherited.values(), first))
        inherited = {name: place for place, name in enumerate(program.inherited, first)}
        listeners = {"ready": lambda: self._is_ready(worker), "alive": worker.hear}
        worker.channel = self._keeper.serve(ours, listeners)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each or os.getcwd() for each in sys.path)}  # noqa: PTH109  # what "" in sys.path means
        self.reactor.spawnProcess(worker, program.arguments[0], program.arguments, environment, childFDs=descriptors)
        worker.channel.tell("orders", {**program.orders, **inherited, "ports": told, "number": worker.number})

    def _is_ready(self, worker: Worker) -> None:
        worker.is_ready = True
        worker.hear()
        self._settle(worker)
        if len(self.pids) == self._count and not self._started.called:
            self._started.callback(None)

    def ended(self, worker: Worker, reason: Any) -> None:
        """Hear of the end of a process; one that was not asked to end is started again."""
        self._settle(worker)
        if worker in self._old:
            self._old.remove(worker)
        if self._present.get(worker.number) is not worker:
            return
        del self._present[worker.number]
        if self._is_stopping:
            return
        young = self.reactor.seconds() - worker.started < GROWN_UP
        self._died(worker.number, young, reason.getErrorMessage())

    def _died(self, number: int, young: bool, reason: str) -> None:
        deaths = self._deaths[number] = self._deaths.get(number, 0) + 1 if young else 1
        if deaths >= HOPELESS and not self._started.called:
            self._on_hopeless()
            return
        pause = min(FIRST_PAUSE * 2.0 ** min(deaths - 1, 20), LONGEST_PAUSE)
        log.error(
            "Worker {number} has ended ({reason}): it is started again in {pause} s",
            number=number,
            reason=reason,
            pause=pause,
        )
        self._restarts = [restart for restart in self._restarts if restart.active()]
        self._restarts.append(self.reactor.callLater(pause, self._again, number))

    def _again(self, number: int) -> None:
        if self._is_stopping or number in self._present:
            return
        try:
            self._present[number] = self._spawn(number)
        except OSError as reason:  # no descriptor, process or memory is left just now
            self._died(number, True, str(reason))

    async def replace(self) -> bool:
        """
        Start new workers as the program is now, and retire the present ones when all of the new ones are ready.

        False, and all stays as it is, where one of the new ones cannot start.
        """
        if self._is_stopping:
            return False
        fresh: list[Worker] = []
        try:
            for number in range(self._count):
                fresh.append(self._spawn(number))  # those before one that fails have to be ended
                self._old.append(fresh[-1])  # until they are wanted
        except OSError as reason:
            log.error("A worker cannot be started: {reason}", reason=str(reason))
        else:
            await self._ready(fresh)
        if self._is_stopping or sum(worker.is_ready and worker.pid is not None for worker in fresh) < self._count:
            for worker in fresh:
                worker.terminate()
            return False
        for worker in fresh:
            self._old.remove(worker)
            if (before := self._present.get(worker.number)) is not None:
                self._old.append(before)
                before.retire()
            self._present[worker.number] = worker
        for worker in self._old[: -self._count * GENERATIONS]:
            worker.terminate()
        return True

    async def stop(self) -> None:
        """Have all end; when this returns they have."""
        self._is_stopping = True
        if self._watch.running:
            self._watch.stop()
        for restart in self._restarts:
            if restart.active():
                restart.cancel()
        workers = [*self._present.values(), *self._old]
        for worker in workers:
            worker.terminate()
        await DeferredList([worker.ended for worker in workers])
