"""A client that believes exactly what it is told, and notices what it must never be told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailfw.mail.mailbox import Flags
from mailfw.testing.dialogue import Dialogue
from tests.imap.sessions import ANN

_FETCH = re.compile(rb"\* (\d+) (UID)?FETCH \((.*)\)\Z", re.DOTALL)
_VANISHED = re.compile(rb"\* VANISHED( \(EARLIER\))? ([0-9:,]+)\Z")
_STATUS = re.compile(rb"\* STATUS (\S+) \(MESSAGES (\d+)")
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|RECENT|EXPUNGE)\Z")
_CODE = re.compile(rb"(?:\*|\S+) OK \[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ|MODIFIED|CLOSED|UNSEEN)(?: ([0-9:,]+))?\]")
_LITERAL = re.compile(rb"\{(\d+)\}\Z")


class Untrue(AssertionError):
    """The client was told what cannot be."""


@dataclass(slots=True)
class Told:
    """What the client has heard of one message: None is what it has not."""

    uid: int | None = None
    flags: Flags | None = None
    modseq: int | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """What a client keeps of a mailbox when it goes: `is_whole` says that it knew each message there was."""

    account: str
    mailbox: str
    uid_validity: int
    modseq: int
    flags: dict[int, Flags]
    is_whole: bool
    numbers: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Selected:
    """A mailbox as the client believes it to be."""

    mailbox: str
    messages: list[Told] = field(default_factory=list)
    uid_validity: int = 0
    highest: int = 0
    #: What was heard with (EARLIER), and of messages, since SELECT began.
    earlier: set[int] = field(default_factory=set)
    fetched: dict[int, Flags] = field(default_factory=dict)

    def named(self, bits: int, by_uid: bool) -> str | None:
        """Return a set of messages, a bit for each; all bits are all messages."""
        names = [told.uid if by_uid else number for number, told in enumerate(self.messages, 1)]
        if bits == 255 and (by_uid or names):
            return "1:*"
        return ",".join(str(name) for at, name in enumerate(names) if name is not None and bits >> at % 8 & 1) or None

    def concerned(self, bits: int, by_uid: bool) -> list[Told]:
        """Return what is known of these messages."""
        chosen = [told for at, told in enumerate(self.messages) if bits == 255 or bits >> at % 8 & 1]
        return [told for told in chosen if told.uid is not None or not by_uid]


def now(coroutine: Any) -> Any:
    """Return the result of a coroutine that never has to wait."""
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if not results:
        raise AssertionError("it waits")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def numbers_in(text: bytes) -> list[int]:
    """Return the numbers of a set without ``*``."""
    found: list[int] = []
    for part in text.split(b","):
        low, _, high = part.partition(b":")
        found.extend(range(int(low), int(high or low) + 1))
    return found


class Believer:
    """One connection, and what its client believes."""

    def __init__(self, dialogue: Dialogue, account: str = ANN) -> None:
        self._dialogue = dialogue
        self.account = account
        self._tag = 0
        self.enabled: set[str] = set()
        self.selected: Selected | None = None
        self.idling = False
        self.highest_seen = 0
        #: The set of MODIFIED in the last tagged response.
        self.modified: list[int] = []
        #: What NOTIFY has asked for, and how many messages STATUS has told since of mailboxes that are not selected.
        self.wishes = ""
        self.elsewhere: dict[str, int] = {}
        self.ask(f"LOGIN {account} secret")

    @property
    def closed(self) -> bool:
        """Whether the server has gone."""
        return self._dialogue.closed

    @property
    def knows_modseqs(self) -> bool:
        """Whether modification sequences are told."""
        return not self.enabled.isdisjoint({"CONDSTORE", "QRESYNC"})

    @property
    def hears_vanished(self) -> bool:
        """Whether VANISHED comes in the place of EXPUNGE."""
        return not self.enabled.isdisjoint({"QRESYNC", "UIDONLY"})

    @property
    def hears_expunges(self) -> bool:
        """Whether NOTIFY has asked for what happens in the selected mailbox, expunges too, at once."""
        return "(SELECTED (" in self.wishes

    def ask(self, command: str, literal: bytes | None = None) -> tuple[str, list[bytes]]:
        """Give a command; believe the answer; return its status and its lines."""
        self._tag += 1
        tag = b"t%d" % self._tag
        octets = tag + b" " + command.encode()
        if literal is not None:
            octets += b" {%d+}\r\n%b" % (len(literal), literal)
        self._dialogue.say(octets + b"\r\n")
        lines = self.lines()
        words = command.upper().split()
        no_expunges = words[0] in ("FETCH", "STORE", "SEARCH")
        unasked: list[bytes] = []
        for at, line in enumerate(lines):
            self.believe(line, no_expunges, words)
            if line.startswith(tag + b" "):
                lines, unasked = lines[: at + 1], lines[at + 1 :]
                break
        self._hear(unasked)
        if self.closed:
            return "BYE", lines
        if not lines or not lines[-1].startswith(tag + b" "):
            raise Untrue(f"{command!r} was not answered: {lines!r}")
        found = _CODE.match(lines[-1])
        self.modified = numbers_in(found[2]) if found is not None and found[1] == b"MODIFIED" else []
        return lines[-1].split()[1].decode(), lines

    def listen(self) -> None:
        """Hear what comes unasked: only in IDLE, and after NOTIFY, is that anything."""
        self._hear(self.lines())

    def _hear(self, lines: list[bytes]) -> None:
        for line in lines:
            if not self.idling and not self.wishes and not line.startswith(b"* BYE"):
                raise Untrue(f"heard unasked: {line!r}")
            self.believe(line, not self.idling and not self.hears_expunges, ["IDLE"])

    def begin_idle(self) -> None:
        """IDLE."""
        self._tag += 1
        self._dialogue.say(b"t%d IDLE\r\n" % self._tag)
        self.idling = True
        lines = self.lines()
        if not self.closed and b"+ idling" not in lines:
            raise Untrue(f"IDLE: {lines!r}")
        for line in lines:
            if line != b"+ idling":
                self.believe(line, False, ["IDLE"])

    def end_idle(self) -> None:
        """DONE."""
        self._dialogue.say(b"DONE\r\n")
        for line in self.lines():
            self.believe(line, False, ["IDLE"])
        self.idling = False

    def lines(self) -> list[bytes]:
        """Return the responses that have come, a literal and what follows it with the line that announced it."""
        octets, lines, at = self._dialogue.hear(), [], 0
        while at < len(octets):
            end = octets.index(b"\r\n", at)
            line = octets[at:end]
            while (found := _LITERAL.search(line)) is not None:
                begin = end + 2 + int(found[1])
                end = octets.index(b"\r\n", begin)
                line = line[: found.start()] + octets[begin:end]
            lines.append(line)
            at = end + 2
        return lines

    # ------------------------------------------------------------ believing

    def believe(self, line: bytes, no_expunges: bool, words: list[str]) -> None:
        """Take in one response."""
        if line.startswith(b"* ENABLED"):
            self.enabled.update(line.decode().upper().split()[2:])
        if "IMAP4REV2" in self.enabled and (b"\\Recent" in line or line.endswith(b" RECENT")):
            raise Untrue(f"RECENT in IMAP4rev2: {line!r}")
        if (status := _STATUS.match(line)) is not None:
            self.elsewhere[status[1].decode()] = int(status[2])
        elif line.startswith(b"* LIST"):
            self.elsewhere.clear()
        if (code := _CODE.match(line)) is not None:
            self._code(code)
        here = self.selected
        if (numbered := _NUMBERED.match(line)) is not None:
            if here is None:
                raise Untrue(f"no mailbox is selected: {line!r}")
            self._numbered(here, int(numbered[1]), numbered[2], no_expunges)
        elif (vanished := _VANISHED.match(line)) is not None:
            if here is None or not self.hears_vanished or (no_expunges and not vanished[1]):
                raise Untrue(f"not now: {line!r}")
            self._vanished(here, numbers_in(vanished[2]), vanished[1] is not None)
        elif (fetch := _FETCH.match(line)) is not None:
            if here is None or (fetch[2] is None) == ("UIDONLY" in self.enabled):
                raise Untrue(f"not so: {line!r}")
            self._fetched(here, int(fetch[1]), fetch[2] is not None, fetch[3], words)

    def _code(self, code: re.Match[bytes]) -> None:
        here = self.selected
        if here is None or code[2] is None:
            return
        if code[1] == b"UIDVALIDITY":
            here.uid_validity = int(code[2])
        elif code[1] == b"HIGHESTMODSEQ":
            if int(code[2]) < here.highest:
                raise Untrue(f"HIGHESTMODSEQ fell from {here.highest}: {code[0]!r}")
            here.highest = int(code[2])
        elif code[1] == b"UNSEEN" and not self.enabled.isdisjoint({"UIDONLY", "IMAP4REV2"}):
            raise Untrue("UNSEEN in IMAP4rev2")

    def _numbered(self, here: Selected, number: int, word: bytes, no_expunges: bool) -> None:
        if word == b"EXISTS":
            if number < len(here.messages):
                raise Untrue(f"{number} EXISTS where there were {len(here.messages)}")
            here.messages += [Told() for _ in range(number - len(here.messages))]
        elif word == b"EXPUNGE":
            if no_expunges or self.hears_vanished or not 1 <= number <= len(here.messages):
                raise Untrue(f"{number} EXPUNGE of {len(here.messages)}")
            del here.messages[number - 1]

    def _vanished(self, here: Selected, uids: list[int], earlier: bool) -> None:
        known = {told.uid for told in here.messages} - {None}
        if earlier:
            if not known.isdisjoint(uids):
                raise Untrue(f"{known.intersection(uids)} vanished earlier, and are here")
            here.earlier.update(uids)
            return
        for uid in uids:
            here.messages.pop(self._place(here, uid))
            here.fetched.pop(uid, None)

    def _place(self, here: Selected, uid: int) -> int:
        """
        Return where a message is, or one of those that it could be, for all that the client knows.

        What it was told of those by number it then no longer knows to be of which.
        """
        if uid not in [told.uid for told in here.messages]:
            for told in here.messages:
                if told.uid is None:
                    told.flags = told.modseq = None
        if "UIDONLY" in self.enabled:  # places mean nothing
            uids = [told.uid for told in here.messages]
            for each in (uid, None):
                if each in uids:
                    return uids.index(each)
            raise Untrue(f"UID {uid}, which is not here: {here.messages!r}")
        after = 0
        for place, told in enumerate(here.messages):
            if told.uid == uid:
                return place
            if told.uid is not None and told.uid > uid:
                break
            after = place
        if here.messages and here.messages[after].uid is None:
            return after
        raise Untrue(f"UID {uid} vanished, which was not here: {here.messages!r}")

    def _fetched(self, here: Selected, number: int, by_uid: bool, items: bytes, words: list[str]) -> None:
        uid = _number(rb"\bUID (\d+)", items)
        told = self._told_of_uid(here, number) if by_uid else self._told_of_number(here, number)
        if uid is not None:
            told.uid = uid
        elif not by_uid and self.hears_vanished and "FETCH" not in words and words[0] != "STORE":
            raise Untrue(f"no UID: {items!r}")
        uids = [each.uid for each in here.messages if each.uid is not None]
        if uids != sorted(set(uids)) and "UIDONLY" not in self.enabled:
            raise Untrue(f"UIDs do not ascend: {uids}")
        if (flags := re.search(rb"\bFLAGS \(([^)]*)\)", items)) is not None:
            told.flags = frozenset(flags[1].decode().split()) - {"\\Recent"}
            if told.uid is not None:
                here.fetched[told.uid] = told.flags
        modseq = _number(rb"\bMODSEQ \((\d+)\)", items)
        if modseq is not None:
            if modseq < (told.modseq or 1):
                raise Untrue(f"MODSEQ fell from {told.modseq}: {items!r}")
            told.modseq = modseq
            self.highest_seen = max(self.highest_seen, modseq)
        elif self.knows_modseqs and flags is not None and "FETCH" not in words and words[0] != "ENABLE":
            raise Untrue(f"no MODSEQ: {items!r} after {words}")

    def _told_of_number(self, here: Selected, number: int) -> Told:
        if not 1 <= number <= len(here.messages):
            raise Untrue(f"message {number} of {len(here.messages)}")
        return here.messages[number - 1]

    def _told_of_uid(self, here: Selected, uid: int) -> Told:
        """Find a message by UID; one that is not known is one of those of which nothing is."""
        for told in here.messages:
            if told.uid == uid:
                return told
        told = here.messages[self._place(here, uid)]
        told.uid = uid
        return told

    # ------------------------------------------------------------ keeping

    def assume_stored(
        self,
        here: Selected,
        concerned: list[Told],
        before: dict[int, tuple[int | None, Flags | None]],
        change: str,
        flags: Flags,
    ) -> None:
        """
        After a silent STORE assume what was not told: all that was not MODIFIED is as it was said.

        `before` has how the command named each message, and its flags of then.
        """
        still_here = {id(told) for told in here.messages}
        for told in concerned:
            name, old = before[id(told)]
            if id(told) not in still_here or name in self.modified or told.flags != old:
                continue
            if not change:
                told.flags = flags
            elif old is not None:
                told.flags = old | flags if change == "+" else old - flags
            if told.uid is not None and told.flags is not None:
                here.fetched[told.uid] = told.flags

    def cache(self, modseq: int) -> Cache | None:
        """Return what a client could keep of the selected mailbox."""
        here = self.selected
        if here is None or not here.uid_validity or not modseq:
            return None
        flags = {told.uid: told.flags for told in here.messages if told.uid is not None and told.flags is not None}
        numbers = {place: told.uid for place, told in enumerate(here.messages, 1) if told.uid is not None}
        return Cache(
            self.account, here.mailbox, here.uid_validity, modseq, flags, len(flags) == len(here.messages), numbers
        )


def _number(pattern: bytes, items: bytes) -> int | None:
    found = re.search(pattern, items)
    return int(found[1]) if found is not None else None
