"""What is offered to whom, COMPRESS, UNAUTHENTICATE, and signs of life."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from mailfw.imap import responses
from mailfw.imap.allowances import Allowance, Rule, SessionCount, allowed
from mailfw.imap.capabilities import CAPABILITIES, switched_off
from mailfw.imap.factory import imap_factory
from mailfw.imap.verbs import COMMANDS
from mailfw.network import Networks
from mailfw.testing.dialogue import Dialogue
from mailfw.wire import stream
from tests.imap.sessions import ANN, SessionCase

#: Commands before login.
_BEFORE = (b"AUTHENTICATE", b"STARTTLS")
#: What belongs to each capability besides the commands that are its own.
_BELONGS = {
    b"SASL-IR": [b"AUTHENTICATE PLAIN AGEAYg=="],
    b"AUTH": [b"AUTHENTICATE PLAIN"],
    b"STARTTLS": [b"STARTTLS"],
    b"ID": [b"ID NIL"],
    b"MOVE": [b"MOVE 1 Trash", b"UID MOVE 1 Trash"],
    b"UIDPLUS": [b"UID EXPUNGE 1"],
    b"CREATE-SPECIAL-USE": [b"CREATE x (USE ())"],
    b"CONDSTORE": [
        b"SELECT INBOX (CONDSTORE)",
        b"FETCH 1 MODSEQ",
        b"FETCH 1 FLAGS (CHANGEDSINCE 1)",
        b"STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
        b"SEARCH MODSEQ 1",
    ],
    b"QRESYNC": [b"SELECT INBOX (QRESYNC (1 1))", b"UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"],
    b"OBJECTID": [b"FETCH 1 EMAILID", b"FETCH 1 (THREADID)", b"SEARCH EMAILID x", b"SEARCH NOT THREADID x"],
    b"PREVIEW": [b"FETCH 1 PREVIEW", b"FETCH 1 (FLAGS PREVIEW (LAZY))"],
    b"SAVEDATE": [b"FETCH 1 SAVEDATE", b"SEARCH SAVEDON 1-Feb-2026", b"SEARCH SAVEDATESUPPORTED"],
    b"BINARY": [b"FETCH 1 BINARY[]", b"FETCH 1 BINARY.SIZE[1]", b"APPEND INBOX ~{3+}\r\nabc"],
    b"MULTIAPPEND": [b"APPEND INBOX {3+}\r\nabc {3+}\r\nabc"],
    b"CATENATE": [b"APPEND INBOX CATENATE (TEXT {3+}\r\nabc)"],
    b"UTF8=ACCEPT": [b"APPEND INBOX UTF8 (~{3+}\r\nabc)"],
    b"LIST-EXTENDED": [b'LIST "" (a b)', b'LIST (SUBSCRIBED) "" *', b'LIST "" * RETURN (CHILDREN)'],
    b"LIST-STATUS": [b'LIST "" * RETURN (STATUS (MESSAGES))'],
    b"LIST-METADATA": [b'LIST "" * RETURN (METADATA (/shared/comment))'],
    b"LIST-MYRIGHTS": [b'LIST "" * RETURN (MYRIGHTS)'],
    b"SPECIAL-USE": [b'LIST (SPECIAL-USE) "" *', b'LIST "" * RETURN (SPECIAL-USE)'],
    b"ESEARCH": [b"SEARCH RETURN (MIN) ALL"],
    b"SEARCHRES": [b"SEARCH RETURN (SAVE) ALL", b"FETCH $ FLAGS", b"SEARCH $"],
    b"SEARCH=FUZZY": [
        b"SEARCH FUZZY SUBJECT x",
        b"SEARCH RETURN (RELEVANCY) FUZZY SUBJECT x",
        b"SORT (RELEVANCY) UTF-8 FUZZY SUBJECT x",
    ],
    b"MESSAGELIMIT": [b"SEARCH UIDAFTER 1", b"SEARCH NOT UIDBEFORE 1"],
    b"WITHIN": [b"SEARCH OLDER 10", b"SEARCH OR YOUNGER 10 ALL"],
    b"CONTEXT=SEARCH": [b"SEARCH RETURN (UPDATE) ALL", b"SEARCH RETURN (CONTEXT) ALL"],
    b"PARTIAL": [b"FETCH 1 FLAGS (PARTIAL 1:2)", b"SEARCH RETURN (PARTIAL -1:-2) ALL"],
    b"SORT=DISPLAY": [b"SORT (DISPLAYFROM) UTF-8 ALL", b"SORT (REVERSE DISPLAYTO) UTF-8 ALL"],
    b"ESORT": [b"SORT RETURN (COUNT) (DATE) UTF-8 ALL"],
    b"CONTEXT=SORT": [b"SORT RETURN (UPDATE) (DATE) UTF-8 ALL"],
}
#: What goes with a capability that is switched off.
_NEEDED = {
    b"AUTH": b"SASL-IR",
    b"ENABLE": b"IMAP4rev2 QRESYNC UIDONLY UTF8=ACCEPT",
    b"CONDSTORE": b"QRESYNC",
    b"ESEARCH": b"SEARCHRES PARTIAL CONTEXT=SEARCH CONTEXT=SORT",
    b"CONTEXT=SEARCH": b"CONTEXT=SORT",
    b"SORT": b"SORT=DISPLAY ESORT CONTEXT=SORT",
    b"ESORT": b"CONTEXT=SORT",
    b"LIST-EXTENDED": b"LIST-STATUS LIST-METADATA LIST-MYRIGHTS",
    b"METADATA": b"LIST-METADATA",
    b"ACL": b"LIST-MYRIGHTS",
    b"QUOTA": b"QUOTASET",
    b"OBJECTID": b"JMAPACCESS",
}


class OfferTests(SessionCase):
    def offered(self, dialogue: Dialogue) -> list[bytes]:
        return self.ask_lines(dialogue, b"c CAPABILITY")[0].split()[2:]

    def test_nothing_is_named_twice(self) -> None:
        names = [each.name for each in CAPABILITIES]
        self.assertEqual(sorted(names), sorted(set(names)))

    def test_what_the_site_switches_off(self) -> None:
        usual = self.offered(self.log_in())
        self.settings = replace(self.settings, allowance=Allowance(frozenset({b"COMPRESS=DEFLATE", b"ID"})))
        dialogue = self.log_in()
        self.assertEqual(set(usual) - set(self.offered(dialogue)), {b"COMPRESS=DEFLATE", b"ID"})
        self.assertIn(b"z BAD There is no such command", self.ask(dialogue, b"z COMPRESS DEFLATE"))

    def refused(self, line: bytes, *without: bytes) -> bytes:
        """Return what a line with literals in it is answered in a session without capabilities."""
        self.settings = replace(self.settings, allowance=Allowance(switched_off(map(bytes.decode, without))))
        dialogue = self.log_in() if not line.startswith(_BEFORE) else self.connect()
        if not line.startswith((b"SELECT", *_BEFORE)):
            self.ask(dialogue, b"s SELECT INBOX")
        dialogue.say(b"a " + line + b"\r\n")
        return dialogue.hear()

    def test_what_is_switched_off_is_not_understood(self) -> None:
        self.put()
        for capability, lines in _BELONGS.items():
            for line in lines:
                self.assertRegex(self.refused(line, capability), rb"(?m)^a BAD There is no ", capability)
                self.assertNotRegex(self.refused(line), rb"(?m)^a BAD There is no ", line)

    def test_what_needs_it_goes_too(self) -> None:
        self.put()
        for capability, needing in _NEEDED.items():
            off = switched_off([capability.decode().lower()])
            self.assertEqual(off, {capability, *needing.split()}, capability)
            self.settings = replace(self.settings, allowance=Allowance(off))
            self.assertEqual(off.intersection(self.offered(self.log_in())), set(), capability)
            for line in [line for name in needing.split() for line in _BELONGS.get(name, ())]:
                self.assertRegex(self.refused(line, capability), rb"(?m)^a BAD There is no ", capability)

    def test_nothing_else_needs_another(self) -> None:
        for each in CAPABILITIES:
            alone = switched_off([each.name.decode()]) == {each.name}
            self.assertEqual(alone, each.name not in _NEEDED, each.name)

    def test_all_commands_of_extensions_can_be_switched_off(self) -> None:
        plain = b"CAPABILITY NOOP LOGOUT LOGIN SELECT EXAMINE CREATE DELETE RENAME SUBSCRIBE UNSUBSCRIBE LIST LSUB"
        plain += b" STATUS APPEND CHECK CLOSE EXPUNGE SEARCH FETCH STORE COPY"
        named = {name.removeprefix(b"UID ") for name, verb in COMMANDS.items() if not verb.capability}
        self.assertEqual(named, set(plain.split()))
        names = {each.name for each in CAPABILITIES}
        self.assertLessEqual({verb.capability for verb in COMMANDS.values()} - {b""}, names)

    def test_a_page_belongs_to_either_of_two(self) -> None:
        self.put()
        line = b"SEARCH RETURN (PARTIAL 1:5) ALL"
        self.assertIn(b"a OK", self.refused(line, b"PARTIAL"))
        self.assertIn(b"a OK", self.refused(line, b"CONTEXT=SEARCH"))
        self.assertIn(b"a BAD", self.refused(line, b"CONTEXT=SEARCH", b"PARTIAL"))

    def test_what_one_may_not_do_does_not_come_back_with_another(self) -> None:
        self.put()
        self.assertIn(b"a OK", self.refused(b"FETCH 1 PREVIEW"))
        self.assertIn(b"a BAD", self.refused(b"FETCH 1 PREVIEW", b"PREVIEW"))
        self.assertIn(b"a OK", self.refused(b"FETCH 1 PREVIEW"))

    def test_literals_that_do_not_wait(self) -> None:
        line = b"APPEND INBOX {3+}\r\nabc"
        self.assertIn(b"a OK", self.refused(line, b"LITERAL+"))
        self.assertIn(b"a BAD [TOOBIG]", self.refused(line, b"LITERAL+", b"LITERAL-"))

    def test_what_an_account_or_a_program_is_not_offered(self) -> None:
        rules = [
            Rule(accounts=["example.org"], without=frozenset({b"UNSELECT"})),
            Rule(programs=["*look*"], without=frozenset({b"IDLE"})),
            Rule(accounts=["bob@example.org"], without=frozenset({b"MOVE"})),
            Rule(networks=Networks(["198.51.100.0/24"]), without=frozenset({b"UIDPLUS"})),
        ]
        self.settings = replace(self.settings, rules=rules)
        dialogue = self.connect()
        self.assertIn(b"IDLE", self.offered(dialogue))
        dialogue.say(b'i ID ("name" "Outlook 16")\r\n')
        self.assertIn(b"i OK", dialogue.hear())
        self.assertNotIn(b"IDLE", self.offered(dialogue))
        self.ask(dialogue, b"in LOGIN ann@example.org secret")
        offered = self.offered(dialogue)
        self.assertNotIn(b"IDLE", offered)
        self.assertNotIn(b"UNSELECT", offered)
        self.assertIn(b"MOVE", offered)
        self.assertIn(b"UIDPLUS", offered)

    def test_limits_of_one_account(self) -> None:
        rules = [Rule(line=1000), Rule(accounts=[ANN], line=3_000_000, command=3_000_000, append=10)]
        self.settings = replace(self.settings, rules=rules)
        dialogue = self.open()
        answer = self.ask(dialogue, b"f UID FETCH " + b",".join(b"%d" % n for n in range(1, 200_000)) + b" FLAGS")
        self.assertIn(b"f OK", answer)
        self.assertIn(b"a NO [TOOBIG]", self.ask(dialogue, b"a APPEND INBOX {11}"))

    def test_the_last_rule_counts(self) -> None:
        rules = [Rule(line=1), Rule(accounts=[ANN], line=2), Rule(line=3, programs=["mutt"])]
        site = Allowance()
        self.assertEqual(allowed(site, rules, "bob@example.net", "", "").line, 1)
        self.assertEqual(allowed(site, rules, ANN, "", "").line, 2)
        self.assertEqual(allowed(site, rules, ANN, "", "Mutt").line, 3)
        self.assertEqual(allowed(site, [], ANN, "", "Mutt"), site)

    def test_sessions_of_one_account_are_counted(self) -> None:
        self.settings = replace(self.settings, allowance=Allowance(sessions=2))
        counted = SessionCount()
        factory = imap_factory(
            self.settings, portal=self.portal, open_draft=self._open_draft, clock=self.clock, sessions=counted
        )
        dialogues = [Dialogue(factory) for _ in range(3)]
        answers = []
        for dialogue in dialogues:
            dialogue.hear()
            answers.append(self.ask(dialogue, b"in LOGIN ann@example.org secret"))
        self.assertIn(b"in OK", answers[1])
        self.assertIn(b"in NO [LIMIT]", answers[2])
        self.assertEqual(self.realm.logouts, 1, "who is not let in is logged out")
        dialogues[0].leave()
        self.assertIn(b"in OK", self.ask(dialogues[2], b"in LOGIN ann@example.org secret"))
        for dialogue in dialogues[1:]:
            dialogue.leave()
        self.assertEqual(self.realm.logouts, 4)
        self.assertTrue(counted.admit(ANN, 1), "none is left")


class CompressTests(SessionCase):
    def test_a_session(self) -> None:
        self.put(3)
        dialogue = self.log_in()
        self.assertIn(b"z BAD", self.ask(dialogue, b"z COMPRESS GZIP"))
        self.assertEqual(self.ask(dialogue, b"z COMPRESS DEFLATE"), b"z OK Compressed from here on\r\n")
        out, back = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)

        def ask(line: bytes) -> bytes:
            dialogue.say(out.compress(line + b"\r\n") + out.flush(zlib.Z_SYNC_FLUSH))
            return back.decompress(dialogue.hear())

        self.assertIn(b"* 3 EXISTS", ask(b"s SELECT INBOX"))
        self.assertIn(b"How are you?", ask(b"f FETCH 2 BODY[]"))
        self.assertIn(b"z BAD [COMPRESSIONACTIVE]", ask(b"z COMPRESS DEFLATE"))
        self.assertNotIn(b"COMPRESS", ask(b"c CAPABILITY"))
        self.assertIn(b"* BYE", ask(b"o LOGOUT"))

    def test_it_ends_with_the_login(self) -> None:
        """RFC 8437 section 4.1; and what was sent behind it in the clear is not taken for what was sent under TLS."""
        self.settings = replace(self.settings, tls=object())
        dialogue = self.log_in()
        self.assertNotIn(b"STARTTLS", self.ask(dialogue, b"c CAPABILITY"))
        self.ask(dialogue, b"z COMPRESS DEFLATE")
        out, back = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
        gone = out.compress(b"u UNAUTHENTICATE\r\n") + out.flush(zlib.Z_SYNC_FLUSH)
        dialogue.say(gone + b"in LOGIN ann@example.org secret\r\nc CAPABILITY\r\nu UNAUTHENTICATE\r\n")
        said = dialogue.hear()
        compressed = said[: said.index(b"in OK")]
        self.assertEqual(back.decompress(compressed), b"u OK Who is next?\r\n")
        self.assertIn(b" COMPRESS=DEFLATE ", said)
        self.assertTrue(said.endswith(b"u OK Who is next?\r\n"))
        dialogue.say(b"s STARTTLS\r\nx LOGOUT\r\n")
        self.assertEqual(dialogue.hear(), b"s OK Begin TLS now\r\n")
        self.assertTrue(dialogue.transport.tls_started)

    def test_a_flush_behind_its_end_is_no_command(self) -> None:
        """The line may be whole before its flush is here."""
        for late in range(1, 6):
            dialogue = self.log_in()
            self.ask(dialogue, b"z COMPRESS DEFLATE")
            out, back = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
            gone = out.compress(b"u UNAUTHENTICATE\r\n") + out.flush(zlib.Z_SYNC_FLUSH)
            dialogue.say(gone[:-late])
            self.assertEqual(back.decompress(dialogue.hear()), b"u OK Who is next?\r\n")
            for octet in gone[-late:] + b"in LOGIN ann@example.org secret\r\n":
                dialogue.say(bytes([octet]))
            self.assertIn(b"in OK", dialogue.hear())
            self.assertIn(b"* BAD", self.ask(dialogue, b"\x00\x00\xff\xffx NOOP"), "any other line is whole")

    def test_others_have_their_turn(self) -> None:
        """What waits to be inflated is there, too."""
        dialogue = self.log_in()
        self.ask(dialogue, b"z COMPRESS DEFLATE")
        out, back = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
        self.patch(stream, "TURN", 0.0)
        dialogue.say(b"".join(out.compress(b"a NOOP\r\n") + out.flush(zlib.Z_SYNC_FLUSH) for _ in range(3)))
        self.assertEqual(dialogue.hear(), b"")
        self.clock.pump([0.0] * 4)
        self.assertEqual(back.decompress(dialogue.hear()), b"a OK Done\r\n" * 3)

    def test_not_before_login(self) -> None:
        self.assertIn(b"z BAD", self.ask(self.connect(), b"z COMPRESS DEFLATE"))


class UnauthenticateTests(SessionCase):
    def test_the_next_user_begins_anew(self) -> None:
        self.put(1)
        dialogue = self.open()
        self.assertEqual(self.ask(dialogue, b"u UNAUTHENTICATE"), b"u OK Who is next?\r\n")
        self.assertEqual(self.realm.logouts, 1)
        self.assertIn(b"n BAD", self.ask(dialogue, b'n LIST "" *'))
        self.assertIn(b"AUTH=PLAIN", self.ask(dialogue, b"c CAPABILITY"))
        self.put(1)  # the one who left is not watching any more
        self.assertEqual(dialogue.hear(), b"")
        self.assertIn(b"in OK", self.ask(dialogue, b"in LOGIN ann@example.org secret"))
        self.assertIn(b"* 2 EXISTS", self.ask(dialogue, b"s SELECT INBOX"))

    def test_what_was_enabled_is_not_any_more(self) -> None:
        dialogue = self.log_in()
        session_enables = [each.name for each in CAPABILITIES if each.can_be_enabled]
        self.assertIn(b"CONDSTORE", session_enables)
        self.assertIn(b"* ENABLED CONDSTORE", self.ask(dialogue, b"e ENABLE CONDSTORE"))
        self.assertNotIn(b"ENABLED CONDSTORE", self.ask(dialogue, b"e ENABLE CONDSTORE"))
        self.ask(dialogue, b"u UNAUTHENTICATE")
        self.ask(dialogue, b"in LOGIN ann@example.org secret")
        self.assertIn(b"* ENABLED CONDSTORE", self.ask(dialogue, b"e ENABLE CONDSTORE"))


class ProgressTests(SessionCase):
    def test_a_long_command_gives_signs_of_life(self) -> None:
        """Every ten seconds while the store works, and never when it is done."""
        self.put(1)
        dialogue = self.open()
        waiting: Deferred[None] = Deferred()
        copy = self.store.copy

        async def slow(*arguments: Any, **named: Any) -> Any:
            await waiting
            return await copy(*arguments, **named)

        self.patch(self.store, "copy", slow)
        dialogue.say(b'c"d COPY 1 Trash\r\n')
        self.assertIn(b"BAD", dialogue.hear())
        dialogue.say(b"cd COPY 1 Trash\r\n")
        for _ in range(25):
            self.clock.advance(1.0)
        said = dialogue.hear()
        self.assertEqual(said, b'* OK [INPROGRESS ("cd" NIL NIL)] Still at it\r\n' * 2)
        waiting.callback(None)
        self.assertIn(b"cd OK [COPYUID", dialogue.hear())
        for _ in range(60):
            self.clock.advance(1.0)
        self.assertEqual(dialogue.hear(), b"")

    def test_what_is_told(self) -> None:
        """RFC 9585 section 4: no tag with ``]``, and never that all is done."""
        self.assertEqual(responses.in_progress(b"a1", (3, 4)), b'INPROGRESS ("a1" 3 4)')
        self.assertEqual(responses.in_progress(b"a1", (4, 4)), b'INPROGRESS ("a1" NIL NIL)')
        self.assertEqual(responses.in_progress(b"a]", None), b"INPROGRESS (NIL NIL NIL)")


class JMAPTests(SessionCase):
    def test_only_where_there_is_any(self) -> None:
        dialogue = self.log_in()
        self.assertNotIn(b"JMAPACCESS", self.ask(dialogue, b"c CAPABILITY"))
        self.assertIn(b"j BAD", self.ask(dialogue, b"j GETJMAPACCESS"))
        self.settings = replace(self.settings, jmap_url="https://mail.example.org/.well-known/jmap")
        dialogue = self.log_in()
        self.assertIn(b"JMAPACCESS", self.ask(dialogue, b"c CAPABILITY"))
        told = b'* JMAPACCESS "https://mail.example.org/.well-known/jmap"\r\nj OK That is all\r\n'
        self.assertEqual(self.ask(dialogue, b"j GETJMAPACCESS"), told)
        self.settings = replace(self.settings, allowance=Allowance(switched_off(["OBJECTID"])))
        self.assertNotIn(b"JMAPACCESS", self.ask(self.log_in(), b"c CAPABILITY"), "RFC 9698 section 3")
