"""Who else uses a mailbox, what each of them has seen, and what is noted: it goes where the mailbox goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import StoreRefusal
from mailfw.mail.mailbox import SEEN, FlagChange
from mailfw.mail.rights import NO_RIGHTS, BadRights, Rights, format_rights, parse_rights
from mailfw.optional import ISharedMail
from mailfw.transfer.annotations import Notes, note, notes_of, read_notes

#: Marks that are read of one mailbox: a few octets can name any number.
MARKS = 10_000_000
#: What somebody needs for a while whose \\Seen is brought: RFC 4314 section 4.
_SEEING: Rights = frozenset("lrs")


@dataclass(frozen=True, slots=True)
class Shares:
    """Rights by identifier, by account the UIDs that it has seen, and annotations, if those are known."""

    access: Mapping[str, Rights] = field(default_factory=dict)
    seen: Mapping[str, Sequence[int]] = field(default_factory=dict)
    notes: Notes | None = None

    def line(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        access = {identifier: format_rights(rights) for identifier, rights in sorted(self.access.items())}
        seen = {user: write_uids(uids) for user, uids in sorted(self.seen.items())}
        return {"access": access, "seen": seen, **(self.notes.line() if self.notes else {})}


NO_SHARES = Shares()


def read_shares(told: Any) -> Shares:
    """Read what `Shares.line` returned.  Raises `ValueError`."""
    try:
        access = {str(identifier): parse_rights(str(rights)) for identifier, rights in told["access"].items()}
    except BadRights as reason:
        raise ValueError(str(reason))
    seen, left = {}, MARKS
    for user, text in told["seen"].items():
        seen[str(user)] = list(islice(read_uids(str(text)), left + 1))
        left -= len(seen[str(user)])
        if left < 0:
            raise ValueError(f"more messages were seen than {MARKS}")
    return Shares(access, seen, read_notes(told))


async def shares_of(
    store: IMailStore, account: str, mailbox: str, uids: Sequence[int], is_inbox: bool = False
) -> Shares:
    """Return what a store knows of a mailbox."""
    notes = await notes_of(store, account, mailbox, is_inbox)
    if not ISharedMail.providedBy(store):
        return Shares(notes=notes)
    shared = ISharedMail(store)
    access = await shared.access(account, mailbox)
    seen = {}
    for user in await shared.readers(account, mailbox):
        marked = [mark.uid for mark in await shared.marks(account, mailbox, user, uids) if mark.seen]
        if marked:
            seen[user] = marked
    return Shares(dict(access), seen, notes)


async def share(
    store: IMailStore, account: str, mailbox: str, shares: Shares, places: Mapping[int, int], exactly: bool
) -> None:
    """
    Give a mailbox the same access list, and users what they have seen.

    `places` are UIDs by those at the origin.  Not `exactly` only where nobody else uses the mailbox.
    """
    if shares.notes is not None:
        await note(store, account, mailbox, shares.notes, exactly)
    if not ISharedMail.providedBy(store):
        return
    shared = ISharedMail(store)
    if not exactly and await shared.access(account, mailbox):
        return
    for user, uids in shares.seen.items():
        here = sorted(places[uid] for uid in uids if uid in places)
        rights = (await shared.access(account, mailbox)).get(user, NO_RIGHTS)
        if not rights >= _SEEING:
            await shared.grant(account, mailbox, user, rights | _SEEING)
        try:
            await shared.alter_for(account, mailbox, user, here, FlagChange.ADD, frozenset({SEEN}))
        except StoreRefusal:  # his rights are taken away elsewhere in the list
            continue
    before = dict(await shared.access(account, mailbox))
    for identifier in {**before, **shares.access}:
        wanted = shares.access.get(identifier, NO_RIGHTS)
        if before.get(identifier, NO_RIGHTS) != wanted:
            await shared.grant(account, mailbox, identifier, wanted)


# ---------------------------------------------------------------- many UIDs in few words


def write_uids(uids: Iterable[int]) -> str:
    """Write ascending UIDs: ``1:3,7``."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(f"{first}:{last}" if last > first else f"{first}" for first, last in runs)


def read_uids(text: str) -> Iterator[int]:
    """Read what `write_uids` wrote.  Raises `ValueError`."""
    for run in filter(None, text.split(",")):
        first, _, last = run.partition(":")
        yield from range(int(first), int(last or first) + 1)
