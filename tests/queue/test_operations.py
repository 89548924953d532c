from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Notify, RecipientOptions
from mailfw.mail.queued import Action, Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route
from mailfw.queue.history import History
from mailfw.queue.operations import Operations, Refused
from mailfw.queue.runner import QueueRunner
from mailfw.queue.selection import Selection
from mailfw.site import Site
from mailfw.spools.memory import MemorySpool
from mailfw.testing.contents import MemoryContent

ANN, BOB = Address("ann", "example.org"), Address("bob", "example.net")
NOW = 1_800_000_000.0


def queued(name: str, recipient: Address = BOB, **facts: Any) -> Queued:
    envelope = Envelope(name, ANN, (recipient,))
    pending = Pending(recipient, recipient, Reply(451, "4.3.0", "Greylisted\nfor now"), "mx.example.net")
    leg = Leg(Route("relay", recipient.domain), (pending,), NOW + 1000, 2)
    return replace(Queued(envelope, NOW - 3600, (leg,), size=12), **facts)


async def collect(lines: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in lines]


class SelectionTests(TestCase):
    def takes(self, one: Queued, **filters: Any) -> bool:
        return Selection(**filters).takes(one, NOW)

    def test_filters(self) -> None:
        one = queued("a")
        filters: dict[str, Any]
        for filters in (
            {},
            {"ids": ("b", "a")},
            {"older": 3600},
            {"sender": "ANN@example.org"},
            {"sender": "example.org"},
            {"sender": "@example.org"},
            {"sender": "*@example.*"},
            {"recipient": "bob@example.net"},
            {"recipient": "EXAMPLE.NET"},
            {"destination": "example.net"},
            {"destination": "relay:*"},
            {"reason": "greyLISTED for"},
            {"held": False},
            {"quarantined": False},
            {"older": 10, "sender": "ann@*", "recipient": "bob@*"},
        ):
            self.assertTrue(self.takes(one, **filters), filters)
        for filters in (
            {"ids": ("b",)},
            {"older": 3601},
            {"sender": "bob@example.net"},
            {"sender": "<>"},
            {"sender": "ple.org"},
            {"recipient": "ann@example.org"},
            {"destination": "example.org"},
            {"reason": "full"},
            {"held": True},
            {"quarantined": True},
            {"older": 10, "sender": "ann@*", "recipient": "eve@*"},
        ):
            self.assertFalse(self.takes(one, **filters), filters)

    def test_a_report_has_the_null_sender(self) -> None:
        one = queued("a", envelope=Envelope("a", None, (BOB,)))
        self.assertTrue(self.takes(one, sender="<>"))
        self.assertFalse(self.takes(one, sender="*"))

    def test_held_ones(self) -> None:
        held, quarantined = queued("a", held="by hand"), queued("a", held="quarantine: a virus")
        self.assertTrue(self.takes(held, held=True, quarantined=False))
        self.assertTrue(self.takes(quarantined, held=True, quarantined=True, reason="virus"))

    def test_everything(self) -> None:
        self.assertTrue(Selection().is_everything)
        self.assertFalse(Selection(held=False).is_everything)


class OperationsTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for what setUp returns
        site = Site("mx.example.org", frozenset({"example.org"}), Path(self.mktemp()), reactor)
        self.spool = MemorySpool()
        self.history = History(site)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.history.close()))
        # a runner that was not started asks no planner
        self.runner = QueueRunner(site=site, spool=self.spool, planner=cast(Any, None), couriers={})
        self.operations = Operations(site=site, spool=self.spool, runner=self.runner, history=self.history)
        await self.put(queued("a1"), queued("a2", Address("eve", "example.com")), queued("a3", held="quarantine: spam"))

    async def put(self, *messages: Queued) -> None:
        for each in messages:
            await self.spool.put(each, MemoryContent(b"Subject: x\r\n\r\nBody\r\n"))
            await self.spool.give_back(each)

    async def change(self, verb: str, reason: str = "", **filters: Any) -> list[tuple[str, str]]:
        lines = await collect(self.operations.change(verb, Selection(**filters), "0", reason))
        return [(line["id"], line.get("done") or line["refused"]) for line in lines]

    async def test_listing(self) -> None:
        lines = await collect(self.operations.describe(Selection()))
        self.assertEqual([line["id"] for line in lines], ["a1", "a2", "a3"])
        self.assertEqual(lines[0]["sender"], "ann@example.org")
        self.assertEqual(
            lines[0]["recipients"],
            [
                {
                    "original": "bob@example.net",
                    "address": "bob@example.net",
                    "route": "relay:example.net",
                    "due": NOW + 1000,
                    "attempts": 2,
                    "reply": "451 4.3.0 Greylisted for now",
                    "host": "mx.example.net",
                }
            ],
        )
        some = await collect(self.operations.describe(Selection(ids=("a2", "a9"))))
        self.assertEqual([line["id"] for line in some], ["a2"])

    async def test_many_are_listed_in_steps(self) -> None:
        await self.put(*(queued(f"b{number:04}") for number in range(450)))
        self.assertEqual(len(await collect(self.operations.describe(Selection()))), 453)

    async def test_showing(self) -> None:
        self.assertEqual((await self.operations.show("a1"))["id"], "a1")
        content = await self.operations.content("a1")
        self.assertEqual(await content.read(0, 100), b"Subject: x\r\n\r\nBody\r\n")
        await content.close()
        for look in (self.operations.show, self.operations.content):
            with self.assertRaises(Refused):
                await look("a9")

    async def test_hold_and_release(self) -> None:
        self.assertEqual(await self.change("hold", "looks odd", ids=("a1",)), [("a1", "held")])
        held = await self.spool.get("a1")
        assert held is not None
        self.assertEqual((held.held, held.due), ("looks odd", None))
        self.assertEqual(await self.change("retry", ids=("a1",)), [("a1", "it is held; release it")])
        self.assertEqual(await self.change("release", held=True), [("a1", "released"), ("a3", "released")])
        free = await self.spool.get("a1")
        assert free is not None and free.due is not None
        self.assertLess(free.due, NOW + 1000)

    async def test_a_quarantine_stays_one_when_it_is_held(self) -> None:
        await self.change("hold", "mine", ids=("a3",))
        held = await self.spool.get("a3")
        assert held is not None
        self.assertEqual(held.held, "quarantine: spam")

    async def test_retry(self) -> None:
        self.assertEqual(await self.change("retry", recipient="example.com"), [("a2", "tried now")])
        again = await self.spool.get("a2")
        assert again is not None and again.due is not None
        self.assertLess(again.due, NOW + 1000)
        self.assertEqual(again.legs[0].attempts, 2)

    async def test_delete(self) -> None:
        done = await self.change("delete", ids=("a1", "a9"))
        self.assertEqual(done, [("a1", "deleted"), ("a9", "no such message is selected")])
        self.assertIsNone(await self.spool.get("a1"))
        self.assertEqual(await self.change("delete", quarantined=True), [("a3", "deleted")])
        self.assertEqual(await self.spool.count(), 1)

    async def test_bounce(self) -> None:
        self.assertEqual(
            await self.change("bounce", "no such thing", ids=("a1",)), [("a1", "given back to its sender")]
        )
        bounced = await self.spool.get("a1")
        assert bounced is not None
        self.assertEqual((bounced.legs, bounced.due), ((), 0.0))
        (owed,) = bounced.owed
        self.assertEqual((owed.original, owed.action), (BOB, Action.FAILED))
        self.assertTrue(owed.reply.text.endswith("has given up on the message: no such thing"))

    async def test_a_bounce_that_nobody_wants_is_the_end(self) -> None:
        silent = Envelope("c1", ANN, (BOB,), options={BOB: RecipientOptions(Notify.NEVER)})
        await self.put(queued("c1", envelope=silent))
        self.assertEqual(await self.change("bounce", ids=("c1",)), [("c1", "given back to its sender")])
        self.assertIsNone(await self.spool.get("c1"))

    async def test_who_did_what_is_noted(self) -> None:
        await self.change("hold", "odd", ids=("a1",))
        (event,) = [each for each in await self.operations.trace("a1") if each["event"] == "command"]
        self.assertEqual((event["verb"], event["by"], event["reason"]), ("hold", "0", "odd"))

    async def test_a_message_that_cannot_be_changed_does_not_spoil_the_rest(self) -> None:
        alter = self.runner.alter

        async def broken(name: str, change: Any) -> Queued | None:
            if name == "a1":
                raise OSError("the disk")
            return await alter(name, change)

        self.patch(self.runner, "alter", broken)
        done = dict(await self.change("delete"))
        self.assertEqual(done["a2"], "deleted")
        self.assertIn("the disk", done["a1"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    async def test_an_attempt_under_way_is_not_waited_for(self) -> None:
        async def slow(name: str, change: Any) -> Queued | None:
            await Deferred()
            return None

        self.patch(self.runner, "alter", slow)
        self.patch(__import__("mailfw.queue.operations", fromlist=["_"]), "_PATIENCE", 0.01)
        self.assertEqual(await self.change("hold", ids=("a1",)), [("a1", "held, when the attempt under way has ended")])

    async def test_statistics(self) -> None:
        figures = await self.operations.statistics()
        self.assertEqual((figures["messages"], figures["quarantined"], figures["deferred"]), (3, 1, 2))
        self.assertEqual(figures["destinations"]["relay:example.net"]["messages"], 2)
        self.assertEqual(figures["octets"], 36)
        self.assertEqual(figures["oldest"], NOW - 3600)
