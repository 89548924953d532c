"""The backlog's tables: who is next costs the same whatever number waits, and what cannot be read hurts nobody."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.queued import Queued
from mailfw.spools.log.tables import Stored, Tables
from mailfw.testing.disk import FaultyDisk
from mailfw.testing.spool import NOW, names, queued


class TablesCase(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp())
        self.disk = FaultyDisk(root / "attic")
        self.tables = Tables(self.disk, root / "backlog.sqlite")
        self.addCleanup(self.tables.close)
        self.database: sqlite3.Connection = self.tables._database

    def fill(self, *messages: Queued) -> None:
        def work() -> None:
            for message in messages:
                self.tables.add(message, Stored(b""), is_out=False)

        self.tables.change(work)

    def take(self, limit: int = 10, each: int = 10, *passing_over: str) -> list[str]:
        return names(self.tables.change(lambda: self.tables.take(NOW, limit, each, passing_over)))

    def rows(self, table: str) -> int:
        return int(self.database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


class SizeTests(TablesCase):
    BUSY = ("relay:a.example", "relay:b.example")

    def steps(self, work: Callable[[], object]) -> int:
        """Return how many thousands of SQLite's instructions something takes."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        self.database.set_progress_handler(step, 100)
        work()
        self.database.set_progress_handler(None, 0)
        return count

    def test_what_waits_for_others_costs_nothing(self) -> None:
        costs: list[tuple[int, int, int]] = []
        last = 0
        for total in (200, 20_000):
            self.fill(
                *(queued(f"w{n}", (f"{'ab'[n % 2]}.example", NOW - n), priority=n % 19 - 9) for n in range(last, total))
            )
            last = total
            self.fill(*(queued(f"x{total}-{n}", (f"{n % 5}.example", NOW + 0.001 - total / 1e9)) for n in range(50)))
            costs.append(
                (
                    self.steps(lambda: self.tables.next_due(self.BUSY)),
                    self.steps(lambda: self.assertEqual(len(self.take(25, 5, *self.BUSY)), 0)),
                    self.steps(lambda: self.assertEqual(len(self.take(40, 20)), 40)),
                )
            )
        few, many = costs
        for small, large in zip(few, many, strict=True):
            self.assertLessEqual(large, 2 * small + 5, costs)

    def test_many_destinations(self) -> None:
        self.fill(*(queued(f"{n:05}", (f"{n}.example", NOW - n)) for n in range(3000)))
        passed = [f"relay:{n}.example" for n in range(2000, 3000)]
        self.assertEqual(self.take(3, 10, *passed), ["01999", "01998", "01997"])
        self.assertEqual(self.tables.next_due(passed), NOW - 1996)

    def test_routes_are_forgotten_with_their_last_message(self) -> None:
        self.fill(*(queued(f"{n}", (f"{n}.example", NOW)) for n in range(20)))
        self.assertEqual((self.rows("routes"), self.rows("lanes")), (20, 20))
        for name in self.take(100, 100):
            self.tables.change(lambda name=name: self.tables.remove(name))  # type: ignore[misc]
        for table in ("messages", "contents", "taken", "routes", "legs", "lanes"):
            self.assertEqual(self.rows(table), 0, table)

    def test_a_message_with_two_legs_of_one_route(self) -> None:
        message = queued("1a", ("a.example", NOW), ("a.example", NOW), ("a.example", NOW + 5))
        self.fill(message)
        self.assertEqual(self.take(), ["1a"])
        self.assertEqual(self.rows("legs"), 0)

    def test_a_full_destination_hides_no_other_for_long(self) -> None:
        self.fill(*(queued(f"{n:03}", ("a.example", NOW - 900 + n), ("b.example", NOW - 900 + n)) for n in range(300)))
        self.fill(queued("last", ("b.example", NOW)))
        self.assertEqual(len(self.take(100, 5)), 5)
        self.assertEqual(len(self.take(100, 5, "relay:a.example")), 5)
        while taken := self.take(100, 100):
            last = taken
        self.assertIn("last", last)


class UnreadableTests(TablesCase):
    def setUp(self) -> None:
        super().setUp()
        self.fill(*(queued(name, ("a.example", NOW)) for name in "123"))
        self.database.execute("UPDATE messages SET state = 'nonsense' WHERE id = ?", (b"2",))

    def test_it_is_passed_over(self) -> None:
        self.assertEqual(self.take(), ["1", "3"])
        self.assertIsNone(self.tables.next_due(()))
        self.assertIsNone(self.tables.get("2"))
        self.assertEqual(names(self.tables.scan("", 10)), ["1", "3"])
        self.assertEqual(self.tables.count(), 3)

    def test_it_can_be_replaced(self) -> None:
        self.assertIsNone(self.tables.change(lambda: self.tables.seize("2")))
        self.tables.change(lambda: self.tables.record(queued("2", ("b.example", NOW)), True))
        self.assertEqual(self.take(10, 10, "relay:a.example"), ["2"])

    def test_it_can_be_removed(self) -> None:
        self.tables.change(lambda: self.tables.remove("2"))
        self.assertEqual(self.rows("legs"), 2)
        self.assertEqual(self.take(), ["1", "3"])


class RollbackTests(TablesCase):
    def test_what_fails_changes_nothing(self) -> None:
        self.fill(queued("1", ("a.example", NOW)))
        self.disk.fail_at = self.disk.operations + 1
        with self.assertRaises(OSError):
            self.fill(queued("2", ("new.example", NOW)))
        self.assertEqual(self.tables.count(), 1)
        self.fill(queued("3", ("new.example", NOW)), replace(queued("4", ("a.example", NOW)), held="by hand"))
        self.assertEqual(sorted(self.take()), ["1", "3"])
