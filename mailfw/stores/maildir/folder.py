"""One folder of a maildir: ``cur/``, ``new/`` and the files beside them.  Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.mail.mailbox import Flags, Item
from mailfw.stores.index.ledger import Known, Numbered, Survey
from mailfw.stores.maildir.admission import Admission, Arrival
from mailfw.stores.maildir.content import Octets, open_message
from mailfw.stores.maildir.keywords import Keywords
from mailfw.stores.maildir.names import (
    base_of,
    claimed_sizes,
    email_id_of,
    is_message,
    letters_of,
    mark_of,
    with_letters,
)
from mailfw.stores.maildir.retention import Retention
from mailfw.stores.maildir.signature import Signature
from mailfw.stores.maildir.uidlist import Entry, UidList

log = Logger()
T = TypeVar("T")

#: How often a listing is taken again because files were renamed under it (a directory's reader may miss those).
LISTINGS = 10


class MaildirFolder:
    """
    The messages of one folder, by the part of their files' names that never changes.

    Calls that change anything never overlap; `open` may come at any time.  `new_validity` gives a UIDVALIDITY
    to a folder without a usable list; `root` is the account's maildir.
    """

    def __init__(self, disk: Disk, directory: str, new_validity: Callable[[], int], root: str | None = None) -> None:
        self.disk = disk
        self.directory = directory
        self.uidlist = UidList(disk, directory, root)
        self.keywords = Keywords(disk, directory)
        self._new_validity = new_validity
        self._names: dict[str, str] | None = None
        self._compared = False
        self._signature: Signature | None = None

    def guid(self) -> str:
        """Return the folder's name for life, making the list if there is none."""
        header = self.uidlist.header or self.uidlist.read_header()
        if header is None or not header.guid:
            with self.uidlist.lock():
                self._read_list()
            header = self.uidlist.header
        assert header is not None
        return header.guid

    def _read_list(self) -> dict[str, Entry]:
        entries = self.uidlist.read()
        if self.uidlist.header is None:
            self.uidlist.create(self._new_validity())
        return entries

    # ------------------------------------------------------------ what is there

    def path(self, name: str) -> str:
        """Return the path of a file by its name with ``cur/`` or ``new/``."""
        return f"{self.directory}/{name}"

    def listing(self) -> dict[str, str]:
        """Return the files' names by their bases.  A file on its way from ``new`` to ``cur`` is seen in one of them."""
        found: dict[str, str] = {}
        for subdirectory in ("new", "cur"):
            with os.scandir(f"{self.directory}/{subdirectory}") as entries:
                for entry in entries:
                    if is_message(entry.name) and entry.is_file(follow_symlinks=False):
                        found[base_of(entry.name)] = f"{subdirectory}/{entry.name}"
        return found

    def _stable_listing(self) -> tuple[dict[str, str], Signature]:
        before = Signature.of(self.directory)
        listing = self.listing()
        for _ in range(LISTINGS):
            after = Signature.of(self.directory)
            if after.is_same(before):
                break
            # What one reading missed the other has; what is truly gone the next survey finds.
            before, listing = after, {**listing, **self.listing()}
        return listing, before

    def reach(self, base: str, act: Callable[[str], T]) -> T:
        """
        Call `act` with a message's name, again where another program has just given it another one.

        Raises `KeyError` if it is gone.
        """
        names = self._names
        if names is None:
            names = self._names = self.listing()
            self._compared = False
        name = names.get(base)
        for _ in range(3):
            if name is not None:
                with suppress(FileNotFoundError):
                    return act(name)
            name = self.listing().get(base)
            if name is None:
                break
        raise KeyError(base)

    def name_of(self, base: str) -> str | None:
        """Return the name a message had when it was last looked for."""
        return (self._names or {}).get(base)

    def open(self, base: str) -> Octets:
        """Open a message.  Raises `KeyError` if it is gone."""
        return self.reach(base, self._open)

    def _open(self, name: str) -> Octets:
        descriptor = open_message(self.path(name))
        size = os.fstat(descriptor).st_size
        # Both sizes the same, and true: every line ends with CRLF, or came to us without.
        return Octets(descriptor, converts=claimed_sizes(base_of(name)) != (size, size))

    # ------------------------------------------------------------ comparing with the index

    def is_stale(self, cursor: str | None) -> bool:
        """Whether files may have come, gone or changed names since the last survey, or since `cursor`."""
        if self._signature is None:
            self._signature = Signature.parse(cursor)
        return (
            self._signature is None
            or not self._signature.is_same(Signature.of(self.directory))
            or (self._signature.may_hide_changes())
        )

    def cursor(self, cursor: str | None) -> str | None:
        """Return what to remember for the next survey."""
        return str(self._signature) if self._signature else cursor

    def forget(self) -> None:
        """Read everything anew the next time."""
        self._signature = self._names = self.uidlist.header = None

    def survey(self, known: Known) -> Survey:
        """Compare the folder with what the index has, and give UIDs to new files."""
        with self.uidlist.lock():
            entries = None if self.uidlist.is_current() else self._read_list()
            header = self.uidlist.header
            assert header is not None
            if header.uid_validity != known.uid_validity:
                known = Known(header.uid_validity, (), (), ())
                entries = self._read_list() if entries is None else entries
            if self.keywords.refresh():
                self._compared = False
            listing, signature = self._stable_listing()
            moved = _renumbered(known, entries) if entries is not None else set()
            expected = set(known.keys) - moved
            new = [base for base in listing if base not in expected]
            if new and entries is None:
                entries = self._read_list()
            fresh = self._number(new, listing, entries or {})
            changed = self._reflagged(known, listing)
            self._compact(listing)
        self._names, self._signature, self._compared = listing, signature, True
        gone = [base for base in known.keys if base not in listing or base in moved]
        return Survey(header.uid_validity, header.uid_next, fresh, changed, gone, str(signature))

    def _number(self, bases: Iterable[str], listing: Mapping[str, str], entries: Mapping[str, Entry]) -> list[Numbered]:
        items = sorted(
            filter(None, (self._item(base, listing[base]) for base in bases)), key=lambda i: (i.received, i.key)
        )
        listed = [item for item in items if item.key in entries]
        new = [item for item in items if item.key not in entries]
        uids = self.uidlist.append([(item.key, {}) for item in new]) if new else []
        numbered = [_numbered(item, entries[item.key].uid, entries[item.key].notes) for item in listed]
        numbered += [_numbered(item, uid, {}) for item, uid in zip(new, uids, strict=True)]
        return sorted(numbered, key=lambda message: message.uid or 0)

    def _item(self, base: str, name: str) -> Item | None:
        """Return what a new file is; None, and a line in the log, if it cannot be read."""
        try:
            octets = self._open(name)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warn("{path} cannot be read and is left out: {error}", path=self.path(name), error=error)  # noqa: G010 -- of Twisted
            return None
        try:
            received = int(os.stat(self.path(name), follow_symlinks=False).st_mtime)  # noqa: PTH116 -- one call
        except FileNotFoundError:
            return None
        finally:
            octets.close()
        return Item(base, octets.size, received, self.keywords.flags(letters_of(name)))

    def _reflagged(self, known: Known, listing: Mapping[str, str]) -> dict[str, Flags]:
        """Return the messages whose letters are not those of the flags the index has."""
        suspects = set(listing.items())
        if self._compared and self._names is not None:
            suspects -= set(self._names.items())
        if not suspects:
            return {}
        flags_of = dict(zip(known.keys, known.flags, strict=True))
        changed: dict[str, Flags] = {}
        for base, name in suspects:
            flags = flags_of.get(base)
            if flags is not None and self._letters(flags, letters_of(name)) != "".join(sorted(letters_of(name))):
                unwritten = frozenset(flag for flag in flags if not self.keywords.has(flag))
                changed[base] = self.keywords.flags(letters_of(name)) | unwritten
        return changed

    def _letters(self, flags: Flags, letters: str) -> str:
        """Return the letters for flags, and those of `letters` that we don't know."""
        return "".join(sorted(self.keywords.letters(flags) + self.keywords.strange(letters)))

    def _compact(self, listing: Mapping[str, str]) -> None:
        """Drop the lines of messages that are gone, once there are more of them than of others."""
        if self.uidlist.lines > 2 * len(listing) + 1000:
            self.uidlist.replace({base: entry for base, entry in self.uidlist.read().items() if base in listing})

    # ------------------------------------------------------------ changing

    def admit(self, arrivals: Sequence[Arrival]) -> list[int]:
        """
        Let files into the folder and number them, all or none; on stable storage when this returns.

        The lock is held throughout, so that no other program numbers them first.  Raises `Outdated` when one
        has given UIDs here since the last survey.
        """
        admission = Admission(self, arrivals)
        admission.begin()
        try:
            self.disk.sync_all(admission.paths, [self.directory])
        except OSError:
            admission.roll_back()
            raise
        return admission.commit()

    def name_for(self, arrival: Arrival) -> str:
        """Return what a file is called here: without flags it is new to every program, with flags some have seen it."""
        letters = self.keywords.letters(arrival.flags)
        return "cur/" + with_letters(arrival.base, letters) if letters else f"new/{arrival.base}"

    def learn(self, flags: Iterable[str]) -> None:
        """See to it that names can say these flags, as far as there are letters."""
        wanted = set(flags)
        if self.keywords.lacks(wanted):
            self.keywords.refresh()
            self.keywords.learn(wanted)

    def set_flags(self, flags: Mapping[str, Flags]) -> None:
        """Give messages exactly these flags, as far as names can say them."""
        wanted = {flag for each in flags.values() for flag in each}
        self.keywords.know()
        if self.keywords.lacks(wanted):
            with self.uidlist.lock():
                self.learn(wanted)
        ours = self.is_as_surveyed()
        names: dict[str, str] = {}
        touched: set[str] = set()
        for base, each in flags.items():
            with suppress(KeyError):
                old, names[base] = self.reach(base, lambda name, each=each: self._reflag(name, each))  # type: ignore[misc] # mypy cannot infer a lambda with a default
                touched |= {old[:3], names[base][:3]} if old != names[base] else set()
        signature = Signature.of(self.directory) if ours else None
        self._sync(touched)
        self.note(names, signature)

    def _reflag(self, name: str, flags: Flags) -> tuple[str, str]:
        letters = self._letters(flags, letters_of(name))
        if name.startswith("new/") and not letters:
            return name, name
        new = "cur/" + with_letters(name[4:], letters)
        if new != name:
            self.disk.rename(self.path(name), self.path(new))
        return name, new

    def drop(self, bases: Sequence[str], retention: Retention | None = None) -> None:
        """Remove messages, or move them away to where they are retained."""
        ours = self.is_as_surveyed()
        away = retention.place(self.directory, map(self._name_or_nothing, bases)) if retention is not None else None
        touched = set()
        for base in bases:
            with suppress(KeyError):
                touched.add(self.reach(base, partial(self._remove, away))[:3])
            if self._names is not None:
                self._names.pop(base, None)
        signature = Signature.of(self.directory) if ours else None
        self._sync(touched, *([away] if away is not None else []))
        self.note({}, signature)

    def _name_or_nothing(self, base: str) -> str:
        return self.name_of(base) or ""

    def _remove(self, away: str | None, name: str) -> str:
        if away is None:
            self.disk.unlink(self.path(name))
        else:
            self.disk.rename(self.path(name), f"{away}/{name[4:]}")
        return name

    def released(self, bases: Iterable[str], ours: bool) -> None:
        """Note that messages were moved away, by their files' being renamed."""
        for base in bases:
            if self._names is not None:
                self._names.pop(base, None)
        signature = Signature.of(self.directory) if ours else None
        self._sync({"cur", "new"})
        self.note({}, signature)

    def _sync(self, subdirectories: Iterable[str], *others: str) -> None:
        self.disk.sync_all([*(self.path(each) for each in sorted(subdirectories)), *others], [self.directory])

    def is_as_surveyed(self) -> bool:
        """Whether nobody has touched the folder's files since the last survey or our own last change."""
        return self._signature is not None and self._signature.is_same(Signature.of(self.directory))

    def note(self, names: Mapping[str, str], signature: Signature | None) -> None:
        """Remember our own change, so that it does not look like another program's; None if others made some too."""
        if self._names is not None:
            self._names.update(names)
        if signature is not None:
            self._signature = signature


def _renumbered(known: Known, entries: Mapping[str, Entry]) -> set[str]:
    """Return the messages whose UID is another one now, or none."""
    return {
        base
        for base, uid in zip(known.keys, known.uids, strict=True)
        if (entry := entries.get(base)) is None or entry.uid != uid
    }


def _numbered(item: Item, uid: int, notes: Mapping[str, str]) -> Numbered:
    return Numbered(item, uid, email_id_of(notes.get("G", item.key)), mark_of(item.key))
