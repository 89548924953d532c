"""What is read from an index; every function runs in a thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailfw.mail.mailbox import Path, Role, Row, Want
from mailfw.mail.rights import parse_rights
from mailfw.stores.index.mailbox import Mailbox, Messages, Tally, flags_of
from mailfw.stores.index.readers import Reader

#: Expunged messages of a mailbox that are remembered; beyond twice as many the oldest are forgotten.
REMEMBERED = 20_000

#: As `conversations.shown` has it.
_THREAD_ID = "'T' || lower(hex(substr(email.thread, 5)))"

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
    #: Where many accounts are in one file, which this is, and the first and last row that its summaries can have.
    number: int = 0
    email_rows: tuple[int, int] = (0, 2**63 - 1)
    #: The row that is in place of a mailbox's where something is the account's own.
    own_row: int = 0


def load_account(connection: sqlite3.Connection) -> AccountState:
    """Read an account."""
    modseq, prepared = connection.execute("SELECT modseq, prepared FROM account").fetchone()
    (validity,) = connection.execute("SELECT last FROM validity").fetchone()
    (last_email,) = connection.execute("SELECT max(row) FROM email").fetchone()
    mailboxes = [mailbox_of(row) for row in connection.execute(SELECT_MAILBOX)]
    add_access(mailboxes, connection.execute("SELECT mailbox, identifier, rights FROM access"))
    add_annotated(mailboxes, connection.execute("SELECT mailbox, max(modseq) FROM annotation GROUP BY mailbox"))
    subscribed = frozenset(tuple(json.loads(path)) for (path,) in connection.execute("SELECT path FROM subscription"))
    return AccountState(modseq, bool(prepared), validity, (last_email or 0) + 1, mailboxes, subscribed)


def add_access(mailboxes: Iterable[Mailbox], rows: Iterable[tuple[int, str, str]]) -> None:
    """Give mailboxes their access lists."""
    lists: dict[int, dict[str, frozenset[str]]] = {}
    for row, identifier, rights in rows:
        lists.setdefault(row, {})[identifier] = parse_rights(rights)
    for box in mailboxes if lists else ():
        box.access = lists.get(box.row, {})


def add_annotated(mailboxes: Iterable[Mailbox], rows: Iterable[tuple[int, int]]) -> None:
    """Note of mailboxes when their annotations last changed, as far as is known."""
    modseqs = dict(rows)
    for box in mailboxes if modseqs else ():
        box.annotated = modseqs.get(box.row, 0)


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
        "SELECT uid, modseq, flags, key, size, received, email FROM message WHERE mailbox = ? ORDER BY uid", (row,)
    )
    messages = Messages(rows, mailbox.tally.modseq)
    messages.readers = load_readers(connection, row, mailbox.tally.modseq)
    return mailbox, messages


def load_readers(connection: sqlite3.Connection, row: int, modseq: int) -> dict[str, Reader]:
    """Read what those who share a mailbox have seen of it."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    marks = connection.execute("SELECT user, uid, modseq, seen FROM seen WHERE mailbox = ? ORDER BY uid", (row,))
    for user, *mark in marks:
        found.setdefault(user, []).append(tuple(mark))
    return {user: Reader(modseq, each) for user, each in found.items()}


def load_copy(connection: sqlite3.Connection, id_: str) -> Mailbox | None:
    """Read a mailbox with its messages, for a process that knows these by UID alone."""
    columns = connection.execute(f"{SELECT_MAILBOX} WHERE id = ?", (id_,)).fetchone()
    if columns is None:
        return None
    mailbox = mailbox_of(columns)
    rows = connection.execute(
        "SELECT uid, modseq, flags, key, size, received, uid FROM message WHERE mailbox = ? ORDER BY uid",
        (mailbox.row,),
    )
    mailbox.messages = Messages(rows, mailbox.tally.modseq)
    return mailbox


def find_place(connection: sqlite3.Connection, id_: str) -> tuple[int, int] | None:
    """Return a mailbox's row and UIDVALIDITY; None if it is gone."""
    found: tuple[int, int] | None = connection.execute(
        "SELECT row, uid_validity FROM mailbox WHERE id = ?", (id_,)
    ).fetchone()
    return found


def find_news(
    connection: sqlite3.Connection, row: int, uids: Sequence[int], since: int, until: int
) -> tuple[dict[int, tuple[str, int, int]], dict[int, int]]:
    """Return keys, sizes and internal dates of messages by UID, and what `find_vanished` does."""
    found = connection.execute(
        "SELECT uid, key, size, received FROM message WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?))",
        (row, json.dumps(list(uids))),
    )
    entries = {uid: tuple(rest) for uid, *rest in found}
    return entries, find_vanished(connection, row, since, until)


def find_floor(connection: sqlite3.Connection, row: int) -> int | None:
    """Return up to which modification sequence a mailbox's expunge log is to be forgotten, if it is long."""
    (count,) = connection.execute("SELECT count(*) FROM expunged WHERE mailbox = ?", (row,)).fetchone()
    if count <= 2 * REMEMBERED:
        return None
    (floor,) = connection.execute(
        "SELECT modseq FROM expunged WHERE mailbox = ? ORDER BY modseq DESC LIMIT 1 OFFSET ?", (row, REMEMBERED)
    ).fetchone()
    return int(floor)


def find_marks(
    connection: sqlite3.Connection, marks: Iterable[tuple[int, str]]
) -> dict[tuple[int, str], tuple[int, int, str, str]]:
    """Return UID, modification sequence, email and thread id of the messages that came to a mailbox with a token."""
    found = connection.execute(
        # Left to itself, SQLite goes through all messages of the mailbox.
        f"SELECT mailbox, mark, uid, modseq, email_id, {_THREAD_ID} FROM json_each(?) AS asked "  # noqa: S608 -- ours
        "CROSS JOIN message INDEXED BY message_mark ON mailbox = json_extract(asked.value, '$[0]') "
        "AND mark IS NOT NULL AND mark = json_extract(asked.value, '$[1]') "
        "CROSS JOIN email ON email.row = message.email",
        (json.dumps(list(marks)),),
    )
    return {(row, mark): tuple(rest) for row, mark, *rest in found}


def find_origins(connection: sqlite3.Connection, row: int, uids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Return the email ids of messages, and when they were received, by UID."""
    found = connection.execute(
        "SELECT uid, email_id, received FROM message WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?))",
        (row, json.dumps(list(uids))),
    )
    return {uid: (email_id, received) for uid, email_id, received in found}


def find_saved(connection: sqlite3.Connection, row: int, uids: Sequence[int]) -> dict[int, int]:
    """Return when messages came into a mailbox, by UID."""
    found = connection.execute(
        "SELECT uid, saved FROM message WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?))",
        (row, json.dumps(list(uids))),
    )
    return dict(found.fetchall())


def find_vanished(connection: sqlite3.Connection, row: int, since: int, until: int) -> dict[int, int]:
    """Return the UIDs expunged after one modification sequence and up to another, each with its own."""
    found = connection.execute(
        "SELECT uid, modseq FROM expunged WHERE mailbox = ? AND modseq > ? AND modseq <= ?", (row, since, until)
    )
    return dict(found.fetchall())


#: `Want.value` of what is there, date in seconds since the epoch, email id, and the columns of `Want` in their order.
Lasting = tuple[
    int,
    int,
    str,
    bytes | None,
    bytes | None,
    bytes | None,
    bytes | None,
    bytes | None,
    int | None,
    str | None,
    bytes | None,
    str | None,
    bytes | None,
]

_WANTED = (
    (Want.ENVELOPE, "envelope"),
    (Want.BODY, "summary.body"),
    (Want.BODYSTRUCTURE, "bodystructure"),
    (Want.PARTS, "parts"),
    (Want.FIELDS, "fields"),
    (Want.SENT, "sent"),
    (Want.PREVIEW, "preview"),
    (Want.SORT, "sort"),
    (Want.THREAD, _THREAD_ID),
    (Want.THREAD, "ids"),
)
_NARROW = Want.SENT | Want.SORT | Want.THREAD


def find_lasting(
    connection: sqlite3.Connection, row: int, uids: Sequence[int], want: Want, by: str = "email"
) -> list[tuple[int, Lasting]]:
    """Return what lasts of messages, with the row of its summary, or the message's UID if that is what it is `by`."""
    found = _select(connection, f"{by}, {want.value}, received, email_id", row, uids, want)
    return [(columns[0], columns[1:]) for columns in found]


def find_rows(connection: sqlite3.Connection, row: int, uids: Sequence[int], want: Want) -> list[Row]:
    """Return the rows of messages, ascending."""
    found = _select(connection, "uid, modseq, flags, size, received, email_id", row, uids, want, "ORDER BY uid")
    return [Row(uid, modseq, flags_of(flags), *rest) for uid, modseq, flags, *rest in found]


def _select(
    connection: sqlite3.Connection, what: str, row: int, uids: Sequence[int], want: Want, order: str = ""
) -> sqlite3.Cursor:
    """Select `what`, then each part of a summary or NULL; a table is read only if something in it is wanted."""
    columns = ", ".join(name if flag in want else "NULL" for flag, name in _WANTED)
    join = "JOIN email ON email.row = message.email " if want & _NARROW else ""
    join += "JOIN summary ON summary.row = message.email" if want & ~_NARROW else ""
    return connection.execute(
        f"SELECT {what}, {columns} FROM message {join} "  # noqa: S608 -- names of columns, our own
        f"WHERE mailbox = ? AND uid IN (SELECT value FROM json_each(?)) {order}",
        (row, json.dumps(list(uids))),
    )
