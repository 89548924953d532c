"""What a listener needs to serve IMAP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.portal import Portal

from mailfw.imap import responses
from mailfw.imap.allowances import SessionCount
from mailfw.imap.answered import Answered
from mailfw.imap.commands.authenticate import PREFIX
from mailfw.imap.server import Session
from mailfw.imap.settings import IMAPSettings
from mailfw.interfaces import IDraft
from mailfw.sasl.logins import Attempts, Logins
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.stream import Stream

__all__ = ["IMAPSettings", "imap_factory"]


def imap_factory(
    settings: IMAPSettings,
    *,
    portal: Portal,
    open_draft: Callable[[int], Awaitable[IDraft]],
    clock: Any,
    limits: ConnectionLimits | None = None,
    attempts: Attempts | None = None,
    sessions: SessionCount | None = None,
) -> SessionFactory:
    """
    Return a factory of IMAP sessions.

    The portal's avatars provide `IAccount`.  `open_draft` makes room for a message of about so many octets, for
    APPEND; it may raise `NoSpace`.  `attempts` counts failed logins, and `sessions` those of
    each account, for all listeners.
    """
    logins = Logins(
        portal,
        clock,
        PREFIX,
        plaintext=settings.allow_plaintext_auth,
        attempts=attempts,
        enabled=settings.mechanisms,
    )

    counted, answered = sessions or SessionCount(), Answered()

    async def session(stream: Stream) -> None:
        await Session(stream, settings, logins, open_draft, counted, answered).run()

    busy = responses.condition(b"BYE", "Too many connections; please come back later", b"UNAVAILABLE")
    return SessionFactory(session, clock, busy, limits)
