"""NOOP, HELP, VRFY, ETRN, QUIT, and what is not for us."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from mailfw.mail.reply import Reply
from mailfw.mail.resolution import NoSuchRecipient, NotLocal
from mailfw.smtp import grammar, replies
from mailfw.smtp.extensions import announce
from mailfw.smtp.extensions.etrn import parse_etrn

if TYPE_CHECKING:
    from mailfw.smtp.server import Session

log = Logger()

#: Commands that are there where an extension of the same name is.
_EXTENDED = frozenset({"AUTH", "ETRN", "STARTTLS", "XCLIENT"})


async def noop(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.9."""
    return session.count_junk() or replies.OK


async def show_help(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.8: the commands that can be used here and now."""
    offered = {line.partition(" ")[0] for line in announce(session.offer())}
    verbs = [verb for verb in session.verbs() if verb not in _EXTENDED or verb in offered]
    return session.count_junk() or Reply(214, "2.0.0", f"{' '.join(verbs)}\nRFC 5321 explains them")


async def vrfy(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.6; unless the site says otherwise nobody is told who is here (section 7.3)."""
    address = grammar.parse_vrfy(argument)
    junk = session.count_junk()
    if junk is not None:
        return junk
    if address is None or session.settings.vrfy == "never" or not session.is_known:
        return replies.CANNOT_VERIFY
    resolution = await session.reception.directory.resolve(address)
    if isinstance(resolution, NoSuchRecipient):
        return replies.NO_SUCH_USER
    return replies.CANNOT_VERIFY if isinstance(resolution, NotLocal) else replies.VERIFIED


async def etrn(session: Session, argument: str) -> Reply:
    """RFC 1985 section 5."""
    start = session.reception.etrn
    if start is None:
        return replies.NOT_IMPLEMENTED
    if not session.client.helo:
        return replies.HELO_FIRST
    if session.transaction is not None:
        return replies.IN_TRANSACTION
    domain = parse_etrn(argument)
    junk = session.count_junk()
    if junk is not None:
        return junk
    try:
        return replies.QUEUE_STARTED if await start(domain) else replies.NOT_QUEUED_FOR
    except Exception:
        log.failure("The queue for {domain} could not be started", domain=domain)
        return replies.CANNOT_QUEUE


async def leave(session: Session, argument: str) -> Reply:
    """RFC 5321 section 4.1.1.10."""
    grammar.expect_nothing(argument)
    session.end("quit")
    return replies.GOODBYE


async def not_implemented(session: Session, argument: str) -> Reply:
    """Answer a command that is known, and not for us."""
    return replies.NOT_IMPLEMENTED


async def foreign(session: Session, argument: str) -> Reply:
    """Cut off a web browser that was made to speak to us, before it comes to its body, or a proxy of somebody else."""
    return replies.FOREIGN_PROTOCOL
