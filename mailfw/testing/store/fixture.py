"""What every case of the store's contract stands on: a store, an account, and short ways to use them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest
from zope.interface.verify import verifyObject

from mailfw.interfaces import IContent, IMailStore
from mailfw.mail.mailbox import (
    DELETED,
    INBOX,
    NO_FLAGS,
    Appended,
    CreateMailbox,
    Expunged,
    FlagChange,
    Flags,
    MailboxInfo,
    NewMessage,
    Path,
    Row,
    Snapshot,
    Want,
)
from mailfw.optional import IAnnotatedMail
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.making import Maker, find

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

ANN = "ann@example.org"
BOB = "bob@example.org"


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor turn for a while."""
    from twisted.internet import reactor  # a trial TestCase has no other reactor than the installed one

    return deferLater(reactor, seconds)


async def read_all(content: IContent, piece: int = 2**16) -> bytes:
    """Read a content from its beginning to its end."""
    octets = bytearray()
    while read := await content.read(len(octets), piece):
        octets += read
    return bytes(octets)


class StoreFixture(Case):
    """Opens the store and Ann's account for each test, and closes the store after it."""

    #: What the configuration would say to have this store, or the dotted path of its factory.  With it, crashes are
    #: tried, in a process of their own, and `make_store` need not be overridden.
    spec = ""
    #: How many messages the smaller and the larger of two mailboxes have where the cost of one message is compared.
    few, many = 500, 5000
    #: How many random histories are tried, and of how many steps; the same ones for the same `seed`.
    histories = 25
    history_steps = 30
    seed = 0
    #: How often a process that works on the store is killed; and whether even other flags for several messages, and
    #: their removal, must be there whole or not at all, which stores with a file for each message cannot promise.
    crashes = 8
    whole_calls = False
    #: How long, in seconds, a notice is waited for.
    patience = 5.0

    store: IMailStore
    inbox: str
    #: Why the store could not be tried with a case, if that is so.
    unoffered = ""

    def make_store(self) -> IMailStore | Awaitable[IMailStore]:
        """Return a new, empty store; `mktemp` makes it a directory.  Yours to override where there is no `spec`."""
        if not self.spec:
            raise self.failureException("make_store() has to return the store to try")
        self.maker = self.new_maker()
        return self.maker.make_store()

    def new_maker(self) -> Maker:
        """Return what makes stores by `spec` in a new directory."""
        return Maker(find("store", self.spec), FilePath(self.mktemp()))

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        """Close the store and open it again, with what it kept.  Yours to override where it keeps anything."""
        if not self.can_reopen:
            raise self.not_offered("this store keeps nothing when it is closed")
        await store.close()
        return self.maker.make_store()

    @property
    def can_reopen(self) -> bool:
        """Whether `reopen_store` has been overridden, or `spec` says where a store keeps its mail."""
        overridden = type(self).reopen_store is not StoreFixture.reopen_store
        return overridden or (bool(self.spec) and Maker.keeps_mail(find("store", self.spec)))

    @property
    def annotated(self) -> IAnnotatedMail:
        """The store as one that keeps annotations.  Raises `not_offered`."""
        self.demand(IAnnotatedMail, "this store keeps no annotations")
        return IAnnotatedMail(self.store)

    def demand(self, interface: Any, without: str) -> None:
        """See that the store offers all of an interface; `without` says what it lacks else.  Raises `not_offered`."""
        if not interface.providedBy(self.store):
            raise self.not_offered(f"{without}: it does not provide {interface.__name__}")
        verifyObject(interface, self.store)

    def not_offered(self, why: str) -> SkipTest:
        """Return what to raise where a store does not offer what a case is about; the report card tells it apart."""
        self.unoffered = why
        return SkipTest(why)

    def note(self, line: str) -> None:
        """Say what has been measured; the report card shows it."""
        self.notes = (*getattr(self, "notes", ()), line)

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        """Make the store and an account in it."""
        made = self.make_store()
        self.store = await made if inspect.isawaitable(made) else made
        self.addCleanup(self._close)
        await self.store.open_account(ANN)
        self.inbox = (await self.info()).id

    async def _close(self) -> None:
        await self.store.close()

    async def reopen(self) -> None:
        """Go on with the store as it is after a restart.  Raises `not_offered` where that cannot be."""
        self.store = await self.reopen_store(self.store)
        await self.store.open_account(ANN)

    # ------------------------------------------------------------ asking

    async def infos(self, account: str = ANN) -> dict[Path, MailboxInfo]:
        """Return every mailbox by its path."""
        mailboxes = await self.store.mailboxes(account)
        by_path = {info.path: info for info in mailboxes}
        self.assertEqual(len(by_path), len(mailboxes), "two mailboxes have the same path")
        return by_path

    async def info(self, path: Path = INBOX, account: str = ANN) -> MailboxInfo:
        """Return the mailbox at a path."""
        infos = await self.infos(account)
        self.assertIn(path, infos)
        return infos[path]

    async def now(self, mailbox: str | None = None) -> MailboxInfo:
        """Return a mailbox by id, or the inbox."""
        return await self.store.mailbox(ANN, mailbox or self.inbox)

    async def snap(self, since: int = 0, mailbox: str | None = None) -> Snapshot:
        """Return a snapshot of a mailbox, or of the inbox."""
        return await self.store.snapshot(ANN, mailbox or self.inbox, since)

    async def uids(self, mailbox: str | None = None) -> list[int]:
        """Return the UIDs in a mailbox, or in the inbox."""
        return list((await self.snap(0, mailbox)).uids)

    async def flags(self, mailbox: str | None = None) -> dict[int, Flags]:
        """Return the flags of all messages in a mailbox, or in the inbox."""
        snapshot = await self.snap(0, mailbox)
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    async def rows(self, uids: Sequence[int], want: Want = Want.NOTHING, mailbox: str | None = None) -> list[Row]:
        """Return the rows of some messages as one list."""
        batches = self.store.rows(ANN, mailbox or self.inbox, uids, want)
        return [row async for batch in batches for row in batch]

    async def row(self, uid: int, want: Want = Want.NOTHING, mailbox: str | None = None) -> Row:
        """Return the row of a message that is there."""
        rows = await self.rows([uid], want, mailbox)
        self.assertEqual([row.uid for row in rows], [uid])
        return rows[0]

    async def open(self, uid: int, mailbox: str | None = None) -> IContent:
        """Open a message that is there; it is closed after the test."""
        content = await self.store.content(ANN, mailbox or self.inbox, uid)
        assert content is not None, f"message {uid} cannot be opened"
        self.addCleanup(_close_content, content)
        return content

    async def octets(self, uid: int, mailbox: str | None = None) -> bytes:
        """Return the octets of a message."""
        return await read_all(await self.open(uid, mailbox))

    # ------------------------------------------------------------ doing

    async def create(self, *names: str) -> str:
        """Make a mailbox and return its id."""
        await self.store.edit_mailbox(ANN, CreateMailbox(names))
        return (await self.info(names)).id

    async def append(self, messages: Sequence[NewMessage], mailbox: str | None = None) -> list[Appended]:
        """Append to a mailbox, or to the inbox."""
        return await self.store.append(ANN, mailbox or self.inbox, messages)

    async def add(self, count: int = 1, flags: Iterable[str] = NO_FLAGS, mailbox: str | None = None) -> list[int]:
        """Append so many plain messages and return their UIDs."""
        messages = [NewMessage(MemoryContent(PLAIN), frozenset(flags)) for _ in range(count)]
        return [appended.uid for appended in await self.append(messages, mailbox)]

    async def add_octets(self, octets: bytes, mailbox: str | None = None) -> int:
        """Append a message of these octets and return its UID."""
        [appended] = await self.append([NewMessage(MemoryContent(octets))], mailbox)
        return appended.uid

    async def flag(self, uids: Sequence[int], *flags: str, mailbox: str | None = None) -> None:
        """Add flags to messages."""
        await self.store.alter(ANN, mailbox or self.inbox, uids, FlagChange.ADD, frozenset(flags))

    async def remove(self, uids: Sequence[int], mailbox: str | None = None) -> Expunged:
        """Mark messages as deleted and expunge them."""
        await self.flag(uids, DELETED, mailbox=mailbox)
        return await self.store.expunge(ANN, mailbox or self.inbox, uids)

    # ------------------------------------------------------------ claiming

    async def refuses(self, expected: type[Exception] | tuple[type[Exception], ...], asked: Awaitable[object]) -> None:
        """Fail unless what is asked raises one of the exceptions expected."""
        try:
            await asked
        except expected:
            return
        names = [kind.__name__ for kind in (expected if isinstance(expected, tuple) else (expected,))]
        self.fail(f"{' or '.join(names)} not raised")

    async def eventually(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is true; fail after `patience`."""
        for _ in range(int(self.patience / 0.02)):
            if true():
                return
            await pause(0.02)
        self.fail(f"not within {self.patience} seconds: {what}")


async def _close_content(content: IContent) -> None:
    await content.close()
