"""A maildir of Dovecot's taken over by mailfw and given back: mbsync, which remembers everything, sees no change."""

from __future__ import annotations

import os
import poplib
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from twisted.trial.unittest import SynchronousTestCase

from mailfw.stores.maildir.layout import directory_of
from tests.interop.dovecot import PASSWORD as THEIR_PASSWORD
from tests.interop.dovecot import Dovecot
from tests.interop.mbsync import configuration
from tests.interop.random_mail import fetch_all
from tests.interop.server import DOMAIN, PASSWORD, RunningServer, require

MESSAGES = int(os.environ.get("MAILFW_TAKEN_OVER", "2000"))
ANN = f"ann@{DOMAIN}"

#: Of ten messages, how many are in which mailbox.
PLACES = {"INBOX": 6, "Work/2026년": 2, "받은 편지함": 1, "Tom & Jerry": 1}
#: More than a maildir has letters for: of these Dovecot keeps the last in its own index alone.
KEYWORDS = [f"$word{number}" for number in range(24)]

#: By mailbox: UIDVALIDITY, UIDNEXT, and by UID flags, date and size.
View = dict[str, tuple[int, int, dict[int, tuple[frozenset[bytes], object, int]]]]


class SwitchTests(SynchronousTestCase):
    """`MAILFW_TAKEN_OVER` says how many messages."""

    timeout = 1800

    def setUp(self) -> None:
        self.mbsync = require("mbsync")
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-switch-"))
        self.addCleanup(shutil.rmtree, self.home)
        self.home.chmod(0o755)
        self.server = RunningServer("ann", user="nobody")
        self.addCleanup(self.server.remove)
        self.server.terminate()
        self.root = self.server.home / "data/mail" / DOMAIN / "ann"
        self.near = self.home / "near"
        self.near.mkdir()

    def start(self, messages: int, settings: str = "") -> None:
        """Let Dovecot serve so much mail."""
        self._write(messages)
        self.dovecot = Dovecot(self.home / "dovecot", maildirs=self.root.parents[1], settings=settings)
        self.addCleanup(self.dovecot.stop)

    def _write(self, messages: int) -> None:
        """Write the files that a delivery agent would have left."""
        number = 0
        for place, share in PLACES.items():
            folder = self.root if place == "INBOX" else self.root / directory_of(tuple(place.split("/")))
            for name in ("cur", "new", "tmp"):
                (folder / name).mkdir(parents=True)
            for _ in range(messages * share // 10):
                number += 1
                octets = f"From: a@b.example\nSubject: number {number}\n\nbody {number}\n".encode()
                letters = ["", "S", "RS", "FS", "S"][number % 5] if number % 50 else "T"
                path = folder / "cur" / f"{1_600_000_000 + number}.M{number}P1.host,S={len(octets)}:2,{letters}"
                path.write_bytes(octets)
                os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
        subprocess.run(["chown", "-R", "nobody:nogroup", str(self.root.parents[1])], check=True)

    # ------------------------------------------------------------ clients

    def theirs(self) -> IMAPClient:
        client = self.dovecot.client(ANN)
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def ours(self) -> IMAPClient:
        client = IMAPClient("127.0.0.1", self.server.ports["imap"], ssl=False, timeout=600)
        client.normalise_times = False
        client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.login(ANN, PASSWORD)
        return client

    def mbsync_at(self, port: int, password: str) -> list[str]:
        """Synchronise, and return what is in the near maildir then, control files and all."""
        (self.home / "mbsyncrc").write_text(configuration(port, ANN, password, self.near, expunge="None"))
        self.server.run(self.mbsync, "-c", str(self.home / "mbsyncrc"), "-a", "-q")
        return sorted(str(path.relative_to(self.near)) for path in self.near.rglob("*") if path.is_file())

    def names(self, client: IMAPClient) -> list[str]:
        hidden = {b"\\Noselect", b"\\NonExistent"}
        return [name for flags, _, name in client.list_folders() if not hidden & set(flags)]

    def view(self, client: IMAPClient) -> View:
        view: View = {}
        for name in self.names(client):
            status = client.select_folder(name, readonly=True)
            found = fetch_all(client, "UID FLAGS INTERNALDATE RFC822.SIZE")
            messages = {
                uid: (frozenset(data[b"FLAGS"]) - {b"\\Recent"}, data[b"INTERNALDATE"], data[b"RFC822.SIZE"])
                for uid, data in found.items()
            }
            view[name] = (status[b"UIDVALIDITY"], status[b"UIDNEXT"], messages)
        return view

    def unique_ids(self, port: int, password: str) -> list[bytes]:
        client = poplib.POP3("127.0.0.1", port, timeout=600)
        client.user(ANN)
        client.pass_(password)
        lines = client.uidl()[1]
        client.quit()
        return lines

    def same(self, one: View, other: View) -> None:
        """Fail unless two views are equal, and say where they are not."""
        self.assertEqual(one.keys(), other.keys())
        for name, (validity, following, messages) in one.items():
            self.assertEqual((validity, following), other[name][:2], name)
            differing = {
                uid: (what, other[name][2].get(uid))
                for uid, what in messages.items()
                if other[name][2].get(uid) != what
            }
            self.assertEqual(dict(list(differing.items())[:5]), {}, name)
            self.assertEqual(len(messages), len(other[name][2]), name)

    # ------------------------------------------------------------ the test

    def test_taken_over_and_given_back(self) -> None:
        """Nothing changes by the change of servers, and nothing but what was changed afterwards by the way back."""
        self.start(MESSAGES)
        self._work(self.theirs(), self.dovecot.pop3)
        there = self.mbsync_at(self.dovecot.port, THEIR_PASSWORD)
        before, client = self.view(self.theirs()), self.theirs()
        subscribed = {name for _, _, name in client.list_sub_folders()}
        unique = self.unique_ids(self.dovecot.pop3, THEIR_PASSWORD)
        self.dovecot.stop()

        self._take_over()
        client = self.ours()
        self.same(before, self.view(client))
        self.assertEqual({name for _, _, name in client.list_sub_folders()}, subscribed)
        self.assertEqual(self.unique_ids(self.server.ports["pop3"], PASSWORD), unique)
        self.assertEqual(self.mbsync_at(self.server.ports["imap"], PASSWORD), there, "mbsync saw a change")
        self._change(client)
        ours = {name for _, _, name in client.list_sub_folders()}
        there = self.mbsync_at(self.server.ports["imap"], PASSWORD)
        unique = self.unique_ids(self.server.ports["pop3"], PASSWORD)
        after = self.view(client)
        client.logout()
        self.server.terminate()

        self.dovecot.start()
        floor = self._raise_modseqs(after)
        client = self.theirs()
        self.same(after, self.view(client))
        self.assertEqual({name for _, _, name in client.list_sub_folders()}, ours)
        self.assertEqual(self.unique_ids(self.dovecot.pop3, THEIR_PASSWORD), unique)
        self.assertEqual(self.mbsync_at(self.dovecot.port, THEIR_PASSWORD), there, "mbsync saw a change")
        for name in after:
            self.assertGreaterEqual(client.folder_status(name, ["HIGHESTMODSEQ"])[b"HIGHESTMODSEQ"], floor, name)
        self.assertEqual(self.dovecot.complaints(), [])

    def test_unique_ids_of_another_form(self) -> None:
        """Dovecot saves those that it has told clients, and they are ours."""
        self.start(50, "pop3_uidl_format = old-%g\npop3_save_uidl = yes\n")
        unique = self.unique_ids(self.dovecot.pop3, THEIR_PASSWORD)
        self.assertIn(b"old-", unique[0])
        self.dovecot.stop()
        self.server.start()
        self.assertEqual(self.unique_ids(self.server.ports["pop3"], PASSWORD), unique)

    def _work(self, client: IMAPClient, pop3: int) -> None:
        """Do at Dovecot what people do."""
        client.select_folder("INBOX")
        uids = client.search()
        for number, keyword in enumerate(KEYWORDS):
            client.add_flags(uids[number::97], [keyword])
        client.delete_messages(uids[5:50:7])
        client.expunge(uids[5:50:7])
        for name in ("Work/2026년", "Tom & Jerry", "not there any more"):
            client.create_folder(name) if name.startswith("not") else None
            client.subscribe_folder(name)
        client.delete_folder("not there any more")
        client.logout()
        self.unique_ids(pop3, THEIR_PASSWORD)
        self._note_pop3()

    def _note_pop3(self) -> None:
        """Give some messages the unique-ids that they had on a still older server, as Dovecot saves them."""
        path = self.root / "dovecot-uidlist"
        header, *lines = path.read_text().splitlines()
        noted = [
            re.sub(r"^(\d+) ", rf"\1 Pold-{number} ", line) if number % 3 == 0 else line
            for number, line in enumerate(lines)
        ]
        draft = path.with_name("noted")
        draft.write_text("\n".join([header, *noted, ""]))
        shutil.copystat(path, draft)
        shutil.chown(draft, "nobody", "nogroup")
        time.sleep(1.1)  # a list has to have a later date than the one before
        draft.touch()
        draft.rename(path)

    def _take_over(self) -> None:
        began = time.monotonic()
        said = self.server.console("store", "rebuild", ANN)
        if "MAILFW_TAKEN_OVER" in os.environ:
            sys.stdout.write(f"{said.strip()}; seen for the first time in {time.monotonic() - began:.1f} s\n")
        self.server.start()
        began = time.monotonic()
        client = self.ours()
        client.select_folder("INBOX")
        if "MAILFW_TAKEN_OVER" in os.environ:
            assert self.server.process is not None
            status = Path(f"/proc/{self.server.process.pid}/status").read_text()
            resident = re.search(r"VmRSS:\s+(\d+)", status)
            memory = int(resident[1]) // 1024 if resident else 0
            sys.stdout.write(f"selected after {time.monotonic() - began:.2f} s, resident {memory} MB\n")
        client.logout()

    def _change(self, client: IMAPClient) -> None:
        """Do at mailfw what people do."""
        client.select_folder("INBOX")
        uids = client.search()
        client.add_flags(uids[:20], ["\\Flagged", KEYWORDS[0]])
        client.remove_flags(uids[20:40], ["\\Seen"])
        client.copy(uids[40:50], "Tom & Jerry")
        client.move(uids[50:60], "받은 편지함")
        client.add_flags(uids[60:70], ["\\Deleted"])
        client.expunge(uids[60:70])
        client.append("INBOX", b"Subject: new\r\n\r\nhello\r\n", ["\\Seen", "$New"])
        client.create_folder("Ordner/für alles")
        client.append("Ordner/für alles", b"Subject: another\r\n\r\nhello\r\n")
        client.subscribe_folder("Ordner/für alles")
        client.unsubscribe_folder("Tom & Jerry")
        client.unselect_folder()

    def _raise_modseqs(self, view: View) -> int:
        """Let Dovecot go on above every modification sequence of ours, as the documentation says."""
        floor = (int(time.time()) + 86400) << 8
        with closing(sqlite3.connect(self.root / "mailfw-index.sqlite")) as index:
            self.assertLess(index.execute("SELECT modseq FROM account").fetchone()[0], floor)
        for name in view:
            self.dovecot.admin("mailbox", "update", "-u", ANN, "--min-highest-modseq", str(floor), name)
        return floor
