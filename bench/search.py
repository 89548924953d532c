"""
Search in one mailbox: by what is kept of the text of messages, and by reading them.

Run ``python -m bench.search [--messages 10000] [--store maildir|sqlite]``.  There is no network, and no peer:
`bench.imap` has those.  Milliseconds are processor time of the whole process, of
each question the least of five.
"""

from __future__ import annotations

import argparse
import base64
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from mailfw.imap.body_text import TextFinder
from mailfw.mail.mailbox import INBOX, NewMessage, Want
from mailfw.mail.sought import BodyHas, Condition, FieldHas, TextHas
from mailfw.mail.text import fold
from mailfw.site import Site
from mailfw.stores.index import searching
from mailfw.stores.maildir import maildir
from mailfw.stores.sqlite import sqlite
from mailfw.testing.contents import MemoryContent

ANN = "ann@bench.example"
STORES: dict[str, Callable[..., Any]] = {"maildir": maildir, "sqlite": sqlite}

KOREAN = [
    "회의",
    "서버",
    "백업",
    "일정",
    "안내",
    "서울",
    "만나요",
    "보고서",
    "프로젝트",
    "개발",
    "배포",
    "점검",
    "완료",
    "요청",
    "검토",
    "고객",
    "메일",
    "주문",
    "결제",
    "확인",
]
PARTICLES = ["", "은", "는", "이", "가", "을", "를", "에서"]
JAPANESE = ["会議", "東京", "資料", "確認", "お願いします", "メール", "サーバー", "バックアップ", "明日", "報告書"]
CHINESE = ["会议", "北京", "资料", "确认", "服务器", "备份", "明天", "报告", "项目", "邮件"]

QUERIES: tuple[tuple[str, Condition], ...] = (
    ("FROM kim", FieldHas("from", "kim")),
    ("SUBJECT 회의", FieldHas("subject", "회의")),
    ("HEADER Message-ID example.kr", FieldHas("message-id", "example.kr")),
    ("TEXT 서버", TextHas("서버")),
    ("TEXT 백업은 서울", TextHas(fold("백업은 서울"))),
    ("BODY 会議東京", BodyHas(fold("会議東京"))),
    ("BODY the", BodyHas("the")),
    ("TEXT example.org (all have it)", TextHas("example.org")),
    ("TEXT zzqqxx (none has it)", TextHas("zzqqxx")),
    ("TEXT @@ (signs alone)", TextHas("@@")),
)


def words(chance: random.Random, language: str, count: int) -> str:
    """Return some text."""
    if language == "ko":
        return " ".join(chance.choice(KOREAN) + chance.choice(PARTICLES) for _ in range(count))
    if language in ("ja", "zh"):
        return "".join(chance.choices(JAPANESE if language == "ja" else CHINESE, k=count))
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return " ".join(
        "".join(chance.choices(letters[: chance.randint(8, 26)], k=chance.randint(2, 9))) for _ in range(count)
    )


def message(number: int, chance: random.Random) -> bytes:
    """Make a message in one of four languages, with HTML beside the text of two in five."""
    [language] = chance.choices(("ko", "en", "ja", "zh"), (40, 50, 5, 5))
    charset = "euc-kr" if language == "ko" and chance.random() < 0.3 else "utf-8"
    subject = base64.b64encode(words(chance, language, 4).encode(charset)).decode()
    text = words(chance, language, min(int(chance.lognormvariate(5.2, 0.9)), 3000))
    text = "\r\n".join(text[start : start + 70] for start in range(0, len(text), 70))
    domain = chance.choice(("example.com", "example.org", "example.kr"))
    sender = f"{chance.choice(('kim', 'lee', 'ann', 'bob'))}{number % 97}@{domain}"
    head = (
        f"Received: from mx{number % 7}.example.net by mail.example.org with ESMTPS id {number:08x};\r\n"
        f" Fri, 20 Nov 2026 10:00:00 +0000\r\nFrom: {sender}\r\n"
        f"To: ann@example.org\r\nSubject: =?{charset}?B?{subject}?=\r\nDate: Fri, 20 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{number}.{chance.random()}@{domain}>\r\nMIME-Version: 1.0\r\n"
    )
    parts = [("plain", text)]
    if chance.random() < 0.4:
        parts.append(("html", "<html><body><p>" + text.replace("\r\n", "<br>\r\n") + "</p></body></html>"))
    shown = [head + "Content-Type: multipart/alternative; boundary=b\r\n\r\n"]
    shown += [f"--b\r\n{_part(kind, charset, each, language != 'en')}\r\n" for kind, each in parts]
    return ("".join(shown) + "--b--\r\n").encode(charset)


def _part(kind: str, charset: str, text: str, encodes: bool) -> str:
    encoding = "base64" if encodes else "8bit"
    body = base64.encodebytes(text.encode(charset)).decode().replace("\n", "\r\n") if encodes else text
    return f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}"


async def _timed(work: Callable[[], Awaitable[Any]], times: int) -> tuple[float, Any]:
    taken = []
    for _ in range(times):
        began = _cpu()
        result = await work()
        taken.append(_cpu() - began)
    return min(taken), result


def _cpu() -> float:
    return time.process_time()


class Bench:
    """One store with one mailbox."""

    def __init__(self, reactor: Any, root: Path, kind: str) -> None:
        self._reactor = reactor
        self._root = root
        self._kind = kind
        self._site = Site("mail.bench.example", frozenset({"bench.example"}), root, reactor)
        self._store: Any = None
        self._inbox = ""
        self._uids: list[int] = []

    async def open(self, search: bool) -> None:
        """Open the store."""
        self._store = STORES[self._kind](self._site, search=search)
        await self._store.open_account(ANN)
        self._inbox = next(info.id for info in await self._store.mailboxes(ANN) if info.path == INBOX)

    async def close(self) -> None:
        """Close it."""
        await self._store.close()

    async def deliver(self, messages: list[bytes]) -> float:
        """Append in calls of one message, 20 at a time; return how many a second."""
        waiting = iter(messages)

        async def line() -> None:
            for octets in waiting:
                await self._store.append(ANN, self._inbox, [NewMessage(MemoryContent(octets))])

        began = time.perf_counter()
        for each in [Deferred.fromCoroutine(line()) for _ in range(20)]:
            await each
        return len(messages) / (time.perf_counter() - began)

    async def settle(self) -> None:
        """Wait until all texts are there."""
        self._uids = list((await self._store.snapshot(ANN, self._inbox, 0)).uids)
        while (await self._store.search(ANN, self._inbox, self._uids, TextHas("zz"))).unread:
            await deferLater(self._reactor, 0.2)

    async def ask(self, condition: Condition) -> int:
        """Return how many messages match, as the store says."""
        answer = await self._store.search(ANN, self._inbox, self._uids, condition)
        assert not answer.unread
        return len(answer.found)

    async def read(self, condition: Condition) -> int:
        """Return how many messages match, read for it."""
        text = getattr(condition, "text", "")
        in_body = frozenset({text} if isinstance(condition, BodyHas) else ())
        finder = TextFinder(in_body, frozenset({text} - in_body))
        found = 0
        async for rows in self._store.rows(ANN, self._inbox, self._uids, Want.PARTS):
            parts = {row.uid: row.parts for row in rows}
            async for batch in self._store.contents(ANN, self._inbox, list(parts)):
                for uid, content in batch:
                    _, body, whole = await finder.look(content, parts[uid], _go_on)
                    found += bool(body or whole)
                    await content.close()
        return found

    def size(self) -> float:
        """Return the megabytes of the search file."""
        return sum(path.stat().st_size for path in self._root.rglob("mailfw-search.sqlite*")) / 1e6


async def _go_on() -> None:
    """Let nobody else have a turn."""


async def run(reactor: Any, kind: str, count: int) -> None:
    """Measure, and print."""
    chance = random.Random(1)
    messages = [message(number, chance) for number in range(count)]
    print(f"{kind}: {count} messages, {sum(map(len, messages)) / 1e6:.1f} MB")
    usual = searching.LATEST
    for search, latest in ((False, usual), (True, 0.0)):
        searching.LATEST = latest
        with tempfile.TemporaryDirectory() as root:
            bench = Bench(reactor, Path(root), kind)
            await bench.open(search)
            rate = await bench.deliver(messages[: min(count, 3000)])
            print(
                f"deliveries a second, {'while texts are made' if search else 'without search'}: {rate:.0f}", flush=True
            )
            await bench.close()
    searching.LATEST = usual
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(reactor, Path(root), kind)
        await bench.open(False)
        await bench.deliver(messages)
        await bench.close()
        await bench.open(True)
        began, cpu = time.perf_counter(), _cpu()
        await bench.settle()
        print(f"texts made: {time.perf_counter() - began:.1f} s, CPU {(_cpu() - cpu) / count * 1e6:.0f} µs a message")
        print(f"search file: {bench.size():.1f} MB")
        for name, condition in QUERIES:
            kept, found = await _timed(lambda condition=condition: bench.ask(condition), 5)  # type: ignore[misc] # a default binds it
            line = f"{name}: {found} found, {kept * 1000:.1f} ms"
            if not isinstance(condition, FieldHas):
                read, again = await _timed(lambda condition=condition: bench.read(condition), 1)  # type: ignore[misc] # as above
                assert again == found, (again, found)
                line += f"; by reading {read * 1000:.0f} ms"
            print(line, flush=True)
        await bench.close()
        print(f"search file: {bench.size():.1f} MB")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--store", choices=sorted(STORES), default="maildir")
    given = parser.parse_args()

    from twisted.internet import reactor

    loop: Any = reactor

    def start() -> None:
        work = Deferred.fromCoroutine(run(loop, given.store, given.messages))
        work.addErrback(lambda failure: failure.printTraceback())
        work.addBoth(lambda _: loop.stop())

    loop.callWhenRunning(start)
    loop.run()


if __name__ == "__main__":
    main()
