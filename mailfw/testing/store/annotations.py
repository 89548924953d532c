"""Cases of the store's contract: annotations of mailboxes and accounts."""

from __future__ import annotations

from mailfw.mail.annotation import LONGEST_NAME, LONGEST_VALUE, MOST_ENTRIES, MOST_OCTETS
from mailfw.mail.failure import AnnotationTooLong, NameRefused, NoSuchAccount, NoSuchMailbox, TooManyAnnotations
from mailfw.mail.mailbox import CreateMailbox, DeleteMailbox, RenameMailbox
from mailfw.optional import ACCOUNT_ANNOTATIONS
from mailfw.testing.store.fixture import ANN, BOB, StoreFixture

SHARED, PRIVATE = "/shared/comment", "/private/comment"
#: Octets of all kinds, among them those that end strings and lines elsewhere.
VALUE = b"\x00\r\n\xff\xc3\xa9 \x7f"


class AnnotationCases(StoreFixture):
    """What `IAnnotatedMail` says."""

    async def test_annotations_are_kept(self) -> None:
        """Values are kept octet for octet, change and go, each without the others."""
        store = self.annotated
        self.assertEqual(dict(await store.annotations(ANN, self.inbox)), {})
        await store.annotate(ANN, self.inbox, {SHARED: VALUE, PRIVATE: b"mine"})
        self.assertEqual(dict(await store.annotations(ANN, self.inbox)), {SHARED: VALUE, PRIVATE: b"mine"})
        await store.annotate(ANN, self.inbox, {SHARED: b"", "/private/x": b"1", PRIVATE: None, "/shared/none": None})
        self.assertEqual(dict(await store.annotations(ANN, self.inbox)), {SHARED: b"", "/private/x": b"1"})

    async def test_annotations_of_an_account(self) -> None:
        """The account has entries of its own, and none of a mailbox's."""
        store = self.annotated
        await self.store.open_account(BOB)
        await store.annotate(ANN, None, {PRIVATE: b"account"})
        await store.annotate(ANN, self.inbox, {PRIVATE: b"inbox"})
        self.assertEqual(dict(await store.annotations(ANN, None)), {PRIVATE: b"account"})
        self.assertEqual(dict(await store.annotations(ANN, self.inbox)), {PRIVATE: b"inbox"})
        self.assertEqual(dict(await store.annotations(BOB, None)), {})

    async def test_all_annotations_at_once(self) -> None:
        """Those of all mailboxes are told by id, without the mailboxes that have none and without the account's own."""
        store = self.annotated
        work = await self.create("Work")
        await store.annotate(ANN, work, {SHARED: b"work"})
        await store.annotate(ANN, None, {SHARED: b"account"})
        found = await store.all_annotations(ANN)
        self.assertEqual({mailbox: dict(each) for mailbox, each in found.items()}, {work: {SHARED: b"work"}})

    async def test_annotations_go_where_the_mailbox_goes(self) -> None:
        """They stay when it is renamed, and are not there in one made again under its name."""
        store = self.annotated
        work = await self.create("Work")
        await store.annotate(ANN, work, {SHARED: b"kept"})
        await self.store.edit_mailbox(ANN, RenameMailbox(("Work",), ("Play",)))
        self.assertEqual(dict(await store.annotations(ANN, work)), {SHARED: b"kept"})
        await self.store.edit_mailbox(ANN, DeleteMailbox(("Play",)))
        await self.refuses(NoSuchMailbox, store.annotations(ANN, work))
        await self.refuses(NoSuchMailbox, store.annotate(ANN, work, {SHARED: b"late"}))
        again = await self.create("Play")
        self.assertEqual(dict(await store.annotations(ANN, again)), {})
        below = await self.create("Play", "Below")
        await store.annotate(ANN, again, {SHARED: b"above"})
        self.assertEqual(dict(await store.annotations(ANN, below)), {})

    async def test_annotations_and_accounts_that_are_gone(self) -> None:
        """An account made again has none."""
        store = self.annotated
        await self.store.open_account(BOB)
        await store.annotate(BOB, None, {PRIVATE: b"old"})
        await self.store.remove_account(BOB)
        await self.refuses(NoSuchAccount, store.annotations(BOB, None))
        await self.store.open_account(BOB)
        self.assertEqual(dict(await store.annotations(BOB, None)), {})

    async def test_annotating_changes_the_mailbox(self) -> None:
        """Each change has a modification sequence and is noticed; what stays as it was is no change."""
        store = self.annotated
        work = await self.create("Work")
        heard: list[str] = []
        stop = await self.store.watch(ANN, lambda mailbox, modseq: heard.append(mailbox))
        before = await self.now(work)
        await store.annotate(ANN, work, {SHARED: b"one"})
        await self.eventually(lambda: work in heard, "a notice of an annotation")
        after = await self.now(work)
        self.assertGreater(after.modseq, before.modseq)
        self.assertNotEqual(after.annotated, before.annotated)
        await store.annotate(ANN, work, {SHARED: b"one", PRIVATE: None})
        self.assertEqual(await self.now(work), after)
        await store.annotate(ANN, work, {SHARED: None})
        gone = await self.now(work)
        self.assertGreater(gone.modseq, after.modseq)
        self.assertNotEqual(gone.annotated, after.annotated)
        await store.annotate(ANN, None, {PRIVATE: b"account"})
        await self.eventually(lambda: ACCOUNT_ANNOTATIONS in heard, "a notice of an account's annotation")
        stop()

    async def test_annotating_is_no_change_of_messages(self) -> None:
        """Who asks what changed hears of no message."""
        await self.add(3)
        since = (await self.now()).modseq
        await self.annotated.annotate(ANN, self.inbox, {SHARED: b"one"})
        news = await self.snap(since)
        self.assertEqual((list(news.uids), list(news.vanished)), ([], []))
        self.assertEqual((await self.infos())[("INBOX",)], await self.now())

    async def test_names_of_annotations(self) -> None:
        """What is no entry in lower case is refused, and nothing is changed then."""
        store = self.annotated
        for name in ("comment", "/public/comment", "/shared", "/shared/", "/shared//x", "/shared/X", "/shared/*x"):
            await self.refuses(NameRefused, store.annotate(ANN, self.inbox, {SHARED: b"x", name: b"x"}))
        await self.refuses(NameRefused, store.annotate(ANN, self.inbox, {"/shared/\xe9": b"x"}))
        self.assertEqual(dict(await store.annotations(ANN, self.inbox)), {})

    async def test_bounds_of_annotations(self) -> None:
        """What is too long or too many is refused, all of it; what there is can always be removed and changed."""
        store = self.annotated
        longest = "/shared/" + "x" * (LONGEST_NAME - len("/shared/"))
        await store.annotate(ANN, self.inbox, {longest: b"x" * LONGEST_VALUE})
        self.assertEqual(await store.annotations(ANN, self.inbox), {longest: b"x" * LONGEST_VALUE})
        await self.refuses(AnnotationTooLong, store.annotate(ANN, self.inbox, {longest + "x": b""}))
        too_long = {SHARED: b"x" * (LONGEST_VALUE + 1), PRIVATE: b"x"}
        await self.refuses(AnnotationTooLong, store.annotate(ANN, self.inbox, too_long))
        await store.annotate(ANN, self.inbox, {longest: None})
        many = {f"/private/{number}": b"x" for number in range(MOST_ENTRIES)}
        await store.annotate(ANN, self.inbox, many)
        await self.refuses(TooManyAnnotations, store.annotate(ANN, self.inbox, {"/private/more": b"x", SHARED: b"x"}))
        self.assertEqual(await store.annotations(ANN, self.inbox), many)
        await store.annotate(ANN, self.inbox, {"/private/0": None, "/private/more": b"x"})

    async def test_octets_of_all_annotations(self) -> None:
        """All mailboxes together have a bound, whatever each of them has."""
        store = self.annotated
        name = "/private/{}".format
        each = {name(number): b"x" * LONGEST_VALUE for number in range(32)}
        octets = sum(len(key) + len(value) for key, value in each.items())
        for number in range(MOST_OCTETS // octets):
            await store.annotate(ANN, await self.create(str(number)), each)
        await self.refuses(TooManyAnnotations, store.annotate(ANN, self.inbox, each))
        self.assertEqual(await store.annotations(ANN, self.inbox), {})
        await self.store.edit_mailbox(ANN, DeleteMailbox(("0",)))
        await store.annotate(ANN, self.inbox, each)

    async def test_annotations_last(self) -> None:
        """What was said to be kept is there, also after a restart."""
        store = self.annotated
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        work = (await self.info(("Work",))).id
        await store.annotate(ANN, work, {SHARED: VALUE})
        await store.annotate(ANN, None, {PRIVATE: VALUE})
        before = await self.now(work)
        if self.can_reopen:
            await self.reopen()
        store = self.annotated
        self.assertEqual(await store.annotations(ANN, work), {SHARED: VALUE})
        self.assertEqual(await store.annotations(ANN, None), {PRIVATE: VALUE})
        self.assertEqual(await self.now(work), before)
