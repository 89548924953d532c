"""
The tables of a file in which many accounts are: those of an index, and what one account's own index needs not say.

Keys begin with the account: the row of a mailbox is the account's number and then one of its own, in one integer, and
so is the row of a summary and its body.  What is keyed by them (messages, the expunge log, bodies) lies together for
each account, and whatever one operation touches is one range of each table.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from mailfw.mail.mailbox import INBOX, Folder, Path, Role
from mailfw.mail.retained import Retained
from mailfw.stores.index.conversations import whole_range
from mailfw.stores.index.database import Keeping
from mailfw.stores.index.mailbox import flags_of
from mailfw.stores.index.queries import SELECT_MAILBOX, AccountState, add_access, add_annotated, mailbox_of
from mailfw.stores.index.schema import MAIL, SET_ACCOUNT, SET_PREPARED, SET_VALIDITY, SUBSCRIBE, UNSUBSCRIBE
from mailfw.stores.index.transaction import Returning

#: To be raised with whatever changes the tables: files of another version are refused.
VERSION = 4

#: Bits of a row that count the mailboxes an account ever had, and the messages; its number is above them.
MAILBOXES, EMAILS = 20, 36

SCHEMA = f"""
CREATE TABLE account (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, modseq INTEGER NOT NULL,
    validity INTEGER NOT NULL, prepared INTEGER NOT NULL, last_mailbox INTEGER NOT NULL, last_email INTEGER NOT NULL);
CREATE TABLE subscription (account INTEGER NOT NULL, path TEXT NOT NULL, PRIMARY KEY (account, path)) WITHOUT ROWID;
CREATE TABLE folder (
    key INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL, path TEXT NOT NULL, role TEXT,
    UNIQUE (account, path));
{MAIL}
CREATE TABLE body (row INTEGER PRIMARY KEY, octets BLOB, file TEXT);
CREATE UNIQUE INDEX body_file ON body (file) WHERE file IS NOT NULL;
-- Files of bodies that are gone, until they are gone too.
CREATE TABLE litter (file TEXT PRIMARY KEY) WITHOUT ROWID;
-- What was expunged and can come back.  A summary and its body stay as long as anything is kept of them.
CREATE TABLE retained (
    row INTEGER PRIMARY KEY AUTOINCREMENT, account INTEGER NOT NULL, expunged REAL NOT NULL, path TEXT NOT NULL,
    flags TEXT NOT NULL, size INTEGER NOT NULL, received INTEGER NOT NULL, email_id TEXT NOT NULL,
    email INTEGER NOT NULL);
CREATE INDEX retained_account ON retained (account);
CREATE INDEX retained_expunged ON retained (expunged);
CREATE INDEX retained_email ON retained (email);
-- Accounts that were removed and of which rows are left.
CREATE TABLE removed (number INTEGER PRIMARY KEY);
-- Who may have something shared with him, by whom: in the file of whom it is shared with.
CREATE TABLE share (identifier TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (identifier, owner)) WITHOUT ROWID;
-- The highest UIDVALIDITY of accounts that were removed, which may come back.
CREATE TABLE validity (last INTEGER NOT NULL);
INSERT INTO validity VALUES (0);

-- Rows are not given twice: who still has the number of one that is gone must not find another.
CREATE TRIGGER mailbox_gone AFTER DELETE ON mailbox BEGIN
    UPDATE account SET last_mailbox = max(last_mailbox, OLD.row) WHERE number = OLD.row >> {MAILBOXES};
END;
CREATE TRIGGER email_gone AFTER DELETE ON email BEGIN
    UPDATE account SET last_email = OLD.row WHERE number = OLD.row >> {EMAILS} AND last_email < OLD.row;
    INSERT OR IGNORE INTO litter SELECT file FROM body WHERE row = OLD.row AND file IS NOT NULL;
    DELETE FROM body WHERE row = OLD.row;
END;
CREATE TRIGGER email_stays BEFORE DELETE ON email WHEN EXISTS (SELECT 1 FROM retained WHERE email = OLD.row) BEGIN
    SELECT raise(IGNORE);
END;
CREATE TRIGGER retained_gone AFTER DELETE ON retained BEGIN
    DELETE FROM email WHERE row = OLD.email AND NOT EXISTS (SELECT 1 FROM message WHERE email = OLD.email);
END;
CREATE TRIGGER account_gone AFTER DELETE ON account BEGIN
    UPDATE validity SET last = max(last, OLD.validity);
END;
"""  # noqa: S608 -- ours

#: What the index says of its one account, said of one among many: its number is the last parameter.
OF_ACCOUNT = {
    SET_ACCOUNT: "UPDATE account SET modseq = ? WHERE number = ?",
    SET_PREPARED: "UPDATE account SET prepared = 1 WHERE number = ?",
    SET_VALIDITY: "UPDATE account SET validity = ? WHERE number = ?",
    SUBSCRIBE: "INSERT OR IGNORE INTO subscription (path, account) VALUES (?, ?)",
    UNSUBSCRIBE: "DELETE FROM subscription WHERE path = ? AND account = ?",
}

_RETAIN = f"""
INSERT INTO retained (account, expunged, path, flags, size, received, email_id, email)
    SELECT mailbox.row >> {MAILBOXES}, ?, path, flags, message.size, received, email_id, email
    FROM message JOIN mailbox ON mailbox.row = message.mailbox WHERE message.mailbox = ?"""  # noqa: S608 -- ours
RETAIN_MESSAGES = f"{_RETAIN} AND uid = ?"
RETAIN_MAILBOX = _RETAIN
GIVE_BACK = """
INSERT INTO message (mailbox, uid, modseq, flags, key, size, received, email_id, email, saved)
    SELECT ?1, ?2, ?3, ?4, email, size, received, email_id, email, ?6 FROM retained WHERE row = ?5"""
FORGET_RETAINED = "DELETE FROM retained WHERE row = ?"
FORGET_OLD = """
DELETE FROM retained WHERE row IN (SELECT row FROM retained WHERE expunged < ? ORDER BY expunged LIMIT ?)"""

ADD_ACCOUNT = """
INSERT OR IGNORE INTO account (name, modseq, validity, prepared, last_mailbox, last_email)
    SELECT ?, ?, last, 0, 0, 0 FROM validity"""
ADD_INBOX = "INSERT OR IGNORE INTO folder (account, path) SELECT number, ? FROM account WHERE name = ?"
ADD_FOLDER = "INSERT INTO folder (path, role, account) VALUES (?, ?, ?)"
MOVE_FOLDER = "UPDATE folder SET path = ? WHERE key = ?"
DROP_FOLDER = "DELETE FROM folder WHERE key = ?"
ADD_SHARE = "INSERT OR IGNORE INTO share VALUES (?, ?)"
DROP_SHARE = "DELETE FROM share WHERE identifier = ? AND owner = ?"
FORGET_LITTER = "DELETE FROM litter WHERE file = ?"


def account_steps(account: str) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return what makes an account with its inbox where it is not."""
    # As in an index: above every modification sequence that a store we know nothing of may have given.
    start = int(time.time()) << 8
    return [(ADD_ACCOUNT, [(account, start)]), (ADD_INBOX, [(json.dumps(INBOX), account)])]


def removal_steps(number: int) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Return what removes an account but for its messages, so that nobody finds it any more."""
    mailboxes = _range(number, MAILBOXES)
    return [
        ("INSERT INTO removed VALUES (?)", [(number,)]),
        ("DELETE FROM mailbox WHERE row BETWEEN ? AND ?", [mailboxes]),
        ("DELETE FROM subscription WHERE account = ?", [(number,)]),
        ("DELETE FROM folder WHERE account = ?", [(number,)]),
        ("DELETE FROM account WHERE number = ?", [(number,)]),
    ]


def clear_some(connection: sqlite3.Connection, number: int, limit: int) -> None:
    """Remove up to `limit` messages, and as much else, of an account that was removed."""
    mailboxes, emails, threads = _range(number, MAILBOXES), _range(number, EMAILS), whole_range(number)
    for statement, keys in (
        ("DELETE FROM retained WHERE row IN (SELECT row FROM retained WHERE account = ? LIMIT ?)", (number,)),
        (_CLEAR.format(table="message", key="mailbox, uid"), mailboxes),
        (_CLEAR.format(table="expunged", key="mailbox, modseq, uid"), mailboxes),
        (_CLEAR.format(table="seen", key="mailbox, uid, user"), mailboxes),
        (_CLEAR.format(table="access", key="mailbox, identifier"), mailboxes),
        (_CLEAR.format(table="annotation", key="mailbox, user, name"), mailboxes),
        ("DELETE FROM email WHERE row IN (SELECT row FROM email WHERE row BETWEEN ? AND ? LIMIT ?)", emails),
        ("DELETE FROM thread WHERE key IN (SELECT key FROM thread WHERE key BETWEEN ? AND ? LIMIT ?)", threads),
    ):
        if connection.execute(statement, (*keys, limit)).rowcount == limit:
            return  # of a summary nothing may be left that points to it when it goes
    connection.execute("DELETE FROM removed WHERE number = ?", (number,))


_CLEAR = "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE mailbox BETWEEN ? AND ? LIMIT ?)"


def _range(number: int, bits: int) -> tuple[int, int]:
    return number << bits, ((number + 1) << bits) - 1


def keeping(goes_on: bool) -> Keeping:
    """Return how what is expunged is kept and comes back."""
    return Keeping(goes_on, RETAIN_MESSAGES, RETAIN_MAILBOX, GIVE_BACK, FORGET_RETAINED)


# ---------------------------------------------------------------- queries


def find_owners(connection: sqlite3.Connection, identifier: str) -> list[str]:
    """Return who may share something with an identifier."""
    found = connection.execute("SELECT owner FROM share WHERE identifier = ?", (identifier,)).fetchall()
    return [owner for (owner,) in found]


def find_number(connection: sqlite3.Connection, account: str) -> int | None:
    """Return an account's number, None if there is no such account."""
    found = connection.execute("SELECT number FROM account WHERE name = ?", (account,)).fetchone()
    return int(found[0]) if found else None


def load_account(connection: sqlite3.Connection, number: int) -> AccountState:
    """Read all of an account but its messages."""
    modseq, validity, prepared, last = connection.execute(
        "SELECT modseq, validity, prepared, last_email FROM account WHERE number = ?", (number,)
    ).fetchone()
    first, _ = emails = _range(number, EMAILS)
    (highest,) = connection.execute("SELECT max(row) FROM email WHERE row BETWEEN ? AND ?", emails).fetchone()
    found = connection.execute(f"{SELECT_MAILBOX} WHERE row BETWEEN ? AND ?", _range(number, MAILBOXES))
    mailboxes = [mailbox_of(row) for row in found.fetchall()]
    lists = "SELECT mailbox, identifier, rights FROM access WHERE mailbox BETWEEN ? AND ?"
    add_access(mailboxes, connection.execute(lists, _range(number, MAILBOXES)).fetchall())
    last_changes = "SELECT mailbox, max(modseq) FROM annotation WHERE mailbox BETWEEN ? AND ? GROUP BY mailbox"
    add_annotated(mailboxes, connection.execute(last_changes, _range(number, MAILBOXES)).fetchall())
    paths = connection.execute("SELECT path FROM subscription WHERE account = ?", (number,)).fetchall()
    subscribed = frozenset(tuple(json.loads(path)) for (path,) in paths)
    following = max(first, last, highest or 0) + 1
    own, _ = _range(number, MAILBOXES)
    return AccountState(modseq, bool(prepared), validity, following, mailboxes, subscribed, number, emails, own)


def last_mailbox(connection: sqlite3.Connection, number: int) -> int:
    """Return a row than which no mailbox of the account ever had a higher one."""
    first, _ = mailboxes = _range(number, MAILBOXES)
    (last,) = connection.execute("SELECT last_mailbox FROM account WHERE number = ?", (number,)).fetchone()
    (highest,) = connection.execute("SELECT max(row) FROM mailbox WHERE row BETWEEN ? AND ?", mailboxes).fetchone()
    return int(max(first, last, highest or 0))


def find_folders(connection: sqlite3.Connection, number: int) -> list[Folder]:
    """Return an account's folders."""
    rows = connection.execute("SELECT key, path, role FROM folder WHERE account = ?", (number,)).fetchall()
    return [Folder(str(key), path_of(path), Role(role) if role else None) for key, path, role in rows]


def path_of(text: str) -> Path:
    """Read a path as the tables have it."""
    return tuple(json.loads(text))


def find_bodies(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, tuple[bytes | None, str | None]]:
    """Return octets, or the name of their file, by row."""
    found = connection.execute(
        "SELECT row, octets, file FROM body WHERE row IN (SELECT value FROM json_each(?))", (json.dumps(list(rows)),)
    )
    return {row: (octets, file) for row, octets, file in found.fetchall()}


def find_retained(connection: sqlite3.Connection, number: int) -> list[Retained]:
    """Return what was expunged from an account and can come back."""
    found = connection.execute(
        "SELECT row, path, expunged, received, size, flags FROM retained WHERE account = ?", (number,)
    ).fetchall()
    return [
        Retained(str(row), path_of(path), expunged, received, size, flags_of(flags))
        for row, path, expunged, received, size, flags in found
    ]


def find_returning(connection: sqlite3.Connection, number: int, rows: Sequence[int]) -> list[Returning]:
    """Return those of these messages of an account that are kept still, in the order in which they were expunged."""
    found = connection.execute(
        "SELECT row, flags, email, size, received FROM retained "
        "WHERE account = ? AND row IN (SELECT value FROM json_each(?)) ORDER BY row",
        (number, json.dumps(list(rows))),
    ).fetchall()
    return [
        Returning(row, flags_of(flags), str(email), size, received, email)
        for row, flags, email, size, received in found
    ]


def find_removed(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of accounts of which rows are left."""
    return [number for (number,) in connection.execute("SELECT number FROM removed").fetchall()]


def has_file(connection: sqlite3.Connection, file: str) -> bool:
    """Whether a body is in this file."""
    return connection.execute("SELECT 1 FROM body WHERE file = ?", (file,)).fetchone() is not None


def find_litter(connection: sqlite3.Connection) -> list[str]:
    """Return the files whose bodies are gone."""
    return [file for (file,) in connection.execute("SELECT file FROM litter").fetchall()]
