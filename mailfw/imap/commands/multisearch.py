"""ESEARCH: one search in several mailboxes (RFC 7377)."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mailfw.imap import grammar_results, limiting, names, responses, results
from mailfw.imap.commands import contexts, search
from mailfw.imap.commands.finder import Finder, TookTooLong, check_time
from mailfw.imap.grammar_results import Return, Source, Wanted, Where
from mailfw.imap.keys import And, HasChanged, IsAmong
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.matching import leaves, looked_at
from mailfw.imap.responses import Completion
from mailfw.imap.view import View
from mailfw.mail.failure import NoPermission, NoSuchMailbox
from mailfw.mail.mailbox import INBOX, MailboxInfo, Path
from mailfw.mail.rights import READ
from mailfw.optional import ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

_ALL = Wanted(frozenset({Return.ALL}))


async def esearch(session: Session, cursor: Cursor) -> Completion:
    """Search, and send a response for each mailbox in which something was found, or nothing counted."""
    sources = grammar_results.sources(cursor) or (Source(Where.SELECTED),)
    wanted = grammar_results.returns(cursor, b"MULTISEARCH") or _ALL
    key = search.keys_of(cursor, search.reading(session))
    if isinstance(key, Completion):
        search.forget(session, wanted)
        return key
    _check(session, sources, wanted, key)
    search.check_wanted(session, wanted, key)
    await search.make_ready(session, key)
    seconds = session.allowance.search_time
    until = time.monotonic() + seconds if seconds else None
    searching = _Searching(session, wanted, key, until)
    try:
        with search.saving(session, wanted):
            infos = await _chosen(session, sources, until)
            for at, info in enumerate(infos):
                session.progress = at, len(infos)
                await searching.search_in(info)
                refused = limiting.refusal(session, searching.messages)
                if refused is not None:
                    search.forget(session, wanted)
                    return refused
    except TookTooLong:
        return search.TOO_LONG
    searching.keep_up_to_date()
    return responses.ok("Searched")


def _check(session: Session, sources: Iterable[Source], wanted: Wanted, key: And) -> None:
    """RFC 7377 section 2.2: what belongs to the selected mailbox has no meaning in others."""
    here = [source.where is Where.SELECTED for source in sources]
    if session.view is None and (any(here) or Return.UPDATE in wanted.options):
        raise BadSyntax("No mailbox is selected")
    about_saved = any(isinstance(part, IsAmong) and part.wanted.is_saved for part in leaves(key))
    if (about_saved or Return.SAVE in wanted.options) and not all(here):
        raise BadSyntax("Only what is found in the selected mailbox is saved")


class _Searching:
    """One search in one mailbox after the other."""

    def __init__(self, session: Session, wanted: Wanted, key: And, until: float | None) -> None:
        self._session = session
        self._wanted = wanted
        self._key = key
        self._until = until
        self._with_modseqs = any(isinstance(part, HasChanged) for part in leaves(key))
        #: How many were looked at, and the last mailbox is not among those that were searched if they are too many.
        self.messages = 0
        self._context: contexts.Context | None = None

    def is_here(self, info: MailboxInfo) -> bool:
        """Whether it is the selected mailbox."""
        return self._session.view is not None and self._session.view.mailbox_id == info.id

    async def search_in(self, info: MailboxInfo) -> None:
        """Search in a mailbox, unless it is gone by now."""
        with suppress(NoSuchMailbox, NoPermission):
            await self._search_in(info)

    async def _search_in(self, info: MailboxInfo) -> None:
        session = self._session
        view = session.view
        if view is None or not self.is_here(info):
            snapshot = await session.store.snapshot(session.account, info.id, 0)
            view = View(snapshot, self._with_modseqs, session.uid_only)
        finder = Finder(session, view, self._key, self._until)
        if session.message_limit:
            self.messages += len(looked_at(self._key.keys, view))
            if self.messages > session.message_limit:
                return
        result = await search.measured(finder, self._wanted, await finder.find())
        if view is session.view:
            self._keep(view, result.uids)
        if not result.uids or self._wanted.is_silent:
            return
        items = results.items(self._wanted, result.uids, result.modseq, result.scores)
        place = b"MAILBOX %b UIDVALIDITY %d" % (session.mailbox(info.path), view.uid_validity)
        session.stream.write(results.esearch(session.tag, True, items, place))
        await session.stream.drain()

    def _keep(self, view: View, found: Sequence[int]) -> None:
        """Do with what was found in the selected mailbox what is done with nothing else."""
        if Return.SAVE in self._wanted.options:
            view.saved = array("I", sorted(search.saved(self._wanted, found)))
        if Return.UPDATE in self._wanted.options:
            self._context = contexts.Context(self._session.tag, True, self._key, view, array("I", found))

    def keep_up_to_date(self) -> None:
        """Do so with what was found in the selected mailbox, if that is asked for."""
        if self._context is not None:
            contexts.keep(self._session, self._context, self._wanted.fetch)
        elif Return.UPDATE in self._wanted.options:
            contexts.refuse(self._session)


async def _chosen(session: Session, sources: Iterable[Source], until: float | None) -> list[MailboxInfo]:
    """
    Return the mailboxes that may be read, each once, in the order in which they are first named.

    Raises `TookTooLong`.
    """
    infos = {info.path: info for info in await session.store.mailboxes(session.account)}
    elsewhere: Path = ()
    if ISharingView.providedBy(session.store):
        elsewhere = await ISharingView(session.store).namespace(session.account)
    found: dict[str, MailboxInfo] = {}
    for source in sources:
        check_time(until)
        found.update((info.id, info) for info in _of(session, source, infos, elsewhere))
        await session.stream.give_way()
    return [info for info in found.values() if READ in info.rights]


def _of(session: Session, source: Source, infos: dict[Path, MailboxInfo], elsewhere: Path) -> Iterator[MailboxInfo]:
    if source.where is Where.INBOXES:
        yield infos[INBOX]
        return
    named = {names.to_path(name) for name in source.names}
    for path, info in infos.items():
        match source.where:
            case Where.SELECTED:
                chosen = session.view is not None and info.id == session.view.mailbox_id
            case Where.PERSONAL:
                chosen = not elsewhere or path[: len(elsewhere)] != elsewhere
            case Where.SUBSCRIBED:
                chosen = info.subscribed
            case Where.SUBTREE:
                chosen = any(path[:depth] in named for depth in range(1, len(path) + 1))
            case Where.SUBTREE_ONE:
                chosen = path in named or path[:-1] in named
            case _:
                chosen = path in named
        if chosen:
            yield info
