"""The socket of a running server, spoken to as the commands do and as nobody should."""

from __future__ import annotations

import base64
import io
import json
import socket
import stat
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailfw.commands import connection
from mailfw.commands.language import reachable
from mailfw.commands.refusal import CommandRefused
from mailfw.interfaces import IDraft, IIntake
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Notify, Service
from mailfw.mail.outcome import Deferred as Later
from mailfw.mail.outcome import Delivered, Failed, Outcome
from mailfw.mail.queued import Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route
from mailfw.queue.history import History
from mailfw.queue.operations import Operations
from mailfw.queue.runner import QueueRunner
from mailfw.service.answers import Answers, SubmissionLimits
from mailfw.service.control import Control
from mailfw.site import Site
from mailfw.spools.memory import MemorySpool
from mailfw.testing.contents import MemoryContent

BOB = Address("bob", "example.net")


@implementer(IIntake)
class PretendIntake:
    """Takes what it is given, or answers with `outcome`."""

    def __init__(self, spool: MemorySpool) -> None:
        self._spool = spool
        self.outcome: Outcome = Delivered()
        self.taken: list[tuple[Client, Envelope, bytes]] = []

    async def open_draft(self, size_hint: int) -> IDraft:
        return await self._spool.open_draft(size_hint)

    async def accept(self, client: Client, envelope: Envelope, draft: IDraft) -> list[Outcome]:
        self.taken.append((client, envelope, await draft.read(0, draft.size)))
        return [self.outcome] * len(envelope.recipients)


class ControlTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240
        self.data.mkdir(mode=0o700, parents=True)
        site = Site("mx.example.org", frozenset({"example.org"}), self.data, reactor)
        self.spool = MemorySpool()
        history = History(site)
        runner = QueueRunner(site=site, spool=self.spool, planner=cast(Any, None), couriers={})
        operations = Operations(site=site, spool=self.spool, runner=runner, history=history)
        self.intake = PretendIntake(self.spool)
        answers = Answers(operations=operations, intake=self.intake, limits=SubmissionLimits(1000, 3))
        self.control = Control(data=self.data, reactor=reactor, answers=answers)
        self.control.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(history.close()))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.control.close()))
        for name in ("a1", "a2"):
            leg = Leg(Route("relay", "example.net"), (Pending(BOB, BOB),), 2e9)
            queued = Queued(Envelope(name, None, (BOB,)), 1.0, (leg,), size=5)
            await self.spool.put(queued, MemoryContent(b"Subject: x\r\n\r\n" + b"body\r\n" * 20_000))
            await self.spool.give_back(queued)

    async def ask(self, request: dict[str, Any], body: bytes | None = None) -> list[dict[str, Any]]:
        """Ask as the commands do, from a thread."""

        def work() -> list[dict[str, Any]]:
            found = connection._connect(self.data)
            assert found is not None
            with found:
                given = {"mailfw": 1, "by": "0", **request}
                return list(connection._exchange(found, given, io.BytesIO(body) if body is not None else None))

        return await deferToThread(work)

    async def raw(self, *pieces: bytes) -> list[dict[str, Any]]:
        """Say something that is no request, and return what is answered until the connection ends."""

        def work() -> bytes:
            with socket.socket(socket.AF_UNIX) as client, reachable(self.data / "control.sock") as path:
                client.connect(path)
                client.settimeout(20)
                for piece in pieces:
                    client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
                answer = b""
                while octets := client.recv(65536):
                    answer += octets
                return answer

        return [json.loads(line) for line in (await deferToThread(work)).splitlines()]

    async def test_only_the_owner_may_ask(self) -> None:
        mode = (self.data / "control.sock").stat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(mode & 0o777, 0o600)

    async def test_list_and_show(self) -> None:
        self.assertEqual([line["id"] for line in await self.ask({"do": "list"})], ["a1", "a2"])
        self.assertEqual([line["id"] for line in await self.ask({"do": "list", "where": {"ids": ["a2"]}})], ["a2"])
        state, header = await self.ask({"do": "show", "id": "a1", "part": "header"})
        self.assertEqual(state["id"], "a1")
        self.assertEqual(base64.b64decode(header["octets"]), b"Subject: x\r\n")
        _, *pieces = await self.ask({"do": "show", "id": "a1", "part": "content"})
        whole = b"".join(base64.b64decode(piece["octets"]) for piece in pieces)
        self.assertEqual(whole, b"Subject: x\r\n\r\n" + b"body\r\n" * 20_000)
        self.assertEqual(await self.ask({"do": "show", "id": "x"}), [{"refused": "there is no message x in the queue"}])

    async def test_changes(self) -> None:
        lines = await self.ask({"do": "hold", "where": {"ids": ["a1"]}, "reason": "odd"})
        self.assertEqual(lines, [{"id": "a1", "done": "held"}])
        self.assertEqual(await self.ask({"do": "delete", "where": {"held": True}}), [{"id": "a1", "done": "deleted"}])
        self.assertEqual((await self.ask({"do": "stats"}))[0]["messages"], 1)

    async def test_a_filter_that_is_not_known_widens_nothing(self) -> None:
        for where in ({"oldr": 5}, {"held": "no"}, {"sender": 5}, {"ids": "a1"}, {"ids": [1]}, "x", None):
            lines = await self.ask({"do": "delete", "where": where})
            self.assertEqual([list(line) for line in lines], [["refused"]], where)
        self.assertEqual(await self.spool.count(), 2)

    async def test_what_is_no_request(self) -> None:
        for pieces in (
            (b"GET / HTTP/1.0\r\n\r\n",),
            (b"[1]\r\n",),
            (b"[" * 100_000 + b"\r\n",),
            (b"\xff\xfe\r\n",),
            (b'{"do":"list"}\r\n',),
            (b'{"mailfw":2,"do":"list"}\r\n',),
            (b'{"mailfw":1,"do":"frobnicate"}\r\n',),
            (b'{"mailfw":1,"do":["list"]}\r\n',),
            (b'{"mailfw":1,"do":"trace","id":5}\r\n',),
            (b'{"mailfw":1,"do":"send","size":-1}\r\n',),
        ):
            answer = await self.raw(*pieces)
            self.assertIn("refused", answer[0], pieces)
        self.assertEqual(await self.raw(b'{"mailfw":1,'), [])
        self.assertEqual(await self.raw(), [])
        self.assertEqual(await self.ask({"do": "list", "where": {"sender": "x"}}), [])

    async def test_a_request_has_a_bound(self) -> None:
        answer = await self.raw(b'{"mailfw":1,"do":"list","where":{"ids":["' + b"x" * 1_100_000 + b'"]}}\r\n')
        self.assertIn("refused", answer[0])

    async def send(self, body: bytes = b"Subject: x\r\n\r\nHi\r\n", **said: Any) -> list[dict[str, Any]]:
        request = {"do": "send", "sender": "ann@example.org", "recipients": ["bob@example.net"], "size": len(body)}
        return await self.ask({**request, **said}, body)

    async def test_a_message(self) -> None:
        (line,) = await self.send(notify="success,delay", returns="FULL", envid="E1", eight_bit=True)
        self.assertEqual(line["done"], "accepted")
        ((client, envelope, octets),) = self.intake.taken
        self.assertEqual(octets, b"Subject: x\r\n\r\nHi\r\n")
        self.assertEqual((client.service, client.helo, client.account), (Service.LOCAL, "uid=0", None))
        self.assertEqual(envelope.id, line["id"])
        self.assertEqual((envelope.sender, envelope.recipients), (Address("ann", "example.org"), (BOB,)))
        self.assertEqual((envelope.body, envelope.returns, envelope.envid), ("8BITMIME", "FULL", "E1"))
        self.assertEqual(envelope.of(BOB).notify, Notify.SUCCESS | Notify.DELAY)

    async def test_a_message_from_nobody(self) -> None:
        await self.send(sender="")
        self.assertIsNone(self.intake.taken[0][1].sender)

    async def test_messages_that_are_not_taken(self) -> None:
        recipients: list[list[str]] = [[], ["bob"], ["a b@example.net"], ["x@example.net\r\nRCPT TO:<y@z>"]]
        wrong: list[dict[str, Any]] = [{"recipients": each} for each in recipients]
        wrong += [
            {"recipients": [f"u{n}@example.net" for n in range(4)]},
            {"sender": "<>"},
            {"size": 1001},
            {"size": "5"},
            {"notify": "sometimes"},
            {"notify": "never,success"},
        ]
        for said in wrong:
            (line,) = await self.send(**said)
            self.assertIn("refused", line, said)
        self.assertEqual(self.intake.taken, [])

    async def test_what_the_queue_says_comes_back(self) -> None:
        self.intake.outcome = Failed(Reply(550, "5.1.1", "No such user here"))
        self.assertEqual(await self.send(), [{"refused": "550 5.1.1 No such user here", "temporary": False}])
        self.intake.outcome = Later(Reply(452, "4.3.1", "Full"))
        self.assertEqual(await self.send(), [{"refused": "452 4.3.1 Full", "temporary": True}])

    async def test_half_a_message_is_none(self) -> None:
        request = b'{"mailfw":1,"do":"send","sender":"","recipients":["bob@example.net"],"size":500}\r\nSubject: x\r\n'
        self.assertEqual(await self.raw(request), [])
        self.assertEqual(self.intake.taken, [])

    async def test_a_fault_is_logged_and_told(self) -> None:
        async def broken(limit: int) -> IDraft:
            raise ZeroDivisionError

        self.patch(self.intake, "open_draft", broken)
        (line,) = await self.send()
        self.assertIn("a fault of the server", line["refused"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_a_socket_that_a_killed_server_left_is_replaced(self) -> None:
        await self.control.close()
        self.assertFalse((self.data / "control.sock").exists())
        with socket.socket(socket.AF_UNIX) as left, reachable(self.data / "control.sock") as path:
            left.bind(path)
        self.assertIsNone(connection._connect(self.data))
        self.control = Control(data=self.data, reactor=reactor, answers=self.control._answers)
        self.control.listen()
        self.assertEqual(len(await self.ask({"do": "list"})), 2)

    async def test_where_no_server_has_been_there_is_nobody_to_ask(self) -> None:
        with self.assertRaises(CommandRefused):
            connection._connect(self.data / "nowhere")
