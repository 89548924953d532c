"""Stores that keep what they have in one file: one that is right, and one that says so too early."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import Altered, Appended, Copied, Expunged, FlagChange, Flags, MailboxEdit, NewMessage
from mailfw.site import Site
from mailfw.stores.memory import MemoryStore


class PickledStore(MemoryStore):
    """Writes everything after every so many changes; with 1 nothing is lost."""

    def __init__(self, path: Path, every: int) -> None:
        super().__init__()
        self._path = path
        self._every = every
        self._changes = 0

    @classmethod
    def opened(cls, path: Path, every: int) -> PickledStore:
        """Return the store of a file, or a new one."""
        # Its accounts know the store: they must come back with this one, not with a copy.
        store: PickledStore = pickle.loads(path.read_bytes()) if path.exists() else cls(path, every)
        return store

    @asynccontextmanager
    async def _saving(self) -> AsyncIterator[None]:
        yield
        self._changes += 1
        if self._changes % self._every == 0:
            self._save()

    def _save(self) -> None:
        draft = self._path.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(self))
        draft.rename(self._path)

    async def edit_mailbox(self, account: str, edit: MailboxEdit) -> None:
        await super().edit_mailbox(account, edit)
        self._save()

    async def append(self, account: str, mailbox: str, messages: Sequence[NewMessage]) -> list[Appended]:
        async with self._saving():
            return await super().append(account, mailbox, messages)

    async def alter(
        self,
        account: str,
        mailbox: str,
        uids: Sequence[int],
        change: FlagChange,
        flags: Flags,
        unchanged_since: int | None = None,
    ) -> Altered:
        async with self._saving():
            return await super().alter(account, mailbox, uids, change, flags, unchanged_since)

    async def copy(self, account: str, mailbox: str, uids: Sequence[int], to: str, move: bool = False) -> Copied:
        async with self._saving():
            return await super().copy(account, mailbox, uids, to, move)

    async def expunge(self, account: str, mailbox: str, uids: Sequence[int] | None) -> Expunged:
        async with self._saving():
            return await super().expunge(account, mailbox, uids)


def prompt(site: Site) -> IMailStore:
    """Write before saying so."""
    return PickledStore.opened(site.data / "mail", 1)


def lazy(site: Site) -> Any:
    """Say so, and write when there is much more than a process that is killed lives to see."""
    return PickledStore.opened(site.data / "mail", 1_000_000)
