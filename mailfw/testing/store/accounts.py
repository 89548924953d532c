"""Cases of the store's contract: accounts, and that they know nothing of each other."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import (
    FIRST_MAILBOXES,
    INBOX,
    SEEN,
    UID_LIMIT,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    Subscribe,
    Want,
)
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture, read_all

#: Account names that are valid addresses and dangerous as file names.
ODD_ACCOUNTS = (
    "a/b@example.org",
    "a_b@example.org",
    "a%2fb@example.org",
    "a.b@example.org",
    "a b@example.org",
    "..@example.org",
    "../ann@example.org",
    "~root@example.org",
    "o'neil+lists@example.org",
    "*@example.org",
    "하늘@예시.한국",
    "l" * 64 + "@" + "d" * 60 + "." + "e" * 60 + ".example.org",
)


class AccountCases(StoreFixture):
    """What `IMailStore` says of accounts."""

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(IMailStore, self.store))

    async def test_new_account_has_its_first_mailboxes(self) -> None:
        """The inbox and `FIRST_MAILBOXES` are there, with their roles, empty and subscribed."""
        infos = await self.infos()
        expected = {INBOX: None, **dict(FIRST_MAILBOXES)}
        self.assertEqual({path: info.role for path, info in infos.items()}, expected)
        for info in infos.values():
            self.assertEqual((info.messages, info.unseen, info.deleted, info.size), (0, 0, 0, 0))
            self.assertTrue(info.subscribed)
        self.assertEqual(await self.store.subscriptions(ANN), frozenset(expected))

    async def test_mailbox_ids_and_numbers_are_in_range(self) -> None:
        """Ids differ, and UIDVALIDITY and the next UID are positive and below `UID_LIMIT`."""
        infos = (await self.infos()).values()
        self.assertEqual(len({info.id for info in infos}), len(infos))
        for info in infos:
            self.assertTrue(0 < info.uid_validity < UID_LIMIT)
            self.assertTrue(0 < info.uid_next < UID_LIMIT)
            self.assertTrue(0 < info.recent_uid <= info.uid_next)
            self.assertTrue(0 <= info.modseq < 2**63)

    async def test_opening_again_changes_nothing(self) -> None:
        """What the user did to the first mailboxes is not undone at the next login."""
        await self.add(2)
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Junk",)))
        await self.store.edit_mailbox(ANN, Subscribe(("Sent",), False))
        before = await self.infos()
        await self.store.open_account(ANN)
        self.assertEqual(await self.infos(), before)

    async def test_unknown_account(self) -> None:
        """Every method that names an account nobody opened raises `NoSuchAccount`."""
        store, content = self.store, NewMessage(MemoryContent(PLAIN))
        for asked in (
            lambda: store.mailboxes(BOB),
            lambda: store.subscriptions(BOB),
            lambda: store.edit_mailbox(BOB, CreateMailbox(("Work",))),
            lambda: store.mailbox(BOB, self.inbox),
            lambda: store.claim_recent(BOB, self.inbox),
            lambda: store.snapshot(BOB, self.inbox, 0),
            lambda: anext(aiter(store.rows(BOB, self.inbox, [1], Want.NOTHING))),
            lambda: store.content(BOB, self.inbox, 1),
            lambda: store.append(BOB, self.inbox, [content]),
            lambda: store.alter(BOB, self.inbox, [1], FlagChange.ADD, frozenset({SEEN})),
            lambda: store.copy(BOB, self.inbox, [1], self.inbox),
            lambda: store.expunge(BOB, self.inbox, None),
            lambda: store.watch(BOB, lambda mailbox, modseq: None),
        ):
            await self.refuses(NoSuchAccount, asked())

    async def test_accounts_never_see_each_other(self) -> None:
        """Mail, flags, mailboxes, subscriptions and modification sequences of one account are not in another."""
        await self.store.open_account(BOB)
        before = await self.infos(BOB)
        [uid] = await self.add()
        await self.flag([uid], SEEN, "$Ann")
        await self.create("Ann's")
        await self.store.edit_mailbox(ANN, Subscribe(("Elsewhere",)))
        self.assertEqual(await self.infos(BOB), before)
        self.assertNotIn(("Elsewhere",), await self.store.subscriptions(BOB))
        self.assertIsNone(await self.store.content(BOB, before[INBOX].id, uid))

    async def test_watchers_hear_nothing_of_other_accounts(self) -> None:
        """A watcher of one account is not told of changes in another."""
        heard: list[str] = []
        await self.store.open_account(BOB)
        stop_bob = await self.store.watch(BOB, lambda mailbox, modseq: heard.append("bob"))
        stop_ann = await self.store.watch(ANN, lambda mailbox, modseq: heard.append("ann"))
        await self.add()
        await self.eventually(lambda: "ann" in heard, "the notice of an append")
        self.assertNotIn("bob", heard)
        stop_bob()
        stop_ann()

    async def test_removed_account_is_gone(self) -> None:
        """After `remove_account` nothing is left of it, other accounts are untouched, and it can be made anew."""
        await self.store.open_account(BOB)
        inbox = (await self.info(INBOX, BOB)).id
        await self.store.append(BOB, inbox, [NewMessage(MemoryContent(PLAIN))])
        await self.store.edit_mailbox(BOB, CreateMailbox(("Work",)))
        [uid] = await self.add()
        await self.store.remove_account(BOB)
        await self.refuses(NoSuchAccount, self.store.mailboxes(BOB))
        self.assertEqual(await self.octets(uid), PLAIN)
        await self.store.open_account(BOB)
        self.assertNotIn(("Work",), await self.infos(BOB))
        self.assertEqual((await self.info(INBOX, BOB)).messages, 0)

    async def test_odd_account_names_are_kept_apart(self) -> None:
        """Names that look like paths, patterns or each other are accounts like any."""
        expected = {name: f"Subject: {name}\r\n\r\n".encode() for name in ODD_ACCOUNTS}
        inboxes: dict[str, str] = {}
        for name, octets in expected.items():
            await self.store.open_account(name)
            inboxes[name] = (await self.info(INBOX, name)).id
            await self.store.append(name, inboxes[name], [NewMessage(MemoryContent(octets))])
        for name, octets in expected.items():
            snapshot = await self.store.snapshot(name, inboxes[name], 0)
            self.assertEqual(len(snapshot.uids), 1, name)
            content = await self.store.content(name, inboxes[name], snapshot.uids[0])
            assert content is not None
            self.assertEqual(await read_all(content), octets)
            await content.close()
        self.assertEqual((await self.now()).messages, 0)
