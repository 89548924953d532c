"""The file of quotas: what it says, and how it is edited."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from mailfw.accounts.names import NotAName
from mailfw.accounts.quotas import QuotaFile
from mailfw.interfaces import IQuotas
from mailfw.mail.quota import QuotaLimits
from mailfw.optional import ISettableQuotas
from mailfw.service.prompt import Prompter, PromptQuotas
from tests.accounts.pretend import PretendReactor

DEFAULT = QuotaLimits(1000, 10)


class QuotaFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.quotas = QuotaFile(self.path, DEFAULT, Clock(), "example.org")
        verifyObject(IQuotas, self.quotas)

    def test_without_a_file_all_are_as_everybody(self) -> None:
        self.assertEqual(self.quotas.look("ann"), DEFAULT)
        self.assertEqual(self.quotas.own("ann"), {})

    def test_one_limit_leaves_the_other(self) -> None:
        self.quotas.set_limits("ann", 5, None)
        self.assertEqual(self.quotas.look("ann@example.org"), QuotaLimits(5, 10))
        self.quotas.set_limits("ann", None, 0)
        self.assertEqual(self.quotas.look("ann"), QuotaLimits(1000, 0))
        self.assertEqual(self.quotas.own("ann"), {"messages": 0})
        self.quotas.set_limits("ann", None, None)
        self.assertEqual(self.quotas.look("ann"), DEFAULT)
        self.assertNotIn("ann", self.path.read_text())

    def test_what_cannot_be_read_is_passed_over(self) -> None:
        self.path.write_text(
            "# x\n\nann@example.org octets=many\nbob@example.org messages=3\ncy@example.org colour=1\n"
        )
        self.assertEqual(
            [self.quotas.look(name) for name in ("ann", "bob", "cy")], [DEFAULT, QuotaLimits(1000, 3), DEFAULT]
        )

    def test_other_lines_stay(self) -> None:
        self.path.write_text("# mine\nbob@example.org messages=3\n")
        self.quotas.set_limits("ann", 1, 2)
        self.assertEqual(
            self.path.read_text(), "# mine\nbob@example.org messages=3\nann@example.org octets=1 messages=2\n"
        )

    def test_names(self) -> None:
        for name in ("", "a b", "a\nb@example.org"):
            self.assertRaises(NotAName, self.quotas.set_limits, name, 1, 1)


class PromptQuotasTests(TestCase):
    async def test_limits_are_known_for_a_second(self) -> None:
        clock, asked = Clock(), []

        class Counting:
            async def limits(self, account: str) -> QuotaLimits:
                asked.append(account)
                return QuotaLimits(len(asked))

        prompt = PromptQuotas(Counting(), Prompter(clock, 5.0))  # type: ignore[arg-type]  # it says not what it provides
        self.assertEqual([(await prompt.limits(name)).octets for name in ("a", "b", "a")], [1, 2, 1])
        clock.advance(1.1)
        self.assertEqual((await prompt.limits("a")).octets, 3)

    async def test_limits_that_are_changed(self) -> None:
        """Whoever asks after a change hears of it at once, and finds it in the file."""
        path = Path(self.mktemp())
        quotas = QuotaFile(path, DEFAULT, PretendReactor(), "example.org")
        verifyObject(ISettableQuotas, quotas)
        prompt = PromptQuotas(quotas, Prompter(Clock(), 5.0))
        verifyObject(ISettableQuotas, prompt)
        self.assertEqual(await prompt.limits("ann@example.org"), DEFAULT)
        await prompt.change_limits("ann@example.org", QuotaLimits(0, 7))
        self.assertEqual(await prompt.limits("ann@example.org"), QuotaLimits(0, 7))
        self.assertEqual(quotas.own("ann"), {"octets": 0, "messages": 7})

    async def test_who_cannot_change_limits(self) -> None:
        class Fixed:
            async def limits(self, account: str) -> QuotaLimits:
                return DEFAULT

        self.assertFalse(ISettableQuotas.providedBy(PromptQuotas(Fixed(), Prompter(Clock(), 5.0))))  # type: ignore[arg-type]  # as above

    async def test_what_is_no_answer(self) -> None:
        class Wrong:
            async def limits(self, account: str) -> object:
                return 5

        prompt = PromptQuotas(Wrong(), Prompter(Clock(), 5.0))  # type: ignore[arg-type]  # as above
        with self.assertRaises(TypeError):
            await prompt.limits("a")
