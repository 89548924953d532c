"""A listener's factory of POP3 sessions."""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal

from mailfw.optional import ICount
from mailfw.pop3 import responses
from mailfw.pop3.locks import Locks, OwnLocks
from mailfw.pop3.server import Session
from mailfw.pop3.settings import Access, POP3Settings
from mailfw.sasl.logins import Attempts, Logins
from mailfw.wire.limits import ConnectionLimits
from mailfw.wire.protocol import SessionFactory
from mailfw.wire.stream import Stream

__all__ = ["POP3Settings", "pop3_factory"]


def pop3_factory(
    settings: POP3Settings,
    *,
    portal: Portal,
    clock: Any,
    limits: ConnectionLimits | None = None,
    locks: Locks | None = None,
    attempts: Attempts | None = None,
    logins_counted: ICount | None = None,
) -> SessionFactory:
    """
    Return a factory whose sessions log in at `portal` and serve the inbox of their account.

    `locks` says whose maildrop is locked: listeners that serve the same accounts share it.
    `attempts` counts failed logins for all listeners, `logins_counted` those that succeed, for LOGIN-DELAY.
    """
    logins = Logins(
        portal,
        clock,
        responses.CHALLENGE,
        plaintext=settings.allow_plaintext_auth,
        attempts=attempts,
        enabled=settings.mechanisms,
    )
    access = Access(settings, logins, locks or OwnLocks(), logins_counted)

    async def hold(stream: Stream) -> None:
        await Session(stream, access).run()

    return SessionFactory(hold, clock, responses.TOO_MANY_CONNECTIONS.octets(), limits)
