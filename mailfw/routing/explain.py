"""Telling where mail for an address would go, and why, without sending any."""

from __future__ import annotations

from mailfw.interfaces import IDirectory
from mailfw.mail.address import Address
from mailfw.mail.destination import is_destination
from mailfw.mail.hop import Hop
from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.resolution import Expansion, LocalAccount, NoSuchRecipient, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.routing.hops import HopFinder
from mailfw.routing.router import TableRouter
from mailfw.routing.search import describe
from mailfw.routing.table import LMTP, RELAY

#: Targets of one alias that are told of.
_MOST_TARGETS = 20


async def explain(
    directory: IDirectory,
    router: TableRouter,
    hops: HopFinder,
    address: Address,
    sender: Address | None = None,
    require_tls: bool = False,
) -> list[str]:
    """
    Return every step of routing as a line of text; what follows from a line is indented below it.

    Asks the DNS and fetches policies, as a delivery does, and connects to no mail server.  No password is shown.
    """
    resolution = await directory.resolve(address)
    steps = [f"{address}: {_resolved(resolution)}"]
    if isinstance(resolution, NoSuchRecipient):
        decision = await router.decide(sender, address)
        if isinstance(decision.way, Route) and not decision.way.destination:
            return steps  # only a rule gets mail to who is nobody here
    if not isinstance(resolution, Expansion):
        return steps + await _way(router, hops, address, sender, require_tls)
    for target in resolution.targets[:_MOST_TARGETS]:
        steps.append(f"  {target}")
        steps += [f"  {line}" for line in await _way(router, hops, target, sender, require_tls)]
    if len(resolution.targets) > _MOST_TARGETS:
        steps.append(f"  and {len(resolution.targets) - _MOST_TARGETS} more")
    return steps


def _resolved(resolution: Resolution) -> str:
    if isinstance(resolution, LocalAccount):
        detail = f", detail {resolution.detail}" if resolution.detail else ""
        return f"the account {resolution.account}{detail}"
    if isinstance(resolution, Expansion):
        return f"an alias for {len(resolution.targets)}"
    return "our domain, where nobody has this address" if isinstance(resolution, NoSuchRecipient) else "not ours"


async def _way(
    router: TableRouter, hops: HopFinder, address: Address, sender: Address | None, require_tls: bool
) -> list[str]:
    decision = await router.decide(sender, address)
    if isinstance(decision.way, Unroutable):
        reply = decision.way.reply
        return [f"  refused, {reply.code} {reply.status} {reply.text} ({decision.why})"]
    steps = [f"  route {decision.way} ({decision.why})"]
    if decision.way.courier in (RELAY, LMTP):
        steps += await _hops(hops, decision.way, require_tls)
    return steps


async def _hops(hops: HopFinder, route: Route, require_tls: bool) -> list[str]:
    steps: list[str] = []
    found = await hops.explain(route.destination, require_tls, lambda step: steps.append(f"    {step}"))
    if isinstance(found, Deferred | Failed):
        kind = "deferred" if isinstance(found, Deferred) else "failed"
        return [*steps, f"    {kind}, {found.reply.code} {found.reply.status} {found.reply.text}"]
    steps.append("    would be tried in this order:")
    return steps + [f"      {_hop(hop, is_destination(route.destination))}" for hop in found]


def _hop(hop: Hop, is_fixed: bool) -> str:
    if hop.address.startswith("/"):
        return f"the socket {hop.address}"
    address = f"[{hop.address}]" if ":" in hop.address else hop.address
    login = f", logging in as {hop.login.user}" if hop.login else ""
    what = f"; {describe(hop.tls)}" if is_fixed else ""
    return f"{hop.host} {address}:{hop.port}{what}{login}"
