"""The router: our own mailboxes, then the rules, then the smarthost or MX."""

from __future__ import annotations

from dataclasses import dataclass

from zope.interface import implementer

from mailfw.interfaces import IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import NotLocal
from mailfw.mail.route import Route, Unroutable
from mailfw.routing.names import a_labels, is_special, literal_address
from mailfw.routing.table import MAILBOX, RELAY, RoutingTable

#: RFC 3463 section 3.2: bad destination system address.
_LITERAL = Unroutable(Reply(550, "5.1.2", "No mail is sent to bare addresses: write a domain"))
_SPECIAL = Unroutable(Reply(550, "5.1.2", "No mail can be sent to this domain: its name is reserved"))
_NO_NAME = Unroutable(Reply(550, "5.1.2", "This is no domain name"))


@dataclass(frozen=True, slots=True)
class Decision:
    """A way, and why it is taken, for people."""

    way: Route | Unroutable
    why: str


@implementer(IRouter)
class TableRouter:
    """
    Goes by the rules of `table`.

    A rule that names the recipient decides, even about a domain of ours; a rule for ``*`` or for senders alone only
    about what is not ours.
    """

    def __init__(self, *, directory: IDirectory, table: RoutingTable) -> None:
        self._directory = directory
        self._table = table

    async def route(self, sender: Address | None, recipient: Address) -> Route | Unroutable:
        """Return the way."""
        return (await self.decide(sender, recipient)).way

    async def decide(self, sender: Address | None, recipient: Address) -> Decision:
        """Return the way, and why."""
        is_local = not isinstance(await self._directory.resolve(recipient), NotLocal)
        for rule in self._table.rules:
            meant = rule.recipients.names if is_local else rule.recipients.fits
            if meant(recipient) and rule.senders.fits(sender):
                return Decision(rule.route(recipient), f"the rule for {rule.name}")
        if is_local or not recipient.domain:
            return Decision(Route(MAILBOX), "the domain is ours")
        if self._table.relay is not None:
            return Decision(self._table.relay, "relay is set for whatever is not ours")
        return _by_mx(recipient.domain)


def _by_mx(domain: str) -> Decision:
    if domain.startswith("["):
        what = "an address literal" if literal_address(domain) else "neither a domain nor an address"
        return Decision(_LITERAL, f"{what}, and there is no rule for it")
    if is_special(domain):
        return Decision(_SPECIAL, "a special-use name (RFC 6761), and there is no rule for it")
    try:
        a_labels(domain)
    except ValueError as broken:
        return Decision(_NO_NAME, str(broken))
    return Decision(Route(RELAY, domain), "no rule and no relay: by MX")


def routes(directory: IDirectory, table: RoutingTable) -> TableRouter:
    """Deliver what is ours into mailboxes, and the rest by the rules, a smarthost, or MX."""
    return TableRouter(directory=directory, table=table)
