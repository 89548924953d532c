"""
A maildir as a message source: files and Dovecot's control files are the truth, the index follows.

The states of a message, and what is left of it if the process or the machine dies in that state:

1. *staged*: a file in ``tmp/``, synced.  Left: a file that nobody sees and that is swept after 36 hours.
2. *placed*: renamed into ``new/`` or ``cur/``, under the lock of the UID list.  Left: a message without a UID;
   the next survey, or Dovecot, gives it one.  Nobody was told of it.  If it came with a token its name says so,
   and the delivery tried again finds it.
3. *numbered*: the directory synced, its line in ``dovecot-uidlist``, synced.  Left: a message with that UID; the
   next survey takes it into the index.
4. *indexed*: its row is in SQLite; only now the caller is told.  A power failure may take the last rows of the
   index with it (not those of files and lists): the message is back in state 3.
5. *flagged*: renamed, the directory synced.  The same holds: names are the truth, the index is compared.
6. *gone*: unlinked, or renamed to where it is retained, the directory synced.  Its line in the list stays until there
   are many such; a UID is never given again, as ``N`` or the last line says which is next.

A copy is a second link, placed and numbered as above; its line notes the original's email id as its GUID.
A move renames the file: in state 2 it is in the new folder, and exactly once anywhere.

The lock ``dovecot-uidlist.lock`` is held from before a file is placed until it is numbered, and during a survey.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path as FilePath
from typing import Any, ParamSpec, TypeVar

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.disk import Disk, full_is_no_space
from mailfw.interfaces import IContent, IMessageSource
from mailfw.mail.content import blocking_reader, read_whole
from mailfw.mail.failure import NoSuchAccount, NoSuchMailbox, StoreRefusal
from mailfw.mail.mailbox import Flags, Folder, Item, MailboxEdit, Path, Scan
from mailfw.mail.retained import Retained
from mailfw.mail.summary import Summary
from mailfw.optional import IUniqueIds
from mailfw.stores.index.ledger import (
    Expected,
    IDepositor,
    ILedgerSource,
    Intent,
    Known,
    Numbered,
    Outdated,
    Parcel,
    Staged,
    Survey,
)
from mailfw.stores.index.retention import IRetainingSource
from mailfw.stores.inotify import is_remote
from mailfw.stores.kept import KeptContent
from mailfw.stores.maildir.content import CHUNK, FileContent, Octets
from mailfw.stores.maildir.depositor import Depositor, draft_of
from mailfw.stores.maildir.names import NameMaker, email_id_of, saved_at
from mailfw.stores.maildir.numbering import renumber
from mailfw.stores.maildir.opening import all_opened, opened, summary, within
from mailfw.stores.maildir.retention import forget_all
from mailfw.stores.maildir.root import MaildirRoot
from mailfw.stores.maildir.signature import is_stale_at
from mailfw.stores.maildir.staging import Draft
from mailfw.stores.maildir.transfer import name_of_copy, transfer
from mailfw.stores.maildir.tree_mark import tree_mark
from mailfw.stores.maildir.undoing import undo
from mailfw.stores.maildir.unique_ids import read_unique_ids
from mailfw.stores.places import account_directory
from mailfw.stores.threads import Threads

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

#: Accounts whose folders' file names are remembered: about 250 octets for each message of a folder that was read.
REMEMBERED = 256

#: Folders whose directories are remembered, which is less.
WATCHED = 20_000

#: Files that are removed, or accounts that are looked at, in one visit to a thread.
FORGOTTEN = 500


@implementer(ILedgerSource, IMessageSource, IRetainingSource, IUniqueIds)
class MaildirSource:
    """
    Keeps each account ``local@domain`` in the maildir ``root/domain/local``.

    What is dropped can come back if it `retains`.  All work on the disk is done in `threads`, which the caller closes.
    """

    notes_intents = True

    def __init__(self, root: FilePath, threads: Threads, disk: Disk | None = None, retains: bool = False) -> None:
        self._root = root
        self._threads = threads
        self._disk = disk or Disk()
        self._directories: dict[tuple[str, str], str] = {}
        self._is_remote: bool | None = None
        self._retains = retains
        self._names = NameMaker()
        self._make_name = self._names.make
        self._forgetting: Iterator[None] | None = None
        self._accounts: OrderedDict[str, MaildirRoot] = OrderedDict()
        self._depositor = Depositor(self._disk, self._account, self._make_name)
        # An append asks for what is remembered from its thread; an account must never have two roots.
        self._lock = threading.Lock()

    async def _run(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        return await self._threads.run(_guarded, partial(work, *args, **options))

    def _account(self, account: str) -> MaildirRoot:
        with self._lock:
            return self._remembered(account)

    def _remembered(self, account: str) -> MaildirRoot:
        maildir = self._accounts.get(account)
        if maildir is None:
            maildir = MaildirRoot(self._disk, self._directory(account), self._retains)
            self._accounts[account] = maildir
            if len(self._accounts) > REMEMBERED:
                self._accounts.popitem(last=False)
        self._accounts.move_to_end(account)
        return maildir

    # ------------------------------------------------------------ accounts and folders

    async def open_account(self, account: str) -> None:
        """Make sure the maildir exists."""
        await self._run(self._account(account).prepare)

    async def remove_account(self, account: str) -> None:
        """Destroy the maildir."""
        maildir = self._account(account)
        self._accounts.pop(account, None)
        await self._run(maildir.remove)

    async def folders(self, account: str) -> Sequence[Folder]:
        """Return every folder.  Raises `NoSuchAccount`."""
        maildir = self._account(account)
        return await self._run(_existing(maildir).folders)

    async def edit_folder(self, account: str, edit: MailboxEdit) -> None:
        """Create, rename or delete."""
        await self._run(self._account(account).edit, edit)

    async def subscriptions(self, account: str) -> frozenset[Path] | None:
        """Return the subscribed paths."""
        return await self._run(self._account(account).subscriptions)

    async def subscribe(self, account: str, path: Path, subscribed: bool) -> None:
        """Note a subscription."""
        await self._run(self._account(account).subscribe, path, subscribed)

    async def trees(self, accounts: Sequence[tuple[str, object]]) -> Sequence[object]:
        """Return a mark of each account's folders and subscriptions."""
        return await self._run(lambda: [tree_mark(self._directory(account), mark) for account, mark in accounts])

    def _directory(self, account: str) -> str:
        return str(account_directory(self._root, account))

    # ------------------------------------------------------------ looking

    async def scan(self, account: str, folder: str, cursor: str | None) -> Scan:
        """Return what the folder holds; the index asks `survey` instead."""
        self.forget(account, folder)
        survey = await self.survey(account, folder, Known(0, (), (), ()), None)
        return Scan(survey.cursor or "", [numbered.item for numbered in survey.fresh])

    async def survey(self, account: str, folder: str, known: Known, cursor: str | None) -> Survey:
        """Compare a folder with what is known of it."""
        maildir = self._account(account)
        return await self._run(within, maildir, folder, lambda found: found.survey(known))

    async def stale(self, folders: Sequence[tuple[str, str, str | None]]) -> list[bool]:
        """Say of each folder whether its directories have changed."""
        if len(folders) == 1 and self._is_same_at_hand(*folders[0][:2]):
            return [False]
        return await self._run(lambda: [self._is_stale(*each) for each in folders])

    def _is_same_at_hand(self, account: str, folder: str) -> bool:
        maildir = self._accounts.get(account)
        found = maildir.known(folder) if maildir is not None else None
        if found is None:
            return False
        self._note_directory(account, folder, found.directory)
        return found.is_same_at_hand()

    def _note_directory(self, account: str, folder: str, directory: str) -> None:
        if len(self._directories) >= WATCHED:
            self._directories.clear()
        self._directories[account, folder] = directory

    def _is_stale(self, account: str, folder: str, cursor: str | None) -> bool:
        """A folder that cannot be looked at is stale: the survey says what is the matter."""
        try:
            if account not in self._accounts and (account, folder) in self._directories:
                # More are watched than remembered, and reading them anew each time would take more than a second.
                return is_stale_at(self._directories[account, folder], cursor)
            found = self._account(account).folder(folder)
            self._note_directory(account, folder, found.directory)
            return found.is_stale(cursor)
        except Exception:
            self._directories.pop((account, folder), None)
            return True

    def directories(self, account: str, folder: str) -> Sequence[str]:
        """Return ``new/`` and ``cur/``, unless they are on a file system that other machines write to unheard."""
        if self._is_remote is None:
            self._is_remote = is_remote(str(self._root))
        if self._is_remote:
            return ()
        try:
            directory = self._account(account).folder(folder).directory
        except StoreRefusal:
            return ()
        return (f"{directory}/new", f"{directory}/cur")

    def at_hand(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Return messages that are in memory."""
        maildir = self._accounts.get(account)
        found = maildir.known(folder) if maildir is not None else None
        if found is None:
            return [None] * len(keys)
        return [None if octets is None else KeptContent(octets) for octets in found.at_hand(keys)]

    async def open(self, account: str, folder: str, key: str) -> IContent:
        """Open a message; a small one is read at once."""
        return self._content(await self._run(opened, self._account(account), folder, key))

    async def open_many(self, account: str, folder: str, keys: Sequence[str]) -> list[IContent | None]:
        """Open messages in one visit to a thread."""
        found = await self._run(all_opened, self._account(account), folder, keys)
        return [None if each is None else self._content(each) for each in found]

    def _content(self, octets: Octets | bytes) -> IContent:
        return KeptContent(octets) if isinstance(octets, bytes) else FileContent(self._threads, octets)

    async def summaries(self, account: str, folder: str, keys: Sequence[str]) -> list[Summary | None]:
        """Summarise messages."""
        maildir = self._account(account)
        return await self._run(lambda: [summary(maildir, folder, key) for key in keys])

    async def unique_ids(self, account: str) -> Mapping[int, str]:
        """Return what the UID list of the inbox says."""
        return await self._run(read_unique_ids, self._account(account).root)

    # ------------------------------------------------------------ keeping

    async def put(self, account: str, folder: str, content: IContent, flags: Flags, received: int) -> Item:
        """Keep a message."""
        staged = await self.stage(account, content, received, None, None)
        try:
            try:
                (numbered,) = await self.place(account, folder, [(staged, flags)])
            except Outdated:
                await self.survey(account, folder, Known(0, (), (), ()), None)
                (numbered,) = await self.place(account, folder, [(staged, flags)])
        finally:
            await self.discard(account, [staged])
        return numbered.item

    async def stage(
        self, account: str, content: Any, received: int, mark: str | None, summary: Summary | None
    ) -> Staged:
        """Write a message into ``tmp/``."""
        draft = Draft(self._disk, self._account(account).root, self._make_name(mark), summary is None)
        try:
            made = await self._write(draft, content, received)
        except BaseException:
            await self._run(draft.discard)
            raise
        whole = summary or made
        assert whole is not None
        return Staged(draft, received, mark, email_id_of(draft.base), whole)

    async def _write(self, draft: Draft, content: Any, received: int) -> Summary | None:
        """Write a message in one visit to a thread if that is enough."""
        read_now = blocking_reader(content)
        if read_now is not None:
            return await self._run(draft.write_all, read_now, content.size, received)
        for offset in range(0, max(1, content.size), CHUNK):
            await self._run(draft.write, await read_whole(content, offset, min(CHUNK, content.size - offset)))
        return await self._run(draft.finish, received)

    def depositor(self) -> IDepositor:
        """Return what adds messages within one visit to a thread."""
        return self._depositor

    async def discard(self, account: str, staged: Sequence[Staged]) -> None:
        """Remove files that are still in ``tmp/``."""
        if any(not draft_of(each).is_placed for each in staged):
            await self._run(self._depositor.discard, staged)

    async def place(self, account: str, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
        """Move staged files into a folder."""
        [placed] = await self._run(self._depositor.place, [Parcel(account, folder, messages)], None)
        if isinstance(placed, Exception):
            raise placed
        return placed

    async def renumber(self, account: str, folder: str, uid_validity: int | None, uid_next: int) -> int | None:
        """Write the numbers to the folder's list, and see to it that no other folder gets the same UIDVALIDITY."""
        return await self._run(renumber, self._account(account), folder, uid_validity, uid_next)

    async def transfer(
        self,
        account: str,
        folder: str,
        messages: Sequence[tuple[str, Flags, str, int]],
        to: str,
        move: bool,
        landing: Sequence[str] | None,
    ) -> list[tuple[str, int | None] | None]:
        """Link or rename files into another folder."""
        maildir = self._account(account)
        names = landing if landing is not None else self.foresee(account, [key for key, *_ in messages])
        return await self._run(lambda: transfer(maildir.folder(folder), messages, maildir.folder(to), move, names))

    def foresee(self, account: str, keys: Sequence[str]) -> Sequence[str]:
        """Return new names."""
        return [name_of_copy(self._make_name(), key) for key in keys]

    def expect(self, account: str, staged: Staged) -> Expected | None:
        """Return the name that a message has already."""
        return self._depositor.expect(account, staged)

    async def settle(self, account: str, intent: Intent, known: Known) -> list[str | None]:
        """Undo what was begun: whatever was moved is back where it was."""
        maildir = self._account(account)

        def settle() -> None:
            with suppress(NoSuchMailbox):
                source = maildir.folder(intent.folder) if intent.folder is not None and intent.move else None
                undo(maildir.folder(intent.to), intent.messages, source)

        await self._run(settle)
        return [None] * len(intent.messages)

    async def set_flags(self, account: str, folder: str, flags: Mapping[str, Flags]) -> None:
        """Give messages exactly these flags."""
        maildir = self._account(account)
        await self._run(within, maildir, folder, lambda found: found.set_flags(flags))

    async def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages, so that they can come back if that is wanted."""
        maildir = self._account(account)
        retention = maildir.retention if self._retains else None
        await self._run(within, maildir, folder, lambda found: found.drop(keys, retention))

    # ------------------------------------------------------------ what was dropped

    async def retained(self, account: str) -> list[Retained]:
        """Return what is kept."""
        return await self._run(lambda: list(self._account(account).retention.listing()))

    async def open_retained(self, account: str, id_: str) -> IContent:
        """Open one of these messages."""
        return FileContent(self._threads, await self._run(self._account(account).retention.open, id_))

    async def restore(self, account: str, folder: str, ids: Sequence[str]) -> int:
        """Move files back into a folder."""
        maildir = self._account(account)

        def restore() -> int:
            arrivals, found = maildir.retention.arrivals(ids, self._names), maildir.folder(folder)
            uids = found.admit(arrivals) if arrivals else []
            found.forget()  # the index has to hear of them by a survey
            return len(uids)

        return await self._run(restore)

    async def forget_retained(self, before: float) -> bool:
        """Remove files, going on where the last call stopped."""
        return await self._run(self._forget_some, before)

    def _forget_some(self, before: float) -> bool:
        if self._forgetting is None:
            self._forgetting = forget_all(self._disk, self._root, before)
        for _ in islice(self._forgetting, FORGOTTEN - 1):
            pass
        try:
            next(self._forgetting)
        except StopIteration:
            self._forgetting = None
            return False
        return True

    # ------------------------------------------------------------ what is remembered

    def cursor(self, account: str, folder: str, cursor: str | None) -> str | None:
        """Return the cursor after our own changes."""
        found = self._account(account).known(folder)
        return found.cursor(cursor) if found else cursor

    def saved(self, key: str, now: int) -> int:
        """Return the time that a name begins with, since each message gets a new name in the folder it comes into."""
        return saved_at(key, now)

    def keeps(self, account: str, folder: str, flag: str) -> bool:
        """Whether a file's name can say this flag."""
        found = self._account(account).known(folder)
        return found is None or found.keywords.has(flag)

    def forget(self, account: str, folder: str) -> None:
        """Survey the folder from its files the next time."""
        self._account(account).forget(folder)

    async def close(self) -> None:
        """Let go of what is remembered."""
        self._accounts.clear()
        self._disk.release()


def _guarded(work: Callable[[], T]) -> T:
    with full_is_no_space():
        return work()


def _existing(maildir: MaildirRoot) -> MaildirRoot:
    if not maildir.exists():
        raise NoSuchAccount("no such account")
    return maildir
