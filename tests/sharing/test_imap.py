"""IMAP over shared mailboxes: RFC 4314, RFC 2342, and what each of two users is told."""

from __future__ import annotations

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal

from mailfw.mail.mailbox import INBOX, CreateMailbox, NewMessage
from mailfw.mail.rights import parse_rights
from mailfw.sharing.store import SharingStore
from mailfw.stores.memory import MemoryStore
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.dialogue import Dialogue, run_now
from tests.imap.sessions import ANN, PretendAccount, PretendRealm, SessionCase

BOB, CAT = "bob@example.org", "cat@example.org"
PASSWORDS = dict.fromkeys((ANN, BOB, CAT), b"secret")


class SharingRealm(PretendRealm):
    """Shows everybody the store as it is for them."""

    with_anyone = True

    def requestAvatar(self, avatar_id: bytes | tuple[()], mind: object, *interfaces: object) -> object:
        given, account, logout = super().requestAvatar(avatar_id, mind, *interfaces)
        return given, PretendAccount(account.name, SharingStore(account.store, self.with_anyone)), logout


class SharedCase(SessionCase):
    """Ann and Bob, each in a session."""

    def setUp(self) -> None:
        super().setUp()
        self.start_over(MemoryStore())

    def start_over(self, store: MemoryStore) -> None:
        """Begin with another store."""
        self.store = store
        self.realm = SharingRealm(self.store)
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name, password in PASSWORDS.items():
            checker.addUser(name.encode(), password)
            run_now(self, self.store.open_account(name))
        self.portal = Portal(self.realm, [checker])
        [self.inbox] = [info.id for info in run_now(self, self.store.mailboxes(ANN)) if info.path == INBOX]

    def enter(self, name: str) -> Dialogue:
        dialogue = self.connect()
        self.assertIn(b"in OK", self.ask(dialogue, b"in LOGIN %b secret" % name.encode()))
        return dialogue

    def share(self, rights: str, *path: str, identifier: str = BOB) -> None:
        infos = {info.path: info.id for info in run_now(self, self.store.mailboxes(ANN))}
        run_now(self, self.store.grant(ANN, infos[path or INBOX], identifier, parse_rights(rights)))

    def deliver(self, count: int = 1) -> None:
        messages = [NewMessage(MemoryContent(PLAIN)) for _ in range(count)]
        run_now(self, self.store.append(ANN, self.inbox, messages))

    def says(self, dialogue: Dialogue, line: str, *expected: str) -> str:
        """Say a line, and require these lines of the answer in this order, the last at its end."""
        heard = self.ask(dialogue, line.encode()).decode()
        at = 0
        for each in expected:
            found = heard.find(each, at)
            self.assertGreaterEqual(found, 0, f"{each!r} is not in {heard!r}")
            at = found + len(each)
        return heard


class Commands(SharedCase):
    def test_capabilities_and_namespaces(self) -> None:
        ann = self.enter(ANN)
        self.says(ann, "a CAPABILITY", " ACL RIGHTS=texk", "a OK")
        self.says(ann, "b NAMESPACE", '* NAMESPACE (("" "/")) (("Shared/" "/")) NIL', "b OK")

    def test_where_nothing_can_be_shared(self) -> None:
        self.realm = PretendRealm(self.store)
        self.portal = Portal(self.realm, self.portal.checkers.values())
        ann = self.enter(ANN)
        self.assertNotIn("ACL", self.says(ann, "a CAPABILITY", "a OK"))
        self.says(ann, "b NAMESPACE", '* NAMESPACE (("" "/")) NIL NIL', "b OK")
        for command in ("GETACL INBOX", "SETACL INBOX bob lr", "DELETEACL INBOX bob", "MYRIGHTS INBOX"):
            self.says(ann, f"c {command}", "c BAD")
        self.says(ann, "d LISTRIGHTS INBOX bob", "d BAD")

    def test_lists(self) -> None:
        ann = self.enter(ANN)
        self.says(ann, "a GETACL INBOX", "* ACL INBOX ann@example.org lrswipkxteacd\r\n", "a OK")
        self.says(ann, "b SETACL INBOX bob lrsd", "b OK")
        self.says(ann, "c SETACL INBOX bob +i-", "c BAD")
        self.says(ann, "c SETACL INBOX bob +ic", "c OK")
        self.says(ann, "c SETACL INBOX bob -t", "c OK")
        self.says(ann, "d SETACL INBOX anyone l", "d OK")
        self.says(ann, 'd SETACL INBOX -cat@example.org "l"', "d OK")
        self.says(
            ann,
            "e GETACL inbox",
            "* ACL INBOX ann@example.org lrswipkxteacd bob@example.org lrsikxecd anyone l -cat@example.org l\r\n",
            "e OK",
        )
        self.says(ann, "f DELETEACL INBOX anyone", "f OK")
        self.says(ann, 'f SETACL INBOX bob ""', "f OK")
        self.says(ann, "g GETACL INBOX", "* ACL INBOX ann@example.org lrswipkxteacd -cat@example.org l\r\n", "g OK")
        self.says(ann, "h GETACL Nowhere", "h NO [NONEXISTENT]")

    def test_what_is_no_right_and_no_name(self) -> None:
        ann = self.enter(ANN)
        for rights in ("lq", "LR", "lR", "l1"):
            self.says(ann, f"a SETACL INBOX bob {rights}", "a BAD")
        self.says(ann, 'b SETACL INBOX "" lr', "b BAD")
        self.says(ann, 'c SETACL INBOX "a b" lr', "c NO [CANNOT]")
        self.says(ann, "d SETACL INBOX ann lr", "d NO [NOPERM]")
        self.says(ann, "e SETACL INBOX bob", "e BAD")
        self.says(ann, f"e SETACL INBOX {'b' * 1000} lr", "e BAD")
        self.says(ann, "f GETACL INBOX", "* ACL INBOX ann@example.org lrswipkxteacd\r\n", "f OK")

    def test_with_anyone(self) -> None:
        self.realm.with_anyone = False  # type: ignore[attr-defined]  # it is one that shares
        ann = self.enter(ANN)
        for identifier in ("anyone", "Authenticated"):
            self.says(ann, f"a SETACL INBOX {identifier} l", "a NO [NOPERM]")
            self.says(ann, f"a SETACL INBOX {identifier} +l", "a NO [NOPERM]")
            self.says(ann, f"b SETACL INBOX -{identifier} l", "b OK")
        self.share("lr", identifier="anyone")
        self.says(ann, "c SETACL INBOX anyone -l", "c OK")
        self.says(ann, "d DELETEACL INBOX anyone", "d OK")

    def test_rights_that_can_be_given(self) -> None:
        ann = self.enter(ANN)
        self.says(ann, "a LISTRIGHTS INBOX bob", '* LISTRIGHTS INBOX bob "" l r s w i p k x t e a c d\r\n', "a OK")
        self.says(ann, "b LISTRIGHTS INBOX Ann", "* LISTRIGHTS INBOX Ann lrswipkxteacd\r\n", "b OK")

    def test_my_rights(self) -> None:
        self.share("lrst")
        bob = self.enter(BOB)
        self.says(bob, "a MYRIGHTS INBOX", "* MYRIGHTS INBOX lrswipkxteacd\r\n", "a OK")
        name = "Shared/ann@example.org/INBOX"
        self.says(bob, f"b MYRIGHTS {name}", f"* MYRIGHTS {name} lrstd\r\n", "b OK")
        for command in ("GETACL {}", "SETACL {} cat l", "DELETEACL {} bob", "LISTRIGHTS {} bob"):
            self.says(bob, "c " + command.format(name), "c NO [NOPERM]")
            self.says(bob, "d " + command.format("Shared/cat@example.org/INBOX"), "d NO [NONEXISTENT]")
        self.share("lra")
        self.says(bob, f"e SETACL {name} cat lr", "e OK")
        self.says(bob, f"f GETACL {name}", f"* ACL {name} ann@example.org", " cat@example.org lr\r\n", "f OK")
        self.says(bob, f"g DELETEACL {name} bob", "g OK")
        self.says(bob, f"h MYRIGHTS {name}", "h NO [NONEXISTENT]")
        self.share("swtep")
        self.says(bob, f"i MYRIGHTS {name}", "i NO [NONEXISTENT]")

    def test_names(self) -> None:
        run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("Work", "Größe"))))
        self.share("lr", "Work", "Größe")
        self.share("r", "Sent")
        bob = self.enter(BOB)
        heard = self.says(
            bob,
            'a LIST "" "*"',
            '* LIST (\\Noselect \\HasChildren) "/" Shared\r\n',
            '* LIST (\\Noselect \\HasChildren) "/" Shared/ann@example.org\r\n',
            '* LIST (\\Noselect \\HasChildren) "/" Shared/ann@example.org/Work\r\n',
            '* LIST (\\HasNoChildren) "/" Shared/ann@example.org/Work/Gr&APYA3w-e\r\n',
            "a OK",
        )
        self.assertNotIn("example.org/Sent", heard)
        self.says(bob, "b SELECT Shared/ann@example.org/Sent", "b OK [READ-ONLY]")
        name = "Shared/ann@example.org/Work/Gr&APYA3w-e"
        self.says(bob, f"c SUBSCRIBE {name}", "c OK")
        self.says(bob, 'd LSUB "" "Shared/*"', f'* LSUB () "/" {name}\r\n', "d OK")
        self.says(bob, f"e STATUS {name} (MESSAGES UNSEEN)", f"* STATUS {name} (MESSAGES 0 UNSEEN 0)", "e OK")
        self.assertNotIn(b"Shared", self.ask(self.enter(CAT), b'f LIST "" "*"'))

    def test_the_tree(self) -> None:
        run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("Work",))))
        self.share("lrk", "Work")
        bob, ann = self.enter(BOB), self.enter(ANN)
        self.says(bob, "a CREATE Shared/ann@example.org/Work/2026/May", "a OK")
        self.says(ann, 'b LIST "" "Work/*"', "Work/2026\r\n", "Work/2026/May\r\n", "b OK")
        self.says(bob, "c DELETE Shared/ann@example.org/Work/2026/May", "c NO [NOPERM]")
        self.says(bob, "d RENAME Shared/ann@example.org/Work/2026 Shared/ann@example.org/Work/Old", "d NO [NOPERM]")
        self.says(bob, "e CREATE Shared/ann@example.org/Top", "e NO [NOPERM]")
        self.says(bob, "f CREATE Shared", "f NO [ALREADYEXISTS]")
        self.says(bob, "g CREATE Shared/cat@example.org/Top", "g NO [NOPERM]")
        self.share("lrkx", "Work", "2026")
        self.says(bob, "h RENAME Shared/ann@example.org/Work/2026 Shared/ann@example.org/Work/Old", "h OK")
        self.says(ann, 'i LIST "" "Work/*"', "Work/Old\r\n", "Work/Old/May\r\n", "i OK")
        self.says(bob, "j DELETE Shared/ann@example.org/Work/Old", "j OK")


class Sessions(SharedCase):
    NAME = "Shared/ann@example.org/INBOX"

    def test_reading_marks_for_the_reader_alone(self) -> None:
        self.deliver(2)
        self.share("lrs")
        ann, bob = self.enter(ANN), self.enter(BOB)
        self.says(ann, "a SELECT INBOX", "[UNSEEN 1]", "a OK [READ-WRITE]")
        self.says(
            bob,
            f"b SELECT {self.NAME}",
            "[PERMANENTFLAGS (\\Seen)]",
            "* 2 EXISTS",
            "* 0 RECENT",
            "[UNSEEN 1]",
            "b OK [READ-WRITE]",
        )
        self.says(bob, "c FETCH 1 BODY[]", "* 1 FETCH (", "FLAGS (\\Seen)", "c OK")
        self.says(bob, f"d STATUS {self.NAME} (UNSEEN)", "(UNSEEN 1)", "d OK")
        self.assertNotIn("FETCH", self.says(ann, "e NOOP", "e OK"))
        self.says(ann, "f STATUS INBOX (UNSEEN)", "(UNSEEN 2)", "f OK")
        self.says(ann, "g FETCH 1:* FLAGS", "1 FETCH (FLAGS (\\Recent))", "2 FETCH (FLAGS (\\Recent))", "g OK")
        self.says(ann, "h STORE 1:2 +FLAGS (\\Seen \\Flagged)", "h OK")
        self.says(bob, "i NOOP", "* 1 FETCH (FLAGS (\\Flagged \\Seen))", "* 2 FETCH (FLAGS (\\Flagged))", "i OK")
        self.says(bob, "j SEARCH UNSEEN", "* SEARCH 2\r\n", "j OK")

    def test_rights_to_flags(self) -> None:
        self.deliver()
        self.share("lrs")
        bob = self.enter(BOB)
        self.says(bob, f"a SELECT {self.NAME}", "a OK [READ-WRITE]")
        self.says(bob, "b STORE 1 +FLAGS (\\Seen \\Flagged)", "* 1 FETCH (FLAGS (\\Seen))", "b OK")
        self.says(bob, "c STORE 1 +FLAGS (\\Flagged)", "c NO [NOPERM]")
        self.says(bob, "d STORE 1 +FLAGS (\\Deleted)", "d NO [NOPERM]")
        self.says(bob, "e EXPUNGE", "e NO [NOPERM]")
        self.says(bob, "f CLOSE", "f OK")
        self.share("lr")
        self.says(bob, f"g SELECT {self.NAME}", "[PERMANENTFLAGS ()]", "g OK [READ-ONLY]")
        self.assertNotIn("\\Seen", self.says(bob, "h STORE 1 -FLAGS (\\Seen)", "h NO"))
        self.share("lrwte")
        self.says(bob, f"i SELECT {self.NAME}", "[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Draft \\*)]", "i OK")
        self.says(bob, "j STORE 1 FLAGS (\\Deleted)", "* 1 FETCH (FLAGS (\\Deleted \\Seen))", "j OK")
        self.says(bob, "k EXPUNGE", "* 1 EXPUNGE", "k OK")

    def test_fetching_without_the_right_to_mark(self) -> None:
        self.deliver()
        self.share("lri")
        bob = self.enter(BOB)
        self.says(bob, f"a SELECT {self.NAME}", "a OK [READ-WRITE]")
        self.assertNotIn("\\Seen", self.says(bob, "b FETCH 1 BODY[]", "* 1 FETCH (BODY[]", "b OK"))

    def test_rights_that_change_while_the_mailbox_is_selected(self) -> None:
        self.deliver()
        self.share("lrs")
        bob = self.enter(BOB)
        self.says(bob, f"a SELECT {self.NAME}", "a OK")
        self.share("lrswt")
        self.says(bob, "b NOOP", "[PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)]", "b OK")
        self.share("l")
        self.says(bob, "c NOOP", "* BYE")
        self.assertTrue(bob.closed)

    def test_rights_withdrawn_from_who_idles(self) -> None:
        self.share("lrs")
        bob = self.enter(BOB)
        self.says(bob, f"a SELECT {self.NAME}", "a OK")
        self.says(bob, "b IDLE", "+ idling")
        self.share("")
        self.assertIn(b"* BYE", bob.hear())
        self.assertTrue(bob.closed)

    def test_of_what_is_not_shown_nothing_is_told(self) -> None:
        """RFC 5465 section 3: not without the right to look it up."""
        self.share("r")
        bob = self.enter(BOB)
        self.says(bob, "n NOTIFY SET (SUBTREE Shared (MailboxName MessageNew MessageExpunge))", "n OK")
        self.deliver()
        run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("Play",))))
        self.assertEqual(bob.hear(), b"")
        self.share("lr")
        self.deliver()
        self.assertIn(b'* LIST (\\HasNoChildren) "/" Shared/ann@example.org/INBOX', heard := bob.hear())
        self.deliver()
        self.assertIn(b"* STATUS Shared/ann@example.org/INBOX (MESSAGES 3", heard + bob.hear())
        self.share("r")
        self.deliver()
        self.assertIn(b"* LIST (\\NonExistent)", bob.hear())
        self.deliver()
        self.assertEqual(bob.hear(), b"")

    def test_what_is_shown_and_cannot_be_read_is_said(self) -> None:
        """RFC 5465 section 3.1."""
        self.share("l")
        bob = self.enter(BOB)
        no_access = f'* LIST (\\NoAccess) "/" {self.NAME}'
        self.says(bob, f"n NOTIFY SET (MAILBOXES {self.NAME} (MessageNew MessageExpunge)) (PERSONAL NONE)", no_access)
        self.assertNotIn("NoAccess", self.says(bob, "n NOTIFY SET (PERSONAL (MessageNew MessageExpunge))", "n OK"))

    def test_both_idle(self) -> None:
        self.deliver()
        self.share("lrsw")
        ann, bob, other = self.enter(ANN), self.enter(BOB), self.enter(BOB)
        self.says(ann, "a SELECT INBOX", "a OK")
        for each in (bob, other):
            self.says(each, f"a SELECT {self.NAME}", "a OK")
        for each in (ann, other):
            self.says(each, "b IDLE", "+ idling")
        self.says(bob, "c STORE 1 +FLAGS.SILENT (\\Seen)", "c OK")
        self.assertEqual(ann.hear(), b"")
        self.assertEqual(other.hear(), b"* 1 FETCH (FLAGS (\\Seen))\r\n")
        self.says(bob, "d STORE 1 +FLAGS.SILENT (\\Flagged)", "d OK")
        self.assertEqual(ann.hear(), b"* 1 FETCH (FLAGS (\\Flagged \\Recent))\r\n")
        self.assertEqual(other.hear(), b"* 1 FETCH (FLAGS (\\Flagged \\Seen))\r\n")
        self.deliver()
        self.assertIn(b"* 2 EXISTS\r\n", ann.hear())
        self.assertEqual(other.hear(), b"* 2 EXISTS\r\n")

    def test_messages_to_and_from_others(self) -> None:
        self.deliver(2)
        self.share("lrsi")
        ann, bob = self.enter(ANN), self.enter(BOB)
        self.says(bob, f"a APPEND {self.NAME} (\\Seen \\Flagged) {{3+}}\r\nx\r\n", "a OK [APPENDUID ")
        self.says(bob, f"b SELECT {self.NAME}", "* 3 EXISTS", "b OK")
        self.says(bob, "c FETCH 3 FLAGS", "* 3 FETCH (FLAGS (\\Seen))", "c OK")
        self.says(ann, "d EXAMINE INBOX", "d OK")
        self.says(ann, "e FETCH 3 FLAGS", "* 3 FETCH (FLAGS (\\Recent))", "e OK")
        self.says(bob, "f UID COPY 1,3 INBOX", "f OK [COPYUID ", " 1,3 1:2]")
        self.says(bob, "g MOVE 1 INBOX", "g NO [NOPERM]")
        self.share("lrsite")
        self.says(bob, "h MOVE 1:2 INBOX", "* OK [COPYUID ", " 1:2 3:4]", "* 2 EXPUNGE", "* 1 EXPUNGE", "h OK")
        self.says(ann, "i NOOP", "EXPUNGE", "i OK")
        self.says(bob, "j SELECT INBOX", "* 4 EXISTS", "j OK")
        self.says(bob, "k FETCH 1:2 FLAGS", "1 FETCH (FLAGS (\\Recent))", "2 FETCH (FLAGS (\\Seen \\Recent))", "k OK")
        self.says(bob, f"l COPY 1 {self.NAME}", "l OK [COPYUID ")
        self.share("lr")
        self.says(bob, f"m COPY 1 {self.NAME}", "m NO [NOPERM]")
        self.says(bob, f"n APPEND {self.NAME} {{3}}", "n NO [NOPERM]")
        self.share("")
        self.says(bob, f"o COPY 1 {self.NAME}", "o NO [TRYCREATE]")
