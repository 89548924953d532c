"""What a message gets on its way in: our trace field, what policies add, and what a submitted one lacks."""

from __future__ import annotations

from mailfw.mail.content import Content, Octets, Prefixed
from mailfw.mail.envelope import Client, Envelope
from mailfw.mail.message import Header, date_time, field, received_field, token
from mailfw.mail.verdict import Modify, Quarantine, Verdict
from mailfw.site import Site


class Tracer:
    """Puts fields before a message, and takes out those that must not go on."""

    def __init__(self, site: Site, software: str) -> None:
        self._site = site
        self._software = software

    def traced(
        self, client: Client, envelope: Envelope, header: Header, whole: Content, verdict: Verdict | None
    ) -> Content:
        """Return the message as it is to be kept: our Received first, then what the policies add."""
        now = self._site.reactor.seconds()
        alone = envelope.recipients[0] if len(envelope.recipients) == 1 else None
        prefix = received_field(client, envelope, alone, self._site.hostname, self._software, now)
        if isinstance(verdict, Modify | Quarantine):
            prefix += b"".join(field(name, value) for name, value in verdict.fields)
        dropped = [b"return-path"]  # RFC 5321 section 4.4: ours will be the only one
        if client.service.takes_new_mail:
            prefix += self._completed(envelope, header, now)
            dropped += [b"bcc", b"resent-bcc"]  # RFC 5322 section 3.6.3: the others must not see them
        start = 0
        if any(name in header for name in dropped):
            prefix += header.without(*dropped)
            start = len(header.octets)
        if isinstance(whole, Octets):
            return Octets(prefix + whole.read_now(start, whole.size))
        return Prefixed(prefix, whole, start)

    def _completed(self, envelope: Envelope, header: Header, now: float) -> bytes:
        """Return the fields a submitted message must have and does not (RFC 6409 section 8)."""
        fields = b""
        if b"date" not in header:
            fields += field("Date", date_time(now))
        if b"message-id" not in header:
            fields += field("Message-ID", f"<{int(now)}.{token(envelope.id)}@{self._site.hostname}>")
        return fields
