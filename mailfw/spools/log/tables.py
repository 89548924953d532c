"""The backlog's tables, and how the next of a million messages is found: all of it runs in the backlog's thread."""

from __future__ import annotations

import errno
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twisted.logger import Logger

from mailfw.disk import Disk, is_full
from mailfw.mail.failure import NoSpace
from mailfw.mail.queued import Queued, Unreadable, decode, encode
from mailfw.spools.log.names import key_of

log = Logger()

T = TypeVar("T")

_VERSION = 1
_SCHEMA = """
-- `file` is the message's file in large/, which follows the octets from `start` on.
CREATE TABLE messages (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, state BLOB NOT NULL, file TEXT, start INTEGER
);
CREATE INDEX messages_file ON messages (file) WHERE file IS NOT NULL;
-- Apart from their states, so that a walk through those does not pass through these.
CREATE TABLE contents (number INTEGER PRIMARY KEY, octets BLOB NOT NULL);
-- Which messages are out: they have no legs.
CREATE TABLE taken (number INTEGER PRIMARY KEY);
-- Where messages go, and there, by urgency, what waits and since when the first is due.
CREATE TABLE routes (number INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE legs (
    route INTEGER NOT NULL, urgency INTEGER NOT NULL, due REAL NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (route, urgency, due, number)
) WITHOUT ROWID;
CREATE TABLE lanes (
    route INTEGER NOT NULL, urgency INTEGER NOT NULL, due REAL NOT NULL, PRIMARY KEY (route, urgency)
) WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes (due, route, urgency);
"""

#: The route of what has a report to be sent: no destination, so nothing passes it over.
_OWED = ""
#: Numbers of routes that are remembered.
_ROUTES = 10_000
#: Messages that are looked at in vain, for one destination and one `take`: those going to several may have to wait for
#: another of theirs.
_IN_VAIN = 100

Lane = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message's octets, as the tables have them."""

    octets: bytes
    file: str | None = None
    start: int | None = None


@contextmanager
def _as_disk_error(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into `NoSpace` and `OSError`."""
    try:
        yield
    except sqlite3.Error as error:
        if is_full(error):
            raise NoSpace("The disk is full") from error
        raise OSError(errno.EIO, f"{path}: {error}") from error


class Tables:
    """One connection to the backlog's database.  Raises `NoSpace` and `OSError`; nothing has changed then."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._routes: dict[str, int] = {}
        self._touched: set[Lane] = set()
        self._unreadable: list[int] = []
        with _as_disk_error(path):
            self._database = disk.connect(path)
            self._prepare()

    def _prepare(self) -> None:
        run = self._database.execute
        (version,) = run("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise OSError(errno.EINVAL, f"{self._path} was written by another version of mailfw")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_size = -16384")
        run("PRAGMA wal_autocheckpoint = 2000")
        run("PRAGMA journal_size_limit = 67108864")
        if not version:
            self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    def close(self) -> None:
        """Let go of the database."""
        with _as_disk_error(self._path):
            self._database.close()

    # ------------------------------------------------------------ transactions

    def change(self, work: Callable[[], T], durably: bool = True) -> T:
        """Do `work` in one transaction; without `durably` it survives the process, not a power failure."""
        run = self._database.execute
        with _as_disk_error(self._path):
            try:
                run(f"PRAGMA synchronous = {'FULL' if durably else 'NORMAL'}")
                run("BEGIN IMMEDIATE")
                done = work()
                self._refresh_lanes()
                self._disk.commit(self._database)
            except BaseException:
                self._touched.clear()
                self._routes.clear()
                if self._database.in_transaction:
                    run("ROLLBACK")
                raise
        return done

    def read(self, work: Callable[[], T]) -> T:
        """Do `work`, which only reads."""
        with _as_disk_error(self._path):
            return work()

    # ------------------------------------------------------------ single messages, within `change`

    def add(self, queued: Queued, stored: Stored, is_out: bool) -> bool:
        """Keep a message, and whether it was new."""
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO messages (id, state, file, start) VALUES (?, ?, ?, ?)",
            (key_of(queued.id), encode(queued), stored.file, stored.start),
        )
        if not cursor.rowcount:
            return False
        number = int(cursor.lastrowid or 0)
        self._database.execute("INSERT INTO contents VALUES (?, ?)", (number, stored.octets))
        if is_out:
            self._database.execute("INSERT INTO taken VALUES (?)", (number,))
        else:
            self._enter(number, queued)
        return True

    def record(self, queued: Queued, is_back: bool) -> None:
        """Write a message's state, and let it wait if it `is_back`."""
        found = self._find(queued.id)
        if found is None:
            return
        number, state, is_out = found
        self._database.execute("UPDATE messages SET state = ? WHERE number = ?", (encode(queued), number))
        if not is_out:
            self._withdraw(number, state)
            self._enter(number, queued)
        elif is_back:
            self._database.execute("DELETE FROM taken WHERE number = ?", (number,))
            self._enter(number, queued)

    def remove(self, name: str) -> tuple[bool, str | None]:
        """Forget a message: whether it was there, and its file, which may go once this is committed."""
        found = self._find(name)
        if found is None:
            return False, None
        number, state, is_out = found
        if is_out:
            self._database.execute("DELETE FROM taken WHERE number = ?", (number,))
        else:
            self._withdraw(number, state)
        (file,) = self._database.execute("SELECT file FROM messages WHERE number = ?", (number,)).fetchone()
        self._database.execute("DELETE FROM messages WHERE number = ?", (number,))
        self._database.execute("DELETE FROM contents WHERE number = ?", (number,))
        return True, file

    def seize(self, name: str) -> Queued | None:
        """Take a message out; None if there is none, or it is out."""
        found = self._find(name)
        if found is None or found[2]:
            return None
        number, state, _ = found
        queued = _readable(state)
        if queued is not None:
            self._withdraw(number, state)
            self._database.execute("INSERT INTO taken VALUES (?)", (number,))
        return queued

    def let_all_in(self) -> None:
        """Let wait what was out when the process died."""
        rows = self._database.execute("SELECT number, state FROM taken JOIN messages USING (number)")
        for number, state in rows.fetchall():
            if (queued := _readable(state)) is not None:
                self._enter(number, queued)
        self._database.execute("DELETE FROM taken")

    # ------------------------------------------------------------ what is due

    def take(self, now: float, limit: int, each: int, passing_over: Collection[str]) -> list[Queued]:
        """Find what is due, and take it out; within `change`."""
        passed = {self._routes_number(name) for name in passing_over}
        there: Counter[str] = Counter()
        taken: dict[int, Queued] = {}
        self._unreadable.clear()
        for route in self._due_routes(now, passed):
            if len(taken) >= limit:
                break
            self._take_from(route, now, limit, each, there, taken)
        self._database.executemany("INSERT INTO taken VALUES (?)", [(number,) for number in taken])
        for number, queued in taken.items():
            self._withdraw_from(number, self._places(queued))
        for number in self._unreadable:
            self._withdraw_everywhere(number)
        return list(taken.values())

    def _due_routes(self, now: float, passed: Collection[int | None]) -> Iterator[int]:
        """Yield routes where something is due, the one that has waited longest first."""
        seen = set(passed)
        for (route,) in self._database.execute("SELECT route FROM lanes WHERE due <= ? ORDER BY due", (now,)):
            if route not in seen:
                seen.add(route)
                yield route

    def _take_from(
        self, route: int, now: float, limit: int, each: int, there: Counter[str], taken: dict[int, Queued]
    ) -> None:
        """Choose messages of one route, as far as no other of their routes has enough."""
        chosen = in_vain = 0
        for number, state in self._due(route, now):
            if chosen >= each or len(taken) >= limit or in_vain >= _IN_VAIN:
                return
            if number in taken:
                continue
            queued = _readable(state)
            if queued is None:
                self._unreadable.append(number)
                continue
            routes = {str(leg.route) for leg in queued.legs if leg.due <= now}
            if all(there[each_route] < each for each_route in routes):
                there.update(routes)
                taken[number] = queued
                chosen += 0 if queued.owed else 1
            else:
                in_vain += 1

    def _due(self, route: int, now: float) -> Iterator[tuple[int, bytes]]:
        """Yield what is due on a route, the most urgent first, then what has waited longest."""
        urgencies = "SELECT urgency FROM lanes WHERE route = ? AND due <= ? ORDER BY urgency"
        for (urgency,) in self._database.execute(urgencies, (route, now)).fetchall():
            yield from self._database.execute(
                "SELECT number, state FROM legs CROSS JOIN messages USING (number)"
                " WHERE route = ? AND urgency = ? AND due <= ? ORDER BY due, number",
                (route, urgency, now),
            )

    def next_due(self, passing_over: Collection[str]) -> float | None:
        """Return when the first lane that is not passed over is due."""
        passed = {self._routes_number(name) for name in passing_over}
        for due, route in self._database.execute("SELECT due, route FROM lanes ORDER BY due"):
            if route not in passed:
                return float(due)
        return None

    # ------------------------------------------------------------ looking around, within `read`

    def get(self, name: str) -> Queued | None:
        """Return a message's state."""
        found = self._find(name)
        return None if found is None else _readable(found[1])

    def stored(self, name: str) -> Stored | None:
        """Return a message's octets."""
        row = self._database.execute(
            "SELECT octets, file, start FROM messages JOIN contents USING (number) WHERE id = ?", (key_of(name),)
        ).fetchone()
        return None if row is None else Stored(*row)

    def scan(self, after: str, limit: int) -> list[Queued]:
        """Return states by id."""
        rows = self._database.execute(
            "SELECT state FROM messages WHERE id > ? ORDER BY id LIMIT ?", (key_of(after), limit)
        )
        return [queued for (state,) in rows if (queued := _readable(state)) is not None]

    def known(self, names: Collection[str]) -> set[str]:
        """Return which of some ids there are."""
        found = "SELECT 1 FROM messages WHERE id = ?"
        return {name for name in names if self._database.execute(found, (key_of(name),)).fetchone()}

    def has_file(self, file: str) -> bool:
        """Whether a file in large/ belongs to a message."""
        return self._database.execute("SELECT 1 FROM messages WHERE file = ?", (file,)).fetchone() is not None

    def count(self) -> int:
        """Return how many messages there are."""
        (count,) = self._database.execute("SELECT count(*) FROM messages").fetchone()
        return int(count)

    def shrink(self) -> None:
        """Give the room of an empty database back to the disk."""
        with _as_disk_error(self._path):
            self._database.execute("VACUUM")

    # ------------------------------------------------------------ legs and lanes

    def _find(self, name: str) -> tuple[int, bytes, bool] | None:
        row = self._database.execute(
            "SELECT number, state, EXISTS (SELECT 1 FROM taken WHERE taken.number = messages.number)"
            " FROM messages WHERE id = ?",
            (key_of(name),),
        ).fetchone()
        return None if row is None else (row[0], row[1], bool(row[2]))

    def _enter(self, number: int, queued: Queued) -> None:
        """Let a message wait where it goes."""
        for route, urgency, due in self._places(queued, make=True):
            self._database.execute("INSERT OR IGNORE INTO legs VALUES (?, ?, ?, ?)", (route, urgency, due, number))
            self._touched.add((route, urgency))

    def _withdraw(self, number: int, state: bytes) -> None:
        """Let a message wait no longer."""
        queued = _readable(state)
        if queued is None:
            self._withdraw_everywhere(number)
        else:
            self._withdraw_from(number, self._places(queued))

    def _withdraw_from(self, number: int, places: Iterable[tuple[int, int, float]]) -> None:
        delete = "DELETE FROM legs WHERE route = ? AND urgency = ? AND due = ? AND number = ?"
        for route, urgency, due in places:
            self._database.execute(delete, (route, urgency, due, number))
            self._touched.add((route, urgency))

    def _withdraw_everywhere(self, number: int) -> None:
        """Look through all that waits for one message whose state does not say where it is."""
        rows = self._database.execute("SELECT route, urgency, due FROM legs WHERE number = ?", (number,)).fetchall()
        self._withdraw_from(number, rows)

    def _places(self, queued: Queued, make: bool = False) -> list[tuple[int, int, float]]:
        """Return where a message waits: route, urgency and when it is due there."""
        if queued.due is None:
            return []
        ways = [(_OWED, 0.0)] if queued.owed else [(str(leg.route), leg.due) for leg in queued.legs]
        numbered = [(self._routes_number(name, make), -queued.envelope.priority, due) for name, due in ways]
        return [(route, urgency, due) for route, urgency, due in numbered if route is not None]

    def _routes_number(self, name: str, make: bool = False) -> int | None:
        number = self._routes.get(name)
        if number is None:
            row = self._database.execute("SELECT number FROM routes WHERE name = ?", (key_of(name),)).fetchone()
            if row is None and not make:
                return None
            insert = "INSERT INTO routes (name) VALUES (?)"
            number = row[0] if row else int(self._database.execute(insert, (key_of(name),)).lastrowid or 0)
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[name] = number
        return number

    def _refresh_lanes(self) -> None:
        """Note when the first message of each lane that has changed is due."""
        run = self._database.execute
        for route, urgency in self._touched:
            first = "SELECT due FROM legs WHERE route = ? AND urgency = ? ORDER BY due LIMIT 1"
            row = run(first, (route, urgency)).fetchone()
            if row is not None:
                run("INSERT OR REPLACE INTO lanes VALUES (?, ?, ?)", (route, urgency, row[0]))
            else:
                run("DELETE FROM lanes WHERE route = ? AND urgency = ?", (route, urgency))
        self._drop_routes({route for route, _ in self._touched})
        self._touched.clear()

    def _drop_routes(self, routes: Iterable[int]) -> None:
        """Forget routes on which nothing waits."""
        for route in routes:
            unused = "DELETE FROM routes WHERE number = ? AND NOT EXISTS (SELECT 1 FROM lanes WHERE route = ?)"
            if self._database.execute(unused, (route, route)).rowcount:
                self._routes.clear()


def _readable(state: bytes) -> Queued | None:
    """Read a state; where that cannot be, the message stays where it is, for the postmaster."""
    try:
        return decode(state)
    except Unreadable as reason:
        log.error("A message in the backlog of the queue cannot be read: {reason}", reason=str(reason))
        return None
