"""What the server can do, for whom and when: the answer to CAPABILITY (RFC 9051 section 6.1.1), in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailfw.optional import ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

# Those that change what is said once a client has enabled them (RFC 5161).
CONDSTORE = b"CONDSTORE"


@dataclass(frozen=True, slots=True)
class Capability:
    """
    One thing the server can do.

    `words` returns what CAPABILITY says of it to a session as it is now, nothing where it cannot be done there: what a
    store or a listener cannot do is not advertised.  `can_be_enabled` lets ENABLE name it.
    """

    name: bytes
    words: Callable[[Session], Sequence[bytes]]
    can_be_enabled: bool = False


def _always(session: Session, name: bytes) -> Sequence[bytes]:
    return (name,)


def _logged_in(session: Session, name: bytes) -> Sequence[bytes]:
    return (name,) if session.account else ()


def _logged_out(session: Session, name: bytes) -> Sequence[bytes]:
    return () if session.account else (name,)


def _plain(names: bytes, when: Callable[[Session, bytes], Sequence[bytes]], enable: bool = False) -> list[Capability]:
    """Return capabilities without parameters."""
    return [Capability(name, lambda session, name=name: when(session, name), enable) for name in names.split()]  # type: ignore[misc] # mypy cannot infer a lambda with a default


def _starttls(session: Session) -> Sequence[bytes]:
    offered = session.settings.tls is not None and not session.stream.is_secure and not session.account
    return (b"STARTTLS",) if offered else ()


def _mechanisms(session: Session) -> Sequence[bytes]:
    if session.account:
        return ()
    return [b"AUTH=" + name.encode("ascii") for name in session.logins.offered(session.stream)]


def _login_disabled(session: Session) -> Sequence[bytes]:
    return () if session.account or session.logins.takes_passwords(session.stream) else (b"LOGINDISABLED",)


def _sharing(session: Session) -> Sequence[bytes]:
    # RFC 4314 section 2.2: which of the rights beyond the old ones there are.
    return (b"ACL", b"RIGHTS=texk") if session.account and ISharingView.providedBy(session.store) else ()


#: A capability is named here once; its own commands name it too, in `mailfw.imap.verbs`.
CAPABILITIES: tuple[Capability, ...] = (
    *_plain(b"IMAP4rev1 LITERAL+ ID IDLE ENABLE", _always),
    *_plain(b"SASL-IR", _logged_out),
    Capability(b"STARTTLS", _starttls),
    Capability(b"AUTH", _mechanisms),
    Capability(b"LOGINDISABLED", _login_disabled),
    *_plain(b"NAMESPACE UNSELECT CHILDREN UIDPLUS MOVE SPECIAL-USE CREATE-SPECIAL-USE OBJECTID PREVIEW", _logged_in),
    Capability(b"ACL", _sharing),
)

_ENABLED_BY_NAME = {each.name.upper(): each for each in CAPABILITIES if each.can_be_enabled}


def _offered(session: Session) -> Iterator[bytes]:
    for each in CAPABILITIES:
        if each.name not in session.switched_off:
            yield from each.words(session)


def capabilities(session: Session) -> bytes:
    """Return what the session can do in its present state, and nothing that it cannot."""
    return b" ".join(_offered(session))


def capability_code(session: Session) -> bytes:
    """Return the response code that saves the client from asking."""
    return b"CAPABILITY " + capabilities(session)


def enable(session: Session, name: bytes) -> bool:
    """Enable a capability, named in upper case, where the session may; whether that is new."""
    known = _ENABLED_BY_NAME.get(name)
    if known is None or known.name in session.switched_off or not known.words(session) or name in session.enabled:
        return False
    session.enabled.add(name)
    return True
