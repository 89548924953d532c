from __future__ import annotations

import email
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.couriers.mailbox import MailboxCourier
from mailfw.interfaces import ICourier, IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.failure import NoSpace, NoSuchAccount, NoSuchMailbox, OverQuota
from mailfw.mail.mailbox import Appended, CreateMailbox, DeleteMailbox
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.mail.transfer import is_seven_bit
from mailfw.site import Site
from mailfw.smtp.client.fitting import PIECE
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import SAMPLES, MemoryContent
from mailfw.testing.courier import CourierContract
from mailfw.testing.dialogue import run_now
from tests.couriers.hosts import PoollessReactor
from tests.queue.fixture import ANN, BOB, CAROL, MESSAGE, NOBODY, PretendDirectory, read_mailbox

SITE = Site("mx.example.org", frozenset({"example.org"}), Path("absent"), PoollessReactor())
#: A binary part (RFC 3030 section 3): octets that no line-oriented file may have.
PICTURE = b"\x89PNG\0\r\n\x1a\n\r\r\n" + bytes(range(256)) * 5
BINARY = (
    b"From: carol@example.net\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n" + PICTURE
)


async def open_draft(size_hint: int) -> IDraft:
    return MemoryContent()


class WatchedStore:
    """A memory store that counts calls, and whose `append` can fail or wait."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.calls: list[str] = []
        self.failures: list[BaseException] = []
        self.fails_for: set[str] = set()
        self.gate: Deferred[None] | None = None
        self.waiting = 0

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.store, name)

    async def append(self, account: str, mailbox: str, messages: Any) -> list[Appended]:
        self.calls.append("append")
        if self.gate is not None:
            self.waiting += 1
            passed: Deferred[None] = Deferred()
            self.gate.addCallback(lambda _: passed.callback(None))
            await passed
        if account in self.fails_for:
            raise OSError("the store is broken")
        if self.failures:
            raise self.failures.pop(0)
        return await self.store.append(account, mailbox, messages)


class MailboxCourierCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = PretendDirectory()
        store: Any = WatchedStore()
        self.store = store
        self.drafts: list[MemoryContent] = []
        self.courier = MailboxCourier(site=SITE, directory=self.directory, store=store, open_draft=self.open_draft)

    async def open_draft(self, size_hint: int) -> IDraft:
        self.drafts.append(MemoryContent())
        return self.drafts[-1]

    def deliver(
        self,
        *recipients: Address,
        sender: Address | None = CAROL,
        junk: bool = False,
        name: str = "1a",
        octets: bytes = MESSAGE,
        body: str = "7BIT",
    ) -> list[Outcome]:
        envelope = Envelope(name, sender, recipients, body=body)
        outcomes: list[Outcome] = run_now(self, self.courier.deliver("", envelope, MemoryContent(octets), junk))
        return outcomes

    def mail(self, *path: str, account: str = "ann@example.org") -> list[bytes]:
        messages: list[bytes] = run_now(self, read_mailbox(self.store.store, account, path or ("INBOX",)))
        return messages

    def create(self, *path: str, account: str = "ann@example.org") -> None:
        run_now(self, self.store.store.open_account(account))
        run_now(self, self.store.store.edit_mailbox(account, CreateMailbox(path)))


class MailboxCourierTests(MailboxCourierCase):
    def test_what_is_added(self) -> None:
        self.assertEqual(self.deliver(ANN), [Delivered()])
        self.deliver(Address("Bob+x y", "example.org"), sender=None)
        self.assertEqual(
            self.mail(), [b"Return-Path: <carol@example.net>\r\nDelivered-To: ann@example.org\r\n" + MESSAGE]
        )
        self.assertEqual(
            self.mail(account="bob@example.org"),
            [b'Return-Path: <>\r\nDelivered-To: "Bob+x y"@example.org\r\n' + MESSAGE],
        )

    def test_accounts_that_are_being_moved(self) -> None:
        """Mail for them is deferred; for others it is delivered."""
        held = {"ann@example.org"}
        store: Any = self.store
        self.courier = MailboxCourier(
            site=SITE, directory=self.directory, store=store, open_draft=self.open_draft, held=held
        )
        deferred, delivered = self.deliver(ANN, Address("bob", "example.org"))
        self.assertIsInstance(deferred, DeferredOutcome)
        self.assertEqual(delivered, Delivered())
        held.clear()
        self.assertEqual(self.deliver(ANN), [Delivered()])
        self.assertEqual(len(self.mail()), 1)

    def test_the_inbox_is_looked_for_once(self) -> None:
        self.deliver(ANN)
        self.store.calls.clear()
        self.deliver(ANN, name="2b")
        self.assertEqual(self.store.calls, ["append"])
        self.assertEqual(len(self.mail()), 2)

    def test_a_detail_names_a_mailbox(self) -> None:
        self.create("Lists")
        self.create("Lists", "Python")
        for detail, path in (
            ("lists", ("Lists",)),
            ("LISTS/python", ("Lists", "Python")),
            ("absent", ("INBOX",)),
            ("", ("INBOX",)),
            ("trash", ("INBOX",)),
        ):
            before = len(self.mail(*path))
            self.deliver(Address(f"ann+{detail}", "example.org"), name=f"1{detail}")
            self.assertEqual(len(self.mail(*path)), before + 1, detail)

    def test_junk(self) -> None:
        self.create("Lists")
        self.deliver(Address("ann+lists", "example.org"), junk=True)
        self.assertEqual(len(self.mail("Junk")), 1)
        run_now(self, self.store.store.edit_mailbox("ann@example.org", DeleteMailbox(("Junk",))))
        self.deliver(ANN, junk=True, name="2b")
        self.assertEqual(len(self.mail()), 1)

    def test_an_account_of_an_alias_that_keeps_a_copy(self) -> None:
        self.directory.aliases["ann@example.org"] = (ANN, CAROL)
        self.directory.aliases["bob@example.org"] = (CAROL,)
        self.assertEqual(self.deliver(ANN), [Delivered()])
        self.assertEqual(len(self.mail()), 1)
        [outcome] = self.deliver(BOB)
        self.assertIsInstance(outcome, Failed)

    def test_what_the_store_refuses(self) -> None:
        for refusal, kind, code, status in (
            (OverQuota(), DeferredOutcome, 452, "4.2.2"),
            (NoSpace(), DeferredOutcome, 452, "4.3.1"),
        ):
            self.store.failures = [refusal]
            [outcome] = self.deliver(ANN)
            assert isinstance(outcome, kind)
            self.assertEqual((outcome.reply.code, outcome.reply.status), (code, status))
        self.store.failures = [NoSuchAccount(), NoSuchAccount()]
        [outcome] = self.deliver(ANN)
        assert isinstance(outcome, Failed)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (550, "5.1.1"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_mailbox_that_has_gone_is_looked_for_again(self) -> None:
        self.deliver(ANN)
        for gone in (NoSuchMailbox(), NoSuchAccount()):
            self.store.failures = [gone]
            self.assertEqual(self.deliver(ANN, name=repr(gone)), [Delivered()])
        run_now(self, self.store.store.remove_account("ann@example.org"))
        self.assertEqual(self.deliver(ANN, name="2b"), [Delivered()])
        self.assertEqual(len(self.mail()), 1)

    def test_a_fault_defers_and_is_logged_once(self) -> None:
        self.store.fails_for = {"ann@example.org"}
        [outcome] = self.deliver(ANN)
        assert isinstance(outcome, DeferredOutcome)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (451, "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        kinds = [type(outcome) for outcome in self.deliver(ANN, BOB, NOBODY, Address("ann+x", "example.org"))]
        self.assertEqual(kinds, [DeferredOutcome, Delivered, Failed, DeferredOutcome])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_recipients_are_under_way_together(self) -> None:
        self.store.gate = Deferred()
        envelope = Envelope("1a", CAROL, (ANN, BOB))
        delivering = Deferred.fromCoroutine(self.courier.deliver("", envelope, MemoryContent(MESSAGE), False))
        self.assertEqual(self.store.waiting, 2)
        self.assertNoResult(delivering)
        self.store.gate.callback(None)
        self.assertEqual(self.successResultOf(delivering), [Delivered(), Delivered()])

    def test_addresses_that_cannot_be_written(self) -> None:
        for sender, recipient in (
            (Address("x\r\nBcc: y", "example.net"), ANN),
            (CAROL, Address("ann+\r\nX: y", "example.org")),
        ):
            [outcome] = self.deliver(recipient, sender=sender)
            assert isinstance(outcome, Failed)
            self.assertEqual(outcome.reply.status, "5.1.3")
        self.assertEqual(self.mail(), [])


class BinaryTests(MailboxCourierCase):
    """RFC 3030: what came as BINARYMIME is kept in lines, and means the same."""

    def test_what_a_mailbox_gets(self) -> None:
        self.assertEqual(self.deliver(ANN, BOB, octets=BINARY, body="BINARYMIME"), [Delivered()] * 2)
        for account in ("ann@example.org", "bob@example.org"):
            [octets] = self.mail(account=account)
            self.assertTrue(is_seven_bit(octets), octets)
            self.assertEqual(email.message_from_bytes(octets).get_payload(decode=True), PICTURE)
        self.assertEqual(len(self.drafts), 1, "once for all")
        self.assertTrue(self.drafts[0].closed)

    def test_what_has_lines_stays(self) -> None:
        for octets in (
            MESSAGE,
            "Subject: é\r\n\r\né\r\n".encode(),
            MESSAGE + b"x" * 300_000 + b"\r\n",
            b"X: y\r\n\r\nz",
        ):
            self.deliver(ANN, octets=octets, body="BINARYMIME", name=str(len(octets)))
            self.assertTrue(self.mail()[-1].endswith(octets))
        self.assertEqual(self.drafts, [])

    def test_wherever_the_octet_is(self) -> None:
        """The message is looked at in pieces."""
        for place in (PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 7):
            for octet in (b"\0", b"\r", b"\n"):
                octets = MESSAGE + b"x" * (place - len(MESSAGE)) + octet + b"xyz\r\n"
                self.deliver(ANN, octets=octets, body="BINARYMIME", name=f"{place}{octet!r}")
                self.assertTrue(is_seven_bit(self.mail()[-1]), (place, octet))
        self.deliver(ANN, octets=MESSAGE + b"\r", body="BINARYMIME")
        self.assertTrue(is_seven_bit(self.mail()[-1]))
        split = MESSAGE + b"x" * (PIECE - 1 - len(MESSAGE)) + b"\r\nx\r\n"
        self.deliver(ANN, octets=split, body="BINARYMIME", name="split")
        self.assertTrue(self.mail()[-1].endswith(split))

    def test_no_room(self) -> None:
        async def full(size_hint: int) -> IDraft:
            raise NoSpace

        store: Any = self.store
        self.courier = MailboxCourier(site=SITE, directory=self.directory, store=store, open_draft=full)
        [outcome] = self.deliver(ANN, octets=BINARY, body="BINARYMIME")
        self.assertEqual(outcome.reply.status, "4.3.1")
        self.assertIsInstance(outcome, DeferredOutcome)

    def test_a_content_that_breaks(self) -> None:
        class Broken(MemoryContent):
            async def read(self, offset: int, length: int) -> bytes:
                raise OSError("the disk is gone")

        envelope = Envelope("1a", CAROL, (ANN,), body="BINARYMIME")
        [outcome] = run_now(self, self.courier.deliver("", envelope, Broken(BINARY), False))
        self.assertEqual((type(outcome), outcome.reply.status), (DeferredOutcome, "4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class MailboxCourierContractTests(CourierContract, TestCase):
    def make_courier(self) -> ICourier:
        self.store = MemoryStore()
        return MailboxCourier(site=SITE, directory=PretendDirectory(), store=self.store, open_draft=open_draft)

    async def delivered(self, courier: ICourier, recipient: Address) -> list[bytes]:
        return await read_mailbox(self.store, str(recipient), ("INBOX",))

    async def test_every_sample_behind_two_fields(self) -> None:
        courier = self.make_courier()
        for name, octets in SAMPLES.items():
            await courier.deliver("", Envelope(name, None, (ANN,)), MemoryContent(octets), False)
        prefix = b"Return-Path: <>\r\nDelivered-To: ann@example.org\r\n"
        self.assertEqual(await self.delivered(courier, ANN), [prefix + octets for octets in SAMPLES.values()])
