"""``mailfw backup`` and ``mailfw restore``: accounts as directories of ``.eml`` files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailfw.commands.connection import remark
from mailfw.commands.moving import account_folder, add_verification, chosen, full_name, move, move_all, with_stock
from mailfw.commands.refusal import CommandRefused

if TYPE_CHECKING:
    from mailfw.service.stock import Stock
    from mailfw.transfer.account import Origin, Target
    from mailfw.transfer.backup import Backup


def add_parsers(families: Any) -> None:
    """Add both commands to the command line."""
    saving = families.add_parser("backup", help="save accounts as directories of .eml files")
    saving.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="an account, or several")
    saving.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to; what is there already stays")
    saving.add_argument("--all", action="store_true", help="every account: DIRECTORY/example.org/ann")
    saving.add_argument("--prune", action="store_true", help="remove what the account no longer has from the backup")
    add_verification(saving)
    saving.set_defaults(run=backup)
    bringing = families.add_parser("restore", help="bring back what a backup has")
    bringing.add_argument("directory", metavar="DIRECTORY", type=Path, help="the backup of an account, or of a site")
    bringing.add_argument("--account", metavar="ACCOUNT", help="bring it into this account, not the one it is of")
    bringing.add_argument(
        "--mailbox",
        metavar="NAME",
        action="append",
        default=[],
        help="this mailbox alone: Work/2026; as often as needed",
    )
    bringing.add_argument("--gone", action="store_true", help="also what had been deleted before the last backup")
    bringing.add_argument("--reset-flags", action="store_true", help="give messages that are here their old flags too")
    add_verification(bringing)
    bringing.set_defaults(run=restore)


def backup(given: argparse.Namespace) -> int:
    """Save accounts."""
    from mailfw.transfer.engine import Terms

    given.directory = given.directory.absolute()
    terms = Terms(verify_all=not given.quick)

    async def work(opened: Stock) -> int:
        accounts = chosen(given, opened)
        is_site = given.all or len(accounts) > 1
        found = [each for each in accounts if await _has_mail(opened, each)] if given.all else accounts
        if len(found) < len(accounts):
            remark(f"{len(accounts) - len(found)} accounts have never had mail")
        if not is_site and _has_site(given.directory):
            raise CommandRefused(f"{given.directory} is the backup of a site; name the account's directory in it")

        def ends(account: str) -> tuple[Origin, Target]:
            from mailfw.transfer.backup_ends import BackupTarget
            from mailfw.transfer.store_origin import StoreOrigin

            root = account_folder(given.directory, account) if is_site else given.directory
            origin = StoreOrigin(opened.store, account, opened.kind)
            return origin, BackupTarget(_backup(opened, root), account, given.prune)

        return await move_all(opened, found, ends, terms)

    return with_stock(given, work)


async def _has_mail(opened: Stock, account: str) -> bool:
    from mailfw.mail.failure import NoSuchAccount

    try:
        await opened.store.mailboxes(account)
    except NoSuchAccount:
        return False
    return True


def _backup(opened: Stock, root: Path) -> Backup:
    from mailfw.transfer.backup import Backup

    return Backup(opened.disk, root)


def _has_site(directory: Path) -> bool:
    return not (directory / "backup.json").exists() and any(directory.glob("*/*/backup.json"))


def restore(given: argparse.Namespace) -> int:
    """Bring accounts back."""
    given.directory = given.directory.absolute()

    async def work(opened: Stock) -> int:
        roots = [given.directory]
        if _has_site(given.directory):
            if given.account:
                raise CommandRefused(f"{given.directory} is the backup of a site; name the account's directory in it")
            roots = sorted(each.parent for each in given.directory.glob("*/*/backup.json"))
        good = True
        for root in roots:
            good &= await _restore(given, opened, root)
        return 0 if good else 1

    return with_stock(given, work)


async def _restore(given: argparse.Namespace, opened: Stock, root: Path) -> bool:
    from mailfw.transfer.backup_ends import BackupOrigin
    from mailfw.transfer.engine import Terms

    saved = _backup(opened, root)
    manifest = await opened.disk.run(saved.manifest)
    account = full_name(given.account, opened) if given.account else manifest.account
    if manifest.finished is None:
        remark(f"{root}: this backup was not finished; what is in it is restored")
    names = opened.account_names()
    if names is not None and account not in names:
        remark(f"note: nobody can log in as {account} yet")
    only = frozenset(tuple(each.split("/")) for each in given.mailbox)
    if unknown := only - {each.path for each in manifest.boxes}:
        raise CommandRefused(f"{root} has no mailbox {'/'.join(min(unknown))}")
    origin = BackupOrigin(saved, manifest, given.gone)
    target = opened.target(account, origin.name, recognises=account == manifest.account)
    return await move(opened, account, origin, target, Terms(given.reset_flags, not given.quick, only))
