"""``mailfw migrate``: accounts from one store, or another server, into another store."""

from __future__ import annotations

import argparse
import getpass
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailfw.commands.connection import remark
from mailfw.commands.moving import add_verification, chosen, full_name, move_all, with_stock
from mailfw.commands.refusal import CommandRefused
from mailfw.mail.failure import NoSuchAccount

if TYPE_CHECKING:
    from mailfw.interfaces import IMailStore
    from mailfw.service.stock import Stock
    from mailfw.transfer.account import Origin, Target
    from mailfw.transfer.imap_server import ImapServer


def add_parsers(families: Any) -> None:
    """Add the command to the command line."""
    moving = families.add_parser("migrate", help="copy accounts from another store or server, or to another store")
    moving.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="an account here, or several")
    moving.add_argument("--all", action="store_true", help="every account")
    moving.add_argument(
        "--from", metavar="WHERE", dest="origin", default="", help="a store plug-in, or imaps://USER@HOST"
    )
    moving.add_argument(
        "--to", metavar="STORE", dest="target", default="", help="a store plug-in, e.g. maildir:path=/new"
    )
    moving.add_argument("--list", metavar="FILE", type=Path, help="lines of: ACCOUNT USER PASSWORD, for an IMAP server")
    moving.add_argument("--password-file", metavar="FILE", type=Path, help="the password at the IMAP server, one line")
    moving.add_argument("--ca", metavar="FILE", type=Path, help="whose certificates to trust, in PEM")
    moving.add_argument("--plaintext", action="store_true", help="send passwords without TLS where there is none")
    moving.add_argument(
        "--delete", action="store_true", help="remove what came earlier and is not at the origin any more"
    )
    add_verification(moving)
    moving.set_defaults(run=migrate)


def migrate(given: argparse.Namespace) -> int:
    """Copy accounts."""
    if not given.origin and not given.target:
        raise CommandRefused("where from, or where to?  --from and --to are each the configured store by default")
    if given.origin.partition("://")[0] in ("imap", "imaps"):
        return _from_server(given)
    for option in ("list", "password_file", "ca"):
        if getattr(given, option):
            raise CommandRefused(f"--{option.replace('_', '-')} is for --from imaps://…")
    return _between_stores(given)


def _between_stores(given: argparse.Namespace) -> int:
    from mailfw.transfer.engine import Terms
    from mailfw.transfer.store_origin import StoreOrigin

    async def work(opened: Stock) -> int:
        accounts = chosen(given, opened)
        origin_kind, origin = opened.another(given.origin)
        target_kind, target = opened.another(given.target)
        if origin is target or await _is_same(origin, target, accounts):
            raise CommandRefused("both stores are the same: all mail would be doubled")

        async def ends(account: str) -> tuple[Origin, Target]:
            found = StoreOrigin(origin, account, origin_kind)
            return found, await opened.target(account, f"{found.name}>{target_kind}", store=target)

        return await move_all(opened, accounts, ends, Terms(verify_all=not given.quick, delete=given.delete))

    return with_stock(given, work)


async def _is_same(origin: IMailStore, target: IMailStore, accounts: Sequence[str]) -> bool:
    """Whether two stores have the same mailboxes, though they were named otherwise: mail would be doubled."""
    for account in accounts:
        try:
            ids = [{(box.id, box.uid_validity) for box in await each.mailboxes(account)} for each in (origin, target)]
        except NoSuchAccount:
            continue
        if ids[0] & ids[1]:
            return True
    return False


# ---------------------------------------------------------------- another server


@dataclass(frozen=True, slots=True)
class _Job:
    account: str
    name: str
    server: ImapServer


def _from_server(given: argparse.Namespace) -> int:
    from mailfw.transfer.engine import Terms
    from mailfw.transfer.imap_origin import ImapOrigin

    jobs = _jobs(given)  # files and passwords first, as whoever types the command

    async def work(opened: Stock) -> int:
        by_account = {full_name(job.account, opened): job for job in jobs}
        kind, target = opened.another(given.target)
        names = opened.account_names()
        for account in by_account:
            if names is not None and account not in names:
                remark(f"note: nobody can log in as {account} yet")

        async def ends(account: str) -> tuple[Origin, Target]:
            job = by_account[account]
            origin = ImapOrigin(job.server, job.name, opened.disk)
            opened.site.reactor.addSystemEventTrigger("before", "shutdown", origin.interrupt)
            return origin, await opened.target(account, f"{job.name}>{kind}", store=target)

        return await move_all(opened, list(by_account), ends, Terms(verify_all=not given.quick, delete=given.delete))

    return with_stock(given, work)


def _jobs(given: argparse.Namespace) -> list[_Job]:
    from mailfw.transfer.account import TransferRefused

    try:
        if given.list:
            if given.accounts or given.all or given.password_file:
                raise CommandRefused("--list names accounts and passwords itself")
            return [_job(given, *_words(given.list, line)) for line in _lines(given.list)]
        if given.all or len(given.accounts) != 1:
            raise CommandRefused("from another server one account at a time, or --list FILE")
        return [_job(given, given.accounts[0], "", "")]
    except TransferRefused as reason:
        raise CommandRefused(str(reason))


def _lines(path: Path) -> Sequence[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as reason:
        raise CommandRefused(f"{path}: {reason}")
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _words(path: Path, line: str) -> Sequence[str]:
    words = line.split(maxsplit=2)
    if len(words) != 3:
        raise CommandRefused(f"{path}: a line is ACCOUNT USER PASSWORD, with blanks between")
    return words


def _job(given: argparse.Namespace, account: str, user: str, password: str) -> _Job:
    from dataclasses import replace

    from mailfw.transfer.imap_server import ImapServer, parse_address

    address = parse_address(given.origin)
    if user and address.user:
        raise CommandRefused("--list names the users: write imaps://HOST")
    address = replace(address, user=user or address.user or account)
    password = password or _password(given)
    server = ImapServer(address, password, context=_context(given), allow_plaintext=given.plaintext, tell=remark)
    return _Job(account, address.name, server)


def _context(given: argparse.Namespace) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=given.ca)
    except OSError as reason:
        raise CommandRefused(f"{given.ca}: {reason.strerror or reason}")


def _password(given: argparse.Namespace) -> str:
    """Return the password: never an argument, for every user can see those."""
    if given.password_file:
        lines = given.password_file.read_text("utf-8").splitlines() if given.password_file.is_file() else []
        if not lines or not lines[0]:
            raise CommandRefused(f"{given.password_file}: there is no password in it")
        return str(lines[0])
    if sys.stdin.isatty():
        return getpass.getpass("Password at the other server: ")
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise CommandRefused("no password on standard input")
    return password
