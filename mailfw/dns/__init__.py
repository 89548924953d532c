"""Asking the DNS: a stub resolver over our own transports, with dnspython as the codec."""

from __future__ import annotations

from mailfw.dns.resolver import StubResolver

__all__ = ["StubResolver", "stub"]

#: What the plug-in "stub" is made by.
stub = StubResolver
