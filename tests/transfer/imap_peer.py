"""A server with an account to be read, that does what the worst of them do: one thread for each connection."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mailfw.mail import utf7

DATE = '"04-Mar-2011 05:06:07 +0100"'
PASSWORD = "their password"


@dataclass(slots=True)
class PeerBox:
    """A mailbox: octets by UID; `refused` are not given, over `deadly` the connection breaks each time."""

    messages: dict[int, bytes] = field(default_factory=dict)
    attributes: str = ""
    uid_validity: int = 1_300_000_000
    uid_next: int = 0
    flags: str = "\\Seen $Work"
    refused: set[int] = field(default_factory=set)
    deadly: set[int] = field(default_factory=set)
    is_closed: bool = False
    sizes: dict[int, int] = field(default_factory=dict)


class ImapPeer:
    """
    Listens on a free port of loopback; `boxes` are by name, as the server spells them.

    `cut_after` is how many messages are given before the connection breaks, once; `namespace` is what NAMESPACE tells.
    """

    def __init__(self, delimiter: str = "/", namespace: str = "", certificate: Path | None = None) -> None:
        self.boxes: dict[str, PeerBox] = {}
        self.delimiter = delimiter
        self.namespace = namespace
        self.subscribed: list[str] = []
        self.given = 0
        self.cut_after = 0
        self.logins = 0
        self.capabilities = "IMAP4rev1" + (" NAMESPACE" if namespace else "")
        self._context = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections, and break those there are."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing it alone would leave `accept` waiting
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with self._context.wrap_socket(connection, server_side=True) if self._context else connection as secured:
                _Session(self, secured).run()
        except (OSError, ValueError):
            return


class _Break(Exception):
    """The connection ends here."""


class _Session:
    def __init__(self, peer: ImapPeer, connection: socket.socket) -> None:
        self._peer = peer
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._box = PeerBox()

    def run(self) -> None:
        self._say("* OK here")
        for line in self._lines:
            tag, _, rest = line.decode("ascii").rstrip("\r\n").partition(" ")
            verb, _, said = rest.partition(" ")
            if verb == "UID":
                verb, _, said = said.partition(" ")
            work: Callable[[str], str | None] = getattr(self, f"_{verb.lower()}")
            try:
                answer = work(said)
            except _Break:
                self._connection.shutdown(socket.SHUT_RDWR)
                return
            self._say(f"{tag} {answer or 'OK done'}")

    def _say(self, text: str) -> None:
        self._connection.sendall(text.encode("ascii") + b"\r\n")

    def _capability(self, said: str) -> None:
        self._say(f"* CAPABILITY {self._peer.capabilities}")

    def _login(self, said: str) -> str | None:
        self._peer.logins += 1
        return None if f'"{PASSWORD}"' in said else "NO wrong"

    def _authenticate(self, said: str) -> str | None:
        self._peer.logins += 1
        self._say("+ ")
        words = base64.b64decode(self._lines.readline()).decode().split("\0")
        return None if said == "PLAIN" and words == ["", "ann", PASSWORD] else "NO wrong"

    def _logout(self, said: str) -> None:
        self._say("* BYE")

    def _noop(self, said: str) -> None:
        """Do nothing."""

    def _namespace(self, said: str) -> None:
        self._say(f"* NAMESPACE {self._peer.namespace}")

    def _list(self, said: str) -> None:
        for name, box in self._peer.boxes.items():
            self._say(f'* LIST ({box.attributes}) "{self._peer.delimiter}" "{_quoted(name)}"')

    def _lsub(self, said: str) -> None:
        for name in self._peer.subscribed:
            self._say(f'* LSUB () "{self._peer.delimiter}" "{_quoted(name)}"')

    def _find(self, said: str) -> PeerBox:
        name = said.partition('" (')[0].strip('"') if said.startswith('"') else said.partition(" ")[0]
        return self._peer.boxes[utf7.decode(name.replace('\\"', '"').replace("\\\\", "\\"))]

    def _status(self, said: str) -> str | None:
        box = self._find(said)
        if box.is_closed:
            return "NO not for you"
        following = box.uid_next or max(box.messages, default=0) + 1
        self._say(
            f"* STATUS {said.partition(' (')[0]} "
            f"(MESSAGES {len(box.messages)} UIDVALIDITY {box.uid_validity} UIDNEXT {following})"
        )
        return None

    def _examine(self, said: str) -> str | None:
        box = self._find(said)
        if box.is_closed:
            return "NO not for you"
        self._box = box
        self._say(f"* {len(box.messages)} EXISTS")
        self._say(f"* OK [UIDVALIDITY {box.uid_validity}] these")
        return "OK [READ-ONLY] done"

    def _search(self, said: str) -> None:
        self._say(" ".join(["* SEARCH", *map(str, self._box.messages)]))

    def _fetch(self, said: str) -> str | None:
        which, _, what = said.partition(" ")
        wanted = {int(each) for part in which.split(",") for each in _range(part)} & set(self._box.messages)
        if "BODY" in what and wanted & self._box.refused:
            return "NO [SERVERBUG] this message cannot be had"
        for number, uid in enumerate(self._box.messages, 1):
            if uid in wanted:
                self._give(number, uid, what)
        return None

    def _give(self, number: int, uid: int, what: str) -> None:
        octets = self._box.messages[uid]
        size = self._box.sizes.get(uid, len(octets))
        if "BODY" not in what:
            self._say(f"* {number} FETCH (UID {uid} FLAGS ({self._box.flags}) INTERNALDATE {DATE} RFC822.SIZE {size})")
            return
        self._count(uid)
        part = re.search(r"<(\d+)\.(\d+)>", what)
        section = f"BODY[]<{part[1]}>" if part else "BODY[]"
        if part:
            octets = octets[int(part[1]) :][: int(part[2])]
        head = f"* {number} FETCH (UID {uid} RFC822.SIZE {size} {section} {{{len(octets)}}}\r\n"
        self._connection.sendall(head.encode() + octets + b")\r\n")

    def _count(self, uid: int) -> None:
        self._peer.given += 1
        if uid in self._box.deadly:
            raise _Break
        if self._peer.cut_after and self._peer.given > self._peer.cut_after:
            self._peer.cut_after = 0
            raise _Break


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def _quoted(name: str) -> str:
    return utf7.encode(name).replace("\\", "\\\\").replace('"', '\\"')
