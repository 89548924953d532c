"""Make the mailbox that is measured: the same messages for every peer, from a fixed seed."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

TEXT = """
server mail queue delivery folder message letter answer report budget meeting project garden river winter
회의 보고서 서버 백업 프로젝트 안녕하세요 오늘 내일 점심 会議 報告 予算
"""
WORDS = TEXT.split()


def _size(chance: random.Random) -> int:
    """Log-normal between 2 KB and 2 MB, median about 6 KB."""
    return int(min(2_000_000, max(2_000, chance.lognormvariate(8.7, 1.1))))


def message(number: int, chance: random.Random) -> bytes:
    """Make one message: two in three plain text, one in three with an attachment."""
    new = EmailMessage(policy=SMTP)
    new["From"] = f"Sender {number % 97} <sender{number % 97}@peer.example>"
    new["To"] = "Reader <user0@bench.example>"
    new["Subject"] = " ".join(chance.choices(WORDS, k=5)) + f" {number}"
    new["Date"] = format_datetime(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * number))
    new["Message-ID"] = f"<{number}@peer.example>"
    if number % 3:
        new["In-Reply-To"] = f"<{number - 1}@peer.example>"
    size = _size(chance)
    text = [" ".join(chance.choices(WORDS, k=9)) for _ in range(max(1, min(size, 6000) // 70))]
    new.set_content("\n".join(text) + "\n", cte="base64" if number % 5 == 0 else "8bit")
    if number % 3 == 0:
        new.add_attachment(
            chance.randbytes(max(100, size - 6000)),
            maintype="application",
            subtype="octet-stream",
            filename=f"{number}.bin",
        )
    return new.as_bytes()


def make_maildir(root: Path, count: int, seed: int = 1) -> int:
    """Fill a maildir with `count` seen messages; return their octets."""
    chance = random.Random(seed)
    for name in ("cur", "new", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    octets = 0
    for number in range(count):
        content = message(number, chance)
        octets += len(content)
        when = 1_700_000_000 + number
        file = root / "cur" / f"{when}.M{number}P1.peer,S={len(content)},W={len(content)}:2,S"
        file.write_bytes(content)
        os.utime(file, (when, when))
    return octets
