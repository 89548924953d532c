"""The plug-ins that answer questions, and the facts they may know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailfw.accounts.names import default_domain
from mailfw.accounts.portal import account_list
from mailfw.cluster.custody import questions_of
from mailfw.cluster.keeper import Counting
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.interfaces import IAccountList, IDeliveryPolicy, IDirectory, IRouter
from mailfw.optional import ITally
from mailfw.plugins import PluginRefused, Recipe
from mailfw.policies.pipeline import Link, Pipeline
from mailfw.policies.tally import OwnTally
from mailfw.queue.rewriting import ReturningDirectory, SenderRewriting
from mailfw.routing.router import TableRouter
from mailfw.routing.table import RouteRefused, RoutingTable, read_table
from mailfw.service.prompt import PromptDirectory, Prompter, PromptRouter
from mailfw.site import Site


def site_of(configuration: Configuration, reactor: Any) -> Site:
    """Return what plug-ins may know."""
    return Site(configuration.hostname, frozenset(configuration.domains), configuration.data, reactor)


@dataclass(frozen=True, slots=True)
class Judges:
    """
    Whoever is asked before there is a message to keep.

    `directory` knows the addresses that `rewriting` made for forwarded mail as ours.
    """

    checkers: Sequence[Any]
    accounts: Sequence[IAccountList]
    directory: IDirectory
    rewriting: SenderRewriting
    table: RoutingTable
    router: IRouter
    policies: IDeliveryPolicy
    counting: Mapping[str, Counting]


#: Makes what answers for a policy that counts, by the name it has among all.
MakePolicy = Callable[[str, Recipe], IDeliveryPolicy]
#: Makes what a policy counts with, by the name it has among all.
MakeTally = Callable[[str], ITally]


def make_judges(
    configuration: Configuration,
    choices: Choices,
    site: Site,
    checkers: Sequence[Any] = (),
    make_counting: MakePolicy | None = None,
    make_tally: MakeTally | None = None,
) -> Judges:
    """
    Make them; nothing is written by it, so that a configuration can be tried.

    `make_counting` makes the policies whose answers depend on what they were asked before, and `make_tally` what the
    others count with.  Raises `PluginRefused`, for a rule of routing that cannot be read too.
    """
    checkers = checkers or [recipe.make(site=site) for recipe in choices.auth]
    domain = default_domain(site)
    accounts = [found for each in checkers if (found := account_list(each, site.reactor, domain)) is not None]
    rewriting = SenderRewriting(site)
    prompter = Prompter(site.reactor, configuration.limits.answer_timeout)
    plain = PromptDirectory(choices.directory.make(site=site, accounts=accounts), prompter)
    directory = ReturningDirectory(plain, rewriting)
    try:
        table = read_table(configuration.relay, configuration.route)
    except RouteRefused as reason:
        raise PluginRefused(f"{choices.where(reason.place)}: {reason}") from reason
    router = choices.router.make(site=site, directory=directory, table=table)
    if not isinstance(router, TableRouter):  # ours asks nobody but the directory
        router = PromptRouter(router, prompter)
    counting: dict[str, Counting] = {}
    links = []
    for name, (each, recipe) in zip(policy_names(choices), choices.policy, strict=True):
        if counts(recipe):
            policy = make_counting(name, recipe) if make_counting else recipe.make(site=site)
            counting[name] = Counting(policy, each.timeout)
        else:
            tally = make_tally(name) if make_tally else OwnTally(site.reactor.seconds)
            policy = recipe.make(site=site, tally=tally)
        links.append(Link(each.plugin, policy, each.timeout, each.on_failure))
    return Judges(checkers, accounts, directory, rewriting, table, router, Pipeline(links, site.reactor), counting)


def counts(recipe: Recipe) -> bool:
    """Whether the answers of a policy depend on what it was asked before, so that there can be only one of it."""
    return bool(questions_of(recipe.factory))


def policy_names(choices: Choices) -> list[str]:
    """Return a name for each policy, which is another where its options are, or where the same is there twice."""
    seen: Counter[str] = Counter()
    names = []
    for _, recipe in choices.policy:
        name = f"{recipe.name} {sorted(recipe.options.items())!r}"
        seen[name] += 1
        names.append(f"{name} {seen[name]}")
    return names
