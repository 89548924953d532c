"""The answer of a mail server: basic code, enhanced status code and text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reply:
    """
    One SMTP reply.  `status` is the enhanced code of RFC 3463 without which a reply may be sent (``""``).

    `text` may hold several lines, separated by newlines.
    """

    code: int
    status: str
    text: str

    def encode(self) -> bytes:
        """Reply-line of RFC 5321 section 4.2, the status on every line (RFC 2034 section 4)."""
        status = f"{self.status} " if self.status else ""
        lines = self.text.split("\n")
        encoded = [f"{self.code}-{status}{line}\r\n" for line in lines[:-1]]
        encoded.append(f"{self.code} {status}{lines[-1]}\r\n")
        return "".join(encoded).encode("utf-8")

    @property
    def is_positive(self) -> bool:
        """2yz or 3yz."""
        return self.code < 400
