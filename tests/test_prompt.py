"""What is remembered of the directory's answers."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.resolution import LocalAccount, NoSuchRecipient, Resolution
from mailfw.service.prompt import PromptDirectory, Prompter
from mailfw.testing.dialogue import run_now

ANN = Address("ann", "example.org")


@implementer(IDirectory)
class Book:
    def __init__(self) -> None:
        self.asked = 0
        self.answer: Resolution = NoSuchRecipient()

    async def resolve(self, address: Address) -> Resolution:
        self.asked += 1
        return self.answer


class PromptDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.book = Book()
        self.directory = PromptDirectory(self.book, Prompter(self.clock, 60.0))

    def resolve(self) -> Resolution:
        resolution: Resolution = run_now(self, self.directory.resolve(ANN))
        return resolution

    def test_somebody_who_is_known_is_asked_for_once_a_second(self) -> None:
        self.book.answer = LocalAccount("ann@example.org")
        for _ in range(3):
            self.assertEqual(self.resolve(), LocalAccount("ann@example.org"))
        self.assertEqual(self.book.asked, 1)
        self.book.answer = NoSuchRecipient()
        self.clock.advance(1.0)
        self.assertEqual(self.resolve(), NoSuchRecipient())

    def test_nobody_may_be_somebody_at_once(self) -> None:
        self.assertEqual(self.resolve(), NoSuchRecipient())
        self.book.answer = LocalAccount("ann@example.org")
        self.assertEqual(self.resolve(), LocalAccount("ann@example.org"))
