"""What the console commands can ask of a server, or of its queue while it does not run."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from twisted.logger import Logger

from mailfw.commands.language import VERSION
from mailfw.interfaces import IContent, IIntake
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Notify, RecipientOptions, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.message import read_header
from mailfw.mail.outcome import Deferred, Failed
from mailfw.queue.operations import VERBS, Operations, Refused
from mailfw.queue.selection import Selection, say
from mailfw.smtp.grammar import parse_vrfy
from mailfw.smtp.replies import Rejected
from mailfw.smtp.settings import EnvelopeIds

log = Logger()

#: Octets of a message that go into one line of an answer.
_CHUNK = 48 * 1024

Line = dict[str, Any]
Request = Mapping[str, Any]


class Body(Protocol):
    """The message behind a request."""

    async def read_into(self, sink: Callable[[bytes], Awaitable[None]], length: int) -> None:
        """Pass exactly `length` octets on."""


#: What answers one kind of request.
Verb = Callable[[Request, Body], AsyncIterator[Line]]
_NONE: Mapping[str, Verb] = {}


@dataclass(frozen=True, slots=True)
class SubmissionLimits:
    """What one message from the console may be."""

    message_size: int = 100 * 1024 * 1024
    recipients: int = 1000


class Answers:
    """
    Answers one request with any number of lines.

    A request is what JSON makes of it, and is not to be trusted to be right.  A line with ``refused`` says that
    something could not be done; ``temporary`` beside it, that it may be later.  `others` are verbs besides those of
    the queue.
    """

    def __init__(
        self, *, operations: Operations, intake: IIntake, limits: SubmissionLimits, others: Mapping[str, Verb] = _NONE
    ) -> None:
        self._operations = operations
        self._intake = intake
        self._limits = limits
        self._next_id = EnvelopeIds()
        self._verbs: Mapping[str, Verb] = {
            **others,
            "list": self._list,
            "show": self._show,
            "stats": self._statistics,
            "trace": self._trace,
            "send": self._send,
            **dict.fromkeys(VERBS, self._change),
        }

    async def answer(self, request: object, body: Body) -> AsyncIterator[Line]:
        """Do what is asked for; whatever goes wrong becomes a line."""
        try:
            verb, asked = _read(request)
            if verb not in self._verbs:
                raise Refused(f"this server does not know how to {verb!r}")
            async for line in self._verbs[verb](asked, body):
                yield line
        except (Refused, Rejected) as refused:
            said = say(refused.reply) if isinstance(refused, Rejected) else str(refused)
            yield {"refused": said}
        except NoSpace:
            yield {"refused": "the disk is full", "temporary": True}

    # ------------------------------------------------------------ the queue

    async def _list(self, request: Request, body: Body) -> AsyncIterator[Line]:
        async for line in self._operations.describe(_selection(request)):
            yield line

    async def _show(self, request: Request, body: Body) -> AsyncIterator[Line]:
        name, part = _text(request, "id"), _text(request, "part")
        yield await self._operations.show(name)
        if not part:
            return
        content = await self._operations.content(name)
        try:
            if part == "header":
                header = await read_header(content)
                yield {"octets": base64.b64encode(header.octets).decode("ascii")}
            else:
                async for line in _octets(content):
                    yield line
        finally:
            await content.close()

    async def _statistics(self, request: Request, body: Body) -> AsyncIterator[Line]:
        yield await self._operations.statistics()

    async def _trace(self, request: Request, body: Body) -> AsyncIterator[Line]:
        for event in await self._operations.trace(_text(request, "id")):
            yield event

    async def _change(self, request: Request, body: Body) -> AsyncIterator[Line]:
        verb, by, reason = (_text(request, key) for key in ("do", "by", "reason"))
        async for line in self._operations.change(verb, _selection(request), by, reason):
            yield line

    # ------------------------------------------------------------ a message

    async def _send(self, request: Request, body: Body) -> AsyncIterator[Line]:
        """Take a message from a program on this machine; that it may is for whoever lets it ask."""
        size = request.get("size")
        if not isinstance(size, int) or not 0 <= size <= self._limits.message_size:
            raise Refused(f"a message may have {self._limits.message_size} octets")
        envelope = self._envelope(request)
        draft = await self._intake.open_draft(size)
        try:
            await body.read_into(draft.write, size)
            client = Client(Service.LOCAL, "", helo=f"uid={_text(request, 'by')}")
            outcomes = await self._intake.accept(client, envelope, draft)
        finally:
            await draft.close()
        refused = [one for one in outcomes if isinstance(one, Deferred | Failed)]
        for one in refused[:1]:
            yield {"refused": say(one.reply), "temporary": isinstance(one, Deferred)}
        if not refused:
            yield {"id": envelope.id, "done": "accepted"}

    def _envelope(self, request: Request) -> Envelope:
        sender = _text(request, "sender")
        recipients = tuple(dict.fromkeys(_address(each) for each in _texts(request, "recipients")))
        if not 0 < len(recipients) <= self._limits.recipients:
            raise Refused(f"a message may have from 1 to {self._limits.recipients} recipients")
        notify = _notify(_text(request, "notify"))
        options = {each: RecipientOptions(notify) for each in recipients} if notify is not None else {}
        return Envelope(
            self._next_id(),
            _address(sender) if sender else None,
            recipients,
            smtputf8=bool(request.get("smtputf8")),
            body="8BITMIME" if request.get("eight_bit") else "7BIT",
            returns=_text(request, "returns"),
            envid=_text(request, "envid"),
            options=options,
        )


# ---------------------------------------------------------------- reading requests


def _read(request: object) -> tuple[str, Request]:
    if not isinstance(request, dict):
        raise Refused("this is no request of a mailfw command")
    if request.get("mailfw") != VERSION:
        raise Refused(f"the server speaks version {VERSION} of the commands' language; use the command of its release")
    return _text(request, "do"), request


def _text(request: Request, key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise Refused(f"{key} must be text")
    return value


def _texts(request: Request, key: str) -> list[str]:
    values = request.get(key, [])
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise Refused(f"{key} must be a list of texts")
    return values


def _selection(request: Request) -> Selection:
    """Read the messages that are meant; a key that is not known must not widen what is meant."""
    where = request.get("where", {})
    if not isinstance(where, dict) or not where.keys() <= {each.name for each in fields(Selection)}:
        raise Refused("this server does not know all of these filters")
    kinds: dict[str, type | tuple[type, ...]] = {"older": (int, float), "held": bool, "quarantined": bool}
    for key, value in where.items():
        if key != "ids" and not isinstance(value, kinds.get(key, str)):
            raise Refused(f"{key} has no such value")
    return Selection(**{**where, "ids": tuple(_texts(where, "ids"))})


def _address(text: str) -> Address:
    address = parse_vrfy(text)
    if address is None:
        raise Refused(f"not an address: {text!r}")
    return address


def _notify(text: str) -> Notify | None:
    """notify-esmtp-value = "NEVER" / 1#( "SUCCESS" / "FAILURE" / "DELAY" ), RFC 3461 section 4.1."""
    if not text:
        return None
    words = text.upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    if not {*words} <= {"SUCCESS", "FAILURE", "DELAY"}:
        raise Refused(f"not a list of success, failure and delay, nor never: {text!r}")
    notify = Notify.NEVER
    for word in words:
        notify |= Notify[word]
    return notify


async def _octets(content: IContent) -> AsyncIterator[Line]:
    offset = 0
    while octets := await content.read(offset, _CHUNK):
        yield {"octets": base64.b64encode(octets).decode("ascii")}
        offset += len(octets)
