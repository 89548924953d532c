"""A session whose store says at once that something has changed, while its notices come late or never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from mailfw.imap.news import News
from mailfw.optional import IGenerations
from tests.imap.sessions import SessionCase


class Mute:
    """A store nobody hears notices of, and whose `number` is its generation."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.number = 1
        self.snapshots = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._store, name)

    def generation(self, account: str, mailbox: str) -> int:
        return self.number

    async def watch(self, account: str, notice: Callable[[str, int], None]) -> Callable[[], None]:
        return lambda: None

    async def snapshot(self, account: str, mailbox: str, since: int) -> Any:
        self.snapshots += 1
        return await self._store.snapshot(account, mailbox, since)


class Silence(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.mute = Mute(self.store)
        self.realm._store = self.mute  # type: ignore[assignment] # it does what a store does

    def test_without_generations_there_is_no_news(self) -> None:
        here = self.open()
        self.put(1)
        self.assertEqual(self.ask(here, b"a NOOP"), b"a OK Done\r\n")

    def test_another_generation_is_looked_at_by_the_next_command(self) -> None:
        alsoProvides(self.mute, IGenerations)
        here = self.open()
        self.put(1)
        self.mute.number += 1
        self.assertIn(b"* 1 EXISTS\r\n", self.ask(here, b"a NOOP"))
        self.mute.snapshots = 0
        for _ in range(3):
            self.ask(here, b"a NOOP")
        self.assertEqual(self.mute.snapshots, 0)

    def test_where_looking_fails_it_is_done_again(self) -> None:
        alsoProvides(self.mute, IGenerations)
        here = self.open()
        self.put(1)
        self.mute.number += 1
        snapshot, self.mute.snapshot = self.mute.snapshot, None  # type: ignore[assignment] # which cannot be called
        self.assertIn(b"a OK", self.ask(here, b"a NOOP"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.mute.snapshot = snapshot  # type: ignore[method-assign]
        self.assertIn(b"* 1 EXISTS\r\n", self.ask(here, b"a NOOP"))


class NewsTests(SynchronousTestCase):
    def test_what_comes_while_one_looks_stays(self) -> None:
        news = News()
        news.hear(5)
        mark = news.mark("box")
        news.hear(6)
        news.taken(mark)
        self.assertTrue(news.have_come("box", 5))
        news.taken(news.mark("box"))
        self.assertFalse(news.have_come("box", 5))
