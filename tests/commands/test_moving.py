"""`mailfw backup`, `restore`, `migrate` and `store rebuild`, typed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
import subprocess
import time
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailfw.commands.bar import Bar
from mailfw.commands.words import octets
from mailfw.transfer.account import TransferRefused
from mailfw.transfer.flags import flags_of
from mailfw.transfer.imap_server import parse_address, path_of
from tests.running import BIN, run

MESSAGE = "From: bo@example.net\nSubject: Hello\n\nIt works.\n"


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.data = self.folder / "var"
        self.folder.mkdir()
        self.settings: tuple[str, ...] = ('--set=domains=["example.org"]', f'--set=data="{self.data}"')

    def mailfw(self, *arguments: str, typed: str = "", code: int = 0) -> CompletedProcess[str]:
        done = run("mailfw", *self.settings, *arguments, input=typed)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def make(self, *names: str) -> None:
        """Make accounts; each has a message in a maildir that some other program made."""
        self.data.mkdir(mode=0o700)
        for name in names:
            self.mailfw("user", "add", name, typed="secret word\n")
            root = self.data / "mail/example.org" / name
            for each in ("new", "cur", "tmp", ".Work/cur", ".Work/new", ".Work/tmp"):
                (root / each).mkdir(parents=True)
            (root / "cur/1600000000.a.b:2,FS").write_text(MESSAGE)
            (root / ".Work/new/1600000001.a.b").write_text(f"{MESSAGE}{name}\n")

    def indexed(self, *names: str) -> None:
        for name in names:
            self.mailfw("store", "rebuild", name)


class MovingTests(Case):
    def test_a_site_goes_and_comes_back(self) -> None:
        self.make("ann", "bob")
        self.mailfw("user", "add", "carol", typed="secret word\n")
        self.indexed("ann", "bob")
        saved = self.mailfw("backup", "--all", str(self.folder / "saved"))
        self.assertIn("bob@example.org: 2 mailboxes, 2 messages; 2 new, 2 verified", saved.stdout)
        self.assertIn("1 accounts have never had mail", saved.stderr)
        self.assertEqual(
            sorted(each.parent.name for each in self.folder.glob("saved/example.org/*/backup.json")), ["ann", "bob"]
        )
        again = self.mailfw("backup", "--quick", "--all", str(self.folder / "saved"))
        self.assertIn("; 0 new, 0 verified", again.stdout)
        self.assertIn("2 mailboxes, 2 messages, 2 verified", self.verify())
        self.data.rename(self.folder / "lost")
        back = self.mailfw("restore", str(self.folder / "saved"))
        self.assertIn("ann@example.org: 2 mailboxes, 2 messages; 2 new, 2 verified", back.stdout)
        self.assertIn(f"{self.data}/passwords is back", back.stderr)
        self.assertEqual((self.data / "passwords").read_bytes(), (self.folder / "lost/passwords").read_bytes())
        self.assertNotIn("nobody can log in", back.stderr)
        self.assertIn("; 0 new", self.mailfw("restore", str(self.folder / "saved/example.org/bob")).stdout)
        (self.data / "passwords").unlink()
        self.mailfw("user", "add", "ann", typed="another\n")
        again = self.mailfw("restore", str(self.folder / "saved"))
        self.assertIn("passwords is another one here, and stays", again.stderr)
        self.assertIn("note: nobody can log in as bob@example.org yet", again.stderr)

    def verify(self, code: int = 0) -> str:
        done = self.mailfw("backup", "--verify", str(self.folder / "saved"), code=code)
        return done.stdout + done.stderr

    def test_a_backup_that_has_lost_mail(self) -> None:
        """What is there is restored, and that it is not all is said; what others wrote does nothing to a terminal."""
        self.make("ann")
        self.indexed("ann")
        saved = self.folder / "saved"
        self.mailfw("backup", "ann", str(saved))
        (saved / "Work/messages.jsonl").write_text("")
        manifest = json.loads((saved / "backup.json").read_bytes())
        (saved / "backup.json").write_text(json.dumps({**manifest, "account": "b\x1b[2Jb@example.org"}))
        done = self.mailfw("restore", str(saved), code=1)
        self.assertIn("2 mailboxes, 1 messages; 1 new, 1 verified", done.stdout)
        self.assertIn("Work: 1 messages were saved, 0 are in its list", done.stderr)
        self.assertIn("nobody can log in as b?[2Jb@example.org", done.stderr)
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        done = self.mailfw("backup", "ann", str(saved), code=1)
        self.assertIn("is a backup of b?[2Jb@example.org", done.stderr)

    def test_damage_to_a_site(self) -> None:
        """What has changed since the last run is told, message by message and file by file."""
        self.make("ann", "bob")
        self.indexed("ann", "bob")
        self.mailfw("backup", "ann", str(self.folder / "saved/example.org/ann"))
        self.assertIn("site.json", self.mailfw("backup", "--verify", str(self.folder / "saved"), code=1).stderr)
        self.mailfw("backup", "--all", str(self.folder / "saved"))
        self.verify()
        [message] = self.folder.glob("saved/example.org/ann/Work/*.eml")
        octets = message.read_bytes()
        for damaged, words in (
            (octets[:-1] + b"!", "its octets are not what they were"),
            (octets[:-1], "and had"),
            (None, "the file is missing"),
        ):
            message.unlink()
            if damaged is not None:
                message.write_bytes(damaged)
            self.assertIn(f"Work, {message.name}: ", said := self.verify(code=1))
            self.assertIn(words, said)
            message.write_bytes(octets)
        self.verify()
        listing = message.with_name("messages.jsonl")
        listing.write_text(listing.read_text().replace("[]", '["\\\\Flagged"]'))
        self.assertIn("Work: its list is not the one that was written last", self.verify(code=1))
        self.mailfw("backup", "--all", str(self.folder / "saved"))
        self.verify()
        (self.folder / "saved/@data/passwords").write_text("x")
        (self.folder / "saved/example.org/bob/backup.json").write_text("{}")
        said = self.verify(code=1)
        self.assertIn("@data/passwords: it is not the one that was written last", said)
        self.assertIn("bob/backup.json cannot be read", said)

    def test_killed_on_the_way(self) -> None:
        """However often: what was saved stays, nothing is saved twice, and the backup is whole in the end."""
        self.make("ann", "bob")
        root = self.data / "mail/example.org"
        for number in range(400):
            (root / ("ann", "bob")[number % 2] / f"cur/16000{number:05}.x.y:2,").write_text(f"{MESSAGE}{number}\n" * 40)
        self.indexed("ann", "bob")
        command = [str(BIN / "mailfw"), *self.settings, "backup", "--all", str(self.folder / "saved")]
        saved: dict[Path, int] = {}
        for wanted in (1, 60, 150, 250, 390):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while len(self.saved()) < wanted and process.poll() is None:
                time.sleep(0.005)
            process.kill()
            process.wait()
            self.assertLessEqual(saved.items(), self.saved().items())
            saved = {path: node for path, node in self.saved().items() if path.name in self.listed(path.parent)}
        self.mailfw("backup", "--all", str(self.folder / "saved"))
        self.assertEqual(self.verify().count("202 messages, 202 verified"), 2)
        self.data.rename(self.folder / "lost")
        command[-3:] = ["restore", str(self.folder / "saved")]
        for pause in (0.9, 1.2, 1.5):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(pause)
            process.kill()
            process.wait()
        self.assertEqual(
            self.mailfw("restore", str(self.folder / "saved")).stdout.count(": 2 mailboxes, 202 messages"), 2
        )

    @staticmethod
    def listed(folder: Path) -> str:
        """Return the lines of a list that were written to their end."""
        path = folder / "messages.jsonl"
        return path.read_text().rpartition("\n")[0] if path.exists() else ""

    def saved(self) -> dict[Path, int]:
        """Return the files of messages, by what says that they were not written again."""
        found = {}
        for each in (self.folder / "saved").rglob("*.eml"):
            with contextlib.suppress(FileNotFoundError):
                found[each] = each.stat().st_ino
        return found

    def test_no_room(self) -> None:
        """The directory that is full is named; what is there is not saved again."""
        self.make("ann")
        (self.data / "mail/example.org/ann/cur/1700000000.z.b:2,").write_bytes(b"Subject: x\n\n" + b"x" * 5_000_000)
        self.indexed("ann")
        # A file that grows beyond the limit is what a full disk is to `mailfw.disk`.
        command = ["prlimit", "--fsize=4000000", str(BIN / "mailfw"), *self.settings, "backup", "ann"]
        done = subprocess.run([*command, str(self.folder / "saved")], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(f"mailfw: {self.folder}/saved: the disk is full", done.stderr)
        self.assertIn("3 messages; ", self.mailfw("backup", "ann", str(self.folder / "saved")).stdout)
        self.verify()

    def test_one_mailbox_into_another_account(self) -> None:
        self.make("ann")
        self.indexed("ann")
        self.mailfw("backup", "ann", str(self.folder / "saved"))
        done = self.mailfw("restore", "--account", "zoe", "--mailbox", "Work", str(self.folder / "saved"))
        self.assertIn("zoe@example.org: 1 mailboxes, 1 messages; 1 new", done.stdout)
        refused = self.mailfw("restore", "--mailbox", "Play", str(self.folder / "saved"), code=1)
        self.assertIn("has no mailbox Play", refused.stderr)

    def test_from_one_store_to_another(self) -> None:
        self.make("ann", "bob")
        self.indexed("ann", "bob")
        target = f"--to=maildir:path={self.folder / 'new'}"
        done = self.mailfw("migrate", "--all", target)
        self.assertIn("ann@example.org: 2 mailboxes, 2 messages; 2 new, 2 verified", done.stdout)
        self.assertIn("; 0 new, 2 verified", self.mailfw("migrate", "ann", target).stdout)
        files = [each for each in (self.folder / "new/example.org/bob/.Work").rglob("*") if each.is_file()]
        self.assertTrue(any(b"bob" in each.read_bytes() for each in files))

    def test_not_onto_itself(self) -> None:
        self.make("ann")
        self.indexed("ann")
        for same in ("maildir", "maildir:path=mail", f"maildir:path={self.data / 'mail'}"):
            self.assertIn("the same", self.mailfw("migrate", "ann", f"--to={same}", code=1).stderr, same)

    def test_while_somebody_else_has_the_data(self) -> None:
        self.make("ann")
        with (self.data / "server.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            held.write("4711\n")
            held.flush()
            done = self.mailfw("backup", "ann", "x", code=1)
        self.assertIn("in use by another mailfw, process 4711", done.stderr)
        self.assertIn("stop the server first", done.stderr)

    def test_what_makes_no_sense(self) -> None:
        self.make("ann")
        refusals: list[tuple[tuple[str, ...], str]] = [
            (("backup", "nobody", str(self.folder / "x")), "there is no mail of nobody@example.org"),
            (("backup", "--all", "ann", str(self.folder / "x")), "name accounts, or say --all"),
            (("backup", str(self.folder / "x")), "name accounts, or say --all"),
            (("backup", "--verify", str(self.folder / "x")), "this is no backup of an account"),
            (("backup", "--verify", "ann", str(self.folder / "x")), "name that alone"),
            (("restore", str(self.folder / "x")), "this is no backup of an account"),
            (("migrate", "ann"), "where from, or where to?"),
            (("migrate", "ann", "--to=marmalade"), "marmalade"),
            (("migrate", "--all", "--from=imaps://example.net"), "one account at a time"),
            (("migrate", "ann", "--from=imaps://ann:secret@example.net"), "can be read by every user"),
            (("migrate", "ann", "--from=imaps://ann@example.net"), "no password on standard input"),
            (("store", "rebuild", "nobody"), "no such account"),
        ]
        for arguments, words in refusals:
            self.assertIn(words, self.mailfw(*arguments, code=1).stderr, arguments)

    def test_a_store_without_an_index(self) -> None:
        self.settings += ('--set=store.plugin="memory"',)
        self.assertIn("has no index apart", self.mailfw("store", "rebuild", "ann", code=1).stderr)

    def test_search_made_anew(self) -> None:
        self.make("ann", "bob")
        self.indexed("ann", "bob")
        for _ in range(2):
            done = self.mailfw("store", "rebuild", "--search", "--all")
            self.assertIn("bob@example.org: 2 messages can be searched\n", done.stdout)
        [path] = self.data.rglob("bob/mailfw-search.sqlite")
        with sqlite3.connect(path) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM text").fetchone(), (2,))
        connection.close()
        self.settings += ("--set=store.search=false",)
        self.assertIn("finds no text", self.mailfw("store", "rebuild", "--search", "ann", code=1).stderr)

    def test_a_rebuild_says_what_there_is(self) -> None:
        self.make("ann", "bob")
        self.mailfw("user", "add", "carol", typed="secret word\n")
        done = self.mailfw("store", "rebuild", "--all")
        self.assertIn("bob@example.org: 2 mailboxes, 2 messages", done.stdout)
        manifest = self.folder / "saved/backup.json"
        self.mailfw("backup", "bob", str(manifest.parent))
        self.assertEqual(json.loads(manifest.read_bytes())["account"], "bob@example.org")


class WordsTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        address = parse_address("imaps://ann%40example.org@mail.example.net")
        self.assertEqual((address.user, address.host, address.port), ("ann@example.org", "mail.example.net", 993))
        self.assertEqual(parse_address("imap://[::1]:1143").port, 1143)
        for wrong in ("imaps://", "http://a", "imaps://a/INBOX", "imap://a:x", "imaps://a:b@c"):
            self.assertRaises(TransferRefused, parse_address, wrong)

    def test_names_of_mailboxes(self) -> None:
        self.assertEqual(path_of("inbox", b"/", ""), ("INBOX",))
        self.assertEqual(path_of("INBOX.Work.2026", b".", "INBOX."), ("Work", "2026"))
        self.assertEqual(path_of("INBOX.Work", b".", ""), ("INBOX", "Work"))
        self.assertEqual(path_of("a/b", None, ""), ("a/b",))

    def test_flags(self) -> None:
        words = ["\\SEEN", "\\Recent", "$Forwarded", "\\X-Odd", "two words", "한", "two\nlines", "", "NonJunk"]
        self.assertEqual(flags_of(words), {"\\Seen", "$Forwarded", "NonJunk"})

    def test_the_bar(self) -> None:
        now = [0.0]
        stream = StringIO()
        with patch.object(stream, "isatty", return_value=True):
            bar = Bar(stream, lambda: now[0])
        bar.begin("INBOX", 100)
        now[0] = 10.0
        bar.advance(50, 1024 * 1024)
        shown = f"INBOX [##############..............] 50/100 messages, {octets(2**20)}, 5/s, 0:10 left"
        self.assertIn(shown, stream.getvalue())
        bar.end()
        self.assertTrue(stream.getvalue().endswith("\n"))

    def test_lines_where_there_is_no_terminal(self) -> None:
        now = [0.0]
        bar = Bar(stream := StringIO(), lambda: now[0])
        bar.begin("INBOX\x1b", 100)
        bar.advance(1, 1)
        self.assertEqual(stream.getvalue(), "")
        now[0] = 11.0
        bar.advance(1, 1)
        self.assertEqual(stream.getvalue(), "INBOX? 2/100 messages, 2 octets, 0/s, 8:59 left\n")
