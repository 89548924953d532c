"""The contract of a directory of addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, NotLocal, Resolution

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

#: What ``make_directory`` has to know: accounts, and what other addresses stand for.
DOMAIN = "example.org"
ACCOUNTS = ("ann@example.org", "bob@example.org")
ALIASES = {
    "sales@example.org": ("ann@example.org", "carol@example.net"),
    "everybody@example.org": ("sales@example.org", "bob@example.org"),
    "one@example.org": ("two@example.org",),
    "two@example.org": ("one@example.org",),
}


class DirectoryContract(Case):
    """
    What a directory promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_directory(self)``, which returns a directory whose one domain is `DOMAIN`, with the accounts
    `ACCOUNTS` and the aliases `ALIASES`, if it can have aliases, and neither details nor a catch-all.
    """

    #: Set to False for a directory that cannot have aliases.
    has_aliases = True

    if TYPE_CHECKING:

        def make_directory(self) -> IDirectory:
            """Return the directory that is tried."""

    async def _resolve(self, local: str, domain: str = DOMAIN) -> Resolution:
        answer = await self.make_directory().resolve(Address(local, domain))
        self.assertIsInstance(answer, Resolution)
        return answer

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(IDirectory, self.make_directory()))

    async def test_accounts(self) -> None:
        """An account's address is the account's, however its letters are written."""
        for local in ("ann", "Ann", "ANN"):
            self.assertEqual(await self._resolve(local), LocalAccount("ann@example.org"))

    async def test_unknown_local_parts(self) -> None:
        """What is ours and nobody's is said to be so, and no local part is a fault."""
        for local in (
            "carol",
            "",
            " ",
            "ann ",
            "an",
            "ann\n",
            "ann\0",
            "../ann",
            "ann@example.org",
            "a" * 10_000,
            "하늘",
        ):
            self.assertEqual(await self._resolve(local), NoSuchRecipient())

    async def test_other_domains(self) -> None:
        """What is not ours is said to be so: a mistake here makes an open relay, or a black hole."""
        for domain in ("example.com", "www.example.org", "org", "[192.0.2.1]", "example.org.com", "xn--0", ""):
            self.assertEqual(await self._resolve("ann", domain), NotLocal())

    async def test_postmaster(self) -> None:
        """Postmaster is somebody, with the domain and without (RFC 5321 section 4.5.1)."""
        for local in ("postmaster", "Postmaster", "POSTMASTER"):
            for domain in (DOMAIN, ""):
                self.assertIsInstance(await self._resolve(local, domain), LocalAccount | Expansion)

    async def test_aliases(self) -> None:
        """An alias stands for its ends, in order, each once, and none of them is an alias."""
        if not self.has_aliases:
            return
        sales = (Address("ann", DOMAIN), Address("carol", "example.net"))
        self.assertEqual(await self._resolve("Sales"), Expansion(sales))
        self.assertEqual(await self._resolve("everybody"), Expansion((*sales, Address("bob", DOMAIN))))

    async def test_aliases_that_go_round(self) -> None:
        """Aliases that only stand for each other are nobody."""
        self.assertEqual(await self._resolve("one"), NoSuchRecipient())
