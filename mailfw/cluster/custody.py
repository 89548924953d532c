"""How a worker leaves messages with the keeper, and asks what only the keeper can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zope.interface import implementer

from mailfw.cluster.carried import PIECE, HeldContent, RemoteDraft, carry, open_held
from mailfw.interfaces import IContent, IDeliveryPolicy, IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.outcome import Outcome
from mailfw.mail.queued import Pending, Queued
from mailfw.mail.route import Route
from mailfw.mail.verdict import Verdict


class RemoteCustody:
    """The keeper's custody; what large messages need of room is with the keeper from the start."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def open_draft(self, size_hint: int) -> IDraft:
        """Make room for a message.  Raises `NoSpace` for a large one."""
        held = await open_held(self._asking, size_hint) if size_hint > PIECE else None
        return RemoteDraft(self._asking, held)

    async def take(self, messages: Sequence[tuple[Queued, IContent]]) -> None:
        """Have the keeper keep all of these, or none and raise."""
        drafts: list[HeldContent] = []
        try:
            carried = [(queued, await carry(self._asking, content, drafts)) for queued, content in messages]
            if carried:
                await self._asking.call("take", carried)
        finally:
            await _close(drafts)

    async def deliver(
        self, route: Route, envelope: Envelope, pendings: tuple[Pending, ...], content: IContent, junk: bool
    ) -> Mapping[Address, Outcome]:
        """Have the keeper deliver now."""
        drafts: list[HeldContent] = []
        try:
            carried = await carry(self._asking, content, drafts)
            found: dict[Address, Outcome] = await self._asking.call("deliver", route, envelope, pendings, carried, junk)
            return found
        finally:
            await _close(drafts)

    async def etrn(self, domain: str) -> bool:
        """Have what waits for a domain tried now."""
        any_: bool = await self._asking.call("etrn", domain)
        return any_


async def _close(drafts: Sequence[HeldContent]) -> None:
    for draft in drafts:
        await draft.close()


class RemoteLocks:
    """Maildrops are locked at the keeper, for all workers."""

    def __init__(self, asking: Any) -> None:
        self._asking = asking

    async def take(self, account: str) -> bool:
        """Lock a maildrop."""

        def dispose(taken: bool) -> None:
            if taken:
                self.release(account)

        taken: bool = await self._asking.call("lock_maildrop", account, dispose=dispose)
        return taken

    def release(self, account: str) -> None:
        """Let the next session have it."""
        self._asking.tell("release_maildrop", account)


@implementer(IDeliveryPolicy)
class RemotePolicy:
    """A policy that counts for all workers, and is asked where it counts: at the keeper."""

    def __init__(self, asking: Any, name: str, questions: frozenset[str]) -> None:
        self._asking = asking
        self._name = name
        self._questions = questions

    async def _judge(self, question: str, client: Client, *addresses: Address | None) -> Verdict | None:
        if question not in self._questions:
            return None
        sender, recipient = (*addresses, None, None)[:2]
        verdict: Verdict | None = await self._asking.call("judge", self._name, question, client, sender, recipient)
        return verdict

    async def on_connect(self, client: Client) -> Verdict | None:
        """Ask about a client."""
        return await self._judge("on_connect", client)

    async def on_helo(self, client: Client) -> Verdict | None:
        """Ask about its name."""
        return await self._judge("on_helo", client)

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Ask about a sender."""
        return await self._judge("on_sender", client, sender)

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Ask about a recipient."""
        return await self._judge("on_recipient", client, sender, recipient)

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Have no opinion: what looks at messages is not asked at the keeper."""


#: What a policy plug-in says of itself: the questions to which its answers depend on what it was asked before.
COUNTING = "counting"


def questions_of(factory: Callable[..., object]) -> frozenset[str]:
    """Return the questions that a policy wants to be asked where all are."""
    return frozenset(getattr(factory, COUNTING, ()))
