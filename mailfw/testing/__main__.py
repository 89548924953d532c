"""
A report card for a plug-in: ``python -m mailfw.testing store NAME`` or ``… source NAME``.

NAME is what the configuration would say (``maildir``, ``name:key=value``) or the dotted path of a factory.
A factory with a parameter `site` gets a new data directory for each case, and is called with the same
one again for the cases of a restart; without it these are skipped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner
from twisted.trial.unittest import SkipTest, TestCase

from mailfw.interfaces import IMailStore, IMessageSource
from mailfw.plugins import PluginRefused, Recipe, resolve
from mailfw.site import Site
from mailfw.testing.source import SourceContract
from mailfw.testing.store import StoreContract

if TYPE_CHECKING:
    from mailfw.testing.source import SourceFixture
    from mailfw.testing.store.fixture import StoreFixture


class Maker:
    """Makes one product for a case, and makes it again from the same data."""

    def __init__(self, recipe: Recipe, data: str) -> None:
        from twisted.internet import reactor  # trial has no other reactor than the installed one

        self._recipe = recipe
        self._site = Site("mail.example.org", frozenset({"example.org"}), Path(data).resolve(), reactor)
        self._site.data.mkdir(parents=True)

    def make(self) -> Any:
        """Return a product over the data there is."""
        return self._recipe.make(site=self._site)

    async def make_again(self, product: Any) -> Any:
        """Close a product and return another over the same data; skips where it has none."""
        if "site" not in signature(self._recipe.factory).parameters:
            raise SkipTest("a restart cannot be tried: the factory has no parameter `site` to say where the data is")
        await product.close()
        return self.make()


def store_card(recipe: Recipe) -> type[StoreFixture]:
    """Return the contract of stores, to be run over what the recipe makes."""

    class Store(StoreContract, TestCase):
        def make_store(self) -> IMailStore:
            self.maker = Maker(recipe, self.mktemp())
            made: IMailStore = self.maker.make()
            return made

        @property
        def can_reopen(self) -> bool:
            return "site" in signature(recipe.factory).parameters

        async def reopen_store(self, store: IMailStore) -> IMailStore:
            again: IMailStore = await self.maker.make_again(store)
            return again

    return Store


def source_card(recipe: Recipe) -> type[SourceFixture]:
    """Return the contract of sources, to be run over what the recipe makes."""

    class Source(SourceContract, TestCase):
        def make_source(self) -> IMessageSource:
            self.maker = Maker(recipe, self.mktemp())
            made: IMessageSource = self.maker.make()
            return made

        async def reopen_source(self, source: IMessageSource) -> IMessageSource:
            again: IMessageSource = await self.maker.make_again(source)
            return again

    return Source


CARDS = {"store": store_card, "source": source_card}


def find(point: str, name: str) -> Recipe:
    """Return the recipe of a plug-in or of a dotted path.  Raises `PluginRefused`."""
    first, _, _ = name.partition(":")
    return resolve(point, f"python:{name}" if "." in first else name)


def main(arguments: Sequence[str]) -> int:
    """Run a contract, print what held and what did not, and return 0 where all did."""
    parser = argparse.ArgumentParser(prog="python -m mailfw.testing", description="Try a plug-in's contract.")
    parser.add_argument("point", choices=sorted(CARDS))
    parser.add_argument("name", help="a plug-in's name, with options, or the dotted path of a factory")
    asked = parser.parse_args(arguments)
    try:
        recipe = find(asked.point, asked.name)
    except PluginRefused as refused:
        parser.error(str(refused))
    with tempfile.TemporaryDirectory() as directory:
        runner = TrialRunner(TreeReporter, workingDirectory=str(Path(directory) / "card"))
        result = runner.run(TestLoader().loadClass(CARDS[asked.point](recipe)))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
