"""Accounts of other servers, as odd as those are: what can be had comes over as it is, and the rest is told of."""

from __future__ import annotations

import unicodedata
from typing import Any
from unittest.mock import patch

from twisted.internet.task import LoopingCall

from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import Role
from mailfw.stores.memory import MemoryStore
from mailfw.tls.self_signed import make_self_signed
from mailfw.transfer import imap_server
from mailfw.transfer.account import TransferRefused
from mailfw.transfer.backup_ends import BackupOrigin
from mailfw.transfer.engine import Outcome, Terms
from mailfw.transfer.imap_origin import ImapOrigin
from mailfw.transfer.imap_server import ImapServer, parse_address
from mailfw.transfer.store_target import StoreTarget
from tests.transfer.imap_peer import PASSWORD, ImapPeer, PeerBox
from tests.transfer.test_backup import ANN, Case

EIGHT_BIT = "Subject: Grüße\r\nFrom: 하늘 <a@b>\r\n\r\nx".encode()
ODD: tuple[bytes, ...] = (
    b"",
    b"\r\n",
    b"x",
    b"no header at all\r\n",
    EIGHT_BIT,
    EIGHT_BIT.decode().encode("utf-16"),
    b"Subject: nul\0s\r\n\r\n\0\0\r\n\0",
    b"Subject: bare\n\nlines\rof\nall\r\nkinds",
    b"\xff\xfe" * 500,
    b"Subject: " + b"x" * 100_000 + b"\r\n\r\n",
    b"X: y\r\n" * 20_000,
    b"Subject: twice\r\n\r\nx\r\n",
    b"Subject: twice\r\n\r\nx\r\n",
    b") BODY[] {3}\r\nabc)\r\n* 1 EXPUNGE\r\n",
)
#: Levels of names, of every kind of character.
NAMES = (
    "Büro",
    "받은 편지함",
    "ОТЧЁТ",
    "تقرير",
    "דוח",
    "😀👩‍👩‍👧",
    unicodedata.normalize("NFD", "Ångström"),
    "\u202eright to left",
    "zero\u200bwidth",
    "tilde~ and & and %*",
    "~root",
    "#news.groups",
    'quote " and \\ backslash',
    "...",
    ".hidden",
    " blanks ",
    "new",
    "cur",
    "tmp",
    "dovecot-uidlist",
    "x" * 100,
)


class Case2(Case):
    def setUp(self) -> None:
        super().setUp()
        self.patch(imap_server, "PAUSES", (0.01,) * 4)
        self.said: list[str] = []

    def serve(self, *arguments: Any, **options: Any) -> ImapPeer:
        self.peer = ImapPeer(*arguments, **options)
        self.addCleanup(self.peer.stop)
        return self.peer

    def origin(self, password: str = PASSWORD, where: str = "", **options: Any) -> ImapOrigin:
        address = parse_address(where or f"imap://ann@127.0.0.1:{self.peer.port}")
        options = {"allow_plaintext": True, **options}
        server = ImapServer(address, password, tell=self.said.append, **options)
        return ImapOrigin(server, address.name, self.disk)

    async def migrate(self, store: IMailStore, **terms: Any) -> Outcome:
        origin = self.origin()
        return await self.move(
            origin, StoreTarget(store, ANN, origin.name, self.home / "notes", self.disk), Terms(**terms)
        )

    async def octets(self, store: IMailStore) -> dict[tuple[str, ...], list[bytes]]:
        return {path: [each[2] for each in kept[2]] for path, kept in (await self.contents(store)).items() if kept[2]}


class MessageTests(Case2):
    async def test_odd_messages(self) -> None:
        """Every one is what it was, and again after a backup and a restore."""
        messages = {3 * uid: octets for uid, octets in enumerate(ODD, 1)}
        self.serve().boxes["INBOX"] = PeerBox(messages)
        for number, store in enumerate((self.maildir(), MemoryStore())):
            for each in self.home.glob("notes/*"):
                each.unlink()
            outcome = await self.migrate(store)
            self.assertEqual((outcome.faults, outcome.verified), ([], len(ODD)))
            self.assertEqual((await self.octets(store))["INBOX",], list(ODD), number)
            info = next(each for each in await store.mailboxes(ANN) if each.path == ("INBOX",))
            self.assertEqual((info.uid_validity, info.uid_next), (1_300_000_000, 3 * len(ODD) + 1))
            self.assertEqual(list((await store.snapshot(ANN, info.id, 0)).uids), list(messages))
        self.assertEqual((await self.save(store)).faults, [])
        back = self.maildir("back")
        self.assertEqual((await self.restore(back)).faults, [])
        self.assertEqual((await self.octets(back))["INBOX",], list(ODD))

    async def test_a_large_message(self) -> None:
        """Fifty million octets come in pieces, also where the server says that there are fewer."""
        octets = b"Subject: large\r\n\r\n" + bytes(range(256)) * 200_000
        box = self.serve().boxes["INBOX"] = PeerBox({1: octets, 2: octets[:6_000_000], 3: b"x"})
        box.sizes = {2: 17, 3: 5_000_000}
        store = self.maildir()
        outcome = await self.migrate(store)
        self.assertEqual(outcome.faults, [])
        self.assertEqual((await self.octets(store))["INBOX",], [octets, octets[:6_000_000], b"x"])

    async def test_messages_that_are_refused(self) -> None:
        """They are counted, and the others come; when the server gives one later, it comes too."""
        box = self.serve().boxes["INBOX"] = PeerBox({uid: b"%d" % uid for uid in range(1, 251)})
        self.peer.boxes["Work"] = PeerBox({7: b"seven"})
        box.refused, box.deadly = {1, 77, 78, 250}, {100}
        store = MemoryStore()
        outcome = await self.migrate(store)
        self.assertEqual((outcome.copied, outcome.verified, outcome.missing), (246, 246, 5))
        self.assertFalse(outcome.is_good)
        self.assertIn("INBOX, UID 77: it could not be read, or is not there", outcome.faults)
        self.assertTrue(any("250 messages at the origin, 245 of them here" in each for each in outcome.faults))
        box.refused, box.deadly = set(), set()
        outcome = await self.migrate(store)
        self.assertEqual((outcome.faults, outcome.copied), ([], 5))

    async def test_connections_that_break(self) -> None:
        self.serve().boxes["INBOX"] = PeerBox({uid: b"%d" % uid for uid in range(1, 301)})
        self.peer.cut_after = 137
        outcome = await self.migrate(MemoryStore())
        self.assertEqual((outcome.faults, outcome.verified), ([], 300))
        self.assertEqual(self.peer.logins, 2)
        self.assertIn("trying again", self.said[0])

    async def test_a_server_that_goes_away(self) -> None:
        """It is tried again for a while, longer each time; then the command ends, and says which server."""
        self.serve().boxes["INBOX"] = PeerBox({1: b"x"})
        origin = self.origin()
        await origin.boxes()
        self.peer.stop()
        await self.assertFailure(self.later(origin.boxes()), TransferRefused)
        self.assertEqual(len(self.said), 4)
        self.assertIn("127.0.0.1", self.said[0])


class MailboxTests(Case2):
    async def test_names(self) -> None:
        for delimiter in ("/", ".", "\\\\", "^"):
            peer = self.serve(delimiter)
            mark = delimiter[-1]
            for number, name in enumerate(NAMES, 1):
                if mark not in name:
                    peer.boxes[name] = PeerBox({number: name.encode()})
                    peer.boxes[f"Deep{mark}{name}"] = PeerBox({number: name.encode()})
            peer.boxes["INBOX"] = PeerBox()
            store = self.maildir(f"data{ord(mark)}")
            outcome = await self.migrate(store)
            self.assertEqual(outcome.faults, [], delimiter)
            found = await self.octets(store)
            for name in NAMES:
                if mark not in name and "/" not in name:
                    self.assertEqual(found[name,], [name.encode()], name)
                    self.assertEqual(found["Deep", name], [name.encode()], name)
            await self.restore_elsewhere(store)
            for each in self.home.glob("notes/*"):
                each.unlink()

    async def restore_elsewhere(self, store: IMailStore) -> None:
        await self.save(store, prune=True)
        other = MemoryStore()
        origin = BackupOrigin(self.backup, self.backup.manifest())
        target = StoreTarget(other, ANN, origin.name, self.home / f"journals{id(store)}", self.disk)
        self.assertEqual((await self.move(origin, target)).faults, [])
        self.assertEqual(await self.octets(other), await self.octets(store))

    async def test_names_that_nobody_could_say_here(self) -> None:
        """A slash where the hierarchy has dots becomes a line; no two mailboxes become one."""
        peer = self.serve(".")
        for number, name in enumerate(("a/b", "a_b", "c.d/e", "tab\tbed", "c.d_e", "/"), 1):
            peer.boxes[name] = PeerBox({number: name.encode()})
        peer.subscribed = ["a/b", "gone/away"]
        store = self.maildir()
        self.assertEqual((await self.migrate(store)).faults, [])
        found = await self.octets(store)
        self.assertEqual(
            {path: octets[0] for path, octets in found.items()},
            {
                ("a_b",): b"a_b",
                ("a_b~2",): b"a/b",
                ("c", "d_e~2"): b"c.d/e",
                ("c", "d_e"): b"c.d_e",
                ("tab_bed",): b"tab\tbed",
                ("_",): b"/",
            },
        )
        self.assertLessEqual({("a_b~2",), ("gone_away",)}, await store.subscriptions(ANN))
        self.assertEqual((await self.migrate(store)).copied, 0)

    async def test_two_hundred_levels(self) -> None:
        """A name that is too long for the store is told of, and what is in it; all else comes."""
        peer = self.serve()
        deep = "/".join(["x"] * 200)
        peer.boxes[deep] = PeerBox({1: b"deep", 2: b"deeper"})
        peer.boxes["INBOX"] = PeerBox({1: b"here"})
        maildir = self.maildir()
        outcome = await self.migrate(maildir)
        self.assertEqual(len(outcome.faults), 1)
        self.assertIn("too long or empty; its 2 messages stay", outcome.faults[0])
        self.assertEqual(await self.octets(maildir), {("INBOX",): [b"here"]})
        memory = MemoryStore()
        self.assertEqual((await self.migrate(memory)).faults, [])
        self.assertEqual((await self.octets(memory))[("x",) * 200], [b"deep", b"deeper"])
        self.assertEqual((await self.save(memory)).faults, [])

    async def test_what_is_no_mailbox(self) -> None:
        """Parents without messages, views of others' messages, and others' mailboxes stay."""
        peer = self.serve(".", '(("INBOX." ".")) (("user." ".")) (("shared." "."))')
        peer.boxes = {
            "INBOX": PeerBox({1: b"inbox"}),
            "INBOX.Parent": PeerBox(attributes="\\Noselect \\HasChildren", is_closed=True),
            "INBOX.Parent.Child": PeerBox({1: b"child"}),
            "INBOX.Missing": PeerBox(attributes="\\NonExistent", is_closed=True),
            "INBOX.All": PeerBox({1: b"inbox"}, attributes="\\All"),
            "INBOX.Gesendet": PeerBox({1: b"sent"}, attributes="\\Sent"),
            "INBOX.INBOX": PeerBox({1: b"inner"}),
            "user.bob": PeerBox({1: b"bob's"}),
            "shared.lists": PeerBox({1: b"everybody's"}),
        }
        peer.subscribed = ["INBOX", "INBOX.Parent.Child", "user.bob"]
        store = self.maildir()
        self.assertEqual((await self.migrate(store)).faults, [])
        found = {("INBOX",): b"inbox", ("Parent", "Child"): b"child", ("Gesendet",): b"sent"}
        expected = {**found, ("INBOX", "INBOX"): b"inner"}
        self.assertEqual({path: each[0] for path, each in (await self.octets(store)).items()}, expected)
        roles = {each.path: each.role for each in await store.mailboxes(ANN)}
        self.assertEqual(roles["Gesendet",], Role.SENT)
        self.assertNotIn(("user", "bob"), await store.subscriptions(ANN))

    async def test_a_mailbox_that_is_closed(self) -> None:
        """It is told of; the others come."""
        peer = self.serve()
        peer.boxes = {"Closed": PeerBox({1: b"x"}, is_closed=True), "INBOX": PeerBox({1: b"y"})}
        outcome = await self.migrate(MemoryStore())
        self.assertEqual(outcome.verified, 1)
        self.assertEqual(len(outcome.faults), 1)
        self.assertIn("Closed: the server does not let it be read", outcome.faults[0])

    async def test_a_mailbox_that_begins_anew(self) -> None:
        """With another UIDVALIDITY everything in it is new; what came before goes if that is wanted."""
        peer = self.serve()
        peer.boxes = {"INBOX": PeerBox({1: b"a", 2: b"b"}), "Work": PeerBox({1: b"c"})}
        store = MemoryStore()
        await self.migrate(store)
        peer.boxes["INBOX"] = PeerBox({1: b"b", 2: b"new"}, uid_validity=1_400_000_000)
        kept = await self.migrate(store)
        self.assertEqual((kept.faults, kept.copied, kept.left), ([], 2, 2))
        gone = await self.migrate(store, delete=True)
        self.assertEqual((gone.faults, gone.removed), ([], 2))
        self.assertEqual((await self.octets(store))["INBOX",], [b"b", b"new"])


class RefusalTests(Case2):
    async def refusal(self, origin: ImapOrigin) -> str:
        said = "it was let in"
        try:
            await origin.boxes()
        except TransferRefused as refused:
            said = str(refused)
        finally:
            await origin.close()
        return said

    async def test_a_wrong_password(self) -> None:
        """It is tried once."""
        self.serve()
        self.assertIn("127.0.0.1 does not let ann in", await self.refusal(self.origin("wrong")))
        self.assertEqual((self.peer.logins, self.said), (1, []))

    async def test_no_tls(self) -> None:
        """No password is said."""
        self.serve()
        self.assertIn("offers no TLS", await self.refusal(self.origin(allow_plaintext=False)))
        self.assertEqual(self.peer.logins, 0)

    async def test_a_certificate_of_nobody(self) -> None:
        files = self.home
        make_self_signed(files / "certificate.pem", files / "key.pem", ())
        both = files / "both.pem"
        both.write_bytes((files / "certificate.pem").read_bytes() + (files / "key.pem").read_bytes())
        self.serve(certificate=both)
        where = f"imaps://ann@127.0.0.1:{self.peer.port}"
        self.assertIn("its certificate is not good", await self.refusal(self.origin(where=where)))
        self.assertEqual((self.peer.logins, self.said), (0, []))

    async def test_nobody_listens(self) -> None:
        self.serve()
        self.peer.stop()
        self.assertIn("127.0.0.1", await self.refusal(self.origin()))
        self.assertEqual(len(self.said), 4)

    async def test_the_reactor_goes_on(self) -> None:
        """While the server keeps us waiting others are served."""
        self.serve().boxes["INBOX"] = PeerBox({1: b"x"})
        self.peer.stop()
        ticks: list[None] = []
        ticking = LoopingCall(ticks.append, None)
        with patch.object(imap_server, "PAUSES", (0.05,) * 4):
            ticking.start(0.005)
            try:
                await self.assertFailure(self.later(self.origin().boxes()), TransferRefused)
            finally:
                ticking.stop()
        self.assertGreater(len(ticks), 10)
