"""
How messages come into maildirs, those of many accounts at the same time.  Everything here blocks.

Syncing costs most, and syncing many files costs hardly more than syncing one: all messages of a visit are written, then
synced together, then moved into their folders and numbered, and then folders and lists are synced together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from mailfw.disk import Disk, full_is_no_space
from mailfw.mail.mailbox import Flags, Item
from mailfw.mail.summary import Summary
from mailfw.stores.index.ledger import Expected, IDepositor, Numbered, Parcel, Staged
from mailfw.stores.maildir.admission import Admission, Arrival
from mailfw.stores.maildir.names import email_id_of
from mailfw.stores.maildir.root import MaildirRoot
from mailfw.stores.maildir.staging import Draft

Placed = list[Numbered] | Exception


@implementer(IDepositor)
class Depositor:
    """Adds messages, in the thread of its caller."""

    def __init__(
        self, disk: Disk, account: Callable[[str], MaildirRoot], make_name: Callable[[str | None], str]
    ) -> None:
        self._disk = disk
        self._account = account
        self._make_name = make_name

    def stage(self, account: str, octets: bytes, received: int, mark: str | None, summary: Summary) -> Staged:
        """Write a message into ``tmp/``, unsynced.  Raises `NoSpace`, and then there is no file."""
        draft = Draft(self._disk, self._account(account).root, self._make_name(mark), False)
        draft.write_unsynced(octets, received)
        return Staged(draft, received, mark, email_id_of(draft.base), summary)

    def place(self, parcels: Sequence[Parcel], patience: float | None) -> list[Placed]:
        """Sync staged files, move them into folders and sync those; for each parcel its numbers, or what failed."""
        try:
            with full_is_no_space():
                self._sync_drafts(parcels)
                begun = [self._begin(parcel, patience) for parcel in parcels]
                self._sync_folders(parcels, begun)
        except Exception as error:
            return [error] * len(parcels)
        return [
            each if isinstance(each, Exception) else _numbered(parcel, each.commit())
            for parcel, each in zip(parcels, begun, strict=True)
        ]

    def _sync_drafts(self, parcels: Sequence[Parcel]) -> None:
        drafts = [draft_of(staged) for parcel in parcels for staged, _ in parcel.messages]
        unsynced = [draft for draft in drafts if not draft.is_synced]
        if unsynced:
            self._disk.sync_all([draft.path for draft in unsynced], {draft.root for draft in unsynced})
        for draft in unsynced:
            draft.is_synced = True

    def _begin(self, parcel: Parcel, patience: float | None) -> Admission | Exception:
        """Let one parcel in; whatever is the matter with its folder is not the others' matter."""
        try:
            with full_is_no_space():
                folder = self._account(parcel.account).folder(parcel.folder)
                admission = Admission(folder, [_arrival(staged, flags) for staged, flags in parcel.messages])
                admission.begin(patience)
        except Exception as error:
            return error
        return admission

    def _sync_folders(self, parcels: Sequence[Parcel], begun: Sequence[Admission | Exception]) -> None:
        admissions = [each for each in begun if isinstance(each, Admission)]
        roots = {self._account(parcel.account).root for parcel in parcels}
        try:
            self._disk.sync_all([path for each in admissions for path in each.paths], roots)
        except OSError as error:
            failures = [each.failed(error) for each in admissions]
            raise next((each for each in failures if each is not error), error) from error
        except BaseException:
            for each in admissions:
                each.give_up()
            raise

    def expect(self, account: str, staged: Staged) -> Expected | None:
        """Return the name that a message has already."""
        return Expected(new=draft_of(staged).base)

    def drop(self, account: str, folder: str, keys: Sequence[str]) -> None:
        """Remove messages."""
        with full_is_no_space():
            self._account(account).folder(folder).drop(keys)

    def discard(self, staged: Sequence[Staged]) -> None:
        """Remove files that are still in ``tmp/``."""
        for draft in map(draft_of, staged):
            if not draft.is_placed:
                draft.discard()


def draft_of(staged: Staged) -> Draft:
    """Return the file of a message that was staged here."""
    assert isinstance(staged.draft, Draft)
    return staged.draft


def _arrival(staged: Staged, flags: Flags) -> Arrival:
    draft = draft_of(staged)
    return Arrival(draft.base, flags, draft.move_to, draft.take_back, uid=staged.uid)


def _numbered(parcel: Parcel, uids: Sequence[int]) -> list[Numbered]:
    return [
        Numbered(
            Item(draft_of(staged).base, staged.summary.size, staged.received, flags), uid, staged.email_id, staged.mark
        )
        for (staged, flags), uid in zip(parcel.messages, uids, strict=True)
    ]
