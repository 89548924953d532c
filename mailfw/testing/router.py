"""The contract of a router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from mailfw.interfaces import IRouter
from mailfw.mail.address import Address
from mailfw.mail.route import Route, Unroutable
from mailfw.testing.policy import ADDRESSES

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

#: Recipients as hard to route as there are.
_RECIPIENTS = (
    *ADDRESSES,
    Address("nobody", "example.invalid"),
    Address("x", "xn--80ak6aa92e.example"),
    Address("x", "[IPv6:2001:db8::1]"),
    Address("x", "[nonsense]"),
    Address("x", "a..b"),
    Address("x", "." * 300),
    Address("x", "l" * 64 + ".example"),
    Address("x", "예시.한국"),
    Address("x", "\u2028"),
)


class RouterContract(Case):
    """
    What a router promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_router(self)`` and `reachable`, an address that a courier can reach.
    """

    reachable = Address("ann", "example.org")

    if TYPE_CHECKING:

        def make_router(self) -> IRouter:
            """Return the router that is tried."""

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(IRouter, self.make_router()))

    async def test_reachable(self) -> None:
        """An address that can be reached has a route, and the same one when asked again."""
        router = self.make_router()
        route = await router.route(None, self.reachable)
        self.assertIsInstance(route, Route)
        self.assertEqual(await router.route(None, self.reachable), route)

    async def test_any_address(self) -> None:
        """Whatever the addresses, the answer is a route that can be written down, or a reply that says why not."""
        router = self.make_router()
        for sender in (None, *ADDRESSES):
            for recipient in _RECIPIENTS:
                way = await router.route(sender, recipient)
                if isinstance(way, Route):
                    self.assertTrue(way.courier, repr(recipient))
                    self.assertNotIn("\n", str(way))
                else:
                    self.assertIsInstance(way, Unroutable, repr(recipient))
                    self.assertIn(way.reply.code // 100, (4, 5))
                    self.assertEqual(way.reply.status[:1], str(way.reply.code)[:1])
