"""Backups and servers that somebody has made to harm us: nothing is read or written elsewhere, nothing is hidden."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mailfw.mail.mailbox import SEEN
from mailfw.stores.memory import MemoryStore
from mailfw.transfer import imap_server
from mailfw.transfer.account import TransferRefused
from mailfw.transfer.backup import MESSAGES
from mailfw.transfer.check import check, list_faults
from mailfw.transfer.site_backup import SiteBackup
from tests.transfer import imap_peer
from tests.transfer.imap_peer import PeerBox
from tests.transfer.test_backup import ANN, Case, Silent
from tests.transfer.test_imap import Case2

OCTETS = b"Subject: x\r\n\r\nx\r\n"
INBOX = {"directory": "INBOX", "path": ["INBOX"], "role": None, "subscribed": True, "uid_validity": 5, "uid_next": 10}
INBOX |= {"id": "1", "messages": 1, "list": ""}
LINE = {"file": "5.1.eml", "uid_validity": 5, "uid": 1, "size": len(OCTETS), "received": 1_500_000_000}
LINE |= {"sha256": hashlib.sha256(OCTETS).hexdigest(), "flags": ["\\Seen"]}


class BackupTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.inbox = self.backup.root / "INBOX"
        self.inbox.mkdir(parents=True)
        (self.inbox / "5.1.eml").write_bytes(OCTETS)
        self.tell()

    def tell(self, box: dict[str, Any] | None = None, **line: Any) -> None:
        """Write the manifest and the list."""
        (self.inbox / MESSAGES).write_text(json.dumps({**LINE, **line}) + "\n")
        digest = hashlib.sha256((self.inbox / MESSAGES).read_bytes()).hexdigest()
        boxes = [{**INBOX, "list": digest, **(box or {})}]
        told = {"format": "mailfw backup 1", "account": ANN, "finished": 1, "mailboxes": boxes, "subscriptions": []}
        (self.backup.root / "backup.json").write_text(json.dumps(told))

    async def brought(self) -> tuple[list[str], list[bytes]]:
        store = MemoryStore()
        outcome = await self.restore(store)
        return outcome.faults, [each[2] for each in (await self.contents(store))["INBOX",][2]]

    async def test_as_it_should_be(self) -> None:
        self.assertEqual(await self.brought(), ([], [OCTETS]))

    async def test_a_missing_file_is_told_of(self) -> None:
        (self.inbox / "5.1.eml").unlink()
        faults, octets = await self.brought()
        self.assertIn("INBOX, UID 1: it could not be read, or is not there", faults)
        self.assertEqual(octets, [])

    async def test_a_file_that_was_cut_off_is_told_of(self) -> None:
        (self.inbox / "5.1.eml").write_bytes(OCTETS[:-5])
        faults, _ = await self.brought()
        self.assertIn("INBOX, UID 1: the origin's own octets have changed", faults)

    def test_a_list_that_was_cut_off_is_told_of(self) -> None:
        [box] = self.backup.manifest().boxes
        self.assertEqual(list_faults(self.backup, box), [])
        (self.inbox / MESSAGES).write_text("")
        self.assertEqual(len(list_faults(self.backup, box)), 2)

    async def test_links_and_pipes(self) -> None:
        """Nothing is read through a link, and nobody waits for a pipe."""
        secret = self.home / "secret"
        secret.write_bytes(OCTETS)
        file = self.inbox / "5.1.eml"
        file.unlink()
        for make in (lambda: file.symlink_to(secret), lambda: os.mkfifo(file)):
            make()
            faults, octets = await self.brought()
            self.assertEqual((len(faults), octets), (2, []))
            self.assertIn("it is no file", check(self.backup, Silent()).faults[0])
            file.unlink()
        elsewhere = self.home / "elsewhere"
        self.inbox.rename(elsewhere)
        self.inbox.symlink_to(elsewhere)
        await self.assertFailure(self.later(self.brought()), TransferRefused)

    async def test_numbers_that_nothing_has(self) -> None:
        """Such a message is none, and such a mailbox makes no backup."""
        for line in ({"received": 10**30}, {"uid": float("inf")}, {"uid": 0}, {"uid": -3}, {"size": "9" * 5000}):
            self.tell(None, **line)
            self.assertEqual((await self.brought())[1], [], line)
        boxes: tuple[dict[str, Any], ...] = (
            {"uid_validity": 10**30},
            {"uid_next": -1},
            {"uid_next": float("inf")},
            {"access": [], "seen": {}},
            {"access": {}, "seen": {"bob@example.org": "1:999999999999"}},
        )
        for box in boxes:
            self.tell(box)
            self.assertRaises(TransferRefused, self.backup.manifest)

    async def test_flags_that_nobody_can_say(self) -> None:
        self.tell(None, flags=["a b\n1 evil", "", "\\seen", "\\Other", "x" * 300, "$Work", "b)c"])
        store = self.maildir()
        self.assertEqual((await self.restore(store)).faults, [])
        self.assertEqual((await self.contents(store))["INBOX",][2][0][0], {SEEN, "$Work"})
        [keywords] = (self.home / "data").rglob("dovecot-keywords")
        self.assertEqual(keywords.read_bytes(), b"0 $Work\n")

    async def test_names(self) -> None:
        """Wherever they seem to lead, they are names."""
        for path in (["..", ".."], ["/etc", "a/../b"], ["a\0b\x1b[2J"], ["\ud800"]):
            self.tell({"path": path})
            store = self.maildir("data")
            self.assertEqual((await self.restore(store)).faults, [], path)
            await store.close()
        for path in ([], [""], ["a", ""]):
            self.tell({"path": path})
            self.assertEqual(len((await self.restore(MemoryStore())).faults), 1, path)
        outside = [each for each in self.home.iterdir() if each.name not in ("backup", "data", "journals")]
        self.assertEqual(outside, [])
        for each in (self.home / "data/mail/example.org/ann").iterdir():
            self.assertNotRegex(each.name, r"[\0-\x1f]|^\.\.")

    async def test_pruning_removes_what_is_ours(self) -> None:
        """Not what a link leads to, and no draft of somebody else's."""
        others, notes = self.home / "others", self.backup.root / "notes"
        for directory in (others, notes):
            directory.mkdir()
            for name in ("1.1.eml", "1.1.draft", MESSAGES, "letter.draft", "letter.eml"):
                (directory / name).write_text("x")
        (self.backup.root / "link").symlink_to(others)
        store = MemoryStore()
        await store.open_account(ANN)
        await self.save(store, prune=True)
        self.assertEqual(len(list(others.iterdir())), 5)
        self.assertEqual(sorted(each.name for each in notes.iterdir()), ["letter.draft", "letter.eml"])

    def test_accounts_elsewhere(self) -> None:
        site = SiteBackup(self.disk, self.home / "site")
        site.save(self.home, [])
        path = self.home / "site/site.json"
        told = json.loads(path.read_text())
        for directory in ("/etc/mail", "../x/y", "x/..", "x/y/z", "x\0/y"):
            path.write_text(json.dumps({**told, "accounts": [{"directory": directory, "sha256": ""}]}))
            self.assertRaises(TransferRefused, site.read)


class ServerTests(Case2):
    def answering(self, verb: str, answer: Callable[[Any, str], str | None]) -> None:
        """Let the server answer a command so."""
        self.patch(imap_peer._Session, verb, answer)

    async def test_lists_that_make_no_sense(self) -> None:
        self.serve().boxes["INBOX"] = PeerBox({1: b"x"})
        answers = ("* LIST (", '* LIST () "/"', '* LIST () "/" NIL', '* LIST () "/" "a\\"', "* LIST 1 2 3")
        for answer in answers:
            self.answering("_list", lambda session, said, answer=answer: session._say(answer))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            await self.assertFailure(self.later(self.migrate(MemoryStore())), TransferRefused)
        self.answering("_list", lambda session, said: "NO not for you")
        await self.assertFailure(self.later(self.migrate(MemoryStore())), TransferRefused)

    async def test_a_mailbox_of_which_nothing_is_told(self) -> None:
        """The others come."""
        self.serve().boxes = {"Work": PeerBox({1: b"x"}), "INBOX": PeerBox({1: b"y"})}
        status = imap_peer._Session._status

        def answer(session: Any, said: str) -> str | None:
            return status(session, said) if "INBOX" in said else None

        self.answering("_status", answer)
        outcome = await self.migrate(MemoryStore())
        self.assertEqual((outcome.copied, len(outcome.faults)), (1, 1))

    async def test_sizes_that_make_no_sense(self) -> None:
        """The mailbox is told of, and the others come."""
        work = PeerBox({1: b"x"})
        self.serve().boxes = {"Work": work, "INBOX": PeerBox({1: b"y"})}
        work.sizes = {1: "NIL"}  # type: ignore[dict-item] # as it should be
        outcome = await self.migrate(MemoryStore())
        self.assertEqual((outcome.copied, len(outcome.faults)), (1, 1))

    async def test_no_dates(self) -> None:
        """A message has the date of its coming then, and that is no fault the next time."""
        self.serve().boxes["INBOX"] = PeerBox({1: b"x"})
        self.patch(imap_peer, "DATE", '"00-Foo-0000 00:00:00 +0000"')
        store = MemoryStore()
        self.assertEqual((await self.migrate(store)).faults, [])
        self.patch(imap_server, "time", SimpleNamespace(time=lambda: 2e9))
        self.assertEqual((await self.migrate(store)).faults, [])

    async def test_pieces_that_are_not_those_asked_for(self) -> None:
        """A server that gives all of a large message each time would never come to its end."""
        self.serve().boxes["INBOX"] = PeerBox({1: b"x" * 5_000_000, 2: b"small"})
        give = imap_peer._Session._give
        self.answering("_give", lambda session, number, uid, what: give(session, number, uid, what.partition("<")[0]))  # type: ignore[arg-type,misc] # it has another form
        store = MemoryStore()
        outcome = await self.migrate(store)
        self.assertEqual((await self.octets(store))["INBOX",], [b"small"])
        self.assertEqual(outcome.missing, 1)

    async def test_high_uids(self) -> None:
        """Above what clients take they are given anew, and no message is left behind."""
        messages = {1: b"a", 2**31: b"b", 2**32 - 1: b"c"}
        box = self.serve().boxes["INBOX"] = PeerBox(messages)
        for store in (self.maildir(), MemoryStore()):
            for each in self.home.glob("notes/*"):
                each.unlink()
            for _ in range(2):
                outcome = await self.migrate(store)
                self.assertEqual((outcome.faults, outcome.messages), ([], 3))
            self.assertEqual((await self.octets(store))["INBOX",], [b"a", b"b", b"c"])
        box.messages, box.uid_next = {1: b"a"}, 2**32 - 1
        self.assertEqual((await self.migrate(MemoryStore())).faults, [])

    async def test_a_password_in_another_alphabet(self) -> None:
        """LOGIN has no way to say it; a wrong one is told of."""
        self.serve().boxes["INBOX"] = PeerBox({1: b"x"})
        self.patch(imap_peer, "PASSWORD", "pässwörd")
        for password in ("pässwörd", "pässwörd, wrong"):
            origin = self.origin(password)
            if password == imap_peer.PASSWORD:
                self.assertEqual(len(await origin.boxes()), 1)
            else:
                await self.assertFailure(self.later(origin.boxes()), TransferRefused)
            await origin.close()
        self.assertEqual(self.peer.logins, 2)
