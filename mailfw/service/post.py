"""The queue and all that takes mail to where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from twisted.logger import Logger

from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.couriers.settings import DeliverySettings
from mailfw.interfaces import ICourier, IMailStore, IMessageSource, ISpool
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.outcome import Delivered
from mailfw.patience import within
from mailfw.plugins import PluginRefused, Recipe
from mailfw.queue.bounds import Bounds
from mailfw.queue.history import History
from mailfw.queue.intake import Intake
from mailfw.queue.planning import Planner
from mailfw.queue.rates import read_rates
from mailfw.queue.runner import QueueRunner
from mailfw.queue.schedule import Schedule
from mailfw.routing.hops import HopFinder, hops_for
from mailfw.routing.settings import HopSettings, read_listening
from mailfw.service.judges import Judges
from mailfw.service.prompt import Prompter, PromptResolver
from mailfw.site import Site
from mailfw.smtp.settings import EnvelopeIds
from mailfw.stores.indexed import indexed

log = Logger()

#: Seconds that a courier has to close when the server stops; ours take no more than 20.
CLOSE_WITHIN = 30.0


class NotTaken(Exception):
    """A message of our own was not taken into the queue; the text says why."""


@dataclass(frozen=True, slots=True)
class Post:
    """From taking responsibility for a message to handing it on; what it is made of starts and stops together."""

    spool: ISpool
    history: History
    hops: HopFinder
    couriers: Mapping[str, ICourier]
    queue: QueueRunner
    intake: Intake
    reactor: Any

    async def start(self) -> None:
        """Look what the last process left, then begin to work through it."""
        await self.spool.open()
        await self.hops.start(self.send)
        self.queue.startService()

    async def stop(self) -> None:
        """Finish the attempts under way; what is left stays in the spool."""
        await self.queue.stopService()
        await self.hops.stop()
        for name, courier in self.couriers.items():
            try:
                await within(self.reactor, CLOSE_WITHIN, courier.close())
            except Exception:
                log.failure("The courier {courier} cannot be closed", courier=name)
        await self.history.close()
        await self.spool.close()

    async def etrn(self, domain: str) -> bool:
        """Have what waits for a domain tried now; whether there was anything (RFC 1985)."""
        return await self.queue.etrn(domain) > 0

    async def send(self, sender: Address | None, recipient: Address, octets: bytes) -> None:
        """Put one message of our own into the queue.  Raises `NotTaken`."""
        draft = await self.intake.open_draft(len(octets))
        try:
            await draft.write(octets)
            envelope = Envelope(_next_id(), sender, (recipient,))
            [outcome] = await self.intake.accept(Client(Service.LOCAL, ""), envelope, draft)
        finally:
            await draft.close()
        if not isinstance(outcome, Delivered):
            raise NotTaken(f"{outcome.reply.code} {outcome.reply.text}")


_next_id = EnvelopeIds()


def hop_settings(configuration: Configuration) -> HopSettings:
    """Return what the configuration says of delivery to other servers."""
    delivery = configuration.delivery
    return HopSettings(
        port=delivery.port,
        listening=read_listening(configuration.listen.smtp),
        own_addresses=frozenset(delivery.own_addresses),
        allow_loopback=delivery.allow_loopback,
        mta_sts=delivery.mta_sts,
        dane=delivery.dane,
        tls_reports=delivery.tls_reports,
        contact=delivery.tls_reports_contact or f"postmaster@{configuration.domains[0]}",
    )


def make_hops(configuration: Configuration, choices: Choices, site: Site, judges: Judges) -> HopFinder:
    """Make who finds the hosts of a destination.  Raises `PluginRefused`."""
    prompter = Prompter(site.reactor, configuration.limits.answer_timeout)
    resolver = PromptResolver(choices.resolver.make(site=site), prompter)
    return hops_for(site=site, resolver=resolver, settings=hop_settings(configuration), logins=judges.table.logins)


def make_post(configuration: Configuration, choices: Choices, site: Site, judges: Judges, store: IMailStore) -> Post:
    """Make every part, in the order in which they need each other.  Raises `PluginRefused`."""
    settings = configuration.queue
    spool = choices.spool.make(site=site)
    history = History(site)
    hops = make_hops(configuration, choices, site, judges)
    delivery = DeliverySettings(
        **{each.name: getattr(configuration.delivery, each.name) for each in fields(DeliverySettings)}
    )
    couriers = {
        each.name: each.make(
            site=site,
            directory=judges.directory,
            store=store,
            hops=hops,
            open_draft=spool.open_draft,
            delivery=delivery,
        )
        for each in choices.courier
    }
    planner = Planner(site=site, directory=judges.directory, router=judges.router, rewriting=judges.rewriting)
    queue = QueueRunner(
        site=site,
        spool=spool,
        planner=planner,
        couriers=couriers,
        schedule=Schedule(settings.first_pause, settings.longest_pause, settings.lifetime, settings.warning_after),
        bounds=Bounds(
            active=settings.active,
            memory=settings.memory,
            deliveries=settings.deliveries,
            delivery_timeout=settings.delivery_timeout,
            concurrency=settings.concurrency,
            concurrency_initial=settings.concurrency_initial,
            local_concurrency=settings.local_concurrency,
        ),
        rates=read_rates(settings.destination_rates, settings.sender_rate, settings.account_rate),
        history=history,
    )
    intake = Intake(
        site=site,
        planner=planner,
        policies=judges.policies,
        spool=spool,
        runner=queue,
        history=history,
        max_hops=settings.max_hops,
    )
    return Post(spool, history, hops, couriers, queue, intake, site.reactor)


def make_store(recipe: Recipe, site: Site) -> IMailStore:
    """Make the store; what is only a message source is indexed by us."""
    product = recipe.make(site=site)
    store: IMailStore
    if IMailStore.providedBy(product):
        store = product
        return store
    if not IMessageSource.providedBy(product):
        raise PluginRefused(f"store plug-in {recipe.name!r} makes neither an IMailStore nor an IMessageSource")
    store = indexed(product, site)
    return store
