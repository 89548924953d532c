"""
The file ``dovecot-uidlist``: which message of a folder has which UID.

Version 3, as Dovecot writes it: a header ``3 V<uidvalidity> N<next uid> G<mailbox guid>``, then a line
``<uid> [<letter><value> ...] :<base of the file's name>`` for each message, ascending.  Header fields and
letters that we don't know are carried through.  Lines may be appended (then ``N`` is behind and the last line
counts), all else is a new file with a later time of modification; both under ``dovecot-uidlist.lock``.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mailfw.disk import Disk
from mailfw.mail.mailbox import UID_LIMIT
from mailfw.stores.maildir.dotlock import dotlock
from mailfw.stores.maildir.names import base_of
from mailfw.stores.maildir.signature import end_of_second, identity, identity_of

NAME = "dovecot-uidlist"
#: A list whose next UID is above this is given up for a new one, with a new UIDVALIDITY: `UID_LIMIT` is near.
LAST_USABLE = UID_LIMIT - 2**20

#: Messages that are looked for one by one, rather than reading all lines.
FEW = 20

_NUMBER = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: a UID and, by letter, what else is noted of the message."""

    uid: int
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Header:
    """The first line; `others` are the fields that are not ours, unchanged."""

    uid_validity: int
    uid_next: int
    guid: str
    others: list[str] = field(default_factory=list)

    def encode(self) -> str:
        """Return the line without its end."""
        return " ".join(["3", f"V{self.uid_validity}", f"N{self.uid_next}", f"G{self.guid}", *self.others])


def parse_header(line: str) -> Header | None:
    """Read the first line, of version 3 or 1; None if it is of no use."""
    version, *words = line.split(" ")
    if version == "1" and len(words) >= 2:
        words = [f"V{words[0]}", f"N{words[1]}"]
    elif version != "3":
        return None
    fields = {word[0]: word[1:] for word in words if word}
    validity, following = fields.get("V", ""), fields.get("N", "1")
    if not _NUMBER.fullmatch(validity) or not _NUMBER.fullmatch(following) or not 0 < int(validity) < 2**32:
        return None
    if int(following) > LAST_USABLE:
        return None
    others = [word for word in words if word and word[0] not in "VNG"]
    return Header(int(validity), max(1, int(following)), fields.get("G", ""), others)


def parse_line(line: str, version: str) -> tuple[str, Entry] | None:
    """Read a message's line: the base of its name, and the rest; None if it is broken."""
    left, colon, name = line.partition(" :") if version == "3" else line.partition(" ")
    uid, *notes = left.split(" ")
    if not colon or not name or not _NUMBER.fullmatch(uid) or not 0 < int(uid) < UID_LIMIT:
        return None
    return base_of(name), Entry(int(uid), {note[0]: note[1:] for note in notes if note})


def format_line(base: str, entry: Entry) -> str:
    """Return a message's line, with its end."""
    return " ".join([str(entry.uid), *(letter + value for letter, value in entry.notes.items()), f":{base}"]) + "\n"


def listed_names(directory: str) -> set[str]:
    """Return what the files that a folder's list names were called while they were drafts.  Blocks."""
    try:
        text = Path(f"{directory}/{NAME}").read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return set()
    return {line.partition(" :")[2].partition(",")[0] for line in text.split("\n")[1:]}


class UidList:
    """
    One folder's list.  Blocks; everything but `read_header` is called with `lock` held.  `follow` looks where the
    folder is that has another name by now, and calls `move_to`.

    Keeps the header and the file's identity in memory, not the lines: those the index has.
    """

    def __init__(
        self, disk: Disk, directory: str, drafts: str | None = None, follow: Callable[[], object] | None = None
    ) -> None:
        self._disk = disk
        self._follow = follow
        self._directory = directory
        self._drafts = drafts
        self._path = f"{directory}/{NAME}"
        self._seen: tuple[int, int, int] | None = None
        self._before = 0
        self.header: Header | None = None
        self.lines = 0

    def lock(self, patience: float | None = None) -> AbstractContextManager[None]:
        """Return the lock of the list, to be held while UIDs are given and while files get other names."""
        return dotlock(self._disk, f"{self._path}.lock", patience, self._drafts, self._moved_lock)

    def _moved_lock(self) -> str:
        if self._follow is not None:
            self._follow()
        return f"{self._path}.lock"

    def move_to(self, directory: str) -> None:
        """Note that the folder has another name."""
        self._directory, self._path = directory, f"{directory}/{NAME}"

    def is_current(self) -> bool:
        """Whether nobody else has written to the file since we read or wrote it."""
        return self.header is not None and identity(self._path) == self._seen

    def read_header(self) -> Header | None:
        """Read the first line alone."""
        try:
            with Path(self._path).open("rb") as file:
                line = file.readline(4096)
        except FileNotFoundError:
            return None
        return parse_header(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))

    def read(self) -> dict[str, Entry]:
        """Read the file, by base of the names; a file without a usable header has no `header` and no lines."""
        self._seen = identity(self._path)
        text = Path(self._path).read_bytes().decode("utf-8", "surrogateescape") if self._seen else ""
        first, *rest = text.split("\n")
        self.header = parse_header(first.rstrip("\r"))
        if self.header is None:
            return {}
        whole = rest[:-1]  # what follows the last line end is a line that was never finished
        found = [each for line in whole if (each := parse_line(line.rstrip("\r"), first[:1]))]
        # A UID stays the first file's that a broken list gives it; of a file that came back the last line counts.
        base_of_uid = {entry.uid: base for base, entry in reversed(found)}
        entries = {base: entry for base, entry in found if base_of_uid[entry.uid] == base}
        highest = max((entry.uid for entry in entries.values()), default=0)
        if highest >= LAST_USABLE:
            self.header = None
            return {}
        self.header.uid_next = max(self.header.uid_next, highest + 1)
        self.lines = len(whole)
        if first[:1] != "3" or not self.header.guid or rest[-1:] not in ([""], []) or len(entries) < len(found):
            self.replace(entries)
        return entries

    def find(self, bases: Collection[str]) -> dict[str, Entry]:
        """Return the lines of these messages, in a list that is current; that new ones have none costs little."""
        if len(bases) <= FEW:
            octets = Path(self._path).read_bytes()
            if not any(b":" + base.encode("utf-8", "surrogateescape") in octets for base in bases):
                return {}
        return self.read()

    def create(self, uid_validity: int) -> None:
        """Begin a new list for a folder without one, or with one that cannot be read."""
        self.header = Header(uid_validity, 1, secrets.token_hex(16))
        self.replace({})

    @property
    def path(self) -> str:
        """Where the file is."""
        return self._path

    def append(self, messages: Sequence[tuple[str, Mapping[str, str]]]) -> list[int]:
        """Give UIDs to messages, in order; on stable storage when this returns."""
        uids = self.add(messages)
        try:
            self._disk.sync_all([self._path], [self._directory])
        except OSError:
            self.take_back()
            raise
        return uids

    def add(
        self, messages: Sequence[tuple[str, Mapping[str, str]]], wishes: Sequence[int | None] | None = None
    ) -> list[int]:
        """
        Give UIDs to messages, in order, those of `wishes` where they are some; they ascend from the next one on.

        Whoever asks syncs the file, and tells nobody of them before.
        """
        assert self.header is not None
        following, uids = self.header.uid_next, []
        for wish in wishes or [None] * len(messages):
            uids.append(following if wish is None else wish)
            following = uids[-1] + 1
        lines = [format_line(base, Entry(uid, notes)) for uid, (base, notes) in zip(uids, messages, strict=True)]
        self._write("".join(lines).encode("utf-8", "surrogateescape"))
        self.header.uid_next = following
        self.lines += len(messages)
        return uids

    def _write(self, octets: bytes) -> None:
        descriptor = self._disk.append(self._path)
        try:
            size = os.fstat(descriptor).st_size
            try:
                self._disk.write(descriptor, octets)
            except OSError:
                # Half a line would spoil the line that comes next.
                self._disk.truncate(descriptor, size)
                raise
            self._before = size
            self._seen = identity_of(os.fstat(descriptor))
        finally:
            self._disk.close(descriptor)

    def take_back(self) -> None:
        """Undo the last `add`; the list is to be read again before it is used."""
        self.header = None
        descriptor = self._disk.append(self._path)
        try:
            self._disk.truncate(descriptor, self._before)
        finally:
            self._disk.close(descriptor)

    def renumber(self, uid_validity: int, uid_next: int) -> None:
        """Give the folder another UIDVALIDITY, and the next UID; what is in it keeps its UIDs."""
        entries = self.read()
        assert self.header is not None
        self.header.uid_validity = uid_validity
        self.header.uid_next = max(uid_next, self.header.uid_next)
        self.replace(entries)

    def replace(self, entries: Mapping[str, Entry]) -> None:
        """Write the file anew with these lines."""
        assert self.header is not None
        self.header.guid = self.header.guid or secrets.token_hex(16)
        ordered = sorted(entries.items(), key=lambda item: item[1].uid)
        text = self.header.encode() + "\n" + "".join(format_line(base, entry) for base, entry in ordered)
        before = identity(self._path)
        draft = f"{self._path}.{os.getpid()}.tmp"
        Path(draft).unlink(missing_ok=True)
        octets = text.encode("utf-8", "surrogateescape")
        self._disk.replace_file(self._path, octets, draft, end_of_second(before))
        self._disk.sync_directory(self._directory)
        self._seen = identity(self._path)
        self.lines = len(ordered)
