"""
Hearing of what other programs do to mailboxes that somebody watches.

Where the source names directories, the system tells of changes in them (inotify), and a mailbox is compared with its
source a moment later.  All others are compared every second: those of a source without directories, or on a file system
of the network, or beyond what the system lets a user watch.  Whether there are other mailboxes is looked at less often.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailfw.stores.index.account import Account
from mailfw.stores.index.mailbox import Mailbox
from mailfw.stores.inotify import EVERYTHING, Inotify
from mailfw.stores.threads import Threads

log = Logger()

#: How often, in seconds, the mailboxes that are watched are looked for, and those compared that no news come of.
POLL = 1.0

#: Seconds from a change to the comparison, in which a program that writes many messages gets on.
SOON = 0.05

#: Seconds for which a mailbox is compared at every `POLL` though news come of it: after it has been changed, since two
#: changes in one tick of the file system's clock cannot be told apart until that is over, and when it is new here.
UNSETTLED = 2.5

#: Seconds between two looks at which mailboxes there are.
TREES = 2.0

#: Seconds until it is tried again to watch more than the system allows.
RESPITE = 60.0

#: An account and the source's key of a mailbox.
Place = tuple[str, str]


class Lookout:
    """
    Compares what `watched` returns with `source` when there may be news, and refreshes what differs.

    ``refresh(account, mailbox id)`` raises nothing; with None it is about which mailboxes there are.
    """

    def __init__(
        self,
        reactor: Any,
        source: Any,
        threads: Threads,
        watched: Callable[[], Iterable[tuple[Account, Mailbox]]],
        refresh: Callable[[str, str | None], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._source = source
        self._threads = threads
        self._watched = watched
        self._refresh = refresh
        self._timer: Any = None
        self._began = 0.0
        self._soon: Any = None
        self._looking: Deferred[None] | None = None
        self._inotify: Inotify | None = None
        self._no_more_until = 0.0
        self._watches: dict[Place, tuple[int, ...]] = {}
        self._places: dict[int, Place] = {}
        self._unwatchable: dict[Place, float] = {}
        self._unsettled: dict[Place, float] = {}
        self._touched: set[Place] = set()
        self._trees: dict[str, object] = {}
        self._trees_due = 0.0
        self._is_closed = False

    def begin(self) -> None:
        """Look out as long as anybody watches."""
        if self._timer is None and not self._is_closed:
            spent = self._reactor.seconds() - self._began
            self._timer = self._reactor.callLater(max(POLL - spent, POLL / 4), self._tick)

    # ------------------------------------------------------------ every second

    def _tick(self) -> None:
        self._timer = None
        self._began = self._reactor.seconds()
        if self._looking is None:
            self._start(self._look_around())
        else:
            self.begin()

    def _start(self, looking: Any) -> None:
        self._looking = Deferred.fromCoroutine(looking)
        self._looking.addErrback(lambda failure: log.failure("looking for changes failed", failure=failure))
        self._looking.addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._looking = None
        if self._touched and not self._is_closed:
            self._look_soon()
        if any(True for _ in self._watched()):
            self.begin()
        elif self._timer is None:
            self._let_go()

    async def _look_around(self) -> None:
        wanted = {(account.name, box.key): box for account, box in self._watched()}
        await self._follow(wanted)
        now = self._reactor.seconds()
        self._unsettled = {place: until for place, until in self._unsettled.items() if until > now}
        asked = {place: box for place, box in wanted.items() if place not in self._watches or place in self._unsettled}
        await self._compare(asked)
        if now >= self._trees_due:
            self._trees_due = now + TREES
            await self._compare_trees({account for account, _ in wanted})

    async def _compare_trees(self, accounts: Iterable[str]) -> None:
        """Have those refreshed that may have other mailboxes than when they were looked at last, or never were."""
        asked = [(account, self._trees.get(account)) for account in accounts]
        marks = await self._source.trees(asked)
        self._trees = {account: mark for (account, _), mark in zip(asked, marks, strict=True)}
        for account, before in asked:
            if self._trees[account] != before:
                await self._refresh(account, None)

    async def _compare(self, boxes: Mapping[Place, Mailbox]) -> None:
        if not boxes:
            return
        asked = [(*place, box.cursor) for place, box in boxes.items()]
        answers = await self._source.stale(asked)
        for ((account, _), box), is_stale in zip(boxes.items(), answers, strict=True):
            if is_stale:
                await self._refresh(account, box.id)

    # ------------------------------------------------------------ news

    async def _follow(self, wanted: Mapping[Place, Mailbox]) -> None:
        """Watch the directories of new mailboxes, and those of others no more."""
        for place in [place for place in self._watches if place not in wanted]:
            self._drop(place)
        now = self._reactor.seconds()
        self._unwatchable = {place: until for place, until in self._unwatchable.items() if until > now}
        new = [place for place in wanted if place not in self._watches and place not in self._unwatchable]
        if not new or now < self._no_more_until or not self._has_inotify():
            return
        added = await self._threads.run(self._add_all, new)
        for place in new:
            if watches := added.get(place):
                self._watches[place] = watches
                self._places.update(dict.fromkeys(watches, place))
                self._unsettled[place] = now + UNSETTLED
            else:
                self._unwatchable[place] = now + RESPITE

    def _has_inotify(self) -> bool:
        if self._inotify is None:
            try:
                self._inotify = Inotify(self._reactor, self._heard, self._gone)
            except OSError as reason:
                self._no_more(reason)
        return self._inotify is not None

    def _no_more(self, reason: OSError) -> None:
        if not self._no_more_until:
            log.info("Some mailboxes are compared every second, as changes are not told of: {reason}", reason=reason)
        self._no_more_until = self._reactor.seconds() + RESPITE

    def _add_all(self, places: Iterable[Place]) -> dict[Place, tuple[int, ...]]:
        """Watch the directories of mailboxes; return what was possible.  Blocks."""
        added: dict[Place, tuple[int, ...]] = {}
        for place in places:
            watches: list[int] = []
            try:
                directories = self._source.directories(*place)
                watches.extend(self._add(directory) for directory in directories)
            except OSError as reason:
                self._forget(watches)
                if reason.errno in (errno.ENOSPC, errno.ENOMEM):
                    self._reactor.callFromThread(self._no_more, reason)
                    break
                continue
            if watches:
                added[place] = tuple(watches)
        return added

    def _add(self, directory: str) -> int:
        if self._inotify is None:
            raise OSError("closed")
        return self._inotify.add(directory)

    def _forget(self, watches: Iterable[int]) -> None:
        for watch in watches:
            if self._inotify is not None:
                self._inotify.remove(watch)

    def _drop(self, place: Place) -> None:
        watches = self._watches.pop(place, ())
        for watch in watches:
            self._places.pop(watch, None)
        self._forget(watches)

    def _heard(self, watch: int) -> None:
        """Note that a mailbox may have changed, and look in a moment."""
        changed = list(self._watches) if watch == EVERYTHING else [self._places[watch]] if watch in self._places else []
        until = self._reactor.seconds() + UNSETTLED
        for place in changed:
            self._unsettled[place] = until
            self._touched.add(place)
        if changed:
            self._look_soon()

    def _gone(self, watch: int) -> None:
        """Poll a mailbox whose directory has gone, until there is another."""
        place = self._places.get(watch)
        if place is not None:
            self._drop(place)

    def _look_soon(self) -> None:
        if self._soon is None and self._looking is None:
            self._soon = self._reactor.callLater(SOON, self._look_at_touched)

    def _look_at_touched(self) -> None:
        self._soon = None
        if self._looking is None:  # else it is looked at when that has ended
            touched, self._touched = self._touched, set()
            boxes = {
                (account.name, box.key): box for account, box in self._watched() if (account.name, box.key) in touched
            }
            self._start(self._compare(boxes))

    # ------------------------------------------------------------ ending

    def _let_go(self) -> None:
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            inotify.close()
        self._watches.clear()
        self._places.clear()
        self._unwatchable.clear()
        self._unsettled.clear()
        self._touched.clear()
        self._trees.clear()

    async def close(self) -> None:
        """Look out no more; what is under way is finished."""
        self._is_closed = True
        for timer in (self._timer, self._soon):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = self._soon = None
        if self._looking is not None:
            waiting: Deferred[None] = Deferred()
            self._looking.addBoth(lambda _: waiting.callback(None))
            await waiting
        self._let_go()
