"""Who watches hears at once of what other programs do, by inotify where there is any, or else every second."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from mailfw.mail.mailbox import DELETED, INBOX, NO_FLAGS, TREE, CreateMailbox, NewMessage
from mailfw.stores import inotify
from mailfw.stores.index import lookout
from mailfw.stores.indexed import IndexedStore
from mailfw.stores.inotify import Inotify, is_remote
from mailfw.stores.maildir import maildir, source
from mailfw.stores.maildir.signature import TICK
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import pause
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"


def _refused(*arguments: object) -> Inotify:
    raise OSError(errno.EMFILE, "Too many open files")


class LookoutTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        store = maildir(site_at(self.data))
        assert isinstance(store, IndexedStore)
        self.store = store
        self.addCleanup(self.store.close)
        self.inbox = await self.open(ANN)
        self.heard: dict[str, float] = {}

    async def open(self, account: str) -> str:
        await self.store.open_account(account)
        return next(info.id for info in await self.store.mailboxes(account) if info.path == INBOX)

    async def watch(self, account: str = ANN) -> Callable[[], None]:
        def note(mailbox: str, modseq: int) -> None:
            self.heard.setdefault(mailbox, time.monotonic())

        return await self.store.watch(account, note)

    def drop(self, name: str, account: str = "ann", folder: str = "") -> None:
        root = self.data / "mail/example.org" / account / folder
        draft = root / "tmp" / name
        draft.write_bytes(b"Subject: x\r\n\r\n")
        draft.rename(root / "new" / name)

    async def until_heard(self, mailbox: str, seconds: float = 5.0) -> float:
        """Wait for news, and return how long that took."""
        began = time.monotonic()
        while mailbox not in self.heard and time.monotonic() < began + seconds:
            await pause(0.01)
        self.assertIn(mailbox, self.heard)
        return self.heard[mailbox] - began

    async def until_settled(self) -> None:
        """Wait until nothing is looked at every second any more."""
        await pause(lookout.POLL + lookout.UNSETTLED + lookout.POLL + 0.3)

    def needs_inotify(self) -> None:
        if self.store._lookout._inotify is None:
            raise SkipTest("no inotify here, or too many are in use")

    async def test_news_come_at_once(self) -> None:
        await self.watch()
        await self.until_settled()
        self.needs_inotify()
        compared: list[Any] = []
        with patch.object(self.store._source, "stale", lambda asked: compared.append(asked)):
            await pause(1.5)
        self.assertEqual(compared, [])
        # On average a poll would be late by half a second; five times in a row it would not be so quick.
        for number in range(5):
            self.heard.clear()
            self.drop(f"170000000{number}.M1P2.host")
            self.assertLess(await self.until_heard(self.inbox), 0.5)
            await pause(0.1 * number)
        self.assertEqual((await self.store.mailbox(ANN, self.inbox)).messages, 5)

    async def test_what_comes_while_the_watch_begins(self) -> None:
        await self.watch()
        self.drop("1700000000.M1P2.host")
        await self.until_heard(self.inbox)

    async def test_a_mailbox_that_is_opened_later(self) -> None:
        await self.watch()
        await self.until_settled()
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        work = next(info.id for info in await self.store.mailboxes(ANN) if info.path == ("Work",))
        await self.store.snapshot(ANN, work, 0)
        self.heard.clear()
        self.drop("1700000000.M1P2.host", folder=".Work")
        await self.until_heard(work)

    async def test_a_mailbox_that_goes_and_comes_again(self) -> None:
        await self.watch()
        await self.until_settled()
        path = self.data / "mail/example.org/ann"
        for name in ("new", "cur"):
            shutil.rmtree(path / name)
        for name in ("cur", "new"):
            (path / name).mkdir()
        await pause(0.2)
        self.drop("1700000000.M1P2.host")
        await self.until_heard(self.inbox)

    async def test_our_own_changes_cost_no_survey(self) -> None:
        await self.watch()
        await self.until_settled()
        surveys: list[Any] = []
        survey = self.store._source.survey

        async def counted(*arguments: Any) -> Any:
            surveys.append(arguments)
            return await survey(*arguments)

        with patch.object(self.store._source, "survey", counted):
            for _ in range(10):
                message = NewMessage(MemoryContent(PLAIN), frozenset({DELETED}))
                await self.store.append(ANN, self.inbox, [message])
                await pause(0.03)
            await self.store.expunge(ANN, self.inbox, None)
            await pause(0.3)
        self.assertLess(len(surveys), 3)

    async def test_where_there_is_no_inotify(self) -> None:
        with patch.object(lookout, "Inotify", _refused):
            await self.watch()
            await pause(1.2)
            self.drop("1700000000.M1P2.host")
            await self.until_heard(self.inbox)

    async def test_more_accounts_than_are_remembered(self) -> None:
        """Where there is no inotify, what is not remembered is compared all the same."""
        bob = await self.open("bob@example.org")
        with patch.object(lookout, "Inotify", _refused), patch.object(source, "REMEMBERED", 1):
            await self.watch()
            await self.watch("bob@example.org")
            await pause(1.3)
            for name in ("ann", "bob"):
                self.drop("1700000000.M1P2.host", name)
            await self.until_heard(self.inbox)
            await self.until_heard(bob)
            await pause(2.5)
            with patch.object(self.store._source, "survey") as surveyed:
                await pause(1.5)
            surveyed.assert_not_called()

    async def test_other_programs_make_and_remove_folders(self) -> None:
        """Who watches hears of the tree, also of a folder that takes its maker some time, and of subscriptions."""
        root = self.data / "mail/example.org/ann"
        await self.watch()
        await pause(lookout.TREES + lookout.POLL)
        self.heard.clear()
        await pause(lookout.TREES + lookout.POLL)
        self.assertEqual(self.heard, {})

        def make() -> None:
            for name in ("tmp", "new", "cur"):
                (root / ".Slow" / name).mkdir(parents=True)

        (root / ".Slow").mkdir()
        await pause(lookout.TREES + TICK)
        self.assertEqual(self.heard, {})
        for change in (
            make,
            lambda: (root / ".Slow").rename(root / ".Later"),
            lambda: (root / "other").write_text("Later\nNowhere\n") and (root / "other").rename(root / "subscriptions"),
            lambda: shutil.rmtree(root / ".Later"),
        ):
            self.heard.clear()
            change()
            await self.until_heard(TREE)
        self.assertEqual(await self.store.subscriptions(ANN), {("Later",), ("Nowhere",)})

    async def test_our_own_changes_of_the_tree_cost_one_look(self) -> None:
        await self.watch()
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        await pause(lookout.TREES + lookout.POLL)
        self.heard.clear()
        with patch.object(self.store._source, "folders") as looked:
            self.drop("1700000000.M1P2.host")
            await self.until_heard(self.inbox)
            await pause(lookout.TREES + lookout.POLL)
        looked.assert_not_called()
        self.assertNotIn(TREE, self.heard)

    async def test_where_too_many_are_watched(self) -> None:
        """The first is told of, the second compared every second."""
        bob = await self.open("bob@example.org")
        add, added = Inotify.add, 0

        def scarce(self: Inotify, path: str) -> int:
            nonlocal added
            added += 1
            if added > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            return add(self, path)

        with patch.object(Inotify, "add", scarce):
            await self.watch()
            await self.watch("bob@example.org")
            await self.until_settled()
            self.needs_inotify()
            self.assertEqual(len(self.store._lookout._watches), 1)
            self.heard.clear()
            self.drop("1700000000.M1P2.host")
            self.drop("1700000000.M1P2.host", "bob")
            await self.until_heard(self.inbox)
            await self.until_heard(bob)
        self.assertEqual(added, 3)

    async def test_events_that_were_lost(self) -> None:
        await self.watch()
        await self.until_settled()
        self.needs_inotify()
        with patch.object(lookout.Lookout, "_look_soon", lambda _: None):
            self.drop("1700000000.M1P2.host")
            await pause(0.1)
        self.store._lookout._touched.clear()
        self.store._lookout._unsettled.clear()
        self.store._lookout._heard(inotify.EVERYTHING)
        self.assertLess(await self.until_heard(self.inbox), 0.6)

    async def test_nothing_is_left_when_nobody_watches(self) -> None:
        stop = await self.watch()
        await pause(1.3)
        stop()
        await pause(1.3)
        self.assertIsNone(self.store._lookout._inotify)
        self.assertIsNone(self.store._lookout._timer)
        self.assertEqual(self.store._lookout._trees, {})
        self.assertEqual(await self.store.snapshot(ANN, self.inbox, 0) and NO_FLAGS, NO_FLAGS)


class ManyEventsTests(TestCase):
    async def test_many_renames_wake_the_reactor_a_few_times(self) -> None:
        from twisted.internet import reactor  # a trial TestCase has no other reactor than the installed one

        directory = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        heard: list[int] = []
        directory.mkdir()
        (directory / "0").touch()
        try:
            watching = Inotify(reactor, heard.append, heard.append)
        except OSError as reason:
            raise SkipTest(str(reason))
        self.addCleanup(watching.close)
        watch = watching.add(str(directory))
        for number in range(100):
            (directory / str(number)).rename(directory / str(number + 1))
            await pause(0.001)
        await pause(0.05)
        self.assertEqual(set(heard), {watch})
        self.assertLess(len(heard), 50)


class InotifyTests(SynchronousTestCase):
    def test_a_reactor_without_descriptors(self) -> None:
        self.assertRaises(OSError, Inotify, Clock(), id, id)

    def test_file_systems_of_the_network(self) -> None:
        mounts = (
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
            "23 22 0:40 / /srv/my\\040mail rw shared:1 - nfs4 server:/ rw\n"
            "24 23 8:2 / /srv/my\\040mail/here rw - xfs /dev/sdb rw\n"
            "25 22 0:41 / /mnt rw - fuse.sshfs x rw\n"
        )
        with patch.object(Path, "read_text", lambda *_: mounts):
            for path, remote in (
                ("/srv", False),
                ("/srv/my mail", True),
                ("/srv/my mailbox", False),
                ("/srv/my mail/here/a", False),
                ("/mnt/a", True),
            ):
                self.assertEqual(is_remote(path), remote, path)

    def test_where_that_is_not_known(self) -> None:
        def missing(*_: object) -> str:
            raise FileNotFoundError

        with patch.object(Path, "read_text", missing):
            self.assertTrue(is_remote("/"))
