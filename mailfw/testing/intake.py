"""The contract of an intake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from mailfw.interfaces import IDraft, IIntake
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.testing.contents import SAMPLES

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

_CLIENTS = {
    service: Client(service, "192.0.2.7", 40000, "client.example.net", extended=True)
    for service in (Service.SMTP, Service.SUBMISSION, Service.LMTP)
}


class IntakeContract(Case):
    """
    What an intake promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_intake(self)``, `recipients` for which it takes mail and `unknown`, one for which it does not.
    """

    recipients = (Address("ann", "example.org"), Address("bob", "example.org"))
    unknown = Address("nobody", "example.org")

    if TYPE_CHECKING:

        def make_intake(self) -> IIntake:
            """Return the intake that is tried."""

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(IIntake, self.make_intake()))

    async def test_drafts(self) -> None:
        """A draft gives back what was written, in whatever pieces, and can be closed twice."""
        intake = self.make_intake()
        for size, piece in ((0, 1), (1, 1), (5000, 7), (70_000, 1000), (300_000, 65_536)):
            octets = bytes(range(256)) * (size // 256 + 1)
            draft = await intake.open_draft(size)
            self.assertTrue(verifyObject(IDraft, draft))
            for offset in range(0, size, piece):
                await draft.write(octets[offset : min(offset + piece, size)])
            self.assertEqual(draft.size, size)
            self.assertEqual(await draft.read(0, size + 10), octets[:size])
            self.assertEqual(await draft.read(size // 2, 100), octets[:size][size // 2 : size // 2 + 100])
            self.assertEqual(await draft.read(size, 10), b"")
            await draft.close()
            await draft.close()

    async def _accept(
        self, intake: IIntake, octets: bytes, recipients: tuple[Address, ...], service: Service = Service.SMTP
    ) -> list[Outcome]:
        draft = await intake.open_draft(len(octets))
        await draft.write(octets)
        envelope = Envelope("1a2b", Address("carol", "example.net"), recipients)
        outcomes = await intake.accept(_CLIENTS[service], envelope, draft)
        self.assertEqual(len(outcomes), len(recipients))
        for outcome in outcomes:
            self.assertIsInstance(outcome, Outcome)
        self.assertEqual(await draft.read(0, len(octets)), octets, "The draft is closed by the caller")
        await draft.close()
        return outcomes

    async def test_takes_every_message(self) -> None:
        """Whatever octets a message has, it is taken, from each kind of client."""
        for name, octets in SAMPLES.items():
            for service in _CLIENTS:
                outcomes = await self._accept(self.make_intake(), octets, self.recipients, service)
                for outcome in outcomes:
                    self.assertIsInstance(outcome, Delivered, f"{name} by {service}")

    async def test_nobody(self) -> None:
        """A message that nobody can get is refused."""
        [outcome] = await self._accept(self.make_intake(), SAMPLES["plain"], (self.unknown,))
        self.assertIsInstance(outcome, Failed)

    async def test_each_recipient_of_lmtp(self) -> None:
        """LMTP hears of each recipient by itself, in order."""
        recipients = (self.recipients[0], self.unknown, self.recipients[1])
        outcomes = await self._accept(self.make_intake(), SAMPLES["plain"], recipients, Service.LMTP)
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered, Failed, Delivered])
