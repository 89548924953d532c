"""What programs do by way of an IMAP library: each does a day's work, and another client looks at what came of it."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aioimaplib  # type: ignore[import-untyped] # it has no types
from imap_tools import AND, MailBoxStartTls, MailMessageFlags
from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from twisted.trial.unittest import SkipTest

from tests.interop.clients import (
    ANN,
    ATTACHMENT,
    ATTACHMENT_NAME,
    DRAFT,
    KOREAN_FOLDER,
    NESTED_FOLDER,
    NEWS,
    SPECIAL,
    SUBJECTS,
    TEXT,
    ClientCase,
    has_attachment,
    mutf7,
    quoted,
)
from tests.interop.server import PASSWORD, insecure, require

HERE = Path(__file__).parent
IMAPFLOW = HERE.parent.parent / ".interop" / "node_modules" / "imapflow" / "package.json"


class LibraryCase(ClientCase):
    """Every library does the same, each in its own words: what `ClientCase.check` looks for."""

    def run_script(self, *command: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
        """Run a program that says when it idles, send it the news then, and return what it saw."""
        with (self.server.home / "said").open("w+b") as said:
            process = subprocess.Popen(
                [*command[:2], str(self.server.ports["imap"]), ANN, PASSWORD, *command[2:]],
                stdout=subprocess.PIPE,
                stderr=said,
                env={**self.server.environment, **(environment or {})},
            )
            end = threading.Timer(120, process.kill)
            end.start()
            assert process.stdout is not None
            with process, process.stdout as lines:
                if lines.readline() == b"idling\n":
                    self.server.send("ann", NEWS)
                saw = lines.read()
            end.cancel()
            said.seek(0)
            self.assertEqual(process.returncode, 0, said.read().decode(errors="replace") + self.server.log())
        found: dict[str, Any] = json.loads(saw)
        return found


class ImapclientTests(LibraryCase):
    def connect(self) -> IMAPClient:
        client = IMAPClient("127.0.0.1", self.server.ports["imaps"], ssl_context=insecure(), timeout=60)
        client.login(ANN, PASSWORD)
        return client

    def test_a_day(self) -> None:
        with self.connect() as client:
            self.arrange(client)
            self.read(client)
            self.tidy(client)
            client.idle()
            self.server.send("ann", NEWS)
            self.assertIn((2, b"EXISTS"), client.idle_check(30))
            client.idle_done()
        self.check(NESTED_FOLDER, flags="$Label1 \\Flagged \\Seen")
        with self.connect() as client:
            self.assertEqual(client.select_folder("INBOX")[b"EXISTS"], 2)
            self.assertEqual(
                client.folder_status(NESTED_FOLDER, ["MESSAGES", "UNSEEN"]), {b"MESSAGES": 2, b"UNSEEN": 2}
            )
        self.check(NESTED_FOLDER, flags="$Label1 \\Flagged \\Seen")

    def arrange(self, client: IMAPClient) -> None:
        self.assertEqual({name for _, _, name in client.list_folders()}, SPECIAL)
        self.assertEqual(client.find_special_folder(b"\\Drafts"), "Drafts")
        client.create_folder("nobody needs it")
        client.rename_folder("nobody needs it", NESTED_FOLDER)
        client.subscribe_folder(NESTED_FOLDER)
        self.assertIn(NESTED_FOLDER, [name for _, _, name in client.list_sub_folders()])

    def read(self, client: IMAPClient) -> None:
        self.assertEqual(client.select_folder("INBOX")[b"EXISTS"], 3)
        uids = client.search("ALL")
        found = client.fetch(uids, ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "INTERNALDATE", "FLAGS"])
        self.assertEqual(
            [found[uid][b"ENVELOPE"].message_id for uid in uids], [b"<%d@elsewhere.example>" % n for n in range(3)]
        )
        self.assertTrue(found[uids[0]][b"BODYSTRUCTURE"].is_multipart)
        octets = client.fetch(uids[0], ["BODY[]"])[uids[0]][b"BODY[]"]
        self.assertEqual(len(octets), found[uids[0]][b"RFC822.SIZE"])
        self.assertTrue(has_attachment(octets))
        self.assertEqual(client.search(["SUBJECT", "보고서"], "UTF-8"), uids[:1])
        self.assertEqual(client.search(["TEXT", "세 시"], "UTF-8"), uids[:1])
        self.assertEqual(client.search(["UNSEEN", "NOT", "FROM", "carol"]), uids[1:2])
        for key, ability in (("SORT", b"SORT"), ("THREAD", b"THREAD=REFERENCES")):
            if client.has_capability(ability):
                self.assertEqual(
                    client.sort("REVERSE DATE") if key == "SORT" else len(client.thread("REFERENCES")),
                    uids[::-1] if key == "SORT" else 3,
                )

    def tidy(self, client: IMAPClient) -> None:
        first, second, third = client.search("ALL")
        client.add_flags(first, [b"\\Flagged", "$Label1", "$Label2"])
        client.remove_flags(first, ["$Label2"])
        client.copy(second, NESTED_FOLDER)
        client.delete_messages(second)
        client.uid_expunge(second)
        client.move(third, NESTED_FOLDER)
        client.append("Drafts", DRAFT, flags=["\\Draft", "\\Seen"])


class ImapclientOfWorkersTests(ImapclientTests):
    workers = 2


class ImapToolsTests(LibraryCase):
    def test_a_day(self) -> None:
        mailbox = MailBoxStartTls("127.0.0.1", self.server.ports["imap"], ssl_context=insecure())
        with mailbox.login(ANN, PASSWORD, initial_folder="INBOX") as box:
            self.assertEqual({folder.name for folder in box.folder.list()}, SPECIAL)
            box.folder.create(KOREAN_FOLDER)
            box.folder.subscribe(KOREAN_FOLDER, True)
            self.assertTrue(box.folder.exists(KOREAN_FOLDER))
            headers = list(box.fetch(headers_only=True, mark_seen=False, bulk=True))
            self.assertEqual([message.subject for message in headers], list(SUBJECTS))
            [first] = box.fetch(AND(subject="보고서", seen=False), charset="UTF-8")
            assert first.from_values and first.uid
            self.assertEqual((first.from_values.name, first.text.replace("\r\n", "\n")), ("김철수", TEXT))
            self.assertEqual([(a.filename, a.payload) for a in first.attachments], [(ATTACHMENT_NAME, ATTACHMENT)])
            box.flag(first.uid, MailMessageFlags.FLAGGED, True)
            second, third = box.uids(AND(seen=False))
            box.copy(second, KOREAN_FOLDER)
            box.delete(second)
            box.move(third, KOREAN_FOLDER)
            box.append(DRAFT, "Drafts", flag_set=[MailMessageFlags.DRAFT, MailMessageFlags.SEEN])
            with box.idle as idle:
                self.server.send("ann", NEWS)
                self.assertTrue(idle.poll(timeout=30))
            self.assertEqual(box.folder.status(KOREAN_FOLDER)["MESSAGES"], 2)
        self.check()


class AioimaplibTests(LibraryCase):
    def test_a_day(self) -> None:
        asyncio.run(self.a_day())
        self.check()

    async def a_day(self) -> None:
        client = aioimaplib.IMAP4_SSL("127.0.0.1", self.server.ports["imaps"], timeout=60, ssl_context=insecure())
        await client.wait_hello_from_server()
        await self.ok(client.login(ANN, PASSWORD))
        self.assertEqual(len((await self.ok(client.list('""', "*")))[:-1]), len(SPECIAL))
        await self.ok(client.create(quoted(KOREAN_FOLDER)))
        await self.ok(client.subscribe(quoted(KOREAN_FOLDER)))
        self.assertIn(b"3 EXISTS", await self.ok(client.select("INBOX")))
        await self.ok(client.fetch("1:*", "(UID FLAGS ENVELOPE BODYSTRUCTURE)"))
        answer = await self.ok(client.uid("fetch", "1", "BODY[]"))
        self.assertTrue(has_attachment(bytes(answer[1])))
        self.assertEqual((await self.ok(client.search("SUBJECT", "lunch", charset=None)))[0], b"3")
        await self.ok(client.store("1", "+FLAGS", "(\\Flagged)"))
        await self.ok(client.copy("2", quoted(KOREAN_FOLDER)))
        await self.ok(client.store("2", "+FLAGS", "(\\Deleted)"))
        await self.ok(client.expunge())
        await self.ok(client.uid("move", "3", quoted(KOREAN_FOLDER)))
        await self.ok(client.append(DRAFT, mailbox="Drafts", flags="\\Draft \\Seen"))
        idle = await client.idle_start(timeout=60)
        await asyncio.to_thread(self.server.send, "ann", NEWS)
        self.assertIn(b"2 EXISTS", await client.wait_server_push(30))
        client.idle_done()
        await asyncio.wait_for(idle, 30)
        await self.ok(client.logout())

    async def ok(self, command: Any) -> list[bytes]:
        answer = await command
        self.assertEqual(answer.result, "OK", answer)
        lines: list[bytes] = answer.lines
        return lines


class ImapflowTests(LibraryCase):
    def test_a_day(self) -> None:
        node = require("node")
        if not IMAPFLOW.exists():
            raise SkipTest("imapflow is not installed: sh .ci/interop.sh fetches it where npm is")
        saw = self.run_script(node, str(HERE / "imapflow.mjs"), KOREAN_FOLDER, environment={"IMAPFLOW": str(IMAPFLOW)})
        self.assertTrue(saw["secure"])
        self.assertIn(["Drafts", "\\Drafts"], saw["folders"])
        self.assertEqual({name for name, _ in saw["folders"]}, SPECIAL)
        self.assertTrue(saw["created"])
        self.assertEqual([each[1] for each in saw["messages"]], list(SUBJECTS))
        self.assertEqual(saw["messages"][0][2:], ["김철수", "multipart/mixed"])
        self.assertEqual((saw["text"].replace("\r\n", "\n"), saw["filename"]), (TEXT, ATTACHMENT_NAME))
        self.assertEqual(base64.b64decode(saw["attachment"]), ATTACHMENT)
        self.assertEqual((saw["by_subject"], saw["unseen"]), ([1], [2, 3]))
        self.assertEqual((saw["copied"], saw["deleted"], saw["moved"], saw["appended"]), (1, True, 1, 1))
        self.assertEqual((saw["arrived"], saw["status"]["messages"], saw["status"]["unseen"]), (2, 2, 2))
        self.check()


class MailIMAPClientTests(LibraryCase):
    def test_a_day(self) -> None:
        saw = self.run_script(require("perl"), str(HERE / "imapclient.pl"), mutf7(KOREAN_FOLDER))
        self.assertEqual(set(saw["folders"]), SPECIAL)
        self.assertEqual((saw["count"], saw["subjects"]), (3, list(SUBJECTS)))
        self.assertEqual((saw["type"], saw["envelope"]), ("multipart/mixed", "<0@elsewhere.example>"))
        self.assertTrue(has_attachment(saw["message"].encode("latin-1")))
        self.assertEqual((saw["flagged"], saw["unseen"], saw["by_subject"]), (["1"], ["2", "3"], ["1"]))
        self.assertIn("* 2 EXISTS", saw["idle"])
        self.assertEqual((saw["appended"], saw["unseen_count"]), ("1", "2"))
        self.check()


class CurlTests(LibraryCase):
    """Each command is a connection of its own."""

    def curl(self, path: str, *arguments: str) -> bytes:
        user = ("--user", f"{ANN}:{PASSWORD}", "--insecure", "--silent", "--show-error", "--max-time", "60")
        return self.server.run(
            *(require("curl"), *user, f"imaps://127.0.0.1:{self.server.ports['imaps']}/{path}", *arguments)
        )

    def test_a_day(self) -> None:
        self.assertEqual(len(self.curl("").splitlines()), len(SPECIAL))
        folder = mutf7(KOREAN_FOLDER)
        self.curl("", "--request", f'CREATE "{folder}"')
        self.assertIn(b"\\Drafts", self.curl("", "--request", 'LIST "" "*"'))
        self.assertIn(b"MESSAGES 3", self.curl("", "--request", "STATUS INBOX (MESSAGES UIDNEXT)"))
        self.assertTrue(has_attachment(self.curl("INBOX;UID=1")))
        self.assertIn(b"Subject: Re: lunch", self.curl("INBOX;MAILINDEX=3;SECTION=HEADER"))
        self.assertEqual(self.curl("INBOX?SUBJECT%20lunch").strip(), b"* SEARCH 3")
        self.curl("INBOX", "--request", "STORE 1 +FLAGS (\\Flagged)")
        self.curl("INBOX", "--request", f'COPY 2 "{folder}"')
        self.curl("INBOX", "--request", "STORE 2 +FLAGS.SILENT (\\Deleted)")
        self.curl("INBOX", "--request", "EXPUNGE")
        self.curl("INBOX", "--request", f'UID MOVE 3 "{folder}"')
        (self.server.home / "draft").write_bytes(DRAFT)
        self.curl("Drafts", "--upload-file", "draft")
        self.server.send("ann", NEWS)
        self.assertEqual(self.flags("Drafts"), ["Seen"])
        with self.independent() as client:  # curl's uploads are \Seen and cannot be anything else
            client.select("Drafts")
            client.store("1", "+FLAGS", "(\\Draft)")
        self.check()

    def test_over_pop3(self) -> None:
        user = ("--user", f"{ANN}:{PASSWORD}", "--insecure", "--ssl-reqd", "--silent", "--show-error")
        url = f"pop3://127.0.0.1:{self.server.ports['pop3']}/"
        run: Callable[..., bytes] = lambda *words: self.server.run(require("curl"), *user, *words)  # noqa: E731
        sizes = [int(line.split()[1]) for line in run(url).split(b"\r\n") if line]
        self.assertEqual(sizes, [len(kept.octets) for kept in self.look()])
        ids = run(url, "--request", "UIDL").split(b"\r\n")
        self.assertEqual([len(line.split()) for line in ids if line], [2, 2, 2])
        self.assertTrue(has_attachment(run(url + "1")))
        self.assertTrue(run(url + "3").endswith(b"\r\n\r\nFrom noon on?\r\n.\r\nyes\r\n"))
        run(url + "2", "--request", "DELE", "--list-only")
        self.assertEqual(self.subjects(), [SUBJECTS[0], SUBJECTS[2]])


class CurlOfWorkersTests(CurlTests):
    workers = 2
