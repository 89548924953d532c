"""``mailfw user``: the accounts of the password file."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from collections.abc import Callable
from typing import Any

from mailfw.commands.refusal import CommandRefused
from mailfw.configuration import Configuration
from mailfw.configuration.choices import read

#: A number, in KiB, MiB, GiB or TiB if a letter says so.
_AMOUNT = re.compile(r"([0-9]{1,15})([KMGT]?)", re.ASCII | re.IGNORECASE)


def add_parsers(families: Any) -> None:
    """Add this family to the command line."""
    family = families.add_parser("user", help="add, remove and list accounts")
    verbs = family.add_subparsers(metavar="VERB", required=True)
    for name, run, meaning in (
        ("add", add, "make an account; its password is asked for, or read from standard input"),
        ("passwd", passwd, "give an account another password"),
        ("remove", remove, "remove an account; its mail stays"),
    ):
        verb = verbs.add_parser(name, help=meaning)
        verb.add_argument("name", metavar="NAME", help="a full address, or its local part in the first domain")
        verb.set_defaults(run=run)
    limiting = verbs.add_parser("quota", help="print what an account may keep, or give it limits of its own")
    limiting.add_argument("name", metavar="NAME", help="a full address, or its local part in the first domain")
    limiting.add_argument("--octets", metavar="N", type=_amount, help="10G, 500M, 2000K or octets; 0: any number")
    limiting.add_argument("--messages", metavar="N", type=_amount, help="0: any number")
    limiting.add_argument("--default", action="store_true", help="no limits of its own any more")
    limiting.set_defaults(run=quota)
    verbs.add_parser("list", help="print the accounts, one a line").set_defaults(run=list_accounts)


def add(given: argparse.Namespace) -> int:
    """Make an account."""
    configuration, accounts = _accounts(given)
    name = _full(given.name, configuration)
    _refused(lambda: accounts.add(name, _new_password()))
    print(f"{name} added")
    return 0


def passwd(given: argparse.Namespace) -> int:
    """Change a password."""
    configuration, accounts = _accounts(given)
    name = _full(given.name, configuration)
    if name not in accounts.names():
        raise CommandRefused(f"there is no account {name}")
    _refused(lambda: accounts.set_password(name, _new_password()))
    print(f"{name} has a new password")
    return 0


def remove(given: argparse.Namespace) -> int:
    """Remove an account."""
    configuration, accounts = _accounts(given)
    name = _full(given.name, configuration)
    _refused(lambda: accounts.remove(name))
    print(f"{name} removed; its mail is still in {configuration.data}")
    return 0


def list_accounts(given: argparse.Namespace) -> int:
    """Print the accounts."""
    _, accounts = _accounts(given)
    for name in _refused(accounts.names):
        print(name)
    return 0


def quota(given: argparse.Namespace) -> int:
    """Print or change what an account may keep."""
    from twisted.internet import reactor

    from mailfw.mail.quota import QuotaLimits
    from mailfw.service.judges import site_of

    _, configuration, choices = read(given.config, given.settings)
    name = _full(given.name, configuration)
    default = QuotaLimits(configuration.quota.octets, configuration.quota.messages)
    limits = choices.quota.make(site=site_of(configuration, reactor), default=default)
    if not all(hasattr(limits, method) for method in ("look", "own", "set_limits")):
        raise CommandRefused(f"the quota plug-in {configuration.quota.plugin!r} is asked elsewhere")
    changed = {"octets": given.octets, "messages": given.messages}
    if given.default and any(each is not None for each in changed.values()):
        raise CommandRefused("give limits, or say --default")
    if given.default or any(each is not None for each in changed.values()):
        own = {} if given.default else _refused(lambda: dict(limits.own(name)))
        own |= {key: each for key, each in changed.items() if each is not None}
        _refused(lambda: limits.set_limits(name, own.get("octets"), own.get("messages")))
    found = _refused(lambda: limits.look(name))
    print(f"{name} may keep {found.octets or 'any number of'} octets, {found.messages or 'any number of'} messages")
    return 0


def _amount(text: str) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"not a number like 1000 or 10G: {text!r}")
    factor: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(match[1]) * factor


def _accounts(given: argparse.Namespace) -> tuple[Configuration, Any]:
    """Return the first of the configured checkers that can be edited."""
    from twisted.internet import reactor

    from mailfw.service.judges import site_of

    _, configuration, choices = read(given.config, given.settings)
    site = site_of(configuration, reactor)
    for recipe in choices.auth:
        checker = recipe.make(site=site)
        if all(hasattr(checker, method) for method in ("names", "add", "set_password", "remove")):
            return configuration, checker
    raise CommandRefused("no [[auth]] plug-in of this configuration keeps accounts that can be edited here")


def _full(name: str, configuration: Configuration) -> str:
    full = name.lower() if "@" in name else f"{name.lower()}@{configuration.domains[0]}"
    if full.rpartition("@")[2] not in configuration.domains:
        print(f"mailfw: note: {full} is in none of our domains: {', '.join(configuration.domains)}", file=sys.stderr)
    return full


def _refused(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (ValueError, OSError) as refused:
        raise CommandRefused(str(refused))


def _new_password() -> str:
    """Ask twice on a terminal; read one line of anything else.  Never an argument: every user can see those."""
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise CommandRefused("no password on standard input")
        return password
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise CommandRefused("the two are not the same")
    return password
