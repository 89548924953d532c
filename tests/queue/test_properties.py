"""Whatever couriers answer, in whatever order: each recipient gets the message once, or its sender is told once."""

from __future__ import annotations

import email
import email.policy
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailfw.interfaces import IContent, ICourier
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Notify, RecipientOptions
from mailfw.mail.outcome import Deferred, Delivered, Failed, Outcome
from mailfw.mail.reply import Reply
from mailfw.queue.bounds import Bounds
from mailfw.queue.schedule import Schedule
from mailfw.testing.dialogue import run_now
from tests.queue.fixture import ANN, House

LATER = Deferred(Reply(451, "4.3.0", "Later"))
AWAY = Deferred(Reply(451, "4.4.1", "Nobody answers"), unreachable=True)
NEVER = Failed(Reply(550, "5.1.1", "Never"))
DONE = Delivered()
PASSED = Delivered(host="mx", relayed=True)
TOLD = Delivered(host="mx", relayed=True, reports=True)

domains = st.sampled_from(["example.net", "example.com", "sub.example.com"])
lives = st.tuples(
    st.lists(st.sampled_from([LATER, AWAY, RuntimeError]), max_size=4), st.sampled_from([DONE, PASSED, TOLD, NEVER])
)
notices = st.sampled_from([None, Notify.NEVER, Notify.SUCCESS, Notify.FAILURE, Notify.FAILURE | Notify.SUCCESS])
recipients = st.lists(st.tuples(domains, lives, notices), min_size=1, max_size=8)


@implementer(ICourier)
class Fate:
    """Answers for each recipient as it was decided; one exception is everybody's in the call."""

    def __init__(self, fates: dict[Address, list[Any]]) -> None:
        self._fates = fates
        self.got: dict[Address, list[bytes]] = {}

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        octets = await content.read(0, content.size)
        fates = [self._fates.get(each, []) for each in envelope.recipients]
        if any(fate and fate[0] is RuntimeError for fate in fates):
            for fate in fates:
                if fate and fate[0] is RuntimeError:
                    del fate[0]
            raise RuntimeError("a fault")
        outcomes: list[Outcome] = [fate.pop(0) if fate else DONE for fate in fates]
        for recipient, outcome in zip(envelope.recipients, outcomes, strict=True):
            if isinstance(outcome, Delivered):
                self.got.setdefault(recipient, []).append(octets)
        return outcomes

    async def close(self) -> None:
        """Do nothing."""


class FateTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(recipients)
    def test_everybody_once(self, drawn: list[tuple[str, tuple[list[Any], Outcome], Notify | None]]) -> None:
        people = {Address(f"u{n}", domain): (life, notify) for n, (domain, life, notify) in enumerate(drawn)}
        courier = Fate({each: [*before, end] for each, ((before, end), _) in people.items()})
        with tempfile.TemporaryDirectory() as data:
            house = House(
                Path(data),
                couriers={"mailbox": courier, "relay": courier},
                schedule=Schedule(1.0, 4.0, 10_000.0, 0.0),
                bounds=Bounds(concurrency=2, concurrency_initial=1),
            )
            house.runner.startService()
            options = {each: RecipientOptions(notify) for each, (_, notify) in people.items() if notify is not None}
            self.assertEqual(run_now(self, house.send(*people, sender=ANN, options=options)), [DONE] * len(people))
            house.advance(300)
            self.assertEqual(run_now(self, house.queued()), {})
            self.successResultOf(house.runner.stopService())
        self.flushLoggedErrors(RuntimeError)
        told = self._told(courier.got.get(ANN, []))
        for address, ((_, end), notify) in people.items():
            self.assertEqual(len(courier.got.get(address, [])), int(isinstance(end, Delivered)), address)
            self.assertEqual(told.get(str(address), []), _expected(end, notify), address)

    def _told(self, reports: list[bytes]) -> dict[str, list[str]]:
        told: dict[str, list[str]] = {}
        for octets in reports:
            report: Any = email.message_from_bytes(octets, policy=email.policy.default)
            for part in next(
                each for each in report.walk() if each.get_content_subtype() == "delivery-status"
            ).get_payload()[1:]:
                told.setdefault(part["Final-Recipient"].partition("; ")[2], []).append(part["Action"])
        return told


def _expected(end: Outcome, notify: Notify | None) -> list[str]:
    wanted = Notify.DEFAULT if notify is None else notify
    if end is NEVER:
        return ["failed"] if Notify.FAILURE in wanted else []
    if Notify.SUCCESS not in wanted or end is TOLD:
        return []
    return ["relayed" if end is PASSED else "delivered"]
