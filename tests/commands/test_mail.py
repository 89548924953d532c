"""What accounts keep and may keep, and what was expunged: the commands beside a real server, and while none runs."""

from __future__ import annotations

import imaplib
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import DELETED, INBOX, CreateMailbox, NewMessage
from mailfw.queue.operations import Refused
from mailfw.service.expunged import ExpungedMail
from mailfw.service.sweeper import FIRST, PAUSE, PERIOD, Sweeper
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import MemoryContent
from tests.commands.test_queue import Case
from tests.running import listen_anywhere

ANN = "ann@example.org"


class ExpungedMailTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.store = MemoryStore(retention=86400)
        await self.store.open_account(ANN)
        await self.store.edit_mailbox(ANN, CreateMailbox(("Work", "2026")))
        self.ids = {info.path: info.id for info in await self.store.mailboxes(ANN)}
        self.mail = ExpungedMail(self.store)
        await self.expunge(INBOX, "Dear friend", "Bob <bob@example.net>")
        await self.expunge(("Work", "2026"), "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "carl@example.com")

    async def expunge(self, path: tuple[str, ...], subject: str, author: str) -> None:
        octets = f"From: {author}\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()
        await self.store.append(ANN, self.ids[path], [NewMessage(MemoryContent(octets), frozenset({DELETED}))])
        await self.store.expunge(ANN, self.ids[path], None)

    async def ask(self, verb: str, account: object = ANN, **where: object) -> list[dict[str, Any]]:
        return [line async for line in self.mail.verbs[verb]({"account": account, "where": where}, None)]

    async def test_what_is_kept_and_retained(self) -> None:
        [line] = await self.ask("usage")
        self.assertEqual((line["messages"], line["retained_messages"]), (0, 2))
        self.assertGreater(line["retained_octets"], 50)
        self.assertEqual(line["octet_limit"], 0)

    async def test_filters(self) -> None:
        for where, subjects in (
            ({}, ["Dear friend", "Grüße"]),
            ({"mailbox": "inbox"}, ["Dear friend"]),
            ({"mailbox": "Work/2026"}, ["Grüße"]),
            ({"mailbox": "Work"}, []),
            ({"subject": "grüß"}, ["Grüße"]),
            ({"sender": "BOB@"}, ["Dear friend"]),
            ({"sender": "bob", "subject": "grüß"}, []),
            ({"since": 0}, ["Dear friend", "Grüße"]),
            ({"since": 5e9}, []),
        ):
            lines = await self.ask("retained", **where)
            self.assertEqual([line["subject"] for line in lines], subjects, where)

    async def test_undelete(self) -> None:
        self.assertEqual(await self.ask("undelete", subject="dear"), [{"done": 1}])
        self.assertEqual((await self.store.mailbox(ANN, self.ids[INBOX])).messages, 1)
        self.assertEqual(await self.ask("undelete"), [{"done": 1}])
        self.assertEqual(await self.ask("undelete"), [{"done": 0}])

    async def test_what_is_no_request(self) -> None:
        for account, where in ((5, {}), ("nobody@example.org", {}), (ANN, {"sinc": 5}), (ANN, {"since": "x"})):
            for verb in ("retained", "undelete"):
                with self.assertRaises(Refused):
                    await self.ask(verb, account, **where)
        self.assertEqual(len(await self.ask("retained")), 2)


class SweeperTests(TestCase):
    async def test_it_sweeps_until_nothing_is_left_and_then_again(self) -> None:
        clock, asked = Clock(), []
        answers = [True, True, False, False]
        store = MemoryStore()

        async def forget(before: float) -> bool:
            asked.append((clock.seconds(), before))
            if len(asked) == 1:
                raise OSError("no disk")
            return answers.pop(0)

        with patch.object(store, "forget_retained", forget):
            sweeper = Sweeper(store, 1000.0, clock)
            sweeper.start()
            clock.advance(FIRST)
            self.assertEqual(asked, [(FIRST, FIRST - 1000)])
            clock.advance(PERIOD)
            clock.pump([PAUSE] * 5)
            self.assertEqual(len(asked), 4)
            clock.advance(PERIOD)
            self.assertEqual(len(asked), 5)
            await sweeper.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_a_store_that_retains_nothing(self) -> None:
        clock = Clock()
        store: IMailStore = object()  # type: ignore[assignment]  # it is not looked at further
        sweeper = Sweeper(store, 1.0, clock)
        sweeper.start()
        await sweeper.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class MailTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.settings = (*self.settings, "--set=allow_plaintext_auth=true")
        self.mailfw("user", "add", "ann", typed="secret\n")

    def test_beside_a_server_and_without_one(self) -> None:
        from tests.running import RunningServer

        server = RunningServer(self.folder, *self.settings, *listen_anywhere("smtp", "imap"))
        self.addCleanup(server.stop)
        self.mailfw("user", "quota", "ann", "--octets", "1K")
        session = imaplib.IMAP4("127.0.0.1", server.ports["imap"])
        session.login(ANN, "secret")
        session.append("INBOX", "(\\Deleted)", "", b"From: bob@example.net\r\nSubject: Dear Ann\r\n\r\nx\r\n")
        answer = session.append("INBOX", "", "", b"Subject: y\r\n\r\n" + b"x" * 1000)
        self.assertIn(b"OVERQUOTA", answer[1][0])
        session.select("INBOX")
        session.expunge()
        [line] = self.lines("mail", "usage", "ann")
        self.assertEqual((line["messages"], line["octet_limit"], line["retained_messages"]), (0, 1024, 1))
        [line] = self.lines("mail", "retained", "ann", "--from", "BOB", "--since", "1h")
        self.assertEqual((line["subject"], line["mailbox"]), ("Dear Ann", "INBOX"))
        self.assertIn("1 messages are back", self.mailfw("mail", "undelete", "ann", "--subject", "dear").stdout)
        session.noop()
        self.assertEqual(session.select("INBOX")[1], [b"1"])
        session.logout()
        server.stop()
        self.assertIn("0 messages are back", self.mailfw("mail", "undelete", ANN, "--all").stdout)
        self.assertIn("kept:     1 messages", self.mailfw("mail", "usage", ANN).stdout)

    def test_what_is_not_clear(self) -> None:
        self.mailfw("mail", "undelete", "ann", code=1)
        self.mailfw("mail", "undelete", "ann", "--all", "--mailbox", "INBOX", code=1)
        self.mailfw("mail", "undelete", "ann", "--since", "yesterday", code=2)

    def test_user_quota(self) -> None:
        self.assertIn("any number of octets, any number of messages", self.mailfw("user", "quota", "ann").stdout)
        said = self.mailfw("user", "quota", "ann", "--octets", "10G", "--messages", "5").stdout
        self.assertIn("may keep 10737418240 octets, 5 messages", said)
        self.assertIn(
            "may keep 10737418240 octets, 6 messages", self.mailfw("user", "quota", "ann", "--messages", "6").stdout
        )
        self.assertIn("any number of octets", self.mailfw("user", "quota", "ann", "--default").stdout)
        self.mailfw("user", "quota", "ann", "--default", "--octets", "1", code=1)
        self.mailfw("user", "quota", "ann", "--octets", "-1", code=2)
