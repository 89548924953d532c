"""``mailfw explain``: where mail for an address would go, and why."""

from __future__ import annotations

import argparse
from typing import Any

from mailfw.commands.connection import in_reactor
from mailfw.commands.refusal import CommandRefused
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices, read
from mailfw.mail.address import Address
from mailfw.mail.route import Unroutable
from mailfw.routing.explain import explain
from mailfw.routing.hops import hops_for
from mailfw.routing.router import TableRouter
from mailfw.service.judges import Judges, make_judges, site_of
from mailfw.service.post import hop_settings
from mailfw.smtp.grammar import parse_vrfy
from mailfw.smtp.replies import Rejected


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("explain", help="print every step of routing for an address; nothing is sent")
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--sender", metavar="ADDRESS", help="whom the message would be from")
    parser.add_argument("--require-tls", action="store_true", help="as for a message with REQUIRETLS")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the steps; the name servers are asked as for a delivery."""
    _, configuration, choices = read(given.config, given.settings)
    recipient = _address(given.address, configuration)
    sender = _address(given.sender, configuration) if given.sender not in (None, "", "<>") else None

    async def work(reactor: Any) -> None:
        for line in await _steps(configuration, choices, reactor, recipient, sender, given.require_tls):
            print(line)

    in_reactor(work)
    return 0


async def _steps(
    configuration: Configuration,
    choices: Choices,
    reactor: Any,
    recipient: Address,
    sender: Address | None,
    require_tls: bool,
) -> list[str]:
    site = site_of(configuration, reactor)
    judges = make_judges(configuration, choices, site)
    if not isinstance(judges.router, TableRouter):
        return await _of_plugin(judges, recipient, sender)
    resolver = choices.resolver.make(site=site)
    hops = hops_for(site=site, resolver=resolver, settings=hop_settings(configuration), logins=judges.table.logins)
    return await explain(judges.directory, judges.router, hops, recipient, sender, require_tls)


async def _of_plugin(judges: Judges, recipient: Address, sender: Address | None) -> list[str]:
    """Say what a router of the site's own answers; it has no reasons to tell."""
    way = await judges.router.route(sender, recipient)
    if isinstance(way, Unroutable):
        return [f"{recipient}: refused, {way.reply.code} {way.reply.status} {way.reply.text}"]
    return [f"{recipient}: route {way}"]


def _address(text: str, configuration: Configuration) -> Address:
    try:
        address = parse_vrfy(text if "@" in text else f"{text}@{configuration.domains[0]}")
    except Rejected:
        address = None
    if address is None:
        raise CommandRefused(f"not an address: {text}")
    return address
