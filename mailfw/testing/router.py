"""The contract of a router."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from mailfw.interfaces import IRouter
from mailfw.mail.address import Address
from mailfw.testing.policy import ADDRESSES

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


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
        """An address that can be reached has a courier, and the same one when asked again."""
        router = self.make_router()
        courier = await router.route(self.reachable)
        self.assertIsInstance(courier, str)
        self.assertTrue(courier)
        self.assertEqual(await router.route(self.reachable), courier)

    async def test_any_address(self) -> None:
        """Whatever the address, the answer is a name or None."""
        router = self.make_router()
        for address in (*ADDRESSES, Address("nobody", "example.invalid"), Address("x", "xn--80ak6aa92e.example")):
            courier = await router.route(address)
            self.assertTrue(courier is None or (isinstance(courier, str) and courier), repr(courier))
