"""STARTTLS (RFC 3207)."""

from __future__ import annotations

from mailfw.smtp.extensions.extension import Extension, Offer, word


def _available(offer: Offer) -> bool:
    return offer.settings.tls is not None and not offer.secure


STARTTLS = Extension(word("STARTTLS"), _available)
