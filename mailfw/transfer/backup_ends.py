"""A backup to read an account from, and to write one to."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path as FilePath

from mailfw.disk import Disk, FileContent
from mailfw.interfaces import IContent
from mailfw.mail.content import BlockingRead, blocking_reader, read_whole, read_whole_now
from mailfw.mail.mailbox import Flags, Path
from mailfw.transfer.account import Arrival, Batches, Box, Entry, Found, Held, Readings, TransferRefused
from mailfw.transfer.backup import Backup, Manifest, Saved, SavedBox, lay_out
from mailfw.transfer.batches import parts
from mailfw.transfer.digests import CHUNK, digests

#: Times that every file system can note, in seconds since the epoch.
_LATEST = 2**32 - 1


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
        """Return the messages."""
        saved = await self._backup.disk.run(self._backup.saved, box.key)
        ours = [each for each in saved.values() if each.uid_validity == box.uid_validity]
        return [each.entry() for each in sorted(ours, key=lambda each: each.uid) if self._gone or not each.gone]

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
    """Open files; None for one that is gone.  Blocks."""
    opened: list[IContent | None] = []
    for path in paths:
        try:
            descriptor = disk.open(path)
        except FileNotFoundError:
            opened.append(None)
        else:
            opened.append(FileContent(disk, descriptor, disk.size(descriptor)))
    return opened


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
        self._saved: dict[str, dict[tuple[int, int], Saved]] = {}
        self._written: dict[str, dict[tuple[int, int], Saved]] = {}

    async def prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> Mapping[str, str]:
        """Say in the manifest what is to come."""
        await self._disk.run(self._prepare, boxes, subscriptions)
        return {}

    def _prepare(self, boxes: Sequence[Box], subscriptions: frozenset[Path]) -> None:
        known: tuple[SavedBox, ...] = ()
        if self._backup.exists():
            manifest = self._backup.manifest()
            if manifest.account != self._account:
                raise TransferRefused(f"{self._backup.root} is a backup of {manifest.account}")
            known = manifest.boxes
        elif self._backup.root.is_dir() and any(self._backup.root.iterdir()):
            raise TransferRefused(f"{self._backup.root} is neither empty nor a backup")
        laid = lay_out(boxes, known)
        self._boxes = {each.key: each for each in laid if not each.gone}
        self._manifest = Manifest(self._account, tuple(laid), subscriptions, None)
        self._backup.write(self._manifest)

    async def held(self, box: Box, entries: Sequence[Entry]) -> dict[int, Held]:
        """Return the messages whose files are there."""
        directory = self._boxes[box.key].directory
        if box.key not in self._saved:
            self._saved[box.key] = await self._disk.run(self._backup.saved, directory)
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
        await self._disk.run(self._disk.make_directory, folder)
        new = [_saved(box, each) for each in arrivals]
        direct = []
        for saved, each in zip(new, arrivals, strict=True):
            read_now = blocking_reader(each.content)
            if read_now is not None:
                direct.append((saved, read_now))
            else:
                await self._write_slowly(folder, saved, each.content)
        await self._disk.run(self._write_all, folder, direct)
        await self._disk.run(self._note, directory, folder, new)
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
        draft = await self._disk.run(self._begin, folder, saved)
        for at in range(0, saved.size, CHUNK):
            piece = await read_whole(content, at, min(CHUNK, saved.size - at))
            await self._disk.run(self._append, draft, piece)
        await self._disk.run(self._place, draft, folder, saved)

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

    async def settle(self, box: Box, entries: Sequence[Entry]) -> None:
        """Mark what the account no longer has, or remove it, and write the list anew if anything is different."""
        there = {(box.uid_validity, entry.uid) for entry in entries}
        saved = {key: replace(each, gone=key not in there) for key, each in self._saved[box.key].items()}
        doomed = [each for each in saved.values() if each.gone] if self._prune else []
        saved = {key: each for key, each in saved.items() if not (each.gone and self._prune)}
        if saved != self._written[box.key]:
            await self._disk.run(self._replace, self._boxes[box.key].directory, saved, doomed)
        self._saved[box.key], self._written[box.key] = saved, dict(saved)

    def _replace(self, directory: str, saved: Mapping[tuple[int, int], Saved], doomed: Sequence[Saved]) -> None:
        self._backup.replace(directory, saved.values())
        for each in doomed:
            with suppress(FileNotFoundError):
                self._disk.unlink(self._backup.folder(directory) / each.file)

    # ------------------------------------------------------------ reading back

    async def read(self, box: Box, held: Mapping[int, Held]) -> Readings:
        """Read files back."""
        folder = self._backup.folder(self._boxes[box.key].directory)
        for part in parts(Entry(uid, each.size, 0) for uid, each in sorted(held.items())):
            names = [folder / held[entry.uid].place for entry in part]
            opened = await self._disk.run(open_all, self._disk, names)
            found = [(entry.uid, each) for entry, each in zip(part, opened, strict=True) if each is not None]
            try:
                summed = await digests(self._disk, [content for _, content in found])
            finally:
                for _, content in found:
                    await content.close()
            yield [(uid, Found(content.size, each)) for (uid, content), each in zip(found, summed, strict=True)]

    async def finish(self) -> None:
        """Say in the manifest that all is there."""
        boxes = [each for each in self._manifest.boxes if not (each.gone and self._prune)]
        done = replace(self._manifest, finished=int(time.time()), boxes=tuple(boxes))
        await self._disk.run(self._finish_all, done)

    def _finish_all(self, done: Manifest) -> None:
        self._backup.write(done)
        for box in self._manifest.boxes:
            if box not in done.boxes:
                self._remove(self._backup.folder(box.directory))

    def _remove(self, folder: FilePath) -> None:
        """Remove a mailbox's directory, and nothing that is not ours."""
        for path in [*folder.glob("*.eml"), *folder.glob("messages.jsonl"), *folder.glob("*.draft")]:
            self._disk.unlink(path)
        with suppress(OSError):
            folder.rmdir()

    async def close(self) -> None:
        """Do nothing."""


def _saved(box: Box, each: Arrival) -> Saved:
    entry = each.entry
    return Saved(box.uid_validity, entry.uid, each.content.size, each.digest, entry.received, entry.flags)
