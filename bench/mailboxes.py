"""
Large mailboxes: what opening and looking costs with 100 to 1,000,000 messages.

::

    python -m bench.mailboxes [--rounds 3] [--sizes 100 10000 100000 1000000] [--maildir-up-to 100000] [--at DIRECTORY]

A store is filled through `IMailStore`: 10,000 messages of 1 KB are appended, and copied as often as it takes.  Then the
server is started, and one IMAP session selects each mailbox for the first time (the files are in the page cache), a
second time and so on.  ``memory`` is by how much the server grows with the first SELECT.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from bench.measure import Results
from bench.peers import DOMAIN, PASSWORD, Peer, mailfw
from mailfw.interfaces import IMailStore
from mailfw.mail.mailbox import INBOX, CreateMailbox, NewMessage
from mailfw.mail.mailbox import Path as MailboxPath
from mailfw.stores.kept import KeptContent
from mailfw.testing.store.making import Maker, find

PART = 10_000
BATCH = 500
USER = "user0"
ACCOUNT = f"{USER}@{DOMAIN}"
OCTETS = b"From: ann@example.org\r\nTo: bob@example.org\r\nSubject: Lunch %d\r\n\r\n" + b"The usual place?\r\n" * 50


async def fill(plugin: str, data: Path, sizes: Sequence[int]) -> None:
    """Make a mailbox of each size."""
    store: IMailStore = Maker(find("store", plugin), data, reactor).make_store()
    try:
        await store.open_account(ACCOUNT)
        inbox = await _mailbox(store, INBOX)
        for start in range(0, PART, BATCH):
            new = [NewMessage(KeptContent(OCTETS % number)) for number in range(start, start + BATCH)]
            await store.append(ACCOUNT, inbox, new)
        for size in sizes:
            await store.edit_mailbox(ACCOUNT, CreateMailbox((str(size),)))
            there = await _mailbox(store, (str(size),))
            for done in range(0, size, PART):
                for start in range(1, min(PART, size - done), BATCH):
                    end = min(start + BATCH, size - done + 1)
                    await store.copy(ACCOUNT, inbox, range(start, end), there)
    finally:
        await store.close()


async def _mailbox(store: IMailStore, path: MailboxPath) -> str:
    return next(info.id for info in await store.mailboxes(ACCOUNT) if info.path == path)


class Session:
    """An IMAP session that times each command."""

    def __init__(self, port: int) -> None:
        self._wire = socket.create_connection(("127.0.0.1", port), 120)
        self._wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._wire.makefile("rb", 1 << 20)
        self._file.readline()
        self.ask(f"LOGIN {ACCOUNT} {PASSWORD}")

    def ask(self, command: str) -> float:
        """Do a command; return the milliseconds that it took."""
        began = time.perf_counter()
        self._wire.sendall(f"a {command}\r\n".encode())
        while not (line := self._file.readline()).startswith(b"a "):
            if not line:
                raise RuntimeError(f"{command}: the connection was closed")
        if not line.startswith(b"a OK"):
            raise RuntimeError(f"{command}: {line!r}")
        return (time.perf_counter() - began) * 1000

    def close(self) -> None:
        """End it."""
        self._file.close()
        self._wire.close()


def look(results: Results, peer: Peer, plugin: str, size: int) -> None:
    """Measure one mailbox in a server that has just been started."""
    session = Session(peer.ports["imap"])
    before = peer.memory_kilobytes()
    results.note(f"{size:,}: first SELECT", plugin, session.ask(f"SELECT {size}"), "ms", "less")
    grown = (peer.memory_kilobytes() - before) * 1024 / size
    results.note(f"{size:,}: memory", plugin, grown, "octets a message", "less")
    middle = size // 2
    for name, command, times in (
        ("SELECT again", f"SELECT {size}", 5),
        ("NOOP", "NOOP", 100),
        ("UID FETCH 1:* (FLAGS)", "UID FETCH 1:* (FLAGS)", 1),
        ("UID FETCH of one (ENVELOPE)", f"UID FETCH {middle} (ENVELOPE)", 20),
        ("UID FETCH of one (BODY.PEEK[])", f"UID FETCH {middle + 1} (BODY.PEEK[])", 20),
        ("UID STORE of one", f"UID STORE {middle} {{sign}}FLAGS (\\Flagged)", 20),
    ):
        took = sorted(session.ask(command.replace("{sign}", "+-"[turn % 2])) for turn in range(times))
        results.note(f"{size:,}: {name}", plugin, took[len(took) // 2], "ms", "less")
    session.close()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 10_000, 100_000, 1_000_000])
    parser.add_argument("--maildir-up-to", type=int, default=100_000)
    parser.add_argument("--at", default=None)
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-", dir=asked.at))
    results = Results()
    chosen = {"maildir": [n for n in asked.sizes if n <= asked.maildir_up_to], "sqlite": asked.sizes}
    settings = {plugin: (f'store.plugin="{plugin}:path={home / plugin / "kept"}"',) for plugin in chosen}

    async def fill_all() -> None:
        for plugin, sizes in chosen.items():
            (home / plugin).mkdir()
            await fill(f"{plugin}:path={home / plugin / 'kept'}", home / plugin / "site", sizes)

    def measure(_: object) -> None:
        for turn in range(asked.rounds):
            for plugin, sizes in chosen.items():
                for size in sizes:
                    place = home / f"{plugin}-{size}-{turn}"
                    with mailfw(place, *settings[plugin], smtp=False, users=[USER]) as peer:
                        look(results, peer, plugin, size)

    try:
        task.react(lambda _: Deferred.fromCoroutine(fill_all()).addCallback(measure))
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        shutil.rmtree(home)
    print(results.table("sqlite", "maildir"))


if __name__ == "__main__":
    main()
