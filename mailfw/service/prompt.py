"""Plug-ins that are asked in the middle of everything: each answer comes in time and is one, or it is a fault."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, get_args

from zope.interface import alsoProvides, implementer

from mailfw.interfaces import IDirectory, IQuotas, IResolver, IRouter
from mailfw.mail.address import Address
from mailfw.mail.lookup import Answer
from mailfw.mail.quota import QuotaLimits
from mailfw.mail.resolution import NoSuchRecipient, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.optional import ISettableQuotas
from mailfw.patience import within

T = TypeVar("T")

_RESOLUTIONS = get_args(Resolution)
#: Seconds for which an answer of the directory, or of the quotas, holds, and answers that are remembered.
_KNOWN_FOR, _MOST_KNOWN = 1.0, 10_000


class Prompter:
    """
    Asks, and raises `Overdue` for no answer within `seconds`, `TypeError` for what is none.

    Who waits for one that never comes would hold a session, or the whole queue, for ever; and what is no answer must
    not be taken for one that lets mail through.
    """

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds

    def seconds(self) -> float:
        """Return the time it goes by."""
        now: float = self._clock.seconds()
        return now

    async def ask(self, question: Coroutine[Any, Any, T], *kinds: type) -> T:
        """Return the answer, which is of one of these kinds."""
        answer = await within(self._clock, self._seconds, question)
        if not isinstance(answer, kinds):
            raise TypeError(f"{answer!r} is no answer")
        return answer


@implementer(IDirectory)
class PromptDirectory:
    """
    A directory that answers in time, and is not asked again for a second what it has just said of somebody it knows.

    Each recipient is looked up as it is named, when the message is routed, and when it is delivered.
    """

    def __init__(self, directory: IDirectory, prompter: Prompter) -> None:
        self._directory = directory
        self._prompter = prompter
        self._known: dict[Address, Resolution] = {}
        self._until = 0.0

    async def resolve(self, address: Address) -> Resolution:
        """Ask."""
        now = self._prompter.seconds()
        if now >= self._until or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._until = now + _KNOWN_FOR
        known = self._known.get(address)
        if known is not None:
            return known
        found = await self._prompter.ask(self._directory.resolve(address), *_RESOLUTIONS)
        if not isinstance(found, NoSuchRecipient):
            self._known[address] = found
        return found


@implementer(IRouter)
class PromptRouter:
    """A router that answers in time."""

    def __init__(self, router: IRouter, prompter: Prompter) -> None:
        self._router = router
        self._prompter = prompter

    async def route(self, sender: Address | None, recipient: Address) -> Route | Unroutable:
        """Ask."""
        return await self._prompter.ask(self._router.route(sender, recipient), Route, Unroutable)


@implementer(IResolver)
class PromptResolver:
    """A resolver that answers in time."""

    def __init__(self, resolver: IResolver, prompter: Prompter) -> None:
        self._resolver = resolver
        self._prompter = prompter

    async def look_up(self, name: str, kind: str) -> Answer[Any]:
        """Ask."""
        return await self._prompter.ask(self._resolver.look_up(name, kind), Answer)


@implementer(IQuotas)
class PromptQuotas:
    """Quotas that are told in time, and not asked for again for a second."""

    def __init__(self, quotas: IQuotas, prompter: Prompter) -> None:
        self._quotas = quotas
        self._prompter = prompter
        self._known: dict[str, QuotaLimits] = {}
        self._until = 0.0
        if ISettableQuotas.providedBy(quotas):
            alsoProvides(self, ISettableQuotas)

    async def limits(self, account: str) -> QuotaLimits:
        """Ask."""
        now = self._prompter.seconds()
        if now >= self._until or len(self._known) >= _MOST_KNOWN:
            self._known.clear()
            self._until = now + _KNOWN_FOR
        known = self._known.get(account)
        if known is None:
            known = self._known[account] = await self._prompter.ask(self._quotas.limits(account), QuotaLimits)
        return known

    async def change_limits(self, account: str, limits: QuotaLimits) -> None:
        """Change them, and forget what was told before."""
        try:
            await self._prompter.ask(ISettableQuotas(self._quotas).change_limits(account, limits), type(None))
        finally:
            self._known.pop(account, None)
