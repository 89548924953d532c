"""How large a message may be, for whom."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.verdict import Refuse, Verdict
from mailfw.policies.patterns import Addresses


@implementer(IDeliveryPolicy)
class SizeLimit:
    """
    Refuses messages that are too large.

    `octets` is the most a message may have.  `recipients` are patterns (``@example.org``, ``*@*.example.org``): the
    limit is for messages to any of them, or for all messages where none is given.  `accounts` says the same of who is
    logged in, so ``accounts=["*"]`` limits submission only.  The server's own limit holds besides.
    """

    def __init__(
        self, *, octets: int = 10_240_000, recipients: Sequence[str] = (), accounts: Sequence[str] = ()
    ) -> None:
        if octets <= 0:
            raise ValueError("octets must be more than 0")
        self._octets = octets
        self._recipients = Addresses(recipients)
        self._accounts = Addresses(accounts)
        # RFC 1870 section 6.3
        self._refusal = Refuse(f"The message is larger than {octets} octets", "5.3.4", 552)

    async def on_connect(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_helo(self, client: Client) -> Verdict | None:
        """Have no opinion."""

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        """Have no opinion."""

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        """Have no opinion."""

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        """Refuse a message that is too large for who sends or gets it."""
        if content.size <= self._octets:
            return None
        if self._recipients and not any(recipient in self._recipients for recipient in envelope.recipients):
            return None
        if self._accounts and not self._is_from_account(client):
            return None
        return self._refusal

    def _is_from_account(self, client: Client) -> bool:
        if client.account is None:
            return False
        local, _, domain = client.account.rpartition("@")
        return Address(local, domain) in self._accounts
