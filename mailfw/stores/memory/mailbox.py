"""One mailbox: its messages by UID, its counts, and the log of what changed."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailfw.mail.mailbox import DELETED, SEEN, Flags, MailboxInfo, Path, Role, Row, Snapshot, Want
from mailfw.mail.summary import Summary

#: A log shorter than this is not worth shortening.
SHORT_LOG = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """What never changes of a message, shared by all its copies."""

    email_id: str
    octets: bytes
    summary: Summary
    received: int


@dataclass(slots=True)
class Message:
    """A letter in a mailbox; only a `Mailbox` may assign to it."""

    uid: int
    modseq: int
    flags: Flags
    letter: Letter
    token: str | None = None

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

    def find(self, uids: Iterable[int]) -> list[Message]:
        """Return those of the messages that are here, in the order asked for."""
        messages = self.messages
        return [messages[uid] for uid in uids if uid in messages]

    def add(self, letter: Letter, flags: Flags, modseq: int, token: str | None = None) -> Message:
        """Put a letter at the end, with the next UID."""
        message = Message(self.uid_next, modseq, flags, letter, token)
        self.uid_next += 1
        self.messages[message.uid] = message
        if token is not None:
            self.tokens[token] = message
        self.size += len(letter.octets)
        self._count(message)
        self._note(message.uid, modseq)
        return message

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
