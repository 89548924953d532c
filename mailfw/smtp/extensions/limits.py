"""LIMITS: what one transaction and one connection may have (RFC 9422)."""

from __future__ import annotations

from mailfw.smtp.extensions.extension import Extension, Offer


def _line(offer: Offer) -> str:
    settings = offer.settings
    line = f"LIMITS RCPTMAX={settings.max_recipients}"
    return f"{line} MAILMAX={settings.max_messages}" if settings.max_messages else line


LIMITS = Extension(_line)
