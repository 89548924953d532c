"""
A report card for a plug-in: ``python -m mailfw.testing store NAME`` or ``… source NAME``.

NAME is what the configuration would say (``maildir``, ``name:key=value``) or the dotted path of a factory.
A factory with a parameter `site` gets a new data directory for each case, and is called with the same
one again for the cases of a restart; without it these are not tried.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from twisted.trial.unittest import SkipTest, TestCase

from mailfw.interfaces import IMessageSource
from mailfw.plugins import PluginRefused, Recipe
from mailfw.testing.card import Card, sections_of
from mailfw.testing.source import SourceContract
from mailfw.testing.store import FullContract
from mailfw.testing.store.making import Maker, find

if TYPE_CHECKING:
    from mailfw.testing.source import SourceFixture
    from mailfw.testing.store.fixture import StoreFixture


def store_card(asked: argparse.Namespace) -> type[StoreFixture]:
    """Return the contract of stores, to be tried with what is asked for."""

    class Store(FullContract, TestCase):
        spec, seed, many, crashes = asked.name, asked.seed, asked.many, asked.crashes

    return Store


def source_card(asked: argparse.Namespace) -> type[SourceFixture]:
    """Return the contract of sources, to be tried with what is asked for."""
    recipe: Recipe = find("source", asked.name)

    class Source(SourceContract, TestCase):
        def make_source(self) -> IMessageSource:
            self.maker = Maker(recipe, FilePath(self.mktemp()))
            made: IMessageSource = self.maker.make()
            return made

        async def reopen_source(self, source: IMessageSource) -> IMessageSource:
            if not Maker.keeps_mail(recipe):
                raise SkipTest(
                    "a restart cannot be tried: the factory has no parameter `site` to say where the data is"
                )
            await source.close()
            again: IMessageSource = self.maker.make()
            return again

    return Source


CARDS = {"store": (FullContract, store_card), "source": (SourceContract, source_card)}


def arguments_of(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends the process where nobody can understand it, or there is no such plug-in."""
    parser = argparse.ArgumentParser(prog="python -m mailfw.testing", description="Try a plug-in's contract.")
    parser.add_argument("point", choices=sorted(CARDS))
    parser.add_argument("name", help="a plug-in's name, with options, or the dotted path of a factory")
    parser.add_argument("--only", default="", metavar="WORD", help="a section, or the cases with this in their names")
    parser.add_argument("--seed", type=int, default=0, help="which random histories and moments to try (%(default)s)")
    parser.add_argument("--many", type=int, default=50_000, help="messages where costs are compared (%(default)s)")
    parser.add_argument("--crashes", type=int, default=8, help="how often a process is killed (%(default)s)")
    parser.add_argument("-v", "--verbose", action="store_true", help="say every promise that holds")
    asked = parser.parse_args(given)
    try:
        find(asked.point, asked.name)
    except PluginRefused as refused:
        parser.error(str(refused))
    return asked


def main(given: Sequence[str]) -> int:
    """Run a contract, print what held and what did not, and return 0 where all did, 1 where not."""
    asked = arguments_of(given)
    contract, make_cases = CARDS[asked.point]
    sections = list(sections_of(contract, make_cases(asked), asked.only))
    if not sections:
        print(f"no case has {asked.only!r} in its name", file=sys.stderr)  # noqa: T201  # a command's output
        return 2
    print(f"{asked.name} as {asked.point}, seed {asked.seed}\n")  # noqa: T201  # a command's output
    with tempfile.TemporaryDirectory() as directory:
        card = Card(FilePath(directory), sys.stdout, asked.verbose)
        return 0 if card.fill(sections) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
