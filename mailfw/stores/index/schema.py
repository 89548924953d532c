"""
The tables of an index: one SQLite file for each account.

What an index knows that nobody else does: modification sequences, the expunge log, keywords that a source
cannot keep, mailbox ids and roles, access lists and annotations, and for a source without a ledger the UIDs,
tokens and subscriptions.

With a ledger, commits are not synced (``synchronous=NORMAL``): a dying process loses nothing, a dying machine
the last of them.  Files and UID lists then say what is true, and every start of the machine makes the
modification sequence jump by `JUMP`, so that none that a client saw is given again and what had to be found
out anew is above all it saw.  Without a ledger, and for keywords that only the index has, commits are synced.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from twisted.logger import Logger

from mailfw.stores.pragmas import with_pragmas

log = Logger()

#: To be raised with whatever changes the tables: an index of another version is put aside, and made anew.
VERSION = 4

#: More modification sequences than can be lost with the unsynced end of a write-ahead log.
JUMP = 2**20

#: Mailboxes and messages: the same for all files that anything here writes to.
MAIL = """
CREATE TABLE mailbox (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL,
    role TEXT, uid_validity INTEGER NOT NULL, uid_next INTEGER NOT NULL, modseq INTEGER NOT NULL,
    recent_uid INTEGER NOT NULL, floor INTEGER NOT NULL, messages INTEGER NOT NULL, unseen INTEGER NOT NULL,
    deleted INTEGER NOT NULL, size INTEGER NOT NULL, cursor TEXT);
CREATE TABLE message (
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, key TEXT NOT NULL, flags TEXT NOT NULL, modseq INTEGER NOT NULL,
    size INTEGER NOT NULL, received INTEGER NOT NULL, email_id TEXT NOT NULL, mark TEXT, email INTEGER NOT NULL,
    saved INTEGER NOT NULL, PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;
CREATE INDEX message_mark ON message (mailbox, mark) WHERE mark IS NOT NULL;
CREATE INDEX message_email ON message (email);
-- What whole mailboxes are searched, sorted and threaded by is apart from what is as wide again as ten of these rows.
CREATE TABLE email (
    row INTEGER PRIMARY KEY, thread BLOB NOT NULL, sent INTEGER, sort BLOB NOT NULL, ids BLOB NOT NULL);
CREATE TABLE summary (
    row INTEGER PRIMARY KEY, preview TEXT NOT NULL, envelope BLOB NOT NULL, body BLOB NOT NULL,
    bodystructure BLOB NOT NULL, parts BLOB NOT NULL, fields BLOB NOT NULL);
CREATE TRIGGER summary_gone AFTER DELETE ON email BEGIN
    DELETE FROM summary WHERE row = OLD.row;
END;
-- What threads are found by: see conversations.py.
CREATE TABLE thread (key BLOB PRIMARY KEY, thread BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE expunged (
    mailbox INTEGER NOT NULL, modseq INTEGER NOT NULL, uid INTEGER NOT NULL,
    PRIMARY KEY (mailbox, modseq, uid)) WITHOUT ROWID;
-- Who besides the owner may do what, and what those have seen: also what they have seen and marked as new again.
CREATE TABLE access (
    mailbox INTEGER NOT NULL, identifier TEXT NOT NULL, rights TEXT NOT NULL,
    PRIMARY KEY (mailbox, identifier)) WITHOUT ROWID;
CREATE TABLE seen (
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, user TEXT NOT NULL, modseq INTEGER NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (mailbox, uid, user)) WITHOUT ROWID;
-- Whose they are ('' for those of the owner, and all that are shared); of the account itself under its own row.
CREATE TABLE annotation (
    mailbox INTEGER NOT NULL, user TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, modseq INTEGER NOT NULL,
    PRIMARY KEY (mailbox, user, name)) WITHOUT ROWID;
"""

SCHEMA = f"""
CREATE TABLE account (modseq INTEGER NOT NULL, boot TEXT NOT NULL, prepared INTEGER NOT NULL);
{MAIL}
CREATE TABLE subscription (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE validity (last INTEGER NOT NULL);
-- What is under way with the source: see intents.py.
CREATE TABLE intent (note TEXT NOT NULL);
"""

SET_INTENT = "INSERT INTO intent VALUES (?)"
CLEAR_INTENT = "DELETE FROM intent"
SET_ACCOUNT = "UPDATE account SET modseq = ?"
SET_PREPARED = "UPDATE account SET prepared = 1"
SET_VALIDITY = "UPDATE validity SET last = ?"
ADD_MAILBOX = "INSERT INTO mailbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
SET_MAILBOX = """
UPDATE mailbox SET path = ?, role = ?, uid_validity = ?, uid_next = ?, modseq = ?, recent_uid = ?, floor = ?,
    messages = ?, unseen = ?, deleted = ?, size = ?, cursor = ? WHERE row = ?"""
DROP_MAILBOX = "DELETE FROM mailbox WHERE row = ?"
SET_ACCESS = "INSERT OR REPLACE INTO access VALUES (?, ?, ?)"
DROP_ACCESS = "DELETE FROM access WHERE mailbox = ? AND identifier = ?"
CLEAR_ACCESS = "DELETE FROM access WHERE mailbox = ?"
SET_SEEN = "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)"
COPY_SEEN = "INSERT INTO seen SELECT ?, ?, user, ?, seen FROM seen WHERE mailbox = ? AND uid = ?"
DROP_SEEN = "DELETE FROM seen WHERE mailbox = ? AND uid = ?"
SET_ANNOTATION = "INSERT OR REPLACE INTO annotation VALUES (?, ?, ?, ?, ?)"
DROP_ANNOTATION = "DELETE FROM annotation WHERE mailbox = ? AND user = ? AND name = ?"
DROP_ANNOTATOR = "DELETE FROM annotation WHERE mailbox = ? AND user = ?"
CLEAR_ANNOTATIONS = "DELETE FROM annotation WHERE mailbox = ?"
SET_SAVED = "UPDATE message SET saved = ? WHERE mailbox = ? AND uid = ?"
DROP_READER = "DELETE FROM seen WHERE mailbox = ? AND user = ?"
EMPTY_MAILBOX = (
    """
    DELETE FROM email WHERE row IN (SELECT email FROM message WHERE mailbox = ?1)
        AND NOT EXISTS (SELECT 1 FROM message WHERE message.email = email.row AND mailbox <> ?1)""",
    "DELETE FROM message WHERE mailbox = ?1",
    "DELETE FROM expunged WHERE mailbox = ?1",
    "DELETE FROM seen WHERE mailbox = ?1",
)
ADD_MESSAGE = "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
COPY_MESSAGE = """
INSERT INTO message SELECT ?, ?, ?, flags, ?, size, received, email_id, NULL, email, ?
    FROM message WHERE mailbox = ? AND uid = ?"""
SET_FLAGS = "UPDATE message SET flags = ?, modseq = ? WHERE mailbox = ? AND uid BETWEEN ? AND ?"
DROP_MESSAGE = "DELETE FROM message WHERE mailbox = ? AND uid = ?"
ADD_EMAIL = "INSERT INTO email VALUES (?, ?, ?, ?, ?)"
ADD_SUMMARY = "INSERT INTO summary VALUES (?, ?, ?, ?, ?, ?, ?)"
ADD_THREAD = "INSERT OR IGNORE INTO thread VALUES (?, ?)"
#: The first two parameters are keys, the last two rows: the range of the account in each table.
FORGET_THREADS = """
DELETE FROM thread WHERE key BETWEEN ? AND ? AND thread NOT IN (SELECT thread FROM email WHERE row BETWEEN ? AND ?)"""
#: Where a source leaves bodies to the index: all octets, or the name of their file.
ADD_BODY = "INSERT INTO body (row, octets, file) VALUES (?, ?, ?)"
DROP_EMAIL = "DELETE FROM email WHERE row = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE email = ?1)"
ADD_EXPUNGED = "INSERT OR IGNORE INTO expunged VALUES (?, ?, ?)"
FORGET_EXPUNGED = "DELETE FROM expunged WHERE mailbox = ? AND modseq <= ?"
RAISE_FLOOR = "UPDATE mailbox SET floor = max(floor, ?2) WHERE row = ?1"
SUBSCRIBE = "INSERT OR IGNORE INTO subscription VALUES (?)"
UNSUBSCRIBE = "DELETE FROM subscription WHERE path = ?"


def open_index(path: Path, synced: bool, shared: bool = False) -> sqlite3.Connection:
    """
    Open an index, making it if there is none, or if the one there cannot be read or is of another version; blocks.

    Ours is the only connection, and the file's lock keeps it so unless it is `shared`: then others may read.  SQLite
    before 3.51.3 could damage a file that two connections write and checkpoint.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _open(path, synced, shared)
    except sqlite3.OperationalError:
        raise  # locked, or the disk is full: the file may be well
    except sqlite3.DatabaseError as error:
        aside = _put_aside(path, "broken")
        log.error("{path} is broken ({error}): it is {aside} now, and made anew", path=path, error=error, aside=aside)
        return _open(path, synced, shared)
    except _OtherVersion as other:
        aside = _put_aside(path, f"version-{other.version}")
        log.warn(  # noqa: G010 -- of Twisted
            "{path} was written by another version of mailfw: it is {aside} now, and made anew; "
            "what mailboxes are for, who else may use them, and annotations are not in it",
            path=path,
            aside=aside,
        )
        return _open(path, synced, shared, other.modseq + 1)


class _OtherVersion(Exception):
    """An index has tables of another version; `modseq` is the last one given there, as far as can be told."""

    def __init__(self, version: int, modseq: int) -> None:
        super().__init__(version)
        self.version = version
        self.modseq = modseq


def _put_aside(path: Path, why: str) -> Path:
    aside = path.with_name(f"{path.name}.{why}-{int(time.time())}")
    path.rename(aside)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    return aside


def _open(path: Path, synced: bool, shared: bool, least: int = 0) -> sqlite3.Connection:
    is_new = not path.exists()
    connection = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
    pragmas = (
        f"locking_mode = {'NORMAL' if shared else 'EXCLUSIVE'}",
        "journal_mode = WAL",
        f"synchronous = {'FULL' if synced else 'NORMAL'}",
        "mmap_size = 0",
        "secure_delete = OFF",
        "cache_size = -1024",
    )
    with with_pragmas(connection, pragmas):
        _make_tables(connection, least)
        _note_boot(connection, synced)
    if is_new:
        _sync_directory(path.parent)
    return connection


def _make_tables(connection: sqlite3.Connection, least: int) -> None:
    """Make the tables where there are none; modification sequences begin at `least`.  Raises `_OtherVersion`."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == VERSION:
        return
    if version:
        modseq = 0
        with suppress(sqlite3.Error, TypeError):
            modseq = int(connection.execute("SELECT modseq FROM account").fetchone()[0])
        raise _OtherVersion(version, modseq)
    # Above every modification sequence that an index we lost, or another server, may have given: as if there
    # had been 256 changes in every second since 1970, which leaves room below 2**63 for as many again.
    start = max(int(time.time()) << 8, least)
    connection.executescript(
        f"BEGIN IMMEDIATE; {SCHEMA} INSERT INTO account VALUES ({start}, '{boot_id()}', 0);"  # noqa: S608 -- ours
        f"INSERT INTO validity VALUES (0); PRAGMA user_version = {VERSION}; COMMIT"
    )


def _note_boot(connection: sqlite3.Connection, synced: bool) -> None:
    """Let modification sequences jump if the machine was started since the index was last written."""
    (boot,) = connection.execute("SELECT boot FROM account").fetchone()
    if boot != boot_id():
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE account SET modseq = modseq + ?, boot = ?", (0 if synced else JUMP, boot_id()))
        connection.execute("UPDATE mailbox SET modseq = (SELECT modseq FROM account), cursor = NULL")
        connection.execute("COMMIT")


def _read_boot_id() -> str:
    """Return what is another after each start of the machine; of the process, where that cannot be told."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return secrets.token_hex(16)


_BOOT_ID = _read_boot_id()


def boot_id() -> str:
    """Return the machine's boot id."""
    return _BOOT_ID


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
