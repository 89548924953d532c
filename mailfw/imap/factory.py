"""What a listener needs to serve IMAP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.portal import Portal

from mailfw.imap import responses
from mailfw.imap.server import Session
from mailfw.imap.settings import IMAPSettings
from mailfw.interfaces import IDraft
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
) -> SessionFactory:
    """
    Return a factory of IMAP sessions.

    The portal's avatars provide `IAccount`.  `open_draft` makes room for a message of about so many octets, for
    APPEND; it may raise `NoSpace`.
    """

    async def session(stream: Stream) -> None:
        await Session(stream, settings, portal, open_draft).run()

    busy = responses.condition(b"BYE", "Too many connections; please come back later", b"UNAVAILABLE")
    return SessionFactory(session, clock, busy, limits)
