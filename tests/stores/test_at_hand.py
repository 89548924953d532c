"""Messages that are in memory are read at once, all others in a thread: nobody can tell which but by the time."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from mailfw.mail.mailbox import FLAGGED, INBOX, FlagChange, NewMessage
from mailfw.stores.maildir import at_hand, maildir
from mailfw.stores.maildir import content as reading
from mailfw.stores.maildir.at_hand import LIMIT, read_at_hand
from mailfw.testing.contents import PLAIN, MemoryContent
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"


def needs_linux() -> None:
    if at_hand._open is None:
        raise SkipTest("this system does not say what it has in memory")


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        needs_linux()
        self.root = Path(self.mktemp())
        self.root.mkdir()

    def file(self, octets: bytes, name: str = "file") -> str:
        path = self.root / name
        path.write_bytes(octets)
        return str(path)

    def test_octets(self) -> None:
        for octets in (b"", b"a", os.urandom(LIMIT)):
            path = self.file(octets)
            found = read_at_hand(path)
            if found is None:  # tmpfs, for one, cannot tell
                raise SkipTest("this file system does not say what it has in memory")
            self.assertEqual(found, octets)
            self.assertIs(type(found), bytes)

    def test_no_files(self) -> None:
        """Links, directories, FIFOs and what is not there are left to whoever can say what is the matter."""
        path = self.file(b"octets")
        (self.root / "link").symlink_to(path)
        os.mkfifo(self.root / "fifo")
        for name in ("link", "fifo", "nothing", "file/nothing", "."):
            self.assertIsNone(read_at_hand(str(self.root / name)), name)
        self.assertIsNone(read_at_hand("/dev/zero"))

    def test_large(self) -> None:
        self.assertIsNone(read_at_hand(self.file(b"x" * (LIMIT + 1))))

    def test_not_in_memory(self) -> None:
        """A file that would have to be read from a disk, wholly or in part, or that nobody can say this of."""
        path = self.file(b"octets")
        before = len(list(Path("/proc/self/fd").iterdir()))
        for fault in (BlockingIOError(), OSError(errno.EOPNOTSUPP, "not here")):

            def preadv(*_: object, fault: OSError = fault) -> int:
                raise fault

            self.patch(os, "preadv", preadv)
            self.assertIsNone(read_at_hand(path))
        self.patch(os, "preadv", lambda *_: 3)
        self.assertIsNone(read_at_hand(path))
        self.assertEqual(len(list(Path("/proc/self/fd").iterdir())), before)

    def test_another_system(self) -> None:
        self.patch(at_hand, "_open", None)
        self.assertIsNone(read_at_hand(self.file(b"octets")))


class Stores(TestCase):
    """The store says the same of messages at hand and of others."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        self.store = maildir(site_at(self.data))
        self.addCleanup(self.close)
        await self.store.open_account(ANN)
        self.inbox = next(each.id for each in await self.store.mailboxes(ANN) if each.path == INBOX)
        self.read: list[bytes | None] = []

        def watched(path: str) -> bytes | None:
            self.read.append(read_at_hand(path))
            return self.read[-1]

        self.patch_reading(watched)

    async def close(self) -> None:
        await self.store.close()

    def patch_reading(self, read: Any) -> None:
        self.patch(reading, "read_at_hand", read)

    async def octets(self, uid: int) -> bytes | None:
        content = await self.store.content(ANN, self.inbox, uid)
        if content is None:
            return None
        try:
            return await content.read(0, content.size)
        finally:
            await content.close()

    async def all_octets(self, uids: list[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        many: Any = self.store
        async for batch in many.contents(ANN, self.inbox, uids):
            for uid, content in batch:
                found[uid] = await content.read(0, content.size)
                await content.close()
        return found

    async def look(self) -> None:
        await self.store.snapshot(ANN, self.inbox, 0)

    async def test_at_hand(self) -> None:
        needs_linux()
        await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(PLAIN))])
        await self.look()
        self.assertEqual(await self.octets(1), PLAIN)
        if self.read == [None]:
            raise SkipTest("this file system does not say what it has in memory")
        self.assertEqual(self.read, [PLAIN])

    async def test_not_at_hand(self) -> None:
        """What is not in memory is read in a thread, one message and many."""
        messages = [PLAIN + b"%d\r\n" % number for number in range(5)]
        await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(each)) for each in messages])
        await self.look()
        self.patch_reading(lambda path: None)
        self.assertEqual(await self.octets(2), messages[1])
        self.assertEqual(await self.all_octets([1, 2, 5]), {1: messages[0], 2: messages[1], 5: messages[4]})
        turns = iter(range(100))
        self.patch_reading(lambda path: read_at_hand(path) if next(turns) % 2 else None)
        self.assertEqual(await self.all_octets([1, 2, 3, 4, 5]), dict(enumerate(messages, start=1)))

    async def test_line_ends_of_others(self) -> None:
        """What another program wrote with LF has CRLF, and its size is that."""
        (self.data / "mail" / "example.org" / "ann" / "new" / "1700000000.M1P1.peer").write_bytes(
            PLAIN.replace(b"\r\n", b"\n")
        )
        await self.look()
        self.assertEqual(await self.octets(1), PLAIN)
        self.patch_reading(lambda path: None)
        self.assertEqual(await self.octets(1), PLAIN)

    async def test_moved_by_others(self) -> None:
        """A file that another program has given another name, or removed, is looked for."""
        await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(PLAIN))] * 2)
        await self.store.alter(ANN, self.inbox, [1, 2], FlagChange.ADD, frozenset({FLAGGED}))
        self.assertEqual(await self.octets(1), PLAIN)
        first, second = sorted((self.data / "mail" / "example.org" / "ann" / "cur").iterdir())
        first.rename(str(first).replace(":2,F", ":2,FS"))
        second.unlink()
        self.assertEqual(await self.octets(1), PLAIN)
        self.assertIsNone(await self.octets(2))
