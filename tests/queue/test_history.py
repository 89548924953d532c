from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from mailfw.mail.address import Address
from mailfw.mail.reply import Reply
from mailfw.queue.history import History
from mailfw.site import Site


class HistoryTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def history(self, **options: Any) -> History:
        history = History(Site("mx.example.org", frozenset(), self.folder / "data", reactor), **options)
        self.addCleanup(history.close)
        return history

    async def test_what_was_noted_is_found_again_in_order(self) -> None:
        history = self.history()
        history.note("1a", "accepted", sender=Address("ann", "example.org"), size=5)
        history.note("1b", "accepted")
        history.note("1a", "deferred", reply=Reply(451, "4.3.0", "Later"), hosts=frozenset({"mx"}))
        events = await history.of("1a")
        self.assertEqual([each["event"] for each in events], ["accepted", "deferred"])
        self.assertEqual(events[0]["sender"], "ann@example.org")
        self.assertEqual(events[0]["size"], 5)
        self.assertEqual(events[1]["reply"], "451 4.3.0 Later")
        self.assertEqual(events[1]["hosts"], ["mx"])
        self.assertLess(abs(events[0]["at"] - time.time()), 60)
        self.assertEqual(await history.of("1"), [])

    async def test_another_process_finds_it(self) -> None:
        first = self.history()
        first.note("1a", "accepted")
        await first.close()
        self.assertEqual(len(await self.history().of("1a")), 1)
        self.assertEqual((self.folder / "data" / "history" / "current").stat().st_mode & 0o777, 0o600)

    async def test_it_stays_small_and_forgets_the_oldest(self) -> None:
        history = self.history(size=1000, files=3)
        for number in range(40):
            history.note(f"m{number}", "accepted", text="x" * 200)
            history.note("all", "seen", number=number)
            await history.flush()
        files = sorted(path.name for path in (self.folder / "data" / "history").iterdir())
        self.assertLessEqual(len(files), 3)
        self.assertEqual(await history.of("m0"), [])
        self.assertEqual(len(await history.of("m39")), 1)
        numbers = [each["number"] for each in await history.of("all")]
        self.assertEqual(numbers, list(range(numbers[0], 40)))

    async def test_facts_of_any_kind_do_no_harm(self) -> None:
        history = self.history()
        loop: list[object] = []
        loop.append(loop)
        history.note("1a", "odd", fact=loop)
        history.note("1a", "odd", fact=object(), text="\ud800\n\r\0", octets=b"\xff", other=float("nan"))
        self.assertEqual([each["event"] for each in await history.of("1a")], ["odd", "odd"])

    async def test_a_torn_line_is_passed_over(self) -> None:
        history = self.history()
        history.note("1a", "accepted")
        await history.flush()
        path = self.folder / "data" / "history" / "current"
        path.write_bytes(path.read_bytes() + b'{"at":1,"id":"1a","eve' + b"\n" + b"\xff\n[1]\n")
        history.note("1a", "delivered")
        self.assertEqual([each["event"] for each in await history.of("1a")], ["accepted", "delivered"])

    async def test_a_broken_disk_is_said_once_and_costs_nobody_anything(self) -> None:
        (self.folder / "data").write_text("a file where a directory should be")
        history = self.history()
        for _ in range(3):
            history.note("1a", "accepted")
            await history.flush()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        (self.folder / "data").unlink()
        history.note("1a", "delivered")
        self.assertEqual([each["event"] for each in await history.of("1a")], ["delivered"])

    async def test_it_takes_no_time(self) -> None:
        history = self.history()
        began = time.process_time()
        for number in range(20_000):
            history.note("1a", "accepted", number=number)
        self.assertLess((time.process_time() - began) / 20_000, 20e-6)

    async def test_what_waits_is_bounded(self) -> None:
        history = self.history()
        for _ in range(100_005):
            history.note("1a", "accepted")
        await history.flush()
        lines = (self.folder / "data" / "history" / "current").read_bytes().splitlines()
        self.assertEqual(len(lines), 100_000)
        self.assertEqual(json.loads(lines[0])["event"], "accepted")
