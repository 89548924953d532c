"""Dovecot and mailfw, one after the other, over one maildir: UIDs, flags, keywords, dates and octets are the same."""

from __future__ import annotations

import imaplib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    SEEN,
    CreateMailbox,
    DeleteMailbox,
    FlagChange,
    NewMessage,
    Subscribe,
    Want,
)
from mailfw.optional import IRetainedMail
from mailfw.site import Site
from mailfw.stores.maildir import maildir
from mailfw.testing.contents import SAMPLES, MemoryContent
from mailfw.testing.store.fixture import read_all

IMAP = Path("/usr/lib/dovecot/imap")
ANN = "ann@example.org"

#: Dovecot does not serve mail as root.
NOBODY = 65534

CONFIGURATION = """\
mail_location = maildir:{root}
base_dir = {work}/run
log_path = {work}/log
state_dir = {work}/state
ssl = no
first_valid_uid = 1
first_valid_gid = 1
mail_uid = {uid}
mail_gid = {gid}
"""

#: UID, flags, date and octets of a message, by mailbox.
Mail = dict[str, dict[int, tuple[frozenset[str], int, bytes]]]

#: Samples that are messages; of the others Dovecot makes what it likes (it knows no bare CR or LF, and no NUL).
GOOD = ("plain", "attachment", "korean-euc-kr", "korean-utf-8", "nested", "no-body", "from-line", "long-line")

_FETCHED = re.compile(rb'UID (\d+) FLAGS \(([^)]*)\) INTERNALDATE ("[^"]*") BODY\[\] \{')


class DovecotTests(TestCase):
    """Alternating over one maildir."""

    timeout = 60

    def setUp(self) -> None:
        if not IMAP.exists():
            raise SkipTest(f"Dovecot is not installed: there is no {IMAP}")
        if os.geteuid() == 0 and not shutil.which("setpriv"):
            raise SkipTest("Dovecot does not run as root, and there is no setpriv to run it as somebody else")
        self.work = Path(tempfile.mkdtemp(prefix="mailfw-dovecot-"))
        self.addCleanup(shutil.rmtree, self.work)
        self.root = self.work / "mail/example.org/ann"
        self.uid = os.geteuid() or NOBODY
        gid = os.getegid() or NOBODY
        text = CONFIGURATION.format(root=self.root, work=self.work, uid=self.uid, gid=gid)
        (self.work / "dovecot.conf").write_text(text)

    def open(self) -> IMailStore:
        from twisted.internet import reactor

        store: IMailStore = maildir(Site("mx.example.org", frozenset(), self.work, reactor))
        return store

    # ------------------------------------------------------------ both views

    def dovecot(self) -> imaplib.IMAP4:
        """Start Dovecot's IMAP process, already logged in."""
        command = f"{IMAP} -c {self.work}/dovecot.conf"
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(self.work)], check=True)
            command = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {command}"
        return imaplib.IMAP4_stream(f"HOME={self.work} USER=ann {command} 2>>{self.work}/stderr")

    def ask(self, connection: imaplib.IMAP4, mailbox: str) -> dict[int, tuple[frozenset[str], int, bytes]]:
        _ok(connection.select(f'"{mailbox}"'))
        found = {}
        for answer in _ok(connection.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")):
            if isinstance(answer, tuple):
                fetched = _FETCHED.search(answer[0])
                assert fetched is not None, answer[0]
                flags = frozenset(fetched[2].decode().split()) - {"\\Recent"}
                date = imaplib.Internaldate2tuple(b"INTERNALDATE " + fetched[3])
                assert date is not None
                found[int(fetched[1])] = (flags, int(time.mktime(date)), answer[1])
        return found

    def by_dovecot(self) -> tuple[Mail, dict[str, tuple[int, int]]]:
        """Return all mail, and each mailbox's UIDVALIDITY and UIDNEXT, as Dovecot says."""
        connection = self.dovecot()
        lines = [line.decode() for line in _ok(connection.list())]
        names = [line.partition('"." ')[2].strip('"') for line in lines if "\\No" not in line]
        mail = {name: self.ask(connection, name) for name in names}
        numbers = {}
        for name in names:
            [line] = _ok(connection.status(f'"{name}"', "(UIDVALIDITY UIDNEXT)"))
            values = dict(re.findall(rb"(UID\w+) (\d+)", line))
            numbers[name] = (int(values[b"UIDVALIDITY"]), int(values[b"UIDNEXT"]))
        connection.logout()
        return mail, numbers

    async def by_mailfw(self, store: IMailStore) -> tuple[Mail, dict[str, tuple[int, int]]]:
        """Return the same, as we say, names as they are in the maildir."""
        from mailfw.stores.maildir.layout import directory_of

        mail: Mail = {}
        numbers = {}
        for info in await store.mailboxes(ANN):
            name = directory_of(info.path)[1:]
            mail[name] = {}
            snapshot = await store.snapshot(ANN, info.id, 0)
            rows = [row async for batch in store.rows(ANN, info.id, snapshot.uids, Want.NOTHING) for row in batch]
            for row in rows:
                content = await store.content(ANN, info.id, row.uid)
                assert content is not None
                mail[name][row.uid] = (row.flags, row.received, await read_all(content))
                self.assertEqual(row.size, content.size)
                await content.close()
            numbers[name] = (snapshot.info.uid_validity, snapshot.info.uid_next)
        return mail, numbers

    async def compare(self, store: IMailStore) -> Mail:
        """Fail unless both say the same; return it."""
        ours, our_numbers = await self.by_mailfw(store)
        theirs, their_numbers = await deferToThread(self.by_dovecot)
        self.assertEqual(ours.keys(), theirs.keys())
        for name in ours:
            self.assertEqual(ours[name].keys(), theirs[name].keys(), name)
            for uid, (flags, date, octets) in ours[name].items():
                self.assertEqual((flags, date), theirs[name][uid][:2], f"{name} {uid}")
                self.assertTrue(octets == theirs[name][uid][2], f"{name} {uid}: the octets differ")
        self.assertEqual(our_numbers, their_numbers)
        return ours

    # ------------------------------------------------------------ the tests

    async def fill(self, store: IMailStore) -> str:
        await store.open_account(ANN)
        inbox = await self.find(store, "INBOX")
        for number, name in enumerate(GOOD):
            flags = frozenset([SEEN, f"$Word{number % 3}"] if number % 2 else [])
            message = NewMessage(MemoryContent(SAMPLES[name]), flags, 1_600_000_000 + number)
            await store.append(ANN, inbox, [message])
        for path in (("Work",), ("Work", "2026"), ("받은 편지함",)):
            await store.edit_mailbox(ANN, CreateMailbox(path))
        await store.edit_mailbox(ANN, Subscribe(("Work", "2026")))
        await store.copy(ANN, inbox, [2, 3], await self.find(store, "받은 편지함"))
        await store.copy(ANN, inbox, [4], await self.find(store, "Work"), move=True)
        return inbox

    async def find(self, store: IMailStore, *path: str) -> str:
        return next(info.id for info in await store.mailboxes(ANN) if info.path == path)

    async def test_dovecot_reads_what_we_wrote(self) -> None:
        store = self.open()
        self.addCleanup(store.close)
        await self.fill(store)
        mail = await self.compare(store)
        self.assertEqual(len(mail["INBOX"]), len(GOOD) - 1)
        subscribed = await deferToThread(self._subscriptions)
        self.assertIn("Work.2026", subscribed)
        self.assertEqual(len(subscribed), len(await store.subscriptions(ANN)))

    async def test_dovecot_shows_nothing_of_what_is_retained(self) -> None:
        """Neither what was expunged nor what was in a deleted mailbox; and all of it when it is back."""
        from twisted.internet import reactor

        store = maildir(Site("mx.example.org", frozenset(), self.work, reactor), retention=86400)
        self.addCleanup(store.close)
        inbox = await self.fill(store)
        await store.alter(ANN, inbox, [1, 2], FlagChange.ADD, frozenset({DELETED}))
        await store.expunge(ANN, inbox, None)
        await store.edit_mailbox(ANN, DeleteMailbox(("받은 편지함",)))
        mail = await self.compare(store)
        self.assertEqual(len(mail), 8)
        retained = IRetainedMail(store)
        kept = [each.id async for batch in retained.retained(ANN) for each in batch]
        self.assertEqual((len(kept), await retained.undelete(ANN, kept)), (4, 4))
        again = await self.compare(store)
        self.assertEqual((len(again), len(again["INBOX"])), (9, len(mail["INBOX"]) + 2))

    def _subscriptions(self) -> list[str]:
        connection = self.dovecot()
        names = [line.decode().partition('"." ')[2].strip('"') for line in _ok(connection.lsub())]
        connection.logout()
        return names

    async def test_both_change_it_in_turns(self) -> None:
        """While our store stays open, Dovecot appends, flags, expunges, copies and makes folders; and we do."""
        store = self.open()
        self.addCleanup(store.close)
        inbox = await self.fill(store)
        before = await self.compare(store)
        for turn in range(3):
            await deferToThread(self._change, turn)
            await _settle()
            during = await self.compare(store)
            self.assertNotEqual(during, before)
            uids = sorted(during["INBOX"])
            await store.alter(ANN, inbox, uids[:2], FlagChange.ADD, frozenset({FLAGGED, f"$Ours{turn}"}))
            await store.append(ANN, inbox, [NewMessage(MemoryContent(SAMPLES["plain"]), frozenset({SEEN}))])
            await store.alter(ANN, inbox, uids[-1:], FlagChange.ADD, frozenset({DELETED}))
            await store.expunge(ANN, inbox, None)
            before = await self.compare(store)

    def _change(self, turn: int) -> None:
        connection = self.dovecot()
        _ok(connection.create(f'"Theirs{turn}.sub"'))
        _ok(
            connection.append("INBOX", f"(\\Seen $Theirs{turn})", '" 5-Jan-2026 09:30:00 +0900"', SAMPLES["attachment"])
        )
        _ok(connection.append("INBOX", "()", "", SAMPLES["korean-utf-8"]))
        _ok(connection.select("INBOX"))
        _ok(connection.store("1:2", "+FLAGS", f"($Theirs{turn} \\Answered)"))
        _ok(connection.copy("1:3", f'"Theirs{turn}.sub"'))
        _ok(connection.store("3", "+FLAGS", "(\\Deleted)"))
        _ok(connection.expunge())
        connection.logout()


def _ok(answer: tuple[str, list[Any]]) -> list[Any]:
    assert answer[0] == "OK", answer
    return answer[1]


async def _settle() -> None:
    """Wait until a folder another program made is looked for again."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    waiting: Deferred[None] = deferLater(reactor, 1.1)
    await waiting
