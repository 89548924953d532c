"""``mailfw config``: is it right, and what does it amount to?"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mailfw.configuration.choices import read
from mailfw.configuration.source import Place, Source
from mailfw.mail.destination import without_password

_HIDDEN = "***"


def add_parsers(families: Any) -> None:
    """Add this family to the command line."""
    family = families.add_parser("config", help="check and show the configuration")
    verbs = family.add_subparsers(metavar="VERB", required=True)
    verbs.add_parser("check", help="say whether a server could start with it").set_defaults(run=check)
    verbs.add_parser("show", help="print every key with its value, and where that came from").set_defaults(run=show)


def check(given: argparse.Namespace) -> int:
    """Say whether the configuration is right: keys, endpoints, certificates, and plug-ins but stores and couriers."""
    from twisted.internet import reactor

    from mailfw.options import check_endpoints
    from mailfw.service.first_start import check_certificates
    from mailfw.service.judges import make_judges, site_of

    source, configuration, choices = read(given.config, given.settings)
    check_endpoints(source, configuration)
    check_certificates(source, configuration)
    make_judges(configuration, choices, site_of(configuration, reactor))
    print(f"{source.file or 'The embedded default'}: right")
    return 0


def show(given: argparse.Namespace) -> int:
    """Print the effective configuration as TOML, with comments."""
    source, configuration, _ = read(given.config, given.settings)
    print("\n".join(show_table(source, (), configuration)))
    return 0


def show_table(source: Source, place: Place, table: Any) -> Iterator[str]:
    """Yield the lines of a table: its own keys first, then the tables below it."""
    inner: list[tuple[str, Place, Any]] = []
    for each in dataclasses.fields(table):
        value = getattr(table, each.name)
        here = (*place, each.name)
        if each.name == "options":
            for name, option in value.items():
                shown = _HIDDEN if name.endswith(("password", "secret")) else option
                yield from _key(source, (*place, name), shown, "An option of the plug-in.")
        elif dataclasses.is_dataclass(value):
            inner.append((f"[{each.name}]", here, value))
        elif "help" not in each.metadata:  # an array of tables
            inner += [(f"[[{each.name}]]", (*here, n), entry) for n, entry in enumerate(value)]
        else:
            yield from _key(source, here, value, each.metadata["help"])
    for header, here, value in inner:
        yield f"\n{header}"
        yield from show_table(source, here, value)


def _key(source: Source, place: Place, value: object, meaning: str) -> Iterator[str]:
    yield from textwrap.wrap(meaning, 100, initial_indent="# ", subsequent_indent="# ")
    origin = source.origins.get(place, "default")  # a key beside given ones was not given itself
    if value is None:
        yield f"# {place[-1]} is not given"
    else:
        shown = without_password(value) if isinstance(value, str) else value
        yield f"{place[-1]} = {written(shown)}    # {origin}"


def written(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return '"' + "".join(_escape(character) for character in str(value)) + '"'
    if isinstance(value, tuple | list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written(name)} = {written(item)}" for name, item in value.items()) + "}"
    return str(value)


def _escape(character: str) -> str:
    """basic-unescaped of TOML 1.0, or an escape."""
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
