"""Asking the parts of a server that know the way, without a server."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Question:
    """Where mail from `sender` for `recipient` would go."""

    configuration: Configuration
    choices: Choices
    recipient: Address
    sender: Address | None
    require_tls: bool

    @classmethod
    def read(cls, given: argparse.Namespace) -> Question:
        """Read it from the command line.  Raises `CommandRefused`."""
        _, configuration, choices = read(given.config, given.settings)
        sender = _address(given.sender, configuration) if given.sender not in (None, "", "<>") else None
        return cls(configuration, choices, _address(given.address, configuration), sender, given.require_tls)

    async def answer(self, reactor: Any) -> list[str]:
        """Return every step, a line each."""
        site = site_of(self.configuration, reactor)
        judges = make_judges(self.configuration, self.choices, site)
        if not isinstance(judges.router, TableRouter):
            return await self._of_plugin(judges)
        resolver = self.choices.resolver.make(site=site)
        settings, logins = hop_settings(self.configuration), judges.table.logins
        hops = hops_for(site=site, resolver=resolver, settings=settings, logins=logins)
        return await explain(judges.directory, judges.router, hops, self.recipient, self.sender, self.require_tls)

    async def _of_plugin(self, judges: Judges) -> list[str]:
        """Say what a router of the site's own answers; it has no reasons to tell."""
        way = await judges.router.route(self.sender, self.recipient)
        if isinstance(way, Unroutable):
            return [f"{self.recipient}: refused, {way.reply.code} {way.reply.status} {way.reply.text}"]
        return [f"{self.recipient}: route {way}"]


def _address(text: str, configuration: Configuration) -> Address:
    try:
        address = parse_vrfy(text if "@" in text else f"{text}@{configuration.domains[0]}")
    except Rejected:
        address = None
    if address is None:
        raise CommandRefused(f"not an address: {text}")
    return address
