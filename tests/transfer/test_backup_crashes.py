"""A backup that dies at any moment, by a signal or with the power, or for want of room: the next run makes it whole."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from mailfw.disk import Disk
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
)
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.disk import Crashed, FaultyDisk
from mailfw.transfer.account import TargetFull, TransferRefused
from mailfw.transfer.backup import Backup
from mailfw.transfer.backup_ends import BackupTarget
from mailfw.transfer.check import check
from mailfw.transfer.engine import Move, Outcome, Terms
from mailfw.transfer.site_backup import SiteBackup
from mailfw.transfer.store_origin import StoreOrigin
from tests.transfer.test_backup import ANN, Case, Silent

#: What is left of what was not synced.
LOSSES = (None, ("dropped", "lost"), ("torn", "even"), ("garbled", "odd"), ("dropped", "kept"))


class CrashTests(Case):
    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        super().setUp()
        self.store = MemoryStore()
        await self.store.open_account(ANN)
        filled = {("INBOX",): (b"a", b"b", b""), ("Work", "2026"): (b"c", b"x" * 300_000), ("Old",): (b"d",)}
        for path, octets in filled.items():
            if path != ("INBOX",):
                await self.store.edit_mailbox(ANN, CreateMailbox(path))
            messages = [
                NewMessage(MemoryContent(each), frozenset({SEEN}), number) for number, each in enumerate(octets)
            ]
            await self.store.append(ANN, await self.find(self.store, path), messages)

    async def run_on(self, disk: Disk, root: Path, prune: bool = False) -> Outcome:
        origin, target = StoreOrigin(self.store, ANN, "test"), BackupTarget(Backup(disk, root), ANN, prune)
        return await Move(origin, target, disk, Silent(), Terms()).run()

    async def change(self) -> None:
        """Let something come, go, and get other flags."""
        inbox = await self.find(self.store, ("INBOX",))
        await self.store.alter(ANN, inbox, [1], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, inbox, [1])
        await self.store.alter(ANN, inbox, [2], FlagChange.REPLACE, frozenset({FLAGGED}))
        await self.store.append(ANN, inbox, [NewMessage(MemoryContent(b"new"))])
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Old",)))

    async def check_whole(self, root: Path, prune: bool) -> None:
        """Finish the backup, and see whether it holds what the account does."""
        outcome = await self.run_on(self.disk, root, prune)
        self.assertEqual(outcome.faults, [])
        backup = Backup(self.disk, root)
        seen = check(backup, Silent())
        self.assertEqual(seen.faults, [])
        self.assertEqual(seen.verified, seen.messages)
        if prune:
            self.assertEqual(seen.messages, outcome.messages)
            self.assertEqual(self.count(root), outcome.messages)
        self.backup = backup
        other = MemoryStore()
        shutil.rmtree(self.home / "journals", ignore_errors=True)
        await self.restore(other)
        self.assertEqual(await self.contents(other), await self.contents(self.store))

    @staticmethod
    def count(root: Path) -> int:
        return len(list(root.rglob("*.eml")))

    async def every_crash(self, before: Path | None, prune: bool) -> int:
        """Let a run die at each of its operations, and with each loss; returns how many operations it has."""
        for number in itertools.count(1):
            root = self.home / f"run{number}"
            if before is not None:
                shutil.copytree(before, root)
            disk = FaultyDisk(self.home / "attic", crash_at=number)
            try:
                await self.run_on(disk, root, prune)
                return number
            except Crashed:
                pass
            except TransferRefused:  # a directory cannot be listed that was never made
                pass
            disk.bury()
            loss = LOSSES[number % len(LOSSES)]
            if loss is not None:
                disk.lose_power(*loss)
            await self.check_whole(root, prune)
            shutil.rmtree(root)
        raise AssertionError

    async def test_the_first_run_dies(self) -> None:
        self.assertGreater(await self.every_crash(None, prune=False), 50)

    async def test_a_later_run_dies(self) -> None:
        before = self.home / "before"
        await self.run_on(self.disk, before)
        await self.change()
        self.assertGreater(await self.every_crash(before, prune=True), 20)

    async def test_a_finished_run_stays_so(self) -> None:
        """When the manifest says that all is there, it is, whatever the power takes."""
        for names in ("lost", "kept"):
            root, disk = self.home / names, FaultyDisk(self.home / "attic")
            await self.run_on(disk, root)
            disk.bury()
            disk.lose_power("dropped", names)
            seen = check(Backup(self.disk, root), Silent())
            self.assertEqual((seen.faults, seen.messages), ([], 6), names)

    async def test_no_room(self) -> None:
        """The target is named, and what was saved need not be saved again."""
        refusals = 0
        for number in range(1, 80, 3):
            root = self.home / f"full{number}"
            disk = FaultyDisk(self.home / "attic")
            self.fill_up_at(disk, number)
            try:
                await self.run_on(disk, root)
            except TargetFull as refused:
                self.assertIn(f"{root}: the disk is full", str(refused))
                refusals += 1
            disk.bury()
            await self.check_whole(root, prune=False)
        self.assertGreater(refusals, 15)

    def fill_up_at(self, disk: FaultyDisk, number: int) -> None:
        step = disk._step

        def steps(needs_room: bool = False) -> None:
            disk.is_full = disk.operations >= number
            step(needs_room)

        self.patch(disk, "_step", steps)


class SiteFilesTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.data, self.root = self.home / "data", self.home / "site"
        (self.data / "tls").mkdir(parents=True)
        (self.data / "mail/example.org/ann").mkdir(parents=True)
        for name in ("passwords", "quotas", "aliases", "scram.secret", "tls/key.pem", "mail/example.org/ann/x"):
            (self.data / name).write_text(name)
        for name in ("server.lock", "control.sock", "passwords.lock", "index.sqlite", "index.sqlite-wal"):
            (self.data / name).write_text(name)

    def test_what_is_kept(self) -> None:
        site = SiteBackup(self.disk, self.root)
        self.assertEqual(site.save(self.data, []), 5)
        self.assertEqual(site.save(self.data, []), 0)
        self.assertEqual(set(site.read().files), {"aliases", "passwords", "quotas", "scram.secret", "tls/key.pem"})
        (self.data / "quotas").write_text("others")
        self.assertEqual(site.save(self.data, []), 1)
        self.assertEqual(site.faults(), [])
        new = self.home / "new"
        new.mkdir()
        (new / "passwords").write_text("mine")
        brought, stayed = site.bring(new)
        self.assertEqual((len(brought), stayed), (4, ["passwords"]))
        self.assertEqual((new / "tls/key.pem").read_text(), "tls/key.pem")
        self.assertEqual((new / "tls/key.pem").stat().st_mode & 0o777, 0o600)
        self.assertEqual((new / "passwords").read_text(), "mine")

    def test_damage(self) -> None:
        site = SiteBackup(self.disk, self.root)
        self.assertIn("no run has come to its end", site.faults()[0])
        site.save(self.data, [])
        (self.root / "@data/quotas").write_text("x")
        (self.root / "@data/aliases").unlink()
        self.assertEqual(len(site.faults()), 2)
        for path in ("../../etc/passwd", "/etc/passwd", "tls/../../x", "..", "tls/..", "a/b"):
            text = (self.root / "site.json").read_text()
            (self.root / "site.json").write_text(text.replace('"quotas"', f'"{path}"'))
            self.assertRaises(TransferRefused, site.bring, self.home / "new")
            (self.root / "site.json").write_text(text)

    async def test_every_crash(self) -> None:
        for number in itertools.count(1):
            shutil.rmtree(self.root, ignore_errors=True)
            disk = FaultyDisk(self.home / "attic", crash_at=number)
            try:
                SiteBackup(disk, self.root).save(self.data, [])
                break
            except Crashed:
                disk.bury()
                loss = LOSSES[number % len(LOSSES)]
                if loss is not None:
                    disk.lose_power(*loss)
            site = SiteBackup(self.disk, self.root)
            site.save(self.data, [])
            self.assertEqual(site.faults(), [])
        self.assertGreater(number, 20)
