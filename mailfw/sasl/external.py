"""EXTERNAL (RFC 4422 appendix A): who the client is, its certificate has said already."""

from __future__ import annotations

from mailfw.sasl.credentials import ClientCertificate
from mailfw.sasl.exchange import Challenge, Malformed, Proof, require_utf8


class External:
    """One message: which of the certificate's names to be, or empty."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def next(self, response: bytes | None) -> Challenge | Proof:
        """Read ``[authzid]``."""
        if response is None:
            return Challenge(b"")
        require_utf8(response)
        if b"\0" in response:
            raise Malformed
        return Proof(ClientCertificate(response, self._names))
