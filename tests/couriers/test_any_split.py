"""However a host's answers are split and delayed, the courier says the same, and comes to the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from tests.couriers.hosts import MX, CourierCase, Host

#: By what they answer: to MAIL and RCPT, to DATA, and to the end of a message.
ACCEPTED = ("250 2.1.0 Fine", "250-2.1.0 Fine\r\n250 2.1.0 indeed", "250 OK", "251 Forwarded")
REFUSED = (
    "550 5.1.1 Who?",
    "550-5.1.1 Who\r\n550-5.1.1 is\r\n550 5.1.1 that?",
    "450 4.2.0 Later",
    "452 4.5.3 Too many",
    "553",
)
GO_AHEAD = ("354 Go ahead", "354-Go\r\n354 ahead")
TAKEN = ("250 2.0.0 Taken", "250-2.0.0 Taken\r\n250 2.0.0 as 1")
LEFT = ("451-4.3.0 Try\r\n451 4.3.0 again", "554 5.7.1 No", "552 5.3.4 Too large")
EXTENSIONS = (
    "PIPELINING",
    "CHUNKING",
    "BINARYMIME",
    "8BITMIME",
    "SIZE",
    "SIZE 30",
    "DSN",
    "SMTPUTF8",
    "LIMITS RCPTMAX=1",
)
CONTENTS = (
    b"Subject: x\r\n\r\nhello\r\n",
    b"Subject: x\r\n\r\n.\r\n..\r\nQUIT\r\n",
    "Subject: x\r\n\r\né\r\n".encode(),
    b"Subject: x\r\n\r\n" + b"A line of text.\r\n" * 10_000,
    b"\r\n",
)


@dataclass(frozen=True)
class Plan:
    """What a host is like, what it answers in turn, and the messages for it."""

    extensions: tuple[str, ...]
    mail: tuple[str, ...]
    rcpt: tuple[str, ...]
    data: tuple[str, ...]
    end: tuple[str, ...]
    messages: tuple[tuple[int, bytes, str], ...]
    lmtp: bool = False


class Server:
    """Answers whatever is said, in order, from the plan's lists; `speaks` is all that it has to say yet."""

    def __init__(self, plan: Plan, answers: Mapping[str, Iterator[str]]) -> None:
        self._plan = plan
        self._answers = answers
        self._unread = b""
        self._work: Callable[[], bool] = self._command
        self._recipients = 0
        self._left = 0
        self._is_last = False
        self.speaks = b"220 mx ESMTP\r\n"

    def hear(self, octets: bytes) -> None:
        self._unread += octets
        while self._work():
            pass

    def _say(self, reply: str) -> bool:
        self.speaks += reply.encode() + b"\r\n"
        return reply.startswith("2")

    def _command(self) -> bool:
        line, end, rest = self._unread.partition(b"\r\n")
        if not end:
            return False
        self._unread = rest
        verb = line[:4].upper()
        if verb in (b"EHLO", b"LHLO"):
            lines = ["mx", *self._plan.extensions]
            self._say("\r\n".join(f"250{' ' if each is lines[-1] else '-'}{each}" for each in lines))
        elif verb == b"MAIL":
            self._recipients = 0
            self._say(next(self._answers["mail"]))
        elif verb == b"RCPT":
            self._recipients += self._say(next(self._answers["rcpt"]))
        elif verb == b"DATA":
            reply = next(self._answers["data"]) if self._recipients else "554 5.5.1 For nobody"
            self._say(reply)
            if reply.startswith("3"):
                self._work = self._text
        elif verb == b"BDAT":
            _, size, *last = line.split()
            self._left, self._is_last = int(size), bool(last)
            self._work = self._chunk
        else:
            self._say("221 Bye" if verb == b"QUIT" else "250 OK" if verb == b"RSET" else f"500 What? {line!r}")
        return True

    def _text(self) -> bool:
        if not self._unread.startswith(b".\r\n"):
            _, end, rest = self._unread.partition(b"\r\n.\r\n")
            if not end:
                return False
            self._unread = rest
        else:
            self._unread = self._unread[3:]
        return self._end()

    def _chunk(self) -> bool:
        if len(self._unread) < self._left:
            return False
        self._unread = self._unread[self._left :]
        if self._is_last and self._recipients:
            return self._end()
        self._work = self._command
        self._say("250 2.0.0 Chunk" if self._recipients else "503 5.5.1 For nobody")
        return True

    def _end(self) -> bool:
        self._work = self._command
        for _ in range(self._recipients if self._plan.lmtp else 1):
            self._say(next(self._answers["end"]))
        return True


class Split(CourierCase):
    """One run of a plan."""

    def run_plan(
        self, plan: Plan, sizes: Sequence[int], pauses: Sequence[float]
    ) -> tuple[list[bytes], list[list[str]]]:
        """Return what was said on each connection, and the outcomes."""
        self.begin(replace(MX, protocol="lmtp" if plan.lmtp else "smtp"), host_connections=1, connection_time=1e6)
        answers = {name: itertools.cycle(getattr(plan, name)) for name in ("mail", "rcpt", "data", "end")}
        deliveries = []
        for recipients, content, body in plan.messages:
            addresses = [Address(f"user{number}", "example.net") for number in range(recipients)]
            deliveries.append(self.deliver(*addresses, octets=content, body=body))
        lengths, waits = itertools.cycle(sizes or [1_000_000]), itertools.cycle(pauses or [0.0])
        said: list[bytes] = []
        while self.waits():
            said.append(self._converse(self.accept(), Server(plan, answers), lengths, waits))
        results = [self.codes(delivery) for delivery in deliveries]
        self.leave(self.hosts)
        return said, results

    def _converse(self, host: Host, server: Server, lengths: Iterator[int], waits: Iterator[float]) -> bytes:
        said = b""
        while server.speaks:
            length = next(lengths)
            piece, server.speaks = server.speaks[:length], server.speaks[length:]
            host.say(piece)
            self.reactor.advance(next(waits))
            heard = host.hear()
            said += heard
            server.hear(heard)
        return said


def turns(*replies: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from([each for group in replies for each in group]), min_size=1, max_size=4).map(tuple)


PLANS = st.builds(
    Plan,
    st.lists(st.sampled_from(EXTENSIONS), unique=True).map(tuple),
    turns(ACCEPTED, ACCEPTED, REFUSED),
    turns(ACCEPTED, ACCEPTED, REFUSED),
    turns(GO_AHEAD, GO_AHEAD, REFUSED),
    turns(TAKEN, TAKEN, LEFT),
    st.lists(
        st.tuples(st.integers(1, 3), st.sampled_from(CONTENTS), st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"])),
        min_size=1,
        max_size=4,
    ).map(tuple),
    st.booleans(),
)
FOUR = ((2, CONTENTS[0], "7BIT"),) * 4


class AnySplitTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(PLANS, st.lists(st.integers(1, 40), min_size=1, max_size=10), st.lists(st.sampled_from([0.0, 0.5, 2.0])))
    @example(Plan(("PIPELINING",), ("250 OK",), ("550 No", "250 OK"), GO_AHEAD, TAKEN, FOUR), [1], [2.0])
    @example(Plan(("PIPELINING", "CHUNKING"), ("250 OK",), ("250 OK",), GO_AHEAD, LEFT, FOUR), [1], [])
    @example(Plan(("PIPELINING",), ("250 OK",), ("250 OK",), GO_AHEAD, (*LEFT, *TAKEN), FOUR, True), [7], [])
    def test_any_split(self, plan: Plan, sizes: list[int], pauses: list[float]) -> None:
        self.assertEqual(Split().run_plan(plan, sizes, pauses), Split().run_plan(plan, [], []))

    def test_a_plan_is_carried_out(self) -> None:
        """The comparison would be of no use if nothing happened."""
        for extensions in (("PIPELINING",), ("PIPELINING", "CHUNKING"), ()):
            plan = Plan(extensions, ACCEPTED, ("250 OK", "550 5.1.1 No"), GO_AHEAD, TAKEN, FOUR)
            [said], results = Split().run_plan(plan, [3], [])
            self.assertEqual(results, [["Delivered 250 2.0.0", "Failed 550 5.1.1"]] * 4)
            self.assertEqual(said.count(b"MAIL FROM:"), 4)
