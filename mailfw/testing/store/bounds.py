"""Cases of what an account may keep, and of what comes back after it was expunged."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable

from twisted.internet.defer import Deferred, DeferredList
from zope.interface import implementer

from mailfw.interfaces import IMailStore, IQuotas
from mailfw.mail.failure import NoSuchAccount, OverQuota
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    INBOX,
    SEEN,
    TREE,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    Path,
    Want,
)
from mailfw.mail.quota import NO_LIMITS, Quota, QuotaLimits
from mailfw.mail.retained import Retained
from mailfw.optional import IReplacingMail, IRetainedMail, ISettableQuota, ISettableQuotas
from mailfw.testing.contents import MemoryContent
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture, read_all

WORK: Path = ("Work",)


@implementer(IQuotas, ISettableQuotas)
class FixedQuotas:
    """The same limits for everybody but those with others, until they are changed."""

    def __init__(self, octets: int = 0, messages: int = 0, **others: QuotaLimits) -> None:
        self.everybody = QuotaLimits(octets, messages)
        self.others = others

    async def limits(self, account: str) -> QuotaLimits:
        """Return an account's limits, by its local part."""
        return self.others.get(account.partition("@")[0], self.everybody)

    async def change_limits(self, account: str, limits: QuotaLimits) -> None:
        """Give an account others."""
        self.others[account.partition("@")[0]] = limits


def octets_of(size: int) -> MemoryContent:
    """Return a message of so many octets."""
    return MemoryContent(b"Subject: x\r\n\r\n".ljust(size, b"x"))


class BoundedFixture(StoreFixture):
    """A store whose accounts are bounded."""

    def make_bounded_store(self, quotas: IQuotas, retention: float) -> IMailStore | Awaitable[IMailStore]:
        """
        Return a new store with quotas, that retains expunged mail for so many seconds.

        Yours to override where there is no `spec` whose factory takes ``quotas`` and ``retention``.
        """
        if not self.can_bound:
            raise self.not_offered("nothing says how this store is made with quotas: there is no make_bounded_store()")
        self.maker = self.new_maker()
        return self.maker.make_store(quotas=quotas, retention=retention)

    @property
    def can_bound(self) -> bool:
        """Whether `make_bounded_store` has been overridden, or the factory that `spec` names takes quotas."""
        overridden = type(self).make_bounded_store is not BoundedFixture.make_bounded_store
        return overridden or (bool(self.spec) and self.maker.takes_quotas)

    async def bound(self, octets: int = 0, messages: int = 0, retention: float = 0, **others: QuotaLimits) -> None:
        """Go on with such a store."""
        made = self.make_bounded_store(FixedQuotas(octets, messages, **others), retention)
        await self.store.close()
        self.store = await made if inspect.isawaitable(made) else made
        await self.store.open_account(ANN)
        self.inbox = (await self.info()).id

    async def put_sizes(self, *sizes: int, token: str | None = None, mailbox: str | None = None) -> list[int]:
        """Append messages of these sizes."""
        messages = [NewMessage(octets_of(size), token=token) for size in sizes]
        return [each.uid for each in await self.store.append(ANN, mailbox or self.inbox, messages)]

    async def is_refused(self, *sizes: int) -> bool:
        """Whether these do not fit."""
        try:
            await self.put_sizes(*sizes)
        except OverQuota:
            return True
        return False


class QuotaCases(BoundedFixture):
    """What is kept is counted, and bounded, for a store that can be made with quotas."""

    async def counted(self) -> tuple[int, int]:
        """Return octets and messages of all mailboxes, which the quota must say too."""
        quota = await self.store.quota(ANN)
        infos = await self.store.mailboxes(ANN)
        self.assertEqual(quota.octets, sum(info.size for info in infos))
        self.assertEqual(quota.messages, sum(info.messages for info in infos))
        return quota.octets, quota.messages

    async def test_limits_that_can_be_set(self) -> None:
        """What a session sets holds for what comes after, and for nobody else."""
        await self.bound(messages=1)
        self.demand(ISettableQuota, "this store passes no limits on")
        await self.put_sizes(100)
        await ISettableQuota(self.store).set_quota(ANN, QuotaLimits(350, 3))
        self.assertEqual(await self.store.quota(ANN), Quota(100, 1, 350, 3))
        self.assertFalse(await self.is_refused(100))
        self.assertTrue(await self.is_refused(200))
        await self.store.open_account(BOB)
        self.assertEqual((await self.store.quota(BOB)).message_limit, 1)
        await self.refuses(NoSuchAccount, ISettableQuota(self.store).set_quota("nobody@example.org", NO_LIMITS))

    async def test_replacing_takes_the_room_of_the_old_one(self) -> None:
        """A full account can replace a message by one that is no larger, and by no larger one."""
        await self.bound(octets=300, messages=2)
        if not IReplacingMail.providedBy(self.store):
            raise self.not_offered("this store replaces no messages")
        uid, _ = await self.put_sizes(200, 100)
        store = IReplacingMail(self.store)
        await self.refuses(OverQuota, store.replace(ANN, self.inbox, uid, self.inbox, NewMessage(octets_of(201))))
        self.assertEqual(await self.counted(), (300, 2))
        await store.replace(ANN, self.inbox, uid, self.inbox, NewMessage(octets_of(200)))
        self.assertEqual(await self.counted(), (300, 2))

    async def test_quota_counts_whatever_happens(self) -> None:
        """Appending, copying, moving, expunging and deleting a mailbox are counted."""
        self.assertEqual(await self.counted(), (0, 0))
        await self.store.edit_mailbox(ANN, CreateMailbox(WORK))
        work = (await self.info(WORK)).id
        uids = await self.put_sizes(100, 200, 300)
        self.assertEqual(await self.counted(), (600, 3))
        copied = await self.store.copy(ANN, self.inbox, uids, work)
        self.assertEqual(await self.counted(), (1200, 6))
        await self.store.copy(ANN, work, [copied.uids[0][1]], self.inbox, move=True)
        self.assertEqual(await self.counted(), (1200, 6))
        await self.store.alter(ANN, self.inbox, uids[:2], FlagChange.ADD, frozenset({DELETED}))
        await self.store.expunge(ANN, self.inbox, None)
        self.assertEqual(await self.counted(), (900, 4))
        await self.store.edit_mailbox(ANN, DeleteMailbox(WORK))
        self.assertEqual(await self.counted(), (400, 2))

    async def test_quota_is_counted_after_a_restart(self) -> None:
        """What was kept before a restart counts after it."""
        await self.put_sizes(100, 200)
        await self.reopen()
        self.assertEqual(await self.counted(), (300, 2))

    async def test_quota_of_nobody(self) -> None:
        """An account that does not exist has none."""
        with self.assertRaises(NoSuchAccount):
            await self.store.quota("nobody@example.org")

    async def test_quota_without_limits(self) -> None:
        """Where nobody sets a limit there is none."""
        quota = await self.store.quota(ANN)
        self.assertEqual((quota.octet_limit, quota.message_limit), (NO_LIMITS.octets, NO_LIMITS.messages))

    async def test_quota_says_its_limits(self) -> None:
        """It says what is kept and what may be."""
        await self.bound(1000, 7)
        await self.put_sizes(300)
        self.assertEqual(await self.store.quota(ANN), Quota(300, 1, 1000, 7))

    async def test_quota_fits_to_the_octet(self) -> None:
        """A message that fills the account fits, one octet more does not."""
        await self.bound(1000)
        await self.put_sizes(600)
        self.assertTrue(await self.is_refused(401))
        self.assertFalse(await self.is_refused(400))
        self.assertTrue(await self.is_refused(14))

    async def test_quota_fits_to_the_message(self) -> None:
        """Messages are limited as octets are."""
        await self.bound(messages=3)
        await self.put_sizes(100, 100)
        self.assertTrue(await self.is_refused(100, 100))
        self.assertFalse(await self.is_refused(100))
        self.assertTrue(await self.is_refused(100))
        self.assertEqual(await self.counted(), (300, 3))

    async def test_quota_keeps_none_of_a_batch(self) -> None:
        """Where some of a call's messages do not fit, none is kept and no UID is used."""
        await self.bound(1000)
        self.assertTrue(await self.is_refused(400, 400, 400))
        info = await self.now()
        self.assertEqual((info.messages, info.size, info.uid_next), (0, 0, 1))

    async def test_quota_is_that_of_all_mailboxes(self) -> None:
        """All mailboxes count; a copy needs room, a move needs none."""
        await self.bound(1000)
        archive = (await self.info(("Archive",))).id
        [uid] = await self.put_sizes(600)
        with self.assertRaises(OverQuota):
            await self.store.copy(ANN, self.inbox, [uid], archive)
        self.assertEqual((await self.now(archive)).messages, 0)
        await self.store.copy(ANN, self.inbox, [uid], archive, move=True)
        self.assertTrue(await self.is_refused(600))

    async def test_quota_and_expunged_messages(self) -> None:
        """What is expunged makes room, retained or not."""
        await self.bound(1000, retention=86400)
        await self.store.append(ANN, self.inbox, [NewMessage(octets_of(900), frozenset({DELETED}))])
        self.assertTrue(await self.is_refused(900))
        await self.store.expunge(ANN, self.inbox, None)
        self.assertFalse(await self.is_refused(900))

    async def test_quota_and_a_delivery_tried_again(self) -> None:
        """A message that is kept already, by its token, needs no room."""
        await self.bound(1000)
        once = await self.put_sizes(900, token="1")  # noqa: S106  # no password
        self.assertEqual(await self.put_sizes(900, token="1"), once)  # noqa: S106  # no password

    async def test_quota_of_each_account(self) -> None:
        """Each account has limits and room of its own."""
        await self.bound(1000, bob=QuotaLimits(2000))
        await self.store.open_account(BOB)
        inbox = (await self.info(account=BOB)).id
        self.assertTrue(await self.is_refused(1500))
        await self.store.append(BOB, inbox, [NewMessage(octets_of(1500))])
        self.assertFalse(await self.is_refused(1000))


class RetentionCases(BoundedFixture):
    """What `IRetainedMail` says: expunged mail is out of sight, and can be had back."""

    async def retaining(self, octets: int = 0) -> IRetainedMail:
        """Go on with a store that retains mail."""
        await self.bound(octets, retention=86400)
        self.demand(IRetainedMail, "this store retains nothing")
        return IRetainedMail(self.store)

    async def put_and_expunge(self, size: int, *flags: str, mailbox: str | None = None) -> None:
        """Append a message and expunge it."""
        message = NewMessage(octets_of(size), frozenset({DELETED, *flags}), received=1_000_000_000)
        await self.store.append(ANN, mailbox or self.inbox, [message])
        await self.store.expunge(ANN, mailbox or self.inbox, None)

    async def retained(self, store: IRetainedMail) -> list[Retained]:
        """Return what is retained, by size."""
        found = [each async for batch in store.retained(ANN) for each in batch]
        self.assertEqual(len({each.id for each in found}), len(found))
        return sorted(found, key=lambda each: each.size)

    async def test_expunged_mail_comes_back(self) -> None:
        """A message comes back with its octets, date and flags, but \\Deleted, and with a new UID."""
        store = await self.retaining()
        await self.put_and_expunge(100, SEEN, "$Work")
        await self.put_and_expunge(200)
        self.assertEqual((await self.now()).messages, 0)
        first, second = await self.retained(store)
        self.assertEqual((first.path, first.size, first.received), (INBOX, 100, 1_000_000_000))
        self.assertEqual(first.flags, {DELETED, SEEN, "$Work"})
        self.assertLess(abs(first.expunged - time.time()), 60)
        content = await store.retained_content(ANN, second.id)
        assert content is not None
        self.assertEqual(await read_all(content), await read_all(octets_of(200)))
        await content.close()
        self.assertEqual(await store.undelete(ANN, {first.id}), 1)
        [row] = [row async for rows in self.store.rows(ANN, self.inbox, range(1, 9), Want.NOTHING) for row in rows]
        self.assertEqual((row.uid, row.size, row.received, row.flags), (3, 100, 1_000_000_000, {SEEN, "$Work"}))
        self.assertEqual(await self.retained(store), [second])
        self.assertEqual(await store.undelete(ANN, {first.id}), 0)
        self.assertIsNone(await store.retained_content(ANN, first.id))

    async def test_a_deleted_mailbox_comes_back(self) -> None:
        """A mailbox that was deleted is made again for the messages that were in it."""
        store = await self.retaining()
        await self.store.edit_mailbox(ANN, CreateMailbox(WORK))
        work = await self.info(WORK)
        message = NewMessage(octets_of(300), frozenset({FLAGGED, "label"}))
        await self.store.append(ANN, work.id, [message])
        await self.put_and_expunge(100, mailbox=work.id)
        await self.store.edit_mailbox(ANN, DeleteMailbox(WORK))
        found = await self.retained(store)
        self.assertEqual([(each.path, each.size) for each in found], [(WORK, 100), (WORK, 300)])
        heard: list[str] = []
        stop = await self.store.watch(ANN, lambda mailbox, modseq: heard.append(mailbox))
        self.assertEqual(await store.undelete(ANN, [each.id for each in found]), 2)
        await self.eventually(lambda: TREE in heard, "a notice of the mailbox")
        stop()
        again = await self.info(WORK)
        self.assertGreater(again.uid_validity, work.uid_validity)
        snapshot = await self.snap(mailbox=again.id)
        self.assertEqual(sorted(map(sorted, snapshot.flags)), [[], ["\\Flagged", "label"]])
        self.assertEqual(await self.retained(store), [])

    async def test_what_comes_back_is_noticed(self) -> None:
        """Who watches hears of messages that come back."""
        store = await self.retaining()
        await self.put_and_expunge(100)
        before = await self.now()
        heard: list[tuple[str, int]] = []
        stop = await self.store.watch(ANN, lambda *notice: heard.append(notice))
        await store.undelete(ANN, [each.id for each in await self.retained(store)])
        self.assertIn((self.inbox, (await self.now()).modseq), heard)
        self.assertGreater((await self.now()).modseq, before.modseq)
        stop()

    async def test_what_moves_is_not_retained(self) -> None:
        """A message that moves is nowhere twice."""
        store = await self.retaining()
        uids = await self.put_sizes(100)
        archive = (await self.info(("Archive",))).id
        await self.store.copy(ANN, self.inbox, uids, archive, move=True)
        self.assertEqual(await self.retained(store), [])

    async def test_retained_mail_and_the_quota(self) -> None:
        """Retained mail needs no room, and comes back only where there is some."""
        store = await self.retaining(1000)
        await self.put_and_expunge(900)
        self.assertEqual((await self.store.quota(ANN)).octets, 0)
        await self.put_sizes(200)
        [kept] = await self.retained(store)
        with self.assertRaises(OverQuota):
            await store.undelete(ANN, {kept.id})
        self.assertEqual(await self.retained(store), [kept])
        self.assertEqual((await self.now()).messages, 1)

    async def test_retained_mail_that_comes_back_at_once(self) -> None:
        """Two messages that come back at the same time cannot both take the last room."""
        store = await self.retaining(1000)
        for size in (600, 700):
            await self.put_and_expunge(size)
        coming = [Deferred.fromCoroutine(store.undelete(ANN, {each.id})) for each in await self.retained(store)]
        came = [is_back for is_back, _ in await DeferredList(coming, consumeErrors=True)]
        self.assertEqual(sorted(came), [False, True])
        self.assertLessEqual((await self.store.quota(ANN)).octets, 1000)

    async def test_ids_that_are_none(self) -> None:
        """An id that is none of ours stands for nothing."""
        store = await self.retaining()
        await self.put_and_expunge(100)
        for id_ in ("", "x", "../../passwords", "1/INBOX/cur/../../../x", "9" * 40):
            self.assertIsNone(await store.retained_content(ANN, id_))
            self.assertEqual(await store.undelete(ANN, {id_}), 0)

    async def test_what_is_too_old_is_forgotten(self) -> None:
        """What was expunged long enough ago is removed for good, and nothing else."""
        store = await self.retaining()
        await self.put_and_expunge(100)
        while await store.forget_retained(time.time() - 86400):
            pass
        self.assertEqual(len(await self.retained(store)), 1)
        while await store.forget_retained(time.time() + 2 * 86400):
            pass
        self.assertEqual(await self.retained(store), [])

    async def test_retained_mail_after_a_restart(self) -> None:
        """What was retained before a restart can come back after it."""
        store = await self.retaining()
        await self.put_and_expunge(100)
        await self.reopen()
        store = IRetainedMail(self.store)
        self.assertEqual(await store.undelete(ANN, [each.id for each in await self.retained(store)]), 1)
        self.assertEqual((await self.now()).messages, 1)
