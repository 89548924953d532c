"""The contract of a courier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from mailfw.interfaces import ICourier
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.testing.contents import SAMPLES, BrokenContent, MemoryContent

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


class CourierContract(Case):
    """
    What a courier promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_courier(self)``, `recipients` that it can deliver to and `unknown`, one that it cannot.  With
    ``async def delivered(self, courier, recipient)``, which returns all that a recipient has got as octets, it is
    tried too whether messages arrive, whole and once.
    """

    #: What the courier is told to deliver to, see `mailfw.mail.route.Route`.
    destination = ""
    #: Whether it can tell that a recipient has got a message before.
    notices_repetition = True
    recipients = (Address("ann", "example.org"), Address("bob", "example.org"))
    unknown: Address | None = Address("nobody", "example.org")

    if TYPE_CHECKING:

        def make_courier(self) -> ICourier:
            """Return the courier that is tried."""

    async def delivered(self, courier: ICourier, recipient: Address) -> list[bytes] | None:
        """Return what a recipient has got, oldest first; None where that cannot be seen."""
        return None

    def as_delivered(self, octets: bytes) -> bytes:
        """Return what may become of a message on its way: nothing, unless line ends have to be put right."""
        return octets

    def _courier(self) -> ICourier:
        courier = self.make_courier()
        self.addCleanup(lambda: Deferred.fromCoroutine(courier.close()))
        return courier

    async def _deliver(self, courier: ICourier, envelope: Envelope, octets: bytes, junk: bool = False) -> list[Outcome]:
        content = MemoryContent(octets)
        outcomes = await courier.deliver(self.destination, envelope, content, junk)
        self.assertEqual(len(outcomes), len(envelope.recipients))
        self.assertEqual(content.closed, 0, "The content is closed by whoever made it")
        for outcome in outcomes:
            self.assertIsInstance(outcome, Outcome)
            if isinstance(outcome, DeferredOutcome):
                self.assertEqual(outcome.reply.code // 100, 4)
            if isinstance(outcome, Failed):
                self.assertEqual(outcome.reply.code // 100, 5)
        return outcomes

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(ICourier, self.make_courier()))

    async def test_every_message_arrives_whole(self) -> None:
        """Each octet of whatever message is delivered, behind what the courier may put before it."""
        for number, (name, octets) in enumerate(SAMPLES.items()):
            courier = self._courier()
            envelope = Envelope(f"{number}a", Address("carol", "example.net"), self.recipients[:1])
            [outcome] = await self._deliver(courier, envelope, octets)
            self.assertIsInstance(outcome, Delivered, name)
            arrived = await self.delivered(courier, self.recipients[0])
            if arrived is not None:
                self.assertEqual(len(arrived), 1, name)
                self.assertTrue(arrived[0].endswith(self.as_delivered(octets)), name)

    async def test_outcomes_are_in_order(self) -> None:
        """Each recipient has an outcome of its own, in the order of the envelope."""
        if self.unknown is None:
            return
        courier = self._courier()
        recipients = (self.recipients[0], self.unknown, self.recipients[1])
        outcomes = await self._deliver(courier, Envelope("1a", None, recipients), SAMPLES["plain"])
        self.assertIsInstance(outcomes[0], Delivered)
        self.assertNotIsInstance(outcomes[1], Delivered)
        self.assertIsInstance(outcomes[2], Delivered)

    async def test_trying_again(self) -> None:
        """The same envelope and recipient, tried again, is delivered once where that can be noticed; another is not."""
        courier = self._courier()
        for name in ("1a", "1a", "2b"):
            await self._deliver(courier, Envelope(name, None, self.recipients[:1]), SAMPLES["plain"])
        arrived = await self.delivered(courier, self.recipients[0])
        if arrived is not None:
            self.assertEqual(len(arrived), 2 if self.notices_repetition else 3)

    async def test_junk(self) -> None:
        """Junk is delivered too."""
        courier = self._courier()
        [outcome] = await self._deliver(courier, Envelope("1a", None, self.recipients[:1]), SAMPLES["plain"], junk=True)
        self.assertIsInstance(outcome, Delivered)

    async def test_a_content_that_breaks(self) -> None:
        """What cannot be read is deferred, or the fault is passed on: it never counts as delivered."""
        courier = self._courier()
        envelope = Envelope("1a", None, self.recipients[:1])
        try:
            outcomes = await courier.deliver(self.destination, envelope, BrokenContent(SAMPLES["attachment"]), False)
        except Exception:
            outcomes = []
        self.flushLoggedErrors()
        for outcome in outcomes:
            self.assertIsInstance(outcome, DeferredOutcome)
        self.assertFalse(await self.delivered(courier, self.recipients[0]))
