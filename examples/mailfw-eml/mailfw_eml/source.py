"""
Messages as files: ``eml/ACCOUNT/FOLDER/KEY.eml``, and beside them ``folder.json`` with the folder's path and flags.

mailfw's index adds UIDs, searching, modification sequences and all the rest; here mail is kept, and no more.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.failure import NameRefused, NoSpace
from mailfw.mail.mailbox import (
    INBOX,
    CreateMailbox,
    DeleteMailbox,
    Flags,
    Folder,
    Item,
    MailboxEdit,
    RenameMailbox,
    Scan,
)
from mailfw.site import Site

T = TypeVar("T")


def eml(site: Site, path: str = "eml") -> EmlSource:
    """Keep messages below `path` in the site's data."""
    return EmlSource(site.data / path, site.reactor)


@implementer(IMessageSource)
class EmlSource:
    """What `IMessageSource` asks for, in directories below `root`; whatever touches the disk runs in a thread."""

    def __init__(self, root: Path, reactor: Any) -> None:
        self._root, self._reactor = root, reactor

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *args)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace("the disk is full") from error
            raise

    def _account(self, account: str) -> Path:
        return self._root / quote(account, safe="@")  # a local part may hold slashes

    # ---- folders: a directory each, whose name is its key; its place in the tree is in its folder.json

    async def open_account(self, account: str) -> None:
        if not any(folder.path == INBOX for folder in await self.folders(account)):
            await self.edit_folder(account, CreateMailbox(INBOX))

    async def remove_account(self, account: str) -> None:
        await self._run(shutil.rmtree, self._account(account))

    async def folders(self, account: str) -> Sequence[Folder]:
        return await self._run(_folders, self._account(account))

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        root, old = self._account(account), edit.path
        if isinstance(edit, CreateMailbox):
            await self._run(_write_note, root / uuid.uuid4().hex, old, {})
        for folder in await self.folders(account):
            if isinstance(edit, RenameMailbox) and folder.path[: len(old)] == old:
                await self._run(_move, root / folder.key, edit.to + folder.path[len(old) :])
            elif isinstance(edit, DeleteMailbox) and folder.path == old:
                await self._run(shutil.rmtree, root / folder.key)

    # ---- messages: a file each, dated as received; flags are in folder.json

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        return Scan("", await self._run(_items, self._account(account) / folder))

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
            await self._run(_place, draft, directory / f"{key}.eml", received)
        except BaseException:
            await self._run(draft.unlink, True)
            raise
        return Item(key, content.size, received, flags)

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        await self._run(_set_flags, self._account(account) / folder, flags)

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        for key in keys:
            await self._run((self._account(account) / folder / f"{key}.eml").unlink, True)
        await self._run(_sync, self._account(account) / folder)

    async def close(self) -> None:
        pass


@implementer(IContent)
class EmlContent:
    """An open file; it can be read to its end even if the message is removed meanwhile."""

    def __init__(self, run: Callable[..., Any], descriptor: int) -> None:
        self._run, self._file = run, os.fdopen(descriptor, "rb")
        self.size = os.fstat(descriptor).st_size

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(await self._run(os.pread, self._file.fileno(), length, offset))

    async def close(self) -> None:
        self._file.close()


def _folders(root: Path) -> list[Folder]:
    return [Folder(note.parent.name, tuple(_read_note(note.parent)["path"])) for note in root.glob("*/folder.json")]


def _read_note(directory: Path) -> dict[str, Any]:
    return dict(json.loads((directory / "folder.json").read_bytes()))


def _write_note(directory: Path, path: Sequence[str], flags: Mapping[str, Sequence[str]]) -> None:
    if not path or not all(path):
        raise NameRefused("a folder needs a name")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "folder.draft").write_text(json.dumps({"path": path, "flags": flags}))
    _place(directory / "folder.draft", directory / "folder.json")


def _move(directory: Path, path: Sequence[str]) -> None:
    _write_note(directory, path, _read_note(directory)["flags"])


def _set_flags(directory: Path, changes: Mapping[str, Flags]) -> None:
    note = _read_note(directory)
    flags = note["flags"] | {key: sorted(each) for key, each in changes.items()}
    # Messages without flags, or without a file any more, need no entry.
    used = {
        key: each for key, each in flags.items() if each and (key in changes or (directory / f"{key}.eml").exists())
    }
    if used != note["flags"]:
        _write_note(directory, note["path"], used)


def _items(directory: Path) -> list[Item]:
    flags = _read_note(directory)["flags"]
    files = [(file.stem, file.stat()) for file in directory.glob("*.eml")]
    items = [Item(key, at.st_size, int(at.st_mtime), frozenset(flags.get(key, ()))) for key, at in files]
    return sorted(items, key=lambda item: (item.received, item.key))


def _place(draft: Path, path: Path, received: int | None = None) -> None:
    """Give a finished file its name: whatever dies in the middle of this, the file is there whole or not at all."""
    if received is not None:
        os.utime(draft, (received, received))
    _sync(draft)
    draft.rename(path)
    for directory in list(path.parents)[:4]:  # new names are safe when the directories they are in have been synced
        _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
