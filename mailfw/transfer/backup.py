"""
A backup of one account: a directory of ``.eml`` files that needs nothing of ours to be read.

``backup.json`` names the account, its mailboxes and its subscriptions.  Each mailbox is a directory: a message is the
file ``<uidvalidity>.<uid>.eml``, octet for octet, dated with its internal date, and a line of ``messages.jsonl`` has
all that a file cannot have.  A line is written after its file is on stable storage, so what a run that was killed has
saved the next one finds.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from mailfw.disk import Disk
from mailfw.mail.mailbox import UID_LIMIT, Path, Role
from mailfw.transfer.account import Box, Entry, TransferRefused
from mailfw.transfer.flags import flags_of
from mailfw.transfer.journal import Journal, Line
from mailfw.transfer.shares import NO_SHARES, Shares, read_shares

MANIFEST = "backup.json"
DRAFT = f"{MANIFEST}.draft"
MESSAGES = "messages.jsonl"
FORMAT = "mailfw backup 1"

#: Characters of a mailbox's name that its directory shows; the rest of the name tells it from others.
_SHOWN = 60
#: What a message's file is called, and it and the list while they are written.
_MESSAGE = re.compile(r"[0-9]+\.[0-9]+\.eml")
_DRAFT = re.compile(rf"[0-9]+\.[0-9]+\.draft|{re.escape(MESSAGES)}\.draft")
#: The earliest and latest time that a store can keep.
_TIMES = range(-(2**63), 2**63)
_UNFIT = re.compile(r"[^\w @+=,()-]")


@dataclass(frozen=True, slots=True)
class Saved:
    """A message of a backup, which is `gone` when the account no longer had it at the last run."""

    uid_validity: int
    uid: int
    size: int
    digest: str
    received: int
    flags: frozenset[str]
    gone: bool = False

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.uid_validity}.{self.uid}.eml"

    def line(self) -> Line:
        """Return its line of the list."""
        line: Line = {"file": self.file, "uid_validity": self.uid_validity, "uid": self.uid, "size": self.size}
        line |= {"sha256": self.digest, "received": self.received, "flags": sorted(self.flags)}
        return line | {"gone": True} if self.gone else line

    def entry(self) -> Entry:
        """Return it as a message to be moved."""
        return Entry(self.uid, self.size, self.received, flags_of(self.flags), self.digest)


@dataclass(frozen=True, slots=True)
class SavedBox:
    """
    A mailbox of a backup; `key` is what the store called it.

    When a run has come to its end, `messages` are there, and the SHA-256 of their list is `list_digest`.
    """

    directory: str
    key: str
    path: Path
    role: Role | None
    subscribed: bool
    uid_validity: int
    uid_next: int
    messages: int = 0
    gone: bool = False
    list_digest: str = ""
    shares: Shares = NO_SHARES

    def line(self) -> Line:
        """Return it as the manifest has it."""
        line: Line = {"directory": self.directory, "path": list(self.path), "role": self.role and self.role.value}
        line |= {"subscribed": self.subscribed, "uid_validity": self.uid_validity, "uid_next": self.uid_next}
        line |= {"id": self.key, "messages": self.messages, "list": self.list_digest, **self.shares.line()}
        return line | {"gone": True} if self.gone else line

    def box(self) -> Box:
        """Return it as a mailbox to be moved."""
        return Box(
            self.directory, self.path, self.role, self.subscribed, self.uid_validity, self.uid_next, self.messages
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``backup.json`` says; `finished` is None while a run has not come to its end."""

    account: str
    boxes: tuple[SavedBox, ...]
    subscriptions: frozenset[Path]
    finished: int | None

    def octets(self) -> bytes:
        """Return the file."""
        written = {
            "format": FORMAT,
            "account": self.account,
            "finished": self.finished,
            "mailboxes": [box.line() for box in self.boxes],
            "subscriptions": sorted(list(path) for path in self.subscriptions),
        }
        return json.dumps(written, indent=1).encode("ascii") + b"\n"


class Backup:
    """The files of a backup.  Everything here blocks."""

    def __init__(self, disk: Disk, root: FilePath) -> None:
        self.disk = disk
        self.root = root

    def exists(self) -> bool:
        """Whether there is one."""
        return (self.root / MANIFEST).is_file()

    def has_other_files(self) -> bool:
        """Whether the directory holds what is not ours: all we may have begun is the manifest."""
        return self.root.is_dir() and any(each.name != DRAFT for each in self.root.iterdir())

    def manifest(self) -> Manifest:
        """Read what the backup is of.  Raises `TransferRefused`."""
        path = self.root / MANIFEST
        try:
            told = json.loads(path.read_bytes())
            if told["format"] != FORMAT:
                raise TransferRefused(f"{path}: {told['format']!r} is not what this mailfw writes")
            boxes = tuple(_box(each) for each in told["mailboxes"])
            subscriptions = frozenset(tuple(each) for each in told["subscriptions"])
            return Manifest(str(told["account"]), boxes, subscriptions, told["finished"])
        except OSError as reason:
            raise TransferRefused(f"{path}: {reason.strerror}; this is no backup of an account")
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as reason:
            raise TransferRefused(f"{path} cannot be read: {reason!r}")

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest, durably."""
        self.disk.make_directory(self.root)
        draft = self.root / DRAFT
        draft.unlink(missing_ok=True)
        self.disk.replace_file(self.root / MANIFEST, manifest.octets(), draft)
        self.disk.sync_directory(self.root)

    def journal(self, directory: str) -> Journal:
        """Return a mailbox's list of messages."""
        return Journal(self.disk, self.folder(directory) / MESSAGES)

    def folder(self, directory: str) -> FilePath:
        """Return a mailbox's directory.  Raises `TransferRefused` for a name that leads elsewhere."""
        if directory in ("", ".", "..") or "/" in directory or "\0" in directory:
            raise TransferRefused(f"{self.root / MANIFEST}: {directory!r} is no directory of a backup")
        folder = self.root / directory
        if folder.is_symlink():
            raise TransferRefused(f"{folder} is a link, which may lead anywhere")
        return folder

    def saved(self, directory: str) -> dict[tuple[int, int], Saved]:
        """Return the messages whose files are there, as far as their sizes can tell, by UIDVALIDITY and UID."""
        found = {each.name: each.lstat() for each in self.folder(directory).glob("*.eml")}
        sizes = {name: status.st_size for name, status in found.items() if stat.S_ISREG(status.st_mode)}
        return {key: each for key, each in self.listed(directory).items() if sizes.get(each.file) == each.size}

    def listed(self, directory: str) -> dict[tuple[int, int], Saved]:
        """Return the messages that a mailbox's list names, by UIDVALIDITY and UID."""
        lines = (_saved(line) for line in self.journal(directory).read())
        return {(each.uid_validity, each.uid): each for each in lines if each is not None}

    def list_digest(self, directory: str) -> str:
        """Return the SHA-256 of a mailbox's list, nothing where there is none."""
        path = self.folder(directory) / MESSAGES
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    def sync_list(self, directory: str) -> None:
        """Have a mailbox's list, to which lines have been added, on stable storage."""
        folder = self.folder(directory)
        if (folder / MESSAGES).is_file():
            self.disk.sync_all([str(folder / MESSAGES), str(folder)], [str(self.root)])

    def files(self, folder: FilePath) -> list[FilePath]:
        """Return the files in a directory that are messages of ours, listed or not."""
        return [each for each in folder.glob("*.eml") if _MESSAGE.fullmatch(each.name)]

    def remove(self, folder: FilePath) -> None:
        """Remove a mailbox's directory, and nothing that is not ours."""
        drafts = [each for each in folder.glob("*.draft") if _DRAFT.fullmatch(each.name)]
        for path in [*self.files(folder), *folder.glob(MESSAGES), *drafts]:
            self.disk.unlink(path)
        with suppress(OSError):
            folder.rmdir()

    def replace(self, directory: str, saved: Iterable[Saved]) -> None:
        """Write a mailbox's list anew."""
        ordered = sorted(saved, key=lambda each: (each.uid_validity, each.uid))
        self.journal(directory).replace(each.line() for each in ordered)


def _saved(line: Line) -> Saved | None:
    try:
        flags = frozenset(str(flag) for flag in line["flags"])
        numbers = (int(line["uid_validity"]), int(line["uid"]), int(line["size"]))
        saved = Saved(*numbers, str(line["sha256"]), int(line["received"]), flags, bool(line.get("gone")))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return saved if 0 < saved.uid < UID_LIMIT and saved.received in _TIMES else None


def _box(told: Any) -> SavedBox:
    path = tuple(str(name) for name in told["path"])
    role = Role(told["role"]) if told["role"] else None
    numbers = (int(told["uid_validity"]), int(told["uid_next"]), int(told.get("messages", 0)))
    if not all(0 <= number < 2**32 for number in numbers):  # RFC 3501 section 9
        raise ValueError(f"no mailbox has the numbers {numbers}")
    shares = read_shares(told) if "access" in told else NO_SHARES
    subscribed, gone, digest = bool(told["subscribed"]), bool(told.get("gone")), str(told.get("list", ""))
    return SavedBox(str(told["directory"]), str(told["id"]), path, role, subscribed, *numbers, gone, digest, shares)


def lay_out(boxes: Iterable[Box], known: Iterable[SavedBox]) -> list[SavedBox]:
    """
    Give each mailbox a directory, the one it had where the store still calls it the same; the rest is `gone`.

    A mailbox that was renamed is not saved a second time.
    """
    before = {each.key: each for each in known}
    taken = {each.directory for each in before.values()}
    laid = []
    for box in boxes:
        old = before.pop(box.key, None)
        directory = old.directory if old else next(each for each in _names(box.path) if each not in taken)
        taken.add(directory)
        laid.append(
            SavedBox(
                directory,
                box.key,
                box.path,
                box.role,
                box.subscribed,
                box.uid_validity,
                box.uid_next,
                box.messages,
                shares=old.shares if old else NO_SHARES,
            )
        )
    return laid + [replace(each, gone=True) for each in before.values()]


def _names(path: Path) -> Iterator[str]:
    """Yield names for a directory that people recognise, and every file system takes."""
    plain = "/".join(unicodedata.normalize("NFC", name) for name in path).replace("/", ".")
    shown = _UNFIT.sub("_", plain.replace(".", "=")).encode("utf-8", "replace").decode()[:_SHOWN].strip(" ")
    yield shown or "_"
    yield from (f"{shown}~{number}" for number in range(2, 1_000_000))
