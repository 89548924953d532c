"""One search in one mailbox: which messages match, looking no deeper than it must."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

from mailfw.imap import fuzzy
from mailfw.imap.asking import ask
from mailfw.imap.body_text import TextFinder
from mailfw.imap.commands.columns import columns
from mailfw.imap.commands.contents import opened
from mailfw.imap.keys import And, HasChanged, HasId, InBody, InText, IsAmong, Key, Saved, Sent
from mailfw.imap.matching import (
    NARROWING,
    Depth,
    Known,
    Matcher,
    about_flags,
    compile_key,
    depth_of,
    leaves,
    looked_at,
    lowered,
)
from mailfw.imap.sieve import Sieve, sieve_of
from mailfw.imap.told import Told, gathered
from mailfw.imap.view import View
from mailfw.mail.mailbox import Flags, Want
from mailfw.mail.sought import Condition, SearchAnswer
from mailfw.optional import ISearchedMail

if TYPE_CHECKING:
    from mailfw.imap.server import Session

T = TypeVar("T")

#: Keys tried before other sessions may have their turn, and keys that are tried on thousands of messages at once.
_TRIES, _SIEVED = 2000, 20
#: Flags are looked up one by one of less than this share of the messages.
_FEW = 8
#: What a message can have of merit (RFC 6203 section 4), and what of it being new is worth.
_BEST, _NEWEST = 100, 20
#: Texts by which messages are compared.
_TEXTS = 10


class TookTooLong(Exception):
    """A search took longer than the client may have the server work for it."""


def check_time(until: float | None) -> None:
    """Raise `TookTooLong` where a search had to be done until then."""
    if until is not None and time.monotonic() > until:
        raise TookTooLong


class Finder:
    """
    One search in a view, in passes: each looks deeper into the messages on which the one before could not decide.

    The last pass opens messages, and no other does.  A message number that is not there finds nothing (RFC 7377
    section 2).  Every method raises `TookTooLong`.
    """

    def __init__(self, session: Session, view: View, key: And, until: float | None = None) -> None:
        self._session = session
        self._view = view
        self._asked = key
        keys = list(map(fuzzy.expanded, key.keys))
        # What leaves few messages, of which others then are asked, costs next to nothing.
        self._chosen = looked_at(_taken_sets(keys), view)
        self._flags = And(tuple(each for each in keys if about_flags(each) is not None))
        keys = [each for each in keys if about_flags(each) is None]
        self._sieve, keys = _taken_sieve(keys)
        self._key = gathered(And(tuple(keys)))
        # A store that finds text by itself is asked before any message is looked at.
        self._told = Told.of(self._key) if ISearchedMail.providedBy(session.store) else Told()
        self._matcher: Matcher = compile_key(self._key, view, self._told)
        parts = list(leaves(self._key))
        self._has_modseq = any(isinstance(part, HasChanged) for part in parts)
        self._depths = {depth_of(part) for part in parts}
        self._portion = _portion(parts)
        self._want = _want(parts)
        self._finder = TextFinder(
            frozenset(part.text for part in parts if isinstance(part, InBody)),
            frozenset(part.text for part in parts if isinstance(part, InText)),
        )
        self._found: list[int] = []
        seconds = session.allowance.search_time
        #: When the time is over.
        self._until = time.monotonic() + seconds if until is None and seconds else until

    async def find(self, among: Sequence[int] | None = None) -> list[int]:
        """Return the UIDs of what matches, ascending; of these messages of the view, if any are given."""
        self._found = []
        await self._pause()
        candidates = await self._candidates(among)
        if candidates and self._sieve is not None:
            candidates = await self._sifted(candidates, self._sieve)
        undecided = await self._look_at_view(candidates)
        for part, condition in self._told.questions():
            if undecided:
                undecided = await self._ask_store(undecided, part, condition)
        if undecided and Depth.ROW in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.ROW, self._want)
        if undecided and Depth.FIELDS in self._depths:
            undecided = await self._look_at_rows(undecided, Depth.FIELDS, self._want | Want.FIELDS)
        if undecided:
            await self._look_into(undecided)
        return sorted(self._found)

    def modseq_of(self, uids: Sequence[int]) -> int | None:
        """Return the highest modification sequence of messages, in whatever order, if the search is about that."""
        if not self._has_modseq or not uids:
            return None
        return max(self._view.modseqs_of(self._view.numbers_of(sorted(uids))))

    async def scores(self, uids: Sequence[int]) -> dict[int, int]:
        """Return how well messages match what is fuzzy, from 1 to 100 (RFC 6203 section 4)."""
        # Of two that are alike in all else, the newer one is the better one.
        merit = dict.fromkeys(uids, 0)
        best = _NEWEST
        searches = ISearchedMail.providedBy(self._session.store)
        for text in list(dict.fromkeys(fuzzy.texts(self._asked)))[:_TEXTS]:
            for points, condition in fuzzy.merits(text):
                best += points
                if searches:
                    for uid in (await self._search(uids, condition)).found:
                        merit[uid] += points
        step = _NEWEST / max(len(uids), 1)
        scores: dict[int, int] = {}
        for at, uid in enumerate(uids):
            scores[uid] = max(1, round((merit[uid] + step * (at + 1)) * _BEST / best))
            if at % _TRIES == 0:
                await self._pause()
        return scores

    async def _pause(self) -> None:
        """Let others have their turn, if the search may go on at all."""
        check_time(self._until)
        await self._session.stream.give_way()

    async def _candidates(self, among: Sequence[int] | None) -> Sequence[int]:
        """Return what a set and flags leave of the view, or of these messages."""
        view, chosen = self._view, self._chosen
        if among is None:
            among = chosen
        elif chosen is not view.uids:
            both = frozenset(chosen)
            among = [uid for uid in among if uid in both]
        check = about_flags(self._flags) if self._flags.keys else None
        return view.without_gone(await self._with_flags(among, check) if check is not None else among)

    async def _with_flags(self, uids: Sequence[int], check: Callable[[Flags], bool]) -> Sequence[int]:
        view = self._view
        if len(uids) * _FEW < len(view.uids):
            return await self._flagged(uids, lambda uid: check(lowered(view.flags_of(uid))))
        kinds = frozenset(await self._flagged(view.kinds, lambda kind: check(lowered(kind))))
        having = view.having(kinds.__contains__)
        if uids is view.uids:
            return having
        wanted = frozenset(having)
        return [uid for uid in uids if uid in wanted]

    async def _flagged(self, among: Sequence[T], is_right: Callable[[T], bool]) -> list[T]:
        """Return messages, or kinds of flags, of which this is true."""
        found: list[T] = []
        size = _portion(leaves(self._flags))
        for start in range(0, len(among), size):
            found += filter(is_right, among[start : start + size])
            await self._pause()
        return found

    async def _sifted(self, uids: Sequence[int], sieve: Sieve) -> Sequence[int]:
        found: list[int] = []
        async with aclosing(columns(self._session, self._view, uids, sieve.want)) as batches:
            async for batch in batches:
                found += compress(batch.uids, sieve.check(batch))
                check_time(self._until)
        return found

    async def _look_at_view(self, uids: Sequence[int]) -> Sequence[int]:
        if not self._key.keys:
            self._found += uids
            return ()
        if self._depths and Depth.VIEW not in self._depths:
            return uids
        return await self._decide_all(uids)

    async def _decide_all(self, uids: Sequence[int]) -> list[int]:
        """Decide with what needs no look at messages."""
        undecided: list[int] = []
        for start in range(0, len(uids), self._portion):
            for uid in uids[start : start + self._portion]:
                self._decide(Known(uid, Depth.VIEW), undecided)
            await self._pause()
        return undecided

    async def _ask_store(self, uids: Sequence[int], part: Key, condition: Condition) -> Sequence[int]:
        answer = await ask(self._search, uids, condition)
        if self._key.keys == (part,):
            self._found += answer.found
            return answer.unread
        self._told.hear(part, answer)
        return await self._decide_all(uids)

    async def _search(self, uids: Sequence[int], condition: Condition) -> SearchAnswer:
        session = self._session
        answer = await ISearchedMail(session.store).search(session.account, self._view.mailbox_id, uids, condition)
        await self._pause()
        return answer

    async def _look_at_rows(self, uids: Sequence[int], depth: Depth, want: Want) -> list[int]:
        session, undecided = self._session, list[int]()
        async for rows in session.store.rows(session.account, self._view.mailbox_id, uids, want):
            for start in range(0, len(rows), self._portion):
                for row in rows[start : start + self._portion]:
                    self._decide(Known(row.uid, depth, row, row.fields or b""), undecided)
                await self._pause()
        return undecided

    async def _look_into(self, uids: Sequence[int]) -> None:
        session, mailbox = self._session, self._view.mailbox_id
        done = 0
        async for rows in session.store.rows(session.account, mailbox, uids, self._want | Want.PARTS):
            async with aclosing(opened(session, rows, mailbox)) as batches:
                async for row, content in (each async for batch in batches for each in batch):
                    header, in_body, in_text = await self._finder.look(content, row.parts, self._pause)
                    self._decide(Known(row.uid, Depth.CONTENT, row, header, in_body, in_text), [])
                    done += 1
                    session.progress = done, len(uids)

    def _decide(self, known: Known, undecided: list[int]) -> None:
        answer = self._matcher.check(known)
        if answer:
            self._found.append(known.uid)
        elif answer is None:
            undecided.append(known.uid)


def _portion(parts: Iterable[Key]) -> int:
    """Return on how many messages keys are tried before others may have their turn."""
    return max(1, _TRIES // (sum(1 for _ in parts) + 1))


def _want(parts: Sequence[Key]) -> Want:
    want = Want.NOTHING
    for part in parts:
        match part:
            case Sent():
                want |= Want.SENT
            case Saved():
                want |= Want.SAVED
            case HasId(_, of_thread) if of_thread:
                want |= Want.THREAD
    return want


def _taken_sets(keys: list[Key]) -> list[Key]:
    """Take as many sets out of the keys as all are looked at, and return them."""
    sets = [key for key in keys if isinstance(key, IsAmong)][:NARROWING]
    for key in sets:
        keys.remove(key)
    return list(sets)


def _taken_sieve(keys: list[Key]) -> tuple[Sieve | None, list[Key]]:
    """Return what answers some of the keys, if these are not so many that it would take long, and the others."""
    sifted = And(tuple(key for key in keys if sieve_of(key) is not None))
    if sum(1 for _ in leaves(sifted)) > _SIEVED:
        return None, keys
    return sieve_of(sifted), [key for key in keys if key not in sifted.keys]
