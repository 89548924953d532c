"""
Telling a sender what became of a message, and what is done when that fails too.

A report has the null sender, so it is never reported on itself (RFC 5321 section 6.1).  What cannot be given back goes
to the postmaster, once; what he cannot get stays in the queue, held: nothing vanishes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import cast

from twisted.logger import Logger

from mailfw.interfaces import IContent, ISpool
from mailfw.mail.address import Address
from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.envelope import Envelope
from mailfw.mail.message import FieldRefused, Header, field, printable, read_header
from mailfw.mail.queued import Action, Concluded, Leg, Pending, Queued
from mailfw.mail.report import Report, returns_whole, write_report
from mailfw.queue.planning import NOWHERE, Arrival, Planner, divide
from mailfw.queue.schedule import Schedule
from mailfw.site import Site

log = Logger()

#: What was put into the spool, and its content where that is in memory.
Put = tuple[Queued, IContent | None]

#: Reasons that a message for the postmaster names.
_NAMED = 100


class Reports:
    """Writes what is owed of a message, and puts it into the spool."""

    def __init__(self, *, site: Site, planner: Planner, spool: ISpool, schedule: Schedule) -> None:
        self._site = site
        self._planner = planner
        self._spool = spool
        self._schedule = schedule

    async def report(self, queued: Queued, content: Content, now: float) -> tuple[Queued, list[Put]]:
        """
        See to it that somebody hears of ``queued.owed``, and return the message without it, and what was put.

        Called again for the same state, as after a crash, it makes reports of the same ids, which the spool keeps
        once.  Raises whatever the spool or the directory does: the reports are still owed then.
        """
        sender = self._planner.sender_of(queued.envelope)
        if sender is not None:
            report = await self._write(queued, sender, content, now)
            if report is not None:
                octets, is_utf8 = report
                name = f"{queued.id}-r{_mark(queued)}"
                body = "7BIT" if octets.isascii() else "8BITMIME"
                envelope = Envelope(name, None, (sender,), is_utf8, body)
                return replace(queued, owed=()), await self._put(envelope, Octets(octets), now)
        if self._is_postmasters(queued):
            return self._keep(queued), []
        failed = [one for one in queued.owed if one.action is Action.FAILED]
        put = await self._give_postmaster(queued, failed, content, now) if failed else []
        return replace(queued, owed=()), put

    async def _write(self, queued: Queued, sender: Address, content: Content, now: float) -> tuple[bytes, bool] | None:
        envelope = queued.envelope
        # RFC 8689 section 5: the way back may be less safe than the sender required
        returns = "HDRS" if envelope.require_tls else envelope.returns
        is_whole = returns_whole(returns, queued.owed, content.size)
        delayed = any(one.action is Action.DELAYED for one in queued.owed)
        report = Report(
            id=f"{queued.id}-r{_mark(queued)}",
            hostname=self._site.hostname,
            sender=sender,
            recipients=queued.owed,
            arrived=queued.arrived,
            written=now,
            options=envelope.options,
            envid=envelope.envid,
            returned=await content.read(0, content.size) if is_whole else (await read_header(content)).octets,
            is_whole=is_whole,
            retry_until=self._schedule.expiry(queued) if delayed else None,
        )
        try:
            return write_report(report), report.is_international
        except FieldRefused:
            log.failure("Message {id} has a sender that no report can be written to", id=queued.id)
            return None

    async def _put(self, envelope: Envelope, content: Content, now: float) -> list[Put]:
        plan = await self._planner.plan(envelope, Header(b""), now)
        arrival = Arrival(now, now, now + self._schedule.pause(1, 0.5), content.size)
        put: list[Put] = []
        for queued, marks in divide(plan, arrival):
            whole = cast("IContent", Prefixed(marks, content) if marks else content)
            await self._spool.put(queued, whole)
            put.append((queued, whole))
        return put

    # ------------------------------------------------------------ when nobody can be told

    async def _give_postmaster(
        self, queued: Queued, failed: list[Concluded], content: Content, now: float
    ) -> list[Put]:
        """Put a message nobody else can be given into the queue for the postmaster."""
        noted = b"".join(field("X-Undelivered", _reason(one)) for one in failed[:_NAMED])
        envelope = replace(
            queued.envelope,
            id=f"{queued.id}-p{_mark(queued)}",
            sender=None,
            recipients=(self._postmaster(),),
            options={},
            by=None,
            release=0.0,
        )
        log.warn(  # noqa: G010  # Twisted's has no longer name
            "Message {id} can neither be delivered nor given back, and goes to the postmaster: {reasons}",
            id=queued.id,
            reasons=[_reason(one) for one in failed[:_NAMED]],
        )
        put = await self._put(envelope, Prefixed(noted, content), now)
        return [(each, None) for each, _ in put]  # `content` may be closed, or gone, before it is delivered

    def _is_postmasters(self, queued: Queued) -> bool:
        return queued.envelope.recipients == (self._postmaster(),)

    def _postmaster(self) -> Address:
        domains = self._site.domains
        domain = self._site.hostname if self._site.hostname in domains else min(domains, default="")
        return Address("postmaster", domain)

    def _keep(self, queued: Queued) -> Queued:
        """Hold what not even the postmaster could be given; released, it is tried again."""
        failed = [one for one in queued.owed if one.action is Action.FAILED]
        reason = _reason(failed[0]) if failed else "no report can be written"
        pendings = tuple(Pending(one.original, one.address, one.reply, one.host) for one in failed)
        legs = (*queued.legs, Leg(NOWHERE, pendings, 0.0)) if pendings else queued.legs
        log.error(
            "Message {id} is held: not even the postmaster can be given it: {reason}", id=queued.id, reason=reason
        )
        return replace(queued, legs=legs, owed=(), held=f"undeliverable: {reason}")


def _mark(queued: Queued) -> str:
    """Return what tells this report of a message from its others, the same after a crash."""
    said = "\n".join(f"{one.original} {one.address} {one.action.value} {one.when}" for one in queued.owed)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _reason(one: Concluded) -> str:
    said = " ".join(part for part in (str(one.reply.code), one.reply.status, one.reply.text) if part)
    return printable(f"{one.original}: {said}".replace("\n", " "), 300)
