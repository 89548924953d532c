"""Which messages of the queue are meant, and what is told of one."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mailfw.mail.address import Address
from mailfw.mail.queued import Leg, Pending, Queued
from mailfw.mail.reply import Reply

#: What the reason of a message that a policy wanted kept begins with.
QUARANTINE = "quarantine: "


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Messages that are everything said here; what is left out asks for nothing.

    `ids` are names, `older` seconds since the message came.  `sender` and `recipient` are an address, a domain, or a
    pattern with ``*`` and ``?``; ``<>`` is the null sender.  `destination` is such a pattern for a route or its
    destination, `reason` a part of what the last answer, or the reason for holding, says.
    """

    ids: tuple[str, ...] = ()
    older: float | None = None
    sender: str | None = None
    recipient: str | None = None
    destination: str | None = None
    reason: str | None = None
    held: bool | None = None
    quarantined: bool | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked of a message."""
        return self == Selection()

    def takes(self, queued: Queued, now: float) -> bool:
        """Whether a message is meant."""
        return all(
            (
                not self.ids or queued.id in self.ids,
                self.older is None or now - queued.arrived >= self.older,
                self.sender is None or _is_sender(queued.envelope.sender, self.sender),
                self.recipient is None or any(_is_address(each, self.recipient) for each in _recipients(queued)),
                self.destination is None or any(_goes(leg, self.destination) for leg in queued.legs),
                self.reason is None or any(self.reason.lower() in each.lower() for each in _reasons(queued)),
                self.held is None or self.held == bool(queued.held),
                self.quarantined is None or self.quarantined == queued.held.startswith(QUARANTINE),
            )
        )


def _is_sender(sender: Address | None, wanted: str) -> bool:
    if sender is None or wanted == "<>":
        return sender is None and wanted == "<>"
    return _is_address(sender, wanted)


def _is_address(address: Address, wanted: str) -> bool:
    wanted = wanted.lower()
    if "@" in wanted.lstrip("@"):
        return fnmatch.fnmatchcase(str(address).lower(), wanted)
    return fnmatch.fnmatchcase(address.domain, wanted.lstrip("@"))


def _recipients(queued: Queued) -> Iterable[Address]:
    """Yield who does not have it yet, as the sender and as we know them; all, where nobody waits any more."""
    if not queued.legs:
        yield from queued.envelope.recipients
    for leg in queued.legs:
        for one in leg.recipients:
            yield one.original
            yield one.address


def _goes(leg: Leg, wanted: str) -> bool:
    wanted = wanted.lower()
    return any(fnmatch.fnmatchcase(name.lower(), wanted) for name in (str(leg.route), leg.route.destination))


def _reasons(queued: Queued) -> Iterable[str]:
    yield queued.held
    for leg in queued.legs:
        for one in leg.recipients:
            yield say(one.reply)


# ---------------------------------------------------------------- what is told


def say(reply: Reply | None) -> str:
    """Return a reply on one line, ``""`` for none."""
    if reply is None:
        return ""
    return " ".join(part for part in (str(reply.code), reply.status, *reply.text.split("\n")) if part)


def description(queued: Queued) -> dict[str, Any]:
    """Return what is known of a message in the words of JSON; times are seconds since the epoch."""
    envelope = queued.envelope
    return {
        "id": queued.id,
        "sender": str(envelope.sender) if envelope.sender else "",
        "size": queued.size,
        "arrived": queued.arrived,
        "due": queued.due,
        "held": queued.held,
        "account": queued.account,
        "client": queued.client,
        "junk": queued.junk,
        "warned": queued.warned,
        "priority": envelope.priority,
        "smtputf8": envelope.smtputf8,
        "require_tls": envelope.require_tls,
        "tls_optional": envelope.tls_optional,
        "envid": envelope.envid,
        "recipients": [_waiting(leg, one) for leg in queued.legs for one in leg.recipients],
        "owed": [
            {"original": str(one.original), "action": one.action.value, "reply": say(one.reply)} for one in queued.owed
        ],
    }


def _waiting(leg: Leg, one: Pending) -> dict[str, Any]:
    return {
        "original": str(one.original),
        "address": str(one.address),
        "route": str(leg.route),
        "due": leg.due,
        "attempts": leg.attempts,
        "reply": say(one.reply),
        "host": one.host,
    }
