"""What a listener listens with."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.cred.portal import Portal

from mailfw.allowance import Allowance
from mailfw.interfaces import IDeliveryPolicy, IDirectory, IIntake, IRouter
from mailfw.mail.envelope import Service
from mailfw.sasl.logins import Attempts, Logins
from mailfw.smtp.authentication import PREFIX
from mailfw.smtp.load import Load
from mailfw.smtp.reception import Etrn, Reception
from mailfw.smtp.replies import TOO_MANY_CONNECTIONS
from mailfw.smtp.server import Session
from mailfw.smtp.settings import SMTPSettings
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.stream import Stream

__all__ = ["Load", "SMTPSettings", "smtp_factory"]


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
    attempts: Attempts | None = None,
    load: Load | None = None,
    mistakes: Allowance | None = None,
    etrn: Etrn | None = None,
) -> SessionFactory:
    """
    Make the factory of one listener; ``settings.service`` says whether it serves SMTP, submission or LMTP.

    `policies` answers for all policies and never raises.  `clock` provides `IReactorTime`.  `attempts` counts failed
    logins, `load` the mail on its way in and `mistakes` refused commands, each for all listeners.  `etrn` has the
    queue try what waits for a domain; without it, and for users, there is no ETRN.
    """
    logins = None
    if portal is not None:
        logins = Logins(
            portal,
            clock,
            PREFIX,
            plaintext=settings.allow_plaintext_auth,
            attempts=attempts,
            enabled=settings.mechanisms,
        )
    reception = Reception(
        settings,
        intake,
        directory,
        router,
        policies,
        logins,
        clock,
        load or Load(),
        mistakes or None,
        etrn if settings.service is Service.SMTP else None,
    )

    def session(stream: Stream) -> Coroutine[Any, Any, None]:
        return Session(reception, stream).run()

    return SessionFactory(session, clock, TOO_MANY_CONNECTIONS.encode(), limits)
