"""One folder of a maildir: ``cur/``, ``new/`` and the files beside them.  Everything here blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Concatenate, ParamSpec, TypeVar

from twisted.logger import Logger

from mailfw.disk import Disk
from mailfw.mail.mailbox import Flags, Item
from mailfw.stores.index.ledger import Known, Numbered, Outdated, Survey
from mailfw.stores.maildir import listing
from mailfw.stores.maildir.admission import Admission, Arrival
from mailfw.stores.maildir.at_hand import look_at_hand
from mailfw.stores.maildir.content import Octets, message_at_hand, open_message
from mailfw.stores.maildir.keywords import Keywords
from mailfw.stores.maildir.listing import Names
from mailfw.stores.maildir.names import (
    base_of,
    claimed_sizes,
    email_id_of,
    has_crlf,
    letters_of,
    mark_of,
    with_letters,
)
from mailfw.stores.maildir.numbering import bring_in
from mailfw.stores.maildir.retention import Retention
from mailfw.stores.maildir.signature import GRAIN, Signature
from mailfw.stores.maildir.uidlist import Entry, UidList

log = Logger()
P = ParamSpec("P")
T = TypeVar("T")

#: How names end that have given flags, and whether that says all of them: by their end now, and when last looked for.
Ends = dict[tuple[str, str, Flags], tuple[str, bool]]


class MaildirFolder:
    """
    The messages of one folder, by the part of their files' names that never changes.

    Calls that change anything never overlap; `open` may come at any time.  `new_validity` gives a UIDVALIDITY
    to a folder without a usable list; `root` is the account's maildir; `follow` looks for the directory when another
    program has given it another name, and calls `move_to`.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        new_validity: Callable[[], int],
        root: str | None = None,
        follow: Callable[[], object] = lambda: None,
    ) -> None:
        self.disk = disk
        self.directory = directory
        self.follow = follow
        self.uidlist = UidList(disk, directory, root, follow)
        self.keywords = Keywords(disk, directory)
        self._new_validity = new_validity
        self._root = root
        self._inode = _inode(directory)
        self._guid: str | None = None
        self._names: dict[str, str] | None = None
        self._compared = False
        self._signature: Signature | None = None
        self._latest: tuple[dict[str, str], Signature] | None = None

    def guid(self) -> str:
        """Return the folder's name for life, making the list if there is none."""
        header = self.uidlist.header if self.uidlist.is_current() else self.uidlist.read_header()
        if header is None or not header.guid:
            with self.uidlist.lock():
                self._read_list()
            header = self.uidlist.header
        assert header is not None
        if self._guid not in (None, header.guid):  # another one, made in its place
            self.forget()
        self._guid = header.guid
        return header.guid

    def is_in_place(self) -> bool:
        """Whether the directory is where it was."""
        return _inode(self.directory) == self._inode

    def move_to(self, directory: str) -> None:
        """Note that the directory has another name."""
        self.directory = directory
        self.uidlist.move_to(directory)
        self.keywords.move_to(directory)

    def _read_list(self) -> dict[str, Entry]:
        entries = self.uidlist.read()
        if self.uidlist.header is None:
            self.uidlist.create(self._new_validity())
        bring_in(self, self._root, entries)
        return entries

    # ------------------------------------------------------------ what is there

    def path(self, name: str) -> str:
        """Return the path of a file by its name with ``cur/`` or ``new/``."""
        return f"{self.directory}/{name}"

    def listing(self) -> Names:
        """Return the files' names by their bases."""
        return listing.listing(self.directory)

    def _find(self, base: str) -> str | None:
        """Return the name a message has now; None if it is gone."""
        latest = self._latest  # a survey in another thread may forget it at any time
        if latest is None or not latest[1].is_settled() or not self._is_still(latest[1]):
            latest = self._latest = listing.sought(self.directory, (base,))
        return latest[0].get(base)

    def _is_still(self, signature: Signature) -> bool:
        return signature.is_same(Signature.of(self.directory))

    def reach(self, base: str, act: Callable[Concatenate[str, P], T], *args: P.args, **options: P.kwargs) -> T:
        """
        Call `act` with a message's name first, again where another program has just given it another one.

        Raises `KeyError` if it is gone.
        """
        names = self._names
        if names is None:
            names = self._names = self.listing()
            self._compared = False
        name = names.get(base) or self._find(base)
        for _ in range(3):
            if name is None:
                break
            try:
                return act(name, *args, **options)
            except FileNotFoundError:
                name = self._find(base)
        raise KeyError(base)

    def name_of(self, base: str) -> str | None:
        """Return the name a message had when it was last looked for."""
        return (self._names or {}).get(base)

    def open(self, base: str) -> Octets:
        """Open a message.  Raises `KeyError` if it is gone."""
        return self.reach(base, self.open_file)

    def at_hand(self, bases: Sequence[str]) -> list[bytes | None]:
        """Return small messages that are in memory; None says nothing of one.  This alone does not block."""
        names = self._names or {}
        return [message_at_hand(self.path(names[base]), base) if base in names else None for base in bases]

    def open_file(self, name: str) -> Octets:
        """Open a file by its name with ``cur/`` or ``new/``.  Raises `FileNotFoundError`."""
        descriptor = open_message(self.path(name))
        return Octets(descriptor, converts=not has_crlf(base_of(name), os.fstat(descriptor).st_size))

    # ------------------------------------------------------------ comparing with the index

    def is_stale(self, cursor: str | None) -> bool:
        """Whether files may have come, gone or changed names since the last survey, or since `cursor`."""
        if self._signature is None:
            self._signature = Signature.parse(cursor)
        return self._signature is None or not self._is_still(self._signature) or self._signature.may_hide_changes()

    def is_same_at_hand(self) -> bool:
        """Whether `is_stale` would say no, as far as that is in memory; True is certain.  This does not block."""
        before, place = self._signature, look_at_hand(self.directory)
        if before is None or place is None or place.st_ino != self._inode:
            return False
        now = Signature.at_hand(self.directory)
        return now is not None and before.is_same(now) and not before.may_hide_changes()

    def cursor(self, cursor: str | None) -> str | None:
        """Return what to remember for the next survey."""
        return str(self._signature) if self._signature else cursor

    def forget(self) -> None:
        """Read everything anew the next time."""
        self._signature = self._names = self._latest = self.uidlist.header = None

    def survey(self, known: Known) -> Survey:
        """Compare the folder with what the index has, and give UIDs to new files."""
        with self.uidlist.lock():
            if self.keywords.refresh():
                self._compared = False
            entries = None if self.uidlist.is_current() else self._read_list()
            header = self.uidlist.header
            assert header is not None
            if header.uid_validity != known.uid_validity:
                known = Known(header.uid_validity, (), (), ())
                entries = self._read_list() if entries is None else entries
            if entries is None and (arrived := self._arrived()) is not None:
                return self._surveyed(known, *arrived, {}, [])
            found, signature = listing.sought(self.directory, known.keys)
            moved = _renumbered(known, entries) if entries is not None else set()
            expected = set(known.keys) - moved
            new = {base: name for base, name in found.items() if base not in expected}
            changed = self._reflagged(known, found)
            gone = [base for base in known.keys if base not in found or base in moved]
            self._names, self._compared = found, True
            return self._surveyed(known, new, signature, changed, gone, entries)

    def _arrived(self) -> tuple[dict[str, str], Signature] | None:
        """
        Return the new files and a signature if nothing else has happened than that files came into ``new/``.

        None where that cannot be told, and all has to be compared.  So mail dropped into a large folder costs little.
        """
        names, before, now = self._names, self._signature, Signature.of(self.directory)
        if names is None or before is None or not self._compared:
            return None
        if now.cur != before.cur or before.looked <= before.cur / 1e9 + GRAIN:
            return None
        there = listing.listed(self.directory, "new")
        if any(name != there.get(base) for base, name in names.items() if name.startswith("new/")):
            return None
        return {base: name for base, name in there.items() if base not in names}, now

    def _surveyed(
        self,
        known: Known,
        new: Mapping[str, str],
        signature: Signature,
        changed: Mapping[str, Flags],
        gone: Sequence[str],
        entries: Mapping[str, Entry] | None = None,
    ) -> Survey:
        """Number new files, and remember what there is."""
        header, names = self.uidlist.header, self._names
        assert header is not None
        assert names is not None
        dates, given = self._number(new, entries if entries is not None or not new else self.uidlist.find(new))
        names.update(new)
        self._compact(names)
        self._signature, self._latest = signature, None
        fresh = [self._numbered(base, name, dates[base], given[base]) for base, name in new.items() if base in dates]
        fresh.sort(key=lambda message: message.uid or 0)
        return Survey(header.uid_validity, header.uid_next, fresh, changed, gone, str(signature))

    def _number(
        self, new: Mapping[str, str], entries: Mapping[str, Entry] | None
    ) -> tuple[dict[str, int], dict[str, Entry]]:
        """Give UIDs to new files in the order of their dates, and return the dates and lines of all that are there."""
        listed = {base: entry for base in new if (entry := (entries or {}).get(base)) is not None}
        dates = {base: date for base, name in new.items() if (date := self._date(name)) is not None}
        unlisted = sorted((date, base) for base, date in dates.items() if base not in listed)
        uids = self.uidlist.append([(base, {}) for _, base in unlisted]) if unlisted else []
        given = {base: Entry(uid) for (_, base), uid in zip(unlisted, uids, strict=True)}
        return dates, {**listed, **given}

    def _date(self, name: str) -> int | None:
        try:
            return int(os.stat(self.path(name), follow_symlinks=False).st_mtime)  # noqa: PTH116 -- one call
        except FileNotFoundError:
            return None

    def _numbered(self, base: str, name: str, date: int, entry: Entry) -> Numbered:
        """Return a new message; its size is what the name says, as reading all would take too long."""
        octets, with_crlf = claimed_sizes(base)
        item = Item(base, with_crlf or octets or 0, date, self.keywords.flags(letters_of(name)))
        return Numbered(item, entry.uid, email_id_of(entry.notes.get("G", base)), mark_of(base))

    def _reflagged(self, known: Known, there: Mapping[str, str]) -> dict[str, Flags]:
        """Return the messages whose letters are not those of the flags the index has."""
        suspects = set(there.items())
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

    def _compact(self, names: Mapping[str, str]) -> None:
        """Drop the lines of messages that are gone, once there are more of them than of others."""
        if self.uidlist.lines > 2 * len(names) + 1000:
            entries = self.uidlist.read()
            # A file that a listing missed would come back with another UID.
            there, signature = listing.sought(self.directory, entries)
            if signature.is_settled():
                self.uidlist.replace({base: entry for base, entry in entries.items() if base in there})

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
        except OSError as error:
            raise admission.failed(error) from error
        except BaseException:
            admission.give_up()
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
        """
        Give messages exactly these flags, as far as names can say them.

        Raises `Outdated` where another program has changed the folder since the last survey: it may have changed flags.
        """
        wanted = {flag for each in set(flags.values()) for flag in each}
        names: dict[str, str] = {}
        touched: set[str] = set()
        # Whoever reads the directory holds the lock: files with new names could be missed.
        with self.uidlist.lock():
            self.keywords.know()
            self.learn(wanted)
            ours = self.is_as_surveyed()
            if self._signature is not None and not ours:
                raise Outdated(self.directory)
            ends: Ends = {}
            for base, each in flags.items():
                try:
                    old, new, is_exact = self.reach(base, self._reflag, base, each, ends)
                except KeyError:  # it is gone
                    continue
                if old != new:
                    touched.add(old[:3])
                    touched.add(new[:3])
                if is_exact:
                    names[base] = new
            signature = Signature.of(self.directory) if ours else None
        self._sync(touched)
        self.note(names, signature)

    def _reflag(self, name: str, base: str, flags: Flags, ends: Ends) -> tuple[str, str, bool]:
        """Rename a file; returns the old name, the new one, and whether that says `flags` and no others."""
        last, behind = self.name_of(base), len("cur/") + len(base)
        there = name[behind:]
        known = there if last is None or last is name else last[behind:]
        asked = (there, known, flags)
        if asked not in ends:
            ends[asked] = self._end_after(*asked)
        end, is_exact = ends[asked]
        if name.startswith("new/") and not letters_of(end):
            return name, name, is_exact
        new = f"cur/{base}{end}"
        if new != name:
            self.disk.rename(self.path(name), self.path(new))
        return name, new, is_exact

    def _end_after(self, there: str, known: str, flags: Flags) -> tuple[str, bool]:
        """
        Return what is to be behind a name's base, and whether it says `flags` and no others.

        Letters that another program has changed since our caller made up his mind stay as they are now.
        """
        now, before = set(letters_of(there)), set(letters_of(known))
        letters = set(self._letters(flags, letters_of(known)))
        after = (now - (before - letters)) | (letters - before)
        return with_letters(there, after), after == letters

    def drop(self, bases: Sequence[str], retention: Retention | None = None) -> None:
        """Remove messages, or move them away to where they are retained."""
        ours = self.is_as_surveyed()
        away = retention.place(self.directory, map(self._name_or_nothing, bases)) if retention is not None else None
        touched = set()
        for base in bases:
            with suppress(KeyError):
                touched.add(self.reach(base, self._remove, away)[:3])
            if self._names is not None:
                self._names.pop(base, None)
        signature = Signature.of(self.directory) if ours else None
        self._sync(touched, *([away] if away is not None else []))
        self.note({}, signature)

    def _name_or_nothing(self, base: str) -> str:
        return self.name_of(base) or ""

    def _remove(self, name: str, away: str | None) -> str:
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
        return self._signature is not None and self._is_still(self._signature)

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


def _inode(directory: str) -> int | None:
    try:
        return os.stat(directory).st_ino  # noqa: PTH116 -- asked for each call
    except FileNotFoundError:
        return None
