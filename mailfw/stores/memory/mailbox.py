"""One mailbox: its messages by UID, its counts, and the log of what changed."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mailfw.mail.failure import NumberRefused
from mailfw.mail.mailbox import (
    DELETED,
    SEEN,
    UID_LIMIT,
    FlagChange,
    Flags,
    MailboxInfo,
    Path,
    Role,
    Row,
    Snapshot,
    Want,
)
from mailfw.mail.personal import Mark, merged
from mailfw.mail.rights import Rights, rights_of
from mailfw.mail.summary import Summary
from mailfw.mail.terms import Terms

#: A log shorter than this is not worth shortening.
SHORT_LOG = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """What never changes of a message, shared by all its copies; without `terms` it is not found by its text."""

    email_id: str
    octets: bytes
    summary: Summary
    received: int
    terms: Terms | None = field(default=None, repr=False)
    thread_id: str = ""


@dataclass(slots=True)
class Message:
    """A letter in a mailbox; only a `Mailbox` may assign to it."""

    uid: int
    modseq: int
    flags: Flags
    letter: Letter
    token: str | None = None
    saved: int = 0

    def row(self, want: Want) -> Row:
        """Return what is known of it: the parts of the summary in `want`, and None for the others."""
        letter, summary = self.letter, self.letter.summary
        return Row(
            self.uid,
            self.modseq,
            self.flags,
            len(letter.octets),
            letter.received,
            letter.email_id,
            summary.envelope if Want.ENVELOPE in want else None,
            summary.body if Want.BODY in want else None,
            summary.bodystructure if Want.BODYSTRUCTURE in want else None,
            summary.parts if Want.PARTS in want else None,
            summary.fields if Want.FIELDS in want else None,
            summary.sent if Want.SENT in want else None,
            summary.preview if Want.PREVIEW in want else None,
            summary.sort if Want.SORT in want else None,
            letter.thread_id if Want.THREAD in want else None,
            summary.ids if Want.THREAD in want else None,
            self.saved if Want.SAVED in want else None,
        )


class ChangeLog:
    """
    Which UIDs were touched, in the order of the modification sequence.

    It need not say how: a UID still in the mailbox was added or has other flags, any other was expunged.
    """

    def __init__(self) -> None:
        self._modseqs = array("Q")
        self._uids = array("I")
        self._limit = SHORT_LOG

    def __len__(self) -> int:
        return len(self._uids)

    def note(self, uid: int, modseq: int) -> None:
        """Note a change; `modseq` is at least that of the last one."""
        self._modseqs.append(modseq)
        self._uids.append(uid)
        if len(self._uids) > self._limit:
            self._shorten()

    def since(self, modseq: int) -> list[int]:
        """Return the UIDs touched after `modseq`, ascending; costs what changed, not what is there."""
        return sorted(set(self._uids[bisect_right(self._modseqs, modseq) :]))

    def _shorten(self) -> None:
        # Only the last note of a UID counts.  The limit doubles with what is left, so that the cost of one
        # note stays the same however long the log.
        last = dict(zip(self._uids, self._modseqs, strict=True))
        ordered = sorted(last.items(), key=lambda entry: entry[1])
        self._uids = array("I", [uid for uid, _ in ordered])
        self._modseqs = array("Q", [modseq for _, modseq in ordered])
        self._limit = max(SHORT_LOG, 2 * len(ordered))


class Reader:
    """What one of those who share a mailbox has seen of it: his marks by UID, and when they changed."""

    def __init__(self) -> None:
        self.marks: dict[int, Mark] = {}
        self.log = ChangeLog()
        #: How many messages he has seen.
        self.seen = 0

    def has_seen(self, uid: int) -> bool:
        """Whether he has seen a message."""
        return uid in self.marks and self.marks[uid].seen

    def modseq(self, message: Message) -> int:
        """Return when a message last changed for him."""
        mark = self.marks.get(message.uid)
        return max(message.modseq, mark.modseq) if mark is not None else message.modseq

    def mark(self, uid: int, seen: bool, modseq: int) -> None:
        """Note that he has seen a message, or no longer."""
        self.seen += seen - self.has_seen(uid)
        self.marks[uid] = Mark(uid, modseq, seen)
        self.log.note(uid, modseq)

    def drop(self, uid: int) -> None:
        """Forget a message that is gone."""
        self.seen -= self.has_seen(uid)
        self.marks.pop(uid, None)


class Mailbox:
    """
    A mailbox of an account.  Whoever changes it brings the account's next modification sequence.

    UIDs are only ever appended, so `messages` is in their order: a dict keeps the order of insertion.
    """

    def __init__(self, path: Path, role: Role | None, uid_validity: int, modseq: int) -> None:
        self.id = f"{uid_validity:x}"  # no two mailboxes of a store ever have the same UIDVALIDITY
        self.path = path
        self.role = role
        self.uid_validity = uid_validity
        self.uid_next = 1
        self.modseq = modseq
        self.recent_uid = 1
        self.size = 0
        self.messages: dict[int, Message] = {}
        self.tokens: dict[str, Message] = {}
        self._unseen = 0
        self._deleted: set[int] = set()
        self._log = ChangeLog()
        #: Who else may do what, and what those have seen.
        self.access: dict[str, Rights] = {}
        self.readers: dict[str, Reader] = {}
        #: Values by whose they are and name, and when they last changed.
        self.annotations: dict[tuple[str, str], bytes] = {}
        self.annotated = 0

    def find(self, uids: Iterable[int]) -> list[Message]:
        """Return those of the messages that are here, in the order asked for."""
        messages = self.messages
        return [messages[uid] for uid in uids if uid in messages]

    def add(
        self, letter: Letter, flags: Flags, modseq: int, token: str | None = None, uid: int | None = None
    ) -> Message:
        """Put a letter at the end, with the next UID or a higher one."""
        message = Message(self.uid_next if uid is None else uid, modseq, flags, letter, token, int(time.time()))
        self.uid_next = message.uid + 1
        self.messages[message.uid] = message
        if token is not None:
            self.tokens[token] = message
        self.size += len(letter.octets)
        self._count(message)
        self._note(message.uid, modseq)
        return message

    def renumber(self, uid_validity: int, uid_next: int, modseq: int) -> None:
        """Give the mailbox another UIDVALIDITY and next UID."""
        self.uid_validity, self.uid_next, self.modseq = uid_validity, uid_next, modseq

    def set_flags(self, message: Message, flags: Flags, modseq: int) -> None:
        """Give a message exactly these flags."""
        self._discount(message)
        message.flags, message.modseq = flags, modseq
        self._count(message)
        self._note(message.uid, modseq)

    def remove(self, message: Message, modseq: int) -> None:
        """Take a message out; whoever has it open reads on."""
        del self.messages[message.uid]
        if message.token is not None:
            del self.tokens[message.token]
        self.size -= len(message.letter.octets)
        self._discount(message)
        for reader in self.readers.values():
            reader.drop(message.uid)
        self._note(message.uid, modseq)

    def with_deleted(self, uids: Sequence[int] | None) -> list[Message]:
        """Return the messages with \\Deleted, ascending: of these, or of all where None."""
        wanted = self._deleted if uids is None else self._deleted.intersection(uids)
        return self.find(sorted(wanted))

    def claim_recent(self) -> int:
        """Return the first UID nobody has seen as \\Recent, and count all there are as seen."""
        claimed, self.recent_uid = self.recent_uid, self.uid_next
        return claimed

    def info(self, subscribed: bool) -> MailboxInfo:
        """Return the mailbox as it is now."""
        return MailboxInfo(
            self.id,
            self.path,
            self.role,
            self.uid_validity,
            self.uid_next,
            self.modseq,
            self.recent_uid,
            len(self.messages),
            self._unseen,
            len(self._deleted),
            self.size,
            subscribed,
            annotated=self.annotated,
        )

    def snapshot(self, info: MailboxInfo, since: int) -> Snapshot:
        """Return what changed after `since`, with `info` to go with it."""
        touched = self._log.since(since) if since else ()
        changed = self.find(touched) if since else self.messages.values()
        return Snapshot(
            info,
            array("I", [message.uid for message in changed]),
            array("Q", [message.modseq for message in changed]),
            [message.flags for message in changed],
            [uid for uid in touched if uid not in self.messages],
        )

    # ------------------------------------------------------------ as another user sees it

    def reader(self, user: str) -> Reader:
        """Return what a user has seen."""
        return self.readers.get(user) or Reader()

    def mark(self, user: str, uid: int, seen: bool, modseq: int) -> None:
        """Note that a user has seen a message, or no longer."""
        self.readers.setdefault(user, Reader()).mark(uid, seen, modseq)
        self.modseq = modseq

    def copy_marks(self, pairs: Iterable[tuple[int, int]], to: Mailbox, modseq: int) -> None:
        """Let those who have seen messages have seen their copies, where they may find them."""
        for user, reader in list(self.readers.items()) if to.access else ():
            for old, new in pairs:
                if old in reader.marks:
                    to.mark(user, new, reader.marks[old].seen, modseq)

    def info_for(self, user: str) -> MailboxInfo:
        """Return the mailbox as it is now for a user."""
        unseen = len(self.messages) - self.reader(user).seen
        return replace(self.info(False), unseen=unseen, rights=rights_of(self.access, user))

    def snapshot_for(self, user: str, since: int) -> Snapshot:
        """Return what changed for a user after `since`."""
        reader = self.reader(user)
        touched = self._log.since(since) if since else ()
        asked = sorted({*touched, *reader.log.since(since)}) if since else self.messages
        changed = self.find(asked)
        return Snapshot(
            self.info_for(user),
            array("I", [message.uid for message in changed]),
            array("Q", [reader.modseq(message) for message in changed]),
            [merged(message.flags, reader.has_seen(message.uid)) for message in changed],
            [uid for uid in touched if uid not in self.messages],
        )

    def _count(self, message: Message) -> None:
        self._unseen += SEEN not in message.flags
        if DELETED in message.flags:
            self._deleted.add(message.uid)

    def _discount(self, message: Message) -> None:
        self._unseen -= SEEN not in message.flags
        self._deleted.discard(message.uid)

    def _note(self, uid: int, modseq: int) -> None:
        self.modseq = modseq
        self._log.note(uid, modseq)


def check_uids(uids: Sequence[int], following: int) -> None:
    """Refuse UIDs that do not ascend from the one that comes next."""
    for uid in uids:
        if not following <= uid < UID_LIMIT:
            raise NumberRefused("A UID has been passed already.")
        following = uid + 1


def combine(old: Flags, change: FlagChange, flags: Flags) -> Flags:
    """Return the flags a message has after the change."""
    match change:
        case FlagChange.REPLACE:
            return flags
        case FlagChange.ADD:
            return old | flags
        case FlagChange.REMOVE:
            return old - flags
