"""However the octets arrive and however long plug-ins think, it is the dialogue of one command after the other."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.outcome import Deferred as DeferredOutcome
from mailfw.mail.outcome import Outcome
from mailfw.mail.reply import Reply
from mailfw.mail.resolution import Resolution
from mailfw.mail.verdict import Verdict
from mailfw.testing.dialogue import Dialogue
from tests.smtp.house import Directory, Draft, House, Intake, Policies

R = TypeVar("R")

#: What a client may say, in groups whose octets stay together; in any order, sense or none.
GROUPS = [
    b"EHLO a.example\r\n",
    b"LHLO a.example\r\n",
    b"HELO b.example\r\n",
    b"MAIL FROM:<eve@far.example>\r\n",
    b"MAIL FROM:<> SIZE=5\r\n",
    b"MAIL FROM:<nonsense\r\n",
    b"RCPT TO:<ann@here.example>\r\n",
    b"RCPT TO:<bob@here.example> NOTIFY=NEVER\r\n",
    b"RCPT TO:<nobody@here.example>\r\n",
    b"RCPT TO:<u@far.example>\r\n",
    b"DATA\r\nSubject: x\r\n\r\n..\r\nRSET\r\n.\r\n",
    b"DATA\r\n\r\nlone\nline\r\n.\r\n",
    b"BDAT 14\r\nSubject: x\r\n\r\n",
    b"BDAT 6 LAST\r\nRSET\r\n",
    b"BDAT 0 LAST\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY ann\r\n",
    b"FOO\r\n",
    b"\x00\r\n",
]


MAIL, ANN, BOB = GROUPS[3], GROUPS[6], GROUPS[7]
LATER = DeferredOutcome(Reply(451, "4.2.0", "Later"))


class Delays:
    """Makes each thing that is asked take a time drawn from a list."""

    def __init__(self, house: House, seconds: list[float]) -> None:
        self._clock = house.clock
        self._seconds = itertools.cycle(seconds or [0.0])

    def slow(self, method: Callable[..., Awaitable[R]]) -> Any:
        async def slowly(*arguments: Any) -> R:
            seconds = next(self._seconds)
            if seconds:
                waits: Deferred[None] = Deferred()
                self._clock.callLater(seconds, waits.callback, None)
                await waits
            return await method(*arguments)

        return slowly


def make_house(service: Service, seconds: list[float]) -> House:
    place = House(service, soft_errors=999, hard_errors=999, timeout=100_000.0)
    delays = Delays(place, seconds)

    class SlowDraft(Draft):
        async def write(self, octets: bytes) -> None:
            await delays.slow(super().write)(octets)

        async def close(self) -> None:
            await delays.slow(super().close)()

    class SlowIntake(Intake):
        async def open_draft(self, size_hint: int) -> Draft:
            draft: Draft = await delays.slow(super().open_draft)(size_hint)
            return draft

        async def accept(self, client: Client, envelope: Envelope, draft: Any) -> list[Outcome]:
            outcomes: list[Outcome] = await delays.slow(super().accept)(client, envelope, draft)
            if service is Service.LMTP and len(outcomes) > 1:
                outcomes[-1] = LATER  # each recipient has a reply of its own
            return outcomes

    class SlowDirectory(Directory):
        async def resolve(self, address: Address) -> Resolution:
            resolution: Resolution = await delays.slow(super().resolve)(address)
            return resolution

    class SlowPolicies(Policies):
        async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
            verdict: Verdict | None = await delays.slow(super().on_sender)(client, sender)
            return verdict

        async def on_helo(self, client: Client) -> Verdict | None:
            verdict: Verdict | None = await delays.slow(super().on_helo)(client)
            return verdict

    place.intake, place.directory, place.policies = SlowIntake(), SlowDirectory(), SlowPolicies()
    place.intake.make = SlowDraft
    return place


def hold(service: Service, pieces: list[bytes], seconds: list[float], pauses: list[float]) -> tuple[bytes, list[Any]]:
    """Say the pieces with pauses between them; return what was answered, and what was taken."""
    place = make_house(service, seconds)
    dialogue = Dialogue(place.factory())
    for piece, pause in zip(pieces, itertools.cycle(pauses or [0.0]), strict=False):
        dialogue.say(piece)
        if pause:
            place.clock.advance(pause)
    while not _is_idle(dialogue):
        place.clock.advance(1.0)
    heard = dialogue.hear()
    for number, (_, envelope, _) in enumerate(place.intake.taken):
        heard = heard.replace(envelope.id.encode(), b"message %d" % number)
    taken = [
        (client.helo, str(envelope.sender), [str(each) for each in envelope.recipients], len(envelope.options), content)
        for client, envelope, content in place.intake.taken
    ]
    assert [draft.closed for draft in place.intake.drafts[:-1]] == [1] * len(place.intake.drafts[:-1])
    return heard, taken


def _is_idle(dialogue: Dialogue) -> bool:
    """Whether the session waits for its client, and for nobody else."""
    return dialogue.closed or dialogue.protocol.stream._waiter is not None


class SequentialTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=1000)
    @given(
        st.sampled_from([Service.SMTP, Service.LMTP]),
        st.lists(st.sampled_from(GROUPS), min_size=1, max_size=25),
        st.lists(st.integers(0, 400), max_size=12),
        st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.0]), max_size=5),
        st.lists(st.sampled_from([0.0, 0.0, 1.0, 5.0]), max_size=3),
    )
    def test_a_thousand_transcripts(
        self, service: Service, groups: list[bytes], cuts: list[int], seconds: list[float], pauses: list[float]
    ) -> None:
        groups = [GROUPS[service is Service.LMTP], *groups]
        wire = b"".join(groups)
        edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
        pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]
        self.assertEqual(hold(service, pieces, seconds, pauses), hold(service, groups, [], []))

    def test_something_happens(self) -> None:
        """The comparison would be of no use if every transcript were one of refusals."""
        for service, replies in ((Service.SMTP, 1), (Service.LMTP, 2)):
            groups = [
                GROUPS[service is Service.LMTP],
                MAIL,
                ANN,
                BOB,
                b"BDAT 14\r\nSubject: x\r\n\r\n",
                b"BDAT 0 LAST\r\n",
            ]
            heard, taken = hold(service, groups, [1.0], [0.5])
            self.assertEqual(heard.count(b"Taken as"), 1)
            self.assertEqual(heard.count(b"451 4.2.0 Later"), replies - 1)
            self.assertEqual([each[-1] for each in taken], [b"Subject: x\r\n\r\n"])
