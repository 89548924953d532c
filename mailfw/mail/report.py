"""
What a sender is told of a message: RFC 3464 in the multipart/report of RFC 6522.

A report to an address without other alphabets is plain 7-bit mail whatever it tells of, so that it gets wherever the
message came from; only where the sender's own address needs SMTPUTF8 does the report use it (RFC 6533).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute

from mailfw.mail.address import Address, ascii_domain
from mailfw.mail.envelope import NO_OPTIONS, RecipientOptions
from mailfw.mail.message import date_time, field, printable, token
from mailfw.mail.queued import Action, Concluded
from mailfw.mail.reply import Reply
from mailfw.mail.returned import Returned, message_id, return_part
from mailfw.mail.transfer import is_seven_bit, quoted_printable
from mailfw.mail.words import encode_words

#: Octets of a message that goes back whole; RET=FULL asks for no more than we find reasonable (RFC 3461 section 4.3).
WHOLE_LIMIT = 100_000
#: Recipients a report names; the rest are counted, so that a report cannot outgrow what it reports on.
_NAMED = 1000
#: Characters of another server's words, and of one word among them: a line is to hold it whatever its alphabet.
_SAID, _WORD = 500, 200

_LONG_WORD = re.compile(rf"(\S{{{_WORD}}})(?=\S)")
# xchar as it is after decoding: what an envelope id may hold                       RFC 3461 section 4.4
_PRINTABLE = re.compile(r"[ -~]{1,200}")
# atom, as address types are: "rfc822", "utf-8"                                      RFC 3461 section 4.2
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,40}")
# EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"                                     RFC 6533 section 3
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


@dataclass(frozen=True, slots=True)
class Report:
    """
    What is told of one message to its sender; any mix of what became of its recipients.

    `id` names the report and must be unique, `hostname` is who tells; `arrived`, `written` and `retry_until` (when a
    delayed message is given up) are seconds since the epoch.  `options` and `envid` are the envelope's.  `returned`
    is the message from its beginning, all of it if `is_whole`, which `returns_whole` should have said may be.
    """

    id: str
    hostname: str
    sender: Address
    recipients: Sequence[Concluded]
    arrived: float
    written: float
    options: Mapping[Address, RecipientOptions] = attribute(default_factory=dict)
    envid: str = ""
    returned: bytes = b""
    is_whole: bool = False
    retry_until: float | None = None

    @property
    def is_international(self) -> bool:
        """Whether the report's envelope needs SMTPUTF8: the sender's local part does, for a domain has A-labels."""
        return not self.sender.local.isascii()


def returns_whole(returns: str, recipients: Sequence[Concluded], size: int) -> bool:
    """Whether RET asks for the whole message: only ever where it failed (RFC 3461 section 4.3), and not a large one."""
    failed = any(one.action is Action.FAILED for one in recipients)
    return returns == "FULL" and failed and size <= WHOLE_LIMIT


def write_report(report: Report) -> bytes:
    """
    Return the report as a message.

    It is of 7-bit lines unless the message goes back whole and is not.  Raises `FieldRefused` where the sender's
    address cannot be written.
    """
    returned = return_part(report.returned, report.is_whole, report.is_international)
    boundary = f"=_{token(report.id)}"
    while boundary.encode() in report.returned:
        boundary += "_"
    marker = f"--{boundary}".encode()
    parts = (_explanation(report, returned), _status(report), returned.part)
    body = b"".join(marker + b"\r\n" + part + b"\r\n" for part in parts)
    return _header(report, boundary) + b"\r\n" + body + marker + b"--\r\n"


# ---------------------------------------------------------------- the header

#: Subjects, by what became of the recipients; the worst that happened counts.
_SUBJECTS = (
    (Action.FAILED, "Your message could not be delivered"),
    (Action.DELAYED, "Your message is delayed"),
    (Action.EXPANDED, "Your message was sent on to a list"),
    (Action.RELAYED, "Your message was passed on"),
    (Action.DELIVERED, "Your message was delivered"),
)


def _header(report: Report, boundary: str) -> bytes:
    """Write the header of RFC 3464 section 2; Auto-Submitted keeps responders quiet (RFC 3834 section 5)."""
    sender = report.sender if report.is_international else _with_a_labels(report.sender)
    reference = message_id(report.returned)
    fields = [
        field("From", f"Mail Delivery System <mailer-daemon@{report.hostname}>"),
        field("To", f"<{sender}>"),
        field("Subject", _subject(report)),
        field("Date", date_time(report.written)),
        field("Message-ID", f"<{token(report.id)}@{report.hostname}>"),
        field("Auto-Submitted", "auto-replied"),
        field("MIME-Version", "1.0"),
        field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
    ]
    if reference:
        fields[5:5] = [field("In-Reply-To", reference), field("References", reference)]
    return b"".join(fields)


def _subject(report: Report) -> str:
    happened = {one.action for one in report.recipients}
    subject = next((subject for action, subject in _SUBJECTS if action in happened), _SUBJECTS[0][1])
    partly = Action.FAILED in happened and len(happened) > 1
    return f"{subject} to everybody" if partly else subject


def _with_a_labels(address: Address) -> Address:
    """Write a domain as every server knows it; one that cannot be stays."""
    try:
        return Address(address.local, ascii_domain(address.domain))
    except ValueError:
        return address


# ---------------------------------------------------------------- the part for people

#: What is said of recipients, before their names and after them.
_MEANINGS: Mapping[Action, tuple[str, str]] = {
    Action.FAILED: ("could not be delivered to:", "For them the message will not be tried again."),
    Action.DELAYED: ("could not be delivered yet to:", "You need do nothing."),
    Action.DELIVERED: ("was delivered to:", ""),
    Action.RELAYED: (
        "was passed on for:",
        "The server that took it does not tell us what becomes of it, so this is the last that you hear of it.",
    ),
    Action.EXPANDED: ("was sent on to what stands behind:", "Nothing more is reported of that."),
}


def _explanation(report: Report, returned: Returned) -> bytes:
    lines = [f"This is the mail server {report.hostname}.", ""]
    lines += [f"Your message of {date_time(report.arrived)}", ""]
    for action, (before, after) in _MEANINGS.items():
        concerned = [one for one in report.recipients[:_NAMED] if one.action is action]
        if not concerned:
            continue
        lines += [before, ""]
        for one in concerned:
            lines += [f"  {printable(str(one.original))}", *(f"    {said}" for said in _reason(one))]
        lines += ["", f"{after}{_until(report) if action is Action.DELAYED else ''}".strip(), ""]
    if len(report.recipients) > _NAMED:
        lines += [f"and {len(report.recipients) - _NAMED} more recipients are not named here.", ""]
    lines += [returned.sentence, ""]
    return _text("text/plain; charset=utf-8", "\r\n".join(lines).encode("utf-8"))


def _reason(one: Concluded) -> Iterator[str]:
    if one.action in (Action.FAILED, Action.DELAYED):
        if one.host:
            yield f"The server {printable(one.host, 255)} said:"
        yield _say(one.reply)


def _until(report: Report) -> str:
    if report.retry_until is None:
        return "  It will be tried again."
    return f"  It will be tried again until {date_time(report.retry_until)}; if that fails you will be told."


# ---------------------------------------------------------------- the part for machines


def _status(report: Report) -> bytes:
    """Write message/delivery-status of RFC 3464 section 2.1, or its form with other alphabets (RFC 6533 section 4)."""
    international = report.is_international
    groups = [_about_message(report)]
    groups += [_about_recipient(report, one, international) for one in report.recipients[:_NAMED]]
    octets = b"\r\n".join(groups)
    name = "message/delivery-status" if octets.isascii() else "message/global-delivery-status"
    encoding = "7bit" if octets.isascii() else "8bit"
    return field("Content-Type", name) + field("Content-Transfer-Encoding", encoding) + b"\r\n" + octets


def _about_message(report: Report) -> bytes:
    """per-message-fields of RFC 3464 section 2.2; the envelope id is decoded there already, as it asks."""
    fields = [
        field("Reporting-MTA", f"dns; {report.hostname}"),
        field("Arrival-Date", date_time(report.arrived)),
    ]
    if _PRINTABLE.fullmatch(report.envid):
        fields.insert(0, field("Original-Envelope-Id", report.envid))
    return b"".join(fields)


def _about_recipient(report: Report, one: Concluded, international: bool) -> bytes:
    """
    per-recipient-fields of RFC 3464 section 2.3.

    The final recipient is the address that the sender knows: where an alias leads is not the sender's business
    (RFC 3464 section 4.2).
    """
    fields = []
    original = report.options.get(one.original, NO_OPTIONS).original
    if original is not None and _ATOM.fullmatch(original[0]):
        fields.append(field("Original-Recipient", _typed(*original, international)))
    fields.append(field("Final-Recipient", _recipient(one.original, international)))
    fields.append(field("Action", one.action.value))
    fields.append(field("Status", _status_code(one)))
    if one.host and not one.host.startswith("/"):
        fields.append(field("Remote-MTA", f"dns; {token(one.host, international)}"))
    # RFC 3464 section 2.3.6: "smtp" is what an SMTP server said; what we decided ourselves is not of that kind
    kind = "smtp" if one.host else "x-mailfw"
    said = _say(one.reply)
    fields.append(field("Diagnostic-Code", f"{kind}; {said if international else encode_words(said)}"))
    if one.when:
        fields.append(field("Last-Attempt-Date", date_time(one.when)))
    if one.action is Action.DELAYED and report.retry_until is not None:
        fields.append(field("Will-Retry-Until", date_time(report.retry_until)))
    return b"".join(fields)


#: The class of status that goes with an action (RFC 3464 section 2.3.4); a failure keeps a 4, which says that later the
#: same message may get through (RFC 3463 section 2).
_CLASSES = {
    Action.FAILED: "54",
    Action.DELAYED: "4",
    Action.DELIVERED: "2",
    Action.RELAYED: "2",
    Action.EXPANDED: "2",
}
# status-code = DIGIT "." 1*3DIGIT "." 1*3DIGIT                                      RFC 3464 section 2.3.4
_STATUS = re.compile(r"[245](\.[0-9]{1,3}\.[0-9]{1,3})")


def _status_code(one: Concluded) -> str:
    classes = _CLASSES[one.action]
    match = _STATUS.fullmatch(one.reply.status)
    if match is None:
        basic = str(one.reply.code)[:1]
        return f"{basic if basic in classes else classes[0]}.0.0"
    return one.reply.status if match[0][0] in classes else classes[0] + match[1]


def _recipient(address: Address, international: bool) -> str:
    """Write an address with its type; one of another alphabet as RFC 6533 section 3 does, in 7 bits if need be."""
    if address.is_ascii:
        return f"rfc822; {printable(str(address))}"
    if not international and (plain := _with_a_labels(address)).is_ascii:
        return f"rfc822; {printable(str(plain))}"
    return _typed("utf-8", str(address), international)


def _typed(kind: str, address: str, international: bool) -> str:
    """Write an ORCPT value: for type utf-8 embedded characters become real ones where the report may have them."""
    if kind.lower() != "utf-8" and address.isascii():
        return f"{kind}; {printable(address)}"
    plain = printable(_EMBEDDED.sub(_unembed, address))
    return f"utf-8; {plain if international else _NOT_QCHAR.sub(_embed, plain)}"


def _embed(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):02X}}}"


def _unembed(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else match[0]


# ---------------------------------------------------------------- both


def _say(reply: Reply) -> str:
    """Return a reply on one line that can be folded."""
    said = " ".join(part for part in (str(reply.code), reply.status, *reply.text.split("\n")) if part)
    return _LONG_WORD.sub(r"\1 ", printable(said, _SAID)).strip()


def _text(content_type: str, text: bytes) -> bytes:
    """Write a part of text in 7 bits."""
    encoding, body = ("7bit", text) if is_seven_bit(text) else ("quoted-printable", quoted_printable(text))
    return field("Content-Type", content_type) + field("Content-Transfer-Encoding", encoding) + b"\r\n" + body
