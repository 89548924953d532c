"""LIST with all its options, LSUB and STATUS, as clients send them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from unittest import mock

from mailfw.imap import factory
from mailfw.imap.server import Session
from mailfw.mail.failure import NoSpace, NoSuchMailbox
from mailfw.mail.mailbox import DELETED, SEEN, CreateMailbox, Role, Subscribe
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, SessionCase
from tests.sharing.test_imap import BOB, SharedCase


class TreeCase(SessionCase):
    """A test that looks into its sessions."""

    def setUp(self) -> None:
        super().setUp()
        self.sessions: list[Session] = []

        def begin(*args: Any) -> Session:
            self.sessions.append(Session(*args))
            return self.sessions[-1]

        self.patch(factory, "Session", begin)

    def make(self, *names: str, role: Role | None = None) -> None:
        for name in names:
            run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(tuple(name.split("/")), role)))

    def subscribe(self, *path: str, subscribed: bool = True) -> None:
        run_now(self, self.store.edit_mailbox(ANN, Subscribe(path, subscribed)))

    def says(self, dialogue: Dialogue, line: bytes, *expected: bytes, end: bytes = b"a OK ") -> None:
        """Say a line; the answer is exactly these lines, and its end begins so."""
        *lines, last = self.ask_lines(dialogue, b"a " + line)
        self.assertEqual(lines, list(expected), line)
        self.assertTrue(last.startswith(end), (line, last))


class Extended(TreeCase):
    def test_what_is_there_no_more_is_told_to_those_who_know_of_it(self) -> None:
        here = self.log_in()
        self.subscribe("gone")
        self.says(here, b'LIST (SUBSCRIBED) "" g*', b'* LIST (\\NonExistent \\HasNoChildren \\Subscribed) "/" gone')
        self.make("top/below")
        self.says(here, b'LIST "" top', b'* LIST (\\Noselect \\HasChildren) "/" top')
        self.says(here, b'LIST "" (top)', b'* LIST (\\NonExistent \\HasChildren) "/" top')
        self.says(here, b'LIST "" top RETURN (CHILDREN)', b'* LIST (\\NonExistent \\HasChildren) "/" top')

    def test_several_patterns_show_a_mailbox_once(self) -> None:
        here = self.log_in()
        self.says(
            here, b'LIST "" ("S%" "*nt" inbox)',
            b'* LIST (\\HasNoChildren) "/" INBOX', b'* LIST (\\HasNoChildren \\Sent) "/" Sent',
        )  # fmt: skip
        self.says(here, b'LIST "" ("")')

    def test_subscriptions_are_returned_when_they_are_asked_for(self) -> None:
        here = self.log_in()
        self.make("x")
        self.says(
            here, b'LIST "" (x Junk) RETURN (SUBSCRIBED)',
            b'* LIST (\\HasNoChildren \\Junk \\Subscribed) "/" Junk', b'* LIST (\\HasNoChildren) "/" x',
        )  # fmt: skip

    def test_recursivematch(self) -> None:
        here = self.log_in()
        for name in ("INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive"):
            self.subscribe(name, subscribed=False)
        self.make("foo", "foo/bar", "other")
        self.subscribe("foo", "bar")
        self.subscribe("far", "away")
        self.says(
            here, b'LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (STATUS (MESSAGES))',
            b'* LIST (\\NonExistent \\HasNoChildren) "/" far ("CHILDINFO" ("SUBSCRIBED"))',
            b'* LIST (\\HasChildren) "/" foo ("CHILDINFO" ("SUBSCRIBED"))',
        )  # fmt: skip
        self.says(here, b'LIST (RECURSIVEMATCH) "" %', end=b"a BAD ")

    def test_remote_adds_nothing(self) -> None:
        here = self.log_in()
        self.says(here, b'LIST (REMOTE) "" INBOX', b'* LIST (\\HasNoChildren) "/" INBOX')

    def test_special_use(self) -> None:
        here = self.log_in()
        answer = self.ask(here, b'a LIST (SPECIAL-USE) "" *')
        self.assertEqual(answer.count(b"* LIST"), 5)

    def test_what_is_switched_off_is_not_there(self) -> None:
        off = frozenset({b"LIST-STATUS", b"SPECIAL-USE", b"STATUS=SIZE"})
        self.settings = replace(self.settings, allowance=replace(self.settings.allowance, without=off))
        here = self.log_in()
        self.says(here, b'LIST "" * RETURN (STATUS (MESSAGES))', end=b"a BAD ")
        self.says(here, b'LIST (SPECIAL-USE) "" *', end=b"a BAD ")
        self.says(here, b"STATUS INBOX (SIZE)", end=b"a BAD ")
        self.assertNotIn(b"LIST-STATUS", self.ask(here, b"c CAPABILITY"))


class WithStatus(TreeCase):
    def test_each_mailbox_has_its_status_behind_it(self) -> None:
        here = self.log_in()
        self.make("top/below")
        self.put(2)
        self.says(
            here, b'LIST "" (top* inbox) RETURN (STATUS (MESSAGES UNSEEN SIZE))',
            b'* LIST (\\HasNoChildren) "/" INBOX', b"* STATUS INBOX (MESSAGES 2 UNSEEN 2 SIZE 64)",
            b'* LIST (\\NonExistent \\HasChildren) "/" top',
            b'* LIST (\\HasNoChildren) "/" top/below', b"* STATUS top/below (MESSAGES 0 UNSEEN 0 SIZE 0)",
        )  # fmt: skip
        self.says(here, b'LIST "" * RETURN (STATUS (NOTHING))', end=b"a BAD ")

    def test_a_thousand_mailboxes_are_one_call_of_the_store(self) -> None:
        self.make(*(f"box {number}" for number in range(1000)))
        here = self.log_in()
        calls: list[str] = []
        store = self.store

        class Counting:
            def __getattr__(self, name: str) -> Any:
                calls.append(name)
                return getattr(store, name)

        counting: Any = Counting()
        self.sessions[-1].store = counting
        asked = b'a LIST "" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT DELETED SIZE MAILBOXID))'
        answer = self.ask(here, asked)
        self.assertEqual(answer.count(b"* STATUS "), 1006)
        self.assertEqual([name for name in calls if name != "__provides__"], ["mailboxes"])

    def test_a_mailbox_that_goes_meanwhile_is_listed_all_the_same(self) -> None:
        here = self.log_in()
        self.put(1, DELETED)
        self.put(1)

        async def gone(*args: Any) -> Any:
            raise NoSuchMailbox

        self.store.snapshot = gone
        self.says(
            here, b'LIST "" inbox RETURN (STATUS (DELETED-STORAGE))', b'* LIST (\\Noselect \\HasNoChildren) "/" INBOX'
        )

    def test_one_that_cannot_be_counted_now_is_there_all_the_same(self) -> None:
        here = self.log_in()
        self.put(1, DELETED)
        self.put(1)

        async def full(*args: Any) -> Any:
            raise NoSpace

        self.store.snapshot = full
        self.says(here, b'LIST "" inbox RETURN (STATUS (DELETED-STORAGE))', b'* LIST (\\HasNoChildren) "/" INBOX')


class Status(TreeCase):
    def test_items(self) -> None:
        here = self.log_in()
        self.put(2)
        self.put(1, DELETED, SEEN)
        for item, value in (
            (b"MESSAGES", b"3"),
            (b"RECENT", b"3"),
            (b"UIDNEXT", b"4"),
            (b"UNSEEN", b"2"),
            (b"DELETED", b"1"),
            (b"SIZE", b"96"),
            (b"DELETED-STORAGE", b"32"),
            (b"APPENDLIMIT", b"%d" % self.settings.allowance.append),
            (b"HIGHESTMODSEQ", b"%d" % self.info().modseq),
        ):
            self.says(here, b"STATUS inbox (%b)" % item, b"* STATUS INBOX (%b %b)" % (item, value))
        self.says(here, b"STATUS INBOX (NOTHING)", end=b"a BAD ")

    def test_all_or_nothing_deleted_is_not_counted(self) -> None:
        here = self.log_in()
        self.put(1)
        with mock.patch.object(self.store, "snapshot", side_effect=AssertionError):
            self.says(here, b"STATUS INBOX (DELETED-STORAGE)", b"* STATUS INBOX (DELETED-STORAGE 0)")
            run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("x",))))
            self.put(2, DELETED, path=("x",))
            self.says(here, b"STATUS x (DELETED-STORAGE)", b"* STATUS x (DELETED-STORAGE 64)")

    def test_who_asks_for_highestmodseq_knows_of_it(self) -> None:
        here = self.log_in()
        self.says(here, b"STATUS INBOX (MESSAGES)", b"* STATUS INBOX (MESSAGES 0)")
        session = self.sessions[-1]
        self.assertFalse(session.tells_modseq)
        self.ask(here, b"a STATUS INBOX (HIGHESTMODSEQ)")
        self.assertTrue(session.tells_modseq)

    def test_recent_is_gone_from_rev2(self) -> None:
        here = self.log_in()
        self.ask(here, b"e ENABLE IMAP4rev2")
        self.says(here, b"STATUS INBOX (RECENT)", end=b"a BAD ")
        self.says(here, b"STATUS INBOX (DELETED SIZE)", b"* STATUS INBOX (DELETED 0 SIZE 0)")


class Long(TreeCase):
    def test_five_thousand_mailboxes_come_in_portions(self) -> None:
        self.make(*(f"box {number}" for number in range(5_000)))
        here = self.log_in()
        turns = 0
        stream = self.sessions[-1].stream
        give_way = stream.give_way

        async def count() -> None:
            nonlocal turns
            turns += 1
            await give_way()

        with mock.patch.object(type(stream), "give_way", lambda _: count()):
            answer = self.ask(here, b'a LIST "" *')
            self.assertEqual(answer.count(b"* LIST "), 5_006)
            self.assertGreater(turns, 20)
            turns = 0
            self.says(here, b'LIST "" ' + b"*x" * 1999)  # which matches nothing, and takes its time
            self.assertGreater(turns, 20)


class Rights(SharedCase):
    def test_rights_are_beside_each_mailbox(self) -> None:
        self.share("lr", "Sent")
        self.share("l")
        bob = self.enter(BOB)
        self.says(
            bob, 'a LIST "" ("Shared/%/%" Junk) RETURN (MYRIGHTS STATUS (MESSAGES))',
            '* LIST (\\HasNoChildren \\Junk) "/" Junk\r\n* MYRIGHTS Junk lrswipkxteacd\r\n'
            "* STATUS Junk (MESSAGES 0)\r\n",
            '* LIST (\\Noselect \\HasNoChildren) "/" Shared/ann@example.org/INBOX\r\n'
            "* MYRIGHTS Shared/ann@example.org/INBOX l\r\n",
            '* LIST (\\HasNoChildren) "/" Shared/ann@example.org/Sent\r\n* MYRIGHTS Shared/ann@example.org/Sent lr\r\n'
            "* STATUS Shared/ann@example.org/Sent (MESSAGES 0)\r\n",
            "a OK",
        )  # fmt: skip
        self.assertIn(" LIST-MYRIGHTS", self.says(bob, "b CAPABILITY", "b OK"))

    def test_where_nothing_is_shared_there_are_none(self) -> None:
        self.realm = type(self.realm).__mro__[1](self.store)
        self.portal.realm = self.realm
        ann = self.enter(ANN)
        self.says(ann, 'a LIST "" * RETURN (MYRIGHTS)', "a BAD ")


class Traps(TreeCase):
    """What clients do that is known to go wrong."""

    def test_apple_makes_an_inbox_below_the_inbox(self) -> None:
        here = self.log_in()
        for name in (b"INBOX/INBOX", b"INBOX.INBOX", b"inbox/Inbox/x", b"Inbox.inbox.x"):
            self.says(here, b"CREATE " + name, end=b"a NO [CANNOT] ")
            self.says(here, b"RENAME Junk " + name, end=b"a NO [CANNOT] ")
        self.says(here, b"CREATE INBOX/INBOXES", end=b"a OK ")
        self.says(here, b"CREATE Old/INBOX", end=b"a OK ")

    def test_no_use_is_shown_twice(self) -> None:
        real = self.store.mailboxes

        async def mailboxes(account: str) -> Any:
            found = await real(account)
            return [*found, replace(found[0], id="x", path=("Sent Items",), role=Role.SENT)]

        # a store that lets two mailboxes have one
        with mock.patch.object(self.store, "mailboxes", mailboxes):
            here = self.log_in()
            answer = self.ask(here, b'a LIST "" "*" RETURN (SPECIAL-USE)')
            self.assertEqual(answer.count(b"\\Sent"), 1)
            self.assertIn(b'* LIST (\\HasNoChildren) "/" "Sent Items"\r\n', answer)
            self.assertEqual(self.ask(here, b'b LIST (SPECIAL-USE) "" "*"').count(b"\\Sent"), 1)

    def test_a_second_mailbox_for_a_use_is_refused(self) -> None:
        here = self.log_in()
        self.says(here, b"CREATE Sent2 (USE (\\Sent))", end=b"a NO [USEATTR] ")
        for use in (b"\\All", b"\\Flagged", b"\\Important"):
            self.says(here, b"CREATE view (USE (%b))" % use, end=b"a NO [USEATTR] ")
        self.assertNotIn(b"view", self.ask(here, b'a LIST "" *'))

    def test_thunderbird_is_told_which_subscribed_names_cannot_be_opened(self) -> None:
        here = self.log_in()
        self.subscribe("gone")
        self.says(here, b'LSUB "" (gone)', end=b"a BAD ")
        self.says(here, b'LSUB "" gone', b'* LSUB (\\Noselect) "/" gone')
        self.says(here, b'LSUB "" Junk', b'* LSUB () "/" Junk')

    def test_thunderbird_writes_a_delimiter_behind_a_name(self) -> None:
        here = self.log_in()
        self.says(here, b"CREATE work/")
        self.says(here, b"SUBSCRIBE work/")
        self.says(here, b'LSUB "" work*', b'* LSUB () "/" work')
        self.says(here, b"STATUS work/ (MESSAGES)", b"* STATUS work (MESSAGES 0)")
        self.says(here, b"RENAME work/ office/")
        self.says(here, b"UNSUBSCRIBE work/")
        self.says(here, b"DELETE office/")
        self.assertNotIn(("work",), run_now(self, self.store.subscriptions(ANN)))

    def test_thunderbird_writes_an_ampersand_as_it_is_once_it_has_utf8(self) -> None:
        here = self.log_in()
        self.says(here, b"CREATE R&D", end=b"a BAD ")
        self.ask(here, b"e ENABLE UTF8=ACCEPT")
        self.assertTrue(self.sessions[-1].speaks_utf8)
        self.says(here, b"CREATE R&D")
        self.says(here, b'LIST "" R*', b'* LIST (\\HasNoChildren) "/" R&D')
        self.says(here, b"STATUS R&D (MESSAGES)", b"* STATUS R&D (MESSAGES 0)")
        self.says(here, b"DELETE R&D")

    def test_ios_sends_namespace_and_list_in_one_packet(self) -> None:
        here = self.log_in()
        here.say(b'A5 NAMESPACE\r\nA6 LIST "" "*" RETURN (SPECIAL-USE)\r\n')
        answer = here.hear()
        self.assertRegex(answer, rb'(?s)\A\* NAMESPACE \(\("" "/"\)\) NIL NIL\r\nA5 OK .*\\Sent\) "/" Sent.*\r\nA6 OK ')

    def test_who_has_not_enabled_rev2_hears_rev1(self) -> None:
        here = self.log_in()
        self.says(here, b"CREATE &1VyuAA-", end=b"a OK [MAILBOXID ")
        self.says(here, b'LIST "" &*', b'* LIST (\\HasNoChildren) "/" &1VyuAA-')
        self.says(here, b"RENAME &1VyuAA- &1Vw-")
        self.says(here, b"STATUS &1Vw- (RECENT)", b"* STATUS &1Vw- (RECENT 0)")


class Rev2(TreeCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.log_in()
        self.ask(self.here, b"e ENABLE IMAP4rev2")
        self.assertTrue(self.sessions[-1].is_rev2)

    def test_a_name_that_was_changed_is_told(self) -> None:
        decomposed, composed = "Cafe\u0301".encode(), "Caf\u00e9".encode()
        self.says(
            self.here, b'CREATE "%b"' % decomposed, b'* LIST () "/" "%b" ("OLDNAME" ("%b"))' % (composed, decomposed)
        )
        self.says(self.here, b"CREATE plain/")
        self.says(self.here, b'LIST "" "%b"' % decomposed, b'* LIST (\\HasNoChildren) "/" "%b"' % composed)

    def test_a_mailbox_that_is_opened_tells_its_name(self) -> None:
        decomposed, composed = "Cafe\u0301".encode(), "Caf\u00e9".encode()
        self.says(self.here, b"CREATE Plain")
        self.assertIn(b'* LIST () "/" Plain\r\n', self.ask(self.here, b"s SELECT Plain"))
        self.ask(self.here, b'c CREATE "%b"' % composed)
        expected = b'* LIST () "/" "%b" ("OLDNAME" ("%b"))\r\n' % (composed, decomposed)
        self.assertIn(expected, self.ask(self.here, b's EXAMINE "%b"' % decomposed))
        self.assertIn(b'* LIST () "/" INBOX\r\n', self.ask(self.here, b"s SELECT inbox"))

    def test_a_rename_tells_the_old_name(self) -> None:
        self.says(self.here, b"RENAME Junk Spam", b'* LIST () "/" Spam ("OLDNAME" (Junk))')

    def test_names_are_in_utf8(self) -> None:
        self.says(self.here, 'CREATE "한글"'.encode())
        self.says(self.here, 'STATUS "한글" (MESSAGES)'.encode(), '* STATUS "한글" (MESSAGES 0)'.encode())
        self.says(self.here, 'LIST "" "한*"'.encode(), '* LIST (\\HasNoChildren) "/" "한글"'.encode())


class Ids(TreeCase):
    def test_list_tells_mailbox_ids(self) -> None:
        here = self.log_in()
        made = re.search(rb"MAILBOXID (\([\w-]+\))", self.ask(here, b"a CREATE x"))
        assert made is not None
        self.says(
            here, b'LIST "" x RETURN (STATUS (MAILBOXID))',
            b'* LIST (\\HasNoChildren) "/" x', b"* STATUS x (MAILBOXID %b)" % made[1],
        )  # fmt: skip
