"""
Random work on one account by several clients of several servers, and the account that is kept of it.

Every message has an owner: one of the clients, and that one alone copies, moves and removes it.  So it is known at any
time how many there must be of each.  Everybody changes everybody's flags.  The same seed makes the same clients do the
same; what comes between what is the machine's.
"""

from __future__ import annotations

import imaplib
import os
import poplib
import re
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from imapclient.exceptions import IMAPClientError  # type: ignore[import-untyped]
from imapclient.response_parser import parse_fetch_response  # type: ignore[import-untyped]

from mailfw.stores.maildir.layout import directory_of

#: Mailboxes that are always there, one that is now here and now there, and what keywords there are.
SHARED = ["INBOX", "Work", "Work/2026년", "받은 편지함", "Tom & Jerry"]
WANDERING = ["Here", "There"]
KEYWORDS = ["$Forwarded", "$Label1", "NonJunk", "Work", "todo", *(f"word{number}" for number in range(12))]
FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", *KEYWORDS]

#: Messages of one client beyond which it removes more than it adds.
PLENTY = 60

TOKEN = re.compile(rb"X-Token: ([\w-]+)", re.IGNORECASE)
_FIELD = "UID BODY.PEEK[HEADER.FIELDS (X-TOKEN)]"


def fetch_all(client: IMAPClient, what: str) -> dict[int, dict[bytes, Any]]:
    """Fetch something of every message, by UID; a literal is what the key that begins so holds."""
    _, lines = client._imap.uid("FETCH", "1:*", f"({what})")
    if lines == [None]:
        return {}
    answers: dict[int, dict[bytes, Any]] = parse_fetch_response(lines, normalise_times=False)
    return answers


class Books:
    """What there must be: how many of each message, and which message has which UID, for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count: Counter[str] = Counter()
        #: What a connection that broke may have done, more or less.
        self.doubt: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []
        self._uids: dict[tuple[int, int], str] = {}
        self.is_over = threading.Event()

    def add(self, token: str, number: int) -> None:
        """Note that there are more, or fewer, of a message."""
        with self._lock:
            self.count[token] += number

    def wonder(self, token: str) -> None:
        """Note that nobody can know whether there is one more, or less, of a message."""
        with self._lock:
            self.doubt[token] += 1

    def note(self, what: str) -> None:
        """Count something that was done."""
        with self._lock:
            self.done[what] += 1

    def fail(self, fault: str) -> None:
        """Note a fault."""
        with self._lock:
            self.faults.append(f"{time.strftime('%H:%M:%S')} {fault}")

    def saw(self, uid_validity: int, uid: int, token: str) -> None:
        """Note a message's UID; another message that had it is a fault."""
        with self._lock:
            before = self._uids.setdefault((uid_validity, uid), token)
        if before != token:
            self.fail(f"UID {uid} of {uid_validity} was {before} and is {token}")


class Worker:
    """One client: `act` does one thing at random."""

    def __init__(self, name: str, seed: int, books: Books, pause: float) -> None:
        self.name = name
        self.random = Random(f"{seed} {name}")
        self.books = books
        self._pause = pause
        self._number = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the last act."""
        self._thread.join(60)
        if self._thread.is_alive():
            self.books.fail(f"{self.name} hangs")

    def _work(self) -> None:
        while not self.books.is_over.is_set():
            try:
                self.act()
            except Exception:
                self.books.fail(f"{self.name}: {traceback.format_exc()}")
            self.books.is_over.wait(self.random.expovariate(1 / self._pause))
        with suppress(Exception):
            self.leave()

    def act(self) -> None:
        """Do one thing."""
        raise AssertionError

    def leave(self) -> None:
        """Break up."""

    def make(self, owner: str) -> tuple[str, bytes]:
        """Return a new message with its token, which begins with its owner."""
        self._number += 1
        token = f"{owner}-{self.name}-{self._number}"
        body = "".join(f"line {self.random.random()}\r\n" for _ in range(self.random.choice([0, 1, 20, 400])))
        head = f"From: {self.name}@example.net\r\nX-Token: {token}\r\nSubject: number {self._number}\r\n"
        return token, f"{head}\r\n{body}".encode()


class ImapWorker(Worker):
    """A client of one server by IMAP; `others` may own what it brings."""

    def __init__(
        self, name: str, seed: int, books: Books, pause: float, connect: Callable[[], IMAPClient], others: list[str]
    ) -> None:
        super().__init__(name, seed, books, pause)
        self._connect = connect
        self._others = others
        self._client: IMAPClient | None = None
        self._own: list[str] = []
        self._acts: list[tuple[Callable[[], None], int]] = [
            (self._append, 6),
            (self._flag, 14),
            (self._copy, 4),
            (self._move, 6),
            (self._remove, 7),
            (self._read, 4),
            (self._create, 1),
            (self._rename, 1),
            (self._delete, 1),
            (self._wander, 1),
            (self._subscribe, 2),
        ]

    @property
    def client(self) -> IMAPClient:
        """The connection, made if there is none."""
        if self._client is None:
            self._client = self._connect()
            self._client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._client

    def act(self) -> None:
        """Do one thing; a mailbox that is elsewhere by now is nobody's fault."""
        [act] = self.random.choices([act for act, _ in self._acts], [weight for _, weight in self._acts])
        what = f"{act.__name__[1:]}"
        try:
            act()
            self.books.note(what)
        except (imaplib.IMAP4.abort, OSError) as error:
            self.books.note(f"{what} broken")
            self._client = None
            if "deleted" not in str(error) and "BYE" not in str(error):
                self.books.note(f"{self.name}: {error!r:.300}")
        except IMAPClientError as error:
            self.books.note(f"{what} refused")
            self.books.note(f"{self.name[:7]} {what}: {error!s:.160}")

    def leave(self) -> None:
        """Log out."""
        if self._client is not None:
            self._client.logout()

    # ------------------------------------------------------------ messages

    def _place(self) -> str:
        return self.random.choice([*SHARED, *SHARED, *WANDERING, *self._own])

    def _append(self) -> None:
        mine = self.random.random() < 0.6
        token, octets = self.make(self.name if mine else self.random.choice(self._others))
        flags = self.random.sample(FLAGS, self.random.choice([0, 0, 1, 3]))
        place = self._place() if mine else self.random.choice(SHARED)
        self._change([(token, 1)], lambda: self.client.append(place, octets, flags))

    def _change(self, tokens: list[tuple[str, int]], work: Callable[[], Any]) -> None:
        """Do what makes more or fewer of messages: done if the server says so, not if it refuses."""
        try:
            work()
        except (imaplib.IMAP4.abort, OSError):
            for token, _ in tokens:
                self.books.wonder(token)
            raise
        for token, number in tokens:
            self.books.add(token, number)

    def _select(self, place: str) -> dict[int, str]:
        """Open a mailbox and return who is in it, by UID."""
        validity = self.client.select_folder(place)[b"UIDVALIDITY"]
        found = {}
        for uid, data in fetch_all(self.client, _FIELD).items():
            header = next((each for key, each in data.items() if key.startswith(b"BODY")), None)
            if header is None:
                continue  # news of flags
            token = TOKEN.search(header)
            if token is None:
                self.books.fail(f"{self.name}: {place} {uid} has no token: {data!r:.200}")
                continue
            found[uid] = token[1].decode()
            self.books.saw(validity, uid, found[uid])
        return found

    def _mine(self, place: str) -> dict[int, str]:
        return {uid: token for uid, token in self._select(place).items() if token.startswith(f"{self.name}-")}

    def _some(self, found: dict[int, str]) -> dict[int, str]:
        uids = self.random.sample(sorted(found), min(len(found), self.random.choice([1, 1, 2, 5])))
        return {uid: found[uid] for uid in uids}

    def _flag(self) -> None:
        some = self._some(self._select(self._place()))
        if some:
            flags = self.random.sample(FLAGS, self.random.choice([1, 1, 2]))
            change = self.random.choice([self.client.add_flags, self.client.add_flags, self.client.remove_flags])
            change(list(some), flags)

    def _copy(self) -> None:
        if sum(1 for token, count in list(self.books.count.items()) if token.startswith(self.name) and count) > PLENTY:
            return
        some = self._some(self._mine(self._place()))
        to = self._place()
        if some:
            self._change([(token, 1) for token in some.values()], lambda: self.client.copy(list(some), to))

    def _move(self) -> None:
        place = self._place()
        to = self.random.choice([each for each in [*SHARED, *WANDERING, *self._own] if each != place])
        some = self._some(self._mine(place))
        if some:
            self._change([(token, 0) for token in some.values()], lambda: self.client.move(list(some), to))

    def _remove(self) -> None:
        place = self._place()
        some = self._some(self._mine(place))
        if not some:
            return

        def work() -> None:
            self.client.add_flags(list(some), ["\\Deleted"])
            self.client.expunge(list(some))

        self._change([(token, -1) for token in some.values()], work)
        left = set(fetch_all(self.client, "UID")) & set(some)
        if left:
            self.books.fail(f"{self.name}: {place} {sorted(left)} are still there after EXPUNGE")

    def _read(self) -> None:
        place = self._place()
        found = self._some(self._select(place))
        for uid, data in self.client.fetch(list(found), ["BODY.PEEK[]", "RFC822.SIZE"]).items() if found else ():
            token = TOKEN.search(data.get(b"BODY[]") or b"")
            # Its owner may have removed it meanwhile.
            if data.get(b"BODY[]") and (token is None or token[1].decode() != found[uid]):
                self.books.fail(f"{self.name}: {place} {uid} is {token}, and was {found[uid]}")

    # ------------------------------------------------------------ mailboxes

    def _create(self) -> None:
        if len(self._own) < 3:
            self._number += 1
            name = self.random.choice(["", "Work/", "받은 편지함/"]) + f"{self.name} {self._number}é"
            self.client.create_folder(name)
            self._own.append(name)

    def _rename(self) -> None:
        if self._own:
            self._number += 1
            old, new = self.random.choice(self._own), f"{self.name} ~{self._number}"
            self.client.rename_folder(old, new)
            self._own[self._own.index(old)] = new

    def _delete(self) -> None:
        if self._own:
            name = self.random.choice(self._own)
            lost = Counter(self._select(name).values())
            self.client.unselect_folder() if self.client.has_capability("UNSELECT") else self.client.close_folder()
            self._change([(token, -number) for token, number in lost.items()], lambda: self.client.delete_folder(name))
            self._own.remove(name)

    def _wander(self) -> None:
        """Rename what others are using; whoever comes second is refused."""
        old, new = self.random.sample(WANDERING, 2)
        self.client.rename_folder(old, new)

    def _subscribe(self) -> None:
        name = self.random.choice([*SHARED, *WANDERING, *self._own])
        self.random.choice([self.client.subscribe_folder, self.client.unsubscribe_folder])(name)


class PopWorker(Worker):
    """A client of one server by POP3, which removes what it owns."""

    def __init__(self, name: str, seed: int, books: Books, pause: float, connect: Callable[[], poplib.POP3]) -> None:
        super().__init__(name, seed, books, pause)
        self._connect = connect

    def act(self) -> None:
        """Fetch a few messages and remove some."""
        try:
            client = self._connect()
        except (poplib.error_proto, OSError) as error:
            self.books.note(f"{self.name}: {error!r:.100}")
            return
        unique = [line.split()[1] for line in client.uidl()[1]]
        if len(set(unique)) != len(unique):
            self.books.fail(f"{self.name}: unique-ids are not: {unique}")
        going = []
        for number in sorted(self.random.sample(range(1, len(unique) + 1), min(len(unique), 6))):
            try:
                lines = client.top(number, 0)[1]
            except poplib.error_proto:
                continue  # somebody has removed it
            token = TOKEN.search(b"\n".join(lines))
            if token is None:
                self.books.fail(f"{self.name}: {unique[number - 1]!r} has no token: {lines}")
            elif token[1].startswith(f"{self.name}-".encode()):
                client.dele(number)
                going.append(token[1].decode())
        client.quit()
        for token_ in going:
            self.books.add(token_, -1)
        self.books.note("pop3")


class Dropper(Worker):
    """A program that knows maildirs and nothing else, and puts mail into them."""

    def __init__(self, name: str, seed: int, books: Books, pause: float, root: Path, owners: list[str]) -> None:
        super().__init__(name, seed, books, pause)
        self._root = root
        self._owners = owners

    def act(self) -> None:
        """Deliver a message, with the line ends of this machine."""
        place = self.random.choice([*SHARED, "INBOX", "INBOX"])
        folder = self._root if place == "INBOX" else self._root / directory_of(tuple(place.split("/")))
        token, octets = self.make(self.random.choice(self._owners))
        name = f"{time.time():.6f}.P{os.getpid()}Q{self._number}.dropper"
        draft = folder / "tmp" / name
        draft.write_bytes(octets.replace(b"\r\n", b"\n"))
        os.chown(draft, folder.stat().st_uid, folder.stat().st_gid)
        draft.rename(folder / "new" / name)
        self.books.add(token, 1)
        self.books.note("dropped")
