"""Mail programs that draw on a terminal, and people who press their keys: mutt, neomutt and alpine."""

from __future__ import annotations

from tests.interop.clients import (
    ANN,
    ATTACHMENT,
    ATTACHMENT_NAME,
    KOREAN_FOLDER,
    NEWS,
    SUBJECTS,
    ClientCase,
    has_attachment,
    quoted,
    subject_of,
)
from tests.interop.server import PASSWORD, require
from tests.interop.terminal import Terminal
from tests.running import until

#: A space completes a name in mutt, unless it is quoted.
TYPED_FOLDER = KOREAN_FOLDER.replace(" ", "\x16 ")
MUTTRC = """\
set imap_user='{user}'
set imap_pass='{password}'
set certificate_file={certificate}
set folder={url}
set spoolfile=+INBOX
set postponed=+Drafts
set from={user}
set record=''
set confirmappend=no
set confirmcreate=no
set sleep_time=0
set quit=yes
set move=no
set mbox_type=Maildir
set delete=yes
set charset=utf-8
set imap_idle=yes
set timeout=5
set header_cache={home}/cache
set editor="sh {home}/editor"
set status_format="Shown:%M Msgs:%m Tag:%t Flag:%F New:%n Del:%d."
set compose_format="Compose."
"""


class MuttTests(ClientCase):
    """It comes by TLS from the start, as an `imaps` address says, and again with what it has remembered."""

    program = "mutt"
    more = ""

    def setUp(self) -> None:
        program = require(self.program)
        super().setUp()
        self.home = self.server.home
        rc = self.home / "muttrc"
        url = f"imaps://127.0.0.1:{self.server.ports['imaps']}/"
        settings = {"user": ANN, "password": PASSWORD, "certificate": self.server.certificate, "url": url}
        rc.write_text(MUTTRC.format(home=self.home, **settings) + self.more)
        (self.home / "editor").write_text('printf "not yet\\n" >> "$1"\n')
        self.command = (program, "-F", str(rc))

    def test_a_day(self) -> None:
        with Terminal(self.home, *self.command) as screen:
            screen.see("Shown:3 Msgs:3 Tag:0 Flag:0 New:3 Del:0.")
            self.assertIn(SUBJECTS[0], screen.shown)
            self.read(screen)
            self.file_away(screen)
            self.write(screen)
            self.server.send("ann", NEWS)
            screen.see("Shown:2 Msgs:2 Tag:0 Flag:1 New:1 Del:0.")
            screen.press("q")
        self.check(draft="\\Draft")
        with Terminal(self.home, *self.command) as screen:
            screen.see("Shown:2 Msgs:2 Tag:0 Flag:1")
            screen.press("x")
        self.check(draft="\\Draft")

    def read(self, screen: Terminal) -> None:
        """Search for a word on the server, show the first message, save its attachment, flag it."""
        saved = self.home / "saved.zip"
        screen.do(
            ("l", "Limit to"),
            ("=b noon\r", "Shown:1 Msgs:3"),
            ("l", "Limit to"),
            ("all\r", "Shown:3 Msgs:3"),
            ("1\r", "1"),
            ("\r", "세 시입니다"),
            ("v", "zip"),
            ("j", "2"),
            ("s", "Save to file"),
            (f"\x15{saved}\r", "saved"),
            ("q", "세 시입니다"),
            ("q", "Shown:3"),
            ("F", "Flag:1 New:2"),
        )
        self.assertEqual(saved.read_bytes(), ATTACHMENT)

    def file_away(self, screen: Terminal) -> None:
        """Copy the second message into a folder and delete it, move the third there; all of it at once, at the end."""
        screen.do(
            ("2\r", "2"),
            ("C", "to mailbox"),
            (f"\x15={TYPED_FOLDER}\r", "Msgs:3"),
            ("d", "Del:1"),
            ("3\r", "3"),
            ("s", "to mailbox"),
            (f"\x15={TYPED_FOLDER}\r", "Del:2"),
            ("$", "Msgs:1 Tag:0 Flag:1 New:0 Del:0"),
        )

    def write(self, screen: Terminal) -> None:
        """Begin a message and put it off."""
        screen.do(
            ("m", "To:"),
            ("bob@elsewhere.example\r", "Subject:"),
            ("\x15draft\r", "Compose."),
            ("P", "Shown:1"),
        )

    def test_all_is_saved(self) -> None:
        saved = self.home / "saved"
        with Terminal(self.home, *self.command) as screen:
            screen.do(("", "Msgs:3"), ("T", "Tag messages matching"), ("\x15~A\r", "Tag:3"), (";C", "to mailbox"))
            screen.do((f"\x15{saved}\r", "Msgs:3"))
            screen.press("q")
        found = {subject_of(octets): octets for octets in (file.read_bytes() for file in saved.glob("*/*"))}
        self.assertEqual(set(found), set(SUBJECTS))
        self.assertTrue(has_attachment(found[SUBJECTS[0]]))


class MuttOfWorkersTests(MuttTests):
    workers = 2


class NeomuttTests(MuttTests):
    program = "neomutt"


class QuickNeomuttTests(NeomuttTests):
    """With what it uses only when it is told to: it asks for what has changed since it was here."""

    more = "set imap_condstore=yes\nset imap_qresync=yes\n"


PINERC = """\
personal-name=Ann
user-domain=interop.example
inbox-path={server}INBOX
folder-collections=Mail {server}[]
postponed-folder={server}Drafts
default-fcc=""
mail-check-interval=15
feature-list=disable-password-file-saving,enable-aggregate-command-set,enable-flag-cmd,quit-without-confirm,
    expunge-without-confirm,expunge-without-confirm-everywhere
last-version-used=7.26
last-time-prune-questioned=126.12
"""
ALPINES_FOLDER = "kept mail"


class AlpineTests(ClientCase):
    """It comes by TLS, and asks for the password."""

    def setUp(self) -> None:
        program = require("alpine")
        super().setUp()
        server = f'{{127.0.0.1:{self.server.ports["imaps"]}/ssl/novalidate-cert/user="{ANN}"}}'
        (self.server.home / ".pinerc").write_text(PINERC.format(server=server))
        self.command = (program, "-p", str(self.server.home / ".pinerc"), "-i")

    def open(self, screen: Terminal) -> None:
        screen.see("ENTER PASSWORD")
        screen.press(f"{PASSWORD}\r")

    def test_a_day(self) -> None:
        with Terminal(self.server.home, *self.command) as screen:
            self.open(screen)
            screen.see("Message 1 of 3")
            self.read(screen)
            self.file_away(screen)
            self.write(screen)
            self.server.send("ann", NEWS)
            screen.see("news")
            screen.press("q")
        self.check(ALPINES_FOLDER, draft="")
        with self.independent() as client:
            client.create(quoted(KOREAN_FOLDER))
        with Terminal(self.server.home, *self.command) as screen:
            self.open(screen)
            screen.do(
                ("", "of 2"),
                ("<", KOREAN_FOLDER),
                ("w", "Word to search"),
                ("편지\r\r", f"Folder: {KOREAN_FOLDER}"),
            )
            screen.press("q")
        with self.independent() as client:
            client.delete(quoted(KOREAN_FOLDER))
        self.check(ALPINES_FOLDER, draft="")

    def read(self, screen: Terminal) -> None:
        """Let the server search, show the first message, save its attachment, flag it."""
        screen.do(
            (";", "SELECT criteria"),
            ("t", "Select based on"),
            ("s", "String in message SUBJECT"),
            ("보고서\r", "ZOOMED"),
            (";", "X N   1"),
            ("a", "  N   2"),
            ("\r", "세 시입니다"),
            ("v", "ATTACHMENT INDEX"),
            ("\x0e", "Application/ZIP"),
            ("s", "Copy attachment to file"),
        )
        screen.press("\r")
        saved = self.server.home / ATTACHMENT_NAME
        until(lambda: saved.exists() and saved.read_bytes() == ATTACHMENT, "The attachment is not saved")
        screen.do(
            ("<", "MESSAGE TEXT"),
            ("<", "MESSAGE INDEX"),
            ("*", "Flag New"),
            ("*", "*     1"),
        )

    def file_away(self, screen: Terminal) -> None:
        """Save the others in a folder that is made for them, which deletes them here."""
        screen.do(
            ("j", "Message number"),
            ("2\r", "Message 2 of 3"),
            ("s", "SAVE Msg #2"),
            (f"\x15{ALPINES_FOLDER}\r", "Create?"),
            ("y", "Message 2 of 3 DEL"),
            ("j", "Message number"),
            ("3\r", "Message 3 of 3"),
            ("s", "SAVE Msg #3"),
            (f"\x15{ALPINES_FOLDER}\r", "Message 3 of 3 DEL"),
            ("x", "Message 1 of 1"),
        )

    def write(self, screen: Terminal) -> None:
        """Begin a message and put it off."""
        screen.do(
            ("c", "COMPOSE"),
            ("bob@elsewhere.example\r", "bob@"),
            ("\x0e\x0e", "Attchmnt:"),
            ("draft\r", ": draft"),
            ("not yet", "not yet"),
            ("\x0f", "MESSAGE INDEX"),
        )
