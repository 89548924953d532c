"""Another server to read an account from, by IMAP; needs the library imapclient."""

from __future__ import annotations

import imaplib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from mailfw.mail.mailbox import Path, Role
from mailfw.transfer.account import Box, BoxRefused, Entry, TransferRefused
from mailfw.transfer.flags import flags_of

T = TypeVar("T")

#: Messages that are listed at once: their UIDs fit in the 8,192 octets that every server takes, RFC 7162 section 4.
LISTED = 700
#: Octets of a message that is read in pieces, and of a piece.
LARGE, PIECE = 4 * 1024 * 1024, 1024 * 1024
#: Seconds without an octet after which the connection is made anew; RFC 3501 section 5.4 has no limit for a server.
PATIENCE = 120.0
#: Seconds before each new attempt to connect.
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
#: Attributes of mailboxes that show what others hold: RFC 6154 section 2, RFC 8457.
VIRTUAL = frozenset({"\\all", "\\flagged", "\\important"})
#: Attributes of names that cannot be selected: RFC 3501 section 7.2.2, RFC 5258 section 3.
HOLLOW = frozenset({"\\noselect", "\\nonexistent"})
#: What is raised for a refusal, and for an answer that no server should give.
NONSENSE = (imaplib.IMAP4.error, LookupError, TypeError, ValueError, AttributeError)
#: UIDs by RFC 3501 section 9; what a store here cannot number so gets another UID.
UIDS = range(1, 2**32)
_ROLES = {role.value.lower(): role for role in Role}


@dataclass(frozen=True, slots=True)
class Address:
    """Where an account is: ``imaps://user@host:port``, or ``imap://`` with STARTTLS."""

    user: str
    host: str
    port: int
    is_tls: bool

    @property
    def name(self) -> str:
        """What tells this account from others."""
        return f"imap:{self.user}@{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read a URL of an account.  Raises `TransferRefused`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as reason:
        raise TransferRefused(f"{text}: {reason}")
    if parts.scheme not in ("imap", "imaps") or not parts.hostname or parts.path not in ("", "/"):
        raise TransferRefused(f"{text}: write imaps://USER@HOST or imap://USER@HOST:PORT")
    if parts.password is not None:
        raise TransferRefused("a password on the command line can be read by every user of the machine: leave it out")
    is_tls = parts.scheme == "imaps"
    return Address(unquote(parts.username or ""), parts.hostname, port or (993 if is_tls else 143), is_tls)


class Unreachable(TransferRefused):
    """The server does not answer, however often it is asked."""


class ImapServer:
    """
    A connection that is made anew where it breaks.  Everything here blocks, and is used by one thread at a time.

    `tell` gets a line where something has to be waited for.
    """

    def __init__(
        self,
        address: Address,
        password: str,
        *,
        context: ssl.SSLContext | None = None,
        allow_plaintext: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        try:
            import imapclient  # type: ignore[import-untyped] # it has no types
        except ImportError:
            raise TransferRefused("reading another server needs imapclient: pip install 'mailfw[migrate]'")
        self._library: Any = imapclient
        self._lost = (OSError, imaplib.IMAP4.abort, ssl.SSLError)
        self._address = address
        self._password = password
        self._context = context or ssl.create_default_context()
        self._allow_plaintext = allow_plaintext
        self._tell = tell
        self._interrupted = threading.Event()
        self._client: Any = None
        self._selected: tuple[str, int] | None = None

    # ------------------------------------------------------------ the connection

    def _connected(self) -> Any:
        if self._client is None:
            self._client = self._connect()
            self._selected = None
        return self._client

    def _connect(self) -> Any:
        address = self._address
        client = self._library.IMAPClient(
            address.host,
            address.port,
            use_uid=True,
            ssl=address.is_tls,
            ssl_context=self._context if address.is_tls else None,
            timeout=PATIENCE,
        )
        client.normalise_times = False
        if not address.is_tls:
            self._protect(client)
        try:
            # RFC 3501 section 6.2.3 has ASCII alone, RFC 4616 section 2 every character.
            is_plain = not f"{address.user}{self._password}".isascii()
            (client.plain_login if is_plain else client.login)(address.user, self._password)
        except self._lost:
            raise
        except imaplib.IMAP4.error as reason:
            raise TransferRefused(f"{address.host} does not let {address.user} in: {reason}")
        return client

    def _protect(self, client: Any) -> None:
        """Begin TLS before anything is said that others should not hear."""
        if client.has_capability("STARTTLS"):
            client.starttls(self._context)
        elif not self._allow_plaintext:
            raise TransferRefused(f"{self._address.host} offers no TLS; --plaintext lets the password go without")

    def _ask(self, work: Callable[[Any], T], pauses: Sequence[float] | None = None) -> T:
        """
        Do something with a connection, again with a new one where it breaks.

        Raises `Unreachable` when all `pauses` are over, and other kinds of `TransferRefused`.
        """
        for pause in (*(PAUSES if pauses is None else pauses), None):
            try:
                return work(self._connected())
            except ssl.SSLCertVerificationError as reason:
                raise TransferRefused(f"{self._address.host}: its certificate is not good: {reason.verify_message}")
            except self._lost as reason:
                self._drop()
                if self._interrupted.is_set():
                    raise TransferRefused(f"{self._address.host}: {reason}")
                if pause is None:
                    raise Unreachable(f"{self._address.host}: {reason}")
                self._tell(f"{self._address.host}: {reason}; trying again in {pause:.0f} s")
                self._interrupted.wait(pause)
        raise AssertionError

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, imaplib.IMAP4.error):
                client.shutdown()

    def interrupt(self) -> None:
        """Let whatever waits for the server fail; called from another thread."""
        self._interrupted.set()
        client = self._client
        if client is not None:
            with suppress(OSError):
                client.socket().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say good-bye."""
        if self._interrupted.is_set():
            self._drop()
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, imaplib.IMAP4.error):
                client.logout()

    # ------------------------------------------------------------ mailboxes

    def boxes(self) -> list[Box]:
        """Return the user's own mailboxes that hold messages of their own."""
        return self._ask_sense(self._boxes)

    def _ask_sense(self, work: Callable[[Any], T]) -> T:
        """Ask what concerns the account as a whole.  Raises `TransferRefused` also for answers that make no sense."""
        try:
            return self._ask(work)
        except NONSENSE as reason:
            raise TransferRefused(f"{self._address.host} does not say which mailboxes there are: {reason!r}")

    def _boxes(self, client: Any) -> list[Box]:
        own, foreign = _prefixes(client)
        subscribed = {name for _, _, name in client.list_sub_folders()}
        found = []
        for attributes, delimiter, key in client.list_folders():
            words = {_text(each).lower() for each in attributes}
            if words & (VIRTUAL | HOLLOW) or any(key.startswith(prefix) for prefix in foreign):
                continue
            role = next((_ROLES[each] for each in sorted(words) if each in _ROLES), None)
            found.append(Box(key, path_of(key, delimiter, own), role, key in subscribed, *_status(client, key)))
        return found

    def subscriptions(self) -> frozenset[Path]:
        """Return the subscribed paths."""

        def ask(client: Any) -> frozenset[Path]:
            own, foreign = _prefixes(client)
            names = [(delimiter, key) for _, delimiter, key in client.list_sub_folders()]
            mine = [each for each in names if not any(each[1].startswith(prefix) for prefix in foreign)]
            return frozenset(path_of(key, delimiter, own) for delimiter, key in mine)

        return self._ask_sense(ask)

    def _select(self, client: Any, box: Box) -> None:
        if self._selected == (box.key, box.uid_validity):
            return
        self._selected = None
        try:
            told = client.select_folder(box.key, readonly=True)
        except self._lost:
            raise
        except imaplib.IMAP4.error as reason:
            raise BoxRefused(f"the server does not let it be read: {reason}")
        if told.get(b"UIDVALIDITY", box.uid_validity) != box.uid_validity:
            raise BoxRefused("its UIDVALIDITY has changed meanwhile; begin again")
        self._selected = (box.key, box.uid_validity)

    # ------------------------------------------------------------ messages

    def uids(self, box: Box) -> list[int]:
        """Return the UIDs of a mailbox, ascending."""

        def ask(client: Any) -> list[int]:
            self._select(client, box)
            return sorted(client.search("ALL"))

        return [uid for uid in self._ask_of(ask) if uid in UIDS]

    def _ask_of(self, work: Callable[[Any], T]) -> T:
        """Ask what concerns a mailbox as a whole.  Raises `BoxRefused` too."""
        try:
            return self._ask(work)
        except NONSENSE as reason:
            raise BoxRefused(f"the server does not let it be listed: {reason!r}")

    def entries(self, box: Box, uids: Sequence[int]) -> list[Entry]:
        """Return what the server says of messages."""
        wanted = set(uids)

        def ask(client: Any) -> list[Entry]:
            self._select(client, box)
            answer = client.fetch(list(uids), ["FLAGS", "INTERNALDATE", "RFC822.SIZE"])
            found = sorted((uid, told) for uid, told in answer.items() if uid in wanted and b"RFC822.SIZE" in told)
            return [_entry(uid, told) for uid, told in found]

        return self._ask_of(ask)

    def octets(self, box: Box, uids: Sequence[int]) -> dict[int, bytes]:
        """
        Return messages as a whole; those that the server does not give are left out.

        So is one over which the connection breaks each time, though the server is there.
        """
        try:
            return self._ask(lambda client: self._fetch(client, box, uids), PAUSES[:2])
        except Unreachable:
            self._ask(lambda client: client.noop())
        except NONSENSE:
            pass
        half = len(uids) // 2
        return self.octets(box, uids[:half]) | self.octets(box, uids[half:]) if half else {}

    def _fetch(self, client: Any, box: Box, uids: Sequence[int]) -> dict[int, bytes]:
        self._select(client, box)
        answer = client.fetch(list(uids), ["BODY.PEEK[]", "RFC822.SIZE"])
        found = {uid: told for uid, told in answer.items() if uid in set(uids) and b"BODY[]" in told}
        # RFC 3501 section 9: NIL, which some write for nothing at all, is no octets only where there are none.
        empty = {uid: b"" for uid, told in found.items() if told[b"BODY[]"] is None and told.get(b"RFC822.SIZE") == 0}
        return {uid: told[b"BODY[]"] for uid, told in found.items() if told[b"BODY[]"] is not None} | empty

    def file(self, box: Box, uid: int) -> IO[bytes] | None:
        """Return a large message in a file without a name, read in pieces; None if the server does not give it."""
        file = tempfile.TemporaryFile()  # noqa: SIM115 -- whoever asked closes it
        try:
            while piece := self._ask(lambda client: self._piece(client, box, uid, file.tell())):
                file.write(piece)
            file.flush()
        except NONSENSE:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        return file

    def _piece(self, client: Any, box: Box, uid: int, offset: int) -> bytes:
        self._select(client, box)
        answer = client.fetch([uid], [f"BODY.PEEK[]<{offset}.{PIECE}>"])
        piece = answer[uid].get(b"BODY[]<%d>" % offset)
        # Of a server that gives another piece than we ask for the message would never end.
        if not isinstance(piece, bytes) or len(piece) > PIECE:
            raise imaplib.IMAP4.error("the message is not given")
        return piece


# ---------------------------------------------------------------- what servers say


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _status(client: Any, key: str) -> tuple[int, int, int]:
    """Return UIDVALIDITY, next UID and number of messages; zeros for a mailbox of which nothing is told."""
    try:
        told = client.folder_status(key, ("MESSAGES", "UIDVALIDITY", "UIDNEXT"))
    except imaplib.IMAP4.abort:
        raise
    except NONSENSE:
        return 0, 0, 0
    status = {_text(word): value for word, value in told.items()}
    return status.get("UIDVALIDITY", 0), status.get("UIDNEXT", 0), status.get("MESSAGES", 0)


def _prefixes(client: Any) -> tuple[str, list[str]]:
    """Return what the user's own names begin with, and what those of others do (RFC 2342)."""
    if not client.has_capability("NAMESPACE"):
        return "", []
    spaces = client.namespace()
    own = [_text(prefix) for prefix, _ in spaces.personal or ()]
    others = [_text(prefix) for prefix, _ in (*(spaces.other or ()), *(spaces.shared or ()))]
    return (own[0] if own else ""), [prefix for prefix in others if prefix and prefix not in own]


def path_of(key: str, delimiter: bytes | str | None, prefix: str) -> Path:
    """Return a mailbox's path; ``INBOX.Work`` of a server that has everything below the inbox is ``("Work",)``."""
    if key.upper() == "INBOX":
        return ("INBOX",)
    plain = key[len(prefix) :] if prefix and key.startswith(prefix) and len(key) > len(prefix) else key
    parts = plain.split(_text(delimiter)) if delimiter else [plain]
    path = tuple(part for part in parts if part)
    return ("INBOX", *path) if len(path) == 1 and path[0].upper() == "INBOX" else path


def _entry(uid: int, told: dict[bytes, Any]) -> Entry:
    date = told.get(b"INTERNALDATE")
    received = int(date.timestamp()) if date is not None else int(time.time())
    flags = flags_of(map(_text, told.get(b"FLAGS", ())))
    return Entry(uid, int(told[b"RFC822.SIZE"]), received, flags, is_dated=date is not None)
