"""A backup to read an account from, and to write one to."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path as FilePath
from typing import ParamSpec, TypeVar

from mailfw.disk import Disk, FileContent
from mailfw.interfaces import IContent
from mailfw.mail.content import BlockingRead, blocking_reader, read_whole, read_whole_now
from mailfw.mail.failure import NoSpace
from mailfw.mail.mailbox import Flags, Path
from mailfw.transfer.account import Arrival, Batches, Box, Entry, Found, Held, Readings, TargetFull, TransferRefused
from mailfw.transfer.backup import Backup, Manifest, Saved, SavedBox, lay_out
from mailfw.transfer.batches import parts
from mailfw.transfer.digests import CHUNK, digests
from mailfw.transfer.shares import Shares

P = ParamSpec("P")
T = TypeVar("T")

#: Times that every file system can note, in seconds since the epoch.
_LATEST = 2**32 - 1

#: UIDs that are left out behind those of a backup: the mail that came after it was written, and was lost, had them.
LEAP = 2**16


class BackupOrigin:
    """Reads a backup; with `gone` also messages that the account no longer had when the backup was last written."""

    def __init__(self, backup: Backup, manifest: Manifest, gone: bool = False) -> None:
        self.name = f"backup:{manifest.account}"
        self._backup = backup
        self._manifest = manifest
        self._gone = gone

    async def boxes(self) -> Sequence[Box]:
        """Return the mailboxes."""
        return [each.box() for each in self._manifest.boxes if self._gone or not each.gone]

    async def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths."""
        return self._manifest.subscriptions

    async def entries(self, box: Box) -> Sequence[Entry]:
        """Return the messages that were saved, also those whose files are missing: whoever moves them says so."""
        listed = await self._backup.disk.run(self._backup.listed, box.key)
        ours = [each for each in listed.values() if each.uid_validity == box.uid_validity]
        return [each.entry() for each in sorted(ours, key=lambda each: each.uid) if self._gone or not each.gone]

    async def shares(self, box: Box, entries: Sequence[Entry]) -> Shares:
        """Return what the manifest says."""
        return next(each.shares for each in self._manifest.boxes if each.directory == box.key)

    async def contents(self, box: Box, entries: Sequence[Entry]) -> Batches:
        """Open files."""
        folder = self._backup.folder(box.key)
        for part in parts(entries):
            names = [folder / f"{box.uid_validity}.{entry.uid}.eml" for entry in part]
            opened = await self._backup.disk.run(open_all, self._backup.disk, names)
            yield [(entry, content) for entry, content in zip(part, opened, strict=True) if content is not None]

    async def close(self) -> None:
        """Do nothing."""


def open_all(disk: Disk, paths: Sequence[FilePath]) -> list[IContent | None]:
    """Open files; None for one that is gone, or is none.  Blocks."""
    return [_open(disk, path) for path in paths]


def _open(disk: Disk, path: FilePath) -> IContent | None:
    # A link could lead anywhere, and a pipe would let us wait for ever.
    with suppress(FileNotFoundError):
        if stat.S_ISREG(path.lstat().st_mode):
            descriptor = disk.open(path)
            return FileContent(disk, descriptor, disk.size(descriptor))
    return None


class BackupTarget:
    """
    Writes a backup of `account`.

    What the account no longer has stays, marked as gone, unless `prune`.
    """

    def __init__(self, backup: Backup, account: str, prune: bool = False) -> None:
        self._backup = backup
        self._disk = backup.disk
        self._account = account
        self._prune = prune
        self._manifest = Manifest(account, (), frozenset(), None)
        self._boxes: dict[str, SavedBox] = {}
        self._shares: dict[str, Shares] = {}
        self._saved: dict[str, dict[tuple[int, int], Saved]] = {}
        self._written: dict[str, dict[tuple[int, int], Saved]] = {}

    async def prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> Mapping[str, str]:
        """Say in the manifest what is to come."""
        await self._do(self._prepare, boxes, subscriptions)
        return {}

    def _prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> None:
        known: tuple[SavedBox, ...] = ()
        if self._backup.exists():
            manifest = self._backup.manifest()
            if manifest.account != self._account:
                raise TransferRefused(f"{self._backup.root} is a backup of {manifest.account}")
            known = manifest.boxes
        elif self._backup.has_other_files():
            raise TransferRefused(f"{self._backup.root} is neither empty nor a backup")
        laid = lay_out(boxes, known)
        self._boxes = {each.key: each for each in laid if not each.gone}
        self._manifest = Manifest(self._account, tuple(laid), subscriptions, None)
        self._backup.write(self._manifest)

    async def held(self, box: Box, entries: Sequence[Entry]) -> dict[int, Held]:
        """Return the messages whose files are there."""
        directory = self._boxes[box.key].directory
        if box.key not in self._saved:
            self._saved[box.key] = await self._do(self._backup.saved, directory)
            self._written[box.key] = dict(self._saved[box.key])
        return {
            each.uid: Held(each.file, each.size, each.digest, each.received, each.flags)
            for each in self._saved[box.key].values()
            if each.uid_validity == box.uid_validity
        }

    # ------------------------------------------------------------ writing

    async def keep(self, box: Box, arrivals: Sequence[Arrival]) -> None:
        """Write files, then note that they are there."""
        directory = self._boxes[box.key].directory
        folder = self._backup.folder(directory)
        await self._do(self._disk.make_directory, folder)
        new = [_saved(box, each) for each in arrivals]
        direct = []
        for saved, each in zip(new, arrivals, strict=True):
            read_now = blocking_reader(each.content)
            if read_now is not None:
                direct.append((saved, read_now))
            else:
                await self._write_slowly(folder, saved, each.content)
        await self._do(self._write_all, folder, direct)
        await self._do(self._note, directory, folder, new)
        self._saved[box.key].update({(each.uid_validity, each.uid): each for each in new})
        self._written[box.key] = dict(self._saved[box.key])

    def _write_all(self, folder: FilePath, messages: Sequence[tuple[Saved, BlockingRead]]) -> None:
        for saved, read in messages:
            draft = self._begin(folder, saved)
            for at in range(0, saved.size, CHUNK):
                self._append(draft, read_whole_now(read, at, min(CHUNK, saved.size - at)))
            self._place(draft, folder, saved)

    async def _write_slowly(self, folder: FilePath, saved: Saved, content: IContent) -> None:
        """Write a message that the reactor is needed to read."""
        draft = await self._do(self._begin, folder, saved)
        for at in range(0, saved.size, CHUNK):
            piece = await read_whole(content, at, min(CHUNK, saved.size - at))
            await self._do(self._append, draft, piece)
        await self._do(self._place, draft, folder, saved)

    def _begin(self, folder: FilePath, saved: Saved) -> FilePath:
        draft = (folder / saved.file).with_suffix(".draft")
        draft.unlink(missing_ok=True)
        self._disk.close(self._disk.create(draft))
        return draft

    def _append(self, draft: FilePath, piece: bytes) -> None:
        descriptor = self._disk.append(draft)
        try:
            self._disk.write(descriptor, piece)
        finally:
            self._disk.close(descriptor)

    def _place(self, draft: FilePath, folder: FilePath, saved: Saved) -> None:
        when = min(max(saved.received, 0), _LATEST)
        os.utime(draft, (when, when))
        self._disk.rename(draft, folder / saved.file)

    def _note(self, directory: str, folder: FilePath, new: Sequence[Saved]) -> None:
        self._disk.sync_all([str(folder / each.file) for each in new], [str(folder)])
        self._disk.sync_directory(folder)
        journal = self._backup.journal(directory)
        try:
            for each in new:
                journal.add(each.line())
        finally:
            journal.close()

    async def reflag(self, box: Box, flags: Mapping[Flags, Sequence[int]]) -> None:
        """Remember flags; `settle` writes them."""
        saved = self._saved[box.key]
        for each, uids in flags.items():
            for uid in uids:
                key = (box.uid_validity, uid)
                saved[key] = replace(saved[key], flags=each)

    async def settle(self, box: Box, entries: Sequence[Entry]) -> int:
        """Mark what the account no longer has, or remove it, and write the list anew if anything is different."""
        there = {(box.uid_validity, entry.uid) for entry in entries}
        saved = {key: replace(each, gone=key not in there) for key, each in self._saved[box.key].items()}
        saved = {key: each for key, each in saved.items() if not (each.gone and self._prune)}
        if saved != self._written[box.key]:
            await self._do(self._backup.replace, self._boxes[box.key].directory, saved.values())
        if self._prune:
            await self._do(self._clear, self._boxes[box.key].directory, saved.values())
        self._saved[box.key], self._written[box.key] = saved, dict(saved)
        return 0

    async def share(self, box: Box, entries: Sequence[Entry], shares: Shares, exactly: bool) -> None:
        """Remember it for the manifest."""
        self._shares[box.key] = shares

    async def left_boxes(self) -> int:
        """Return 0: a backup keeps them, marked as gone, unless `prune`."""
        return 0

    async def sweep(self) -> int:
        """Do nothing: `settle` and `finish` do it."""
        return 0

    def _clear(self, directory: str, saved: Iterable[Saved]) -> None:
        """Remove the files of messages that the list does not name, also those that a killed run has left."""
        listed = {each.file for each in saved}
        for path in self._backup.files(self._backup.folder(directory)):
            if path.name not in listed:
                self._disk.unlink(path)

    # ------------------------------------------------------------ reading back

    async def read(self, box: Box, held: Mapping[int, Held]) -> Readings:
        """Read files back."""
        folder = self._backup.folder(self._boxes[box.key].directory)
        for part in parts(Entry(uid, each.size, 0) for uid, each in sorted(held.items())):
            names = [folder / held[entry.uid].place for entry in part]
            opened = await self._do(open_all, self._disk, names)
            found = [(entry.uid, each) for entry, each in zip(part, opened, strict=True) if each is not None]
            try:
                summed = await digests(self._disk, [content for _, content in found])
            finally:
                for _, content in found:
                    await content.close()
            yield [(uid, Found(content.size, each)) for (uid, content), each in zip(found, summed, strict=True)]

    async def finish(self) -> None:
        """Say in the manifest that all is there."""
        await self._do(self._finish_all)

    def _finish_all(self) -> None:
        boxes = [self._finished(each) for each in self._manifest.boxes if not (each.gone and self._prune)]
        done = replace(self._manifest, finished=int(time.time()), boxes=tuple(boxes))
        self._backup.write(done)
        if self._prune:
            kept = {each.directory for each in boxes}
            for folder in [each for each in self._backup.root.iterdir() if each.name not in kept]:
                if folder.is_dir() and not folder.is_symlink():
                    self._backup.remove(folder)

    def _finished(self, box: SavedBox) -> SavedBox:
        self._backup.sync_list(box.directory)
        saved = self._saved.get(box.key, {}) if not box.gone else {}
        count = sum(1 for each in saved.values() if not each.gone)
        shares = self._shares.get(box.key, box.shares)
        return replace(box, messages=count, list_digest=self._backup.list_digest(box.directory), shares=shares)

    async def _do(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Do something in a thread.  Raises `TargetFull` where there is no room."""
        try:
            return await self._disk.run(work, *args, **options)
        except NoSpace:
            raise TargetFull(f"{self._backup.root}: the disk is full; what was saved stays, and need not be again")

    async def close(self) -> None:
        """Do nothing."""


def _saved(box: Box, each: Arrival) -> Saved:
    entry = each.entry
    return Saved(box.uid_validity, entry.uid, each.content.size, each.digest, entry.received, entry.flags)
