"""Drafts: small ones in memory, large ones in files, and none where there is no room."""

from __future__ import annotations

import errno
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.content import Prefixed
from mailfw.mail.failure import NoSpace
from mailfw.spools.contents import Octets
from mailfw.spools.log.drafts import IN_MEMORY, DraftRoom
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import FaultyDisk
from tests.spools.life import run_now


class FreeDisk(FaultyDisk):
    """Says how much is free."""

    room: int | None = 1_000_000
    asked = 0

    def free(self, directory: object) -> int | None:
        self.asked += 1
        return self.room


class DraftTests(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp())
        self.directory = root / "drafts"
        self.disk = FreeDisk(root / "attic")
        self.directory.mkdir()
        self.clock = Clock()
        self.room = DraftRoom(directory=self.directory, disk=self.disk, clock=self.clock, reserve=100_000)

    def files(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.directory.iterdir())]

    def assert_refused(self, coroutine: Coroutine[Any, Any, object], kind: type[Exception]) -> None:
        with self.assertRaises(kind):
            run_now(coroutine)

    def test_small_drafts_touch_no_disk(self) -> None:
        draft = run_now(self.room.open(IN_MEMORY))
        before = self.disk.operations
        run_now(draft.write(b"x" * IN_MEMORY))
        material = run_now(self.room.material(Prefixed(b"A: b\r\n", draft, 2)))
        run_now(draft.close())
        self.assertEqual(material.octets, b"A: b\r\n" + b"x" * (IN_MEMORY - 2))
        self.assertIsNone(material.file)
        self.assertEqual(self.disk.operations, before)

    def test_a_large_draft_is_written_once(self) -> None:
        draft = run_now(self.room.open(0))
        for _ in range(3):
            run_now(draft.write(b"x" * IN_MEMORY))
        self.assertEqual(self.files(), [b"x" * 2 * IN_MEMORY])
        for prefix in (b"A: b\r\n", b""):
            before = self.disk.operations
            material = run_now(self.room.material(Prefixed(prefix, draft, 5)))
            self.assertEqual((material.octets, material.start), (prefix, 5))
            self.assertIsNone(material.draft)
            assert material.file is not None
            self.assertEqual(material.file.read_bytes(), b"x" * 3 * IN_MEMORY)
            self.assertEqual(self.disk.operations - before, 2 if prefix else 0)  # one write, one sync, once
        run_now(draft.close())
        self.assertEqual(self.files(), [])

    def test_other_contents_are_copied(self) -> None:
        small = run_now(self.room.material(Prefixed(b"A: b\r\n", Octets(b"xyz"), 1)))
        self.assertEqual((small.octets, small.file), (b"A: b\r\nyz", None))
        large = run_now(self.room.material(Prefixed(b"A: b\r\n", MemoryContent(b"x" * 200_000), 9)))
        self.assertEqual((large.octets, large.start), (b"A: b\r\n", 0))
        self.assertEqual(self.files(), [b"x" * 199_991])
        assert large.draft is not None
        run_now(large.draft.close())
        self.assertEqual(self.files(), [])

    def test_a_draft_that_failed_is_not_taken(self) -> None:
        draft = run_now(self.room.open(0))
        self.disk.is_full = True
        self.assert_refused(draft.write(b"x" * (IN_MEMORY + 1)), NoSpace)
        self.disk.is_full = False
        run_now(draft.write(b"y"))
        self.assert_refused(self.room.material(draft), OSError)
        run_now(draft.close())
        self.assertEqual(self.files(), [])

    def test_a_draft_that_cannot_be_synced_is_not_taken(self) -> None:
        draft = run_now(self.room.open(0))
        run_now(draft.write(b"x" * 2 * IN_MEMORY))
        self.disk.fail_at, self.disk.error = self.disk.operations + 1, errno.EIO
        for _ in range(2):  # and no second sync is believed
            self.assert_refused(self.room.material(draft), OSError)
        run_now(draft.close())

    def test_room(self) -> None:
        run_now(self.room.open(600_000))
        self.assert_refused(self.room.open(600_001), NoSpace)
        self.disk.room = 0
        run_now(self.room.open(0))  # it is not asked for each message
        self.assertEqual(self.disk.asked, 1)
        self.clock.advance(1)
        self.assert_refused(self.room.open(0), NoSpace)
        self.disk.room = None
        self.clock.advance(1)
        run_now(self.room.open(1 << 40))  # a file system that does not say
