"""What is read from an index; every function runs in a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailfw.mail.mailbox import Path, Role, Row, Want
from mailfw.stores.index.mailbox import Mailbox, Messages, Tally, flags_of

#: Expunged messages of a mailbox that are remembered; beyond twice as many the oldest are forgotten.
REMEMBERED = 20_000

SELECT_MAILBOX = (
    "SELECT row, id, key, path, role, uid_validity, floor, uid_next, modseq, recent_uid, messages, unseen, deleted, "
    "size, cursor FROM mailbox"
)


@dataclass(frozen=True, slots=True)
class AccountState:
    """All of an account but its messages."""

    modseq: int
    is_prepared: bool
    validity: int
    next_email: int
    mailboxes: list[Mailbox]
    subscribed: frozenset[Path]


def load_account(connection: sqlite3.Connection) -> AccountState:
    """Read an account."""
    modseq, prepared = connection.execute("SELECT modseq, prepared FROM account").fetchone()
    (validity,) = connection.execute("SELECT last FROM validity").fetchone()
    (last_email,) = connection.execute("SELECT max(row) FROM email").fetchone()
    mailboxes = [mailbox_of(row) for row in connection.execute(SELECT_MAILBOX)]
    subscribed = frozenset(tuple(json.loads(path)) for (path,) in connection.execute("SELECT path FROM subscription"))
    return AccountState(modseq, bool(prepared), validity, (last_email or 0) + 1, mailboxes, subscribed)


def last_mailbox(connection: sqlite3.Connection) -> int:
    """Return the highest row that a mailbox ever had."""
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'mailbox'").fetchone()
    return int(found[0]) if found else 0


def mailbox_of(columns: Sequence[object]) -> Mailbox:
    """Return what `SELECT_MAILBOX` found."""
    row, id_, key, path, role, uid_validity, floor, *numbers, cursor = columns
    return Mailbox(
        row,  # type: ignore[arg-type] # SQLite's columns are typed in the schema
        id_,  # type: ignore[arg-type]
        key,  # type: ignore[arg-type]
        tuple(json.loads(path)),  # type: ignore[arg-type]
        Role(role) if role else None,
        uid_validity,  # type: ignore[arg-type]
        floor,  # type: ignore[arg-type]
        Tally(*numbers),  # type: ignore[arg-type]
        cursor,  # type: ignore[arg-type]
    )


def load_messages(connection: sqlite3.Connection, row: int) -> tuple[Mailbox, Messages]:
    """Read a mailbox and its messages."""
    columns = connection.execute(f"{SELECT_MAILBOX} WHERE row = ?", (row,)).fetchone()
    mailbox = mailbox_of(columns)
    rows = connection.execute(
        "SELECT uid, modseq, flags, key, size, email FROM message WHERE mailbox = ? ORDER BY uid", (row,)
    ).fetchall()
    return mailbox, Messages(rows, mailbox.tally.modseq)


def find_floor(connection: sqlite3.Connection, row: int) -> int | None:
    """Return up to which modification sequence a mailbox's expunge log is to be forgotten, if it is long."""
    (count,) = connection.execute("SELECT count(*) FROM expunged WHERE mailbox = ?", (row,)).fetchone()
    if count <= 2 * REMEMBERED:
        return None
    (floor,) = connection.execute(
        "SELECT modseq FROM expunged WHERE mailbox = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?", (row, REMEMBERED)
    ).fetchone()
    return int(floor)


def find_marks(connection: sqlite3.Connection, row: int, marks: Iterable[str]) -> dict[str, tuple[int, int, str]]:
    """Return UID, modification sequence and email id of the messages that came with these tokens."""
    found = connection.execute(
        # Left to itself, SQLite goes through all messages of the mailbox.
        "SELECT mark, uid, modseq, email_id FROM message INDEXED BY message_mark "
        "WHERE mailbox = ? AND mark IS NOT NULL AND mark IN (SELECT value FROM json_each(?))",
        (row, json.dumps(list(marks))),
    )
    return {mark: (uid, modseq, email_id) for mark, uid, modseq, email_id in found}


def find_origins(connection: sqlite3.Connection, row: int, uids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Return the email ids of messages, and when they were received, by UID."""
    found = connection.execute(
        "SELECT uid, email_id, received FROM message WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?))",
        (row, json.dumps(list(uids))),
    )
    return {uid: (email_id, received) for uid, email_id, received in found}


def find_vanished(connection: sqlite3.Connection, row: int, since: int) -> set[int]:
    """Return the UIDs expunged after a modification sequence."""
    found = connection.execute("SELECT uid FROM expunged WHERE mailbox = ? AND modseq > ?", (row, since))
    return {uid for (uid,) in found}


#: `Want.value` of what is there, date in seconds since the epoch, email id, and the columns of `Want` in their order.
Lasting = tuple[int, int, str, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, int | None]

_WANTED = (
    (Want.ENVELOPE, "envelope"),
    (Want.BODY, "body"),
    (Want.BODYSTRUCTURE, "bodystructure"),
    (Want.PARTS, "parts"),
    (Want.FIELDS, "fields"),
    (Want.SENT, "sent"),
)


def find_lasting(
    connection: sqlite3.Connection, row: int, uids: Sequence[int], want: Want
) -> list[tuple[int, Lasting]]:
    """Return what lasts of messages, with the row of its summary."""
    found = _select(connection, f"email, {want.value}, received, email_id", row, uids, want)
    return [(email, tuple(lasting)) for email, *lasting in found]


def find_rows(connection: sqlite3.Connection, row: int, uids: Sequence[int], want: Want) -> list[Row]:
    """Return the rows of messages, ascending."""
    found = _select(connection, "uid, modseq, flags, size, received, email_id", row, uids, want, "ORDER BY uid")
    return [Row(uid, modseq, flags_of(flags), *rest) for uid, modseq, flags, *rest in found]


def _select(
    connection: sqlite3.Connection, what: str, row: int, uids: Sequence[int], want: Want, order: str = ""
) -> sqlite3.Cursor:
    """Select `what`, then each part of a summary or NULL; their table is read only if one is wanted."""
    columns = ", ".join(name if flag in want else "NULL" for flag, name in _WANTED)
    join = "JOIN email ON email.row = message.email" if want else ""
    return connection.execute(
        f"SELECT {what}, {columns} FROM message {join} "  # noqa: S608 -- names of columns, our own
        f"WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?)) {order}",
        (row, json.dumps(list(uids))),
    )
