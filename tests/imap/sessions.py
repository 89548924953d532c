"""IMAP sessions over a store in memory, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.imap.factory import IMAPSettings, imap_factory
from mailfw.interfaces import IAccount, IDraft, IMailStore
from mailfw.mail.failure import NoSpace
from mailfw.mail.mailbox import INBOX, Flags, MailboxInfo, NewMessage, Path
from mailfw.stores.memory import MemoryStore
from mailfw.testing.dialogue import Dialogue, run_now
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory

ANN = "ann@example.org"


@implementer(IDraft)
class HeldDraft:
    """A draft in memory with room for so many octets."""

    def __init__(self, room: int = 2**30) -> None:
        self.octets = bytearray()
        self.closed = False
        self._room = room

    @property
    def size(self) -> int:
        return len(self.octets)

    async def write(self, octets: bytes) -> None:
        if len(self.octets) + len(octets) > self._room:
            raise NoSpace("The disk is full")
        self.octets += octets

    async def read(self, offset: int, length: int) -> bytes:
        return bytes(self.octets[offset : offset + length])

    async def close(self) -> None:
        self.closed = True


@implementer(IAccount)
class PretendAccount:
    def __init__(self, name: str, store: IMailStore) -> None:
        self.name = name
        self.store = store


@implementer(IRealm)
class PretendRealm:
    """Gives everybody the account of their name."""

    def __init__(self, store: IMailStore) -> None:
        self._store = store
        self.logouts = 0

    def _logout(self) -> None:
        self.logouts += 1

    def requestAvatar(self, avatar_id: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        assert isinstance(avatar_id, bytes)
        return IAccount, PretendAccount(avatar_id.decode(), self._store), self._logout


class SessionCase(SynchronousTestCase):
    """A test over one account in memory; ``self.settings`` may be replaced before `connect`."""

    def setUp(self) -> None:
        self.store: Any = MemoryStore()
        self.clock = Clock()
        self.drafts: list[HeldDraft] = []
        self.room = 2**30
        self.settings = IMAPSettings("mail.example.org", allow_plaintext_auth=True, version="1")
        self.limits = ConnectionLimits()
        self.realm = PretendRealm(self.store)
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(ANN.encode(), b"secret")
        self.portal = Portal(self.realm, [checker])
        run_now(self, self.store.open_account(ANN))

    def make_factory(self) -> SessionFactory:
        return imap_factory(
            self.settings, portal=self.portal, open_draft=self._open_draft, clock=self.clock, limits=self.limits
        )

    async def _open_draft(self, size: int) -> HeldDraft:
        self.drafts.append(HeldDraft(self.room))
        return self.drafts[-1]

    def connect(self) -> Dialogue:
        """Connect, and let the greeting pass."""
        dialogue = Dialogue(self.make_factory())
        self.assertTrue(dialogue.hear().startswith(b"* OK "))
        return dialogue

    def log_in(self) -> Dialogue:
        """Connect and log in."""
        dialogue = self.connect()
        self.assertIn(b"in OK", self.ask(dialogue, b"in LOGIN ann@example.org secret"))
        return dialogue

    def open(self, mailbox: bytes = b"INBOX", verb: bytes = b"SELECT") -> Dialogue:
        """Connect, log in and select."""
        dialogue = self.log_in()
        self.assertIn(b"sel OK", self.ask(dialogue, b"sel " + verb + b" " + mailbox))
        return dialogue

    def ask(self, dialogue: Dialogue, line: bytes) -> bytes:
        """Say one line, and return all that is answered."""
        dialogue.say(line + b"\r\n")
        return dialogue.hear()

    def ask_lines(self, dialogue: Dialogue, line: bytes) -> list[bytes]:
        """`ask`, in lines."""
        return self.ask(dialogue, line).split(b"\r\n")[:-1]

    def info(self, path: Path = INBOX) -> MailboxInfo:
        """Return a mailbox as it is."""
        for info in run_now(self, self.store.mailboxes(ANN)):
            if info.path == path:
                assert isinstance(info, MailboxInfo)
                return info
        raise KeyError(path)

    def put(self, count: int = 1, *flags: str, path: Path = INBOX) -> list[int]:
        """Put messages into a mailbox; return their UIDs."""
        uids = []
        for _ in range(count):
            draft = HeldDraft()
            run_now(self, draft.write(b"Subject: Hello\r\n\r\nHow are you?\r\n"))
            new = NewMessage(draft, frozenset(flags), 1_000_000_000)
            uids.append(run_now(self, self.store.append(ANN, self.info(path).id, [new]))[0].uid)
        return uids

    def flags(self, path: Path = INBOX) -> dict[int, Flags]:
        """Return the flags of all messages, by UID."""
        snapshot = run_now(self, self.store.snapshot(ANN, self.info(path).id, 0))
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))
