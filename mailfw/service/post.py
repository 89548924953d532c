"""The queue and all that takes mail to where it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from twisted.logger import Logger

from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.couriers.settings import DeliverySettings
from mailfw.generations import Generations
from mailfw.interfaces import ICourier, IMailStore, IMessageSource, IQuotas, ISpool
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.outcome import Delivered
from mailfw.mail.quota import QuotaLimits
from mailfw.patience import within
from mailfw.plugins import PluginRefused
from mailfw.queue.bounds import Bounds
from mailfw.queue.custody import Custody, SpoolCustody
from mailfw.queue.history import History
from mailfw.queue.intake import Intake
from mailfw.queue.planning import Planner
from mailfw.queue.rates import read_rates
from mailfw.queue.runner import QueueRunner
from mailfw.queue.schedule import Schedule
from mailfw.routing.hops import HopFinder, hops_for
from mailfw.routing.settings import HopSettings, read_listening
from mailfw.service.judges import Judges
from mailfw.service.prompt import Prompter, PromptQuotas, PromptResolver
from mailfw.site import Site
from mailfw.smtp.settings import EnvelopeIds
from mailfw.stores.indexed import indexed
from mailfw.stores.reading import indexed_elsewhere

log = Logger()

#: Seconds that a courier has to close when the server stops; ours take no more than 20.
CLOSE_WITHIN = 30.0
#: Seconds in a day, which retention is counted in.
DAY = 86_400.0


class NotTaken(Exception):
    """A message of our own was not taken into the queue; the text says why."""


@dataclass(frozen=True, slots=True)
class Post:
    """
    From taking responsibility for a message to handing it on; what it is made of starts and stops together.

    Accounts in `held` get no mail: it waits.
    """

    spool: ISpool
    history: History
    hops: HopFinder
    couriers: Mapping[str, ICourier]
    queue: QueueRunner
    custody: Custody
    intake: Intake
    reactor: Any
    held: set[str]

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


def make_schedule(configuration: Configuration) -> Schedule:
    """Return when the queue tries again."""
    queue = configuration.queue
    return Schedule(queue.first_pause, queue.longest_pause, queue.lifetime, queue.warning_after)


def make_planner(site: Site, judges: Judges) -> Planner:
    """Return who finds out who gets a message, and how."""
    return Planner(site=site, directory=judges.directory, router=judges.router, rewriting=judges.rewriting)


def make_intake(
    configuration: Configuration, site: Site, judges: Judges, custody: Custody, clock: Callable[[], float]
) -> Intake:
    """Return where messages enter on their way into custody."""
    return Intake(
        site=site,
        planner=make_planner(site, judges),
        policies=judges.policies,
        custody=custody,
        clock=clock,
        pause=make_schedule(configuration).pause(1, 0.5),
        max_hops=configuration.queue.max_hops,
    )


def make_post(
    configuration: Configuration,
    choices: Choices,
    site: Site,
    judges: Judges,
    store: IMailStore,
    processor: Callable[[], float] = time.thread_time,
) -> Post:
    """
    Make every part, in the order in which they need each other.  Raises `PluginRefused`.

    `processor` tells the seconds that whoever takes mail in has worked.
    """
    settings = configuration.queue
    spool = choices.spool.make(site=site)
    history = History(site)
    hops = make_hops(configuration, choices, site, judges)
    delivery = DeliverySettings(
        **{each.name: getattr(configuration.delivery, each.name) for each in fields(DeliverySettings)}
    )
    held: set[str] = set()
    couriers = {
        each.name: each.make(
            site=site,
            directory=judges.directory,
            store=store,
            hops=hops,
            open_draft=spool.open_draft,
            delivery=delivery,
            held=held,
        )
        for each in choices.courier
    }
    planner = make_planner(site, judges)
    queue = QueueRunner(
        site=site,
        spool=spool,
        planner=planner,
        couriers=couriers,
        schedule=make_schedule(configuration),
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
        processor=processor,
    )
    custody = SpoolCustody(spool=spool, runner=queue, history=history, clock=site.reactor)
    intake = make_intake(configuration, site, judges, custody, queue.seconds)
    return Post(spool, history, hops, couriers, queue, custody, intake, site.reactor, held)


def make_store(
    configuration: Configuration, choices: Choices, site: Site, generations: Generations | None = None
) -> IMailStore:
    """
    Make the store; what is only a message source is indexed by us.  Raises `PluginRefused`.

    With `generations` there are workers, which read by themselves what they can.
    """
    quotas = make_quotas(configuration, choices, site)
    kept, search = configuration.store.retention * DAY, configuration.store.search
    product = choices.store.make(site=site, quotas=quotas, retention=kept, search=search, generations=generations)
    store: IMailStore
    if IMailStore.providedBy(product):
        store = product
        return store
    if not IMessageSource.providedBy(product):
        raise PluginRefused(f"store plug-in {choices.store.name!r} makes neither an IMailStore nor an IMessageSource")
    store = indexed(product, site, quotas=quotas, generations=generations, search=search)
    return store


def make_reading_store(
    configuration: Configuration, choices: Choices, site: Site, writer: IMailStore, generations: Generations
) -> IMailStore:
    """Make the store of a worker, whose `writer` is the keeper's: it reads by itself what the plug-in lets it read."""
    recipe = choices.store
    store: IMailStore = writer
    if recipe.takes("writer"):
        retention = configuration.store.retention * DAY
        store = recipe.make(site=site, retention=retention, writer=writer, generations=generations)
    elif recipe.point == "source":
        store = indexed_elsewhere(site, writer, generations)
    return store


def make_quotas(configuration: Configuration, choices: Choices, site: Site) -> IQuotas:
    """Make who says how much an account may keep.  Raises `PluginRefused`."""
    default = QuotaLimits(configuration.quota.octets, configuration.quota.messages)
    quotas = choices.quota.make(site=site, default=default)
    return PromptQuotas(quotas, Prompter(site.reactor, configuration.limits.answer_timeout))
