"""A store by what the configuration would say of it, over a directory of its own, again and again."""

from __future__ import annotations

from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorCore

from mailfw.interfaces import IMailStore, IMessageSource
from mailfw.plugins import PluginRefused, Recipe, resolve
from mailfw.site import Site


@cache
def find(point: str, name: str) -> Recipe:
    """Return the recipe of a plug-in, with options, or of a dotted path.  Raises `PluginRefused`."""
    first, _, _ = name.partition(":")
    points = ("store", "source") if point == "store" else (point,)
    return resolve(points, f"python:{name}" if "." in first else name)


class Maker:
    """
    Makes what a recipe makes for one directory of data, and makes it again from the same data.

    `reactor` is the installed one unless it is given: trial has no other.
    """

    def __init__(self, recipe: Recipe, data: Path, reactor: IReactorCore | None = None) -> None:
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = installed
        self._recipe = recipe
        self.site = Site("mail.example.org", frozenset({"example.org"}), data.absolute(), reactor)
        data.mkdir(parents=True, exist_ok=True)
        #: Whether stores made so can have quotas; known when one was made.
        self.takes_quotas = False

    @staticmethod
    def keeps_mail(recipe: Recipe) -> bool:
        """Whether what is made again may have mail: a factory without `site` does not know where that would be."""
        return "site" in signature(recipe.factory).parameters

    def make(self, **parts: object) -> Any:
        """Return a product over the data there is; it gets those of `parts` that it asks for."""
        return self._recipe.make(site=self.site, **parts)

    def make_store(self, **parts: Any) -> IMailStore:
        """Return a store over the data there is: one of mailfw's index, where the recipe makes a source."""
        product = self.make(**parts)
        self.takes_quotas = "quotas" in signature(self._recipe.factory).parameters
        if IMailStore.providedBy(product):
            store: IMailStore = product
            return store
        if not IMessageSource.providedBy(product):
            raise PluginRefused(f"{self._recipe} makes neither an IMailStore nor an IMessageSource")
        self.takes_quotas = True
        from mailfw.stores.indexed import indexed  # the contract itself stands on no store

        return indexed(product, self.site, quotas=parts.get("quotas"))
