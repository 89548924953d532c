"""Mail that brings its UIDs along into a maildir: however often the process dies, each message gets its own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk
from mailfw.mail.mailbox import INBOX, SEEN
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.maildir.uidlist import UidList
from mailfw.testing.disk import Crashed, FaultyDisk
from tests.stores.test_maildir_crashes import ANN, message, open_store

OLD = 1_234_567_890
WISHED = ((3, 4, 7), (9, 20, 21, 22), (100,))


class NumberCrashTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.data = self.home / "data"

    def wait(self, work: Coroutine[Any, Any, object]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    async def inbox(self, store: IndexedStore) -> str:
        return next(info.id for info in await store.mailboxes(ANN) if info.path == INBOX)

    async def bring(self, store: IndexedStore) -> None:
        inbox = await self.inbox(store)
        await store.renumber(ANN, inbox, OLD, 1)
        for uids in WISHED:
            messages = [message(str(uid), *([SEEN, "$Label"] if uid % 2 else [])) for uid in uids]
            await store.append_numbered(ANN, inbox, messages, uids)
        await store.renumber(ANN, inbox, OLD, 200)

    async def seen(self, store: IndexedStore) -> tuple[int, int, dict[int, bytes]]:
        info = await store.mailbox(ANN, await self.inbox(store))
        found = {}
        for uid in (await store.snapshot(ANN, info.id, 0)).uids:
            content = await store.content(ANN, info.id, uid)
            assert content is not None
            found[uid] = (await content.read(0, 100)).split(b"\r\n")[0]
            await content.close()
        return info.uid_validity, info.uid_next, found

    def test_every_crash(self) -> None:
        expected = {uid: f"Subject: {uid}".encode() for uids in WISHED for uid in uids}
        store = open_store(self.data, Disk())
        self.wait(store.open_account(ANN))
        self.wait(store.close())
        self.data.rename(self.home / "fresh")
        for number in itertools.count(1):
            shutil.copytree(self.home / "fresh", self.data)
            disk = FaultyDisk(self.home / "attic", crash_at=number)
            store = open_store(self.data, disk)
            died = Deferred.fromCoroutine(self.bring(store))
            died.addErrback(lambda failure: failure.trap(Crashed))
            self.successResultOf(died)
            disk.bury()
            self.wait(store.close())
            if not disk.has_crashed:
                break
            store = open_store(self.data, Disk())
            validity, _, found = self.wait(self.seen(store))
            if found:
                self.assertEqual(validity, OLD)
            self.assertLessEqual(found.items(), expected.items(), number)
            self.wait(self.bring(store))
            self.assertEqual(self.wait(self.seen(store)), (OLD, 200, expected), number)
            self.wait(store.close())
            shutil.rmtree(self.data)
        self.assertGreater(number, 50)

    def test_dovecot_reads_the_same(self) -> None:
        """What the list says is what Dovecot goes by."""
        store = open_store(self.data, Disk())
        self.wait(store.open_account(ANN))
        self.wait(self.bring(store))
        self.wait(store.close())
        uids = UidList(Disk(), str(self.data / "example.org/ann"))
        entries = uids.read()
        assert uids.header is not None
        self.assertEqual((uids.header.uid_validity, uids.header.uid_next), (OLD, 200))
        self.assertEqual(sorted(entry.uid for entry in entries.values()), [3, 4, 7, 9, 20, 21, 22, 100])
