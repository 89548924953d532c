"""Programs that fetch mail for others: fetchmail and getmail take it by POP3 and IMAP, and leave it or delete it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.interop.clients import ANN, KOREAN_FOLDER, SUBJECTS, ClientCase, has_attachment, mutf7, subject_of
from tests.interop.server import DOMAIN, PASSWORD, require
from tests.running import until

#: What fetchmail's exit code says: some mail, no mail.
_GOT, _NOTHING = 0, 1


class FetcherCase(ClientCase):
    def setUp(self) -> None:
        super().setUp()
        self.fetched = self.server.home / "fetched"
        for name in ("cur", "new", "tmp"):
            (self.fetched / name).mkdir(parents=True)

    def near(self) -> list[str]:
        """Return the subjects of what was fetched, and see that the attachment is whole."""
        found = [file.read_bytes() for file in (self.fetched / "new").iterdir()]
        for octets in found:
            if subject_of(octets) == SUBJECTS[0]:
                self.assertTrue(has_attachment(octets))
        return sorted(map(subject_of, found))

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program that goes on until it is ended."""
        with (self.server.home / "said").open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=self.server.home,
                stdout=said,
                stderr=said,
                env=self.server.environment,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return process

    def file_away(self) -> None:
        """Move the second message into a folder that its owner has made."""
        with self.independent() as client:
            client.create(f'"{mutf7(KOREAN_FOLDER)}"')
            client.select("INBOX")
            client.copy("2", f'"{mutf7(KOREAN_FOLDER)}"')
            client.store("2", "+FLAGS", "\\Deleted")
            client.expunge()

    def wait_for_news(self) -> None:
        """Send a message and wait until it is here too."""
        self.server.send("ann", b"Subject: news\r\n\r\nnow\r\n")
        until(lambda: "news" in self.near(), "The news do not come")


class FetchmailTests(FetcherCase):
    def configure(self, protocol: str, how: str, options: str, secret: str = PASSWORD) -> list[str]:
        """Return the command of a fetchmail that checks the certificate, and gives each message to a program."""
        port = self.server.ports[protocol.lower() + ("s" if "ssl " in how else "")]
        (self.server.home / "deliver").write_text(
            f"cat > {self.fetched}/tmp/$$ && mv {self.fetched}/tmp/$$ {self.fetched}/new\n"
        )
        rc = self.server.home / ".fetchmailrc"
        rc.write_text(
            f"poll mail.{DOMAIN} via 127.0.0.1 protocol {protocol} port {port} {'uidl' if protocol == 'POP3' else ''}\n"
            f"  user '{ANN}' password '{secret}' {how} sslcertck sslcertfile {self.server.certificate}\n"
            f'  sslcommonname mail.{DOMAIN} {options} mda "/bin/sh {self.server.home}/deliver"\n'
        )
        rc.chmod(0o600)
        return [require("fetchmail"), "--fetchmailrc", str(rc), "--pidfile", str(self.server.home / "fetchmail.pid")]

    def fetch(self, protocol: str, how: str, options: str, secret: str = PASSWORD) -> int:
        """Run it once and return its exit code."""
        done = subprocess.run(
            self.configure(protocol, how, options, secret),
            cwd=self.server.home,
            capture_output=True,
            check=False,
            timeout=120,
            env=self.server.environment,
        )
        self.said = (done.stdout + done.stderr).decode(errors="replace")
        return done.returncode

    def test_pop3_keeps(self) -> None:
        self.assertEqual(self.fetch("POP3", "sslproto tls1.2+", "keep"), _GOT, self.server.log())
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual(self.subjects(), list(SUBJECTS))
        self.assertEqual(self.fetch("POP3", "sslproto tls1.2+", "keep"), _NOTHING, self.said)
        self.server.send("ann", b"Subject: news\r\n\r\nnow\r\n")
        self.assertEqual(self.fetch("POP3", "sslproto tls1.2+", "keep"), _GOT, self.said)
        self.assertEqual(self.near(), sorted([*SUBJECTS, "news"]))

    def test_pop3_deletes(self) -> None:
        self.assertEqual(self.fetch("POP3", "ssl ", "nokeep"), _GOT, self.server.log())
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual(self.subjects(), [])
        self.assertEqual(self.fetch("POP3", "ssl ", "nokeep"), _NOTHING, self.said)

    def test_imap_keeps(self) -> None:
        self.assertEqual(self.fetch("IMAP", "ssl ", "keep"), _GOT, self.server.log())
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual(self.flags(), ["Seen"] * 3)
        self.assertEqual(self.fetch("IMAP", "ssl ", "keep"), _NOTHING, self.said)

    def test_imap_deletes_in_folders(self) -> None:
        self.file_away()
        folders = f"folder 'INBOX','{mutf7(KOREAN_FOLDER)}'"
        self.assertEqual(self.fetch("IMAP", "sslproto tls1.2+", f"nokeep {folders}"), _GOT, self.server.log())
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual((self.subjects(), self.subjects(KOREAN_FOLDER)), ([], []))

    def test_imap_waits(self) -> None:
        self.spawn(*self.configure("IMAP", "ssl ", "nokeep idle"), "--nodetach")
        until(lambda: len(self.near()) == 3, "The mail does not come")
        self.wait_for_news()

    def test_the_wrong_password(self) -> None:
        for protocol in ("POP3", "IMAP"):
            self.assertEqual(self.fetch(protocol, "ssl ", "keep", secret="no idea"), 3, self.said)  # PS_AUTHFAIL
            self.assertEqual(self.near(), [])


class FetchmailOfWorkersTests(FetchmailTests):
    workers = 2


class GetmailTests(FetcherCase):
    def configure(self, retriever: str, *, delete: bool, more: str = "") -> list[str]:
        protocol = ("imap" if "IMAP" in retriever else "pop3") + ("s" if "SSL" in retriever else "")
        folder = self.server.home / "getmail"
        folder.mkdir(exist_ok=True)
        user = ""
        if os.getuid() == 0:  # it delivers as anybody but root
            user = "user = nobody\n"
            self.server.home.chmod(0o711)
            for path in (self.fetched, *self.fetched.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        (folder / "getmailrc").write_text(
            f"[retriever]\ntype = {retriever}\nserver = 127.0.0.1\nport = {self.server.ports[protocol]}\n"
            f"username = {ANN}\npassword = {PASSWORD}\n{more}\n"
            f"[destination]\ntype = Maildir\npath = {self.fetched}/\n{user}"
            f"[options]\nread_all = false\ndelete = {'true' if delete else 'false'}\n"
        )
        return [require("getmail"), f"--getmaildir={folder}"]

    def fetch(self, retriever: str, *, delete: bool, more: str = "") -> bytes:
        return self.server.run(*self.configure(retriever, delete=delete, more=more))

    def keeps(self, retriever: str) -> None:
        self.fetch(retriever, delete=False)
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual(self.subjects(), list(SUBJECTS))
        before = sorted(self._names())
        self.fetch(retriever, delete=False)
        self.assertEqual(sorted(self._names()), before, "A second run fetched something")

    def _names(self) -> list[Path]:
        return list((self.fetched / "new").iterdir())

    def test_pop3_keeps(self) -> None:
        self.keeps("SimplePOP3SSLRetriever")

    def test_pop3_deletes(self) -> None:
        self.fetch("SimplePOP3Retriever", delete=True)
        self.assertEqual((self.near(), self.subjects()), (sorted(SUBJECTS), []))

    def test_imap_keeps(self) -> None:
        self.keeps("SimpleIMAPRetriever")

    def test_imap_deletes_in_folders(self) -> None:
        self.file_away()
        self.fetch("SimpleIMAPSSLRetriever", delete=True, more=f"mailboxes = ('INBOX', '{KOREAN_FOLDER}')")
        self.assertEqual(self.near(), sorted(SUBJECTS))
        self.assertEqual((self.subjects(), self.subjects(KOREAN_FOLDER)), ([], []))

    def test_imap_waits(self) -> None:
        self.spawn(*self.configure("SimpleIMAPSSLRetriever", delete=True), "--idle", "INBOX")
        until(lambda: len(self.near()) == 3, "The mail does not come")
        self.wait_for_news()
