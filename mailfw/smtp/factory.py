"""What a listener listens with."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal

from mailfw.interfaces import IDeliveryPolicy, IDirectory, IIntake, IRouter
from mailfw.smtp.replies import TOO_MANY_CONNECTIONS
from mailfw.smtp.server import Session
from mailfw.smtp.settings import Reception, SMTPSettings
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.stream import Stream

__all__ = ["SMTPSettings", "smtp_factory"]


def smtp_factory(
    settings: SMTPSettings,
    *,
    intake: IIntake,
    directory: IDirectory,
    router: IRouter,
    policies: IDeliveryPolicy,
    portal: Portal | None,
    clock: Any,
    limits: ConnectionLimits | None = None,
) -> SessionFactory:
    """
    Make the factory of one listener; ``settings.service`` says whether it serves SMTP, submission or LMTP.

    `policies` answers for all policies and never raises.  `clock` provides `IReactorTime`.
    """
    reception = Reception(settings, intake, directory, router, policies, portal, clock)

    async def session(stream: Stream) -> None:
        await Session(reception, stream).run()

    return SessionFactory(session, clock, TOO_MANY_CONNECTIONS.encode(), limits)
