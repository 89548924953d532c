"""``mailfw store``: what is kept beside the mail itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mailfw.commands.bar import Bar
from mailfw.commands.connection import remark
from mailfw.commands.moving import chosen, with_stock
from mailfw.commands.refusal import CommandRefused

if TYPE_CHECKING:
    from mailfw.service.stock import Stock


def add_parsers(families: Any) -> None:
    """Add this family to the command line."""
    family = families.add_parser("store", help="look after the store")
    verbs = family.add_subparsers(metavar="VERB", required=True)
    rebuilding = verbs.add_parser("rebuild", help="make the index anew from the files")
    rebuilding.add_argument("accounts", metavar="ACCOUNT", nargs="*", help="an account, or several")
    rebuilding.add_argument("--all", action="store_true", help="every account")
    rebuilding.add_argument("--search", action="store_true", help="what mail is searched by alone, from the mail")
    rebuilding.set_defaults(run=rebuild)


def rebuild(given: argparse.Namespace) -> int:
    """Make indexes anew."""

    async def work(opened: Stock) -> int:
        from mailfw.mail.failure import NoSuchAccount
        from mailfw.optional import IRebuildable, ISearchedMail

        if given.search and not ISearchedMail.providedBy(opened.store):
            raise CommandRefused(f"the store {opened.kind} finds no text without reading mail")
        if not given.search and not IRebuildable.providedBy(opened.store):
            raise CommandRefused(f"the store {opened.kind} has no index apart from the mail itself")
        for account in chosen(given, opened):
            try:
                await (_rebuild_search if given.search else _rebuild)(opened, account)
            except NoSuchAccount:
                if not given.all:
                    raise
                remark(f"{account} has never had mail")
        return 0

    return with_stock(given, work, alone=not given.search)


async def _rebuild_search(opened: Stock, account: str) -> None:
    from mailfw.optional import ISearchedMail

    bar, told = Bar(), list[int]()
    boxes = await opened.store.mailboxes(account)

    def tell(messages: int) -> None:
        told.append(messages)
        bar.advance(messages, 0)

    bar.begin(account, sum(box.messages for box in boxes))
    try:
        await ISearchedMail(opened.store).rebuild_search(account, tell)
    finally:
        bar.end()
    print(f"{account}: {sum(told)} messages can be searched", flush=True)


async def _rebuild(opened: Stock, account: str) -> None:
    from mailfw.optional import IRebuildable

    bar = Bar()
    bar.begin(account, 0)
    try:
        await IRebuildable(opened.store).rebuild(account, lambda messages: bar.advance(messages, 0))
    finally:
        bar.end()
    boxes = await opened.store.mailboxes(account)
    print(f"{account}: {len(boxes)} mailboxes, {sum(box.messages for box in boxes)} messages", flush=True)
