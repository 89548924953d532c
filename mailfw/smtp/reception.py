"""What all sessions of a listener share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from mailfw.allowance import Allowance
from mailfw.interfaces import IDeliveryPolicy, IDirectory, IIntake, IRouter
from mailfw.mail.envelope import Service
from mailfw.mail.reply import Reply
from mailfw.sasl.logins import Logins
from mailfw.smtp.extensions import Offer, announce
from mailfw.smtp.load import Load
from mailfw.smtp.settings import EnvelopeIds, SMTPSettings
from mailfw.wire.stream import Stream

#: Different answers to EHLO that are kept.
_ANNOUNCEMENTS = 64

#: Has the queue try again what waits for a domain; False where that is not for us to do.
Etrn = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Reception:
    """
    The parts that a session works with; `policies` never raises.

    `mistakes` counts refused commands by client over all its connections (None: they are not counted).
    """

    settings: SMTPSettings
    intake: IIntake
    directory: IDirectory
    router: IRouter
    policies: IDeliveryPolicy
    logins: Logins | None
    clock: Any
    load: Load
    mistakes: Allowance | None = None
    etrn: Etrn | None = None
    next_id: Callable[[], str] = field(default_factory=EnvelopeIds)
    _announced: dict[tuple[object, ...], Reply] = field(default_factory=dict)

    def mechanisms(self, stream: Stream) -> tuple[str, ...]:
        """Return the SASL mechanisms that can be used now: none but on submission."""
        if self.settings.service is not Service.SUBMISSION or self.logins is None:
            return ()
        return self.logins.offered(stream)

    def announcement(self, offer: Offer) -> Reply:
        """Return the answer to EHLO and LHLO; what it says of times (RFC 4865) is of this minute."""
        minute, somebody = int(offer.now) // 60, offer.account is not None
        key = (minute, offer.secure, offer.mechanisms, offer.trusted, somebody, offer.xclient)
        reply = self._announced.get(key)
        if reply is None:
            if len(self._announced) >= _ANNOUNCEMENTS:
                self._announced.clear()
            reply = Reply(250, "", "\n".join((self.settings.hostname, *announce(offer))))
            self._announced[key] = reply
        return reply

    def greeting(self) -> Reply:
        """Return what is said first (RFC 5321 section 4.2, RFC 2033 section 4.1)."""
        protocol = "LMTP" if self.settings.service is Service.LMTP else "ESMTP"
        return Reply(220, "", f"{self.settings.hostname} {protocol} {self.settings.software}")
