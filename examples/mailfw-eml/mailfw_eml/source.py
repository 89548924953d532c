"""Messages as files: ``eml/ACCOUNT/FOLDER/KEY.eml``; ``folder.json`` beside them has the folder's path and flags."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailfw.disk import Disk, full_is_no_space
from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.failure import NameRefused
from mailfw.mail.mailbox import CreateMailbox, DeleteMailbox, Flags, Folder, Item, MailboxEdit, RenameMailbox, Scan
from mailfw.site import Site

T = TypeVar("T")


def eml(site: Site, path: str = "eml") -> EmlSource:
    """Keep messages below `path` in the site's data."""
    return EmlSource(site.data / path, site.reactor)


@implementer(IMessageSource)
class EmlSource:
    """A folder is a directory with its key as name; a message is a file in it, dated when the message was received."""

    def __init__(self, root: Path, reactor: Any) -> None:
        self._root, self._reactor, self._disk = root, reactor, Disk()

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        with full_is_no_space():
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args)

    def _account(self, account: str) -> Path:
        return self._root / quote(account, safe="@")  # a local part may hold slashes

    async def open_account(self, account: str) -> None:
        if ("INBOX",) not in [folder.path for folder in await self.folders(account)]:
            await self.edit_folder(account, CreateMailbox(("INBOX",)))

    async def remove_account(self, account: str) -> None:
        await self._run(shutil.rmtree, self._account(account))

    async def folders(self, account: str) -> Sequence[Folder]:
        return await self._run(self._folders, self._account(account))

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        root, old = self._account(account), edit.path
        if isinstance(edit, CreateMailbox):
            await self._run(self._write_note, root / uuid.uuid4().hex, old, {})
        for folder in await self.folders(account):
            if isinstance(edit, RenameMailbox) and folder.path[: len(old)] == old:
                await self._run(self._write_note, root / folder.key, edit.to + folder.path[len(old) :])
            elif isinstance(edit, DeleteMailbox) and folder.path == old:
                await self._run(shutil.rmtree, root / folder.key)

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        return Scan("", await self._run(self._items, self._account(account) / folder))

    async def open(self, account: str, folder: str, key: str) -> IContent:
        try:
            path = self._account(account) / folder / f"{quote(key, safe='')}.eml"
            return EmlContent(self._run, await self._run(os.open, path, os.O_RDONLY))
        except FileNotFoundError:
            raise KeyError(key) from None

    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        directory, key = self._account(account) / folder, uuid.uuid4().hex
        draft = directory / f"{key}.draft"
        try:
            with await self._run(draft.open, "wb") as file:
                while octets := await content.read(file.tell(), 2**18):
                    await self._run(file.write, octets)
                await self.set_flags(account, folder, {key: flags})
                await self._run(self._place, file, directory / f"{key}.eml", received)
        except BaseException:
            await self._run(draft.unlink, True)
            raise
        return Item(key, content.size, received, flags)

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        await self._run(self._set_flags, self._account(account) / folder, flags)

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        for key in keys:
            await self._run((self._account(account) / folder / f"{key}.eml").unlink, True)
        await self._run(self._disk.sync_directory, self._account(account) / folder)

    async def close(self) -> None:
        pass

    def _folders(self, account: Path) -> list[Folder]:
        directories = [note.parent for note in account.glob("*/folder.json")]
        return [Folder(each.name, tuple(self._read_note(each)["path"])) for each in directories]

    def _read_note(self, directory: Path) -> dict[str, Any]:
        return dict(json.loads((directory / "folder.json").read_bytes()))

    def _write_note(self, directory: Path, path: Sequence[str], flags: dict[str, list[str]] | None = None) -> None:
        if not path or not all(path):
            raise NameRefused("a folder needs a name")
        note = {"path": path, "flags": self._read_note(directory)["flags"] if flags is None else flags}
        self._disk.make_directory(directory)
        with (directory / "folder.draft").open("wb") as file:
            file.write(json.dumps(note).encode())
            self._place(file, directory / "folder.json", time.time())

    def _set_flags(self, at: Path, changes: Mapping[str, Flags]) -> None:
        note = self._read_note(at)
        flags = note["flags"] | {key: sorted(each) for key, each in changes.items()}
        used = {key: flags[key] for key in flags if flags[key] and (key in changes or (at / f"{key}.eml").exists())}
        if used != note["flags"]:
            self._write_note(at, note["path"], used)

    def _items(self, directory: Path) -> list[Item]:
        flags = self._read_note(directory)["flags"]
        files = sorted((int(file.stat().st_mtime), file.stem, file.stat().st_size) for file in directory.glob("*.eml"))
        return [Item(key, size, received, frozenset(flags.get(key, ()))) for received, key, size in files]

    def _place(self, file: IO[Any], path: Path, date: float) -> None:
        """Name a finished file: whatever dies in the middle of this, it is there whole or not at all."""
        file.flush()
        os.utime(file.fileno(), (date, date))
        os.fsync(file.fileno())
        Path(file.name).rename(path)
        self._disk.sync_directory(path.parent)


@implementer(IContent)
class EmlContent:
    """An open file; it can be read to its end even if the message is removed meanwhile."""

    def __init__(self, run: Callable[..., Any], descriptor: int) -> None:
        self._run, self._file, self.size = run, os.fdopen(descriptor, "rb"), os.fstat(descriptor).st_size

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(await self._run(os.pread, self._file.fileno(), length, offset))

    async def close(self) -> None:
        self._file.close()
