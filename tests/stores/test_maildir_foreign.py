"""What other programs do to a maildir under our hands."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailfw.disk import Disk
from mailfw.interfaces import IMailStore
from mailfw.mail.failure import NoSuchAccount
from mailfw.mail.mailbox import (
    DELETED,
    FLAGGED,
    INBOX,
    NO_FLAGS,
    SEEN,
    CreateMailbox,
    FlagChange,
    Flags,
    NewMessage,
    Subscribe,
    Want,
)
from mailfw.stores.index.ledger import Known, SourceBusy, Survey
from mailfw.stores.maildir import dotlock, maildir
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.testing.contents import PLAIN, MemoryContent
from mailfw.testing.store.fixture import pause, read_all
from tests.stores.test_maildir import site_at

ANN = "ann@example.org"
LF = b"Subject: from a delivery agent\n\nwith bare\nLF\n"


class RoomForNames(Disk):
    """A disk where a file can be made and nothing written."""

    def write(self, descriptor: int, octets: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


class ForeignTests(TestCase):
    """One account, whose maildir the tests change behind the store's back."""

    store: IMailStore

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        self.data = Path(self.mktemp()).absolute()  # noqa: ASYNC240 -- a test may block
        self.root = self.data / "mail/example.org/ann"
        await self.start()
        self.addCleanup(lambda: self.store.close())

    async def start(self) -> None:
        self.store = maildir(site_at(self.data))
        await self.store.open_account(ANN)
        self.inbox = await self.id_at(INBOX)

    async def restart(self) -> None:
        await self.store.close()
        await self.start()

    async def id_at(self, path: tuple[str, ...]) -> str:
        return next(info.id for info in await self.store.mailboxes(ANN) if info.path == path)

    async def add(self, *flags: str, octets: bytes = PLAIN, token: str | None = None) -> int:
        message = NewMessage(MemoryContent(octets), frozenset(flags), token=token)
        return (await self.store.append(ANN, self.inbox, [message]))[0].uid

    async def flags(self) -> dict[int, Flags]:
        snapshot = await self.store.snapshot(ANN, self.inbox, 0)
        return dict(zip(snapshot.uids, snapshot.flags, strict=True))

    async def octets(self, uid: int) -> bytes:
        content = await self.store.content(ANN, self.inbox, uid)
        assert content is not None
        octets = await read_all(content, 7)
        await content.close()
        self.assertEqual(content.size, len(octets))
        return octets

    def drop(self, name: str, octets: bytes = LF, folder: str = "new") -> Path:
        """Deliver as other programs do."""
        draft = self.root / "tmp" / name
        draft.write_bytes(octets)
        return draft.rename(self.root / folder / name)

    def files(self) -> list[Path]:
        return sorted([*self.root.glob("new/*"), *self.root.glob("cur/*")])

    # ------------------------------------------------------------ coming

    async def test_dropped_mail_is_found(self) -> None:
        await self.add()
        self.drop("1700000000.M1P2.host")
        self.assertEqual(await self.flags(), {1: NO_FLAGS, 2: NO_FLAGS})
        self.assertEqual(await self.octets(2), LF.replace(b"\n", b"\r\n"))
        [row] = [row async for rows in self.store.rows(ANN, self.inbox, [2], Want.FIELDS) for row in rows]
        self.assertEqual(row.size, len(LF) + LF.count(b"\n"))
        self.assertIn(b"delivery agent", row.fields or b"")
        self.assertEqual(await self.add(), 3)

    async def test_dropped_mail_keeps_its_number(self) -> None:
        self.drop("1700000000.M1P2.host")
        self.drop("1700000001.M1P2.host:2,FS", folder="cur")
        before = await self.flags()
        self.assertEqual(before, {1: NO_FLAGS, 2: {SEEN, FLAGGED}})
        await self.restart()
        self.assertEqual(await self.flags(), before)
        self.assertEqual((self.root / "cur/1700000001.M1P2.host:2,FS").read_bytes(), LF)

    async def test_watcher_hears_of_dropped_mail(self) -> None:
        heard: list[str] = []
        stop = await self.store.watch(ANN, lambda mailbox, modseq: heard.append(mailbox))
        self.drop("1700000000.M1P2.host")
        for _ in range(150):
            if heard:
                break
            await pause(0.02)
        self.assertEqual(heard[:1], [self.inbox])
        self.assertEqual(len(await self.flags()), 1)
        stop()

    async def test_mail_dropped_right_after_our_own_change(self) -> None:
        """Within one tick of the file system's clock the directory's date is the same for both."""
        uid = await self.add()
        status = (self.root / "new").stat()
        self.drop("1700000000.M1P2.host")
        os.utime(self.root / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        await pause(1.2)
        self.assertEqual(list(await self.flags()), [uid, uid + 1])

    async def test_large_message_with_bare_lf(self) -> None:
        octets = b"Subject: x\n\n" + b"\n".join(b"%d" % number for number in range(100_000)) + b"\r\nend\n"
        self.drop("1700000000.M1P2.host", octets)
        expected = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        await self.flags()
        content = await self.store.content(ANN, self.inbox, 1)
        assert content is not None
        self.assertEqual(content.size, len(expected))
        self.assertTrue(await read_all(content, 100_000) == expected)
        self.assertEqual(await content.read(300_000, 50), expected[300_000:300_050])
        await content.close()

    async def test_names_that_lie_about_sizes(self) -> None:
        self.drop(f"1700000000.M1P2.host,S={len(LF)},W={len(LF)}")
        self.drop("1700000001.M1P2.host,S=3,W=3")
        await self.flags()
        self.assertEqual(await self.octets(1), LF, "both sizes as the file has them: it is served as it is")
        self.assertEqual(await self.octets(2), LF.replace(b"\n", b"\r\n"))

    async def test_what_is_no_message(self) -> None:
        secret = self.data / "secret"
        secret.write_bytes(b"not yours")
        (self.root / "new/link").symlink_to(secret)
        (self.root / "cur/.hidden").write_bytes(LF)
        (self.root / "cur/directory").mkdir()
        os.mkfifo(self.root / "new/fifo")
        (self.root / "new" / os.fsdecode(b"\xff")).write_bytes(LF)
        self.drop("1700000000.M1P2.host")
        self.assertEqual(list(await self.flags()), [1])
        (self.root / ".Linked").symlink_to(self.data)
        self.assertNotIn(("Linked",), [info.path for info in await self.store.mailboxes(ANN)])

    async def test_recovered_token(self) -> None:
        """A message that was placed by a process that died before it could tell is known by its token."""
        uid = await self.add(token="delivery")
        await self.store.close()
        for index in self.root.glob("mailfw-index*"):
            index.unlink()
        await self.start()
        self.assertEqual(await self.add(token="delivery"), uid)
        self.assertEqual(list(await self.flags()), [uid])

    # ------------------------------------------------------------ changing and going

    async def test_flags_changed_by_others(self) -> None:
        uid = await self.add(SEEN)
        before = await self.store.snapshot(ANN, self.inbox, 0)
        [path] = self.files()
        path.rename(path.with_name(path.name.partition(":")[0] + ":2,FS"))
        self.assertEqual(await self.flags(), {uid: {SEEN, FLAGGED}})
        after = await self.store.snapshot(ANN, self.inbox, before.info.modseq)
        self.assertEqual((list(after.uids), after.flags), ([uid], [frozenset({SEEN, FLAGGED})]))
        self.assertEqual(await self.octets(uid), PLAIN)

    async def test_flags_changed_by_both(self) -> None:
        uid = await self.add()
        [path] = self.files()
        path.rename(self.root / "cur" / (path.name + ":2,F"))
        altered = await self.store.alter(ANN, self.inbox, [uid], FlagChange.REPLACE, frozenset({SEEN}))
        self.assertEqual(altered.changed, {uid: {SEEN}})
        self.assertEqual([path.name[-4:] for path in self.files()], [":2,S"])

    async def test_strange_letters_and_fields_stay(self) -> None:
        self.drop("1700000000.M1P2.host:2,PSq,more,:S", folder="cur")
        self.assertEqual(await self.flags(), {1: {SEEN}})
        await self.store.alter(ANN, self.inbox, [1], FlagChange.ADD, frozenset({FLAGGED}))
        self.assertEqual([path.name for path in self.files()], ["1700000000.M1P2.host:2,FPSq,more,:S"])
        self.assertEqual(await self.flags(), {1: {SEEN, FLAGGED}})

    async def test_dates_never_change(self) -> None:
        await self.store.append(ANN, self.inbox, [NewMessage(MemoryContent(PLAIN), received=1_600_000_000)])
        sent = await self.id_at(("Sent",))
        await self.store.alter(ANN, self.inbox, [1], FlagChange.ADD, frozenset({SEEN, "$Label"}))
        await self.store.copy(ANN, self.inbox, [1], sent)
        for path in [*self.files(), *self.root.glob(".Sent/cur/*")]:
            self.assertEqual(path.stat().st_mtime, 1_600_000_000)

    async def test_messages_removed_by_others(self) -> None:
        uids = [await self.add() for _ in range(3)]
        before = await self.store.snapshot(ANN, self.inbox, 0)
        next(path for path in self.files() if "Q2." in path.name or path == self.files()[1]).unlink()
        self.assertEqual(len(await self.flags()), 2)
        after = await self.store.snapshot(ANN, self.inbox, before.info.modseq)
        self.assertEqual(len(after.vanished), 1)
        self.assertEqual({*after.vanished, *(await self.flags())}, set(uids))
        self.assertIsNone(await self.store.content(ANN, self.inbox, after.vanished[0]))

    async def test_keywords_are_shared(self) -> None:
        uid = await self.add("$Forwarded", "NonJunk")
        table = dict(line.split() for line in (self.root / "dovecot-keywords").read_text().splitlines())
        self.assertEqual(table, {"0": "$Forwarded", "1": "NonJunk"})
        self.assertTrue(self.files()[0].name.endswith(":2,ab"))
        (self.root / "dovecot-keywords").write_text("0 $Forwarded\n1 NonJunk\n2 Theirs\n")
        [path] = self.files()
        path.rename(path.with_name(path.name + "c"))
        self.assertEqual(await self.flags(), {uid: {"$Forwarded", "NonJunk", "Theirs"}})

    async def test_folders_made_by_others(self) -> None:
        for name in (".Work.2026", ".&vBvHQA-", ".not &valid", ".Empty"):
            for sub in ("cur", "new", "tmp"):
                (self.root / name / sub).mkdir(parents=True)
        (self.root / ".Work.2026/cur/1700000000.M1P2.host:2,S").write_bytes(LF)
        await pause(1.1)
        infos = {info.path: info for info in await self.store.mailboxes(ANN)}
        self.assertEqual(infos["Work", "2026"].messages, 1)
        self.assertIn(("받은",), infos)
        self.assertFalse(any("not" in path[0] for path in infos))
        before = infos["Work", "2026"]
        (self.root / ".Work.2026").rename(self.root / ".Office")
        await pause(1.1)
        infos = {info.path: info for info in await self.store.mailboxes(ANN)}
        self.assertEqual((infos["Office",].id, infos["Office",].uid_validity), (before.id, before.uid_validity))

    async def test_a_folder_that_goes_and_comes_back_while_it_is_looked_at(self) -> None:
        """Another program renames it, and back again: nothing has happened to it, and nothing is said."""
        survey, asked = MaildirFolder.survey, 0

        def interrupted(folder: MaildirFolder, known: Known) -> Survey:
            nonlocal asked
            asked += 1
            if asked == 1:
                away = Path(folder.directory).rename(self.root / "away")
                try:
                    return survey(folder, known)
                finally:
                    away.rename(folder.directory)
            return survey(folder, known)

        await self.store.edit_mailbox(ANN, CreateMailbox(("Work",)))
        work = await self.id_at(("Work",))
        await self.store.snapshot(ANN, work, 0)
        self.drop("1700000000.M1P2.host", folder=".Work/new")
        self.patch(MaildirFolder, "survey", interrupted)
        with capturedLogs() as logged:
            await pause(1.1)
            self.assertEqual(len((await self.store.snapshot(ANN, work, 0)).uids), 1)
        self.assertGreater(asked, 1)
        self.assertEqual([event for event in logged if event["log_level"].name in ("warn", "error", "critical")], [])

    async def test_a_new_folder_that_goes_while_it_is_looked_at(self) -> None:
        """Another program removes what it has just made: whoever lists mailboxes or logs in hears nothing of it."""
        survey = MaildirFolder.survey

        def interrupted(folder: MaildirFolder, known: Known) -> Survey:
            if folder.directory.endswith("Brief"):
                shutil.rmtree(folder.directory)
            return survey(folder, known)

        self.patch(MaildirFolder, "survey", interrupted)
        for look in (self.restart, lambda: pause(1.1)):
            for sub in ("cur", "new", "tmp"):
                (self.root / ".Brief" / sub).mkdir(parents=True)
            self.drop("1700000000.M1P2.host", folder=".Brief/cur")
            await look()
            await self.store.mailboxes(ANN)
            self.assertFalse((self.root / ".Brief").exists())
            await pause(1.1)
            self.assertNotIn(("Brief",), {info.path for info in await self.store.mailboxes(ANN)})

    async def test_a_folder_that_goes_while_it_is_swept(self) -> None:
        """Another program removes it when a login looks for what was never finished."""
        glob = Path.glob

        def interrupted(path: Path, pattern: str) -> Any:
            if path.name == ".Brief":
                shutil.rmtree(path, ignore_errors=True)
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))  # as from scandir(2)
            return glob(path, pattern)

        for sub in ("cur", "new", "tmp"):
            (self.root / ".Brief" / sub).mkdir(parents=True)
        self.patch(Path, "glob", interrupted)
        await self.restart()
        self.assertNotIn(("Brief",), {info.path for info in await self.store.mailboxes(ANN)})

    async def test_copied_folder_is_another(self) -> None:

        await self.add()
        await self.store.edit_mailbox(ANN, CreateMailbox(("A",)))
        await self.store.copy(ANN, self.inbox, [1], await self.id_at(("A",)))
        shutil.copytree(self.root / ".A", self.root / ".B")
        await pause(1.1)
        infos = {info.path: info for info in await self.store.mailboxes(ANN)}
        self.assertNotEqual(infos["A",].id, infos["B",].id)
        self.assertEqual((infos["A",].messages, infos["B",].messages), (1, 1))

    async def test_subscriptions_are_shared(self) -> None:
        (self.root / "subscriptions").write_text("Work.2026\n&vBvHQA-\n")
        self.assertEqual(await self.store.subscriptions(ANN), {("Work", "2026"), ("받은",)})
        await self.store.edit_mailbox(ANN, Subscribe(("a.b", "c")))
        text = (self.root / "subscriptions").read_text()
        self.assertEqual(text, "V\t2\n\nWork\t2026\na.b\tc\n&vBvHQA-\n")

    # ------------------------------------------------------------ control files

    async def test_uids_given_by_others(self) -> None:
        """Another program numbers its message between two of ours."""
        first = await self.add()
        self.drop("1700000000.M1P2.host")
        with (self.root / "dovecot-uidlist").open("a") as file:
            file.write(f"{first + 4} W77 :1700000000.M1P2.host\n")
        self.assertEqual(await self.add(), first + 5)
        self.assertEqual(list(await self.flags()), [first, first + 4, first + 5])

    async def test_what_is_unknown_in_the_list_stays(self) -> None:
        path = self.root / "dovecot-uidlist"
        lines = path.read_text().splitlines()
        path.write_text(lines[0] + " Xyz\n7 P0007 Z1 :1700000000.M1P2.host\n")
        self.drop("1700000000.M1P2.host")
        self.assertEqual(list(await self.flags()), [7])
        self.assertEqual(await self.add(), 8)
        text = path.read_text().splitlines()
        self.assertTrue(text[0].endswith(" Xyz"))
        self.assertEqual(text[1], "7 P0007 Z1 :1700000000.M1P2.host")

    async def test_list_that_is_gone(self) -> None:
        """All numbers are new, with a greater UIDVALIDITY, and the mailbox stays itself."""
        before = await self.store.mailbox(ANN, self.inbox)
        await self.add()
        (self.root / "dovecot-uidlist").unlink()
        await self.restart()
        after = await self.store.mailbox(ANN, await self.id_at(INBOX))
        self.assertGreater(after.uid_validity, before.uid_validity)
        self.assertEqual(after.messages, 1)

    async def test_index_that_is_gone(self) -> None:
        """Files and control files say it all: UIDs, flags, dates, email ids of copies."""
        sent = await self.id_at(("Sent",))
        uids = [await self.add(SEEN, "$Label") for _ in range(3)]
        await self.store.copy(ANN, self.inbox, uids[1:], sent)
        before = await self._rows(self.inbox), await self._rows(sent)
        modseq = (await self.store.mailbox(ANN, self.inbox)).modseq
        await self.store.close()
        for index in self.root.glob("mailfw-index*"):
            index.unlink()
        await pause(1.0)  # modification sequences begin above those of a second ago
        await self.start()
        sent = await self.id_at(("Sent",))
        self.assertEqual((await self._rows(self.inbox), await self._rows(sent)), before)
        self.assertGreater((await self.store.mailbox(ANN, self.inbox)).modseq, modseq)

    async def _rows(self, mailbox: str) -> list[Any]:
        uids = (await self.store.snapshot(ANN, mailbox, 0)).uids
        rows = [row async for batch in self.store.rows(ANN, mailbox, uids, Want.FIELDS) for row in batch]
        return [(row.uid, row.flags, row.size, row.received, row.email_id, row.fields) for row in rows]

    async def test_index_that_is_broken(self) -> None:
        uid = await self.add(SEEN)
        await self.store.close()
        next(self.root.glob("mailfw-index*")).write_bytes(b"no database at all" * 1000)
        await self.start()
        self.assertEqual(await self.flags(), {uid: {SEEN}})
        self.assertEqual(len(list(self.root.glob("*.broken-*"))), 1)
        self.flushLoggedErrors()

    async def test_index_of_another_version(self) -> None:
        """It is put aside and made anew from the files: UIDs stay, and modification sequences go on above the old."""
        uids = [await self.add(SEEN, "$Label") for _ in range(3)]
        before = await self._rows(self.inbox)
        uid_validity = (await self.store.mailbox(ANN, self.inbox)).uid_validity
        await self.store.close()
        connection = sqlite3.connect(self.root / "mailfw-index.sqlite")
        connection.executescript("PRAGMA user_version = 1; UPDATE account SET modseq = modseq + 1000000")
        [(modseq,)] = connection.execute("SELECT modseq FROM account").fetchall()
        connection.execute("DROP TABLE message")
        connection.close()
        with capturedLogs() as events:
            await self.start()
        self.assertEqual(list(await self.flags()), uids)
        info = await self.store.mailbox(ANN, self.inbox)
        self.assertEqual((await self._rows(self.inbox), info.uid_validity), (before, uid_validity))
        self.assertGreater(info.modseq, modseq)
        self.assertEqual(len(list(self.root.glob("mailfw-index.sqlite.version-1-*"))), 1)
        told = [event for event in events if "another version" in (event.get("log_format") or "")]
        self.assertEqual(len(told), 1)
        await self.store.remove_account(ANN)
        self.assertEqual(list(self.data.rglob("mailfw-index*")), [])

    async def test_modseq_jumps_when_the_machine_was_started(self) -> None:
        await self.add()
        before = (await self.store.mailbox(ANN, self.inbox)).modseq
        await self.store.close()
        connection = sqlite3.connect(self.root / "mailfw-index.sqlite")
        connection.execute("UPDATE account SET boot = 'another'")
        connection.commit()
        connection.close()
        await self.start()
        now = await self.store.mailbox(ANN, self.inbox)
        self.assertGreater(now.modseq, before + 1_000_000)
        await self.add()
        self.assertGreater((await self.store.mailbox(ANN, self.inbox)).modseq, now.modseq)

    async def test_locked_list(self) -> None:
        """While another program holds the lock an append waits, and fails in time; abandoned locks are broken."""
        self.patch(dotlock, "PATIENCE", 0.2)
        await self.add()
        lock = self.root / "dovecot-uidlist.lock"
        lock.write_text(f"{os.getppid()}:{socket.gethostname()}")
        await self.assertFailure(_deferred(self.add()), SourceBusy)
        self.assertEqual(len(await self.flags()), 1, "reading goes on")
        lock.write_text(f"{2**22 - 1}:{socket.gethostname()}")
        await self.add()
        lock.write_text("1:elsewhere")
        os.utime(lock, (1, 1))
        await self.add()
        self.assertEqual(len(await self.flags()), 3)
        self.assertEqual(list((self.root / "tmp").iterdir()), [])

    def test_a_lock_there_is_no_room_for(self) -> None:
        """Nothing of it stays: who lists the directory would see it for ever."""
        path = self.root.parent / "some.lock"
        with self.assertRaises(OSError), dotlock.dotlock(RoomForNames(), str(path)):
            self.fail("The lock was not written")
        self.assertEqual(list(path.parent.glob("some*")), [])

    async def test_abandoned_drafts_are_swept(self) -> None:
        old, young = self.root / "tmp/old", self.root / "tmp/young"
        for path in (old, young):
            path.write_bytes(b"x")
        os.utime(old, (1, 1))
        await self.restart()
        self.assertEqual((old.exists(), young.exists()), (False, True))

    async def test_list_is_compacted(self) -> None:
        messages = [NewMessage(MemoryContent(b"x"), frozenset({DELETED})) for _ in range(1100)]
        await self.store.append(ANN, self.inbox, messages)
        uid = await self.add(SEEN)
        await self.store.expunge(ANN, self.inbox, None)
        await self.restart()
        self.drop("1700000000.M1P2.host")
        await self.flags()
        self.assertEqual(len((self.root / "dovecot-uidlist").read_text().splitlines()), 3)
        self.assertEqual((list(await self.flags()), await self.add()), ([uid, uid + 1], uid + 2))

    async def test_names_that_are_no_accounts(self) -> None:
        for name in ("", "ann", "@example.org", "ann@", "a" * 300 + "@example.org", "\ud800@example.org"):
            await self.assertFailure(_deferred(self.store.open_account(name)), NoSuchAccount)
        await self.store.open_account("../../escape@..")
        self.assertEqual([path.name for path in self.data.iterdir()], ["mail"])
        self.assertEqual({path.name for path in (self.data / "mail").iterdir()}, {"example.org", "%2e."})


def _deferred(work: Any) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(work)
