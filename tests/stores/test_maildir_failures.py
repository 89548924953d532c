"""What is left when something fails in the middle: no descriptor, no lock, no draft, and nothing of others' undone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailfw.disk import Disk, Name
from mailfw.mail.mailbox import NO_FLAGS
from mailfw.mail.summary import summarise
from mailfw.stores.index.ledger import Known, Parcel
from mailfw.stores.maildir import content, dotlock
from mailfw.stores.maildir.depositor import Depositor
from mailfw.stores.maildir.folder import MaildirFolder
from mailfw.stores.maildir.names import NameMaker
from mailfw.stores.maildir.root import MaildirRoot
from mailfw.stores.maildir.transfer import transfer
from mailfw.testing.contents import PLAIN

UNKNOWN = Known(0, (), (), ())


class OddDisk(Disk):
    """Links nothing; `full` is the operation for which there is no room; `before_sync` is called before syncing."""

    full = ""

    def before_sync(self) -> None:
        """Let others do something."""

    def link(self, old: Name, new: Name) -> None:
        if "dovecot-" not in str(new):
            raise OSError(errno.EMLINK, "too many links")
        super().link(old, new)

    def create(self, path: Name) -> int:
        if self.full == "create" and "/tmp/" in str(path):
            raise OSError(errno.ENOSPC, "full")
        return super().create(path)

    def write(self, descriptor: int, octets: bytes) -> None:
        if self.full == "write":
            raise OSError(errno.ENOSPC, "full")
        super().write(descriptor, octets)

    def sync_all(self, paths: Collection[str], trees: Collection[str]) -> None:
        self.before_sync()
        super().sync_all(paths, trees)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count


class FailureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.disk = OddDisk()
        self.roots = {name: MaildirRoot(self.disk, str(self.home / name)) for name in ("ann", "bob")}
        for root in self.roots.values():
            root.prepare()
        self.names = NameMaker()

    def inbox(self, name: str) -> MaildirFolder:
        root = self.roots[name]
        key = next(each.key for each in root.folders() if each.path == ("INBOX",))
        return root.folder(key)

    def files(self, name: str) -> list[str]:
        return sorted(str(each.relative_to(self.home)) for each in (self.home / name).glob("*/*") if each.is_file())

    # ------------------------------------------------------------ copies

    def test_a_copy_there_is_no_room_for(self) -> None:
        """The file that was begun is gone, and nothing is open any more."""
        inbox = self.inbox("ann")
        (self.home / "ann/new/one").write_bytes(PLAIN)
        inbox.survey(UNKNOWN)
        before, files = self.files("ann"), open_files()
        for self.disk.full in ("create", "write"):
            with self.assertRaises(OSError):
                transfer(inbox, [("one", NO_FLAGS, "M" + "0" * 32, 0)], inbox, False, ["two"])
            self.assertEqual((self.files("ann"), open_files()), (before, files), self.disk.full)
            self.assertEqual(list((self.home / "ann").glob("*.lock")), [])
        self.disk.full = ""
        inbox.survey(Known(inbox.uidlist.read_header().uid_validity, (), (), ()))  # type: ignore[union-attr] # it is there
        [landed] = transfer(inbox, [("one", NO_FLAGS, "M" + "0" * 32, 0)], inbox, False, ["two"])
        assert landed is not None
        self.assertEqual((self.home / "ann/new" / landed[0]).read_bytes(), PLAIN)

    # ------------------------------------------------------------ deliveries

    def test_an_account_that_goes_takes_no_other_with_it(self) -> None:
        """Its maildir is removed in the middle of a visit: what was begun in others is undone, and comes later."""
        depositor = Depositor(self.disk, self.roots.__getitem__, self.names.make)
        parcels = []
        for name in self.roots:
            inbox = self.inbox(name)
            inbox.survey(UNKNOWN)
            staged = depositor.stage(name, PLAIN, 0, None, summarise(PLAIN))
            parcels.append(Parcel(name, inbox.guid(), [(staged, NO_FLAGS)]))
        steps = iter((lambda: None, lambda: shutil.rmtree(self.home / "ann")))
        self.patch(self.disk, "before_sync", lambda: next(steps)())
        placed = depositor.place(parcels, None)
        self.assertTrue(all(isinstance(each, Exception) for each in placed), placed)
        self.assertEqual([each.partition("/")[2][:4] for each in self.files("bob")], ["tmp/"])
        self.assertEqual(list((self.home / "bob").glob("*.lock")), [])
        self.assertEqual(self.inbox("bob").survey(UNKNOWN).fresh, [])

    # ------------------------------------------------------------ locks

    def test_a_lock_that_cannot_be_removed(self) -> None:
        """What was done under it is done."""
        inbox = self.inbox("ann")
        with patch.object(OddDisk, "unlink", side_effect=OSError(errno.EIO, "broken")), inbox.uidlist.lock():
            done = True
        self.assertTrue(done)
        with inbox.uidlist.lock(0):  # it is taken for abandoned
            self.assertEqual(len(list((self.home / "ann").glob("*.lock"))), 1)
        self.assertEqual(list((self.home / "ann").glob("*.lock")), [])

    def test_a_lock_file_that_was_begun(self) -> None:
        """One that there was no room for is made anew: without its octets nobody could tell whose lock it is."""
        inbox = self.inbox("ann")
        with inbox.uidlist.lock():
            pass
        [draft] = (self.home / "ann").glob(f"{dotlock.DRAFT}*")
        octets = draft.read_bytes()
        draft.unlink()
        self.disk.full = "write"
        with self.assertRaises(OSError), inbox.uidlist.lock():
            pass
        self.disk.full = ""
        with inbox.uidlist.lock():
            self.assertEqual((self.home / "ann/dovecot-uidlist.lock").read_bytes(), octets)
        self.assertEqual(list((self.home / "ann").glob("*.lock")), [])

    # ------------------------------------------------------------ reading

    def test_a_file_that_cannot_be_read(self) -> None:
        """It is closed; a disk that fails would use up all descriptors else."""
        inbox = self.inbox("ann")
        (self.home / "ann/new/one").write_bytes(PLAIN)
        before = open_files()
        with patch.object(content.Octets, "_chunk", side_effect=OSError(errno.EIO, "broken")):
            self.assertRaises(OSError, inbox.open, "one")
        self.assertEqual(open_files(), before)

    def test_a_survey_while_a_message_is_looked_for(self) -> None:
        """What another thread forgets in the middle is not missed."""
        inbox = self.inbox("ann")
        inbox.survey(UNKNOWN)
        (self.home / "ann/cur/one:2,S").write_bytes(PLAIN)
        os.utime(self.home / "ann/cur", (1, 1))
        inbox.open("one").close()
        looked = inbox._is_still

        def look(signature: object) -> bool:
            inbox._latest = None
            return looked(signature)  # type: ignore[arg-type] # it is what it was called with

        (self.home / "ann/cur/one:2,S").rename(self.home / "ann/cur/one:2,FS")
        os.utime(self.home / "ann/cur", (1, 1))
        inbox._latest = ({"one": "cur/one:2,FS"}, inbox._latest[1])  # type: ignore[index] # it was looked for
        self.patch(inbox, "_is_still", look)
        inbox.open("one").close()
