"""How messages come into an account's maildir.  Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from mailfw.mail.mailbox import Flags, Item
from mailfw.mail.summary import Summary
from mailfw.stores.index.ledger import IDepositor, Numbered, Staged
from mailfw.stores.maildir.disk import Disk, full_is_no_space
from mailfw.stores.maildir.folder import Arrival
from mailfw.stores.maildir.names import email_id_of
from mailfw.stores.maildir.root import MaildirRoot
from mailfw.stores.maildir.staging import Draft


@implementer(IDepositor)
class Depositor:
    """Adds messages to one account, in the thread of its caller."""

    def __init__(self, disk: Disk, maildir: MaildirRoot, make_name: Callable[[str | None], str]) -> None:
        self._disk = disk
        self._maildir = maildir
        self._make_name = make_name

    def stage(self, octets: bytes, received: int, mark: str | None, summary: Summary | None) -> Staged:
        """Write a message into ``tmp/``.  Raises `NoSpace`, and then there is no file."""
        draft = Draft(self._disk, self._maildir.root, self._make_name(mark), summary is None)
        made = draft.write_whole(octets, received)
        whole = summary or made
        assert whole is not None
        return Staged(draft, received, mark, email_id_of(draft.base), whole)

    def place(self, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
        """Move staged files into a folder."""
        with full_is_no_space():
            return place(self._maildir, folder, messages)

    def drop(self, folder: str, keys: Sequence[str]) -> None:
        """Remove messages."""
        with full_is_no_space():
            self._maildir.folder(folder).drop(keys)


def discard(staged: Sequence[Staged]) -> None:
    """Remove files that are still in ``tmp/``."""
    for draft in map(draft_of, staged):
        if not draft.is_placed:
            draft.discard()


def draft_of(staged: Staged) -> Draft:
    """Return the file of a message that was staged here."""
    assert isinstance(staged.draft, Draft)
    return staged.draft


def place(maildir: MaildirRoot, folder: str, messages: Sequence[tuple[Staged, Flags]]) -> list[Numbered]:
    """Move staged files into a folder, and number them."""
    arrivals = []
    for staged, flags in messages:
        draft = draft_of(staged)
        arrivals.append(Arrival(draft.base, flags, draft.move_to, draft.take_back))
    uids = maildir.folder(folder).admit(arrivals)
    return [
        Numbered(Item(arrival.base, staged.summary.size, staged.received, flags), uid, staged.email_id, staged.mark)
        for arrival, (staged, flags), uid in zip(arrivals, messages, uids, strict=True)
    ]
