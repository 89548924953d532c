from collections.abc import AsyncIterator, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from mailfw.interfaces import IContent
from mailfw.mail.columns import Columns, columns_of
from mailfw.mail.mailbox import DELETED, FlagChange, Want
from mailfw.optional import IColumns, IManyContents
from mailfw.testing.contents import MemoryContent
from mailfw.testing.dialogue import Dialogue
from tests.pop3.house import ANN, House


class Counted(MemoryContent):
    """A content that says when it is closed."""

    def __init__(self, octets: bytes, closed: list[bytes]) -> None:
        super().__init__(octets)
        self._name, self._list = octets, closed

    async def close(self) -> None:
        self._list.append(self._name)


class AheadTests(SynchronousTestCase):
    """Messages are ``1`` to ``9``; the store opens them three at a time, and `opened` and `closed` list them."""

    def setUp(self) -> None:
        self.house = House(self)
        self.uids = self.house.put(*[b"%d" % number for number in range(1, 10)])
        self.gone: set[int] = set()
        self.asked: list[list[int]] = []
        self.opened: list[bytes] = []
        self.closed: list[bytes] = []
        self.single: list[int] = []
        self.house.store.replaced = {"contents": self.contents, "content": self.content}
        directlyProvides(self.house.store, IManyContents)
        self.dialogue = self.house.log_in()

    def open(self, uid: int) -> IContent | None:
        if uid in self.gone:
            return None
        octets = b"%d" % (self.uids.index(uid) + 1)
        self.opened.append(octets)
        return Counted(octets, self.closed)

    async def contents(self, account: str, mailbox: str, uids: Sequence[int]) -> AsyncIterator[Any]:
        self.asked.append(list(uids))
        for start in range(0, len(uids), 3):
            assert sorted(self.opened) == sorted(self.closed), "asked for more before all was closed"
            yield [(uid, content) for uid in uids[start : start + 3] if (content := self.open(uid)) is not None]

    async def content(self, account: str, mailbox: str, uid: int) -> IContent | None:
        self.single.append(uid)
        return self.open(uid)

    def retrieve(self, *numbers: int) -> list[bytes]:
        found = []
        for number in numbers:
            self.dialogue.say(b"RETR %d\r\n" % number)
            found.append(self.dialogue.hear().split(b"\r\n")[1])
        return found

    def quit(self) -> None:
        self.dialogue.say(b"QUIT\r\n")
        self.assertEqual(sorted(self.opened), sorted(self.closed))

    def test_one_after_the_other(self) -> None:
        self.assertEqual(self.retrieve(*range(1, 10)), [b"%d" % number for number in range(1, 10)])
        self.assertEqual(self.single, self.uids[:1])
        self.assertEqual(self.asked, [self.uids[1:]])
        self.quit()

    def test_some_are_passed_over(self) -> None:
        self.assertEqual(self.retrieve(1, 2, 4, 8, 9), [b"1", b"2", b"4", b"8", b"9"])
        self.assertEqual(len(self.asked), 1)
        self.quit()

    def test_back_and_forth(self) -> None:
        self.assertEqual(self.retrieve(1, 2, 1, 2, 9, 3), [b"1", b"2", b"1", b"2", b"9", b"3"])
        self.quit()

    def test_top_before_each(self) -> None:
        for number in range(1, 6):
            self.dialogue.say(b"TOP %d 0\r\nRETR %d\r\n" % (number, number))
            self.assertEqual(self.dialogue.hear().split(b"\r\n")[4], b"%d" % number)
        self.assertEqual(len(self.asked), 1)
        self.quit()

    def test_messages_that_go_meanwhile(self) -> None:
        self.gone = {self.uids[2], self.uids[5], self.uids[6], self.uids[7]}
        self.assertEqual(self.retrieve(1, 2, 4, 9), [b"1", b"2", b"4", b"9"])
        self.dialogue.say(b"RETR 3\r\nRETR 6\r\nRETR 7\r\nRETR 8\r\n")
        self.assertEqual(self.dialogue.hear(), b"-ERR This message is no longer there\r\n" * 4)
        self.quit()

    def test_connection_that_is_lost(self) -> None:
        self.retrieve(1, 2)
        self.dialogue.leave()
        self.assertEqual(sorted(self.opened), sorted(self.closed))

    def test_marked_while_it_is_open(self) -> None:
        self.retrieve(1, 2)
        self.dialogue.say(b"DELE 3\r\nRETR 3\r\nRETR 4\r\n")
        self.assertEqual(self.dialogue.hear(), b"+OK Done\r\n-ERR No such message\r\n+OK 1 octets\r\n4\r\n.\r\n")
        self.quit()


class BeneathTests(SynchronousTestCase):
    """What others do to the inbox while a session has it open."""

    def setUp(self) -> None:
        self.house = House(self)
        self.uids = self.house.put(b"one", b"two", b"three")
        self.dialogue = self.house.log_in()

    def assert_hears(self, said: bytes, answer: bytes) -> None:
        self.dialogue.say(said)
        self.assertEqual(self.dialogue.hear(), answer)

    def alter(self, uids: list[int]) -> None:
        self.house.run(self.house.memory.alter(ANN, self.house.inbox.id, uids, FlagChange.ADD, frozenset({DELETED})))

    def test_all_is_expunged(self) -> None:
        self.alter(self.uids)
        self.house.run(self.house.memory.expunge(ANN, self.house.inbox.id, None))
        gone = b"-ERR This message is no longer there\r\n"
        self.assert_hears(b"LIST 1\r\nRETR 1\r\nTOP 2 0\r\nRETR 3\r\n", b"+OK 1 3\r\n" + gone * 3)
        self.assert_hears(b"DELE 1\r\nDELE 1\r\nDELE 3\r\n", b"+OK Done\r\n-ERR No such message\r\n+OK Done\r\n")
        self.assert_hears(b"QUIT\r\n", b"+OK Goodbye\r\n")
        self.assertTrue(self.dialogue.closed)

    def test_what_others_mark_is_not_removed(self) -> None:
        self.alter(self.uids[:1])
        self.assert_hears(b"RETR 1\r\nDELE 2\r\nQUIT\r\n", b"+OK 3 octets\r\none\r\n.\r\n+OK Done\r\n+OK Goodbye\r\n")
        self.assertEqual(list(self.house.flags()), [self.uids[0], self.uids[2]])

    def test_numbers_stay_when_mail_comes_and_goes(self) -> None:
        self.alter(self.uids[:1])
        self.house.run(self.house.memory.expunge(ANN, self.house.inbox.id, self.uids[:1]))
        self.house.put(b"four")
        self.assert_hears(
            b"RETR 2\r\nSTAT\r\nRETR 4\r\n", b"+OK 3 octets\r\ntwo\r\n.\r\n+OK 3 11\r\n-ERR No such message\r\n"
        )

    def test_the_next_session_has_the_same_unique_ids(self) -> None:
        self.dialogue.say(b"UIDL\r\nDELE 1\r\nQUIT\r\n")
        before = self.dialogue.hear().split(b"\r\n")[2:4]
        again: Dialogue = self.house.log_in()
        again.say(b"UIDL\r\n")
        after = again.hear().split(b"\r\n")[1:3]
        self.assertEqual([line.split()[1] for line in before], [line.split()[1] for line in after])


class ColumnTests(SynchronousTestCase):
    def test_sizes_come_in_columns_where_a_store_has_them(self) -> None:
        house = House(self)
        house.put(b"1", b"22", b"333")

        async def columns(account: str, mailbox: str, uids: Sequence[int], want: Want) -> AsyncIterator[Columns]:
            for half in (uids[:2], uids[2:]):
                async for rows in house.memory.rows(account, mailbox, half, want):
                    yield columns_of(rows, want)

        house.store.replaced, house.store.failing = {"columns": columns}, "rows"
        directlyProvides(house.store, IColumns)
        dialogue = house.log_in()
        dialogue.say(b"LIST\r\n")
        self.assertEqual(dialogue.hear(), b"+OK 3 messages (6 octets)\r\n1 1\r\n2 2\r\n3 3\r\n.\r\n")
