"""The report that a message could not be delivered: RFC 3464 in the multipart/report of RFC 6522."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailfw.mail.address import Address
from mailfw.mail.message import date_time, field, printable
from mailfw.mail.reply import Reply

#: Octets of the message's header that go back with the report (Postfix's bounce_size_limit is 50000).
_RETURNED = 50_000
#: Recipients a report names; the rest are counted, so that a report cannot outgrow what it reports on.
_NAMED = 1000


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """One recipient that will not get the message, as the sender wrote it, and why."""

    recipient: Address
    reply: Reply


@dataclass(frozen=True, slots=True)
class Report:
    """
    What the sender of a message is told.

    `hostname` is who tells, `arrived` and `written` are seconds since the epoch, `header` is the beginning of
    the message that was not delivered, and `id` names the report: it must be unique.
    """

    id: str
    hostname: str
    sender: Address
    recipients: Sequence[Undeliverable]
    arrived: float
    written: float
    header: bytes

    @property
    def is_international(self) -> bool:
        """Whether addresses need RFC 6531 and the report RFC 6533."""
        return not all(address.is_ascii for address in (self.sender, *(one.recipient for one in self.recipients)))


def write_report(report: Report) -> bytes:
    """Return the report as a message.  Raises `FieldRefused` where an address cannot be written."""
    boundary = f"=_{report.id}"
    parts = (_explanation(report), _status(report), _returned(report))
    marker = f"--{boundary}".encode()
    body = b"".join(marker + b"\r\n" + part + b"\r\n" for part in parts)
    return _header(report, boundary) + b"\r\n" + body + marker + b"--\r\n"


def _header(report: Report, boundary: str) -> bytes:
    """Write the header of RFC 3464 section 2; Auto-Submitted keeps responders quiet (RFC 3834 section 5)."""
    return b"".join(
        (
            field("From", f"Mail Delivery System <mailer-daemon@{report.hostname}>"),
            field("To", f"<{report.sender}>"),
            field("Subject", "Your message could not be delivered"),
            field("Date", date_time(report.written)),
            field("Message-ID", f"<{report.id}@{report.hostname}>"),
            field("Auto-Submitted", "auto-replied"),
            field("MIME-Version", "1.0"),
            field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
        )
    )


def _explanation(report: Report) -> bytes:
    """Write the part for people."""
    lines = [
        f"This is the mail server {report.hostname}.",
        "",
        "Your message could not be delivered to:",
        "",
    ]
    for one in report.recipients[:_NAMED]:
        lines += [f"  {printable(str(one.recipient))}", f"    {_say(one.reply)}"]
    if len(report.recipients) > _NAMED:
        lines.append(f"  and {len(report.recipients) - _NAMED} more")
    lines += ["", "The message will not be tried again.  Its header is attached.", ""]
    return _part("text/plain; charset=utf-8", "\r\n".join(lines).encode("utf-8"))


def _status(report: Report) -> bytes:
    """Write message/delivery-status of RFC 3464 section 2.1, or its international form of RFC 6533 section 4."""
    kind = "utf-8" if report.is_international else "rfc822"
    groups = [
        field("Reporting-MTA", f"dns; {report.hostname}") + field("Arrival-Date", date_time(report.arrived)),
    ]
    groups += [
        b"".join(
            (
                field("Final-Recipient", f"{kind}; {one.recipient}"),
                field("Action", "failed"),
                field("Status", _permanent(one.reply)),
                field("Diagnostic-Code", f"smtp; {_say(one.reply)}"),
            )
        )
        for one in report.recipients[:_NAMED]
    ]
    name = "message/global-delivery-status" if report.is_international else "message/delivery-status"
    return _part(name, b"\r\n".join(groups))


def _returned(report: Report) -> bytes:
    """Write the header of the message: text/rfc822-headers of RFC 6522 section 4, or RFC 6533 section 5's."""
    header = report.header
    if len(header) > _RETURNED:
        header = b"".join(header[:_RETURNED].rpartition(b"\r\n")[:2])
    header = header.replace(b"\0", b"?")
    try:
        name = "text/rfc822-headers" if header.decode("utf-8").isascii() else "message/global-headers"
    except UnicodeDecodeError:
        name = "text/rfc822-headers"
        header = header.decode("ascii", "replace").replace("�", "?").encode("ascii")
    return _part(name, header)


def _part(content_type: str, body: bytes) -> bytes:
    """Write one part; RFC 2045 section 2.8 has no way to write long lines or 8-bit text as 7bit."""
    encoding = "7bit" if body.isascii() else "8bit"
    return field("Content-Type", content_type) + field("Content-Transfer-Encoding", encoding) + b"\r\n" + body


def _say(reply: Reply) -> str:
    """Return a reply on one line."""
    return printable(" ".join(part for part in (str(reply.code), reply.status, *reply.text.split("\n")) if part), 500)


def _permanent(reply: Reply) -> str:
    """Return the status that goes with ``Action: failed``: of class 5 (RFC 3464 section 2.3.4, RFC 3463 section 2)."""
    return "5" + reply.status[1:] if reply.status[1:2] == "." else "5.0.0"
