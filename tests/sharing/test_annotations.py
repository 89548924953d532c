"""Annotations and replacing through somebody else's rights."""

from __future__ import annotations

from functools import partial
from typing import Any

from mailfw.mail.failure import NoPermission, NoSuchMailbox, NoSuchMessage
from mailfw.mail.mailbox import FLAGGED, INBOX, SEEN, CreateMailbox, NewMessage, Role, SetRole
from mailfw.optional import ACCOUNT_ANNOTATIONS, IAnnotatedMail, IReplacingMail, ISettableQuota
from mailfw.sharing.places import Place, id_of
from mailfw.sharing.store import SharingStore
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import PLAIN, MemoryContent
from tests.sharing.test_store import ANN, BOB, CAT, SHARED, ViewCase

COMMENT, MINE = "/shared/comment", "/private/comment"


class AnnotationTests(ViewCase):
    def setUp(self) -> None:
        super().setUp()
        self.noted = IAnnotatedMail(self.view)
        self.now(self.noted.annotate(ANN, self.inbox, {COMMENT: b"ann", MINE: b"ann's own"}))

    def of(self, account: str, mailbox: str) -> dict[str, bytes]:
        return dict(self.now(self.noted.annotations(account, mailbox)))

    def test_each_has_private_ones_of_his_own(self) -> None:
        shared = self.share("lrw")
        self.assertEqual(self.of(BOB, shared), {COMMENT: b"ann"})
        self.now(self.noted.annotate(BOB, shared, {COMMENT: b"bob", MINE: b"bob's own"}))
        self.assertEqual(self.of(BOB, shared), {COMMENT: b"bob", MINE: b"bob's own"})
        self.assertEqual(self.of(ANN, self.inbox), {COMMENT: b"bob", MINE: b"ann's own"})

    def test_rights(self) -> None:
        """To see any takes l and one of r, s, w, i and p; to change what all share takes w."""
        shared = self.share("lr")
        self.now(self.noted.annotate(BOB, shared, {MINE: b"bob's own"}))
        self.refuses(NoPermission, lambda: self.noted.annotate(BOB, shared, {MINE: b"x", COMMENT: b"bob"}))
        self.assertEqual(self.of(BOB, shared), {COMMENT: b"ann", MINE: b"bob's own"})
        self.share("lx")
        self.refuses(NoPermission, lambda: self.noted.annotations(BOB, shared))
        self.refuses(NoPermission, lambda: self.noted.annotate(BOB, shared, {MINE: b"x"}))
        self.assertEqual(self.now(self.noted.all_annotations(BOB)), {})
        self.now(self.store.grant(ANN, self.inbox, BOB, frozenset("rw")))
        self.refuses(NoSuchMailbox, lambda: self.noted.annotations(BOB, shared))
        self.refuses(NoSuchMailbox, lambda: self.noted.annotate(BOB, shared, {COMMENT: b"x"}))
        self.refuses(NoSuchMailbox, lambda: self.noted.annotations(CAT, id_of(Place(ANN, self.inbox))))

    def test_all_at_once(self) -> None:
        shared, own = self.share("lr"), self.id_of(BOB, INBOX)
        self.now(self.noted.annotate(BOB, own, {MINE: b"here"}))
        self.now(self.noted.annotate(BOB, shared, {MINE: b"there"}))
        self.now(self.noted.annotate(BOB, None, {MINE: b"account"}))
        found = self.now(self.noted.all_annotations(BOB))
        self.assertEqual(found, {own: {MINE: b"here"}, shared: {COMMENT: b"ann", MINE: b"there"}})
        self.assertEqual(self.now(self.noted.annotations(ANN, None)), {})

    def test_notices(self) -> None:
        """Who shares a mailbox hears of its annotations, and not of those of its owner's account."""
        shared = self.share("lr")
        heard: list[str] = []
        self.now(self.view.watch(BOB, lambda mailbox, modseq: heard.append(mailbox)))
        before = self.infos()[SHARED + INBOX].annotated
        self.now(self.noted.annotate(ANN, None, {MINE: b"x"}))
        self.now(self.noted.annotate(ANN, self.inbox, {COMMENT: b"x"}))
        self.now(self.noted.annotate(BOB, None, {MINE: b"x"}))
        self.assertEqual(heard, [shared, ACCOUNT_ANNOTATIONS])
        self.assertNotEqual(self.infos()[SHARED + INBOX].annotated, before)

    def test_what_a_mailbox_is_for(self) -> None:
        self.share("lrswipkxtea")
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, SetRole(SHARED + INBOX, Role.ARCHIVE)))
        made = CreateMailbox((*SHARED, "INBOX", "Notes"), Role.ARCHIVE)
        self.refuses(NoPermission, lambda: self.view.edit_mailbox(BOB, made))
        self.assertNotIn(made.path, self.infos())
        self.now(self.view.edit_mailbox(BOB, SetRole(("Sent",), None)))
        self.assertIsNone(self.infos()[("Sent",)].role)

    def test_what_the_store_cannot_do(self) -> None:
        self.assertFalse(ISettableQuota.providedBy(SharingStore(MemoryStore())))
        self.assertTrue(ISettableQuota.providedBy(self.view))


class ReplacingTests(ViewCase):
    def replace(self, mailbox: str, uid: int, to: str, *flags: str) -> Any:
        message = NewMessage(MemoryContent(PLAIN + b"again"), frozenset(flags))
        return IReplacingMail(self.view).replace(BOB, mailbox, uid, to, message)

    def test_in_somebody_elses_mailbox(self) -> None:
        """It takes t and e where the old message is and i where the new one goes, and flags as for any other."""
        [uid] = self.add(ANN, self.inbox)
        for rights in ("lrit", "lrie", "lrte"):
            shared = self.share(rights)
            self.refuses(NoPermission, partial(self.replace, shared, uid, shared))
        shared = self.share("lrsite")
        replaced = self.now(self.replace(shared, uid, shared, SEEN, FLAGGED))
        self.assertEqual(self.flags(BOB, shared), {replaced.appended.uid: {SEEN}})
        self.assertEqual(self.flags(ANN, self.inbox), {replaced.appended.uid: frozenset()})

    def test_from_one_account_to_another(self) -> None:
        """The new one is in the one account, the old one in the other no more; what is gone is not replaced."""
        shared, own = self.share("lrswite"), self.id_of(BOB, INBOX)
        [uid] = self.add(BOB, own)
        replaced = self.now(self.replace(own, uid, shared, FLAGGED))
        self.assertEqual((self.flags(BOB, own), self.flags(BOB, shared)), ({}, {replaced.appended.uid: {FLAGGED}}))
        self.refuses(NoSuchMessage, lambda: self.replace(own, uid, shared))
        back = self.now(self.replace(shared, replaced.appended.uid, own))
        self.assertEqual((self.flags(ANN, self.inbox), list(self.flags(BOB, own))), ({}, [back.appended.uid]))

    def test_to_where_nothing_may_be_added(self) -> None:
        self.now(self.store.edit_mailbox(ANN, CreateMailbox(("Work",))))
        shared, own = self.share("lrte"), self.id_of(BOB, INBOX)
        [uid] = self.add(BOB, own)
        self.refuses(NoPermission, lambda: self.replace(own, uid, shared))
        self.assertEqual(list(self.flags(BOB, own)), [uid])
