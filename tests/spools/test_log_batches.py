"""What the log does with many at once, with errors among them, and with what nobody waits for any more."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Name
from mailfw.mail.failure import NoSpace
from mailfw.spools.contents import Octets
from mailfw.spools.log import LogSpool
from mailfw.spools.log import spool as spool_module
from mailfw.spools.log.spool import SEGMENT
from mailfw.testing.disk import FaultyDisk
from mailfw.testing.spool import NOW, names, queued, read_all
from tests.spools.life import LARGE, run_now


class CountingDisk(FaultyDisk):
    """Notes what is done, by name, and fails at what it is told to."""

    def __init__(self, attic: Path) -> None:
        super().__init__(attic)
        self.done: list[str] = []
        self.failing: dict[str, int] = {}

    def _note(self, name: str) -> None:
        self.done.append(name)
        if name in self.failing:
            raise OSError(self.failing[name], name)

    def write(self, descriptor: int, octets: bytes) -> None:
        self._note("write")
        super().write(descriptor, octets)

    def sync_octets(self, descriptor: int) -> None:
        self._note("sync")
        super().sync_octets(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._note("truncate")
        super().truncate(descriptor, size)

    def unlink(self, path: Name) -> None:
        self._note(f"unlink {Path(path).name.partition('-')[0]}")
        super().unlink(path)

    def sync_directory(self, path: Name) -> None:
        self._note(f"directory {Path(path).name}")
        super().sync_directory(path)


class BatchCase(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp()).absolute()
        self.directory = root / "spool"
        self.disk = CountingDisk(root / "attic")
        self.spool = self.reopened()

    def reopened(self, segment: int = SEGMENT) -> LogSpool:
        spool = LogSpool(directory=self.directory, disk=self.disk, clock=None, segment=segment)
        run_now(spool.open())
        self.disk.done.clear()
        return spool

    def start(self, coroutine: Any) -> list[Any]:
        outcome: list[Any] = []
        Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
        return outcome

    def put(self, name: str, octets: bytes = b"Shall we?\r\n") -> list[Any]:
        return self.start(self.spool.put(queued(name, ("example.net", NOW)), Octets(octets)))

    def assert_errors(self, outcomes: Sequence[list[Any]], kind: type[Exception]) -> None:
        for outcome in outcomes:
            self.assertIsInstance(outcome[0], Failure)
            self.assertTrue(outcome[0].check(kind), outcome)


class BatchTests(BatchCase):
    def test_one_sync_serves_all_that_wait(self) -> None:
        self.disk.hold()
        first = self.put("0")
        waiting = [self.put(f"{n}") for n in range(1, 50)]
        notes = [self.start(self.spool.record(queued("0")))]
        self.assertEqual([first, *waiting], [[]] * 50)
        self.disk.let_go()
        self.assertEqual([first, *waiting], [[None]] * 50)
        self.assertEqual(notes, [[None]])
        self.assertEqual(self.disk.done, ["directory segments", "write", "sync", "write", "sync"])

    def test_states_and_ends_are_not_synced_by_themselves(self) -> None:
        self.put("0")
        self.disk.done.clear()
        run_now(self.spool.record(queued("0")))
        run_now(self.spool.remove("0"))
        self.assertEqual(self.disk.done, ["write", "write"])

    def test_many_states_are_synced_at_last(self) -> None:
        self.put("0")
        self.disk.done.clear()
        for n in range(60):
            run_now(self.spool.record(queued("0", *((f"{n}-{m}.example", NOW) for m in range(100)))))
        self.assertIn("sync", self.disk.done)

    def test_whoever_gives_up_waiting_takes_nobody_along(self) -> None:
        self.disk.hold()
        first = self.put("0")
        second: Deferred[None] = Deferred.fromCoroutine(self.spool.put(queued("1"), Octets(b"one\r\n")))
        third = self.put("2")
        second.cancel()
        self.disk.let_go()
        self.assertEqual((first, self.successResultOf(second), third), ([None], None, [None]))
        self.assertEqual(run_now(self.spool.count()), 3)

    def test_the_same_id_at_the_same_time(self) -> None:
        self.disk.hold()
        outcomes = [self.put("0", b"first\r\n"), self.put("0", b"second\r\n"), self.put("0", b"third\r\n")]
        self.disk.let_go()
        self.assertEqual(outcomes, [[None]] * 3)
        self.assertEqual(run_now(read_all_of(self.spool, "0")), b"first\r\n")

    def test_a_sync_that_fails_is_believed_never_again(self) -> None:
        self.put("0")
        self.disk.hold()
        outcomes = [self.put(f"{n}") for n in range(1, 4)]
        note = self.start(self.spool.record(queued("0", held="late")))
        self.disk.failing = {"sync": errno.EIO}
        self.disk.let_go()
        self.assert_errors(outcomes, OSError)
        self.assert_errors([note], OSError)
        self.disk.failing.clear()
        self.assertEqual(self.put("5"), [None])
        self.assertEqual(len(list((self.directory / "segments").iterdir())), 5)  # each failure leaves its segment
        self.disk.lose_power()
        self.disk.bury()
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["0", "5"])
        self.flushLoggedErrors()

    def test_a_full_disk_still_takes_ends(self) -> None:
        self.put("0")
        room = self.disk.write

        def write(descriptor: int, octets: bytes) -> None:
            if len(octets) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            room(descriptor, octets)

        self.disk.write = write  # type: ignore[method-assign]
        self.disk.hold()
        outcomes = [self.put("1", b"x" * 5000), self.put("2", b"x" * 5000)]
        end = self.start(self.spool.remove("0"))
        self.disk.let_go()
        self.assert_errors(outcomes, NoSpace)
        self.assertEqual(end, [None])
        self.assertEqual(run_now(self.spool.count()), 0)
        self.assertEqual(self.put("3"), [None])
        self.disk.bury()
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["3"])

    def test_a_segment_that_cannot_be_cut_back_is_left(self) -> None:
        self.put("0")
        self.disk.failing = {"truncate": errno.EIO}
        self.disk.fail_at = self.disk.operations + 1
        self.assert_errors([self.put("1")], OSError)
        self.disk.failing.clear()
        self.assertEqual(self.put("2"), [None])
        self.disk.bury()
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["0", "2"])
        self.assertEqual(len(list((self.directory / "kept").iterdir())), 1)

    def test_a_directory_that_cannot_be_synced_concerns_large_messages_alone(self) -> None:
        self.disk.hold()
        first, large, small = self.put("0"), self.put("1", LARGE), self.put("2")
        self.disk.failing = {"directory large": errno.EIO}
        self.disk.let_go()
        self.assert_errors([large], OSError)
        self.assertEqual((first, small), ([None], [None]))
        self.assertEqual(list((self.directory / "large").iterdir()), [])

    def test_what_is_given_back_while_the_log_cannot_be_synced_stays(self) -> None:
        self.put("0")
        run_now(self.spool.record(queued("0", held="early")))
        self.disk.failing = {"sync": errno.EIO}
        back = self.start(self.spool.give_back(queued("0", held="late")))
        self.assert_errors([back], OSError)
        self.assertEqual(run_now(self.spool.get("0")), queued("0", held="early"))
        self.disk.failing.clear()
        run_now(self.spool.give_back(queued("0", held="late")))
        self.assertEqual(run_now(self.spool.get("0")), queued("0", held="late"))


class SegmentTests(BatchCase):
    def segments(self) -> int:
        return len(list((self.directory / "segments").iterdir()))

    def test_segments_go_with_their_last_message(self) -> None:
        self.spool = self.reopened(segment=1000)
        for n in range(20):
            self.put(f"{n}", b"x" * 600)
            if n:
                run_now(self.spool.remove(f"{n}"))
            self.assertLessEqual(self.segments(), 10)
        run_now(self.spool.remove("0"))
        self.assertLessEqual(self.segments(), 2)

    def test_segments_go_one_by_one_for_good(self) -> None:
        """What is done in one is said in a younger one, which must not be lost before it."""
        self.spool = self.reopened(segment=1000)
        for n in range(4):
            self.put(f"{n}", b"x" * 1100)
        for n in (1, 2, 0):
            self.disk.done.clear()
            run_now(self.spool.remove(f"{n}"))
        removals = [[f"unlink {n:010}", "directory segments"] for n in (1, 2, 3)]
        self.assertEqual(self.disk.done, ["write", *removals[0], *removals[1], *removals[2]])

    def test_what_keeps_the_oldest_moves_and_stays_out(self) -> None:
        self.spool = self.reopened(segment=1000)
        for n in range(40):
            self.put(f"{n:02}", b"x" * 600)
        self.assertLessEqual(self.segments(), 10)
        self.assertEqual(run_now(self.spool.count()), 40)
        self.assertEqual(run_now(self.spool.take(NOW, 100, 100, ())), [])
        for n in range(40):
            self.assertIsNone(run_now(self.spool.seize(f"{n:02}")))
            self.assertEqual(run_now(read_all_of(self.spool, f"{n:02}")), b"x" * 600)
        run_now(self.spool.record(replace(queued("00", ("example.net", NOW)), warned=True)))
        self.disk.bury()
        self.spool = self.reopened()
        taken = run_now(self.spool.take(NOW, 100, 100, ()))
        self.assertEqual((len(taken), sum(one.warned for one in taken)), (40, 1))

    def test_what_ends_while_others_move_is_not_moved(self) -> None:
        """Its end is on its way to the log: a row of the backlog would outlive it, and bring it back."""
        self.spool = self.reopened(segment=1000)
        for n in range(8):
            self.put(f"{n}", b"x" * 1600)
        self.disk.hold()
        last = self.put("8", b"x" * 1600)
        done = [self.start(self.spool.remove("0"))]
        self.disk.let_go()
        self.assertEqual([last, *done], [[None]] * 2)
        left = [f"{n}" for n in range(1, 9)]
        self.assertEqual([each.id for each in run_now(self.spool.scan("", 100))], left)
        self.disk.bury()
        self.spool = self.reopened()
        self.assertEqual([each.id for each in run_now(self.spool.take(NOW, 100, 100, ()))], left)

    def test_contents_that_are_not_remembered_are_read_from_the_disk(self) -> None:
        self.patch(spool_module, "_REMEMBERED", 5000)
        for n in range(20):
            self.put(f"{n:02}", f"{n:02}".encode() * 500)
        self.put("large", LARGE)
        contents = [run_now(self.spool.content(f"{n:02}")) for n in range(20)]
        for n in range(0, 20, 2):
            run_now(self.spool.remove(f"{n:02}"))
        for n, content in enumerate(contents):
            self.assertEqual(run_now(read_all(content)), f"{n:02}".encode() * 500)
        for n in range(1, 20, 2):
            run_now(self.spool.give_back(queued(f"{n:02}")))
            self.assertEqual(run_now(read_all_of(self.spool, f"{n:02}")), f"{n:02}".encode() * 500)
        self.assertEqual(run_now(read_all_of(self.spool, "large")), LARGE)


class RecoveryTests(BatchCase):
    def segment(self) -> Path:
        [path] = (self.directory / "segments").iterdir()
        return path

    def kept(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((self.directory / "kept").iterdir())]

    def test_damage_is_set_aside_and_the_rest_read_on(self) -> None:
        for n in range(3):
            self.put(f"{n}", f"message {n}".encode() * 10)
        self.disk.bury()
        path = self.segment()
        octets = bytearray(path.read_bytes())
        octets[octets.index(b"message 1")] ^= 1
        path.write_bytes(octets)
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["0", "2"])
        [kept] = self.kept()
        self.assertIn(b"message 1", kept)

    def test_a_torn_end_is_nobodys(self) -> None:
        self.put("0")
        self.disk.bury()
        with self.segment().open("ab") as file:
            file.write(b"half a record" + bytes(1000))
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["0"])
        self.assertEqual(self.kept(), [])

    def test_a_state_that_cannot_be_read_is_set_aside(self) -> None:
        for n in range(2):
            self.put(f"{n}")
        self.patch(spool_module, "encode", lambda _: b'{"v": 99, "id": "1"}')
        run_now(self.spool.record(queued("1")))
        self.disk.bury()
        self.spool = self.reopened()
        self.assertEqual(names(run_now(self.spool.scan("", 10))), ["0"])
        self.assertEqual(self.kept(), [b'{"v": 99, "id": "1"}\r\nShall we?\r\n'])

    def test_a_message_without_its_file_is_set_aside(self) -> None:
        self.put("0", LARGE)
        self.disk.bury()
        (self.directory / "large" / "0.eml").unlink()
        self.spool = self.reopened()
        self.assertEqual(run_now(self.spool.count()), 0)
        self.assertEqual(len(self.kept()), 1)

    def test_files_of_nobody_are_removed(self) -> None:
        self.put("0", LARGE)
        run_now(self.spool.give_back(queued("0")))
        self.disk.bury()
        for name in ("large/other.eml", "drafts/7"):
            (self.directory / name).write_bytes(b"x")
        self.spool = self.reopened()
        self.assertEqual([path.name for path in (self.directory / "large").iterdir()], ["0.eml"])
        self.assertEqual(list((self.directory / "drafts").iterdir()), [])

    def test_an_empty_backlog_gives_its_room_back(self) -> None:
        for n in range(50):
            self.put(f"{n}", b"x" * 20_000)
            run_now(self.spool.give_back(queued(f"{n}")))
        for n in range(50):
            run_now(self.spool.seize(f"{n}"))
            run_now(self.spool.remove(f"{n}"))
        for _ in range(2):
            run_now(self.spool.close())
            self.disk.bury()
            self.spool = self.reopened()
        self.assertLess((self.directory / "backlog.sqlite").stat().st_size, 200_000)

    def test_a_database_that_is_none(self) -> None:
        run_now(self.spool.close())
        self.disk.bury()
        (self.directory / "backlog.sqlite").write_bytes(b"not a database" * 100)
        with self.assertRaises(OSError):
            self.reopened()

    def test_a_database_of_another_version(self) -> None:
        database = self.disk.connect(self.directory / "backlog.sqlite")
        database.execute("PRAGMA user_version = 99")
        run_now(self.spool.close())
        self.disk.bury()
        with self.assertRaises(OSError):
            self.reopened()


async def read_all_of(spool: LogSpool, name: str) -> bytes | None:
    return await read_all(await spool.content(name))
