"""
What it costs to notice what other programs do, with many sessions that wait: by inotify, and by comparing every second.

``python bench/watching.py [sessions]`` prints the share of a core that an idle server takes for it, and how long after
a message was put into a maildir who watches hears of it.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mailfw.mail.mailbox import INBOX
from mailfw.site import Site
from mailfw.stores.index import lookout
from mailfw.stores.maildir import maildir

reactor: Any = installed

#: Seconds until all are watched, and for how long the idle server is looked at.
SETTLE, IDLE = 6.0, 10.0
#: Messages that are put into maildirs.
MESSAGES = 40


def processor_time() -> float:
    """Return seconds of the processor that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(sessions: int, data: Path) -> tuple[float, list[float]]:
    """Return the share of a core, and how long the notices took."""
    store = maildir(Site("mx.example.org", frozenset({"example.org"}), data, reactor))
    heard: dict[str, float] = {}
    for number in range(sessions):
        account = f"user{number}@example.org"
        await store.open_account(account)
        inbox = next(info.id for info in await store.mailboxes(account) if info.path == INBOX)
        await store.snapshot(account, inbox, 0)
        await store.watch(account, partial(note, heard, account))
    await deferLater(reactor, SETTLE)
    used, began = processor_time(), time.monotonic()
    await deferLater(reactor, IDLE)
    share = (processor_time() - used) / (time.monotonic() - began)
    heard.clear()
    notices = [await notice(data, number, heard) for number in range(min(sessions, MESSAGES))]
    await store.close()
    return share, sorted(notices)


def note(heard: dict[str, float], account: str, mailbox: str, modseq: int) -> None:
    """Note when an account's news came first."""
    heard.setdefault(account, time.monotonic())


async def notice(data: Path, number: int, heard: dict[str, float]) -> float:
    """Put a message into a maildir, and return the seconds until who watches hears of it."""
    folder = data / f"mail/example.org/user{number}"
    draft = folder / "tmp/1700000000.M1P2.host"
    draft.write_bytes(b"Subject: x\r\n\r\nhello\r\n")
    began = time.monotonic()
    draft.rename(folder / "new" / draft.name)
    while f"user{number}@example.org" not in heard and time.monotonic() < began + 10:
        await deferLater(reactor, 0.005)
    await deferLater(reactor, 0.033 * (number % 7))
    return heard.get(f"user{number}@example.org", float("inf")) - began


def run(sessions: int, how: str) -> None:
    """Measure one way in this process."""
    if how == "compared":

        def missing(*_: object) -> None:
            raise OSError("not wanted")

        setattr(lookout, "Inotify", missing)  # noqa: B010 -- the fallback is what is to be measured
    data = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))

    def tell(result: tuple[float, list[float]]) -> None:
        share, notices = result
        middle, last = notices[len(notices) // 2] * 1000, notices[-1] * 1000
        print(
            f"{sessions} sessions, {how}: {share:.1%} of a core; notices after {middle:.0f} ms, at most {last:.0f} ms"
        )

    done = Deferred.fromCoroutine(measure(sessions, data)).addCallback(tell)
    done.addErrback(lambda failure: failure.printTraceback()).addBoth(lambda _: reactor.stop())
    reactor.run()
    shutil.rmtree(data)


if __name__ == "__main__":
    sessions = int(sys.argv[1]) if sys.argv[1:] else 1000
    if sys.argv[2:]:
        run(sessions, sys.argv[2])
    else:
        for how in ("inotify", "compared"):
            subprocess.run([sys.executable, __file__, str(sessions), how], check=True)
