"""Asks the policies of a site in order, and answers for those that fail."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from twisted.logger import Logger
from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.message import field
from mailfw.mail.verdict import Accept, Defer, Hold, Modify, Quarantine, Refuse, Verdict
from mailfw.patience import within

log = Logger()

FailureAction = Literal["defer", "accept", "refuse"]

#: Asks one policy one question.
_Question = Callable[[Any], Coroutine[Any, Any, Verdict | None]]


@dataclass(frozen=True, slots=True)
class Link:
    """
    A policy, and what it counts for when it raises or takes longer than `timeout` seconds.

    ``defer`` has the sender try again later, ``accept`` asks the next policy as if this one had no opinion,
    ``refuse`` turns the mail away.
    """

    name: str
    policy: IDeliveryPolicy
    timeout: float = 10.0
    on_failure: FailureAction = "defer"


@implementer(IDeliveryPolicy)
class Pipeline:
    """
    Asks each policy in order until one has a verdict; never raises.

    What `Modify` verdicts add is gathered: it is the answer where nothing else is, and goes with a
    `Quarantine`.  `clock` provides `IReactorTime`.
    """

    def __init__(self, links: Sequence[Link], clock: Any) -> None:
        self._links = tuple(links)
        self._clock = clock

    async def on_connect(self, client: Client) -> Verdict | None:
        """Ask whether the client may talk to us."""
        if not self._links:
            return None
        return await self._ask("on_connect", lambda policy: policy.on_connect(client))

    async def on_helo(self, client: Client) -> Verdict | None:
        """Ask about the client's name."""
        if not self._links:
            return None
        return await self._ask("on_helo", lambda policy: policy.on_helo(client))

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Ask about the sender."""
        if not self._links:
            return None
        return await self._ask("on_sender", lambda policy: policy.on_sender(client, sender))

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Ask about one recipient."""
        if not self._links:
            return None
        return await self._ask("on_recipient", lambda policy: policy.on_recipient(client, sender, recipient))

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Ask about the whole message."""
        if not self._links:
            return None
        return await self._ask("on_message", lambda policy: policy.on_message(client, envelope, content))

    # ------------------------------------------------------------ asking

    async def _ask(self, stage: str, question: _Question) -> Verdict | None:
        added: tuple[tuple[str, str], ...] = ()
        for link in self._links:
            try:
                verdict = await within(self._clock, link.timeout, question(link.policy))
                if verdict is None:
                    continue
                _check(verdict, stage)
            except Exception:
                log.failure(
                    "Policy {policy} failed {stage}: {action}", policy=link.name, stage=stage, action=link.on_failure
                )
                verdict = _FAILED[link.on_failure]
            if isinstance(verdict, Modify):
                added += verdict.fields
            elif isinstance(verdict, Quarantine):
                return Quarantine(verdict.reason, added + verdict.fields)
            elif isinstance(verdict, Accept):
                break
            elif verdict is not None:
                return verdict
        else:
            return Modify(added) if added else None
        return Modify(added) if added else verdict


_FAILED: dict[FailureAction, Verdict | None] = {
    "defer": Defer("A check cannot be made at the moment; try again later", "4.7.1", 451),
    "accept": None,
    "refuse": Refuse("A check could not be made", "5.7.1", 550),
}


def _check(verdict: object, stage: str) -> None:
    """Raise `TypeError` or `FieldRefused` for what no policy may answer."""
    if not isinstance(verdict, get_args(Verdict)) or (isinstance(verdict, Modify | Hold) and stage != "on_message"):
        raise TypeError(f"{verdict!r} is no verdict {stage}")
    if isinstance(verdict, Modify | Quarantine):
        for name, value in verdict.fields:
            field(name, value)
