"""A house around a POP3 session: a store in memory, a portal, and ways to fill and to watch them."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.interfaces import IAccount
from mailfw.mail.mailbox import INBOX, NO_FLAGS, Flags, NewMessage, Want
from mailfw.pop3.factory import POP3Settings, pop3_factory
from mailfw.stores.memory.store import MemoryStore
from mailfw.testing.contents import MemoryContent
from mailfw.testing.dialogue import Dialogue, run_now
from mailfw.wire.protocol import SessionFactory

ANN = "ann@example.org"


@implementer(IAccount)
class PretendAccount:
    def __init__(self, name: str, store: Any) -> None:
        self.name = name
        self.store = store


@implementer(IRealm)
class PretendRealm:
    """Gives everybody an account; `logged_in` counts those who have not logged out."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.logged_in = 0

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> Any:  # noqa: N803  # cred's name
        self.logged_in += 1
        return IAccount, PretendAccount(avatarId.decode(), self.store), self._log_out

    def _log_out(self) -> None:
        self.logged_in -= 1


class StoreThatFails:
    """A store one of whose methods raises `error`, once `failing` names it; `replaced` has others by name."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failing = ""
        self.replaced: dict[str, Any] = {}
        self.error: Exception = OSError("the disk is gone")

    def __getattr__(self, name: str) -> Any:
        if name == self.failing:
            raise self.error
        return self.replaced.get(name) or getattr(self._store, name)


class House:
    """One site with one account, `ANN`; passwords are `secret`."""

    def __init__(self, case: SynchronousTestCase, **settings: Any) -> None:
        self._case = case
        self.clock = Clock()
        self.memory = MemoryStore()
        self.store = StoreThatFails(self.memory)
        self.checker = InMemoryUsernamePasswordDatabaseDontUse()
        self.checker.addUser(ANN.encode(), b"secret")
        self.checker.addUser("하늘@example.org".encode(), "비밀 번호".encode())
        self.realm = PretendRealm(self.store)
        self.portal = Portal(self.realm, [self.checker])
        self.settings = POP3Settings("mail.example.org", **{"allow_plaintext_auth": True, **settings})
        for name in (ANN, "하늘@example.org"):
            self.run(self.memory.open_account(name))

    def run(self, coroutine: Any) -> Any:
        return run_now(self._case, coroutine)

    def factory(self, **options: Any) -> SessionFactory:
        return pop3_factory(self.settings, portal=self.portal, clock=self.clock, **options)

    def open(self) -> Dialogue:
        """Return a connection that has heard the greeting."""
        dialogue = Dialogue(self.factory())
        self._case.assertTrue(dialogue.hear().startswith(b"+OK "))
        return dialogue

    def log_in(self, factory: SessionFactory | None = None) -> Dialogue:
        dialogue = Dialogue(factory or self.factory())
        dialogue.say(b"USER ann@example.org\r\nPASS secret\r\n")
        heard = dialogue.hear().split(b"\r\n")
        self._case.assertTrue(heard[2].startswith(b"+OK "), heard)
        return dialogue

    # ------------------------------------------------------------ the inbox

    @property
    def inbox(self) -> Any:
        return next(info for info in self.run(self.memory.mailboxes(ANN)) if info.path == INBOX)

    def put(self, *messages: bytes, flags: Flags = NO_FLAGS, account: str = ANN) -> list[int]:
        new = [NewMessage(MemoryContent(octets), flags) for octets in messages]
        inbox = next(info for info in self.run(self.memory.mailboxes(account)) if info.path == INBOX)
        return [appended.uid for appended in self.run(self.memory.append(account, inbox.id, new))]

    def flags(self) -> dict[int, Flags]:
        """Return the flags of every message, by UID."""
        return self.run(self._flags())  # type: ignore[no-any-return]

    async def _flags(self) -> dict[int, Flags]:
        box = self.inbox.id
        uids = (await self.memory.snapshot(ANN, box, 0)).uids
        rows = [row async for batch in self.memory.rows(ANN, box, uids, Want.NOTHING) for row in batch]
        return {row.uid: row.flags for row in rows}


class Answering:
    """A portal whose answer the test gives: ``answer.callback`` and ``errback``."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.answers: list[Deferred[Any]] = []

    def listCredentialsInterfaces(self) -> Any:
        return self._house.portal.listCredentialsInterfaces()

    def login(self, *_: Any) -> Deferred[Any]:
        self.answers.append(Deferred())
        return self.answers[-1]
