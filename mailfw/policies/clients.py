"""Lists of clients."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Accept, Refuse, Verdict
from mailfw.network import Networks, read_ip


@implementer(IDeliveryPolicy)
class ClientList:
    """
    Lets clients past the policies after it, or turns them away, by their IP address.

    `allow` and `refuse` are addresses and networks (``192.0.2.1``, ``2001:db8::/32``); a client on both is allowed.  An
    allowed client is not asked about again at any point of the conversation; it may still not relay.  `reason`
    is what a refused one hears in place of the greeting.  Clients of a UNIX socket are on no list.
    """

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        refuse: Sequence[str] = (),
        reason: str = "We do not take mail from your address",
    ) -> None:
        self._allowed = Networks(allow)
        self._refused = Networks(refuse)
        self._refusal = Refuse(reason, "5.7.1", 554)  # RFC 5321 section 3.1: 554 in place of 220

    async def on_connect(self, client: Client) -> Verdict | None:
        """Accept, refuse, or have no opinion."""
        allowed = self._accept(client)
        if allowed is not None or not self._refused:
            return allowed
        address = read_ip(client.address)
        return self._refusal if address is not None and address in self._refused else None

    async def on_helo(self, client: Client) -> Verdict | None:
        """Accept an allowed client."""
        return self._accept(client)

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Accept an allowed client."""
        return self._accept(client)

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Accept an allowed client."""
        return self._accept(client)

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Accept an allowed client."""
        return self._accept(client)

    def _accept(self, client: Client) -> Verdict | None:
        if not self._allowed:
            return None
        address = read_ip(client.address)
        return Accept() if address is not None and address in self._allowed else None
