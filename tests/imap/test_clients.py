"""Python's own client over a real connection, and a store that takes its time."""

import imaplib
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailfw.imap.factory import imap_factory
from mailfw.testing.dialogue import Dialogue
from tests.imap.sessions import SessionCase

MESSAGE = "Subject: =?utf-8?b?7JWI64WV?=\r\nFrom: ann@example.org\r\n\r\n안녕하세요?\r\n".encode()


class Imaplib(TestCase):
    """All of a session with `imaplib`, which runs in a thread."""

    def test_a_whole_session(self) -> Any:
        case = SessionCase()
        case.setUp()
        case.clock = reactor  # type: ignore[assignment]  # real time for a real connection
        factory: Any = imap_factory(case.settings, portal=case.portal, open_draft=case._open_draft, clock=reactor)
        port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return deferToThread(self.talk, port.getHost().port)

    def talk(self, port: int) -> None:
        with imaplib.IMAP4("127.0.0.1", port, timeout=10) as client:
            client.login("ann@example.org", "secret")
            self.assertIn(b" UIDPLUS ", client.capability()[1][0])
            self.assertEqual(client.create("&1VyuAA-")[0], "OK")
            self.assertEqual(client.select("&1VyuAA-"), ("OK", [b"0"]))
            for _ in range(3):
                self.assertEqual(
                    client.append("&1VyuAA-", "(\\Flagged)", '"01-Jan-2026 00:00:00 +0900"', MESSAGE)[0], "OK"
                )
            self.assertEqual(client.noop()[0], "OK")
            self.assertEqual(client.response("EXISTS")[1][-1], b"3")
            self.assertEqual(client.fetch("2", "(UID FLAGS BODY[])")[1][0][1], MESSAGE)  # type: ignore[index]  # bytes
            client.literal = "안녕".encode()  # type: ignore[assignment]  # how imaplib sends one
            self.assertEqual(client.search("utf-8", "SUBJECT"), ("OK", [b"1 2 3"]))
            self.assertEqual(client.store("1:2", "+FLAGS", "(\\Deleted $x)")[0], "OK")
            self.assertEqual(client.copy("3", "Sent")[0], "OK")
            self.assertEqual(client.expunge()[1], [b"2", b"1"])
            self.assertEqual(client.uid("SEARCH", "ALL"), ("OK", [b"3"]))
            self.assertIn(b"MESSAGES 1", client.status("Sent", "(MESSAGES UNSEEN)")[1][0])
            self.assertEqual(client.rename("&1VyuAA-", "Work/&1VyuAA-")[0], "OK")
            self.assertIn(b'(\\HasNoChildren) "/" Work/&1VyuAA-', client.list()[1])
            self.assertEqual(client.close()[0], "OK")


class LaggingStore:
    """Lets some time pass before each call of a store, and after it."""

    def __init__(self, store: Any, pause: Callable[[], Any]) -> None:
        self._store = store
        self._pause = pause

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what zope asks to see which interfaces it provides
            raise AttributeError(name)
        called = getattr(self._store, name)

        async def call(*args: Any, **named: Any) -> Any:
            await self._pause()
            answer = await called(*args, **named)
            await self._pause()
            return answer

        async def iterate(*args: Any) -> Any:
            async for rows in called(*args):
                await self._pause()
                yield rows

        return iterate if name == "rows" else call


class Lagging(SessionCase):
    """A session that must wait for its store answers as one that need not."""

    def settle(self) -> None:
        for _ in range(500):
            self.clock.advance(0.001)

    def test_pipelined_commands_stay_in_order(self) -> None:
        self.put(3)
        direct, lagging = self.connect(), self.connect_lagging()
        said = (
            b"a LOGIN ann@example.org secret\r\nb EXAMINE INBOX\r\nc FETCH 1:* (UID FLAGS)\r\n"
            b"d STATUS Sent (MESSAGES)\r\n"
            b'e SELECT Junk\r\nf FETCH 1:* FLAGS\r\ng APPEND nowhere {8+}\r\nh LOGOUT\r\ni LIST "" %\r\nj UNSELECT\r\n'
            b"k NOOP\r\n"
        )
        direct.say(said)
        lagging.say(said)
        self.settle()
        heard = lagging.hear()
        self.assertEqual(heard, direct.hear())
        self.assertIn(b"k OK", heard)

    def connect_lagging(self) -> Dialogue:
        store: Any = self.realm._store
        lagging: Any = LaggingStore(self.store, lambda: deferLater(self.clock, 0.001))
        self.realm._store = lagging
        dialogue = self.connect()
        self.addCleanup(setattr, self.realm, "_store", store)
        return dialogue

    def test_what_happens_while_a_command_waits_is_told_by_it_or_the_next(self) -> None:
        self.put(1)
        here = self.connect_lagging()
        here.say(b"a LOGIN ann@example.org secret\r\nb SELECT INBOX\r\n")
        for _ in range(40):
            self.put(1)
            self.clock.advance(0.001)
        self.settle()
        here.say(b"c NOOP\r\n")
        self.settle()
        exists = [line for line in here.hear().splitlines() if line.endswith(b" EXISTS")]
        self.assertEqual(exists[-1], b"* 41 EXISTS")

    def test_idle_tells_everything_in_the_end(self) -> None:
        here = self.connect_lagging()
        here.say(b"a LOGIN ann@example.org secret\r\nb SELECT INBOX\r\nc IDLE\r\n")
        for _ in range(40):
            self.put(1)
            self.clock.advance(0.001)
        self.settle()
        heard = here.hear()
        self.assertTrue(heard.endswith(b"* 40 EXISTS\r\n* 40 RECENT\r\n"), heard)
        here.say(b"DO")
        self.put(1)
        here.say(b"NE\r\n")
        self.settle()
        self.assertIn(b"* 41 EXISTS\r\n", here.hear())

    def test_who_leaves_while_the_store_works_is_forgotten(self) -> None:
        here = self.connect_lagging()
        here.say(b"a LOGIN ann@example.org secret\r\nb SELECT INBOX\r\n")
        self.clock.advance(0.003)
        here.leave()
        self.settle()
        self.assertEqual(len(self.store._accounts["ann@example.org"]._watchers), 0)
