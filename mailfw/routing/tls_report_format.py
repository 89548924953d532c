"""TLS reports as octets, and the records that ask for them (RFC 8460)."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from typing import Any

#: Addresses of one domain that a report is sent to.
_MOST_URIS = 3
_LONGEST_URI = 500

# tlsrpt-record = tlsrpt-version 1*(field-delim tlsrpt-field) [field-delim]      RFC 8460 section 3
_RECORD = re.compile(rb"v=TLSRPTv1[ \t]*;")
# tlsrpt-uri = URI, with "!", "," and ";" escaped; of mailto: no header fields, of https: what can be a request
_MAILTO = re.compile(r"mailto:[A-Za-z0-9.!#$%&'*+/=^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_HTTPS = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?")


@dataclass(frozen=True, slots=True)
class Report:
    """What one domain is told of one day (UTC); `policies` are as in RFC 8460 section 4.4."""

    domain: str
    hostname: str
    contact: str
    day: date
    id: str
    policies: list[dict[str, Any]]

    @property
    def begin(self) -> datetime:
        """When the day began."""
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """Its last second."""
        return self.begin + timedelta(days=1, seconds=-1)


def read_rua(records: Iterable[bytes]) -> list[str]:
    """Return where reports are wanted, of the TXT records of ``_smtp._tls.``; nothing unless exactly one is right."""
    candidates = [record for record in records if _RECORD.match(record)]
    if len(candidates) != 1:
        return []
    for field in candidates[0].split(b";")[1:]:
        name, equals, value = field.strip(b" \t").partition(b"=")
        if name == b"rua" and equals:
            return _uris(value.decode("ascii", "replace"))
    return []


def _uris(value: str) -> list[str]:
    written = [uri.strip(" \t") for uri in value.split(",")]
    usable = [uri for uri in written if len(uri) <= _LONGEST_URI and (_MAILTO.fullmatch(uri) or _HTTPS.fullmatch(uri))]
    return list(dict.fromkeys(usable))[:_MOST_URIS]


def as_json(report: Report) -> bytes:
    """Write the report as RFC 8460 section 4.4 has it."""
    content = {
        "organization-name": report.hostname,
        "date-range": {
            "start-datetime": report.begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end-datetime": report.end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "contact-info": report.contact,
        "report-id": f"{report.id}@{report.hostname}",
        "policies": report.policies,
    }
    return json.dumps(content, indent=1).encode("ascii")


def compress(octets: bytes) -> bytes:
    """RFC 8460 section 5.2: gzip."""
    return gzip.compress(octets, mtime=0)


def file_name(report: Report) -> str:
    """Return the attachment's name, RFC 8460 section 5.1."""
    # filename = sender "!" policy-domain "!" begin-timestamp "!" end-timestamp ["!" unique-id] "." extension
    begin, end = int(report.begin.timestamp()), int(report.end.timestamp())
    return f"{report.hostname}!{report.domain}!{begin}!{end}!{report.id}.json.gz"


def as_message(report: Report, compressed: bytes, recipient: str, now: datetime) -> bytes:
    """
    Write the report as a message (RFC 8460 section 5.3), with CRLF line ends.

    It goes out whether TLS works or not, since it may be about that: ``TLS-Required: No`` (RFC 8689 section 5).
    """
    boundary = f"=_{report.id}"
    name = file_name(report)
    encoded = base64.encodebytes(compressed).decode("ascii").splitlines()
    lines = [
        f"Date: {format_datetime(now)}",
        f"From: <noreply@{report.hostname}>",
        f"To: <{recipient}>",
        f"Subject: Report Domain: {report.domain}",
        f" Submitter: {report.hostname}",
        f" Report-ID: <{report.id}@{report.hostname}>",
        f"Message-ID: <{report.id}@{report.hostname}>",
        "Auto-Submitted: auto-generated",
        f"TLS-Report-Domain: {report.domain}",
        f"TLS-Report-Submitter: {report.hostname}",
        "TLS-Required: No",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "This is how TLS went when this server sent mail",
        f"to {report.domain}",
        f"on {report.day.isoformat()} (UTC), as RFC 8460 describes it.",
        f"Questions: {report.contact}",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f' filename="{name}"',
        "",
        *encoded,
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("utf-8")
