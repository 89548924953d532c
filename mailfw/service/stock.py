"""The stores of a server that does not run, opened for one command."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from mailfw.accounts.names import default_domain
from mailfw.cluster.loan import BorrowedStore
from mailfw.configuration import Configuration
from mailfw.configuration.choices import Choices
from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.plugins import Recipe, option_names, resolve
from mailfw.service import first_start
from mailfw.service.judges import site_of
from mailfw.service.lender import borrow
from mailfw.service.post import make_store
from mailfw.site import Site
from mailfw.transfer.store_target import StoreTarget

#: The directory of notes of what has been moved, in the data directory.
JOURNALS = "transfers"


@dataclass(slots=True)
class Stock:
    """
    The configured store, and others by the names of their plug-ins; `kind` tells it from them.

    While a server runs the configured store is `borrowed` from it.
    """

    configuration: Configuration
    choices: Choices
    site: Site
    store: IMailStore
    disk: Disk
    borrowed: BorrowedStore | None = None
    others: dict[str, IMailStore] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What the configured store is, with its options."""
        return kind_of(self.choices.store)

    @property
    def first_domain(self) -> str:
        """The domain of names without one."""
        return default_domain(self.site)

    def account_names(self) -> list[str] | None:
        """Return the accounts that may log in, None where no plug-in can say.  Blocks."""
        lists = []
        for recipe in self.choices.auth:
            checker = recipe.make(site=self.site)
            if hasattr(checker, "names"):
                lists.append(checker.names())
        return sorted({name for names in lists for name in names}) if lists else None

    def another(self, spec: str) -> tuple[str, IMailStore]:
        """Return a store and what it is; the configured one for an empty `spec`.  Raises `PluginRefused`."""
        if not spec:
            return self.kind, self.store
        recipe = resolve(("store", "source"), spec)
        kind = kind_of(recipe)
        if kind == self.kind:
            return kind, self.store
        if kind not in self.others:
            self.others[kind] = make_store(self.configuration, replace(self.choices, store=recipe), self.site)
        return kind, self.others[kind]

    async def release(self, account: str) -> None:
        """Have the server deliver again to an account that was a target."""
        if self.borrowed is not None:
            await self.borrowed.release(account)

    async def close(self) -> None:
        """Close the stores."""
        for store in (*self.others.values(), self.store):
            await store.close()
        self.disk.release()

    async def target(
        self, account: str, origin: str, store: IMailStore | None = None, recognises: bool = False, leap: int = 0
    ) -> StoreTarget:
        """Return an account as the place to move mail to; a server that runs delivers none to it meanwhile."""
        if self.borrowed is not None and store in (None, self.borrowed):
            await self.borrowed.hold(account)
        journals = self.site.data / JOURNALS
        return StoreTarget(store or self.store, account, origin, journals, self.disk, recognises, leap)


def kind_of(recipe: Recipe) -> str:
    """Return a plug-in's name with all its options, also those that nobody gave."""
    options = dict(recipe.options)
    for name, parameter in inspect.signature(recipe.factory).parameters.items():
        if name in option_names(recipe) and parameter.default is not parameter.empty:
            options.setdefault(name, parameter.default)
    return ":".join([recipe.name, *(f"{name}={value}" for name, value in sorted(options.items()))])


@asynccontextmanager
async def stock(configuration: Configuration, choices: Choices, reactor: Any, alone: bool) -> AsyncIterator[Stock]:
    """
    Borrow the store of the server that runs; or hold the data directory as a server does, and open it.

    Raises `InUse` where a server runs though we must be `alone`, `CannotStart`, `StoreRefusal` for a server of another
    version, and what `make_store` raises.
    """
    borrowed = None if alone else await borrow(configuration.data, reactor)
    if borrowed is not None:
        opened = Stock(configuration, choices, site_of(configuration, reactor), borrowed, Disk(reactor), borrowed)
        try:
            yield opened
        finally:
            await opened.close()
        return
    lock = first_start.hold(configuration.data)
    try:
        site = site_of(configuration, reactor)
        opened = Stock(configuration, choices, site, make_store(configuration, choices, site), Disk(reactor))
        try:
            yield opened
        finally:
            await opened.close()
    finally:
        first_start.release(lock)
