"""What the queue knows of one message, and how it is written down."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mailfw.mail.address import Address
from mailfw.mail.envelope import DeliverBy, Envelope, Notify, RecipientOptions
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route

_VERSION = 2


class Unreadable(ValueError):
    """What should describe a queued message does not."""


@dataclass(frozen=True, slots=True)
class Pending:
    """
    A recipient that does not have the message yet.

    `original` is the envelope's address, which aliases led from to `address`; `reply` and `host` are the last answer
    and who gave it.
    """

    original: Address
    address: Address
    reply: Reply | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class Leg:
    """The recipients of one message that go the same way, and when that is tried next (seconds since the epoch)."""

    route: Route
    recipients: tuple[Pending, ...]
    due: float
    attempts: int = 0


class Action(enum.Enum):
    """What a report says became of a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Concluded:
    """What became of a recipient, where somebody is still owed a report of it; `when` is seconds since the epoch."""

    original: Address
    address: Address
    action: Action
    reply: Reply
    host: str = ""
    when: float = 0.0


@dataclass(frozen=True, slots=True)
class Queued:
    """
    One message in the queue.

    ``envelope.recipients`` are as the client named them; who does not have it yet is in `legs`.  `owed` waits to be
    reported.  `account` submitted it (``""``: nobody logged in) from the address `client`.  `held` is why nothing may
    be done with it until somebody says so, ``""`` for a message that is not held.  `size` is in octets.
    """

    envelope: Envelope
    arrived: float
    legs: tuple[Leg, ...] = ()
    owed: tuple[Concluded, ...] = ()
    size: int = 0
    account: str = ""
    client: str = ""
    junk: bool = False
    held: str = ""
    warned: bool = False

    @property
    def id(self) -> str:
        """The message's name in the queue: its envelope's."""
        return self.envelope.id

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.legs or self.owed)

    @property
    def due(self) -> float | None:
        """When something is to be done: at once (0) where a report is owed, None while it is held."""
        if self.held or self.is_done:
            return None
        return 0.0 if self.owed else min(leg.due for leg in self.legs)


# ---------------------------------------------------------------- as octets


def encode(queued: Queued) -> bytes:
    """Write a message's state as one line of JSON, without its final line end; what has its default is left out."""
    envelope = queued.envelope
    state: dict[str, Any] = {
        "v": _VERSION,
        "id": envelope.id,
        "from": _from_address(envelope.sender),
        "to": [_from_address(each) for each in envelope.recipients],
        "arrived": queued.arrived,
        "size": queued.size,
        "legs": [_from_leg(leg) for leg in queued.legs],
    }
    rare = (
        ("utf8", envelope.smtputf8),
        ("body", "" if envelope.body == "7BIT" else envelope.body),
        ("ret", envelope.returns),
        ("envid", envelope.envid),
        ("rcpt", _from_options(envelope.options)),
        ("tls", envelope.require_tls),
        ("notls", envelope.tls_optional),
        ("priority", envelope.priority),
        ("release", envelope.release),
        ("by", [envelope.by.deadline, envelope.by.returns, envelope.by.trace] if envelope.by else None),
        ("solicit", envelope.solicitation),
        ("auth", envelope.submitter),
        ("owed", [_from_concluded(one) for one in queued.owed]),
        ("account", queued.account),
        ("client", queued.client),
        ("junk", queued.junk),
        ("held", queued.held),
        ("warned", queued.warned),
    )
    state.update((key, value) for key, value in rare if value)
    return json.dumps(state, separators=(",", ":")).encode("ascii")


def decode(octets: bytes) -> Queued:
    """Read what `encode` wrote.  Raises `Unreadable`."""
    try:
        state = json.loads(octets)
        if state["v"] != _VERSION:
            raise Unreadable(f"Written by another version: {state['v']!r}")
        return Queued(
            _to_envelope(state),
            float(state["arrived"]),
            tuple(_to_leg(each) for each in state["legs"]),
            tuple(_to_concluded(each) for each in state.get("owed", ())),
            int(state["size"]),
            str(state.get("account", "")),
            str(state.get("client", "")),
            bool(state.get("junk")),
            str(state.get("held", "")),
            bool(state.get("warned")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as broken:
        raise Unreadable(str(broken)) from broken


def _to_envelope(state: Mapping[str, Any]) -> Envelope:
    by = state.get("by")
    return Envelope(
        str(state["id"]),
        _to_address(state["from"]) if state["from"] is not None else None,
        tuple(_to_address(each) for each in state["to"]),
        bool(state.get("utf8")),
        str(state.get("body", "7BIT")),
        str(state.get("ret", "")),
        str(state.get("envid", "")),
        _to_options(state.get("rcpt", ())),
        bool(state.get("tls")),
        int(state.get("priority", 0)),
        float(state.get("release", 0.0)),
        DeliverBy(float(by[0]), bool(by[1]), bool(by[2])) if by else None,
        str(state.get("solicit", "")),
        str(state.get("auth", "")),
        bool(state.get("notls")),
    )


def _from_address(address: Address | None) -> list[str] | None:
    return [address.local, address.domain] if address else None


def _to_address(parts: Any) -> Address:
    local, domain = parts
    return Address(str(local), str(domain))


def _from_reply(reply: Reply | None) -> list[Any] | None:
    return [reply.code, reply.status, reply.text] if reply else None


def _to_reply(parts: Any) -> Reply:
    code, status, text = parts
    return Reply(int(code), str(status), str(text))


def _from_options(options: Mapping[Address, RecipientOptions]) -> list[list[Any]]:
    return [
        [_from_address(each), None if said.notify is None else said.notify.value, said.original]
        for each, said in options.items()
    ]


def _to_options(entries: Iterable[Any]) -> dict[Address, RecipientOptions]:
    return {
        _to_address(address): RecipientOptions(
            None if notify is None else Notify(notify), (str(original[0]), str(original[1])) if original else None
        )
        for address, notify, original in entries
    }


def _from_leg(leg: Leg) -> list[Any]:
    recipients = [
        [_from_address(one.original), _from_address(one.address), _from_reply(one.reply), one.host]
        for one in leg.recipients
    ]
    return [leg.route.courier, leg.route.destination, leg.due, leg.attempts, recipients]


def _to_leg(parts: Any) -> Leg:
    courier, destination, due, attempts, recipients = parts
    return Leg(
        Route(str(courier), str(destination)),
        tuple(
            Pending(_to_address(original), _to_address(address), _to_reply(reply) if reply else None, str(host))
            for original, address, reply, host in recipients
        ),
        float(due),
        int(attempts),
    )


def _from_concluded(one: Concluded) -> list[Any]:
    addresses = [_from_address(one.original), _from_address(one.address)]
    return [*addresses, one.action.value, _from_reply(one.reply), one.host, one.when]


def _to_concluded(parts: Any) -> Concluded:
    original, address, action, reply, host, when = parts
    return Concluded(
        _to_address(original), _to_address(address), Action(action), _to_reply(reply), str(host), float(when)
    )
