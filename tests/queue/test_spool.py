from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.content import Octets
from mailfw.mail.envelope import Envelope
from mailfw.mail.failure import NoSpace
from mailfw.mail.reply import Reply
from mailfw.queue.disk import Disk
from mailfw.queue.queued import Queued, Undelivered, Unreadable, decode, encode
from mailfw.queue.spool import Spool
from mailfw.testing.contents import BrokenContent
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor
from tests.queue.fixture import ANN, BOB, CAROL, Crash, FaultyDisk, fail_now

LATER = Reply(451, "4.3.0", "Later")
NEVER = Reply(550, "5.1.1", "Never")
OCTETS = b"Subject: x\r\n\r\n" + os.urandom(150_000)
QUEUED = Queued(
    Envelope("1a2b", CAROL, ()),
    arrived=1000.0,
    due=1060.0,
    waiting=(Undelivered(ANN, ANN, LATER),),
    failed=(Undelivered(BOB, BOB, NEVER),),
)

addresses = st.builds(Address, st.text(), st.text())
undelivered = st.builds(
    Undelivered, addresses, addresses, st.builds(Reply, st.integers(400, 599), st.text(), st.text())
)
queued_messages = st.builds(
    Queued,
    st.builds(Envelope, st.text(), st.none() | addresses, st.just(()), st.booleans(), st.text()),
    arrived=st.floats(0, 1e12),
    due=st.floats(0, 1e12),
    attempts=st.integers(0),
    junk=st.booleans(),
    waiting=st.lists(undelivered, max_size=3).map(tuple),
    failed=st.lists(undelivered, max_size=3).map(tuple),
)


class QueuedTests(SynchronousTestCase):
    @given(queued_messages)
    def test_is_read_as_it_was_written(self, queued: Queued) -> None:
        self.assertEqual(decode(encode(queued)), queued)
        self.assertEqual(encode(queued).count(b"\n"), 1)

    @given(st.binary() | st.integers(0, 200).map(lambda length: encode(QUEUED)[:length]))
    def test_nothing_else_is_raised(self, octets: bytes) -> None:
        with self.assertRaises(Unreadable):
            decode(octets)

    def test_another_version(self) -> None:
        with self.assertRaises(Unreadable):
            decode(encode(QUEUED).replace(b'"version": 1', b'"version": 2'))

    def test_next_envelope(self) -> None:
        alias = Address("sales", "example.org")
        queued = replace(QUEUED, waiting=(Undelivered(ANN, ANN, LATER), Undelivered(alias, ANN, LATER)))
        self.assertEqual(queued.next_envelope().recipients, (ANN,))


class SpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = PretendReactor()
        self.directory = Path(self.mktemp())
        self.spool = self.make()

    def make(self, disk: Disk | None = None) -> Spool:
        return Spool(directory=self.directory, disk=disk or Disk(self.reactor))

    def reopen(self) -> Spool:
        spool = self.make()
        run_now(self, spool.recover())
        return spool

    def put(self, queued: Queued = QUEUED, octets: bytes = OCTETS) -> None:
        run_now(self, self.spool.put(queued, Octets(octets)))

    def read(self, spool: Spool, queued: Queued = QUEUED) -> bytes:
        content = run_now(self, spool.open(queued))
        octets: bytes = run_now(self, content.read(0, content.size + 10))
        self.assertEqual(run_now(self, content.read(content.size + 5, 3)), b"")
        run_now(self, content.close())
        return octets

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "queue").iterdir())

    def test_survives_a_restart(self) -> None:
        self.put()
        for spool in (self.spool, self.reopen()):
            self.assertEqual(list(spool.due(2000.0)), [QUEUED])
            self.assertEqual(self.read(spool), OCTETS)
        self.assertEqual(self.files(), ["1a2b.eml", "1a2b.json"])

    def test_changes_survive_too(self) -> None:
        self.put()
        later = replace(QUEUED, attempts=2, due=5000.0, failed=())
        run_now(self, self.spool.record(later))
        for spool in (self.spool, self.reopen()):
            self.assertEqual(list(spool.due(4999.0)), [])
            self.assertEqual(list(spool.due(5000.0)), [later])
        run_now(self, self.spool.remove(later))
        self.assertEqual(self.files(), [])
        self.assertEqual(len(self.reopen()), 0)

    def test_a_report_is_due_at_once(self) -> None:
        self.put()
        other = replace(QUEUED, envelope=replace(QUEUED.envelope, id="3c"), failed=())
        self.put(other)
        self.assertEqual(list(self.spool.due(1001.0)), [QUEUED])
        self.assertEqual(list(self.spool.due(1061.0)), [QUEUED, other])

    def test_an_empty_message(self) -> None:
        self.put(octets=b"")
        self.assertEqual(self.read(self.reopen()), b"")

    def test_ids_never_leave_the_directory(self) -> None:
        for name in ("../x", "/etc/x", "", ".", "..", "a\0b", "x" * 300, "1a2b\n", "예시", ".x.new"):
            queued = replace(QUEUED, envelope=replace(QUEUED.envelope, id=name))
            self.put(queued, b"octets")
            self.assertEqual(self.read(self.spool, queued), b"octets")
        self.assertEqual(len(self.reopen()), 10)
        self.assertEqual(sorted(path.name for path in self.directory.iterdir()), ["kept", "queue"])

    def test_a_content_that_breaks_leaves_nothing(self) -> None:
        fail_now(self, OSError, self.spool.put(QUEUED, BrokenContent(OCTETS)))
        self.assertEqual(self.files(), [])
        self.assertEqual(len(self.spool), 0)

    def test_a_content_that_is_shorter_than_it_says(self) -> None:
        content = Octets(OCTETS)
        content.size += 1
        fail_now(self, OSError, self.spool.put(QUEUED, content))
        self.assertEqual(self.files(), [])

    def test_keeping(self) -> None:
        run_now(self, self.spool.keep("1a2b", Octets(OCTETS)))
        self.assertEqual((self.directory / "kept" / "1a2b.eml").read_bytes(), OCTETS)
        self.assertEqual(len(list((self.directory / "kept").iterdir())), 1)

    def test_state_without_message_is_set_aside(self) -> None:
        self.put()
        (self.directory / "queue" / "1a2b.eml").unlink()
        self.assertEqual(len(self.reopen()), 0)
        self.assertEqual(self.files(), [])
        self.assertTrue((self.directory / "kept" / "1a2b.json").exists())

    def test_state_that_cannot_be_read_is_set_aside_with_its_message(self) -> None:
        self.put()
        (self.directory / "queue" / "1a2b.json").write_bytes(b"{")
        self.assertEqual(len(self.reopen()), 0)
        self.assertEqual(self.files(), [])
        self.assertEqual((self.directory / "kept" / "1a2b.eml").read_bytes(), OCTETS)


class FaultTests(SynchronousTestCase):
    """Every step of every operation fails, or the machine stops there."""

    later = replace(QUEUED, attempts=2, due=5000.0, failed=())

    def setUp(self) -> None:
        self.reactor = PretendReactor()

    def steps(self, prepare: bool, operation: Callable[[Spool], Coroutine[Any, Any, None]]) -> int:
        disk, spool = self.begin(prepare)
        run_now(self, operation(spool))
        return len(disk.steps)

    def begin(self, prepare: bool) -> tuple[FaultyDisk, Spool]:
        self.directory = Path(self.mktemp())
        disk = FaultyDisk(self.reactor)
        spool = Spool(directory=self.directory, disk=disk)
        if prepare:
            run_now(self, spool.put(QUEUED, Octets(OCTETS)))
        disk.steps.clear()
        return disk, spool

    def crash(self, prepare: bool, operation: Callable[[Spool], Coroutine[Any, Any, None]]) -> list[list[Queued]]:
        """Stop at each step, with and without losing what was not synced; return what each restart finds."""
        found: list[list[Queued]] = []
        for step in range(self.steps(prepare, operation)):
            for lost in (None, False, True):
                disk, spool = self.begin(prepare)
                disk.breaks_at, disk.with_error = step, Crash()
                with self.assertRaises(Crash):
                    operation(spool).send(None)
                if lost is not None:
                    disk.lose_unsynced(names=lost)
                found.append(self.restart())
        return found

    def restart(self) -> list[Queued]:
        spool = Spool(directory=self.directory, disk=Disk(self.reactor))
        run_now(self, spool.recover())
        queued = list(spool.due(1e9))
        for one in queued:
            content = run_now(self, spool.open(one))
            self.assertEqual(run_now(self, content.read(0, 10**6)), OCTETS)
            run_now(self, content.close())
        names = sorted(path.name for path in (self.directory / "queue").iterdir())
        self.assertEqual(names, ["1a2b.eml", "1a2b.json"] if queued else [])
        return queued

    def test_crash_while_taking(self) -> None:
        found = self.crash(False, lambda spool: spool.put(QUEUED, Octets(OCTETS)))
        self.assertGreater(len(found), 20)
        for queued in found:
            self.assertIn(queued, ([], [QUEUED]))
        self.assertIn([QUEUED], found, "after the rename it may be there")

    def test_crash_while_recording(self) -> None:
        found = self.crash(True, lambda spool: spool.record(self.later))
        for queued in found:
            self.assertIn(queued, ([QUEUED], [self.later]))
        self.assertIn([self.later], found)

    def test_crash_while_removing(self) -> None:
        found = self.crash(True, lambda spool: spool.remove(QUEUED))
        self.assertEqual(found[0], [QUEUED])
        for queued in found:
            self.assertIn(queued, ([QUEUED], []))

    def test_error_while_taking(self) -> None:
        for step in range(self.steps(False, lambda spool: spool.put(QUEUED, Octets(OCTETS)))):
            for number, kind in ((errno.EIO, OSError), (errno.ENOSPC, NoSpace), (errno.EMFILE, OSError)):
                disk, spool = self.begin(False)
                disk.breaks_at, disk.with_error = step, OSError(number, "broken")
                fail_now(self, kind, spool.put(QUEUED, Octets(OCTETS)))
                self.assertEqual(len(spool), 0)
                self.assertEqual(self.restart(), [], f"refused at step {step}, and yet there")

    def test_error_while_recording(self) -> None:
        for step in range(self.steps(True, lambda spool: spool.record(self.later))):
            disk, spool = self.begin(True)
            disk.breaks_at = step
            fail_now(self, OSError, spool.record(self.later))
            self.assertEqual(list(spool.due(1e9)), [QUEUED])
            self.assertIn(self.restart(), ([QUEUED], [self.later]))
