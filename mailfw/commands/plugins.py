"""``mailfw plugins``: every point where a site may differ, and what is installed for it."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from typing import Any

from twisted.cred.strcred import findCheckerFactories

from mailfw.plugins import (
    POINTS,
    IMailfwPlugin,
    PluginRefused,
    Recipe,
    describe_options,
    installed,
    load,
    misplaced,
    usable_checker,
)


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("plugins", help="list every plug-in point and what is installed for it")
    parser.set_defaults(run=show)


def show(given: argparse.Namespace) -> int:
    """Print the points in the order in which a message meets them."""
    for name, point in POINTS.items():
        print(f"{name}: {point.meaning}? ({point.interface})")
        plugins = installed(name)
        for plugin in plugins:
            print("\n".join(_describe(plugin)))
        checkers = _checkers() if name == "auth" else []
        print("\n".join(checkers) if checkers else "" if plugins else "  nothing", end="\n\n" if checkers else "\n")
    for refusal in misplaced():
        print(f"BROKEN: {refusal}")
    return 0


def _describe(plugin: IMailfwPlugin) -> Iterator[str]:
    yield f"  {plugin.name:<12} {plugin.help}"
    try:
        recipe = Recipe(plugin.point, plugin.name, load(plugin))
    except PluginRefused as refused:
        yield f"  {'':<12} BROKEN: {refused}"
        return
    for line in (inspect.getdoc(recipe.factory) or "").splitlines():
        yield f"  {'':<12} {line}".rstrip()
    for option in describe_options(recipe):
        yield f"  {'':<12}   {option}"


def _checkers() -> list[str]:
    """Describe what ``--auth`` offers: it may be named in ``[[auth]]`` in the same form."""
    return [
        f"  {factory.authType + ':':<12} {factory.argStringFormat} (twisted.cred)"
        for factory in sorted(findCheckerFactories(), key=lambda factory: str(factory.authType))
        if usable_checker(factory)
    ]
