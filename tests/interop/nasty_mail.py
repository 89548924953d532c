"""Messages as nobody should write them, made at random: the same ones for the same seed."""

from __future__ import annotations

import base64
import quopri
from collections.abc import Callable
from random import Random
from typing import TypeVar

from tests.interop.nasty_pieces import (
    ADDRESSES,
    CHARSETS,
    DATES,
    DISPOSITIONS,
    ENCODINGS,
    LANGUAGES,
    ODD_IDS,
    OTHERS,
    PARAMETERS,
    SUBJECTS,
    TEXT_TYPES,
    WORDS,
    WRONG,
)

T = TypeVar("T")


class NastyMail:
    """`make` makes one message after the other; each is nasty in one way above all, its `theme`."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._number = 0
        self.themes: list[tuple[str, Callable[[], bytes]]] = [
            (name.removeprefix("_make_"), getattr(self, name))
            for name in sorted(dir(self))
            if name.startswith("_make_")
        ]

    def make(self) -> tuple[str, bytes]:
        """Return the theme of the next message, and the message."""
        theme, make = self.themes[self._number % len(self.themes)]
        self._number += 1
        return theme, make()

    # ------------------------------------------------------------ themes

    def _make_addresses(self) -> bytes:
        fields = []
        for name in self._some(["From", "Sender", "Reply-To", "To", "Cc", "Bcc", "To", "From"], 1, 6):
            fields.append(
                self._octets(f"{name}: " + self.random.choice([", ", ",", ",\r\n "]).join(self._some(ADDRESSES, 1, 4)))
            )
        return self._message(fields, self._plain(), {"from", "to", "cc"})

    def _make_dates(self) -> bytes:
        fields = [b"Date:%b%b" % (self._pick([b" ", b"", b"  ", b"\r\n "]), self._pick(DATES).encode())]
        if self._once_in(5):
            fields.append(b"Date: " + self._pick(DATES).encode())
        return self._message(fields, self._plain(), {"date"})

    def _make_subjects(self) -> bytes:
        return self._message([b"Subject: " + self._subject()], self._plain(), {"subject"})

    def _make_words(self) -> bytes:
        fields = [b"Subject: " + b" ".join(self._word() for _ in range(self.random.randint(1, 5)))]
        fields.append(b"From: " + self._word() + b" <a@b.example>")
        if self._once_in(2):
            fields.append(
                b"To: "
                + self._word()
                + b"\r\n "
                + self._word()
                + b" <c@d.example>, "
                + self._word()
                + b" <e@f.example>"
            )
        fields.append(b"X-Words: " + self._word() + b" " + self._word())
        return self._message(fields, self._plain(), {"subject", "from", "to"})

    def _make_threads(self) -> bytes:
        """Few subjects, and ids of each other, so that messages have to do with each other."""
        fields = [
            b"Subject: "
            + self._pick(["{}", "Re: {}", "Fwd: {}"]).format(self._pick(["apple", "ball", "Grüße"])).encode()
        ]
        number = self._number // len(self.themes)
        if not self._once_in(12):
            fields.append(b"Message-ID: " + (self._id() if self._once_in(8) else b"<t%d@x.example>" % number))
        if self._once_in(2):
            joint = self._pick([b" ", b" ", b"\r\n "])
            fields.append(b"References: " + joint.join(self._id() for _ in range(self.random.randint(1, 4))))
        elif self._once_in(2):
            fields.append(b"In-Reply-To: " + self._id())
        fields.append(b"Date: %d %b 2026 10:11:12 +0000" % (self.random.randint(1, 28), self._pick([b"Jan", b"Feb"])))
        return self._message(fields, self._plain(), {"subject", "message-id", "date"})

    def _make_structure(self) -> bytes:
        return self._message([b"MIME-Version: 1.0"], self._entity(0), set())

    def _make_boundaries(self) -> bytes:
        return self._message([b"MIME-Version: 1.0"], self._odd_multipart(0), set())

    def _make_parameters(self) -> bytes:
        head = self._content_fields(self._pick(TEXT_TYPES), self._some(PARAMETERS, 0, 3))
        return self._message([], head + b"\r\n" + self._text("us-ascii"), set())

    def _make_parts_of_all_kinds(self) -> bytes:
        parts = []
        for _ in range(self.random.randint(1, 5)):
            head = self._content_fields(self._pick(TEXT_TYPES), self._some(PARAMETERS, 0, 2))
            parts.append(head + b"\r\n" + self._text(self._pick(CHARSETS)))
        return self._message([], self._joined(b"mixed", b"simple", parts), set())

    def _make_charsets(self) -> bytes:
        return self._message([], self._leaf(odd=True), set())

    def _make_headers(self) -> bytes:
        """What is hardly a header."""
        odd = [
            b"No colon here", b": no name", b"Space : before", b"Tab\t: before", b"8bit-\xff-name: x",
            b" begins with a space", b"X:", b"X-Empty: ", b"X-Folds:\r\n \r\n\t\r\n x", b"X-Long: " + b"word " * 500,
            b"X-Huge: " + b"x" * 20_000, b"X-8bit: \xc3\xa9\xff\xfe", b"X-Cr: a\rb", b"Subject: twice",
            b"subject: again", b"SUBJECT : thrice", b"From: twice@b.example", b"To: a@b.example", b"To: c@d.example",
            b"X-Tabs:\ta\tb\t", b"X-Trailing: x   ", b"From mbox@example Mon Jan 1", b">From x", b"--x",
            b"X-Fold: a\r\n b\r\n\tc", b"Mime-Version : 1.0", b"Content-Type : text/html",
            b"Content-Type: text/html\r\nContent-Type: text/plain", b"Content-Transfer-Encoding : base64",
        ]  # fmt: skip
        return self._message(self._some(odd, 1, 6), self._plain(), set(), shuffled=True)

    def _make_line_ends(self) -> bytes:
        """Line ends of all kinds, and none where one should be."""
        octets = self._message([b"Subject: " + self._subject()], self._entity(1), {"subject"})
        match self.random.randrange(7):
            case 0:
                return octets.replace(b"\r\n", b"\n")
            case 1:
                return octets.rstrip(b"\r\n")
            case 2:
                lines = octets.split(b"\r\n")
                return b"".join(line + self._pick([b"\r\n", b"\n"]) for line in lines)
            case 3:
                return octets[: self.random.randint(1, len(octets))]
            case 4:
                return octets.partition(b"\r\n\r\n")[0] + self._pick([b"", b"\r\n", b"\r\n\r\n", b"\n"])
            case 5:
                head, _, body = octets.partition(b"\r\n\r\n")
                return head + b"\r\n\r\n" + body.replace(b" ", b"\r", 3)
            case _:
                return self._pick([b"\r\n", b"\n\n", b""]) + octets

    def _make_huge(self) -> bytes:
        """Many fields, addresses, references or parts."""
        match self.random.randrange(5):
            case 0:
                fields = [b"X-%d: %d" % (at, at) for at in range(1500)]
            case 1:
                fields = [b"To: " + b",\r\n ".join(b"N%d <n%d@b.example>" % (at, at) for at in range(400))]
            case 2:
                fields = [b"References: " + b"\r\n ".join(b"<r%d@b.example>" % at for at in range(90))]
            case 3:
                fields = [b"Subject: " + b" ".join(b"=?utf-8?Q?w=C3=BC%d?=" % at for at in range(150))]
            case _:
                parts = [b"\r\npart %d" % at for at in range(60)]
                return self._message([], self._joined(b"mixed", b"many", parts), set())
        return self._message(fields, self._plain(), {field.split(b":")[0].decode().lower() for field in fields})

    # ------------------------------------------------------------ messages

    def _message(self, fields: list[bytes], entity: bytes, has: set[str], shuffled: bool = False) -> bytes:
        """Put the fields that a message should have before an entity, without those that it `has`."""
        sane = {
            "from": b"From: Ann %d <ann%d@b.example>" % (self._number, self._number % 7),
            "to": b"To: Bo <bo@b.example>",
            "subject": b"Subject: number %d" % (self._number % 40),
            "date": b"Date: %d Feb 2026 10:%02d:12 +0000" % (1 + self._number % 28, self._number % 60),
            "message-id": b"Message-ID: <m%d@b.example>" % self._number,
        }
        whole = [*(value for name, value in sane.items() if name not in has), *fields]
        if shuffled or self._once_in(3):
            self.random.shuffle(whole)
        return b"".join(field + b"\r\n" for field in whole) + entity

    def _plain(self) -> bytes:
        return b"\r\n" + self._text("us-ascii")

    def _text(self, charset: str) -> bytes:
        words = [self._pick(WORDS[charset]) for _ in range(self.random.choice([0, 1, 5, 30]))]
        text = "".join(word + self._pick([" ", " ", "\r\n"]) for word in words)
        return text.encode(charset, "replace") + self._pick([b"\r\n", b"", b"\r\n\r\n"])

    def _subject(self) -> bytes:
        form = self._pick(SUBJECTS)
        words = self._pick(["apple", "meeting", "number 1", "Grüße", "회의록", "a b", "Re", "[x]"])
        text = form.replace("{}", words)
        if self._once_in(5) and text:
            return b"=?utf-8?B?" + base64.b64encode(text.encode()) + b"?="
        return text.encode() if self._once_in(4) or text.isascii() else text.encode("euc-kr", "replace")

    def _id(self) -> bytes:
        form = self._pick(ODD_IDS) if self._once_in(9) else "<t{}@x.example>"
        return form.replace("{}", str(self.random.randrange(25))).encode()

    def _word(self) -> bytes:
        """An encoded word, right or wrong."""
        charset = self._pick(CHARSETS)
        octets = self._pick(WORDS[charset]).encode(charset, "replace")
        said = charset if not self._once_in(5) else self._pick(WRONG)
        b = base64.b64encode(octets)
        q = b"".join(
            b"=%02X" % octet if octet > 126 or octet < 33 or octet in b"=?_" else bytes([octet]) for octet in octets
        )
        right = [
            b"=?%b?B?%b?=" % (said.encode(), b),
            b"=?%b?Q?%b?=" % (said.encode(), q),
            b"=?%b*ko?q?%b?=" % (said.encode(), q),
        ]
        broken = [
            b"=?%b?B?%b" % (said.encode(), b), b"=?%b?B?%b?" % (said.encode(), b),
            b"=?%b?X?%b?=" % (said.encode(), b), b"=?%b?Q?a b%b?=" % (said.encode(), q),
            b"=?%b?B?%b?=" % (said.encode(), b[:-1]), b"=?%b?B?!!%b!!?=" % (said.encode(), b),
            b"=?%b?Q?=Z%b=?=" % (said.encode(), q), b"=?%b?Q??=" % said.encode(), b"=??Q?x?=", b"=?utf-8?Q?=",
            b"=?=?=", b"x=?%b?Q?%b?=y" % (said.encode(), q), b'"=?%b?Q?%b?="' % (said.encode(), q),
            b"(=?%b?Q?%b?=)" % (said.encode(), q), b"=?%b?B?%b?==?%b?B?%b?=" % (said.encode(), b, said.encode(), b),
            octets, b"=?utf-8?Q?=EC=95?= =?utf-8?Q?=88?=", b"=?utf-8?Q?tab\there?=", b"=?utf-8?Q?question?mark?=",
            b"=?utf-8?B?7JWI?=\r\n =?utf-8?B?64WV?=", b"plain",
        ]  # fmt: skip
        return self._pick(right if self._once_in(2) else broken)

    # ------------------------------------------------------------ parts

    def _content_fields(self, type_: str, parameters: list[str]) -> bytes:
        joint = self._pick(["; ", ";", ";\r\n\t", " ; "])
        fields = [f"Content-Type: {joint.join([type_, *parameters])}"]
        for name, values in (
            ("Transfer-Encoding", ENCODINGS),
            ("Disposition", DISPOSITIONS),
            ("Language", LANGUAGES),
        ):
            if self._once_in(3):
                fields.append(f"Content-{name}: {self._pick(values)}")
        fields += self._some(OTHERS, 0, 2)
        self.random.shuffle(fields)
        return b"".join(self._octets(field) + b"\r\n" for field in fields)

    def _leaf(self, odd: bool = False) -> bytes:
        charset = self._pick(CHARSETS)
        octets = self._text(charset)
        said = self._pick(WRONG) if odd and self._once_in(2) else charset
        head = f"Content-Type: text/{self._pick(['plain', 'html'])}; charset={said}\r\n"
        match self.random.randrange(5):
            case 0:
                head += "Content-Transfer-Encoding: base64\r\n"
                octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
                if odd:
                    octets = self._pick(
                        [
                            octets,
                            octets[:-5],
                            b"!" + octets,
                            octets.replace(b"\r\n", b""),
                            octets + b"trailing text\r\n",
                            b"===" + octets,
                        ]
                    )
            case 1:
                head += "Content-Transfer-Encoding: quoted-printable\r\n"
                octets = quopri.encodestring(octets)
                if odd:
                    octets = self._pick(
                        [
                            octets,
                            octets.replace(b"=", b"=="),
                            octets + b"=",
                            octets.lower(),
                            octets + b"=\r\n",
                            octets + b"=Z1=4",
                        ]
                    )
            case 2:
                head += "Content-Transfer-Encoding: 8bit\r\n"
        return head.encode() + b"\r\n" + octets

    def _entity(self, depth: int) -> bytes:
        """A part with whatever is within it, without faults of its boundaries."""
        kind = self.random.randrange(10 if depth < 4 else 4)
        if kind < 4:
            return self._leaf()
        if kind < 6:
            return self._inner_message(depth)
        subtype = self._pick(
            [b"mixed", b"alternative", b"related", b"digest", b"digest", b"report", b"x-odd", b"MIXED"]
        )
        parts = [self._entity(depth + 1) for _ in range(self.random.randint(0, 4))]
        if self._once_in(3):
            parts = [self._pick([b"", b"\r\n", part, b"\r\n" + part]) for part in parts]
        return self._joined(subtype, b"b%d.%d" % (depth, self.random.randrange(1000)), parts)

    def _inner_message(self, depth: int) -> bytes:
        within = self._message([], self._entity(depth + 1), set())
        head = b"Content-Type: message/rfc822\r\n"
        match self.random.randrange(6):
            case 0:
                return (
                    head
                    + b"Content-Transfer-Encoding: base64\r\n\r\n"
                    + base64.encodebytes(within).replace(b"\n", b"\r\n")
                )
            case 1:
                return head + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + quopri.encodestring(within)
            case 2:
                return head + b"\r\n"
            case 3:
                return head + b"\r\n\r\n" + within
        return head + b"\r\n" + within

    def _joined(self, subtype: bytes, boundary: bytes, parts: list[bytes]) -> bytes:
        head = (
            b"Content-Type: multipart/"
            + subtype
            + b"; boundary="
            + self._pick([boundary, b'"' + boundary + b'"'])
            + b"\r\n"
        )
        body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
        return (
            head
            + b"\r\n"
            + self._pick([b"", b"preamble\r\n", b"\r\n"])
            + body
            + b"--"
            + boundary
            + b"--"
            + self._pick([b"\r\n", b"", b"\r\nepilogue\r\n"])
        )

    def _odd_multipart(self, depth: int) -> bytes:
        """A multipart whose boundaries are not what they should be."""
        base = self._pick([b"x", b"xy", b"x y", b"x", b"=_x", b"x--", b"'x", b"x:y"])
        stated = self._pick([
            b'boundary="%b"' % base, b"boundary=%b" % base, b'BOUNDARY="%b"' % base, b'boundary="%b "' % base,
            b"boundary=", b'boundary=""', b"", b'boundary="%b' % base, b'boundary="%b"; boundary="other"' % base,
            b"boundary=\"%b\" (c)" % base, b"boundary*=us-ascii''%b" % base, b'boundary*0="%b"; boundary*1=z' % base,
            b'boundary="%b"' % (base * 80), b'charset=utf-8;\r\n boundary="%b"' % base, b'boundary = "%b"' % base,
        ])  # fmt: skip
        head = (
            b"Content-Type: multipart/"
            + self._pick([b"mixed", b"alternative", b"digest", b"signed", b"", b"mixed "])
            + b"; "
            + stated
            + b"\r\n"
        )
        if self._once_in(5):
            head += b"Content-Transfer-Encoding: " + self._pick([b"base64", b"quoted-printable", b"8bit"]) + b"\r\n"
        lines = []
        for _ in range(self.random.randint(0, 10)):
            lines.append(self._pick([
                b"--" + base, b"--" + base, b"--" + base + b"--", b"--" + base + b"  ", b"--" + base + b"\t",
                b"--" + base + b"y", b"--" + base + b"-", b" --" + base, b"--", b"-- " + base, b"--" + base[:1],
                b"--" + base + b" --", b"--" + base + b"--x", b"--" + base.upper(), b"--" + base + b"--  ",
                b"----" + base, b"",
            ]))  # fmt: skip
            lines.append(
                self._pick(
                    [
                        b"",
                        b"\r\ntext",
                        b"text",
                        self._leaf(),
                        b"Content-Type: text/html",
                        b"Content-Type: message/rfc822\r\n",
                        b"\r\n\r\n",
                        b"X: y",
                    ]
                )
            )
            if depth < 3 and self._once_in(4):
                lines.append(self._odd_multipart(depth + 1))
        return head + b"\r\n" + b"\r\n".join(lines) + self._pick([b"", b"\r\n", b"\r\n--" + base + b"--\r\n"])

    # ------------------------------------------------------------ chance

    def _pick(self, values: list[T]) -> T:
        return self.random.choice(values)

    def _some(self, values: list[T], least: int, most: int) -> list[T]:
        return [self.random.choice(values) for _ in range(self.random.randint(least, most))]

    def _once_in(self, times: int) -> bool:
        return not self.random.randrange(times)

    def _octets(self, text: str) -> bytes:
        """Raw 8-bit text, in one charset or the other."""
        return text.encode("euc-kr", "replace") if self._once_in(3) else text.encode()
