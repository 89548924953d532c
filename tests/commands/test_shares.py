"""What `mailfw mail share` and `mail shares` ask for; a real server answers in `tests/interop/test_sharing.py`."""

from __future__ import annotations

import argparse
from typing import Any

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.commands.mail import add_parsers
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import CreateMailbox
from mailfw.mail.rights import LETTERS
from mailfw.queue.operations import Refused
from mailfw.service.shares import SharedMailboxes
from mailfw.stores.memory import MemoryStore

ANN, BOB = "ann@example.org", "bob@example.org"


class SharedMailboxesTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.store = MemoryStore()
        await self.store.open_account(ANN)
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work", "2026")))
        self.shares = SharedMailboxes(self.store)

    async def share(self, mailbox: object, user: object, rights: object, owner: object = ANN) -> list[dict[str, Any]]:
        asked = {"account": owner, "mailbox": mailbox, "user": user, "rights": rights}
        return [line async for line in self.shares.share(asked, None)]

    async def lines(self, account: str) -> list[tuple[str, ...]]:
        return [tuple(line.values()) async for line in self.shares.shares({"account": account}, None)]

    async def test_sharing(self) -> None:
        [line] = await self.share("inbox", "Bob", "lr")
        self.assertEqual(line, {"owner": ANN, "mailbox": "INBOX", "user": BOB, "rights": "lr"})
        await self.share("Work/2026", "anyone", "l")
        expected = [(ANN, "INBOX", BOB, "lr"), (ANN, "Work/2026", "anyone", "l")]
        self.assertEqual(await self.lines(ANN), expected)
        self.assertEqual(await self.lines(BOB), [(ANN, "INBOX", BOB, "lr"), (ANN, "Work/2026", BOB, "l")])
        await self.share("INBOX", BOB, "")
        self.assertEqual(await self.lines(ANN), expected[1:])

    async def test_what_cannot_be(self) -> None:
        for asked in (
            ("Nowhere", BOB, "lr"),
            ("work/2026", BOB, "lr"),
            ("INBOX", "a b", "lr"),
            ("INBOX", ANN, "lr"),
            ("INBOX", "-ann", "lr"),
            ("INBOX", BOB, "lz"),
            ("INBOX", BOB, 5),
            (None, BOB, "lr"),
            ("INBOX", BOB, "lr", "nobody@example.org"),
        ):
            with self.assertRaises(Refused):
                await self.share(*asked)
        self.assertEqual(await self.lines(ANN), [])
        self.assertEqual(await self.lines("nobody@example.org"), [])

    async def test_a_store_that_shares_nothing(self) -> None:
        store: IMailStore = object()  # type: ignore[assignment]  # it is not looked at further
        with self.assertRaises(Refused):
            async for _ in SharedMailboxes(store).share({"account": ANN, "user": BOB}, None):
                pass


class Typed(SynchronousTestCase):
    def parse(self, *words: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser(exit_on_error=False)
        add_parsers(parser.add_subparsers())
        return parser.parse_args(["mail", *words])

    def test_rights(self) -> None:
        for typed, meant in (("lrs", "lrs"), ("dcl", "lkxte"), ("none", ""), ("all", LETTERS)):
            self.assertEqual(self.parse("share", "ann", "INBOX", "bob", typed).rights, meant)
        for typed in ("lz", "LR"):
            self.assertRaises((argparse.ArgumentError, SystemExit), self.parse, "share", "ann", "INBOX", "bob", typed)
