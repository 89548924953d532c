"""What is offered to whom, COMPRESS, UNAUTHENTICATE, and signs of life."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from mailfw.imap.allowances import Allowance, Rule, SessionCount, allowed
from mailfw.imap.capabilities import CAPABILITIES
from mailfw.imap.factory import imap_factory
from mailfw.network import Networks
from mailfw.testing.dialogue import Dialogue
from tests.imap.sessions import ANN, SessionCase


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
        self.assertIn(b"z NO [COMPRESSIONACTIVE]", ask(b"z COMPRESS DEFLATE"))
        self.assertNotIn(b"COMPRESS", ask(b"c CAPABILITY"))
        self.assertIn(b"* BYE", ask(b"o LOGOUT"))

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
