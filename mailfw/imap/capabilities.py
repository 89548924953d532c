"""What the server can do, for whom and when: the answer to CAPABILITY (RFC 9051 section 6.1.1), in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mailfw.imap.grammar_results import Algorithm
from mailfw.optional import IAnnotatedMail, IReplacingMail, ISettableQuota, ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: What commands enable that ask for modification sequences (RFC 7162 section 3.1).
CONDSTORE = b"CONDSTORE"


@dataclass(frozen=True, slots=True)
class Capability:
    """
    One thing the server can do.

    `words` returns what CAPABILITY says of it to a session as it is now, nothing where it cannot be done there: what a
    store or a listener cannot do is not advertised.  `can_be_enabled` lets ENABLE name it, and `needs` are others that
    it means nothing without.
    """

    name: bytes
    words: Callable[[Session], Sequence[bytes]]
    can_be_enabled: bool = False
    needs: Sequence[bytes] = ()


def _always(name: bytes, session: Session) -> Sequence[bytes]:
    return (name,)


def _logged_in(name: bytes, session: Session) -> Sequence[bytes]:
    return (name,) if session.account else ()


def _logged_out(name: bytes, session: Session) -> Sequence[bytes]:
    return () if session.account else (name,)


def _plain(
    names: bytes, when: Callable[[bytes, Session], Sequence[bytes]], enable: bool = False, needs: bytes = b""
) -> list[Capability]:
    """Return capabilities without parameters."""
    return [Capability(name, partial(when, name), enable, needs.split()) for name in names.split()]


def _starttls(session: Session) -> Sequence[bytes]:
    stream = session.stream
    offered = session.settings.tls is not None and not (stream.is_secure or stream.is_compressed or session.account)
    return (b"STARTTLS",) if offered else ()


def _mechanisms(session: Session) -> Sequence[bytes]:
    if session.account:
        return ()
    return [b"AUTH=" + name.encode("ascii") for name in session.logins.offered(session.stream)]


def _login_disabled(session: Session) -> Sequence[bytes]:
    return () if session.account or session.logins.takes_passwords(session.stream) else (b"LOGINDISABLED",)


def _compress(session: Session) -> Sequence[bytes]:
    # Where it is so already it would be refused (RFC 4978 section 3).
    return (b"COMPRESS=DEFLATE",) if session.account and not session.stream.is_compressed else ()


def _literals(session: Session) -> Sequence[bytes]:
    # RFC 7888 section 5: one of the two, never both.
    return (b"LITERAL-",) if b"LITERAL+" in session.allowance.without else ()


def _replace(session: Session) -> Sequence[bytes]:
    return (b"REPLACE",) if session.account and IReplacingMail.providedBy(session.store) else ()


def _threads(session: Session) -> Sequence[bytes]:
    return [b"THREAD=" + each.value for each in Algorithm] if session.account else ()


def _append_limit(session: Session) -> Sequence[bytes]:
    return (b"APPENDLIMIT=%d" % session.allowance.append,) if session.account else ()


def _message_limit(session: Session) -> Sequence[bytes]:
    return (b"MESSAGELIMIT=%d" % session.message_limit,) if session.message_limit else ()


def _jmap(session: Session) -> Sequence[bytes]:
    return (b"JMAPACCESS",) if session.account and session.settings.jmap_url else ()


def _annotated(name: bytes, session: Session) -> Sequence[bytes]:
    return (name,) if session.account and IAnnotatedMail.providedBy(session.store) else ()


def _quota_set(session: Session) -> Sequence[bytes]:
    offered = session.account in session.settings.quota_setters and ISettableQuota.providedBy(session.store)
    return (b"QUOTASET",) if offered else ()


def _shared(name: bytes, session: Session) -> Sequence[bytes]:
    return (name,) if session.account and ISharingView.providedBy(session.store) else ()


def _quota(session: Session) -> Sequence[bytes]:
    return (b"QUOTA", b"QUOTA=RES-STORAGE", b"QUOTA=RES-MESSAGE") if session.account else ()


def _sharing(session: Session) -> Sequence[bytes]:
    # RFC 4314 section 2.2: which of the rights beyond the old ones there are.
    return (b"ACL", b"RIGHTS=texk") if session.account and ISharingView.providedBy(session.store) else ()


#: A capability is named here once; its own commands name it too, in `mailfw.imap.verbs`, and by `Cursor.needs` grammars
#: name it where it brings something to others.
CAPABILITIES: tuple[Capability, ...] = (
    *_plain(b"IMAP4rev1 LITERAL+ ID IDLE ENABLE", _always),
    *_plain(b"IMAP4rev2", _always, enable=True, needs=b"ENABLE"),
    *_plain(b"SASL-IR", _logged_out, needs=b"AUTH"),
    Capability(b"STARTTLS", _starttls),
    Capability(b"AUTH", _mechanisms),
    Capability(b"LOGINDISABLED", _login_disabled),
    *_plain(b"NAMESPACE UNSELECT CHILDREN UIDPLUS MOVE SPECIAL-USE CREATE-SPECIAL-USE OBJECTID PREVIEW", _logged_in),
    *_plain(b"INPROGRESS NOTIFY UNAUTHENTICATE", _logged_in),
    *_plain(b"CONDSTORE", _logged_in, enable=True),
    *_plain(b"UIDONLY", _logged_in, enable=True, needs=b"ENABLE"),
    # RFC 7162 section 3.2.2: who offers QRESYNC offers CONDSTORE.
    *_plain(b"QRESYNC", _logged_in, enable=True, needs=b"CONDSTORE ENABLE"),
    Capability(b"COMPRESS=DEFLATE", _compress),
    # RFC 9698 section 3: by its ids the same mail is known there.
    Capability(b"JMAPACCESS", _jmap, needs=[b"OBJECTID"]),
    Capability(b"LITERAL-", _literals),
    *_plain(b"BINARY MULTIAPPEND CATENATE SAVEDATE", _logged_in),
    *_plain(b"UTF8=ACCEPT", _logged_in, enable=True, needs=b"ENABLE"),
    Capability(b"REPLACE", _replace),
    Capability(b"APPENDLIMIT", _append_limit),
    *_plain(b"LIST-EXTENDED STATUS=SIZE", _logged_in),
    *_plain(b"LIST-STATUS", _logged_in, needs=b"LIST-EXTENDED"),
    *_plain(b"ESEARCH MULTISEARCH SORT SEARCH=FUZZY WITHIN I18NLEVEL=1 UIDBATCHES", _logged_in),
    # They are options of RETURN, which ESEARCH brings, and ESORT where something is sorted.
    *_plain(b"SEARCHRES PARTIAL CONTEXT=SEARCH", _logged_in, needs=b"ESEARCH"),
    Capability(b"MESSAGELIMIT", _message_limit),
    *_plain(b"SORT=DISPLAY ESORT", _logged_in, needs=b"SORT"),
    # CANCELUPDATE is one for both contexts (RFC 5267 section 4.3.1).
    *_plain(b"CONTEXT=SORT", _logged_in, needs=b"ESORT CONTEXT=SEARCH"),
    Capability(b"THREAD", _threads),
    Capability(b"QUOTA", _quota),
    Capability(b"QUOTASET", _quota_set, needs=[b"QUOTA"]),
    *_plain(b"METADATA", _annotated),
    *_plain(b"LIST-METADATA", _annotated, needs=b"METADATA LIST-EXTENDED"),
    Capability(b"ACL", _sharing),
    *_plain(b"LIST-MYRIGHTS", _shared, needs=b"ACL LIST-EXTENDED"),
)

_ENABLED_BY_NAME = {each.name.upper(): each for each in CAPABILITIES if each.can_be_enabled}


def switched_off(names: Iterable[str]) -> frozenset[bytes]:
    """Return capabilities by their names in any case, with all that need one of them.  Raises `KeyError`."""
    known = {each.name.upper(): each.name for each in CAPABILITIES}
    off = {known[name.upper().encode("ascii")] for name in names}
    while more := {each.name for each in CAPABILITIES if off.intersection(each.needs)} - off:
        off |= more
    return frozenset(off)


def capabilities(session: Session) -> bytes:
    """Return what the session can do in its present state, and nothing that it cannot."""
    without = session.allowance.without
    return b" ".join([word for each in CAPABILITIES if each.name not in without for word in each.words(session)])


def capability_code(session: Session) -> bytes:
    """Return the response code that saves the client from asking."""
    return b"CAPABILITY " + capabilities(session)


def enable(session: Session, name: bytes) -> bytes | None:
    """Enable a capability, named in any case, where the session may; return its name where that is new."""
    known = _ENABLED_BY_NAME.get(name.upper())
    if known is None or known.name in session.allowance.without or not known.words(session):
        return None
    if name.upper() in session.enabled:
        return None
    session.enabled |= {name.upper()}
    return known.name
