"""Backup and restore: what was in an account is in it again, once, however often and to wherever it is brought."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    RenameMailbox,
    Role,
    Subscribe,
    Want,
)
from mailfw.site import Site
from mailfw.stores.maildir import maildir
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import SAMPLES, MemoryContent
from mailfw.testing.store.fixture import read_all
from mailfw.transfer.account import Origin, Target, TransferRefused
from mailfw.transfer.backup import Backup
from mailfw.transfer.backup_ends import BackupOrigin, BackupTarget
from mailfw.transfer.engine import Move, Outcome, Terms
from mailfw.transfer.store_origin import StoreOrigin
from mailfw.transfer.store_target import StoreTarget

ANN = "ann@example.org"
BIG = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 400_000
CORPUS = Path(__file__).parents[3] / "shared/corpus"


class Silent:
    """Progress that nobody sees; `done` is how many messages it was told of."""

    def __init__(self) -> None:
        self.done = 0

    def begin(self, what: str, messages: int) -> None: ...

    def advance(self, messages: int, octets: int) -> None:
        self.done += messages

    def end(self) -> None: ...


class Cut(Exception):
    """The move is interrupted here."""


class Cutting(Silent):
    """Progress that ends the move after so many messages."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def advance(self, messages: int, octets: int) -> None:
        super().advance(messages, octets)
        if self.done >= self.after:
            raise Cut


class Case(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        self.disk = Disk(reactor)
        self.backup = Backup(self.disk, self.home / "backup")

    def maildir(self, name: str = "data") -> IMailStore:
        store: IMailStore = maildir(Site("mx.example.org", frozenset(), self.home / name, self.reactor))
        self.addCleanup(store.close)
        return store

    async def fill(self, store: IMailStore) -> None:
        await store.open_account(ANN)
        for path, role in ((("받은 편지함",), None), (("Work", "2026"), None), (("a.b", "c~d"), None)):
            await store.edit_mailbox(ANN, CreateMailbox(path, role))
        await store.edit_mailbox(ANN, Subscribe(("Work", "2026")))
        await store.edit_mailbox(ANN, Subscribe(("Junk",), False))
        octets = [*SAMPLES.values()] + [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml"))]
        paths: list[tuple[str, ...]] = [("INBOX",), ("받은 편지함",), ("Work", "2026"), ("Sent",)]
        for number, filled in enumerate(paths):
            messages = [
                NewMessage(
                    MemoryContent(each), frozenset([SEEN, f"$Word{place % 3}"][: place % 3]), 1_500_000_000 + place
                )
                for place, each in enumerate(octets[number::2])
            ]
            await store.append(ANN, await self.find(store, filled), messages)
        await store.append(ANN, await self.find(store, ("INBOX",)), [NewMessage(MemoryContent(BIG), frozenset(), 0)])

    async def find(self, store: IMailStore, path: tuple[str, ...], account: str = ANN) -> str:
        return next(each.id for each in await store.mailboxes(account) if each.path == path)

    async def contents(self, store: IMailStore, account: str = ANN) -> dict[tuple[str, ...], Any]:
        """Return all there is but UIDs, in order."""
        found: dict[tuple[str, ...], Any] = {}
        for info in await store.mailboxes(account):
            snapshot = await store.snapshot(account, info.id, 0)
            messages = []
            async for rows in store.rows(account, info.id, snapshot.uids, Want.NOTHING):
                for row in rows:
                    content = await store.content(account, info.id, row.uid)
                    assert content is not None
                    messages.append((row.flags, row.received, await read_all(content)))
                    await content.close()
            found[info.path] = (info.role, info.subscribed, messages)
        return found

    async def move(
        self, origin: Origin, target: Target, terms: Terms | None = None, progress: Silent | None = None
    ) -> Outcome:
        try:
            return await Move(origin, target, self.disk, progress or Silent(), terms or Terms()).run()
        finally:
            await target.close()
            await origin.close()

    async def save(self, store: IMailStore, prune: bool = False, progress: Silent | None = None) -> Outcome:
        origin = StoreOrigin(store, ANN, "test")
        return await self.move(origin, BackupTarget(self.backup, ANN, prune), progress=progress)

    async def restore(
        self, store: IMailStore, account: str = ANN, gone: bool = False, progress: Silent | None = None, leap: int = 0
    ) -> Outcome:
        origin = BackupOrigin(self.backup, self.backup.manifest(), gone)
        target = StoreTarget(store, account, origin.name, self.home / "journals", self.disk, account == ANN, leap)
        return await self.move(origin, target, Terms(reflag=False), progress)

    def later(self, work: Any) -> Any:
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(work)

    def files(self) -> dict[str, int]:
        return {str(each): each.stat().st_ino for each in self.backup.root.rglob("*.eml")}


class BackupTests(Case):
    async def test_into_another_store_and_back(self) -> None:
        store = self.maildir()
        await self.fill(store)
        before = await self.contents(store)
        saved = await self.save(store)
        self.assertEqual(saved.faults, [])
        self.assertEqual(saved.copied, sum(len(each[2]) for each in before.values()))
        self.assertEqual(saved.verified, saved.messages)
        for other in (self.maildir("second"), MemoryStore()):
            outcome = await self.restore(other)
            self.assertEqual(outcome.faults, [])
            self.assertEqual(outcome.verified, saved.messages)
            self.assertEqual(await self.contents(other), before)

    async def test_restoring_again_adds_nothing(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        await self.restore(store, "bob@example.org")
        before = await self.contents(store, "bob@example.org")
        self.assertEqual((await self.restore(store, "bob@example.org")).copied, 0)
        for note in (self.home / "journals").iterdir():  # without notes the tokens tell
            note.unlink()
        outcome = await self.restore(store, "bob@example.org")
        self.assertEqual((outcome.faults, outcome.copied), ([], outcome.messages))
        self.assertEqual(await self.contents(store, "bob@example.org"), before)

    async def test_into_the_account_it_is_of(self) -> None:
        """What is still there is recognised, what was deleted comes back, and flags stay as they are now."""
        store = self.maildir()
        await self.fill(store)
        before = await self.contents(store)
        await self.save(store)
        inbox = await self.find(store, ("INBOX",))
        await store.alter(ANN, inbox, [2, 3], FlagChange.ADD, frozenset({DELETED}))
        await store.expunge(ANN, inbox, None)
        await store.alter(ANN, inbox, [4], FlagChange.REPLACE, frozenset({FLAGGED}))
        await store.edit_mailbox(ANN, DeleteMailbox(("Work", "2026")))
        outcome = await self.restore(store)
        self.assertEqual(outcome.faults, [])
        self.assertEqual(outcome.copied, 2 + len(before["Work", "2026"][2]))
        after = await self.contents(store)
        self.assertEqual(after["INBOX",][2][1][0], {FLAGGED})
        self.assertEqual(
            sorted(each[1:] for each in after["INBOX",][2]), sorted(each[1:] for each in before["INBOX",][2])
        )
        self.assertEqual(after["Work", "2026"], before["Work", "2026"])

    async def test_only_what_is_new_is_written(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        files = self.files()
        inbox = await self.find(store, ("INBOX",))
        await store.append(ANN, inbox, [NewMessage(MemoryContent(SAMPLES["plain"]), frozenset({SEEN}), 1)])
        await store.alter(ANN, inbox, [1], FlagChange.REPLACE, frozenset({FLAGGED, "$Later"}))
        await store.edit_mailbox(ANN, RenameMailbox(("Work", "2026"), ("Play",)))
        outcome = await self.save(store)
        self.assertEqual((outcome.faults, outcome.copied), ([], 1))
        after = self.files()
        self.assertEqual(len(after), len(files) + 1)
        self.assertLessEqual(files.items(), after.items())
        other = self.maildir("second")
        await self.restore(other)
        self.assertEqual(await self.contents(other), await self.contents(store))

    async def test_what_has_gone(self) -> None:
        """It stays in the backup, comes back if asked for, and goes with `prune`."""
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        inbox = await self.find(store, ("INBOX",))
        count = len(self.files())
        await store.alter(ANN, inbox, [1], FlagChange.ADD, frozenset({DELETED}))
        await store.expunge(ANN, inbox, None)
        await store.edit_mailbox(ANN, DeleteMailbox(("받은 편지함",)))
        await self.save(store)
        self.assertEqual(len(self.files()), count)
        without, with_them = self.maildir("without"), self.maildir("with")
        await self.restore(without)
        self.assertEqual(await self.contents(without), await self.contents(store))
        await self.restore(with_them, gone=True)
        found = await self.contents(with_them)
        self.assertEqual(sum(len(each[2]) for each in found.values()), count)
        await self.save(store, prune=True)
        self.assertEqual(len(self.files()), (await self.restore(without)).messages)

    async def test_an_interrupted_backup_goes_on(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.assertFailure(self.later(self.save(store, progress=Cutting(10))), Cut)
        self.assertIsNone(self.backup.manifest().finished)
        files = self.files()
        self.assertGreaterEqual(len(files), 10)
        journal = next(self.backup.root.rglob("messages.jsonl"))
        with journal.open("ab") as file:
            file.write(b'{"file": "torn')
        outcome = await self.save(store)
        self.assertEqual((outcome.faults, outcome.copied), ([], outcome.messages - len(files)))
        self.assertLessEqual(files.items(), self.files().items())
        self.assertIsNotNone(self.backup.manifest().finished)

    async def test_an_interrupted_restore_goes_on(self) -> None:
        store, other = self.maildir(), self.maildir("second")
        await self.fill(store)
        saved = await self.save(store)
        await self.assertFailure(self.later(self.restore(other, progress=Cutting(10))), Cut)
        outcome = await self.restore(other)
        self.assertEqual(outcome.faults, [])
        self.assertLessEqual(outcome.copied, saved.messages - 10)
        self.assertEqual(await self.contents(other), await self.contents(store))

    async def test_damage_is_found(self) -> None:
        """A message that is not what it was is told of, when saving and when restoring."""
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        file = next(each for each in self.backup.root.rglob("*.eml") if each.stat().st_size > 100)
        octets = bytearray(file.read_bytes())
        octets[50] ^= 1
        file.write_bytes(octets)
        [fault] = (await self.save(store)).faults
        self.assertIn("not what they were", fault)
        self.assertIsNone(self.backup.manifest().finished)
        [fault] = (await self.restore(self.maildir("second"))).faults
        self.assertIn("have changed", fault)

    async def test_a_file_that_was_lost_is_saved_again(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        next(self.backup.root.rglob("*.eml")).unlink()
        self.assertEqual((await self.save(store)).copied, 1)

    async def test_as_another_account(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        await self.restore(store, "bob@example.org")
        self.assertEqual(await self.contents(store, "bob@example.org"), await self.contents(store))

    async def test_not_over_anything_else(self) -> None:
        store = self.maildir()
        await self.fill(store)
        self.backup.root.mkdir()
        (self.backup.root / "thesis.txt").write_text("x")
        await self.assertFailure(self.later(self.save(store)), TransferRefused)
        await self.assertFailure(self.later(self.move_nobody(store)), TransferRefused)

    async def move_nobody(self, store: IMailStore) -> None:
        await self.move(StoreOrigin(store, "nobody@example.org", ""), BackupTarget(self.backup, "nobody@example.org"))

    async def test_the_files_are_plain(self) -> None:
        """Without us: names, octets, dates, and one line of JSON for each."""
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        manifest = json.loads((self.backup.root / "backup.json").read_bytes())
        box = next(each for each in manifest["mailboxes"] if each["path"] == ["Work", "2026"])
        folder = self.backup.root / box["directory"]
        lines = [json.loads(line) for line in (folder / "messages.jsonl").read_bytes().splitlines()]
        self.assertEqual([line["uid"] for line in lines], sorted(line["uid"] for line in lines))
        for line in lines:
            file = folder / line["file"]
            self.assertEqual(file.stat().st_size, line["size"])
            self.assertEqual(int(file.stat().st_mtime), line["received"])
        sent = next(each for each in manifest["mailboxes"] if each["path"] == ["Sent"])
        self.assertEqual(sent["role"], Role.SENT.value)
        self.assertIn(["Work", "2026"], manifest["subscriptions"])
        self.assertNotIn(["Junk"], manifest["subscriptions"])

    async def test_a_manifest_that_leads_elsewhere(self) -> None:
        store = self.maildir()
        await self.fill(store)
        await self.save(store)
        path = self.backup.root / "backup.json"
        path.write_text(path.read_text().replace('"directory": "INBOX"', '"directory": "../../etc"'))
        await self.assertFailure(self.later(self.restore(self.maildir("second"))), TransferRefused)
