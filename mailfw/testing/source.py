"""
The contract of `IMessageSource`, for your own source in three lines.

::

    class AcmeSourceTests(SourceContract, TestCase):  # twisted.trial.unittest.TestCase
        def make_source(self):
            return AcmeSource(self.mktemp())
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest
from zope.interface.verify import verifyObject

from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.failure import NameRefused
from mailfw.mail.mailbox import (
    ANSWERED,
    DELETED,
    FLAGGED,
    INBOX,
    NO_FLAGS,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    Flags,
    Folder,
    Item,
    MailboxEdit,
    Path,
    RenameMailbox,
    Scan,
)
from mailfw.testing.contents import PLAIN, SAMPLES, BrokenContent, MemoryContent, ReadFailed
from mailfw.testing.store.fixture import ANN, BOB, read_all

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

#: Folder names that every source holds: people use such names.
NAMES = ("Work", "R&D", 'the "big" one', "a.b.c", "two  spaces", "받은 편지함", "Entwürfe", "📨", "cur", "x" * 60)

EMPTY_PATHS: tuple[Path, ...] = ((), ("",), ("", "a"), ("a", ""), ("a", "", "b"))


class SourceFixture(Case):
    """Opens the source and Ann's account for each test, and closes the source after it."""

    source: IMessageSource
    inbox: str

    def make_source(self) -> IMessageSource | Awaitable[IMessageSource]:
        """Return a new, empty source; `mktemp` makes it a directory.  Yours to override."""
        raise self.failureException("make_source() has to return the source to try")

    async def reopen_source(self, source: IMessageSource) -> IMessageSource:
        """Close the source and open it again, with what it kept.  Yours to override where it keeps anything."""
        raise SkipTest("this source keeps nothing when it is closed: there is no reopen_source()")

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        """Make the source and an account in it."""
        made = self.make_source()
        self.source = await made if inspect.isawaitable(made) else made
        self.addCleanup(self._close)
        await self.source.open_account(ANN)
        self.inbox = (await self.folder()).key

    async def _close(self) -> None:
        await self.source.close()

    async def reopen(self) -> None:
        """Go on with the source as it is after a restart; skips the test where that cannot be."""
        self.source = await self.reopen_source(self.source)
        await self.source.open_account(ANN)

    async def folders(self, account: str = ANN) -> dict[Path, Folder]:
        """Return every folder by its path."""
        folders = await self.source.folders(account)
        by_path = {folder.path: folder for folder in folders}
        self.assertEqual(len(by_path), len(folders), "two folders have the same path")
        self.assertEqual(len({folder.key for folder in folders}), len(folders), "two folders have the same key")
        return by_path

    async def folder(self, path: Path = INBOX) -> Folder:
        """Return the folder at a path."""
        folders = await self.folders()
        self.assertIn(path, folders)
        return folders[path]

    async def edit(self, edit: MailboxEdit) -> None:
        """Change Ann's folders."""
        await self.source.edit_folder(ANN, edit)

    async def create(self, *names: str) -> str:
        """Make a folder and return its key."""
        await self.edit(CreateMailbox(names))
        return (await self.folder(names)).key

    async def put(
        self, octets: bytes = PLAIN, flags: Flags = NO_FLAGS, received: int = 1_700_000_000, folder: str = ""
    ) -> Item:
        """Put a message into a folder, or into the inbox."""
        return await self.source.put(ANN, folder or self.inbox, MemoryContent(octets), flags, received)

    async def octets(self, key: str, folder: str = "") -> bytes:
        """Return the octets of a message."""
        content: IContent = await self.source.open(ANN, folder or self.inbox, key)
        try:
            octets = await read_all(content)
            self.assertEqual(content.size, len(octets))
        finally:
            await content.close()
        return octets

    async def scan(self, cursor: str | None = None, folder: str = "") -> Scan:
        """Look what is in a folder, or in the inbox."""
        return await self.source.scan(ANN, folder or self.inbox, cursor)

    async def items(self, folder: str = "") -> dict[str, Item]:
        """Return all messages of a folder by key."""
        scan = await self.scan(None, folder)
        self.assertTrue(scan.complete, "without a cursor, a scan is complete")
        return self._by_key(scan)

    def _by_key(self, scan: Scan) -> dict[str, Item]:
        items = {item.key: item for item in scan.items}
        self.assertEqual(len(items), len(scan.items), "two messages have the same key")
        return items

    def follow(self, known: dict[str, Item], scan: Scan) -> dict[str, Item]:
        """Return what is known after a scan, as mailfw's index takes it."""
        items = self._by_key(scan)
        if scan.complete:
            return items
        return {key: item for key, item in {**known, **items}.items() if key not in scan.removed}


class SourceContract(SourceFixture):
    """Every sentence of `IMessageSource`, tried: mix it into a `TestCase` and override `make_source`."""

    # ------------------------------------------------------------ accounts and folders

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(IMessageSource, self.source))

    async def test_inbox_exists(self) -> None:
        """A new account has a folder ``("INBOX",)``, empty; opening again changes nothing."""
        self.assertEqual(await self.items(), {})
        await self.put()
        before = await self.folders(), await self.items()
        await self.source.open_account(ANN)
        self.assertEqual((await self.folders(), await self.items()), before)

    async def test_accounts_never_see_each_other(self) -> None:
        """Folders and messages of one account are not in another, and outlive its removal."""
        await self.source.open_account(BOB)
        item = await self.put()
        await self.create("Ann's")
        theirs = await self.folders(BOB)
        self.assertNotIn(("Ann's",), theirs)
        self.assertEqual(list((await self.source.scan(BOB, theirs[INBOX].key, None)).items), [])
        await self.source.remove_account(BOB)
        self.assertEqual(await self.octets(item.key), PLAIN)

    async def test_removed_account_is_gone(self) -> None:
        """An account made again has none of the old mail."""
        await self.put()
        await self.create("Work")
        await self.source.remove_account(ANN)
        await self.source.open_account(ANN)
        self.inbox = (await self.folder()).key
        self.assertEqual(await self.items(), {})
        self.assertNotIn(("Work",), await self.folders())

    async def test_names_are_held_exactly(self) -> None:
        """Every name people give a folder comes back as it was, on any level, and the folder works."""
        for name in NAMES:
            await self.create(name, name)
            key = await self.create(name)
            item = await self.put(name.encode(), folder=key)
            self.assertEqual(await self.octets(item.key, key), name.encode(), name)
        self.assertLessEqual({path for name in NAMES for path in ((name,), (name, name))}, set(await self.folders()))

    async def test_empty_names_are_refused(self) -> None:
        """A path without names, or with an empty one, is no path."""
        before = await self.folders()
        for path in EMPTY_PATHS:
            try:
                await self.edit(CreateMailbox(path))
            except NameRefused:
                continue
            self.fail(f"{path} was not refused")
        self.assertEqual(await self.folders(), before)

    async def test_dangerous_names_are_held_or_refused(self) -> None:
        """A name the source cannot hold is refused with `NameRefused`, and nothing is left of it."""
        for path in (("..",), (".",), ("..", "..", "x"), ("a/b",), ("nul\x00",), ("line\r\n",), ("x" * 1000,)):
            before = await self.folders()
            try:
                await self.edit(CreateMailbox(path))
            except NameRefused:
                self.assertEqual(await self.folders(), before, repr(path))
            else:
                self.assertEqual(await self.items((await self.folder(path)).key), {})

    async def test_rename_takes_what_is_below_along(self) -> None:
        """Keys of folders and messages stay; names that only look alike do too."""
        keys = {path: await self.create(*path) for path in (("A",), ("A", "B"), ("A", "B", "한글"), ("AB",), ("A.B",))}
        item = await self.put(folder=keys["A", "B"])
        await self.edit(RenameMailbox(("A",), ("New", "place")))
        folders = await self.folders()
        self.assertNotIn(("A",), folders)
        self.assertNotIn(("A", "B"), folders)
        for path, key in keys.items():
            place = ("New", "place", *path[1:]) if path[0] == "A" else path
            self.assertEqual(folders[place].key, key)
        self.assertEqual(await self.octets(item.key, keys["A", "B"]), PLAIN)

    async def test_deleted_folder_is_gone(self) -> None:
        """Those below it stay; made again, it is empty and another."""
        key, child = await self.create("A"), await self.create("A", "B")
        item = await self.put(folder=child)
        await self.put(folder=key)
        await self.edit(DeleteMailbox(("A",)))
        self.assertNotIn(("A",), await self.folders())
        self.assertEqual(await self.octets(item.key, child), PLAIN)
        again = await self.create("A")
        self.assertNotEqual(again, key)
        self.assertEqual(await self.items(again), {})

    # ------------------------------------------------------------ messages

    async def test_put_says_what_is_there(self) -> None:
        """The item returned is the one a scan finds: size, date and flags are those given."""
        flags = frozenset({SEEN, FLAGGED, "$Label", "MixedCase"})
        for octets, received in ((PLAIN, 0), (b"", 951_782_400), (PLAIN * 100, 4_102_444_800)):
            item = await self.put(octets, flags, received)
            self.assertEqual((item.size, item.received, item.flags), (len(octets), received, flags))
            self.assertEqual((await self.items())[item.key], item)

    async def test_octets_are_exact(self) -> None:
        """NULs, 8-bit, lone CR and LF, no last line end, no octets at all: what is read is what was put."""
        keys = {name: (await self.put(octets)).key for name, octets in SAMPLES.items()}
        self.assertEqual(len(set(keys.values())), len(keys))
        for name, key in keys.items():
            self.assertEqual(await self.octets(key), SAMPLES[name], name)

    async def test_content_by_offset(self) -> None:
        """Any stretch can be read, in any order, and closing twice does nothing."""
        octets = bytes(range(256)) * 400
        content = await self.source.open(ANN, self.inbox, (await self.put(octets)).key)
        for offset, length in ((100_000, 10_000), (0, 1), (65_535, 2), (len(octets), 5)):
            self.assertEqual(await content.read(offset, length), octets[offset : offset + length])
        await content.close()
        await content.close()

    async def test_content_stays_the_callers(self) -> None:
        """The source closes no content it was handed."""
        content = MemoryContent(PLAIN)
        await self.source.put(ANN, self.inbox, content, NO_FLAGS, 0)
        self.assertEqual(content.closed, 0)

    async def test_unreadable_content_leaves_nothing(self) -> None:
        """Where the content cannot be read, its error comes through and no message is there."""
        try:
            await self.source.put(ANN, self.inbox, BrokenContent(PLAIN * 5000), NO_FLAGS, 0)
        except ReadFailed:
            self.assertEqual(await self.items(), {})
        else:
            self.fail("the error was swallowed")

    async def test_gone_message(self) -> None:
        """Opening what is gone, or never was, raises `KeyError`."""
        item = await self.put()
        await self.source.drop(ANN, self.inbox, [item.key])
        for key in (item.key, "no such key", "../../etc/passwd", ""):
            try:
                await self.source.open(ANN, self.inbox, key)
            except KeyError:
                continue
            self.fail(f"{key!r} was opened")

    async def test_drop(self) -> None:
        """What is dropped is gone, all else stays; keys that are gone are passed over, and never given again."""
        items = [await self.put(f"Subject: {number}\r\n\r\n".encode()) for number in range(4)]
        dropped = [items[1].key, items[3].key]
        await self.source.drop(ANN, self.inbox, [*dropped, "no such key"])
        await self.source.drop(ANN, self.inbox, dropped)
        self.assertEqual(set(await self.items()), {items[0].key, items[2].key})
        again = {(await self.put()).key for _ in range(4)}
        self.assertEqual(again & {item.key for item in items}, set())

    async def test_flags(self) -> None:
        """Each message gets exactly the flags given; key, date and octets stay; gone keys are passed over."""
        items = [await self.put(flags=frozenset({ANSWERED, "$Old"})) for _ in range(3)]
        for flags in (
            frozenset({SEEN, "$New"}),
            NO_FLAGS,
            frozenset({DELETED, "MixedCase", *map("$W{}".format, range(20))}),
        ):
            await self.source.set_flags(ANN, self.inbox, {items[0].key: flags, "no such key": flags})
            found = await self.items()
            self.assertEqual(found[items[0].key].flags, flags)
            self.assertEqual(found[items[0].key].received, items[0].received)
            self.assertEqual([found[item.key] for item in items[1:]], items[1:])
            self.assertEqual(await self.octets(items[0].key), PLAIN)

    # ------------------------------------------------------------ scans

    async def test_scans_follow_every_change(self) -> None:
        """Scans with the cursor of the one before lead to what a scan of everything finds."""
        known = self.follow({}, first := await self.scan())
        cursor = first.cursor
        items: list[Item] = []
        for number in range(5):
            items.append(await self.put(flags=frozenset({f"$L{number}"})))
            known, cursor = await self._next(known, cursor)
            await self.source.set_flags(ANN, self.inbox, {items[number // 2].key: frozenset({SEEN, f"$M{number}"})})
            known, cursor = await self._next(known, cursor)
        await self.source.drop(ANN, self.inbox, [items[0].key, items[4].key])
        known, cursor = await self._next(known, cursor)
        self.assertEqual(set(known), {item.key for item in items[1:4]})

    async def _next(self, known: dict[str, Item], cursor: str) -> tuple[dict[str, Item], str]:
        scan = await self.scan(cursor)
        known = self.follow(known, scan)
        self.assertEqual(known, await self.items())
        return known, scan.cursor

    async def test_scan_from_long_ago(self) -> None:
        """An old cursor, used a second time, still leads to what there is: all changes at once."""
        old = [await self.put() for _ in range(3)]
        start = await self.scan()
        await self.source.drop(ANN, self.inbox, [old[0].key])
        await self.source.set_flags(ANN, self.inbox, {old[1].key: frozenset({SEEN})})
        await self.put()
        for _ in range(2):
            known = self.follow(self._by_key(start), await self.scan(start.cursor))
            self.assertEqual(known, await self.items())

    async def test_scan_of_no_change(self) -> None:
        """Where nothing changed, nothing is different after the scan."""
        for _ in range(3):
            await self.put()
        start = await self.scan()
        again = await self.scan(start.cursor)
        self.assertEqual(self.follow(self._by_key(start), again), self._by_key(start))
        self.assertEqual(list(again.removed), [])

    async def test_folders_are_scanned_apart(self) -> None:
        """A message is in the folder it was put into alone."""
        work = await self.create("Work")
        here, there = await self.put(), await self.put(b"x", folder=work)
        self.assertEqual((list(await self.items()), list(await self.items(work))), ([here.key], [there.key]))

    # ------------------------------------------------------------ restarts

    async def test_everything_outlives_a_restart(self) -> None:
        """Folders, keys, dates, flags and octets are as they were when the source is opened again."""
        work = await self.create("Work", "한글")
        keys = {name: (await self.put(octets, frozenset({SEEN, "$A"}), 5)).key for name, octets in SAMPLES.items()}
        await self.put(folder=work)
        before = await self.folders(), await self.items(), await self.items(work)
        await self.reopen()
        self.assertEqual((await self.folders(), await self.items(), await self.items(work)), before)
        for name, key in keys.items():
            self.assertEqual(await self.octets(key), SAMPLES[name], name)

    async def test_cursor_outlives_a_restart(self) -> None:
        """A cursor of before a restart leads to what there is after it."""
        items = [await self.put() for _ in range(3)]
        start = await self.scan()
        await self.source.drop(ANN, self.inbox, [items[0].key])
        await self.reopen()
        await self.put()
        self.assertEqual(self.follow(self._by_key(start), await self.scan(start.cursor)), await self.items())
