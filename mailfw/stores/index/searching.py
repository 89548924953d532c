"""
Search in the mail of an index: texts are taken from messages after their delivery, in the background, and found again.

A delivery waits for none of it: a change only notes that the account has changed.  When nothing has changed anywhere,
and clients have not asked for much, for `QUIET` seconds, or for an account that has waited for `LATEST`, its newest
messages that are missing in its search file are read, a few at a time.  While deliveries go on, or clients are busy,
most of the time is theirs.  A message that is not in the file yet is named as such in an answer, so that whoever asks
reads it himself.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import alsoProvides

from mailfw.mail.failure import NoSpace, StoreRefusal
from mailfw.mail.sought import Condition, SearchAnswer
from mailfw.optional import ISearchedMail
from mailfw.stores.index import search_file
from mailfw.stores.index.account import Account
from mailfw.stores.index.columns import picked
from mailfw.stores.index.search_columns import KeptTexts
from mailfw.stores.index.search_file import SearchFile
from mailfw.stores.index.search_making import MESSAGES, find_ids, find_rows, make_some
from mailfw.stores.index.search_progress import ROW_BITS, Progress
from mailfw.stores.index.search_query import find
from mailfw.stores.threads import Threads

log = Logger()

#: Seconds without a change after which texts are made, and how long they may wait for that.
QUIET, LATEST = 0.3, 10.0
#: Pauses are so many times as long as the work between them: while the store is busy with other things, and else.
PAUSE, SHORT_PAUSE = 9, 1
#: So many calls a second keep a store busy; the work is then done in pieces of so many messages.
CALLS, FEW = 20, 4
#: Seconds between two complaints about files.
COMPLAINT = 60.0
#: Rows that are compared at once.
ROWS = 20_000
#: Accounts whose search file stays open, which takes three descriptors each; and of which what is in their files stays
#: known, which takes an octet for each message.
OPEN, KNOWN = 50, 1000

#: Calls work with the state of an account that exists.
WithAccount = Callable[[str, Callable[[Account], Awaitable[Any]]], Awaitable[Any]]


class Searches:
    """
    The search files of all accounts of a store; `place` says where each is, `threads` do what blocks.

    `with_account` is how the work in the background gets at an account.
    """

    def __init__(self, place: Callable[[str], Path], reactor: Any, threads: Threads, with_account: WithAccount) -> None:
        self._place = place
        self._reactor = reactor
        self._threads = threads
        self._with_account = with_account
        self._progress: dict[str, Progress] = {}
        self._texts = KeptTexts()
        self._used: OrderedDict[str, None] = OrderedDict()
        self._open: OrderedDict[str, None] = OrderedDict()
        #: Accounts with something to do, and since when.
        self._waiting: OrderedDict[str, float] = OrderedDict()
        self._last_change = self._last_complaint = -1e9
        #: How often clients have asked the store for anything: it counts itself.
        self.calls = 0
        self._looked = (0.0, 0)
        self._has_callers = False
        self._timer: Any = None
        self._work: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._is_closed = False

    def lend(self, store: Any) -> None:
        """Let a store provide `ISearchedMail` by this."""
        store.search, store.rebuild_search = self._search, self._rebuild
        alsoProvides(store, ISearchedMail)

    async def _search(self, account: str, mailbox: str, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        answer: SearchAnswer = await self._with_account(
            account, lambda state: self.search(state, mailbox, uids, condition)
        )
        return answer

    async def _rebuild(self, account: str, tell: Callable[[int], None]) -> None:
        await self._with_account(account, lambda state: self.rebuild(state, tell))

    # ------------------------------------------------------------ what happens to accounts

    def loaded(self, account: Account) -> None:
        """Hear that an account was read from its index: rows from its next one on are given anew."""
        progress = self._of(account)
        if progress.is_known:
            progress.shrink(account.next_email)
        self._wait_for(account.name)

    def changed(self, account: Account) -> None:
        """Hear that something of an account has changed, and all is written."""
        progress = self._of(account)
        if progress.is_known:
            progress.grow(account.next_email)
        self._last_change = self._reactor.seconds()
        self._wait_for(account.name)

    def dropped(self, account: Account, rows: Sequence[int] | None) -> None:
        """Hear that copies of messages with these summaries are gone, None for any."""
        progress = self._of(account)
        if rows is None:
            progress.is_doubtful = True
        elif progress.is_known:
            progress.doubtful.update(rows)

    def _of(self, account: Account) -> Progress:
        progress = self._progress.get(account.name)
        if progress is None:
            progress = self._progress[account.name] = Progress(SearchFile(self._place(account.name), self._texts))
        return progress

    async def remove(self, name: str) -> None:
        """Forget an account, and destroy its file."""
        self._waiting.pop(name, None)
        progress = self._progress.pop(name, None)
        file = progress.file if progress is not None else SearchFile(self._place(name), self._texts)
        await self._threads.run(file.remove)

    # ------------------------------------------------------------ searching

    async def search(self, account: Account, mailbox: str, asked: Sequence[int], condition: Condition) -> SearchAnswer:
        """Say which of these messages match."""
        _, messages = await account.messages(mailbox)
        places = messages.places(asked)
        uids, rows = picked(messages.uids, places), picked(messages.emails, places)
        if not rows:
            return SearchAnswer((), ())
        progress = self._of(account)
        try:
            await self._know(account, progress)
            there, is_short = progress.split(rows)
            if is_short:
                self._wait_for(account.name)
            generation = progress.file.generation
            true, unknown = await self._threads.run(find, progress.file, condition, there)
            if progress.file.generation != generation:
                return SearchAnswer((), list(uids))  # it was begun anew meanwhile
        except (sqlite3.Error, OSError, NoSpace) as error:
            self._failed(account.name, progress, error)
            return SearchAnswer((), list(uids))
        self._keep_open(account.name)
        found = list(compress(uids, map(true.__contains__, rows)))
        if not is_short and not unknown:
            return SearchAnswer(found, [])
        return SearchAnswer(
            found, [uid for uid, row in zip(uids, rows, strict=True) if row not in there or row in unknown]
        )

    def _failed(self, name: str, progress: Progress, error: Exception) -> None:
        """Take nothing for granted that is known of a file."""
        now = self._reactor.seconds()
        if now - self._last_complaint >= COMPLAINT:  # a disk that is read-only fails for every account, all the time
            self._last_complaint = now
            log.error("the mail of {account} must be read to be searched: {error!r}", account=name, error=error)
        if self._progress.get(name) is progress:
            del self._progress[name]
        self._close(progress)

    def _keep_open(self, name: str) -> None:
        for used, limit in ((self._used, KNOWN), (self._open, OPEN)):
            used[name] = None
            used.move_to_end(name)
            if len(used) > limit:
                oldest, _ = used.popitem(last=False)
                if oldest in self._progress:
                    self._close(self._progress[oldest])
                    if used is self._used:
                        del self._progress[oldest]

    def _close(self, progress: Progress) -> None:
        if not self._is_closed:
            self._threads.run(progress.file.close).addErrback(
                lambda failure: log.failure("a search file cannot be closed", failure=failure)
            )

    # ------------------------------------------------------------ comparing

    async def _know(self, account: Account, progress: Progress) -> None:
        """Compare the file with the index, once in the life of a process: either may be older, or made anew."""
        async with progress.turns:
            if progress.is_known:
                return
            progress.begin(account.next_email)
            for first in range(progress.base, progress.end, ROWS):
                await self._compare(account, progress, first, min(first + ROWS, progress.end) - 1)
            await self._forget_beyond(progress)
            progress.is_known = True
            progress.grow(account.next_email)

    async def _compare(self, account: Account, progress: Progress, first: int, last: int) -> None:
        here = await account.databases.read(account.name, partial(find_ids, first=first, last=last))
        there = await self._threads.run(progress.file.use, partial(search_file.ids_of, first=first, last=last))
        same = {row for row, id_ in there.items() if here.get(row) == id_}
        progress.are_there(same)
        progress.are_gone(row for row in range(first, last + 1) if row not in here)
        await self._forget(progress, sorted(there.keys() - same))

    async def _forget_beyond(self, progress: Progress) -> None:
        """Drop what is in the file for rows that the account has not given."""
        ids_of = partial(search_file.ids_of, first=progress.end, last=progress.base + 2**ROW_BITS)
        await self._forget(progress, sorted(await self._threads.run(progress.file.use, ids_of)))

    async def _forget(self, progress: Progress, rows: Sequence[int]) -> None:
        for start in range(0, len(rows), MESSAGES):
            batch = rows[start : start + MESSAGES]
            await self._threads.run(progress.file.use, partial(search_file.drop, rows=batch))

    async def _drop_gone(self, account: Account, progress: Progress) -> None:
        """Drop the texts of messages whose last copy is gone."""
        doubtful, progress.doubtful = progress.doubtful, set()
        if progress.is_doubtful:
            progress.is_doubtful = False
            doubtful.update(progress.there(progress.base, progress.end))
        ordered = sorted(doubtful)
        for start in range(0, len(ordered), ROWS):
            asked = ordered[start : start + ROWS]
            gone = sorted(set(asked) - await account.databases.read(account.name, partial(find_rows, rows=asked)))
            progress.are_gone(gone)
            await self._forget(progress, gone)

    # ------------------------------------------------------------ in the background

    def _wait_for(self, name: str) -> None:
        self._waiting.setdefault(name, self._reactor.seconds())
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None and self._work is None and not self._is_closed:
            self._look(self._reactor.seconds())
            self._timer = self._reactor.callLater(QUIET, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        now = self._reactor.seconds()
        self._look(now)
        if self._is_busy(now) and now - next(iter(self._waiting.values())) < LATEST:
            self._schedule()
            return
        self._work = Deferred.fromCoroutine(self._go_on())
        self._work.addErrback(lambda failure: log.failure("texts of messages cannot be made", failure=failure))
        self._work.addBoth(self._ended)

    def _is_busy(self, now: float) -> bool:
        return self._has_callers or now - self._last_change < QUIET

    def _look(self, now: float) -> None:
        """See whether clients have asked for much since the last look."""
        (before, calls), self._looked = self._looked, (now, self.calls)
        self._has_callers = self.calls - calls > CALLS * (now - before)

    def _ended(self, _: object) -> None:
        self._work = None
        if self._waiting:
            self._schedule()

    async def _go_on(self) -> None:
        """Work for one account after the other until nothing is left."""
        while self._waiting and not self._is_closed:
            began = self._reactor.seconds()
            name, since = self._waiting.popitem(last=False)
            if await self._work_for(name):
                self._waiting.setdefault(name, since)
            now = self._reactor.seconds()
            self._look(now)
            await self._rest((PAUSE if self._is_busy(now) else SHORT_PAUSE) * (now - began))

    async def _rest(self, seconds: float) -> None:
        """Pause; `close` ends it."""
        self._pause = Deferred()
        timer = self._reactor.callLater(seconds, self._pause.callback, None)
        try:
            await self._pause
        except CancelledError:
            timer.cancel()
        finally:
            self._pause = None

    async def _work_for(self, name: str) -> bool:
        """Do a little for an account; whether something is left to do."""
        try:
            has_more: bool = await self._with_account(name, self._do_some)
            return has_more
        except (StoreRefusal, NoSpace) as why:
            # Nobody misses the texts of an account that is gone; on a full disk the next change asks again.
            log.debug("no texts of {account}: {why!r}", account=name, why=why)
        except (sqlite3.Error, OSError) as error:
            if (progress := self._progress.get(name)) is not None:
                self._failed(name, progress, error)
        return False

    async def _do_some(self, account: Account) -> bool:
        progress = self._of(account)
        if not account.messages_kept and not progress.is_known and not await self._threads.run(progress.file.exists):
            return False
        await self._know(account, progress)
        made = await self._make_some(account, progress, FEW if self._has_callers else MESSAGES)
        if made is None:
            await self._drop_gone(account, progress)
        self._keep_open(account.name)
        return made is not None

    async def rebuild(self, account: Account, tell: Callable[[int], None]) -> None:
        """Make an account's file anew, calling `tell` with the number of messages whose texts were made."""
        for box in list(account.boxes.values()):
            await account.fresh(box.id, now=True)
        progress = self._of(account)
        await self._know(account, progress)
        async with progress.turns:
            await self._threads.run(progress.file.clear)
            progress.begin(account.next_email)
        while (made := await self._make_some(account, progress, MESSAGES)) is not None:
            tell(made)

    async def _make_some(self, account: Account, progress: Progress, count: int) -> int | None:
        async with progress.turns:
            return await make_some(account, progress, self._threads, count)

    async def close(self) -> None:
        """Finish what is under way; what is missing is made another time."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pause is not None:
            self._pause.cancel()
        if self._work is not None:
            await self._work
        closing = list(self._progress.values())
        self._progress.clear()
        for progress in closing:
            await self._threads.run(progress.file.close)
