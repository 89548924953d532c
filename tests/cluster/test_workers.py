"""Processes that end are started again, processes that hang are ended, and nobody is started for ever."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mailfw import automatic
from mailfw.automatic import MOST_WORKERS
from mailfw.cluster import workers
from mailfw.cluster.workers import FIRST_PAUSE, GROWN_UP, HOPELESS, LONGEST_PAUSE, LOOK, SILENCE, Program, Workers
from mailfw.options import Options


class Process:
    """What `spawnProcess` gives."""

    def __init__(self, pid: int) -> None:
        self.pid: int | None = pid
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)


class Reactor(Clock):
    """Starts nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[tuple[Any, Process]] = []
        #: How many more can be started.
        self.room = 1000

    def spawnProcess(self, protocol: Any, *arguments: Any, **more: Any) -> None:
        if not self.room:
            raise OSError(errno.EAGAIN, "no more processes")
        self.room -= 1
        process = Process(100 + len(self.processes))
        self.processes.append((protocol, process))
        protocol.makeConnection(process)


class Channel:
    """The way to a worker, which answers while `answers`."""

    def __init__(self, listeners: Mapping[str, Callable[..., None]]) -> None:
        self.listeners = listeners
        self.told: list[str] = []
        self.answers = True
        self.is_behind = False

    def tell(self, name: str, *said: Any) -> None:
        self.told.append(name)
        if name == "answer" and self.answers:
            self.listeners["alive"]()


class Keeper:
    """Serves nothing."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []

    def serve(self, descriptor: int, listeners: Mapping[str, Callable[..., None]]) -> Channel:
        self.channels.append(Channel(listeners))
        return self.channels[-1]


class WorkersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor, self.keeper = Reactor(), Keeper()
        self.given_up = 0
        keeper: Any = self.keeper
        self.workers = Workers(
            count=2,
            ports=[],
            keeper=keeper,
            program=lambda: Program(("worker",), {}),
            reactor=self.reactor,
            on_hopeless=self.give_up,
        )
        self.started = self.workers.start()

    def give_up(self) -> None:
        self.given_up += 1

    def ready(self, number: int) -> None:
        self.keeper.channels[number].listeners["ready"]()

    def die(self, number: int) -> None:
        protocol, process = self.reactor.processes[number]
        process.pid = None
        protocol.processEnded(Failure(ProcessTerminated(signal=signal.SIGKILL)))

    def signals(self) -> list[list[str]]:
        return [process.signals for _, process in self.reactor.processes]

    def test_all_are_there_when_all_are_ready(self) -> None:
        self.ready(0)
        self.assertNoResult(self.started)
        self.ready(1)
        self.successResultOf(self.started)
        self.assertEqual(self.workers.pids, [100, 101])

    def test_who_does_not_answer_is_ended_and_nobody_else(self) -> None:
        self.ready(0)
        self.ready(1)
        self.keeper.channels[1].answers = False
        self.reactor.pump([LOOK] * SILENCE)
        self.assertEqual(self.signals(), [[], []])
        self.reactor.advance(LOOK)
        self.assertEqual(self.signals(), [[], ["KILL"]])
        self.die(1)
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(len(self.reactor.processes), 3)

    def test_who_is_not_heard_because_we_have_too_much_to_do_has_not_hung(self) -> None:
        self.ready(0)
        self.ready(1)
        self.keeper.channels[1].answers, self.keeper.channels[1].is_behind = False, True
        self.reactor.pump([LOOK] * 10 * SILENCE)
        self.assertEqual(self.signals(), [[], []])
        self.keeper.channels[1].is_behind = False
        self.reactor.pump([LOOK] * (SILENCE + 1))
        self.assertEqual(self.signals(), [[], ["KILL"]])

    def test_where_no_process_can_be_started_it_is_tried_again(self) -> None:
        self.ready(0)
        self.ready(1)
        self.reactor.room = 0
        self.die(1)
        self.reactor.pump([1.0] * 20)
        self.assertEqual(len(self.reactor.processes), 2)
        self.reactor.room = 1
        self.reactor.advance(LONGEST_PAUSE)
        self.ready(len(self.keeper.channels) - 1)
        self.assertEqual(self.workers.pids, [100, 102])

    def test_time_in_which_we_were_stopped_ourselves_does_not_count(self) -> None:
        self.ready(0)
        self.ready(1)
        self.keeper.channels[1].answers = False
        self.reactor.advance(LOOK)
        self.reactor.advance(3600)
        self.assertEqual(self.signals(), [[], []])

    def test_who_never_becomes_ready_is_ended(self) -> None:
        self.ready(0)
        self.reactor.pump([LOOK] * workers.SLOW_START)
        self.assertEqual(self.signals(), [[], []])
        self.reactor.advance(LOOK)
        self.assertEqual(self.signals(), [[], ["KILL"]])

    def test_who_dies_young_waits_longer_each_time_and_is_forgiven(self) -> None:
        self.ready(0)
        self.ready(1)
        number, pause = 1, FIRST_PAUSE
        for _ in range(10):
            self.die(number)
            self.reactor.advance(pause * 0.99)
            self.assertEqual(len(self.reactor.processes), number + 1)
            self.reactor.advance(pause * 0.02)
            number, pause = number + 1, min(2 * pause, LONGEST_PAUSE)
            self.assertEqual(len(self.reactor.processes), number + 1)
            self.ready(number)
        self.reactor.advance(GROWN_UP)
        self.die(number)
        self.reactor.advance(FIRST_PAUSE)
        self.assertEqual(len(self.reactor.processes), number + 2)

    def test_who_cannot_start_is_given_up(self) -> None:
        self.ready(0)
        for number in range(1, HOPELESS + 1):
            self.die(number)
            self.reactor.advance(LONGEST_PAUSE)
        self.assertEqual(self.given_up, 1)
        self.assertEqual(len(self.reactor.processes), HOPELESS + 1)

    def test_replacing(self) -> None:
        self.ready(0)
        self.ready(1)
        replaced = Deferred.fromCoroutine(self.workers.replace())
        self.ready(2)
        self.assertNotIn("retire", self.keeper.channels[0].told)
        self.ready(3)
        self.assertTrue(self.successResultOf(replaced))
        self.assertEqual([channel.told.count("retire") for channel in self.keeper.channels], [1, 1, 0, 0])
        self.die(0)
        self.reactor.advance(LONGEST_PAUSE)
        self.assertEqual(len(self.reactor.processes), 4)

    def test_a_new_one_that_cannot_start_changes_nothing(self) -> None:
        self.ready(0)
        self.ready(1)
        replaced = Deferred.fromCoroutine(self.workers.replace())
        self.ready(2)
        self.die(3)
        self.assertFalse(self.successResultOf(replaced))
        self.assertEqual(self.signals()[:3], [[], [], ["TERM"]])
        self.assertEqual(self.workers.pids, [100, 101])

    def test_a_new_one_for_which_there_is_no_room_changes_nothing(self) -> None:
        self.ready(0)
        self.ready(1)
        self.reactor.room = 1
        replaced = Deferred.fromCoroutine(self.workers.replace())
        self.assertFalse(self.successResultOf(replaced))
        self.assertEqual(self.signals(), [[], [], ["TERM"]])
        self.assertEqual(self.workers.pids, [100, 101])

    def test_stopping(self) -> None:
        self.ready(0)
        self.ready(1)
        stopped = Deferred.fromCoroutine(self.workers.stop())
        self.assertEqual(self.signals(), [["TERM"], ["TERM"]])
        self.die(0)
        self.assertNoResult(stopped)
        self.die(1)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


def stateless(site: object) -> None:
    """Make a policy that says that it remembers nothing."""


stateless.counting = ()  # type: ignore[attr-defined] # which is how it says so


def silent(site: object) -> None:
    """Make a policy that says nothing."""


def other_store(site: object) -> None:
    """Make a store."""


class OtherUserTests(SynchronousTestCase):
    def test_what_another_user_can_read(self) -> None:
        if os.getuid():
            raise SkipTest("only root can change its user")
        nobody, file = pwd.getpwnam("nobody"), Path(tempfile.mkdtemp()) / "file"
        self.addCleanup(shutil.rmtree, file.parent)
        file.parent.chmod(0o755)
        file.touch()
        for mode, may in ((0o600, False), (0o644, True)):
            file.chmod(mode)
            self.assertEqual(automatic._may_read((nobody.pw_uid, nobody.pw_gid), [file]), may)
        self.assertEqual(os.getuid(), 0)

    def test_all_that_is_needed_counts(self) -> None:
        asked: list[Path] = []
        self.patch(os, "sched_getaffinity", lambda _: {0, 1})
        self.patch(automatic, "_may_read", lambda owner, paths: asked.extend(paths))
        options = Options()
        twistd: Any = {"uid": 1, "gid": None}
        options.parent = twistd
        options.parseOptions(["--set", 'tls.key="/k"', "--set", 'tls.certificate="/c"'])
        self.assertEqual(options["workers"], 0)
        self.assertTrue({Path(sys.executable), Path("/k"), Path("/c")} <= set(asked), asked)


class CommandLineTests(SynchronousTestCase):
    def options(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(arguments)
        return options

    def count(self, *arguments: str) -> int:
        found: int = self.options(*arguments)["workers"]
        return found

    def test_one_for_each_core_is_what_nobody_has_to_ask_for(self) -> None:
        self.patch(os, "sched_getaffinity", lambda _: {0, 1, 2})
        self.assertEqual(self.count(), 3)

    def test_one_process_where_several_could_do_harm(self) -> None:
        self.patch(os, "sched_getaffinity", lambda _: {0, 1, 2})
        ours = '{plugin="rate"}, {plugin="greylist"}, {plugin="size"}'
        for setting, count in (
            ('store.plugin="memory"', 0),
            ('store.plugin="sqlite"', 3),
            (f'store.plugin="python:{__name__}.other_store"', 0),
            (f"policy=[{ours}]", 3),
            (f'policy=[{ours}, {{plugin="python:{__name__}.silent"}}]', 0),
            (f'policy=[{{plugin="python:{__name__}.stateless"}}]', 3),
            ('listen.smtp=["haproxy:tcp:0:interface=127.0.0.1"]', 0),
            ('listen.http=["haproxy:tcp:0:interface=127.0.0.1"]', 3),
        ):
            options = self.options("--set", setting)
            self.assertEqual(options["workers"], count, setting)
            self.assertEqual(bool(options.why_alone), not count, setting)
            self.assertEqual(self.count("--workers", "2", "--set", setting), 2)

    def test_one_for_each_core_where_there_are_several(self) -> None:
        for cores, count in ((1, 0), (2, 2), (48, 48), (1000, MOST_WORKERS)):
            self.patch(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
            self.assertEqual(self.count("--workers", "auto"), count)

    def test_as_many_as_are_asked_for(self) -> None:
        self.assertEqual([self.count("--workers", text) for text in ("0", "3")], [0, 3])
        for wrong in ("-1", "257", "many"):
            self.assertRaises(usage.UsageError, self.count, "--workers", wrong)
