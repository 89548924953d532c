from dataclasses import replace
from typing import Any
from unicodedata import normalize

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.failure import NoSpace, NoSuchAccount, Overloaded
from mailfw.mail.mailbox import DELETED, FLAGGED, NO_FLAGS, SEEN, FlagChange
from mailfw.policies.tally import OwnTally
from mailfw.pop3.factory import pop3_factory
from mailfw.pop3.locks import OwnLocks
from mailfw.testing.contents import SAMPLES, BrokenContent, MemoryContent
from mailfw.testing.dialogue import Dialogue
from mailfw.wire.limits import ConnectionLimits
from tests.pop3.house import ANN, Answering, House, PretendAccount
from tests.pop3.test_body import by_lines


class PopCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(self)

    def assert_hears(self, dialogue: Dialogue, said: bytes, answer: bytes) -> None:
        dialogue.say(said)
        self.assertEqual(dialogue.hear(), answer)


class LoginTests(PopCase):
    def test_unknown_user_and_wrong_password_hear_the_same(self) -> None:
        heard = []
        for name in (b"ann@example.org", b"nobody@example.org"):
            dialogue = self.house.open()
            dialogue.say(b"USER " + name + b"\r\nPASS wrong\r\n")
            heard.append(dialogue.hear())
        self.assertEqual(heard[0], heard[1])

    def test_third_failure_is_the_last(self) -> None:
        dialogue = self.house.open()
        for _ in range(2):
            dialogue.say(b"USER ann@example.org\r\nPASS wrong\r\n")
            self.assertTrue(dialogue.hear().endswith(b"-ERR [AUTH] Name or password is wrong\r\n"))
        dialogue.say(b"AUTH PLAIN AGEAYg==\r\nUSER ann@example.org\r\nPASS secret\r\n")
        self.assertEqual(dialogue.hear(), b"-ERR [AUTH] Name or password is wrong; too many attempts\r\n")
        self.assertTrue(dialogue.closed)

    def test_korean_name_and_password(self) -> None:
        dialogue = self.house.open()
        dialogue.say("USER 하늘@example.org\r\nPASS 비밀 번호\r\n".encode())
        self.assertTrue(dialogue.hear().endswith(b"+OK 0 messages (0 octets)\r\n"))

    def answer_with(self, result: Any) -> bytes:
        portal = Answering(self.house)
        dialogue = Dialogue(pop3_factory(self.house.settings, portal=portal, clock=self.house.clock))  # type: ignore[arg-type]  # half a portal
        dialogue.hear()
        dialogue.say(b"USER ann@example.org\r\nPASS secret\r\nNOOP\r\n")
        self.assertEqual(dialogue.hear(), b"")
        if isinstance(result, Exception):
            portal.answers[0].errback(Failure(result))
        else:
            portal.answers[0].callback(result)
        first, second, third, rest = dialogue.hear().split(b"\r\n")
        self.assertEqual((first[:3], rest), (b"+OK", b""))
        self.assertTrue(third.startswith(b"+OK") if isinstance(result, tuple) else third == b"-ERR Log in first")
        return second

    def test_answers_that_take_their_time(self) -> None:
        account = PretendAccount(ANN, self.house.store)
        self.assertEqual(self.answer_with((None, account, lambda: None)), b"+OK 0 messages (0 octets)")
        self.assertIn(b"[AUTH]", self.answer_with(UnauthorizedLogin()))
        self.assertIn(b"[SYS/TEMP] Logins cannot be checked", self.answer_with(Overloaded()))

    def test_checker_that_fails(self) -> None:
        self.assertIn(b"[SYS/TEMP] Logins cannot be checked", self.answer_with(ZeroDivisionError()))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_store_that_fails_at_login(self) -> None:
        factory = self.house.factory()
        dialogue = Dialogue(factory)
        for failing in ("mailboxes", "snapshot", "rows"):
            self.house.store.failing = failing
            dialogue.say(b"USER ann@example.org\r\nPASS secret\r\n")
            self.assertTrue(dialogue.hear().endswith(b"try again later\r\n"), failing)
            self.assertEqual(self.house.realm.logged_in, 0)
        self.house.store.failing = ""
        self.house.log_in(factory)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 3)

    def test_maildrop_that_cannot_be_opened_ever(self) -> None:
        """RFC 3206 section 4: whom trying again does not help is told so."""
        self.house.store.failing = "mailboxes"
        for error in (NoSuchAccount(ANN), PermissionError(13, "no")):
            self.house.store.error = error
            dialogue = self.house.open()
            dialogue.say(b"USER ann@example.org\r\nPASS secret\r\n")
            heard = b"-ERR [SYS/PERM] This maildrop cannot be opened; tell the postmaster\r\n"
            self.assertTrue(dialogue.hear().endswith(heard))
            self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)
            self.assertEqual(self.house.realm.logged_in, 0)

    def test_locks_that_cannot_be_had(self) -> None:
        class Locks(OwnLocks):
            async def take(self, account: str) -> bool:
                raise OSError("nobody is there")

        dialogue = Dialogue(self.house.factory(locks=Locks()))
        dialogue.say(b"USER ann@example.org\r\nPASS secret\r\n")
        self.assertTrue(dialogue.hear().endswith(b"-ERR [SYS/TEMP] Something is wrong here; try again later\r\n"))
        self.assertEqual(self.house.realm.logged_in, 0)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_names_and_passwords_are_prepared(self) -> None:
        """RFC 6856 section 2.2: however a keyboard composed them; what SASLprep prohibits is refused."""
        dialogue = self.house.open()
        dialogue.say(normalize("NFD", "USER 하늘@example.org\r\nPASS 비밀\u3000번호\r\n").encode())
        self.assertTrue(dialogue.hear().endswith(b"+OK 0 messages (0 octets)\r\n"))
        dialogue = self.house.open()
        for said in ("USER a\u200e\r\n", "PASS \ue000\r\n", "USER a\u0627\r\n"):
            self.assert_hears(dialogue, said.encode(), b"-ERR A character is not allowed here\r\n")
        self.assert_hears(dialogue, "PASS \u00ad\u200b\r\n".encode(), b"-ERR An argument is needed\r\n")

    def test_passwords_are_not_logged(self) -> None:
        seen: list[Any] = []
        observer: Any = seen.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.house.store.failing = "mailboxes"
        dialogue = self.house.open()
        dialogue.say(b"USER ann@example.org\r\nPASS secret\r\nAUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=\r\nQUIT\r\n")
        self.flushLoggedErrors(OSError)
        events = "".join(f"{event}{event.get('log_failure') and event['log_failure'].getTraceback()}" for event in seen)
        self.assertIn("POP3 {account}", events)
        self.assertNotIn("secret", events)
        self.assertNotIn("c2VjcmV0", events)


class LockTests(PopCase):
    def test_one_session_an_account(self) -> None:
        factory = self.house.factory()
        first = self.house.log_in(factory)
        second = Dialogue(factory)
        second.hear()
        second.say(b"USER ann@example.org\r\nPASS secret\r\n")
        self.assertEqual(second.hear().split(b"\r\n")[1], b"-ERR [IN-USE] Another session has this maildrop")
        self.assertEqual(self.house.realm.logged_in, 1)
        second.say("USER 하늘@example.org\r\nPASS 비밀 번호\r\n".encode())
        self.assertIn(b"+OK 0 messages", second.hear())
        first.leave()
        self.house.log_in(factory)

    def test_listeners_share_locks(self) -> None:
        locks = OwnLocks()
        self.house.log_in(self.house.factory(locks=locks))
        other = Dialogue(self.house.factory(locks=locks))
        other.say(b"USER ann@example.org\r\nPASS secret\r\n")
        self.assertIn(b"[IN-USE]", other.hear())

    def test_every_end_unlocks(self) -> None:
        factory = self.house.factory()

        def expire(_: Dialogue) -> None:
            self.house.clock.advance(601)
            self.house.clock.advance(1)

        for end in (lambda d: d.say(b"QUIT\r\n"), Dialogue.leave, expire, lambda d: d.say(b"GET / HTTP/1.1\r\n")):
            end(self.house.log_in(factory))
            self.assertEqual(self.house.realm.logged_in, 0)


class LoginDelayTests(PopCase):
    """RFC 2449 section 6.5."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House(self, login_delay=60)
        counted = OwnTally(self.house.clock.seconds).allow(1, 60.0)
        self.factory = self.house.factory(logins_counted=counted)

    def log_in(self, name: bytes = b"ann@example.org", password: bytes = b"secret") -> Dialogue:
        dialogue = Dialogue(self.factory)
        dialogue.say(b"USER " + name + b"\r\nPASS " + password + b"\r\n")
        self.answer = dialogue.hear().split(b"\r\n")[2]
        return dialogue

    def test_too_soon(self) -> None:
        self.log_in().say(b"QUIT\r\n")
        self.assertEqual(self.answer, b"+OK 0 messages (0 octets)")
        self.house.clock.advance(20.5)
        self.log_in()
        self.assertEqual(self.answer, b"-ERR [LOGIN-DELAY] Too soon after the last login; wait 40 seconds")
        self.assertEqual(self.house.realm.logged_in, 0)
        self.log_in("하늘@example.org".encode(), "비밀 번호".encode())
        self.assertEqual(self.answer, b"+OK 0 messages (0 octets)")
        self.house.clock.advance(40)
        self.log_in()
        self.assertEqual(self.answer, b"+OK 0 messages (0 octets)")

    def test_who_is_refused_is_not_counted(self) -> None:
        self.log_in(password=b"wrong")
        self.assertIn(b"[AUTH]", self.answer)
        first = self.log_in()
        self.assertEqual(self.answer[:3], b"+OK")
        self.house.clock.advance(61)
        self.log_in()
        self.assertIn(b"[IN-USE]", self.answer)
        first.leave()
        self.log_in()
        self.assertEqual(self.answer[:3], b"+OK")


class ExpireTests(PopCase):
    """RFC 2449 section 6.7; with 0 the dialogue shows it."""

    def test_what_was_retrieved_stays(self) -> None:
        for expire in (None, 30):
            self.house = House(self, expire=expire)
            uids = self.house.put(b"one", b"two")
            dialogue = self.house.log_in()
            self.assertIn(b"EXPIRE NEVER\r\n" if expire is None else b"EXPIRE 30\r\n", self.capabilities(dialogue))
            dialogue.say(b"RETR 1\r\nQUIT\r\n")
            self.assertEqual(list(self.house.flags()), uids)

    def test_nothing_goes_where_the_connection_is_lost(self) -> None:
        self.house = House(self, expire=0)
        uids = self.house.put(b"one")
        dialogue = self.house.log_in()
        dialogue.say(b"RETR 1\r\n")
        dialogue.leave()
        self.assertEqual(list(self.house.flags()), uids)

    def capabilities(self, dialogue: Dialogue) -> bytes:
        dialogue.say(b"CAPA\r\n")
        return dialogue.hear()


class MaildropTests(PopCase):
    def test_unique_ids_are_dovecots(self) -> None:
        first, second = self.house.put(b"a", b"b")
        validity = self.house.inbox.uid_validity
        lines = [f"{number} {uid:08x}{validity:08x}\r\n".encode() for number, uid in ((1, first), (2, second))]
        dialogue = self.house.log_in()
        self.assert_hears(dialogue, b"UIDL\r\n", b"+OK 2 messages (2 octets)\r\n" + b"".join(lines) + b".\r\n")
        self.assert_hears(dialogue, b"UIDL 2\r\n", b"+OK " + lines[1])
        self.assert_hears(dialogue, b"UIDL 3\r\n", b"-ERR No such message\r\n")

    def test_long_listings(self) -> None:
        self.house.put(*[b"x"] * 2500)
        dialogue = self.house.log_in()
        dialogue.say(b"LIST\r\n")
        expected = [f"{number} 1".encode() for number in range(1, 2501)]
        self.assertEqual(dialogue.hear().split(b"\r\n")[1:-2], expected)

    def test_every_sample(self) -> None:
        for name, octets in SAMPLES.items():
            house = House(self)
            house.put(octets)
            dialogue = Dialogue(house.factory())
            dialogue.say(b"UTF8\r\nUSER ann@example.org\r\nPASS secret\r\n")
            dialogue.hear()
            self.assert_hears(dialogue, b"RETR 1\r\n", b"+OK %d octets\r\n" % len(octets) + by_lines(octets))
            header, end, body = (b"", b"\r\n", octets[2:]) if octets[:2] == b"\r\n" else octets.partition(b"\r\n\r\n")
            top = header + end + b"".join(line + b"\n" for line in body.split(b"\n")[:1] if b"\n" in body)
            if b"\n" not in body:
                top = octets
            self.assert_hears(dialogue, b"TOP 1 1\r\n", b"+OK Top of message\r\n" + by_lines(top))
            self.assertEqual(dialogue.closed, False, name)

    def test_long_header(self) -> None:
        """TOP downgrades what RETR does, however long the header, and wherever a part begins that is wanted."""
        traces = b"Received: from mail.example.org by mail.example.net\r\n" * 500
        kind = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        part = "--b\r\nContent-Description: 제목\r\n\r\nx\r\n--b--\r\n".encode()
        self.house.put(
            traces + "Subject: 제목\r\n\r\nx\r\n".encode(),
            b"Subject: x\r\n" + kind + b"preamble\r\n" * 4000 + part,
            traces + b"Subject: x\r\n\r\n" + b"x\r\n" * 200,
        )
        dialogue = self.house.log_in()
        for number in (1, 2, 3):
            dialogue.say(b"RETR %d\r\n" % number)
            whole = dialogue.hear().partition(b"\r\n")[2]
            self.assertTrue(whole.isascii())
            for lines in (0, 1, 9999):
                dialogue.say(b"TOP %d %d\r\n" % (number, lines))
                top = dialogue.hear().partition(b"\r\n")[2]
                self.assertTrue(top.isascii())
                self.assertTrue(whole.startswith(top[:-3]))
            self.assertEqual(top, whole)

    def test_large_message(self) -> None:
        octets = b"Subject: x\r\n\r\n" + b".line\r\n" * 200_000
        self.house.put(octets)
        dialogue = self.house.log_in()
        self.assert_hears(dialogue, b"RETR 1\r\n", b"+OK %d octets\r\n" % len(octets) + by_lines(octets))

    def test_slow_reader_is_waited_for(self) -> None:
        """No more is read from the store than the client takes."""
        self.house.put(b"x\r\n" * 300_000)
        dialogue = self.house.log_in()
        dialogue.protocol.pauseProducing()
        dialogue.say(b"RETR 1\r\n")
        self.assertLess(len(dialogue.hear()), 200_000)
        heard = 0
        for _ in range(30):
            dialogue.protocol.resumeProducing()
            dialogue.protocol.pauseProducing()
            heard += len(dialogue.hear())
        self.assertGreater(heard, 600_000)

    def test_slow_reader_is_given_up(self) -> None:
        self.house.put(b"x\r\n" * 300_000)
        factory = self.house.factory()
        dialogue = self.house.log_in(factory)
        dialogue.protocol.pauseProducing()
        dialogue.say(b"RETR 1\r\n")
        self.house.clock.pump([1] * 602)
        self.assertTrue(dialogue.transport.aborted)
        dialogue.leave()
        self.assertEqual(self.house.realm.logged_in, 0)

    def test_message_removed_by_somebody_else(self) -> None:
        uids = self.house.put(b"one", b"two")
        dialogue = self.house.log_in()
        self.house.run(self._remove(uids[:1]))
        self.assert_hears(dialogue, b"RETR 1\r\n", b"-ERR This message is no longer there\r\n")
        self.assert_hears(dialogue, b"TOP 1 0\r\n", b"-ERR This message is no longer there\r\n")
        for _ in range(50):  # none of them is an error of the client's
            self.assert_hears(dialogue, b"RETR 1\r\n", b"-ERR This message is no longer there\r\n")
        self.assert_hears(dialogue, b"STAT\r\n", b"+OK 2 6\r\n")
        self.assert_hears(dialogue, b"DELE 1\r\nQUIT\r\n", b"+OK Done\r\n+OK Goodbye\r\n")
        self.assertEqual(list(self.house.flags()), uids[1:])

    async def _remove(self, uids: list[int]) -> None:
        await self.house.memory.alter(ANN, self.house.inbox.id, uids, FlagChange.ADD, frozenset({DELETED}))
        await self.house.memory.expunge(ANN, self.house.inbox.id, uids)

    def test_mail_that_comes_later_is_for_the_next_session(self) -> None:
        self.house.put(b"one")
        factory = self.house.factory()
        dialogue = self.house.log_in(factory)
        self.house.put(b"two")
        self.assert_hears(
            dialogue, b"STAT\r\nRETR 2\r\nQUIT\r\n", b"+OK 1 3\r\n-ERR No such message\r\n+OK Goodbye\r\n"
        )
        self.assert_hears(self.house.log_in(factory), b"STAT\r\n", b"+OK 2 6\r\n")

    def test_reading_that_fails_within_a_message(self) -> None:
        """The client must not take half a message for the whole."""
        for content in (BrokenContent(b"x\r\n" * 100_000), self.short()):
            dialogue = self.serve(content)
            dialogue.say(b"RETR 1\r\nNOOP\r\n")
            heard = dialogue.hear()
            self.assertTrue(heard.startswith(b"+OK "))
            self.assertNotIn(b"\r\n.\r\n", heard)
            self.assertNotIn(b"-ERR", heard)
            self.assertTrue(dialogue.closed)
            self.assertEqual(content.closed, 1)
            self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_reading_that_fails_at_once(self) -> None:
        dialogue = self.serve(BrokenContent(b"x"))
        self.assert_hears(
            dialogue, b"RETR 1\r\nNOOP\r\n", b"-ERR [SYS/TEMP] Something is wrong here; try again later\r\n+OK Done\r\n"
        )
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def short(self) -> MemoryContent:
        class Short(MemoryContent):
            @property
            def size(self) -> int:
                return super().size + 1

        return Short(b"x" * 100_000)

    def serve(self, content: Any) -> Dialogue:
        """Return a session whose one message has this content."""
        house = House(self)
        house.put(b"x")

        async def opened(*_: Any) -> Any:
            return content

        house.store.replaced = {"content": opened}
        return house.log_in()


class UpdateTests(PopCase):
    def setUp(self) -> None:
        super().setUp()
        self.uids = self.house.put(b"one", b"two", b"three")

    def test_quit_removes_what_is_marked(self) -> None:
        one, _, three = self.uids
        dialogue = self.house.log_in()
        dialogue.say(b"RETR 1\r\nRETR 2\r\nTOP 3 0\r\nDELE 2\r\n")
        self.assertEqual(set(self.house.flags().values()), {NO_FLAGS})
        dialogue.say(b"QUIT\r\n")
        self.assertTrue(dialogue.hear().endswith(b"+OK Goodbye\r\n"))
        self.assertTrue(dialogue.closed)
        self.assertEqual(self.house.flags(), {one: frozenset({SEEN}), three: NO_FLAGS})

    def test_what_imap_has_marked_stays(self) -> None:
        (kept,) = self.house.put(b"marked by somebody else", flags=frozenset({DELETED, FLAGGED}))
        dialogue = self.house.log_in()
        self.assert_hears(dialogue, b"STAT\r\nDELE 1\r\nQUIT\r\n", b"+OK 4 34\r\n+OK Done\r\n+OK Goodbye\r\n")
        self.assertEqual(self.house.flags()[kept], frozenset({DELETED, FLAGGED}))
        self.assertNotIn(self.uids[0], self.house.flags())

    def test_rset_takes_it_back(self) -> None:
        self.house.log_in().say(b"DELE 1\r\nRSET\r\nQUIT\r\n")
        self.assertEqual(list(self.house.flags()), self.uids)

    def assert_untouched(self) -> None:
        self.assertEqual(self.house.flags(), dict.fromkeys(self.uids, NO_FLAGS))

    def test_connection_lost(self) -> None:
        dialogue = self.house.log_in()
        dialogue.say(b"RETR 1\r\nDELE 1\r\n")
        dialogue.leave()
        self.assert_untouched()

    def test_half_closed(self) -> None:
        dialogue = self.house.log_in()
        dialogue.say(b"DELE 1\r\n")
        dialogue.protocol.readConnectionLost()
        self.assertTrue(dialogue.closed)
        self.assert_untouched()

    def test_autologout(self) -> None:
        dialogue = self.house.log_in()
        dialogue.say(b"DELE 1\r\n")
        dialogue.hear()
        self.house.clock.pump([1] * 599)
        self.assertFalse(dialogue.closed)
        self.house.clock.pump([1] * 2)
        self.assertTrue(dialogue.closed)
        self.assertEqual(dialogue.hear(), b"")
        self.assert_untouched()

    def test_server_stops(self) -> None:
        factory = self.house.factory()
        dialogue = self.house.log_in(factory)
        dialogue.say(b"DELE 1\r\n")
        dialogue.hear()
        self.house.run(factory.shut_down())
        self.assertEqual(dialogue.hear(), b"-ERR [SYS/TEMP] The server stops; try again later\r\n")
        self.assertTrue(dialogue.closed)
        self.assert_untouched()

    def test_store_that_fails(self) -> None:
        for failing, error in (("alter", OSError()), ("expunge", NoSpace()), ("alter", OSError())):
            factory = self.house.factory()
            dialogue = self.house.log_in(factory)
            self.house.store.failing, self.house.store.error = failing, error
            dialogue.say(b"DELE 1\r\nQUIT\r\n")
            self.assertEqual(dialogue.hear(), b"+OK Done\r\n-ERR [SYS/TEMP] Some messages were not removed\r\n")
            self.assertTrue(dialogue.closed)
            self.house.store.failing = ""
            self.assertEqual(len(self.flushLoggedErrors(OSError, NoSpace)), 1)
        self.assertEqual(list(self.house.flags()), self.uids)

    def test_quit_before_login(self) -> None:
        dialogue = self.house.open()
        self.assert_hears(dialogue, b"QUIT\r\n", b"+OK Goodbye\r\n")
        self.assertTrue(dialogue.closed)


class BadInputTests(PopCase):
    def test_longest_line(self) -> None:
        dialogue = self.house.open()
        self.assert_hears(dialogue, b"USER " + b"a" * 248 + b"\r\n", b"+OK Now the password\r\n")
        self.assert_hears(dialogue, b"USER " + b"a" * 249 + b"\r\n", b"-ERR Line too long\r\n")
        dialogue.say(b"x" * 1_000_000)
        self.assertEqual(dialogue.hear(), b"-ERR Line too long\r\n")
        self.assert_hears(dialogue, b"\r\nCAPA x\r\n", b"-ERR No argument is allowed\r\n")

    def test_longest_response(self) -> None:
        dialogue = self.house.open()
        dialogue.say(b"AUTH PLAIN\r\n" + b"A" * 12_284 + b"\r\n")
        self.assertEqual(dialogue.hear(), b"+ \r\n-ERR This does not follow the mechanism\r\n")
        dialogue.say(b"AUTH PLAIN\r\n" + b"A" * 12_288 + b"\r\nCAPA x\r\n")
        self.assertEqual(dialogue.hear(), b"+ \r\n-ERR Line too long\r\n-ERR No argument is allowed\r\n")

    def test_octets_no_command_has(self) -> None:
        dialogue = self.house.open()
        for line in (b"\0", b"ST\0AT", b"STAT\xff", b"PASS \xff", b"USER a\nQUIT", b"USER a\rQUIT", b"QUIT\n"):
            dialogue.say(line + b"\r\n")
            self.assertRegex(dialogue.hear(), rb"\A-ERR [^\r\n]*\r\n\Z")

    def test_only_crlf_ends_a_line(self) -> None:
        for said in (b"QUIT\n", b"QUIT\r", b"QUIT\n\r", b"QUIT\nQUIT\n"):
            dialogue = self.house.open()
            self.assert_hears(dialogue, said, b"")
            self.assertFalse(dialogue.closed)

    def test_too_many_errors(self) -> None:
        dialogue = self.house.open()
        dialogue.say(b"XYZZY\r\n" * 30)
        self.assertEqual(dialogue.hear(), b"-ERR Command not known here\r\n" * 20 + b"-ERR Too many errors\r\n")
        self.assertTrue(dialogue.closed)

    def test_ten_thousand_commands_at_once(self) -> None:
        self.house.put(b"one")
        dialogue = self.house.log_in()
        dialogue.say(b"NOOP\r\nLIST 1\r\nTOP 1 0\r\n" * 3000 + b"DELE 1\r\n" + b"DELE 1\r\n" * 50)
        self.house.clock.pump([0.0] * 10_000)
        heard = dialogue.hear()
        each = b"+OK Done\r\n+OK 1 3\r\n+OK Top of message\r\none\r\n.\r\n"
        self.assertEqual(heard[: len(each) * 3000], each * 3000)
        rest = b"+OK Done\r\n" + b"-ERR No such message\r\n" * 20 + b"-ERR Too many errors\r\n"
        self.assertEqual(heard[len(each) * 3000 :], rest)
        self.assertTrue(dialogue.closed)

    def test_lost_within_a_message(self) -> None:
        """Half a message is not retrieved, nothing is removed, and the maildrop is free."""
        self.house.put(b"Subject: x\r\n\r\n" + b"x" * 78 * 100_000)
        factory = self.house.factory()
        dialogue = self.house.log_in(factory)
        dialogue.say(b"DELE 1\r\nRSET\r\n")
        dialogue.protocol.pauseProducing()
        dialogue.say(b"RETR 1\r\n")
        self.assertLess(len(dialogue.hear()), 1_000_000)
        dialogue.leave()
        self.assertEqual(set(self.house.flags().values()), {NO_FLAGS})
        self.house.log_in(factory)

    def test_http(self) -> None:
        dialogue = self.house.open()
        dialogue.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER ann@example.org\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n")
        self.assertEqual(dialogue.hear(), b"-ERR Command not known here\r\n")
        self.assertTrue(dialogue.closed)

    def test_what_came_before_tls_is_discarded(self) -> None:
        self.house = House(self, tls=object(), allow_plaintext_auth=False)
        dialogue = self.house.open()
        dialogue.say(b"STLS\r\nUSER ann@example.org\r\nPASS secret\r\nDELE 1\r\nQU")
        self.assertEqual(dialogue.hear(), b"+OK Begin TLS\r\n")
        self.assert_hears(dialogue, b"PASS secret\r\n", b"-ERR USER first\r\n")

    def test_name_given_before_tls_is_forgotten(self) -> None:
        self.house = House(self, tls=object())
        dialogue = self.house.open()
        dialogue.say(b"USER ann@example.org\r\n")
        dialogue.say(b"STLS\r\n")
        dialogue.hear()
        self.assert_hears(dialogue, b"PASS secret\r\n", b"-ERR USER first\r\n")

    def test_no_tls_to_offer(self) -> None:
        self.assert_hears(self.house.open(), b"STLS\r\n", b"-ERR TLS is not offered here\r\n")

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(1, 400), max_size=8), st.data())
    def test_any_split_gives_the_same_dialogue(self, cuts: list[int], data: Any) -> None:
        script = (
            b"CAPA\r\nUSER ann@example.org\r\nPASS secret\r\nSTAT\r\nLIST\r\nRETR 1\r\nTOP 1 0\r\nUIDL\r\n"
            + b"x" * 300
            + b"\r\nNOOP\r\nDELE 1\r\nSTAT\r\nRSET\r\nQUIT\r\nNOOP\r\n"
        )
        whole, split = self.fresh(), self.fresh()
        whole.say(script)
        start = 0
        for length in (*cuts, len(script)):
            split.say(script[start : start + length])
            start += length
        self.assertEqual(split.hear(), whole.hear())

    def fresh(self) -> Dialogue:
        house = House(self)
        house.put(b"Subject: x\r\n\r\n.y")
        # Both inboxes must answer UIDL alike.
        house.memory.snapshot = self._with_one_validity(house.memory.snapshot)  # type: ignore[method-assign]
        return Dialogue(house.factory())

    def _with_one_validity(self, snapshot: Any) -> Any:
        async def same(*arguments: Any) -> Any:
            answer = await snapshot(*arguments)
            return replace(answer, info=replace(answer.info, uid_validity=7))

        return same

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"RETR 1",
                    b"DELE 1",
                    b"QUIT",
                    b"AUTH LOGIN",
                    b"*",
                    b"=",
                    b"LIST",
                    b"STLS",
                    b"TOP 1 1",
                    b"\0",
                    b"USER a",
                ]
            )
            | st.binary(max_size=20),
            max_size=20,
        )
    )
    def test_nothing_breaks_a_session(self, lines: list[bytes]) -> None:
        house = House(self)
        house.put(b"Subject: x\r\n\r\n.y")
        dialogue = house.log_in()
        dialogue.say(b"".join(line + b"\r\n" for line in lines))
        self.assertEqual(self.flushLoggedErrors(), [])
        heard = dialogue.hear()
        self.assertTrue(not heard or heard.endswith(b"\r\n"))


class BusyTests(PopCase):
    def test_too_many_connections(self) -> None:
        factory = self.house.factory(limits=ConnectionLimits(total=1))
        Dialogue(factory)
        second = Dialogue(factory)
        self.assertEqual(second.hear(), b"-ERR [SYS/TEMP] Too many connections; try again later\r\n")
        self.assertTrue(second.closed)
