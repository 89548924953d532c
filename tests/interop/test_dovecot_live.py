"""Dovecot and mailfw serve one maildir at the same time, to clients that do anything, and agree in the end."""

from __future__ import annotations

import hashlib
import os
import poplib
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from imapclient import IMAPClient  # type: ignore[import-untyped] # it has no types
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.dovecot import PASSWORD as THEIR_PASSWORD
from tests.interop.dovecot import Dovecot
from tests.interop.random_mail import (
    SHARED,
    TOKEN,
    WANDERING,
    Books,
    Dropper,
    ImapWorker,
    PopWorker,
    Worker,
    fetch_all,
)
from tests.interop.server import DOMAIN, PASSWORD, RunningServer

SECONDS = float(os.environ.get("MAILFW_LIVE_SECONDS", "60"))
SEED = int(os.environ.get("MAILFW_LIVE_SEED", "1"))
#: Seconds between two acts of one client, on the average.
PAUSE = float(os.environ.get("MAILFW_LIVE_PAUSE", "0.2"))
ANN = f"ann@{DOMAIN}"

#: What Dovecot logs when a mailbox that a session of its own has open is renamed, by whomever, and when a message has a
#: second line in the list: then the last one counts for both servers.
_EXPECTED = re.compile(
    r"Warning: .*/dovecot-uidlist: Duplicate file entry|"
    r"Error: Mailbox (?:Here|There|\S* ?(?:mailfw|dovecot)\d .*): .* failed: No such file or directory$"
)

#: UIDVALIDITY, UIDNEXT, and by UID flags, date, size, token and digest of each message.
View = dict[str, tuple[int, int, dict[int, tuple[Any, ...]]]]


class LiveTests(SynchronousTestCase):
    """Both at once; `MAILFW_LIVE_SECONDS` and `MAILFW_LIVE_SEED` say for how long, and what is done."""

    timeout = SECONDS + 240

    def start(self, workers: int = 0) -> None:
        """Start both servers, with mailboxes for all."""
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-live-"))
        self.addCleanup(shutil.rmtree, self.home)
        self.home.chmod(0o755)
        self.server = RunningServer("ann", user="nobody", arguments=("--workers", str(workers)))
        self.addCleanup(self.server.remove)
        maildirs = self.server.home / "data/mail"
        self.root = maildirs / DOMAIN / "ann"
        client = self.ours()  # makes the maildir
        for name in (*SHARED[1:], WANDERING[0]):
            client.create_folder(name)
        client.logout()
        self.dovecot = Dovecot(self.home / "dovecot", maildirs=maildirs)
        self.addCleanup(self.dovecot.stop)

    # ------------------------------------------------------------ clients

    def ours(self) -> IMAPClient:
        client = IMAPClient("127.0.0.1", self.server.ports["imap"], ssl=False, timeout=60)
        client.normalise_times = False
        client.login(ANN, PASSWORD)
        return client

    def theirs(self) -> IMAPClient:
        return self.dovecot.client(ANN)

    def our_pop(self) -> poplib.POP3:
        return self._pop(self.server.ports["pop3"], PASSWORD)

    def their_pop(self) -> poplib.POP3:
        return self._pop(self.dovecot.pop3, THEIR_PASSWORD)

    @staticmethod
    def _pop(port: int, password: str) -> poplib.POP3:
        client = poplib.POP3("127.0.0.1", port, timeout=60)
        client.user(ANN)
        client.pass_(password)
        return client

    # ------------------------------------------------------------ the work

    def test_agree(self) -> None:
        """Nothing is lost or doubled, no UID is given twice, no server logs an error, and both say the same."""
        self.start()
        self._work_for(SECONDS)

    def test_agree_with_workers(self) -> None:
        """Clients of processes that read by themselves what one process writes see the same."""
        self.start(workers=2)
        self._work_for(SECONDS / 3)

    def _work_for(self, seconds: float) -> None:
        books = Books()
        workers = self._workers(books)
        for worker in workers:
            worker.start()
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(books.faults) < 20:
            time.sleep(0.2)
        books.is_over.set()
        for worker in workers:
            worker.join()
        self._report(books)
        self._agree(books)
        faults = [*books.faults, *self._logged()]
        self.assertEqual(faults, [], "\n".join(faults[:20]))

    def test_index_made_anew(self) -> None:
        """`mailfw store rebuild`, with the old index and without, while Dovecot's clients go on."""
        self.start()
        client, words = self.ours(), {f"word{number}".encode() for number in range(30)}
        client.create_folder("Words")
        client.append("Words", b"X-Token: words\r\n\r\n", sorted(words))
        client.logout()
        self.server.terminate()
        books = Books()
        workers = [ImapWorker(name, SEED, books, 0.05, self.theirs, ["dovecot1"]) for name in ("dovecot1", "dovecot2")]
        for worker in workers:
            worker.start()
        time.sleep(3)
        self.server.console("store", "rebuild", ANN)
        self.server.start()
        client = self.ours()
        client.select_folder("Words", readonly=True)
        self.assertEqual(set(client.fetch(1, ["FLAGS"])[1][b"FLAGS"]) - {b"\\Recent"}, words, "26 are in the files")
        client.unselect_folder()
        client.delete_folder("Words")
        client.logout()
        self.server.terminate()
        for path in self.root.glob("mailfw-*.sqlite*"):
            path.unlink()
        self.server.console("store", "rebuild", ANN)
        time.sleep(1)
        books.is_over.set()
        for worker in workers:
            worker.join()
        self.server.start()
        self.assertEqual(books.faults, [])
        self._agree(books)
        self.assertEqual(self._logged(), [])

    def _workers(self, books: Books) -> list[Worker]:
        ways = {"mailfw1": self.ours, "mailfw2": self.ours, "dovecot1": self.theirs, "dovecot2": self.theirs}
        pops = {"mailfwpop": self.our_pop, "dovecotpop": self.their_pop}
        owners = [*ways, *pops]
        workers: list[Worker] = [
            ImapWorker(name, SEED, books, PAUSE, connect, [each for each in owners if each != name])
            for name, connect in ways.items()
        ]
        workers += [PopWorker(name, SEED, books, 5 * PAUSE, connect) for name, connect in pops.items()]
        return [*workers, Dropper("dropper", SEED, books, 3 * PAUSE, self.root, owners)]

    def _report(self, books: Books) -> None:
        if "MAILFW_LIVE_SECONDS" in os.environ:
            for what, count in sorted(books.done.items()):
                sys.stdout.write(f"{count:7} {what}\n")

    # ------------------------------------------------------------ the end

    def _agree(self, books: Books) -> None:
        time.sleep(1.5)  # an answer may leave out what was done to the tree of mailboxes a second ago
        for connect in (self.ours, self.theirs, self.ours, self.theirs):  # each takes over what the other had left
            self._view(connect(), books)
        ours, theirs = self._view(self.ours(), books), self._view(self.theirs(), books)
        self.assertEqual(ours.keys(), theirs.keys())
        for name, view in ours.items():
            self.assertEqual(view[:2], theirs[name][:2], name)
            self.assertEqual(view[2].keys(), theirs[name][2].keys(), name)
            for uid, message in view[2].items():
                self.assertEqual(message, theirs[name][2][uid], f"{name} {uid}")
        self.assertEqual(books.faults, [])
        self._check_counts(ours, books)
        self.assertEqual(self._subscriptions(self.ours()), self._subscriptions(self.theirs()))
        self.assertEqual(self.our_pop().uidl()[1], self.their_pop().uidl()[1])

    def _view(self, client: IMAPClient, books: Books) -> View:
        names = [name for flags, _, name in client.list_folders() if not {b"\\Noselect", b"\\NonExistent"} & set(flags)]
        view: View = {}
        for name in names:
            status = client.select_folder(name, readonly=True)
            found = fetch_all(client, "UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]")
            messages = {}
            for uid, data in found.items():
                octets = data[b"BODY[]"]
                token = TOKEN.search(octets)
                digest = hashlib.sha256(octets).hexdigest()
                if token is None:
                    self.fail(f"{name} {uid} is not ours: {octets[:200]!r}")
                books.saw(status[b"UIDVALIDITY"], uid, token[1].decode())
                flags = frozenset(data[b"FLAGS"]) - {b"\\Recent"}
                messages[uid] = (flags, data[b"INTERNALDATE"], data[b"RFC822.SIZE"], token[1].decode(), digest)
            view[name] = (status[b"UIDVALIDITY"], status[b"UIDNEXT"], messages)
        client.logout()
        return view

    def _check_counts(self, view: View, books: Books) -> None:
        there: dict[str, int] = {}
        for _, _, messages in view.values():
            for *_, token, _ in messages.values():
                there[token] = there.get(token, 0) + 1
        wrong = {
            token: (there.get(token, 0), books.count[token])
            for token in there.keys() | books.count.keys()
            if abs(there.get(token, 0) - books.count[token]) > books.doubt[token]
        }
        self.assertEqual(wrong, {}, "messages, how many there are, and how many there should be")

    def _subscriptions(self, client: IMAPClient) -> set[str]:
        names = {name for _, _, name in client.list_sub_folders()}
        client.logout()
        return names

    def _logged(self) -> list[str]:
        """Return what either server has logged that is more than information."""
        theirs = [line for line in self.dovecot.complaints() if not _EXPECTED.search(line)]
        log = (self.server.home / "log").read_text(errors="replace")
        return theirs + re.findall(r".*(?:#error|#critical|#warn|Traceback|Unhandled).*(?:\n.*){0,25}", log)
