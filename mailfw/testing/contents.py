"""Messages to try things with, and `MemoryContent` to hand them over in."""

from __future__ import annotations

import base64

from zope.interface import implementer

from mailfw.interfaces import IDraft


@implementer(IDraft)
class MemoryContent:
    """
    The octets of a message in memory: a draft while they are written, then a content.

    `closed` counts how often it was closed; reading goes on all the same.
    """

    def __init__(self, octets: bytes = b"") -> None:
        self._octets = bytearray(octets)
        self.closed = 0

    @property
    def size(self) -> int:
        """Octets so far."""
        return len(self._octets)

    async def write(self, octets: bytes) -> None:
        """Append."""
        self._octets += octets

    async def read(self, offset: int, length: int) -> bytes:
        """Return `length` octets from `offset`, fewer only at the end."""
        return bytes(self._octets[offset : offset + length])

    async def close(self) -> None:
        """Note that nobody wants it any more."""
        self.closed += 1


class ReadFailed(Exception):
    """What reading a `BrokenContent` raises: no store knows it."""


class BrokenContent(MemoryContent):
    """A content whose second half cannot be read."""

    async def read(self, offset: int, length: int) -> bytes:
        """Return octets of the first half; further on, raise `ReadFailed`."""
        half = self.size // 2
        if offset >= half:
            raise ReadFailed
        return await super().read(offset, min(length, half - offset))


def crlf(text: str, charset: str = "utf-8") -> bytes:
    """Return text written with ``\\n`` as octets with CRLF."""
    return text.replace("\n", "\r\n").encode(charset)


PLAIN = crlf("""\
Date: Mon, 5 Jan 2026 09:30:00 +0900
From: Ann <ann@example.org>
To: Bob <bob@example.org>
Subject: Lunch
Message-ID: <lunch@example.org>

Shall we?
.
..and a line with a dot before it.
""")

ATTACHMENT = crlf(f"""\
Date: Tue, 6 Jan 2026 10:00:00 +0000
From: ann@example.org
To: bob@example.org, "Carol, the third" <carol@example.net>
Cc: team: dave@example.org, erin@example.org;
Subject: The plan
Message-ID: <plan@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="=_outer"

Prologue.
--=_outer
Content-Type: multipart/alternative; boundary="=_inner"

--=_inner
Content-Type: text/plain; charset=us-ascii

See the file.
--=_inner
Content-Type: text/html; charset=us-ascii

<p>See the file.</p>
--=_inner--
--=_outer
Content-Type: application/octet-stream; name="plan.bin"
Content-Disposition: attachment; filename="plan.bin"
Content-Transfer-Encoding: base64

{base64.encodebytes(bytes(range(256))).decode().strip()}
--=_outer--
Epilogue.
""")

KOREAN_EUC_KR = crlf(
    """\
Date: Wed, 7 Jan 2026 18:00:00 +0900
From: =?EUC-KR?B?x8+0ww==?= <haneul@example.org>
To: bob@example.org
Subject: =?EUC-KR?B?yLjAxyCw4bD6?=
MIME-Version: 1.0
Content-Type: text/plain; charset=euc-kr
Content-Transfer-Encoding: 8bit

안녕하세요. 회의 결과를 보냅니다.
""",
    "euc-kr",
)

KOREAN_UTF_8 = crlf("""\
Date: Wed, 7 Jan 2026 18:30:00 +0900
From: 하늘 <하늘@예시.한국>
To: bob@example.org
Subject: 회의 결과 👍
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

안녕하세요. 회의 결과를 보냅니다.
""")

NESTED = b"\r\n".join(
    (
        b"From: bob@example.org",
        b"Subject: Fwd: Lunch",
        b"MIME-Version: 1.0",
        b'Content-Type: multipart/digest; boundary="=_digest"',
        b"",
        b"--=_digest",
        b"",
        PLAIN,
        b"--=_digest",
        b"Content-Type: message/rfc822",
        b"",
        ATTACHMENT,
        b"--=_digest--",
        b"",
    )
)

#: Messages by name, each for what is hard about it; a store keeps the octets of every one of them.
SAMPLES: dict[str, bytes] = {
    "plain": PLAIN,
    "attachment": ATTACHMENT,
    "korean-euc-kr": KOREAN_EUC_KR,
    "korean-utf-8": KOREAN_UTF_8,
    "nested": NESTED,
    "empty": b"",
    "one-octet": b"x",
    "only-line-end": b"\r\n",
    "no-body": b"Subject: no body\r\n\r\n",
    "header-without-end": b"Subject: cut off",
    "no-header": b"\r\nno header\r\n",
    "no-final-line-end": b"Subject: x\r\n\r\nno line end",
    "final-cr": b"Subject: x\r\n\r\nends with CR\r",
    "lone-cr-and-lf": b"Subject: x\r\n\r\na\rb\nc\n\rd\r\r\n\n",
    "nul": b"Subject: a\x00b\r\n\r\n\x00\x00c\x00\r\n",
    "eight-bit": b"Subject: \xff\xfe\x80\r\n\r\n" + bytes(range(256)) + b"\r\n",
    "from-line": b"Subject: x\r\n\r\nFrom here on\r\n>From there\r\nFrom bob@example.org Mon Jan  5 09:30:00 2026\r\n",
    "long-line": b"Subject: x\r\n\r\n" + b"y" * 100_000 + b"\r\n",
}
