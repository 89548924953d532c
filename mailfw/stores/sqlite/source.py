"""What the index leaves to a source, where the index itself is where mail is kept: folders' names, and bodies."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

from zope.interface import implementer

from mailfw.disk import Disk, full_is_no_space
from mailfw.interfaces import IContent
from mailfw.mail.content import BlockingRead, blocking_reader, read_whole, read_whole_now
from mailfw.mail.mailbox import CreateMailbox, DeleteMailbox, Flags, Folder, Item, MailboxEdit, Path, RenameMailbox
from mailfw.mail.retained import Retained
from mailfw.mail.summary import Summary, summarise
from mailfw.stores.index.ledger import (
    Body,
    Expected,
    IDepositor,
    ILedgerSource,
    Intent,
    Known,
    Numbered,
    Parcel,
    Staged,
    Survey,
)
from mailfw.stores.index.retention import IRetainingIndex
from mailfw.stores.index.transaction import Returning
from mailfw.stores.sqlite import schema
from mailfw.stores.sqlite.bodies import Draft
from mailfw.stores.sqlite.opening import Opener
from mailfw.stores.sqlite.shard import Steps
from mailfw.stores.sqlite.shards import Shards
from mailfw.stores.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

#: A body no larger is in the database: to read it takes one look, to write it no sync of its own.
SMALL = 64 * 1024

#: What is read and written at once of a larger one.
CHUNK = 256 * 1024

#: What a retained message is called: its row.
_ID = re.compile(r"[1-9][0-9]{0,17}")

#: The note that a folder was looked at: nobody else writes to it.
SEEN = "kept here"


@implementer(ILedgerSource, IRetainingIndex)
class SqliteSource:
    """
    Keeps folders' names in the files of `shards`, and hands bodies to the index, which commits them with their rows.

    A message's key is the row of its body.  Flags, copies and removals are the index's own.
    """

    notes_intents = False

    def __init__(self, shards: Shards, threads: Threads, disk: Disk) -> None:
        self._shards = shards
        self._threads = threads
        self._disk = disk
        self._depositor = Depositor(shards)
        self._opener = Opener(shards, threads, disk)

    async def _run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        return await self._threads.run(_guarded, partial(work, *args, **options))

    # ------------------------------------------------------------ accounts and folders

    async def open_account(self, account: str) -> None:
        """Make sure the account exists."""
        await self._shards.create(account)

    async def remove_account(self, account: str) -> None:
        """Do nothing: all of it went with the index."""

    async def folders(self, account: str) -> Sequence[Folder]:
        """Return every folder.  Raises `NoSuchAccount`."""
        return await self._shards.ask(account, schema.find_folders)

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        """Create, rename with all below it, or delete."""
        steps = await self._shards.ask(account, partial(_edit_steps, edit=edit))
        await self._shards.commit(account, steps)

    async def subscriptions(self, account: str) -> frozenset[Path] | None:
        """Return None: the index keeps them."""
        return None

    async def subscribe(self, account: str, path: Path, subscribed: bool) -> None:
        """Do nothing: the index keeps them."""

    async def trees(self, accounts: Sequence[tuple[str, object]]) -> Sequence[object]:
        """Return nothing: no other program changes any."""
        return [None] * len(accounts)

    # ------------------------------------------------------------ looking

    async def survey(self, account: str, folder: str, known: Known, cursor: str | None) -> Survey:
        """Find no difference: nothing comes here but through the index."""
        return Survey(None, None, (), {}, (), SEEN)

    async def stale(self, folders: Sequence[tuple[str, str, str | None]]) -> list[bool]:
        """Say of each folder that it is as it was."""
        return [False] * len(folders)

    def directories(self, account: str, folder: str) -> Sequence[str]:
        """Return none: no other program writes here."""
        return ()

    async def summaries(self, account: str, folder: str, keys: Sequence[str]) -> list[Summary | None]:
        """Return None for each: a survey never finds what would need one."""
        return [None] * len(keys)

    def cursor(self, account: str, folder: str, cursor: str | None) -> str | None:
        """Return the cursor unchanged."""
        return cursor

    def saved(self, key: str, now: int) -> int:
        """Return the time of the commit."""
        return now

    def keeps(self, account: str, folder: str, flag: str) -> bool:
        """Return True: every commit is synced, and any flag a row's."""
        return True

    def forget(self, account: str, folder: str) -> None:
        """Do nothing: nothing is remembered."""

    # ------------------------------------------------------------ reading

    async def open(self, account: str, folder: str, key: str) -> IContent:
        """Open a message; a small one is read at once."""
        [content] = await self.open_many(account, folder, [key])
        if content is None:
            raise KeyError(key)
        return content

    def at_hand(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Return nothing: SQLite does not tell what it would have to read."""
        return [None] * len(keys)

    async def open_many(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Open messages in one visit to a thread."""
        return await self._opener.open_many(account, keys)

    # ------------------------------------------------------------ keeping

    def depositor(self) -> IDepositor:
        """Return what adds messages within one visit to a thread."""
        return self._depositor

    async def stage(
        self, account: str, content: Any, received: int, mark: str | None, summary: Summary | None
    ) -> Staged:
        """Read a small message, or write a large one to its file."""
        if content.size <= SMALL:
            octets = await read_whole(content, 0, content.size)
            if summary is None:
                summary = await self._run(summarise, octets)
            return self._depositor.stage(account, octets, received, mark, summary)
        email_id = _new_email_id()
        draft = (await self._run(self._shards.shard, account)).bodies.draft(email_id, summary is None)
        try:
            summary = await self._write(draft, content) or summary
        except BaseException:
            await self._run(self._depositor.settle, account, draft)
            raise
        assert summary is not None
        return Staged(_Large(account, draft), received, mark, email_id, summary)

    async def _write(self, draft: Draft, content: Any) -> Summary | None:
        read_now = blocking_reader(content)
        if read_now is not None:
            return await self._run(_write_all, draft, read_now, content.size)
        for offset in range(0, content.size, CHUNK):
            await self._run(draft.write, await read_whole(content, offset, min(CHUNK, content.size - offset)))
        return await self._run(draft.finish)

    async def discard(self, account: str, staged: Sequence[Staged]) -> None:
        """Remove the files of large messages that were not committed."""
        if any(isinstance(each.draft, _Large) for each in staged):
            await self._run(self._depositor.discard, staged)

    async def place(self, account: str, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
        """Hand bodies to the index."""
        [placed] = await self._run(self._depositor.place, [Parcel(account, folder, messages)], None)
        if isinstance(placed, Exception):
            raise placed
        return placed

    async def renumber(self, account: str, folder: str, uid_validity: int | None, uid_next: int) -> int | None:
        """Do nothing: the index gives the numbers."""
        return None

    async def transfer(
        self,
        account: str,
        folder: str,
        messages: Sequence[tuple[str, Flags, str, int]],
        to: str,
        move: bool,
        landing: Sequence[str] | None,
    ) -> list[tuple[str, int | None] | None]:
        """Return the keys as they are: a body belongs to no folder."""
        return [(key, None) for key, *_ in messages]

    def foresee(self, account: str, keys: Sequence[str]) -> Sequence[str] | None:
        """Return None: the index's transaction is all there is to a transfer."""
        return None

    def expect(self, account: str, staged: Staged) -> Expected | None:
        """Return None: a body is committed with its row."""
        return None

    async def settle(self, account: str, intent: Intent, known: Known) -> list[str | None]:
        """Never be called: nothing is noted."""
        return [None] * len(intent.messages)

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """Do nothing: the index keeps them."""

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        """Do nothing: a body goes with the last row that has it."""

    # ------------------------------------------------------------ what was expunged

    async def retained(self, account: str) -> list[Retained]:
        """Return what is kept."""
        return await self._shards.ask(account, schema.find_retained)

    async def returning(self, account: str, ids: Collection[str]) -> list[Returning]:
        """Return those of these messages that are kept still."""
        rows = [row for row in map(_row_of, ids) if row is not None]
        return await self._shards.ask(account, partial(schema.find_returning, rows=rows))

    async def open_retained(self, account: str, id_: str) -> IContent:
        """Open one of these messages."""
        found = await self.returning(account, [id_])
        if not found:
            raise KeyError(id_)
        return await self.open(account, "", found[0].key)

    async def forget_retained(self, before: float) -> bool:
        """Remove rows, some at a time."""
        return await self._shards.forget(before)

    async def close(self) -> None:
        """Let go of files."""
        self._disk.release()


class _Large:
    """What `Staged` says of a message that is in a file."""

    def __init__(self, account: str, draft: Draft) -> None:
        self.account = account
        self.draft = draft


@implementer(IDepositor)
class Depositor:
    """Turns messages into bodies for the index, in the thread of its caller."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    def stage(self, account: str, octets: bytes, received: int, mark: str | None, summary: Summary) -> Staged:
        """Keep a small message in memory until its turn comes."""
        return Staged(octets, received, mark, _new_email_id(), summary)

    def place(self, parcels: Sequence[Parcel], patience: float | None) -> list[list[Numbered] | Exception]:
        """Return what the index has to write; the names of large bodies are on stable storage then."""
        return [self._try_to_place(parcel) for parcel in parcels]

    def _try_to_place(self, parcel: Parcel) -> list[Numbered] | Exception:
        try:
            with full_is_no_space():
                large = [staged.draft.draft.name for staged, _ in parcel.messages if isinstance(staged.draft, _Large)]
                if large:
                    self._shards.shard(parcel.account).bodies.place(large)
        except Exception as error:
            return error
        return [_numbered(staged, flags) for staged, flags in parcel.messages]

    def expect(self, account: str, staged: Staged) -> Expected | None:
        """Return None: a body is committed with its row."""
        return None

    def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        """Do nothing: what was not committed is nowhere, and `discard` sees to files."""

    def discard(self, staged: Sequence[Staged]) -> None:
        """Let go of staged files, and remove those that were not committed."""
        for each in staged:
            if isinstance(each.draft, _Large):
                self.settle(each.draft.account, each.draft.draft)

    def settle(self, account: str, draft: Draft) -> None:
        """Close a staged file, and remove it if it was not committed."""
        draft.close()
        self._shards.shard(account).bodies.settle(draft.name)


def _numbered(staged: Staged, flags: Flags) -> Numbered:
    draft = staged.draft
    body = Body(None, draft.draft.name) if isinstance(draft, _Large) else Body(draft)  # type: ignore[arg-type] # octets
    item = Item("", staged.summary.size, staged.received, flags)
    return Numbered(item, staged.uid, staged.email_id, staged.mark, body)


def _row_of(id_: str) -> int | None:
    """Read an id, which may come from anybody."""
    return int(id_) if _ID.fullmatch(id_) else None


def _new_email_id() -> str:
    return "M" + secrets.token_hex(16)


def _guarded(work: Callable[[], T]) -> T:
    with full_is_no_space():
        return work()


def _write_all(draft: Draft, read_now: BlockingRead, size: int) -> Summary | None:
    for offset in range(0, size, CHUNK):
        draft.write(read_whole_now(read_now, offset, min(CHUNK, size - offset)))
    return draft.finish()


def _edit_steps(connection: sqlite3.Connection, number: int, edit: MailboxEdit) -> Steps:
    """Return what an edit, which the index has found possible, changes."""
    folders = schema.find_folders(connection, number)
    if isinstance(edit, CreateMailbox):
        role = edit.role.value if edit.role else None
        return [(schema.ADD_FOLDER, [(json.dumps(edit.path), role, number)])]
    if isinstance(edit, DeleteMailbox):
        return [(schema.DROP_FOLDER, [(folder.key,) for folder in folders if folder.path == edit.path])]
    assert isinstance(edit, RenameMailbox)
    length = len(edit.path)
    moving = [folder for folder in folders if folder.path[:length] == edit.path]
    return [(schema.MOVE_FOLDER, [(json.dumps(edit.to + folder.path[length:]), folder.key) for folder in moving])]
