"""The contract of a delivery policy."""

from __future__ import annotations

import gc
import inspect
import time
import weakref
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, get_args

from zope.interface.verify import verifyObject

from mailfw.interfaces import IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.message import field
from mailfw.mail.verdict import Hold, Modify, Quarantine, Verdict
from mailfw.testing.contents import SAMPLES, MemoryContent

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

#: Every kind of client: over IPv4, IPv6 and a UNIX socket, logged in or not, before and after it has named itself.
CLIENTS = (
    Client(Service.SMTP, "192.0.2.7", 40000),
    Client(Service.SMTP, "192.0.2.7", 40000, "client.example.net", extended=True),
    Client(Service.SMTP, "2001:db8::7", 40000, "[IPv6:2001:db8::7]", extended=True, tls="TLSv1.3"),
    Client(Service.SMTP, "::ffff:192.0.2.7", 40000, "예시.한국"),
    Client(Service.SUBMISSION, "198.51.100.3", 40000, "laptop", True, "TLSv1.3", "ann@example.org"),
    Client(Service.LMTP, "", 0, "localhost", extended=True),
    Client(Service.SMTP, "", 0, "(odd) \x1b name" + "x" * 300),
)
#: Senders and recipients as hard to read as the grammar allows.
ADDRESSES = (
    Address("ann", "example.org"),
    Address("Ann+Detail", "example.org"),
    Address("a b@c", "example.org"),
    Address("하늘", "예시.한국"),
    Address("user", "[192.0.2.1]"),
    Address("postmaster", ""),
    Address("x" * 64, "y" * 63 + "." + "z" * 63 + ".example"),
)
#: Seconds of work without waiting that we notice: the other sessions stand still meanwhile.
_BLOCKED = 0.5


class PolicyContract(Case):
    """
    What a policy promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_policy(self)``.
    """

    if TYPE_CHECKING:

        def make_policy(self) -> IDeliveryPolicy:
            """Return the policy that is tried."""

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface, and is an ``async def``."""
        policy = self.make_policy()
        self.assertTrue(verifyObject(IDeliveryPolicy, policy))
        for name in IDeliveryPolicy.names():
            self.assertTrue(inspect.iscoroutinefunction(getattr(policy, name)), f"{name} is no async def")

    async def _ask(self, question: Awaitable[Verdict | None], is_message: bool = False) -> Verdict | None:
        began = time.thread_time()
        verdict = await question
        self.assertLess(time.thread_time() - began, _BLOCKED, "The answer cost too much")
        if verdict is not None:
            self.assertIsInstance(verdict, get_args(Verdict))
        self.assertFalse(isinstance(verdict, Modify | Hold) and not is_message, "Only on_message may answer this")
        for name, value in verdict.fields if isinstance(verdict, Modify | Quarantine) else ():
            field(name, value)
        return verdict

    async def test_before_the_message(self) -> None:
        """Whatever client, sender and recipient there are, the answer is a verdict or None."""
        policy = self.make_policy()
        for client in CLIENTS:
            await self._ask(policy.on_connect(client))
            await self._ask(policy.on_helo(client))
            for sender in (None, *ADDRESSES):
                await self._ask(policy.on_sender(client, sender))
                for recipient in ADDRESSES:
                    await self._ask(policy.on_recipient(client, sender, recipient))

    async def test_messages(self) -> None:
        """Whatever octets a message has, the answer is a verdict or None; the content is only read."""
        policy = self.make_policy()
        for name, octets in (*SAMPLES.items(), ("large", b"Subject: x\r\n\r\n" + b"y" * 78 * 20_000)):
            for client, envelope in zip(CLIENTS, _envelopes(), strict=False):
                content = MemoryContent(octets)
                await self._ask(policy.on_message(client, envelope, content), is_message=True)
                self.assertEqual(content.closed, 0, f"{name}: closing is the caller's")
                self.assertEqual(await content.read(0, len(octets) + 1), octets, f"{name}: the content was changed")

    async def test_content_is_not_kept(self) -> None:
        """What a policy was shown it may not hold on to: it is gone with its session."""
        policy = self.make_policy()
        content = MemoryContent(SAMPLES["plain"])
        await self._ask(policy.on_message(CLIENTS[1], next(_envelopes()), content), is_message=True)
        kept = weakref.ref(content)
        del content
        gc.collect()
        self.assertIsNone(kept())

    async def test_questions_at_once(self) -> None:
        """A policy that was asked out of turn, or twice, answers all the same."""
        policy = self.make_policy()
        for _ in range(2):
            await self._ask(policy.on_recipient(CLIENTS[1], None, ADDRESSES[0]))
            await self._ask(policy.on_sender(CLIENTS[1], ADDRESSES[0]))
            await self._ask(policy.on_connect(CLIENTS[1]))


def _envelopes() -> Iterator[Envelope]:
    while True:
        yield Envelope("1a", ADDRESSES[0], ADDRESSES[:1])
        yield Envelope("2b", None, ADDRESSES[:1], body="8BITMIME")
        yield Envelope("3c", ADDRESSES[3], ADDRESSES, smtputf8=True, body="8BITMIME")
