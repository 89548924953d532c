"""Real clients and the tree of mailboxes; and LIST with its options beside Debian's Dovecot."""

from __future__ import annotations

import imaplib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from twisted.trial.unittest import TestCase

from tests.interop.dovecot import PASSWORD as THEIRS
from tests.interop.dovecot import Dovecot
from tests.interop.plain_imap import PlainClient
from tests.interop.server import DOMAIN, PASSWORD, RunningServer, require, shared

ANN = f"ann@{DOMAIN}"

#: Attributes that only Dovecot has, or only we: what may be below a name, and what a mailbox is for.
_OWN = {rb"\NoInferiors", rb"\Marked", rb"\UnMarked"}
#: Mailboxes that Dovecot makes for everybody.
_THEIRS = (b"Papierkorb", b'"Sent Items"')
_LIST = re.compile(rb'\* LIST \(([^)]*)\) "/" ("[^"]*"|\S+)(?: \((.*)\))?\r\n')

_TREE = (
    b"CREATE foo", b"CREATE foo/bar", b"CREATE foo/bar/baz", b"CREATE top/below", b"CREATE solo", b'CREATE "a b"',
    b"SUBSCRIBE foo/bar", b"SUBSCRIBE solo", b"SUBSCRIBE top/below", b"SUBSCRIBE foo/bar/baz",
    b"CREATE parent", b"CREATE parent/child", b"SUBSCRIBE parent", b"SUBSCRIBE parent/child",
)  # fmt: skip

_QUESTIONS = (
    b'LIST "" *',
    b'LIST "" %',
    b'LIST "" %/%',
    b"LIST foo/ %",
    b'LIST "" ("foo*" solo)',
    b'LIST "" (top top/% nothing)',
    b'LIST (SUBSCRIBED) "" *',
    b'LIST (SUBSCRIBED) "" %',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" %',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" foo',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" foo/%',
    b'LIST (RECURSIVEMATCH SUBSCRIBED) "" parent',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" *',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" % RETURN (STATUS (MESSAGES))',
    b'LIST "" * RETURN (SUBSCRIBED)',
    b'LIST "" foo* RETURN (CHILDREN SUBSCRIBED)',
    b'LIST (SUBSCRIBED) "" * RETURN (STATUS (MESSAGES UIDNEXT UNSEEN))',
    b'LIST "" solo RETURN (STATUS (MESSAGES SIZE))',
)


class BesideDovecot(TestCase):
    """The same tree in both, and the same questions."""

    timeout = 300

    def setUp(self) -> None:
        home = Path(tempfile.mkdtemp(prefix="mailfw-tree-"))
        home.chmod(0o755)
        self.addCleanup(shutil.rmtree, home, ignore_errors=True)
        self.dovecot = Dovecot(home)
        self.addCleanup(self.dovecot.stop)
        self.ours = shared(type(self), lambda: RunningServer("ann"))

    def test_list_answers_are_the_same(self) -> None:
        theirs = self.enter(self.dovecot.port, "ann", THEIRS)
        ours = self.enter(self.ours.ports["imap"], ANN, PASSWORD)
        for client in (theirs, ours):
            for name in (b"Sent", b'"Sent Items"', b"Drafts", b"Trash", b"Papierkorb", b"Junk", b"Archive"):
                self.forget(client, name)
            client.ask(b"SUBSCRIBE INBOX")
            for line in _TREE:
                client.ask(line)
        ours.ask(b"DELETE top")  # we make what is above a new mailbox, and they do not
        differences = []
        for question in _QUESTIONS:
            differences += [(question, self.told(ours, question), self.told(theirs, question))]
        self.maxDiff = None
        self.assertEqual([each for each in differences if each[1] != each[2]], [])
        ours.close()
        theirs.close()

    def enter(self, port: int, name: str, password: str) -> PlainClient:
        client = PlainClient.connect(port)
        client.ask(b'LOGIN %b "%b"' % (name.encode(), password.encode()))
        return client

    def forget(self, client: PlainClient, name: bytes) -> None:
        if client.ask(b'LIST (SUBSCRIBED) "" ' + name):
            client.ask(b"UNSUBSCRIBE " + name)
        if client.ask(b'LIST "" ' + name):
            client.ask(b"DELETE " + name)

    def told(self, client: PlainClient, question: bytes) -> list[object]:
        """Return what a server answers, without order and what only one of them says."""
        answers: list[object] = []
        for line in client.ask(question):
            found = _LIST.match(line)
            if found is None and b'STATUS "Sent Items"' in line:
                continue
            if found is None:
                answers.append(("STATUS", line))
                continue
            attributes = set(found[1].split()) - _OWN
            if b"(" in question and b"CHILDREN" not in question:  # we say it nevertheless
                attributes -= {rb"\HasChildren", rb"\HasNoChildren"}
            if attributes & {rb"\NonExistent"}:
                attributes.discard(rb"\Noselect")
            if found[2] in _THEIRS:
                continue
            answers.append(("LIST", found[2].strip(b'"'), sorted(attributes), (found[3] or b"").replace(b'"', b"")))
        return sorted(answers, key=repr)


class Clients(TestCase):
    """What ordinary clients do with the tree."""

    timeout = 300

    def setUp(self) -> None:
        self.server = shared(type(self), lambda: RunningServer("ann"))

    def test_imapclient(self) -> None:
        client = IMAPClient("127.0.0.1", self.server.ports["imap"], ssl=False, timeout=60)
        client.login(ANN, PASSWORD)
        client.create_folder("한글/R&D")
        self.assertIn("한글/R&D", [name for _, _, name in client.list_folders()])
        self.assertEqual(client.find_special_folder(rb"\Sent"), "Sent")
        client.subscribe_folder("한글/R&D")
        self.assertIn("한글/R&D", [name for _, _, name in client.list_sub_folders()])
        status = client.folder_status("한글/R&D", ["MESSAGES", "UNSEEN", "SIZE", "HIGHESTMODSEQ"])
        self.assertEqual((status[b"MESSAGES"], status[b"SIZE"]), (0, 0))
        roots, quotas = client.get_quota_root("INBOX")
        self.assertEqual((roots.quota_roots, quotas), ([], []))
        client.rename_folder("한글/R&D", "한글/연구")
        client.delete_folder("한글/연구")
        client.logout()

    def test_curl(self) -> None:
        command = [require("curl"), "-s", "--user", f"{ANN}:{PASSWORD}"]
        url = f"imap://127.0.0.1:{self.server.ports['imap']}/"
        listed = subprocess.run([*command, url], capture_output=True, check=True, timeout=60).stdout
        self.assertIn(rb'* LIST (\HasNoChildren \Sent) "/" Sent', listed)
        extended = 'LIST (SPECIAL-USE) "" "*" RETURN (SUBSCRIBED STATUS (MESSAGES))'
        listed = subprocess.run([*command, url, "-X", extended], capture_output=True, check=True, timeout=60).stdout
        self.assertIn(rb'* LIST (\HasNoChildren \Sent \Subscribed) "/" Sent', listed)


class Limits(TestCase):
    """Quotas and annotations, as Python's own client and imapclient ask for them."""

    timeout = 300

    def setUp(self) -> None:
        boss = f'imap.quota_setters=["boss@{DOMAIN}"]'
        settings = ("quota.octets=1048576", "quota.messages=50", boss, 'imap.admin="mailto:boss@interop.example"')
        self.server = shared(type(self), lambda: RunningServer("ann", "boss", settings=settings))

    def enter(self, name: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"], timeout=60)
        client.login(f"{name}@{DOMAIN}", PASSWORD)
        self.addCleanup(client.logout)
        return client

    def test_a_quota_is_set_and_kept(self) -> None:
        ann, boss = self.enter("ann"), self.enter("boss")
        self.assertNotIn("QUOTASET", ann.capabilities)
        self.assertIn("QUOTASET", boss.capability()[1][0].decode().split())
        self.assertEqual(ann.getquotaroot("INBOX"), ("OK", [[b'INBOX ""'], [b'"" (STORAGE 0 1024 MESSAGE 0 50)']]))
        self.assertEqual(boss.setquota(ANN, "(MESSAGE 1)"), ("OK", [ANN.encode() + b" (MESSAGE 0 1)"]))
        self.assertEqual(ann.append("INBOX", "", "", b"Subject: x\r\n\r\n")[0], "OK")
        self.assertEqual(ann.append("INBOX", "", "", b"Subject: y\r\n\r\n")[0], "NO")
        client = IMAPClient("127.0.0.1", self.server.ports["imap"], ssl=False, timeout=60)
        client.login(ANN, PASSWORD)
        self.addCleanup(client.logout)
        [quota] = client.get_quota("INBOX")
        self.assertEqual((quota.resource, quota.usage, quota.limit), ("MESSAGE", 1, 1))

    def test_annotations_survive_a_kill(self) -> None:
        client = PlainClient.connect(self.server.ports["imap"])
        client.ask(b'LOGIN %b "%b"' % (ANN.encode(), PASSWORD.encode()))
        client.ask(b'SETMETADATA INBOX (/private/color "red")')
        client.close()
        self.server.kill()
        self.server.start()
        client = PlainClient.connect(self.server.ports["imap"])
        client.ask(b'LOGIN %b "%b"' % (ANN.encode(), PASSWORD.encode()))
        told = client.ask(b"GETMETADATA INBOX /private/color")
        self.assertEqual(told, [b'* METADATA INBOX (/private/color "red")\r\n'])
        admin = client.ask(b'GETMETADATA "" /shared/admin')
        self.assertEqual(admin, [b'* METADATA "" (/shared/admin "mailto:boss@interop.example")\r\n'])
        client.close()
