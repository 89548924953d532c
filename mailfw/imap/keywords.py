"""Keywords (RFC 3501 section 2.3.2): how a mailbox spells them, and how many it has room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mailfw.imap import responses
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import NO_FLAGS, SYSTEM_FLAGS, Flags, NewMessage

#: Keywords in one mailbox.  RFC 3501 sets no limit; every client that opens the mailbox is told all of them.
MOST = 500
TOO_MANY = responses.no("The mailbox has too many keywords", b"LIMIT")


class TooManyKeywords(Exception):
    """A mailbox has no room for these keywords: `TOO_MANY` says so."""


def in_use(kinds: Iterable[Flags]) -> Flags:
    """Return the keywords that are among the flags of some messages."""
    return NO_FLAGS.union(*set(kinds)) - SYSTEM_FLAGS


def spelled(flags: Flags, known: Flags) -> Flags:
    """Return flags as a mailbox with these keywords spells them: their case does not matter (RFC 5788 section 3)."""
    if flags <= SYSTEM_FLAGS or flags <= known:
        return flags
    spelling = {keyword.lower(): keyword for keyword in sorted(known)}
    return frozenset(each if each in known else spelling.setdefault(each.lower(), each) for each in sorted(flags))


def every_spelling(flags: Flags, known: Flags) -> Flags:
    """Return flags, with the keywords of a mailbox that differ from them in case alone: programs may have put both."""
    if flags <= SYSTEM_FLAGS:
        return flags
    meant = {each.lower() for each in flags - SYSTEM_FLAGS}
    return flags.union(each for each in known if each.lower() in meant)


def have_room(flags: Flags, known: Flags) -> bool:
    """Whether a mailbox with some keywords has room for those among flags; for what it has there always is."""
    new = flags - SYSTEM_FLAGS - known
    return not new or len(known) + len(new) <= MOST


class Vocabulary:
    """The keywords of the mailbox that a session puts messages into, as they were the last time."""

    __slots__ = ("_known", "_mailbox", "_modseq")

    def __init__(self) -> None:
        self._mailbox, self._modseq, self._known = "", 0, NO_FLAGS

    async def spell(
        self, store: IMailStore, account: str, mailbox: str, messages: Sequence[NewMessage]
    ) -> Sequence[NewMessage]:
        """Return new messages with keywords as the mailbox spells them.  Raises `TooManyKeywords`."""
        wanted = in_use(message.flags for message in messages)
        if not wanted:
            return messages
        known = await self._room(store, account, mailbox, wanted)
        known |= spelled(wanted, known)
        return [replace(message, flags=spelled(message.flags, known)) for message in messages]

    async def check(self, store: IMailStore, account: str, mailbox: str, wanted: Flags) -> None:
        """Make sure that a mailbox has room for keywords.  Raises `TooManyKeywords`."""
        if wanted:
            await self._room(store, account, mailbox, wanted)

    async def _room(self, store: IMailStore, account: str, mailbox: str, wanted: Flags) -> Flags:
        known = await self._learn(store, account, mailbox)
        if not have_room(spelled(wanted, known), known):
            self._mailbox = ""  # some of what was known may be in use no more
            known = await self._learn(store, account, mailbox)
            if not have_room(spelled(wanted, known), known):
                raise TooManyKeywords
        return known

    async def _learn(self, store: IMailStore, account: str, mailbox: str) -> Flags:
        """Return the keywords of a mailbox; what has changed since the last time is all that is looked at."""
        if mailbox != self._mailbox:
            self._mailbox, self._modseq, self._known = mailbox, 0, NO_FLAGS
        snapshot = await store.snapshot(account, mailbox, self._modseq)
        self._known |= in_use(snapshot.flags)
        self._modseq = snapshot.info.modseq
        return self._known
