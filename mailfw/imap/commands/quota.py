"""GETQUOTA, GETQUOTAROOT and SETQUOTA (RFC 9208): how much an account keeps, and how much it may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailfw.imap import grammar, grammar_mailboxes, names, responses
from mailfw.imap.lexer import BadSyntax, Cursor
from mailfw.imap.responses import Completion
from mailfw.mail.failure import NoPermission, NoSuchAccount
from mailfw.mail.mailbox import Path
from mailfw.mail.personal import require
from mailfw.mail.quota import Quota, QuotaLimits
from mailfw.mail.rights import READ
from mailfw.optional import ISettableQuota, ISharingView

if TYPE_CHECKING:
    from mailfw.imap.server import Session

#: STORAGE counts units of so many octets.
_UNIT = 1024
#: The quota root of an account's own mailboxes.  Whoever sets quotas knows those of others by the account's name.
_ROOT = ""
_NO_ROOT = responses.no("There is no such quota root, or nothing is limited there", b"NONEXISTENT")
#: Octets that no store counts.
_BEYOND = 2**63


async def get_quota(session: Session, cursor: Cursor) -> Completion:
    """RFC 9208 section 4.1.1.  An account without limits has no quota root."""
    root = grammar_mailboxes.quota_root(cursor)
    try:
        quota = await session.store.quota(_account(session, root))
    except NoSuchAccount:
        return _NO_ROOT
    if not _is_limited(quota):
        return _NO_ROOT
    session.stream.write(_line(root, quota))
    return responses.ok("That is all")


def _account(session: Session, root: str) -> str:
    """Return whose quota a root is."""
    if root == _ROOT:
        return session.account
    if session.account not in session.settings.quota_setters:
        raise NoPermission("You may not know of that quota root, if there is one")
    return root.lower()


async def get_quota_root(session: Session, cursor: Cursor) -> Completion:
    """
    RFC 9208 section 4.1.2: of a mailbox that is not there yet, too.

    How much others keep is not for those with whom they share a mailbox.
    """
    name = grammar.mailbox(cursor)
    path = names.to_path(name.removesuffix(names.DELIMITER))
    is_others = await _is_others(session, path)
    if is_others:
        require((await session.find(path)).rights, READ)
    told = b"QUOTAROOT " + session.mailbox(path)
    quota = await session.store.quota(session.account)
    if is_others or not _is_limited(quota):
        session.stream.write(responses.untagged(told))
        return responses.ok("There is no limit that you know of")
    session.stream.write(responses.untagged(told + b" " + responses.astring(_ROOT)) + _line(_ROOT, quota))
    return responses.ok("That is all")


async def _is_others(session: Session, path: Path) -> bool:
    if not ISharingView.providedBy(session.store):
        return False
    above = await ISharingView(session.store).namespace(session.account)
    return path[: len(above)] == above


async def set_quota(session: Session, cursor: Cursor) -> Completion:
    """RFC 9208 section 4.1.3: what is not named has no limit any more."""
    root, limits = grammar_mailboxes.set_quota(cursor)
    if not may_set(session):
        raise BadSyntax("There is no such command")
    if not limits.keys() <= {b"STORAGE", b"MESSAGE"}:
        return responses.no("There are only limits of STORAGE and MESSAGE", b"CANNOT")
    if 0 in limits.values():  # section 3.1.2: it would prohibit any use
        return responses.no("There is no limit of nothing; what is not named is not limited", b"CANNOT")
    account = _account(session, root)
    wanted = QuotaLimits(limits.get(b"STORAGE", 0) * _UNIT, limits.get(b"MESSAGE", 0))
    if wanted.octets >= _BEYOND:
        return responses.no("That is more than can be counted", b"CANNOT")
    try:
        await session.store.quota(account)  # nobody is given a quota who is not there
        await ISettableQuota(session.store).set_quota(account, wanted)
        quota = await session.store.quota(account)
    except NoSuchAccount:
        return _NO_ROOT
    if _is_limited(quota):
        session.stream.write(_line(root, quota))
    return responses.ok("So be it")


def may_set(session: Session) -> bool:
    """Whether quotas can be set here, and by this user."""
    return session.account in session.settings.quota_setters and bool(ISettableQuota.providedBy(session.store))


def _is_limited(quota: Quota) -> bool:
    return bool(quota.octet_limit or quota.message_limit)


def _line(root: str, quota: Quota) -> bytes:
    """Return the QUOTA response; what has no limit is not in it."""
    resources = []
    if quota.octet_limit:
        resources.append(b"STORAGE %d %d" % (-(-quota.octets // _UNIT), quota.octet_limit // _UNIT))
    if quota.message_limit:
        resources.append(b"MESSAGE %d %d" % (quota.messages, quota.message_limit))
    return responses.untagged(b"QUOTA %b (%b)" % (responses.astring(root), b" ".join(resources)))
