"""What a server answers: lines in, `Reply` out, or `NotSMTP`."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply

#: Octets of one line with its CRLF.  RFC 5321 section 4.5.3.1.5 asks for 512; servers explain themselves at length.
LINE_LIMIT = 4096
#: Lines of one reply; the longest are answers to EHLO.
LINES_LIMIT = 128
#: Characters of a reply that are kept.
TEXT_LIMIT = 2000

# Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF     RFC 5321 section 4.2
# Octets above 127 are read as RFC 6531 section 3.7.4.1 has them, and controls forgiven but not kept.
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([^\r\n\0]*+))?")
# status-code = class "." subject "." detail                                                 RFC 3463 section 2
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class NotSMTP(Exception):
    """The peer said something that is no reply, or not the one to what we said; the connection is of no more use."""


@functools.lru_cache(maxsize=512)
def read_line(line: bytes) -> tuple[int, bool, str]:
    """Return the code, whether it is the reply's last line, and its text.  Raises `NotSMTP`."""
    parsed = _LINE.fullmatch(line)
    if parsed is None:
        raise NotSMTP(f"Not a reply: {line[:80]!r}")
    return int(parsed[1]), parsed[2] != b"-", (parsed[3] or b"").decode("utf-8", "replace")


@functools.lru_cache(maxsize=512)
def read_single(line: bytes) -> Reply | None:
    """Return the reply that this line is, None if more lines follow.  Raises `NotSMTP`."""
    code, is_last, text = read_line(line)
    return make_reply(code, [text]) if is_last else None


class ReplyReader:
    """Takes the lines of one reply, each without its CRLF."""

    def __init__(self) -> None:
        self._code = 0
        self._texts: list[str] = []

    def feed(self, line: bytes) -> bool:
        """Take a line and return whether it was the last.  Raises `NotSMTP`."""
        code, is_last, text = read_line(line)
        if self._texts and code != self._code:
            raise NotSMTP(f"A reply with two codes: {self._code} and {code}")
        if len(self._texts) >= LINES_LIMIT:
            raise NotSMTP("A reply without end")
        self._code = code
        self._texts.append(text)
        return is_last

    @property
    def reply(self) -> Reply:
        """The reply."""
        return make_reply(self._code, self._texts)

    @property
    def texts(self) -> Sequence[str]:
        """The text of each line, as it came: capabilities are no status codes."""
        return self._texts


def make_reply(code: int, texts: Sequence[str]) -> Reply:
    """Return a reply with its enhanced status code apart from the text, where it has one of the right class."""
    found = _STATUS.match(texts[0])
    status = found[1] if found and int(found[1][0]) == code // 100 else ""
    lines = [_strip(text, status) for text in texts]
    return Reply(code, status, "\n".join(lines)[:TEXT_LIMIT])


def _strip(text: str, status: str) -> str:
    """Take away the status that each line repeats (RFC 2034 section 4), and what no log should show."""
    if status and text.startswith(status):
        text = text[len(status) :]
    return _CONTROLS.sub(" ", text).strip()


def deferred(reply: Reply, host: str, unreachable: bool = False) -> Deferred:
    """Return a deferral for a reply of whatever class; 5yz becomes 4yz."""
    code, status = reply.code, reply.status
    if code // 100 != 4:
        code = 450 if code == 550 else 452 if code == 552 else 451
    if not status.startswith("4"):
        status = "4" + status[1:] if status else "4.0.0"
    return Deferred(Reply(code, status, reply.text), host, unreachable)


def outcome(reply: Reply, host: str) -> Deferred | Failed:
    """Return what a refusal means for a recipient."""
    if reply.code >= 500:
        return Failed(reply if reply.status else Reply(reply.code, "5.0.0", reply.text), host)
    return deferred(reply, host)
