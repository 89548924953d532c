"""
Clients that deliver, append, flag and move at the same time, and note what was acknowledged; and a look at the end.

What was acknowledged is there once and whole, with the UID that was told and the flag that was set; what was not may be
there once.  A client that loses its connection, or is told to try again, goes on as long as it is wanted.
"""

from __future__ import annotations

import imaplib
import re
import smtplib
import socket
import threading
import time
from dataclasses import dataclass, field

from tests.interop.server import PASSWORD, RunningServer

BODY = b"0123456789abcdef" * 4 + b"\r\n"
MAILBOXES = ("INBOX", "Archive")
PATIENCE = 30.0  # seconds for the queue to empty, and for something to happen


def message(name: str) -> bytes:
    """Make a message whose end says that it is whole."""
    return f"Subject: {name}\r\n\r\n".encode() + BODY * 40 + f"end of {name}\r\n".encode()


@dataclass
class Told:
    """What was said of a message: where it may be by now (None: with any UID there), and whether it has a flag."""

    places: list[tuple[str, int | None]] = field(default_factory=lambda: [("INBOX", None)])
    is_flagged: bool = False


@dataclass(frozen=True)
class Found:
    """A message as it is."""

    mailbox: str
    uid: int
    is_flagged: bool
    is_whole: bool


class Deeds:
    """Clients of one server, all of one account; `complaints` are what nobody should ever hear."""

    def __init__(self, server: RunningServer, account: str = "ann") -> None:
        self.server = server
        self.address = f"{account}@{server.domain}"
        self.acknowledged: dict[str, Told] = {}
        self.attempted: set[str] = set()
        self.refused = 0
        self.complaints: list[str] = []
        self._counts: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._is_wanted = False

    @property
    def flagged(self) -> int:
        """How many are known to have a flag."""
        return sum(told.is_flagged for told in list(self.acknowledged.values()))

    @property
    def moved(self) -> int:
        """How many are known to have been moved away."""
        return sum(told.places[0][0] == "Archive" for told in list(self.acknowledged.values()))

    # ------------------------------------------------------------ doing

    def begin(self, deliverers: int = 3, keepers: int = 2) -> None:
        """Let clients work."""
        self._is_wanted = True
        works = [(self._deliver, f"smtp{n}") for n in range(deliverers)] + [
            (self._keep, f"imap{n}") for n in range(keepers)
        ]
        self._threads = [threading.Thread(target=self._go_on, args=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def wait_for_mail(self, patience: float = PATIENCE) -> None:
        """Wait until something is in the mailboxes, and somebody has been told that something is."""
        until = time.monotonic() + patience
        while not self.look() or not self.flagged:
            if time.monotonic() > until:
                raise AssertionError(f"nothing arrives:\n{self.server.log()}")
            time.sleep(0.2)

    def end(self) -> None:
        """Wait until all have done what they are at."""
        self._is_wanted = False
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int, moved: int = 0) -> None:
        """Wait until so many more messages have been acknowledged, and so many more moved away."""
        wanted, until = (len(self.acknowledged) + more, self.moved + moved), time.monotonic() + PATIENCE
        while len(self.acknowledged) < wanted[0] or self.moved < wanted[1]:
            if time.monotonic() > until:
                done = (len(self.acknowledged), self.moved)
                raise AssertionError(f"only {done} of {wanted} acknowledged and moved:\n{self.server.log()}")
            time.sleep(0.02)

    def _go_on(self, work: object, prefix: str) -> None:
        assert callable(work)
        while self._is_wanted:
            try:
                work(prefix)
            except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error):
                time.sleep(0.02)
            except Exception as error:
                self.complaints.append(f"{prefix}: {error!r}")
                return

    def _new(self, prefix: str) -> str:
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        name = f"{prefix}-{self._counts[prefix]}"
        self.attempted.add(name)
        return name

    def _deliver(self, prefix: str) -> None:
        with smtplib.SMTP("127.0.0.1", self.server.ports["smtp"], timeout=10) as client:
            while self._is_wanted:
                name = self._new(prefix)
                try:
                    client.sendmail("x@elsewhere.example", [self.address], message(name))
                except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as refusal:
                    codes = [code for code, _ in _replies(refusal)]
                    self._refuse(prefix, all(400 <= code < 500 for code in codes), refusal)
                    client.rset()
                else:
                    self.acknowledged[name] = Told([("INBOX", None)])

    def _refuse(self, prefix: str, is_temporary: bool, what: object) -> None:
        self.refused += 1
        if not is_temporary:
            self.complaints.append(f"{prefix} heard {what!r}")
        time.sleep(0.02)

    def _keep(self, prefix: str) -> None:
        client = self.login()
        try:
            client.select("INBOX")
            while self._is_wanted:
                self._keep_one(client, prefix)
        finally:
            client.shutdown()

    def login(self) -> imaplib.IMAP4:
        """Open a session."""
        client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"], timeout=20)
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # it writes in small pieces
        client.login(self.address, PASSWORD)
        return client

    def _keep_one(self, client: imaplib.IMAP4, prefix: str) -> None:
        """Append a message, flag it, and move every second one away."""
        name = self._new(prefix)
        said, words = client.append("INBOX", "", None, message(name))
        if said != "OK":
            self._refuse(prefix, b"[" not in words[0] or any(code in words[0] for code in TEMPORARY), words)
            return
        uid = _number(client, "APPENDUID")
        told = self.acknowledged[name] = Told([("INBOX", uid)])
        if client.uid("STORE", str(uid), "+FLAGS.SILENT", r"(\Flagged)")[0] == "OK":
            told.is_flagged = True
        if uid % 2:
            told.places.append(("Archive", None))
            if client.uid("MOVE", str(uid), "Archive")[0] == "OK":
                told.places[:] = [("Archive", _number(client, "COPYUID"))]

    # ------------------------------------------------------------ looking

    def faults(self) -> list[str]:
        """Say what is not as it was told, once the queue has emptied."""
        until = time.monotonic() + PATIENCE
        while self.acknowledged.keys() - self.look().keys() and time.monotonic() < until:
            time.sleep(0.5)
        time.sleep(0.3)  # a copy too many may be on its way
        found = self.look()
        faults = list(self.complaints)
        for name in self.acknowledged.keys() | found.keys():
            copies = found.get(name, [])
            if name not in self.attempted:
                faults.append(f"nobody sent {name}")
            elif len(copies) > 1:
                faults.append(f"{name} is there {len(copies)} times: {copies}")
            elif not copies:
                faults.append(f"{name} is lost: {self.acknowledged[name]}")
            elif name in self.acknowledged:
                faults += self._compare(name, self.acknowledged[name], copies[0])
        return faults

    def _compare(self, name: str, told: Told, found: Found) -> list[str]:
        is_placed = any(mailbox == found.mailbox and uid in (None, found.uid) for mailbox, uid in told.places)
        right = is_placed and found.is_whole and (found.is_flagged or not told.is_flagged)
        if right and len(told.places) == 1:
            told.places[:] = [(found.mailbox, found.uid)]  # and there it stays
        return [] if right else [f"{name} was to be {told} and is {found}"]

    def clear(self) -> None:
        """Expunge everything, and forget what was told of it: none of it may come back."""
        client = self.login()
        try:
            for mailbox in MAILBOXES:
                client.select(mailbox)
                client.store("1:*", "+FLAGS.SILENT", r"(\Deleted)")
                client.expunge()
        finally:
            client.shutdown()
        self.acknowledged.clear()
        self.attempted.clear()

    def look(self) -> dict[str, list[Found]]:
        """Read all that is there, by name."""
        found: dict[str, list[Found]] = {}
        client = self.login()
        try:
            for mailbox in MAILBOXES:
                selected, words = client.select(mailbox, readonly=True)
                said, fetched = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[])")
                if (selected, said) != ("OK", "OK"):
                    raise AssertionError(f"{mailbox} cannot be read: {words}, {fetched[-1:]}:\n{self.server.log()}")
                for item in fetched:
                    if isinstance(item, tuple):
                        name, each = _found(mailbox, item[0], item[1])
                        found.setdefault(name, []).append(each)
        finally:
            client.shutdown()
        return found


#: RFC 9051 section 7.1: codes of a refusal that is not for ever.
TEMPORARY = (b"UNAVAILABLE", b"INUSE", b"LIMIT", b"SERVERBUG", b"CONTACTADMIN", b"OVERQUOTA")


def _replies(refusal: smtplib.SMTPException) -> list[tuple[int, bytes]]:
    if isinstance(refusal, smtplib.SMTPRecipientsRefused):
        return list(refusal.recipients.values())
    assert isinstance(refusal, smtplib.SMTPResponseException)
    return [(refusal.smtp_code, b"")]


def _number(client: imaplib.IMAP4, code: str) -> int:
    """Return the last UID of a response code."""
    return int(client.response(code)[1][-1].split()[-1])


def _found(mailbox: str, metadata: bytes, octets: bytes) -> tuple[str, Found]:
    subject = re.search(rb"Subject: (\S+)\r\n", octets)
    uid = re.search(rb"UID (\d+)", metadata)
    assert subject is not None and uid is not None
    name = subject[1].decode()
    return name, Found(mailbox, int(uid[1]), b"\\Flagged" in metadata, octets.endswith(message(name)))
