"""One attempt to deliver a message: expand aliases, route, ask each courier once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import classImplements

from mailfw.interfaces import IContent, ICourier, IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.envelope import Envelope
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import Expansion, account_of

log = Logger()

classImplements(Octets, IContent)  # `mail` knows no interfaces, and mypy does not know of this line
classImplements(Prefixed, IContent)

BROKEN = DeferredOutcome(Reply(451, "4.3.0", "Delivery does not work at the moment; try again later"))
MISCONFIGURED = DeferredOutcome(Reply(451, "4.3.5", "Delivery is not set up correctly; try again later"))
NO_ROUTE = Failed(Reply(550, "5.4.4", "No way to reach that address"))


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one final recipient; `original` is the envelope's address that led to it."""

    original: Address
    recipient: Address
    outcome: Outcome


@dataclass(slots=True)
class _Plan:
    """
    Who gets the message: `targets` are final recipients by what they are, an account or an address.

    `pairs` are the envelope's addresses, each with what it led to.
    """

    pairs: list[tuple[Address, str]]
    targets: dict[str, Address]
    outcomes: dict[str, Outcome]


class Delivery:
    """Takes a message to the final recipients of its envelope; whatever a plug-in raises is their deferral."""

    def __init__(self, *, directory: IDirectory, router: IRouter, couriers: Mapping[str, ICourier]) -> None:
        self._directory = directory
        self._router = router
        self._couriers = couriers

    async def deliver(self, envelope: Envelope, content: Content, junk: bool) -> list[Attempt]:
        """
        Return what became of each final recipient, at least one for each address of the envelope.

        An account that several addresses lead to gets the message once, and each of them hears of it.
        """
        plan = _Plan([], {}, {})
        for address in envelope.recipients:
            await self._expand(address, plan)
        routes: dict[str, list[str]] = {}
        for key, recipient in plan.targets.items():
            await self._route(key, recipient, plan, routes)
        if len(routes) == 1:
            [(name, keys)] = routes.items()
            await self._send(name, keys, plan, envelope, content, junk)
        elif routes:
            sent = (self._send(name, keys, plan, envelope, content, junk) for name, keys in routes.items())
            await gatherResults([Deferred.fromCoroutine(each) for each in sent])
        return [Attempt(original, plan.targets.get(key, original), plan.outcomes[key]) for original, key in plan.pairs]

    async def _expand(self, address: Address, plan: _Plan) -> None:
        try:
            resolution = await self._directory.resolve(address)
            targets = resolution.targets if isinstance(resolution, Expansion) else ()
            account = account_of(address, resolution)
            found = [(account.account if account else str(address), address)]
            if targets:
                found = [(await self._key(target), target) for target in targets]
        except Exception:
            log.failure("The directory failed for {address}", address=str(address))
            plan.pairs.append((address, f"?{address}"))
            plan.outcomes[f"?{address}"] = BROKEN
            return
        for key, target in found:
            plan.targets.setdefault(key, target)
            plan.pairs.append((address, key))

    async def _key(self, target: Address) -> str:
        account = account_of(target, await self._directory.resolve(target))
        return account.account if account else str(target)

    async def _route(self, key: str, recipient: Address, plan: _Plan, routes: dict[str, list[str]]) -> None:
        try:
            name = await self._router.route(recipient)
        except Exception:
            log.failure("The router failed for {address}", address=str(recipient))
            plan.outcomes[key] = BROKEN
            return
        if name is None:
            plan.outcomes[key] = NO_ROUTE
        elif name not in self._couriers:
            log.error(
                "There is no courier {courier}, to which the router sends {address}",
                courier=name,
                address=str(recipient),
            )
            plan.outcomes[key] = MISCONFIGURED
        else:
            routes.setdefault(name, []).append(key)

    async def _send(
        self, name: str, keys: list[str], plan: _Plan, envelope: Envelope, content: Content, junk: bool
    ) -> None:
        recipients = tuple(plan.targets[key] for key in keys)
        try:
            there = replace(envelope, recipients=recipients)
            outcomes = await self._couriers[name].deliver(there, cast("IContent", content), junk)
            if len(outcomes) != len(recipients) or not all(isinstance(each, Outcome) for each in outcomes):
                raise TypeError("A courier must return one outcome for each recipient")
        except Exception:
            log.failure("The courier {courier} failed with message {id}", courier=name, id=envelope.id)
            outcomes = [BROKEN] * len(recipients)
        plan.outcomes.update(zip(keys, outcomes, strict=True))


def fold(original: Address, attempts: list[Attempt]) -> Outcome:
    """
    Return the one outcome for an address that may have led to several.

    A deferral counts most, since trying again can only help; then what was delivered.
    """
    outcomes = [attempt.outcome for attempt in attempts if attempt.original == original]
    for kind in (DeferredOutcome, Delivered, Failed):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return outcome
    return BROKEN
