"""Cases of the store's contract: who watches is told, and never too early; who hurries does no harm."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from mailfw.mail.failure import MailboxExists, NoSuchMailbox
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    SEEN,
    TREE,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    Flags,
    NewMessage,
    RenameMailbox,
    Role,
    SetRole,
    Snapshot,
    Subscribe,
)
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture, pause

T = TypeVar("T")


async def together(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Start all at once and return their results; the first error when all have ended."""
    started = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    results: list[T] = []
    errors: list[Exception] = []
    for deferred in started:
        try:
            results.append(await deferred)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results


class WatchCases(StoreFixture):
    """What `IMailStore` says of notices."""

    heard: list[tuple[str, int]]

    async def listen(self) -> None:
        """Keep what a watcher hears in `heard`."""
        self.heard = []
        self.addCleanup(await self.store.watch(ANN, lambda mailbox, modseq: self.heard.append((mailbox, modseq))))

    async def hears(self, change: Awaitable[object], *mailboxes: str) -> None:
        """Make a change and fail unless it is noticed in each of the mailboxes, with their present modseq or later."""
        self.heard.clear()
        await change
        for mailbox in mailboxes:
            modseq = (await self.now(mailbox)).modseq
            await self.eventually(
                lambda mailbox=mailbox, modseq=modseq: any(  # type: ignore[misc]  # mypy infers no types of defaults
                    where == mailbox and told >= modseq for where, told in self.heard
                ),
                f"a notice of {modseq} in {mailbox}; heard: {self.heard}",
            )

    async def test_every_change_is_noticed(self) -> None:
        """Append, alter, copy, move and expunge are told to who watches."""
        work = await self.create("Work")
        await self.listen()
        store, messages = self.store, [NewMessage(MemoryContent(PLAIN)) for _ in range(3)]
        await self.hears(self.append(messages), self.inbox)
        uids = await self.uids()
        await self.hears(store.alter(ANN, self.inbox, uids, FlagChange.ADD, frozenset({SEEN})), self.inbox)
        await self.hears(store.copy(ANN, self.inbox, uids[:1], work), work)
        await self.hears(store.copy(ANN, self.inbox, uids[:1], work, move=True), work, self.inbox)
        await self.flag(uids, DELETED)
        await self.hears(store.expunge(ANN, self.inbox, None), self.inbox)

    async def test_every_change_of_the_tree_is_noticed(self) -> None:
        """Who watches hears of mailboxes that are made, renamed and deleted, their roles, and of subscriptions."""
        await self.listen()
        for edit in (
            CreateMailbox(("Work",)),
            RenameMailbox(("Work",), ("Play",)),
            SetRole(("Archive",), None),
            SetRole(("Play",), Role.ARCHIVE),
            Subscribe(("Play",)),
            Subscribe(("Play",), subscribed=False),
            DeleteMailbox(("Play",)),
        ):
            self.heard.clear()
            await self.store.edit_mailbox(ANN, edit)
            await self.eventually(lambda: any(where == TREE for where, _ in self.heard), f"a notice of {edit}")

    async def test_deleted_mailbox_is_noticed(self) -> None:
        """Who watches hears that a mailbox has gone, when it has."""
        work = await self.create("Work")
        await self.listen()
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Work",)))
        await self.eventually(lambda: any(mailbox == work for mailbox, _ in self.heard), "the notice of a delete")
        await self.refuses(NoSuchMailbox, self.now(work))

    async def test_no_notice_before_its_change_can_be_seen(self) -> None:
        """Whoever asks for a snapshot at a notice gets one that is at least as new."""
        early: list[str] = []
        asked: list[Deferred[None]] = []

        async def look(mailbox: str, modseq: int) -> None:
            if mailbox == TREE:
                return
            seen = (await self.snap(0, mailbox)).info.modseq
            if seen < modseq:
                early.append(f"told of {modseq}, saw {seen}")

        stop = await self.store.watch(
            ANN, lambda mailbox, modseq: asked.append(Deferred.fromCoroutine(look(mailbox, modseq)))
        )
        work = await self.create("Work")
        uids = await self.add(3)
        await self.flag(uids, SEEN)
        await self.store.copy(ANN, self.inbox, uids[:2], work, move=True)
        await self.remove(uids[2:])
        await self.eventually(lambda: len(asked) >= 4, "four notices")
        stop()
        for deferred in asked:
            await deferred
        self.assertEqual(early, [])

    async def test_nobody_is_told_after_leaving(self) -> None:
        """The function returned ends the watching, may be called twice, and ends nobody else's."""
        heard: list[str] = []
        stop = await self.store.watch(ANN, lambda mailbox, modseq: heard.append(mailbox))
        await self.listen()
        stop()
        stop()
        await self.hears(self.add(), self.inbox)
        self.assertEqual(heard, [])

    async def test_all_are_told(self) -> None:
        """Everyone who watches hears of a change, the same function twice also."""
        heard: list[int] = []
        stops = [await self.store.watch(ANN, lambda mailbox, modseq: heard.append(modseq)) for _ in range(3)]
        [appended] = await self.append([NewMessage(MemoryContent(PLAIN))])
        await self.eventually(lambda: heard.count(appended.modseq) >= 3, "three notices")
        for stop in stops:
            stop()

    async def test_failing_watcher_harms_nobody(self) -> None:
        """A watcher that raises spoils neither the change nor what others are told."""

        class Spoilsport(Exception):
            pass

        def raising(mailbox: str, modseq: int) -> None:
            raise Spoilsport

        stop = await self.store.watch(ANN, raising)
        await self.listen()
        await self.hears(self.add(), self.inbox)
        self.assertEqual((await self.now()).messages, 1)
        stop()
        self.flushLoggedErrors(Spoilsport)

    async def test_follower_ends_with_the_same_messages(self) -> None:
        """Whoever asks for a snapshot at each notice, as a session does, knows in the end what there is."""
        known: dict[int, Flags] = {}
        cursor, dirty = 0, [True]
        stop = await self.store.watch(ANN, lambda mailbox, modseq: dirty.append(True))
        uids = await self.add(10)
        work = await self.create("Work")
        for number in range(8):
            await together(
                self.flag(uids[number : number + 2], f"$Label{number}"),
                self.store.copy(ANN, self.inbox, uids[number : number + 1], work, move=number % 2 == 0),
                self.remove(uids[9 - number // 4 : 10 - number // 4]),
            )
            while dirty:
                dirty.clear()
                snapshot = await self.snap(cursor)
                _follow(known, snapshot)
                cursor = snapshot.info.modseq
                await pause(0)
        stop()
        self.assertEqual(known, await self.flags())


def _follow(known: dict[int, Flags], snapshot: Snapshot) -> None:
    for uid in snapshot.vanished:
        known.pop(uid, None)
    known.update(zip(snapshot.uids, snapshot.flags, strict=True))


class ConcurrencyCases(StoreFixture):
    """Calls that overlap are as if one came after the other."""

    async def check_counts(self, mailbox: str | None = None) -> None:
        """Fail unless a mailbox counts what it holds."""
        snapshot = await self.snap(0, mailbox)
        info, flags = snapshot.info, snapshot.flags
        self.assertEqual(
            (info.messages, info.unseen, info.deleted),
            (len(flags), sum(SEEN not in each for each in flags), sum(DELETED in each for each in flags)),
        )
        self.assertEqual(list(snapshot.uids), sorted(set(snapshot.uids)))
        self.assertEqual(info.size, sum(row.size for row in await self.rows(snapshot.uids, mailbox=mailbox)))

    async def test_appends(self) -> None:
        """Messages appended at once each get a UID of their own, and all are there, whole."""
        octets = [f"Subject: {number}\r\n\r\n".encode() * (number + 1) for number in range(40)]
        uids = await together(*(self.add_octets(each) for each in octets))
        self.assertEqual(await self.uids(), sorted(set(uids)))
        self.assertEqual([await self.octets(uid) for uid in uids], octets)
        await self.check_counts()

    async def test_appends_with_one_token(self) -> None:
        """A delivery tried twice at the same time is one message."""
        message = [NewMessage(MemoryContent(PLAIN), token="t")]  # noqa: S106  # the token of a delivery
        appended = await together(*(self.append(message) for _ in range(10)))
        self.assertEqual(len({each.uid for [each] in appended}), 1)
        self.assertEqual((await self.now()).messages, 1)

    async def test_flags_of_one_message(self) -> None:
        """Of flags added at the same time none is lost."""
        [uid] = await self.add()
        words = [f"$Label{number}" for number in range(30)]
        await together(*(self.flag([uid], word) for word in words))
        self.assertEqual((await self.flags())[uid], set(words))

    async def test_conditional_changes(self) -> None:
        """Of several who change a message unless it has changed, one succeeds."""
        [uid] = await self.add()
        modseq = (await self.row(uid)).modseq
        altered = await together(
            *(
                self.store.alter(ANN, self.inbox, [uid], FlagChange.ADD, frozenset({f"${number}"}), modseq)
                for number in range(10)
            )
        )
        self.assertEqual(sum(bool(each.changed) for each in altered), 1)
        self.assertEqual(sum(each.conflicts == (uid,) for each in altered), 9)

    async def test_moves_of_one_message(self) -> None:
        """A message moved by several at the same time is moved once."""
        [uid] = await self.add()
        work = await self.create("Work")
        copied = await together(*(self.store.copy(ANN, self.inbox, [uid], work, move=True) for _ in range(8)))
        self.assertEqual(sum(len(each.uids) for each in copied), 1)
        self.assertEqual(((await self.now()).messages, (await self.now(work)).messages), (0, 1))

    async def test_expunges_of_one_message(self) -> None:
        """A message expunged by several at the same time goes once."""
        uids = await self.add(5, {DELETED})
        expunged = await together(*(self.store.expunge(ANN, self.inbox, None) for _ in range(6)))
        self.assertEqual(sorted(uid for each in expunged for uid in each.uids), uids)

    async def test_all_kinds_of_changes(self) -> None:
        """Appends, flags, copies, moves and expunges at once leave counts, UIDs and snapshots right."""
        uids = await self.add(20)
        work = await self.create("Work")
        start = await self.snap()
        await together(
            self.add(5),
            self.flag(uids[:10], SEEN),
            self.store.copy(ANN, self.inbox, uids[5:15], work),
            self.remove(uids[::4]),
            self.store.copy(ANN, self.inbox, uids[2:12:3], work, move=True),
            self.flag(uids, FLAGGED),
            self.remove(uids[1::5]),
            self.add(3, {SEEN}, work),
            self.store.copy(ANN, work, [1, 2], self.inbox),
        )
        await self.check_counts()
        await self.check_counts(work)
        known: dict[int, Flags] = dict(zip(start.uids, start.flags, strict=True))
        _follow(known, await self.snap(start.info.modseq))
        self.assertEqual(known, await self.flags())

    async def test_mailboxes_of_one_name(self) -> None:
        """Of several who make the same mailbox one succeeds; the others hear that it exists."""

        async def attempt() -> bool:
            try:
                await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
            except MailboxExists:
                return False
            return True

        self.assertEqual(sum(await together(*(attempt() for _ in range(8)))), 1)
        await self.info(("Work",))

    async def test_openings_of_one_account(self) -> None:
        """An account opened by several sessions at the same time is made once."""
        await together(*(self.store.open_account(BOB) for _ in range(8)))
        self.assertEqual({info.role for info in (await self.infos(BOB)).values()}, await self._roles())

    async def _roles(self) -> set[object]:
        return {info.role for info in (await self.infos(ANN)).values()}

    async def test_append_while_the_mailbox_goes(self) -> None:
        """A message appended to a mailbox that is deleted meanwhile is refused or gone; nothing else breaks."""
        work = await self.create("Work")

        async def attempt() -> None:
            try:
                await self.add_octets(PLAIN * 2000, work)
            except NoSuchMailbox:
                return

        await together(attempt(), self.store.edit_mailbox(ANN, DeleteMailbox(("Work",))), attempt())
        self.assertNotIn(("Work",), await self.infos())
        await self.create("Work")
        await self.add(1)
        await self.check_counts()
