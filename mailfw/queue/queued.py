"""What the queue remembers of one message, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.reply import Reply

_VERSION = 1


class Unreadable(ValueError):
    """What should describe a queued message does not."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """
    A recipient that does not have the message, and why.

    `original` is the address the sender wrote, which an alias led from to `recipient`.
    """

    original: Address
    recipient: Address
    reply: Reply


@dataclass(frozen=True, slots=True)
class Queued:
    """
    One message in the queue.

    `waiting` is to be tried again at `due`; `failed` will never have it, and their report is still owed.
    `arrived` and `due` are in seconds since the epoch; ``envelope.recipients`` means nothing here.
    """

    envelope: Envelope
    arrived: float
    due: float
    attempts: int = 1
    junk: bool = False
    waiting: tuple[Undelivered, ...] = ()
    failed: tuple[Undelivered, ...] = ()

    @property
    def id(self) -> str:
        """The message's name in the queue: its envelope's."""
        return self.envelope.id

    @property
    def wake(self) -> float:
        """When something is to be done: a report is owed at once."""
        return self.arrived if self.failed else self.due

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.failed)

    def next_envelope(self) -> Envelope:
        """Return the envelope of the next attempt."""
        recipients = tuple(dict.fromkeys(one.recipient for one in self.waiting))
        return replace(self.envelope, recipients=recipients)


def encode(queued: Queued) -> bytes:
    """Write a message's state as one line of JSON."""
    envelope = queued.envelope
    state = {
        "version": _VERSION,
        "id": envelope.id,
        "sender": _from_address(envelope.sender),
        "smtputf8": envelope.smtputf8,
        "body": envelope.body,
        "arrived": queued.arrived,
        "due": queued.due,
        "attempts": queued.attempts,
        "junk": queued.junk,
        "waiting": _from_recipients(queued.waiting),
        "failed": _from_recipients(queued.failed),
    }
    return json.dumps(state).encode("ascii") + b"\n"


def decode(octets: bytes) -> Queued:
    """Read what `encode` wrote.  Raises `Unreadable`."""
    try:
        state = json.loads(octets)
        if state["version"] != _VERSION:
            raise Unreadable(f"Written by another version: {state['version']!r}")
        sender = _to_address(state["sender"]) if state["sender"] is not None else None
        return Queued(
            Envelope(str(state["id"]), sender, (), bool(state["smtputf8"]), str(state["body"])),
            float(state["arrived"]),
            float(state["due"]),
            int(state["attempts"]),
            bool(state["junk"]),
            _to_recipients(state["waiting"]),
            _to_recipients(state["failed"]),
        )
    except (KeyError, TypeError, ValueError) as broken:
        raise Unreadable(str(broken)) from broken


def _from_address(address: Address | None) -> list[str] | None:
    return [address.local, address.domain] if address else None


def _to_address(parts: Any) -> Address:
    local, domain = parts
    return Address(str(local), str(domain))


def _from_recipients(recipients: Iterable[Undelivered]) -> list[list[Any]]:
    return [
        [_from_address(one.original), _from_address(one.recipient), one.reply.code, one.reply.status, one.reply.text]
        for one in recipients
    ]


def _to_recipients(entries: Any) -> tuple[Undelivered, ...]:
    return tuple(
        Undelivered(_to_address(original), _to_address(recipient), Reply(int(code), str(status), str(text)))
        for original, recipient, code, status, text in entries
    )
