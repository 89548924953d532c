"""The store as one user sees it: the contract holds for his own mailboxes, and his rights for those of others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailfw.interfaces import IMailStore
from mailfw.mail.columns import Columns, columns_of
from mailfw.mail.failure import (
    MailboxExists,
    NameRefused,
    NoPermission,
    NoSpace,
    NoSuchMailbox,
    OverQuota,
    StoreRefusal,
)
from mailfw.mail.mailbox import (
    ANSWERED,
    DELETED,
    FLAGGED,
    INBOX,
    NO_FLAGS,
    SEEN,
    TREE,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    MailboxInfo,
    NewMessage,
    Path,
    RenameMailbox,
    Subscribe,
    Want,
)
from mailfw.mail.quota import QuotaLimits
from mailfw.mail.rights import ALL_RIGHTS, ANYONE, BadRights, parse_rights
from mailfw.mail.sought import BodyHas
from mailfw.optional import IColumns, IManyContents, ISharingView
from mailfw.sharing import view_of
from mailfw.sharing.places import is_shared
from mailfw.sharing.store import SharingStore
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.dialogue import run_now
from mailfw.testing.store import (
    AnnotationCases,
    ColumnCases,
    QuotaCases,
    ReplacingCases,
    RestartCases,
    SearchCases,
    StoreContract,
)
from mailfw.testing.store.bounds import FixedQuotas
from mailfw.testing.store.fixture import read_all

ANN, BOB, CAT = "ann@example.org", "bob@example.org", "cat@example.org"
SHARED: Path = ("Shared", ANN)


@implementer(IColumns)
class Store(MemoryStore):
    """One with columns."""

    async def columns(self, account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
        async for rows in self.rows(account, mailbox, uids, want):
            yield columns_of(rows, want)


class OwnMailboxes(
    StoreContract, AnnotationCases, ColumnCases, ReplacingCases, RestartCases, QuotaCases, SearchCases, TestCase
):
    """What is the user's own is as it is in the store."""

    histories = 8

    def make_store(self) -> IMailStore:
        return SharingStore(Store())

    def make_bounded_store(self, quotas: Any, retention: float) -> IMailStore:
        return SharingStore(Store(quotas))

    async def reopen_store(self, store: IMailStore) -> IMailStore:
        # Mail in memory is kept as long as the store is referred to, closed or not.
        await store.close()
        return store


class Calls:
    """A store that notes which of its methods are called."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            self.names.append(name)
        return getattr(self._store, name)


class ViewCase(SynchronousTestCase):
    """Ann's mailboxes, and Bob who may see some of them."""

    def setUp(self) -> None:
        self.store = Store(FixedQuotas(cat=QuotaLimits(1000)))
        for name in (ANN, BOB, CAT):
            run_now(self, self.store.open_account(name))
        self.view = SharingStore(self.store)
        self.inbox = self.id_of(ANN, INBOX)

    def now(self, asked: Any) -> Any:
        return run_now(self, asked)

    def infos(self, account: str = BOB) -> dict[Path, MailboxInfo]:
        return {info.path: info for info in self.now(self.view.mailboxes(account))}

    def id_of(self, account: str, path: Path) -> str:
        [found] = [info.id for info in self.now(self.store.mailboxes(account)) if info.path == path]
        return str(found)

    def share(self, rights: str, path: Path = INBOX, identifier: str = BOB) -> str:
        """Share a mailbox of Ann's and return the id that Bob sees."""
        self.now(self.store.grant(ANN, self.id_of(ANN, path), identifier, parse_rights(rights)))
        return self.infos()[SHARED + path].id

    def add(self, account: str, mailbox: str, count: int = 1, flags: frozenset[str] = NO_FLAGS) -> list[int]:
        messages = [NewMessage(MemoryContent(PLAIN), flags, 1_000_000_000 + number) for number in range(count)]
        return [kept.uid for kept in self.now(self.view.append(account, mailbox, messages))]

    def flags(self, account: str, mailbox: str) -> dict[int, frozenset[str]]:
        snapshot = self.now(self.view.snapshot(account, mailbox, 0))
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    def rows(self, account: str, mailbox: str, uids: list[int]) -> list[Any]:
        async def read() -> list[Any]:
            return [row async for rows in self.view.rows(account, mailbox, uids, Want.NOTHING) for row in rows]

        return list(self.now(read()))

    def columns(self, account: str, mailbox: str, uids: list[int]) -> list[int]:
        async def read() -> list[int]:
            batches = self.view.columns(account, mailbox, uids, Want.SORT)  # type: ignore[attr-defined] # lent
            return [uid async for batch in batches for uid in batch.uids]

        return list(self.now(read()))

    def refuses(self, refusal: type[StoreRefusal] | type[ValueError], asked: Callable[[], Any]) -> None:
        self.failureResultOf(Deferred.fromCoroutine(asked()), refusal)


class Seeing(ViewCase):
    def test_interfaces(self) -> None:
        for interface in (IMailStore, IColumns, IManyContents, ISharingView):
            verifyObject(interface, self.view)
        self.assertIsInstance(view_of(self.store), SharingStore)
        plain: Any = object()
        self.assertIs(view_of(plain), plain)  # what shares nothing is shown as it is

    def test_what_is_shared_is_below_its_owner(self) -> None:
        before = self.infos()
        self.add(ANN, self.inbox, 2, frozenset({SEEN}))
        mailbox = self.share("lr")
        infos = self.infos()
        self.assertEqual(infos.keys() - before.keys(), {("Shared", ANN, "INBOX")})
        info = infos[SHARED + INBOX]
        self.assertTrue(is_shared(mailbox))
        self.assertEqual((info.messages, info.unseen, info.rights, info.role), (2, 2, frozenset("lr"), None))
        self.assertEqual(info.recent_uid, info.uid_next)
        self.assertEqual(self.now(self.view.mailbox(BOB, mailbox)), info)
        self.assertEqual(self.infos(CAT).keys(), before.keys())
        self.assertTrue(self.now(self.view.mailbox(ANN, self.inbox)).rights == ALL_RIGHTS)

    def test_a_use_is_the_owners(self) -> None:
        self.share("lr", ("Sent",))
        self.assertIsNone(self.infos()[(*SHARED, "Sent")].role)

    def test_reading(self) -> None:
        uids = self.add(ANN, self.inbox, 2)
        mailbox = self.share("lrs")
        self.assertEqual(self.now(self.view.claim_recent(BOB, mailbox)), 3)
        self.assertEqual(self.now(self.view.claim_recent(ANN, self.inbox)), 1)
        self.now(self.view.alter(BOB, mailbox, uids[:1], FlagChange.ADD, frozenset({SEEN})))
        self.assertEqual([row.flags for row in self.rows(BOB, mailbox, uids)], [{SEEN}, NO_FLAGS])
        self.assertEqual(self.columns(BOB, mailbox, uids), uids)
        self.assertEqual([row.flags for row in self.rows(ANN, self.inbox, uids)], [NO_FLAGS, NO_FLAGS])
        marked, plain = self.rows(BOB, mailbox, uids)
        self.assertGreater(marked.modseq, plain.modseq)
        content = self.now(self.view.content(BOB, mailbox, uids[0]))
        self.assertEqual(self.now(read_all(content)), PLAIN)

        async def contents() -> list[int]:
            return [uid async for batch in self.view.contents(BOB, mailbox, uids) for uid, _ in batch]

        self.assertEqual(self.now(contents()), uids)

    def test_without_a_right_there_is_nothing(self) -> None:
        uids = self.add(ANN, self.inbox)
        mailbox = self.share("lr")
        self.now(self.store.grant(ANN, self.inbox, BOB, frozenset()))
        self.assertNotIn(SHARED + INBOX, self.infos())
        for asked in (
            lambda: self.view.mailbox(BOB, mailbox),
            lambda: self.view.snapshot(BOB, mailbox, 0),
            lambda: self.view.claim_recent(BOB, mailbox),
            lambda: self.view.content(BOB, mailbox, uids[0]),
            lambda: self.view.append(BOB, mailbox, []),
            lambda: self.view.alter(BOB, mailbox, uids, FlagChange.ADD, frozenset({SEEN})),
            lambda: self.view.expunge(BOB, mailbox, None),
            lambda: self.view.copy(BOB, mailbox, uids, self.id_of(BOB, INBOX)),
            lambda: self.view.copy(BOB, self.id_of(BOB, INBOX), uids, mailbox),
            lambda: self.view.access(BOB, mailbox),
            lambda: self.view.grant(BOB, mailbox, BOB, ALL_RIGHTS),
        ):
            self.refuses(NoSuchMailbox, asked)
        self.refuses(NoSuchMailbox, lambda: anext(self.view.rows(BOB, mailbox, uids, Want.NOTHING)))

    def test_what_may_be_seen_may_not_be_done(self) -> None:
        uids = self.add(ANN, self.inbox)
        mailbox, own = self.share("l"), self.id_of(BOB, INBOX)
        mine = self.add(BOB, own)
        for asked in (
            lambda: self.view.snapshot(BOB, mailbox, 0),
            lambda: self.view.content(BOB, mailbox, uids[0]),
            lambda: self.view.append(BOB, mailbox, []),
            lambda: self.view.alter(BOB, mailbox, uids, FlagChange.ADD, frozenset({SEEN})),
            lambda: self.view.expunge(BOB, mailbox, None),
            lambda: self.view.copy(BOB, mailbox, uids, own),
            lambda: self.view.copy(BOB, own, mine, mailbox),
            lambda: self.view.access(BOB, mailbox),
            lambda: self.view.grant(BOB, mailbox, BOB, ALL_RIGHTS),
        ):
            self.refuses(NoPermission, asked)

    def test_ones_own_mailboxes_cost_no_more(self) -> None:
        calls = Calls(self.store)
        view, own = SharingStore(calls), self.id_of(BOB, INBOX)
        self.now(view.watch(BOB, lambda *_: None))
        self.assertEqual(sorted(calls.names), ["shared_with", "watch"])
        calls.names.clear()
        [kept] = self.now(view.append(BOB, own, [NewMessage(MemoryContent(PLAIN))]))
        for asked in (
            lambda: view.mailboxes(BOB),
            lambda: view.mailbox(BOB, own),
            lambda: view.claim_recent(BOB, own),
            lambda: view.snapshot(BOB, own, 0),
            lambda: view.content(BOB, own, kept.uid),
            lambda: view.alter(BOB, own, [kept.uid], FlagChange.ADD, frozenset({SEEN})),
            lambda: view.copy(BOB, own, [kept.uid], own),
            lambda: view.expunge(BOB, own, None),
        ):
            self.now(asked())
        self.assertEqual(
            calls.names,
            ["append", "mailboxes", "mailbox", "claim_recent", "snapshot", "content", "alter", "copy", "expunge"],
        )
        rows: Any = view.rows(BOB, own, [1], Want.NOTHING)
        self.assertEqual(rows.__qualname__, "MemoryStore.rows")


class Changing(ViewCase):
    def test_flags_that_are_appended(self) -> None:
        mailbox = self.share("lrsi")
        [uid] = self.add(BOB, mailbox, 1, frozenset({SEEN, FLAGGED, DELETED}))
        self.assertEqual((self.flags(BOB, mailbox), self.flags(ANN, self.inbox)), ({uid: {SEEN}}, {uid: NO_FLAGS}))
        mailbox = self.share("lriwt")
        [uid] = self.add(BOB, mailbox, 1, frozenset({SEEN, FLAGGED, DELETED}))
        self.assertEqual(self.flags(BOB, mailbox)[uid], {FLAGGED, DELETED})

    def test_expunging(self) -> None:
        uids = self.add(ANN, self.inbox, 2, frozenset({DELETED}))
        mailbox = self.share("lrt")
        self.refuses(NoPermission, lambda: self.view.expunge(BOB, mailbox, None))
        mailbox = self.share("lre")
        self.assertEqual(self.now(self.view.expunge(BOB, mailbox, None)).uids, tuple(uids))

    def test_the_tree(self) -> None:
        self.now(self.store.edit_mailbox(ANN, CreateMailbox(("Work",))))
        self.share("lrk", ("Work",))
        new, below = (*SHARED, "Work", "2026"), (*SHARED, "Work", "2026", "May")
        self.now(self.view.edit_mailbox(BOB, CreateMailbox(new)))
        self.now(self.view.edit_mailbox(BOB, CreateMailbox(below)))
        self.assertEqual(self.infos()[below].rights, frozenset("lrk"))
        self.assertIn(("Work", "2026", "May"), [info.path for info in self.now(self.store.mailboxes(ANN))])
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, DeleteMailbox(below)))
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, CreateMailbox((*SHARED, "Top"))))
        moved = (*SHARED, "Work", "Old")
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, RenameMailbox(new, moved)))
        self.share("lrkx", ("Work", "2026"))
        self.now(self.view.edit_mailbox(BOB, RenameMailbox(new, moved)))
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, RenameMailbox(moved, (*SHARED, "Old"))))
        self.refuses(NameRefused, lambda: self.view.edit_mailbox(BOB, RenameMailbox(moved, ("Mine",))))
        self.refuses(NameRefused, lambda: self.view.edit_mailbox(BOB, RenameMailbox(("Sent",), new)))
        self.now(self.view.edit_mailbox(BOB, DeleteMailbox(moved)))
        self.assertNotIn(moved, self.infos())
        self.refuses(MailboxExists, lambda: self.view.edit_mailbox(BOB, CreateMailbox(("Shared",))))
        self.refuses(MailboxExists, lambda: self.view.edit_mailbox(BOB, CreateMailbox(SHARED)))
        nobody = ("Shared", "dan@example.org", "INBOX")
        self.refuses(NoSuchMailbox, lambda: self.view.edit_mailbox(BOB, DeleteMailbox(nobody)))
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, CreateMailbox(nobody)))

    def test_what_is_hidden_stands_above_what_is_made(self) -> None:
        for path in (("Work",), ("Work", "Secret")):
            self.now(self.store.edit_mailbox(ANN, CreateMailbox(path)))
        self.share("lrkx", ("Work",))
        self.share("lrkx", ("Work", "Secret"))
        self.now(self.store.grant(ANN, self.id_of(ANN, ("Work", "Secret")), BOB, frozenset()))
        below, moved = (*SHARED, "Work", "Secret", "Mine"), (*SHARED, "Work", "Other")
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, CreateMailbox(below)))
        self.now(self.view.edit_mailbox(BOB, CreateMailbox(moved)))
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, RenameMailbox(moved, below)))
        self.refuses(NoSuchMailbox, lambda: self.view.edit_mailbox(BOB, DeleteMailbox(below[:-1])))

    def test_accounts_that_share_nothing_are_left_alone(self) -> None:
        calls = Calls(self.store)
        view = SharingStore(calls)
        self.share("lrkx")
        for owner in (ANN.upper(), CAT, "nobody@example.org"):
            path = ("Shared", owner, "INBOX")
            for edit in (CreateMailbox((*path, "x")), DeleteMailbox(path), RenameMailbox(path, (*path, "x"))):
                self.refuses(StoreRefusal, partial(view.edit_mailbox, BOB, edit))
        self.assertEqual(set(calls.names), {"shared_with"})

    def test_subscriptions_are_ones_own(self) -> None:
        mailbox = self.share("lr")
        self.now(self.view.edit_mailbox(BOB, Subscribe(SHARED + INBOX)))
        self.assertTrue(self.infos()[SHARED + INBOX].subscribed)
        self.assertTrue(self.now(self.view.mailbox(BOB, mailbox)).subscribed)
        self.assertIn(SHARED + INBOX, self.now(self.view.subscriptions(BOB)))
        self.assertNotIn(SHARED + INBOX, self.now(self.view.subscriptions(ANN)))


class Withdrawing(ViewCase):
    """Nobody goes on with what he may no longer do."""

    def setUp(self) -> None:
        super().setUp()
        self.add(ANN, self.inbox, 600)
        self.mailbox = self.share("lr")

    def withdraw(self) -> None:
        self.now(self.store.grant(ANN, self.inbox, BOB, frozenset()))

    def test_reading_on(self) -> None:
        uids = range(1, 601)
        for reading in (
            self.view.rows(BOB, self.mailbox, uids, Want.NOTHING),
            self.view.contents(BOB, self.mailbox, uids),
            self.view.columns(BOB, self.mailbox, uids, Want.SORT),  # type: ignore[attr-defined] # lent
        ):
            self.share("lr")
            self.now(anext(reading))
            self.withdraw()
            self.refuses(NoSuchMailbox, partial(_first, reading))

    def test_everything(self) -> None:
        self.withdraw()
        view, own = self.view, self.id_of(BOB, INBOX)
        seen = frozenset({SEEN})
        for asked in (
            lambda: view.mailbox(BOB, self.mailbox),
            lambda: view.claim_recent(BOB, self.mailbox),
            lambda: view.snapshot(BOB, self.mailbox, 1),
            lambda: _first(view.rows(BOB, self.mailbox, [1], Want.NOTHING)),
            lambda: view.content(BOB, self.mailbox, 1),
            lambda: _first(view.contents(BOB, self.mailbox, [1])),
            lambda: view.search(BOB, self.mailbox, [1], BodyHas("a")),
            lambda: _first(view.columns(BOB, self.mailbox, [1], Want.SORT)),  # type: ignore[attr-defined] # lent
            lambda: view.append(BOB, self.mailbox, [NewMessage(MemoryContent(PLAIN))]),
            lambda: view.alter(BOB, self.mailbox, [1], FlagChange.ADD, seen),
            lambda: view.expunge(BOB, self.mailbox, None),
            lambda: view.copy(BOB, self.mailbox, [1], own),
            lambda: view.copy(BOB, self.mailbox, [1], self.mailbox, move=True),
            lambda: view.copy(BOB, own, [1], self.mailbox),
            lambda: view.access(BOB, self.mailbox),
            lambda: view.grant(BOB, self.mailbox, BOB, ALL_RIGHTS),
        ):
            self.refuses(NoSuchMailbox, asked)
        self.now(self.store.remove_account(ANN))
        self.refuses(NoSuchMailbox, lambda: view.mailbox(BOB, self.mailbox))
        self.refuses(NoSuchMailbox, lambda: view.snapshot(BOB, self.mailbox, 1))

    def test_what_is_added_is_added(self) -> None:
        mailbox = self.share("lrsi")

        async def fail(*asked: Any) -> None:
            raise NoSpace("full")

        self.patch(self.store, "alter_for", fail)
        [uid] = self.add(BOB, mailbox, 1, frozenset({SEEN}))
        self.assertEqual(uid, 601)


async def _first(reading: Any) -> Any:
    return await anext(reading)


class Copying(ViewCase):
    def setUp(self) -> None:
        super().setUp()
        self.own = self.id_of(BOB, INBOX)

    def test_from_anothers_mailbox(self) -> None:
        first, second, _ = self.add(ANN, self.inbox, 3, frozenset({SEEN, FLAGGED}))
        mailbox = self.share("lrs")
        self.now(self.view.alter(BOB, mailbox, [second], FlagChange.ADD, frozenset({SEEN})))
        copied = self.now(self.view.copy(BOB, mailbox, [first, second, 99], self.own))
        self.assertEqual([old for old, _ in copied.uids], [first, second])
        self.assertEqual(copied.uid_validity, self.now(self.view.mailbox(BOB, self.own)).uid_validity)
        there = [new for _, new in copied.uids]
        self.assertEqual(self.flags(BOB, self.own), {there[0]: {FLAGGED}, there[1]: {SEEN, FLAGGED}})
        self.assertEqual([row.received for row in self.rows(BOB, self.own, there)], [1_000_000_000, 1_000_000_001])
        self.assertEqual(self.now(read_all(self.now(self.view.content(BOB, self.own, there[0])))), PLAIN)
        self.assertEqual(self.now(self.view.mailbox(ANN, self.inbox)).messages, 3)
        again = self.now(self.view.copy(BOB, mailbox, [first], self.own))
        self.assertEqual(len(again.uids), 1)
        self.assertEqual(self.now(self.view.copy(BOB, mailbox, [99], self.own)).uids, ())

    def test_into_anothers_mailbox(self) -> None:
        [uid] = self.add(BOB, self.own, 1, frozenset({SEEN, FLAGGED, ANSWERED}))
        mailbox = self.share("lrsi")
        [(_, there)] = self.now(self.view.copy(BOB, self.own, [uid], mailbox)).uids
        self.assertEqual(self.flags(BOB, mailbox), {there: {SEEN}})
        self.assertEqual(self.flags(ANN, self.inbox), {there: NO_FLAGS})

    def test_moving(self) -> None:
        uids = self.add(ANN, self.inbox, 3)
        mailbox = self.share("lrs")
        self.refuses(NoPermission, lambda: self.view.copy(BOB, mailbox, uids, self.own, move=True))
        self.assertEqual(self.flags(BOB, self.own), {})
        mailbox = self.share("lrste")
        copied = self.now(self.view.copy(BOB, mailbox, uids[:2], self.own, move=True))
        self.assertEqual(list(self.flags(ANN, self.inbox)), uids[2:])
        self.assertEqual(list(self.flags(BOB, self.own)), [new for _, new in copied.uids])
        self.assertEqual(set(self.flags(BOB, self.own).values()), {NO_FLAGS})

    def test_a_move_that_breaks_is_not_doubled_when_it_is_tried_again(self) -> None:
        uids = self.add(ANN, self.inbox, 2)
        mailbox = self.share("lrste")

        async def fail(*asked: Any) -> None:
            raise OSError("broken")

        self.patch(self.store, "expunge", fail)
        moving = self.view.copy(BOB, mailbox, uids, self.own, move=True)
        self.failureResultOf(Deferred.fromCoroutine(moving), OSError)
        self.assertEqual((len(self.flags(ANN, self.inbox)), len(self.flags(BOB, self.own))), (2, 2))
        del self.store.expunge
        self.now(self.view.copy(BOB, mailbox, uids, self.own, move=True))
        self.assertEqual((len(self.flags(ANN, self.inbox)), len(self.flags(BOB, self.own))), (0, 2))

    def test_between_mailboxes_of_one_owner(self) -> None:
        first, second = self.add(ANN, self.inbox, 2, frozenset({SEEN}))
        self.now(self.store.edit_mailbox(ANN, CreateMailbox(("Work",))))
        mailbox, work = self.share("lrste"), self.share("lrswti", ("Work",))
        self.now(self.view.alter(BOB, mailbox, [second], FlagChange.ADD, frozenset({SEEN})))
        copied = self.now(self.view.copy(BOB, mailbox, [first, second], work, move=True))
        there = [new for _, new in copied.uids]
        self.assertEqual(self.flags(BOB, work), {there[0]: NO_FLAGS, there[1]: {SEEN}})
        self.assertEqual(set(self.flags(ANN, self.id_of(ANN, ("Work",))).values()), {frozenset({SEEN})})
        self.assertEqual(self.flags(ANN, self.inbox), {})

    def test_the_receiver_needs_room(self) -> None:
        uids = self.add(ANN, self.inbox, 10)
        self.share("lr", INBOX, ANYONE)
        theirs = self.infos(CAT)[SHARED + INBOX].id
        target = self.id_of(CAT, INBOX)
        self.refuses(OverQuota, lambda: self.view.copy(CAT, theirs, uids, target))
        self.assertEqual(self.flags(CAT, target), {})
        self.now(self.view.copy(CAT, theirs, uids[:2], target))


class Watching(ViewCase):
    def setUp(self) -> None:
        super().setUp()
        self.heard: list[tuple[str, int]] = []
        self.stop = self.now(self.view.watch(BOB, lambda *notice: self.heard.append(notice)))

    def modseq(self) -> int:
        return int(self.now(self.store.mailbox(ANN, self.inbox)).modseq)

    def test_what_is_shared_later_is_watched(self) -> None:
        self.assertEqual(self.heard, [])
        mailbox = self.share("lrs")
        self.add(ANN, self.inbox)
        self.assertIn((mailbox, self.modseq()), self.heard)
        self.now(self.view.alter(BOB, mailbox, [1], FlagChange.ADD, frozenset({SEEN})))
        self.assertIn((mailbox, self.modseq()), self.heard)

    def test_other_mailboxes_are_heard_of(self) -> None:
        """Whatever becomes of the tree that a user sees, he hears that there is another."""
        for change in (
            lambda: self.store.grant(ANN, self.inbox, BOB, ALL_RIGHTS),
            lambda: self.store.edit_mailbox(ANN, CreateMailbox(("Work",))),
            lambda: self.view.edit_mailbox(BOB, CreateMailbox((*SHARED, "INBOX", "Bob's"))),
            lambda: self.store.grant(CAT, self.id_of(CAT, INBOX), BOB, ALL_RIGHTS),
            lambda: self.store.grant(ANN, self.inbox, BOB, frozenset()),
            lambda: self.store.remove_account(CAT),
        ):
            self.heard.clear()
            self.now(change())
            self.assertIn(TREE, [heard for heard, _ in self.heard])
        self.stop()
        self.heard.clear()
        self.now(self.store.grant(ANN, self.inbox, BOB, ALL_RIGHTS))
        self.assertEqual(self.heard, [])

    def test_what_is_withdrawn_is_heard_of_once_more(self) -> None:
        mailbox = self.share("lr")
        self.heard.clear()
        self.now(self.store.grant(ANN, self.inbox, BOB, frozenset()))
        self.assertEqual([heard for heard, _ in self.heard], [mailbox, TREE])
        self.assertEqual(self.heard[0][1], self.modseq())
        self.add(ANN, self.inbox)
        self.assertEqual(len(self.heard), 2)
        self.assertNotIn(SHARED + INBOX, self.infos())

    def test_the_end(self) -> None:
        self.share("lr")
        self.heard.clear()
        self.stop()
        self.stop()
        self.add(ANN, self.inbox)
        self.now(self.store.grant(ANN, self.inbox, BOB, ALL_RIGHTS))
        self.assertEqual(self.heard, [])
        self.assertIn(SHARED + INBOX, self.infos())

    def test_an_owner_whose_account_is_broken(self) -> None:
        self.stop()
        self.now(self.store.grant(CAT, self.id_of(CAT, INBOX), BOB, ALL_RIGHTS))
        mailbox = self.share("lr")
        watch = self.store.watch

        async def watched(account: str, notice: Any) -> Any:
            if account == CAT:
                raise OSError("broken")
            return await watch(account, notice)

        self.patch(self.store, "watch", watched)
        self.now(self.view.watch(BOB, lambda *notice: self.heard.append(notice)))
        self.heard.clear()
        self.add(ANN, self.inbox)
        self.assertEqual([heard for heard, _ in self.heard], [mailbox])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_an_owner_who_is_gone(self) -> None:
        mailbox = self.share("lr")
        self.now(self.store.remove_account(ANN))
        self.assertNotIn(SHARED + INBOX, self.infos())
        self.assertIn(mailbox, [heard for heard, _ in self.heard])


class Granting(ViewCase):
    def test_ones_own(self) -> None:
        self.now(self.view.grant(ANN, self.inbox, "Bob", parse_rights("lr")))
        self.now(self.view.grant(ANN, self.inbox, "bob@example.org", parse_rights("s"), "+"))
        self.now(self.view.grant(ANN, self.inbox, "bob", parse_rights("l"), "-"))
        self.now(self.view.grant(ANN, self.inbox, "-bob", parse_rights("w")))
        self.refuses(NoPermission, lambda: self.view.grant(ANN, self.inbox, ANYONE, parse_rights("l")))
        expected = {ANN: ALL_RIGHTS, BOB: frozenset("rs"), f"-{BOB}": frozenset("w")}
        self.assertEqual(self.now(self.view.access(ANN, self.inbox)), expected)

    def test_anothers(self) -> None:
        mailbox = self.share("lra")
        self.now(self.view.grant(BOB, mailbox, CAT, parse_rights("lr")))
        self.assertEqual(self.infos(CAT)[SHARED + INBOX].rights, frozenset("lr"))
        self.assertEqual(list(self.now(self.view.access(BOB, mailbox))), [ANN, BOB, CAT])

    def test_the_owner_stays(self) -> None:
        for identifier in ("ann", ANN, "-ann"):
            self.refuses(NoPermission, partial(self.view.grant, ANN, self.inbox, identifier, parse_rights("l")))

    def test_nobodys_names(self) -> None:
        for identifier in ("", "-", "@example.org", "a b", "a/b", "a\nb", "x" * 300):
            self.refuses(BadRights, partial(self.view.grant, ANN, self.inbox, identifier, ALL_RIGHTS))
