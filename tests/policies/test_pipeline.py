from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailfw.interfaces import IContent, IDeliveryPolicy
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.verdict import Accept, Defer, Discard, Hold, Modify, Quarantine, Refuse, Verdict
from mailfw.patience import Overdue
from mailfw.policies.pipeline import FailureAction, Link, Pipeline
from mailfw.testing.contents import MemoryContent
from mailfw.testing.dialogue import run_now
from mailfw.testing.policy import PolicyContract

ANN = Address("ann", "example.org")
CLIENT = Client(Service.SMTP, "192.0.2.7")
ENVELOPE = Envelope("1a", None, (ANN,))


@implementer(IDeliveryPolicy)
class Scripted:
    """Answers every question by calling `answer`, and waits where that is a Deferred."""

    def __init__(self, answer: Callable[[], Any] = lambda: None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def _do(self, stage: str) -> Verdict | None:
        self.asked.append(stage)
        answer = self.answer()
        while isinstance(answer, Deferred):
            answer = await answer
        return cast("Verdict | None", answer)

    async def on_connect(self, client: Client) -> Verdict | None:
        return await self._do("connect")

    async def on_helo(self, client: Client) -> Verdict | None:
        return await self._do("helo")

    async def on_sender(self, client: Client, sender: Address | None) -> Verdict | None:
        return await self._do("sender")

    async def on_recipient(self, client: Client, sender: Address | None, recipient: Address) -> Verdict | None:
        return await self._do("recipient")

    async def on_message(self, client: Client, envelope: Envelope, content: IContent) -> Verdict | None:
        return await self._do("message")


def saying(verdict: object) -> Scripted:
    return Scripted(lambda: verdict)


def failing() -> None:
    raise ValueError("a fault of the policy")


class PipelineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def pipeline(self, *policies: Scripted, on_failure: FailureAction = "defer") -> Pipeline:
        links = [Link(f"p{n}", policy, 10.0, on_failure) for n, policy in enumerate(policies)]
        return Pipeline(links, self.clock)

    def ask(self, *policies: Scripted, on_failure: FailureAction = "defer") -> Verdict | None:
        asked = self.pipeline(*policies, on_failure=on_failure).on_message(CLIENT, ENVELOPE, MemoryContent())
        return cast("Verdict | None", run_now(self, asked))

    def test_the_first_verdict_wins(self) -> None:
        for verdict in (Refuse("no"), Defer("later"), Quarantine("odd"), Discard("spam"), Accept()):
            after = saying(Refuse("not asked"))
            self.assertEqual(self.ask(saying(None), saying(verdict), after), verdict)
            self.assertEqual(after.asked, [])

    def test_no_opinion(self) -> None:
        self.assertIsNone(self.ask())
        self.assertIsNone(self.ask(saying(None), saying(None)))

    def test_every_stage_is_asked(self) -> None:
        policy = saying(None)
        pipeline = self.pipeline(policy)
        run_now(self, pipeline.on_connect(CLIENT))
        run_now(self, pipeline.on_helo(CLIENT))
        run_now(self, pipeline.on_sender(CLIENT, None))
        run_now(self, pipeline.on_recipient(CLIENT, None, ANN))
        run_now(self, pipeline.on_message(CLIENT, ENVELOPE, MemoryContent()))
        self.assertEqual(policy.asked, ["connect", "helo", "sender", "recipient", "message"])

    def test_fields_are_gathered(self) -> None:
        one, two = saying(Modify((("X-One", "1"),))), saying(Modify((("X-Two", "2"), ("X-Three", "3"))))
        all_fields = (("X-One", "1"), ("X-Two", "2"), ("X-Three", "3"))
        self.assertEqual(self.ask(one, saying(None), two), Modify(all_fields))
        self.assertEqual(self.ask(one, two, saying(Accept()), saying(Refuse("no"))), Modify(all_fields))
        self.assertEqual(
            self.ask(one, saying(Quarantine("odd", (("X-Q", "q"),)))), Quarantine("odd", (("X-One", "1"), ("X-Q", "q")))
        )
        self.assertEqual(self.ask(one, saying(Refuse("no"))), Refuse("no"))

    def test_a_fault_is_the_declared_action_and_one_failure(self) -> None:
        for action, kind in (("defer", Defer), ("refuse", Refuse)):
            after = saying(Discard("not asked"))
            verdict = self.ask(Scripted(failing), after, on_failure=cast("FailureAction", action))
            self.assertIsInstance(verdict, kind)
            self.assertEqual(after.asked, [])
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.ask(Scripted(failing), saying(Discard("asked")), on_failure="accept"), Discard("asked"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_is_no_verdict_is_a_fault(self) -> None:
        for answer in (True, "refuse", 550, object()):
            self.assertIsInstance(self.ask(saying(answer)), Defer)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        for early in (Modify((("X", "y"),)), Hold("look at it")):
            asked = self.pipeline(saying(early)).on_sender(CLIENT, None)
            self.assertIsInstance(run_now(self, asked), Defer)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_field_that_would_be_two_is_a_fault(self) -> None:
        for fields in ((("X", "a\r\nBcc: b"),), (("X Y", "a"),), (("X", "a\0"),)):
            self.assertIsInstance(self.ask(saying(Modify(fields))), Defer)
            self.assertIsInstance(self.ask(saying(Quarantine("odd", fields))), Defer)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)

    def test_a_policy_that_waits(self) -> None:
        first: Deferred[Any] = Deferred()
        second: Deferred[Any] = Deferred()
        policy = Scripted(lambda: first)
        asked = Deferred.fromCoroutine(self.pipeline(policy, saying(Refuse("no"))).on_sender(CLIENT, None))
        self.assertNoResult(asked)
        first.callback(second)
        self.assertNoResult(asked)
        second.callback(None)
        self.assertEqual(self.successResultOf(asked), Refuse("no"))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_policy_that_waits_and_fails(self) -> None:
        waiting: Deferred[Any] = Deferred()
        asked = Deferred.fromCoroutine(self.pipeline(Scripted(lambda: waiting)).on_sender(CLIENT, None))
        waiting.errback(ValueError("too bad"))
        self.assertIsInstance(self.successResultOf(asked), Defer)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_policy_that_takes_too_long(self) -> None:
        cancelled: list[object] = []
        policy = Scripted(lambda: Deferred(cancelled.append))
        asked = Deferred.fromCoroutine(self.pipeline(policy).on_sender(CLIENT, None))
        self.clock.advance(9.9)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.assertIsInstance(self.successResultOf(asked), Defer)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(len(self.flushLoggedErrors(Overdue)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_policy_that_ignores_being_cancelled(self) -> None:
        late: Deferred[Any] = Deferred()

        class Stubborn(Scripted):
            async def _do(self, stage: str) -> Verdict | None:
                try:
                    await Deferred()
                except BaseException:
                    await late
                return Refuse("too late")

        asked = Deferred.fromCoroutine(self.pipeline(Stubborn(), on_failure="accept").on_sender(CLIENT, None))
        self.clock.advance(11)
        self.assertIsNone(self.successResultOf(asked))
        late.callback(None)
        self.assertEqual(len(self.flushLoggedErrors(Overdue)), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_method_that_is_no_coroutine(self) -> None:
        policy: Any = saying(None)
        policy.on_sender = lambda client, sender: Refuse("not awaited")
        asked = self.pipeline(policy).on_sender(CLIENT, None)
        self.assertIsInstance(run_now(self, asked), Defer)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class PipelineContractTests(PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        return Pipeline([Link("modify", saying(None))], Clock())
