"""Lists of addresses, networks and limits as a configuration writes them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from mailfw.mail.address import Address, normalise_domain
from mailfw.mail.verdict import Accept, Refuse, Verdict
from mailfw.network import read_ip

#: Addresses are compared no further than this: RFC 5321 section 4.5.3.1 allows 64 + 1 + 255 octets.
_LONGEST = 320


def network_of(text: str) -> str:
    """
    Return the network that one customer is likely to have: /24 of IPv4, /64 of IPv6.

    What is no IP address is returned as it is.
    """
    address = read_ip(text)
    if address is None:
        return text
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 64), strict=False))


class Addresses:
    """
    Address patterns: ``ann@example.org``, ``@example.org``, ``*@*.example.org``, ``<>`` for the null sender.

    ``*`` stands for any characters.  Case counts nowhere.  Raises `ValueError` for a pattern that could match no
    address.
    """

    def __init__(self, written: Sequence[str]) -> None:
        self._exact: set[str] = set()
        self._domains: set[str] = set()
        globs: list[str] = []
        for pattern in written:
            local, at, domain = pattern.strip().rpartition("@")
            if pattern.strip() in ("<>", "*"):
                globs.append(pattern.strip())
            elif not at or not domain:
                raise ValueError(
                    f"{pattern!r} is no address pattern: write ann@example.org, @example.org or *@*.example"
                )
            elif "*" in pattern:
                globs.append(pattern.strip().lower() if local else f"*{pattern.strip().lower()}")
            elif local:
                self._exact.add(f"{local.lower()}@{normalise_domain(domain)}")
            else:
                self._domains.add(normalise_domain(domain))
        # Python's re has no better way than trying; runs of ``*`` would only make it try the same again.
        globs = [re.sub(r"\*+", "*", glob) for glob in globs]
        self._glob = re.compile("|".join(map(_regular, globs)), re.DOTALL) if globs else None

    def __bool__(self) -> bool:
        return bool(self._exact or self._domains or self._glob)

    def __contains__(self, address: Address | None) -> bool:
        if address is None:
            return self._glob is not None and self._glob.fullmatch("<>") is not None
        if address.domain in self._domains:
            return True
        text = f"{address.local}@{address.domain}".lower()[:_LONGEST]
        return text in self._exact or (self._glob is not None and self._glob.fullmatch(text) is not None)


class AddressLists:
    """Who is allowed and who is refused; who is on both is allowed."""

    def __init__(self, allow: Sequence[str], refuse: Sequence[str], reason: str) -> None:
        self._allowed = Addresses(allow)
        self._refused = Addresses(refuse)
        self._refusal = Refuse(reason, "5.7.1", 550)

    def judge(self, address: Address | None) -> Verdict | None:
        """Look an address up; None is the null sender."""
        if address in self._allowed:
            return Accept()
        return self._refusal if address in self._refused else None


def _regular(glob: str) -> str:
    return "(?:" + ".*".join(re.escape(piece) for piece in glob.split("*")) + ")"
