"""The mail exchangers of a domain and their addresses (RFC 5321 section 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import gatherResults

from mailfw.interfaces import IResolver
from mailfw.mail.lookup import MX, Answer, Finding
from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.routing.names import interleave, ip_text

#: Exchangers of one domain that are looked at, the most preferred.
_MOST_EXCHANGERS = 20
#: Addresses of one exchanger that are used.
_MOST_ADDRESSES = 6


@dataclass(frozen=True, slots=True)
class Exchanger:
    """
    One host that takes mail for a domain.

    `canonical` is where CNAMEs of its name lead.  `secure` says that its addresses are validated.  Without addresses,
    `why` says why; `failed` that this may pass.
    """

    host: str
    preference: int
    addresses: tuple[str, ...] = ()
    canonical: str = ""
    secure: bool = False
    failed: bool = False
    why: str = ""


def preferred(domain: str, answer: Answer[MX], random: Random) -> list[MX] | Deferred | Failed:
    """
    Return whom to try, in order: by preference, and by chance among equals.

    A domain without MX records is its own exchanger; `domain` is in A-labels.
    """
    if answer.finding is Finding.FAILED:
        reason = f"The mail exchangers of {domain} cannot be looked up: {answer.why}"
        return Deferred(Reply(451, "4.4.3", reason), unreachable=True)
    if answer.finding is Finding.NO_NAME:
        return Failed(Reply(550, "5.1.2", f"There is no domain {domain}"))
    if answer.finding is Finding.NO_DATA:
        return [MX(0, domain)]
    hosts = [each for each in answer.records if each.host]
    if not hosts:
        # RFC 7505 section 4.2; a Null MX beside others means nothing (section 3).
        return Failed(Reply(556, "5.1.10", f"{domain} takes no mail"))
    by_chance = sorted(hosts, key=lambda each: (each.preference, random.random()))
    unique = {each.host: each for each in reversed(by_chance)}
    return [each for each in by_chance if unique[each.host] is each][:_MOST_EXCHANGERS]


async def with_addresses(resolver: IResolver, exchangers: Sequence[MX]) -> list[Exchanger]:
    """Look all of them up at once; the order stays."""
    looking = [Later.fromCoroutine(_with_addresses(resolver, each)) for each in exchangers]
    return list(await gatherResults(looking, consumeErrors=True))


async def _with_addresses(resolver: IResolver, exchanger: MX) -> Exchanger:
    host, preference = exchanger.host, exchanger.preference
    if ip_text(host) is not None:
        return Exchanger(host, preference, why="it is an address, and not a name")
    looking = [Later.fromCoroutine(resolver.look_up(host, kind)) for kind in ("AAAA", "A")]
    v6, v4 = await gatherResults(looking, consumeErrors=True)
    addresses = tuple(interleave([*v6.records, *v4.records])[:_MOST_ADDRESSES])
    failed = not addresses and Finding.FAILED in (v6.finding, v4.finding)
    canonical = next((each.name for each in (v4, v6) if each.finding is Finding.FOUND), host)
    # A family whose look-up failed is missing, and what is left is no less secure.
    secure = all(each.secure for each in (v6, v4) if each.finding is Finding.FOUND)
    return Exchanger(host, preference, addresses, canonical, secure and bool(addresses), failed, _why(v6, v4))


def _why(v6: Answer[Any], v4: Answer[Any]) -> str:
    for each in (v4, v6):
        if each.finding is Finding.FAILED:
            return each.why or "no answer"
    return "there is no such name" if Finding.NO_NAME in (v4.finding, v6.finding) else "it has no address"
