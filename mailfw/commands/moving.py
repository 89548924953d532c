"""What the commands that move mail have in common: the stores, opened in the server's place, and what is said."""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailfw.commands.bar import Bar
from mailfw.commands.connection import become_owner, in_reactor, remark
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import octets, safe

if TYPE_CHECKING:
    from mailfw.service.stock import Stock
    from mailfw.transfer.account import Origin, Target
    from mailfw.transfer.engine import Outcome, Terms


def add_verification(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how much is looked at afterwards."""
    parser.add_argument("--quick", action="store_true", help="verify what is new alone, not all that is there")


def with_stock(given: argparse.Namespace, work: Callable[[Stock], Awaitable[int]], alone: bool = False) -> int:
    """
    Do something with the stores, of a server that runs too unless the work has to be `alone` with them.

    Raises `CommandRefused` where it has to and a server runs, and for what the work is refused.
    """
    from mailfw.cluster.procedures import ConnectionToKeeperLost
    from mailfw.configuration.choices import read
    from mailfw.mail.failure import StoreRefusal
    from mailfw.service.first_start import InUse, make_directory
    from mailfw.service.ports import CannotStart
    from mailfw.service.stock import stock
    from mailfw.transfer.account import TransferRefused

    _, configuration, choices = read(given.config, given.settings)
    codes: list[int] = []

    async def act(reactor: Any) -> None:
        async with stock(configuration, choices, reactor, alone) as opened:
            codes.append(await work(opened))

    try:
        make_directory(configuration.data, (None, None))
        become_owner(configuration.data)
        in_reactor(act)
    except InUse as reason:
        raise CommandRefused(f"{reason}; stop the server first, for the store has one writer")
    except CannotStart as reason:
        raise CommandRefused(str(reason).removeprefix("mailfw: "))
    except (TransferRefused, StoreRefusal) as reason:
        raise CommandRefused(str(reason))
    except ConnectionToKeeperLost:
        raise CommandRefused("the server has stopped; what was done so far is done: type the command again")
    except sqlite3.OperationalError as reason:  # an index has one user
        raise CommandRefused(f"{reason}: another program has this store open, or two stores are the same")
    except OSError as reason:
        raise CommandRefused(f"{reason.filename or 'the disk'}: {reason.strerror}")
    return codes[0]


async def move(opened: Stock, account: str, origin: Origin, target: Target, terms: Terms) -> bool:
    """Move one account, and say what became of it; whether all is well."""
    from mailfw.transfer.engine import Move

    try:
        outcome = await Move(origin, target, opened.disk, Bar(), terms).run()
    finally:
        await target.close()
        await origin.close()
        await opened.release(account)
    report(account, outcome, f"{outcome.mailboxes} mailboxes, {outcome.messages} messages; {outcome.copied} new")
    if outcome.missing:
        remark(f"{safe(account)}: {outcome.missing} messages could not be had, and are not here")
    if outcome.removed:
        remark(f"{safe(account)}: {outcome.removed} messages that the origin no longer has were removed")
    elif outcome.left:
        remark(
            f"{safe(account)}: {outcome.left} messages are here that the origin no longer has; --delete removes them"
        )
    return outcome.is_good


def report(name: str, outcome: Outcome, what: str) -> None:
    """Say what became of an account, beginning with `what`."""
    print(f"{safe(name)}: {what}, {outcome.verified} verified ({octets(outcome.octets)})", flush=True)
    for fault in outcome.faults:
        print(f"mailfw: {safe(name)}: {safe(fault)}", file=sys.stderr)
    if outcome.others:
        print(f"mailfw: {safe(name)}: and {outcome.others} more", file=sys.stderr)


async def move_all(
    opened: Stock,
    accounts: Sequence[str],
    ends: Callable[[str], Awaitable[tuple[Origin, Target]]],
    terms: Terms,
) -> int:
    """Move accounts one after the other, passing over those that have no mail; returns the exit code."""
    from mailfw.transfer.account import TargetFull, TransferRefused

    good = True
    for account in accounts:
        try:
            good &= await move(opened, account, *await ends(account), terms)
        except TransferRefused as reason:
            if len(accounts) == 1 or isinstance(reason, TargetFull):
                raise
            print(f"mailfw: {safe(account)}: {safe(reason)}", file=sys.stderr)
            good = False
    return 0 if good else 1


def chosen(given: argparse.Namespace, opened: Stock) -> list[str]:
    """Return the accounts that the command line means.  Raises `CommandRefused`."""
    if given.all == bool(given.accounts):
        raise CommandRefused("name accounts, or say --all")
    if not given.all:
        return [full_name(each, opened) for each in given.accounts]
    names = opened.account_names()
    if names is None:
        raise CommandRefused("no [[auth]] plug-in of this configuration says which accounts there are: name them")
    return names


def full_name(name: str, opened: Stock) -> str:
    """Return an account's name, with the first domain where it has none."""
    return name.lower() if "@" in name else f"{name.lower()}@{opened.first_domain}"


def account_folder(root: Path, account: str) -> Path:
    """Return where in a site's backup an account is."""
    from mailfw.stores.places import account_directory

    return account_directory(root, account)
