"""``mailfw backup`` and ``mailfw restore``: accounts as directories of ``.eml`` files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mailfw.commands.bar import Bar
from mailfw.commands.connection import remark
from mailfw.commands.moving import (
    account_folder,
    add_verification,
    chosen,
    full_name,
    move,
    move_all,
    report,
    with_stock,
)
from mailfw.commands.refusal import CommandRefused

if TYPE_CHECKING:
    from mailfw.disk import Disk
    from mailfw.service.stock import Stock
    from mailfw.transfer.account import Origin, Target
    from mailfw.transfer.backup import Backup
    from mailfw.transfer.site_backup import SiteBackup


def add_parsers(families: Any) -> None:
    """Add both commands to the command line."""
    saving = families.add_parser("backup", help="save accounts as directories of .eml files")
    saving.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="an account, or several")
    saving.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to; what is there already stays")
    saving.add_argument("--all", action="store_true", help="every account: DIRECTORY/example.org/ann")
    saving.add_argument("--prune", action="store_true", help="remove what the account no longer has from the backup")
    saving.add_argument("--verify", action="store_true", help="save nothing: look whether the backup there is whole")
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
    if given.verify:
        return verify(given)
    terms = Terms(verify_all=not given.quick)

    async def work(opened: Stock) -> int:
        accounts = chosen(given, opened)
        is_site = given.all or len(accounts) > 1
        found = [each for each in accounts if await _has_mail(opened, each)] if given.all else accounts
        if len(found) < len(accounts):
            remark(f"{len(accounts) - len(found)} accounts have never had mail")
        if not is_site and _site(opened.disk, given.directory).exists():
            raise CommandRefused(f"{given.directory} is the backup of a site; name the account's directory in it")

        async def ends(account: str) -> tuple[Origin, Target]:
            from mailfw.transfer.backup_ends import BackupTarget
            from mailfw.transfer.store_origin import StoreOrigin

            root = account_folder(given.directory, account) if is_site else given.directory
            origin = StoreOrigin(opened.store, account, opened.kind)
            return origin, BackupTarget(_backup(opened, root), account, given.prune)

        code = await move_all(opened, found, ends, terms)
        if given.all and code == 0:
            roots = [account_folder(given.directory, account) for account in found]
            await opened.disk.run(_site(opened.disk, given.directory).save, opened.site.data, roots)
        return code

    return with_stock(given, work)


def verify(given: argparse.Namespace) -> int:
    """Look whether a backup is whole; this needs no server, and none of its files."""
    from mailfw.disk import Disk
    from mailfw.transfer.backup import Backup
    from mailfw.transfer.check import check

    if given.accounts or given.all:
        raise CommandRefused("--verify looks at a directory: name that alone")
    disk, roots, faults = Disk(), [given.directory], []
    site = _site(disk, given.directory)
    if site.exists():
        roots, faults = site.roots()[0], site.faults()
    for fault in faults:
        remark(fault)
    good = not faults
    for root in roots:
        outcome = check(Backup(disk, root), Bar())
        report(str(root), outcome, f"{outcome.mailboxes} mailboxes, {outcome.messages} messages")
        good &= outcome.is_good
    return 0 if good else 1


def _site(disk: Disk, directory: Path) -> SiteBackup:
    from mailfw.transfer.site_backup import SiteBackup

    return SiteBackup(disk, directory)


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


def restore(given: argparse.Namespace) -> int:
    """Bring accounts back."""
    given.directory = given.directory.absolute()

    async def work(opened: Stock) -> int:
        roots = [given.directory]
        site = _site(opened.disk, given.directory)
        if site.exists():
            if given.account:
                raise CommandRefused(f"{given.directory} is the backup of a site; name the account's directory in it")
            roots, others = site.roots()
            if others:
                remark(f"{len(others)} accounts in it were gone when it was written last: name their directories")
            brought, stayed = await opened.disk.run(site.bring, opened.site.data)
            for words, paths in (("is back", brought), ("is another one here, and stays", stayed)):
                for path in paths:
                    remark(f"{opened.site.data / path} {words}")
        good = True
        for root in roots:
            good &= await _restore(given, opened, root)
        return 0 if good else 1

    return with_stock(given, work)


async def _restore(given: argparse.Namespace, opened: Stock, root: Path) -> bool:
    from mailfw.transfer.backup_ends import LEAP, BackupOrigin
    from mailfw.transfer.check import list_faults
    from mailfw.transfer.engine import Terms

    saved = _backup(opened, root)
    manifest = await opened.disk.run(saved.manifest)
    account = full_name(given.account, opened) if given.account else manifest.account
    faults: list[str] = []
    if manifest.finished is None:
        remark(f"{root}: this backup was not finished; what is in it is restored")
    else:
        for box in manifest.boxes:
            faults += await opened.disk.run(list_faults, saved, box)
    for fault in faults:
        remark(f"{root}: {fault}")
    names = opened.account_names()
    if names is not None and account not in names:
        remark(f"note: nobody can log in as {account} yet")
    only = frozenset(tuple(each.split("/")) for each in given.mailbox)
    if unknown := only - {each.path for each in manifest.boxes}:
        raise CommandRefused(f"{root} has no mailbox {'/'.join(min(unknown))}")
    origin = BackupOrigin(saved, manifest, given.gone)
    target = await opened.target(account, origin.name, recognises=account == manifest.account, leap=LEAP)
    return await move(opened, account, origin, target, Terms(given.reset_flags, not given.quick, only)) and not faults
