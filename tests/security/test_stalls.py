"""Thousands who wait for the same thing, and plug-ins that never answer: nothing stalls, and nobody else waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred as Later
from twisted.internet.defer import TimeoutError as LoginTimeout
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from mailfw.couriers import line as line_module
from mailfw.couriers.mailbox import MailboxCourier
from mailfw.disk import Disk
from mailfw.dns.resolver import StubResolver
from mailfw.interfaces import IContent, ICourier, IDirectory, IRouter
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.lookup import Answer, Finding
from mailfw.mail.outcome import Delivered, Outcome
from mailfw.mail.resolution import NotLocal, Resolution
from mailfw.mail.route import Route, Unroutable
from mailfw.patience import Overdue, within
from mailfw.queue.attempt import Couriers
from mailfw.queue.bounds import Bounds
from mailfw.service.prompt import PromptDirectory, Prompter, PromptRouter
from mailfw.site import Site
from mailfw.spools.contents import Octets
from mailfw.spools.log import LogSpool
from mailfw.spools.memory import MemorySpool
from mailfw.stores.index.visits import Visits
from mailfw.stores.maildir import maildir
from mailfw.testing.dialogue import Dialogue, run_now
from mailfw.testing.disk import FaultyDisk
from mailfw.testing.spool import NOW, queued
from tests.couriers.hosts import Host
from tests.couriers.test_pool import GROUP, TEXT, YES, PoolCase
from tests.queue.fixture import ANN, BOB, CAROL, House, PretendRouter
from tests.queue.test_runner import RunnerCase
from tests.smtp.house import House as SMTPHouse

MANY = 5000


class ManyForOneAccountTests(TestCase):
    """The real spool and the real store, an account that was never opened, and all at once."""

    timeout = 120

    async def test_all_arrive(self) -> None:
        from twisted.internet import reactor

        data = Path(self.mktemp()).absolute()  # noqa: ASYNC240  # nothing is read
        spool = LogSpool(directory=data / "spool", disk=Disk(reactor), clock=reactor)
        house = House(data, reactor=reactor, spool=spool)
        store: Any = maildir(site=house.site)
        courier = MailboxCourier(site=house.site, directory=house.directory, store=store, open_draft=spool.open_draft)
        house.runner.couriers = Couriers({"mailbox": courier})
        await spool.open()
        house.runner.startService()
        try:
            sending = [Later.fromCoroutine(house.send(ANN, name=f"{n:05}")) for n in range(MANY)]
            outcomes = await gatherResults(sending)
            self.assertEqual([each for each in outcomes if each != [Delivered()]], [])
            until = time.monotonic() + 90
            while await spool.count() and time.monotonic() < until:
                await deferLater(reactor, 0.1)
            self.assertEqual(await spool.count(), 0)
            [inbox, *_] = await store.mailboxes("ann@example.org")
            self.assertEqual(len((await store.snapshot("ann@example.org", inbox.id, 0)).uids), MANY)
        finally:
            await house.runner.stopService()
            await store.close()
            await spool.close()


class ManyForOneDestinationTests(RunnerCase):
    def test_a_courier_that_answers_at_once(self) -> None:
        """They begin in several turns of the reactor, so that others have theirs."""
        for n in range(MANY):
            run_now(self, self.house.send(BOB, name=f"{n:05}"))
        pump, begun = self.house.runner._pump, []

        def counted() -> None:
            before = len(self.courier.calls)
            pump()
            begun.append(len(self.courier.calls) - before)

        self.patch(self.house.runner._pumping, "_act", counted)
        self.advance(2, 0.1)
        self.assertEqual(len(self.courier.messages(BOB)), MANY)
        self.assertEqual(self.queued(), {})
        self.assertLessEqual(max(begun), 500)

    def test_few_places_in_memory(self) -> None:
        house = self.house = self.open(bounds=Bounds(active=50))
        answers = [Later.fromCoroutine(house.send(CAROL, sender=ANN, name=f"{n:05}")) for n in range(MANY)]
        self.assertLessEqual(house.runner.statistics().active, 51)
        self.advance(1)
        self.assertEqual([each for each in answers if not each.called], [])
        for _ in range(MANY):
            if not self.queued():
                break
            house.reactor.advance(1.0)
            self.assertLessEqual(house.runner.statistics().active, 51)
        self.assertEqual(len(self.courier.messages(CAROL)), MANY)


class ManyForTheSpoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        root = Path(self.mktemp()).absolute()
        self.disk = FaultyDisk(root / "attic")
        self.spool = LogSpool(directory=root / "spool", disk=self.disk, clock=None)
        run_now(self, self.spool.open())

    def all_of(self, do: Callable[[str], Any]) -> list[Any]:
        """Ask for something of each message while the disk is busy."""
        self.disk.hold()
        results: list[Any] = []
        for n in range(MANY):
            ensureDeferred(do(f"{n:05}")).addBoth(results.append)
        self.disk.let_go()
        self.assertEqual(len(results), MANY)
        return results

    def test_at_the_same_time(self) -> None:
        self.assertEqual(set(self.all_of(lambda name: self.spool.put(queued(name), Octets(b"x")))), {None})
        self.assertEqual(set(self.all_of(lambda name: self.spool.record(queued(name)))), {None})
        self.assertEqual(set(self.all_of(lambda name: self.spool.give_back(queued(name, ("d", NOW))))), {None})
        self.assertEqual(run_now(self, self.spool.count()), MANY)
        self.assertEqual(set(self.all_of(lambda name: self.spool.remove(name))), {None})
        self.assertEqual(run_now(self, self.spool.count()), 0)

    def test_the_same_message(self) -> None:
        self.all_of(lambda name: self.spool.put(queued("one"), Octets(b"x")))
        self.assertEqual(run_now(self, self.spool.count()), 1)

    def test_a_disk_that_fails_them_all(self) -> None:
        self.patch(self.disk, "write", self.refuse)
        results = self.all_of(lambda name: self.spool.put(queued(name), Octets(b"x")))
        self.assertEqual([each for each in results if not each.check(NoSpace)], [])

    def refuse(self, descriptor: int, octets: bytes) -> None:
        raise NoSpace("full")


class ManyForOneConnectionTests(PoolCase):
    def test_all_go(self) -> None:
        self.begin(host_connections=1, connection_messages=2 * MANY, idle_time=1e6)
        deliveries = [self.deliver() for _ in range(MANY)]
        host = self.open("PIPELINING")
        while not deliveries[-1].called:
            self.take(host)
        self.assertEqual({tuple(self.codes(each)) for each in deliveries}, {("Delivered 250",)})
        self.assertEqual(self.dialled, 1)

    def take(self, host: Host) -> None:
        """Answer what was said last, as a host does that takes everything."""
        heard = host.hear()
        self.assertIn(heard, (GROUP, TEXT, TEXT + GROUP))
        host.say({GROUP: YES, TEXT: b"250 Taken\r\n"}.get(heard, b"250 Taken\r\n" + YES))

    def test_nobody_answers(self) -> None:
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(MANY)]
        self.refuse()
        self.assertEqual({tuple(self.codes(each)) for each in deliveries}, {("Deferred 451 4.4.1",)})
        self.assertFalse(self.waits())

    def test_a_host_that_leaves_again_and_again(self) -> None:
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(300)]
        while self.waits():
            self.open("PIPELINING").leave()
        self.assertEqual([each for each in deliveries if not each.called], [])

    def test_a_message_that_cannot_be_let_go(self) -> None:
        """What a conversion keeps on a disk may break; those behind it are still brought."""
        self.begin(host_connections=1)
        real: Any = vars(line_module)["fit"]
        faults = [OSError("a disk")]

        async def fit(*args: Any) -> Any:
            parcel = await real(*args)
            return Unclosable(parcel, faults.pop()) if faults else parcel

        self.patch(line_module, "fit", fit)
        first, second = self.deliver(), self.deliver()
        host = self.open()
        for reply in (b"250 OK\r\n", b"250 OK\r\n", b"354 Go\r\n", b"250 Taken\r\n"):
            host.say(reply)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertTrue(first.called)
        host.leave()
        self.one(self.open("PIPELINING"))
        self.assertEqual(self.codes(second), ["Delivered 250"])


class Unclosable:
    """A parcel that cannot be closed."""

    def __init__(self, parcel: Any, fault: Exception) -> None:
        self._parcel = parcel
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parcel, name)

    async def close(self) -> None:
        raise self._fault


@implementer(IRouter, IDirectory, ICourier)
class Oracle:
    """Whatever it is asked, it does what it is told."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer
        self.asked = 0

    async def _do(self) -> Any:
        self.asked += 1
        answer = self.answer()
        return await answer if isinstance(answer, Later) else answer

    async def route(self, sender: Address | None, recipient: Address) -> Route | Unroutable:
        answer: Route = await self._do()
        return answer

    async def resolve(self, address: Address) -> Resolution:
        answer: Resolution = await self._do()
        return answer

    async def deliver(self, destination: str, envelope: Envelope, content: IContent, junk: bool) -> list[Outcome]:
        answer: list[Outcome] = await self._do()
        return answer

    async def close(self) -> None:
        """Do nothing."""


class PromptTests(RunnerCase):
    """A directory or router that does not answer, or not sensibly, is a fault for one message at a time."""

    def install(self, oracle: Oracle) -> None:
        prompter = Prompter(self.house.reactor, 60.0)
        planner = self.house.runner._planner
        self.patch(planner, "_router", PromptRouter(oracle, prompter))

    def test_a_router_that_never_answers_holds_nobody_for_ever(self) -> None:
        for n in range(3):
            self.courier.outcomes = {CAROL: RuntimeError("not yet")}
            self.send(CAROL, sender=ANN, name=f"{n}")
        self.flushLoggedErrors(RuntimeError)
        self.courier.outcomes = {}
        self.install(Oracle(Later))
        self.advance(70)
        self.assertEqual(self.house.runner.statistics().active, 3)
        self.advance(60 * 8)
        self.assertGreaterEqual(len(self.flushLoggedErrors(Overdue)), 3)
        self.assertEqual({leg.attempts > 1 for one in self.queued().values() for leg in one.legs}, {True})
        self.patch(self.house.runner._planner, "_router", PretendRouter())
        self.advance(60 * 60)
        self.flushLoggedErrors(Overdue)
        self.assertEqual(len(self.courier.messages(CAROL)), 3)
        self.assertEqual(self.queued(), {})

    def test_nonsense_of_a_router(self) -> None:
        for nonsense in (None, "relay", Route, 250):
            self.install(Oracle(lambda nonsense=nonsense: nonsense))  # type: ignore[misc]  # bound now
            self.assertEqual(self.send(CAROL, sender=ANN), [Delivered()])
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
            self.assertEqual(self.courier.calls, [])
            self.patch(self.house.runner._planner, "_router", PretendRouter())
            self.advance(70)
            self.assertEqual(len(self.courier.got.pop(CAROL)), 1)
            self.courier.calls.clear()

    def test_a_planner_that_breaks_forgets_nobody(self) -> None:
        self.courier.outcomes = {CAROL: RuntimeError("not yet")}
        for n in range(3):
            self.send(CAROL, sender=ANN, name=f"{n}")
        self.flushLoggedErrors(RuntimeError)
        self.courier.outcomes = {}
        real = self.house.runner._planner.plan_again

        async def broken(one: Any, *args: Any) -> Any:
            if one.id == "1":
                raise ZeroDivisionError
            return await real(one, *args)

        self.patch(self.house.runner._planner, "plan_again", broken)
        self.advance(70)
        self.assertEqual(len(self.courier.messages(CAROL)), 2)
        self.assertEqual(list(self.queued()), ["1"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(self.house.runner._planner, "plan_again", real)
        self.advance(70)
        self.assertEqual(len(self.courier.messages(CAROL)), 3)

    def test_a_directory(self) -> None:
        """No answer, or nonsense, is a fault: it must not be taken for somebody who is here."""
        prompter = Prompter(self.house.reactor, 60.0)
        for nonsense in (None, True, "ann@example.org"):
            asking = PromptDirectory(Oracle(lambda nonsense=nonsense: nonsense), prompter).resolve(ANN)  # type: ignore[misc]
            self.failureResultOf(ensureDeferred(asking), TypeError)
        asked = ensureDeferred(PromptDirectory(Oracle(Later), prompter).resolve(ANN))
        self.advance(61)
        self.failureResultOf(asked, Overdue)
        known = PromptDirectory(Oracle(NotLocal), prompter).resolve(CAROL)
        self.assertEqual(run_now(self, known), NotLocal())

    def test_who_gives_up_waiting_leaves_no_timer(self) -> None:
        for stubborn in (False, True):
            asked = ensureDeferred(within(self.house.reactor, 60.0, self.wait(stubborn)))
            asked.cancel()
            self.failureResultOf(asked)
            self.advance(61)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def wait(self, stubborn: bool) -> None:
        try:
            await Later()
        except Exception:
            if not stubborn:
                raise
            await Later()


class CourierTests(RunnerCase):
    def test_one_that_never_answers_loses_its_place(self) -> None:
        never = Oracle(Later)
        couriers = {"mailbox": self.courier, "relay": never}
        self.house = self.open(couriers=couriers, bounds=Bounds(deliveries=5, delivery_timeout=600.0))
        for n in range(20):
            self.send(Address("u", f"d{n}.example"), sender=ANN, name=f"{n}")
        self.send(BOB)
        self.assertEqual(never.asked, 5)
        self.assertEqual(len(self.courier.messages(BOB)), 1)
        self.advance(601)
        self.assertEqual(never.asked, 10)
        self.assertEqual(len(self.flushLoggedErrors()), 5)
        self.assertEqual([one.legs[0].attempts for one in self.queued().values()].count(1), 5)
        never.answer = lambda: [Delivered()]
        self.advance(3600)
        self.flushLoggedErrors()
        self.assertEqual(self.queued(), {})

    def test_a_slow_disk_behind_it_is_no_fault_of_its(self) -> None:
        """The time is the courier's: what is written down afterwards is not interrupted."""

        class Slow(MemorySpool):
            async def remove(self, name: str) -> None:
                await removing
                await super().remove(name)

        removing: Later[None] = Later()
        self.house = self.open(spool=Slow(), bounds=Bounds(delivery_timeout=600.0))
        self.send(BOB)
        self.advance(1300)
        self.assertEqual(list(self.queued()), ["1a2b"])
        removing.callback(None)
        self.assertEqual(self.queued(), {})
        self.assertEqual(len(self.courier.messages(BOB)), 1)


class LoginTests(SynchronousTestCase):
    def test_a_checker_that_never_answers(self) -> None:
        place = SMTPHouse(Service.SUBMISSION, allow_plaintext_auth=True)
        place.portal.waits = Later()
        dialogue = Dialogue(place.factory())
        dialogue.say(b"EHLO a\r\nAUTH PLAIN AGFubgB4\r\n")
        dialogue.hear()
        place.clock.advance(61)
        self.assertEqual(dialogue.hear().splitlines()[-1][:3], b"454")
        self.assertEqual(len(self.flushLoggedErrors(LoginTimeout)), 1)
        dialogue.say(b"QUIT\r\n")
        self.assertTrue(dialogue.closed)


class VisitTests(SynchronousTestCase):
    def test_a_deposit_that_cannot_begin_holds_nobody_up(self) -> None:
        class Threads:
            def apart(self) -> Threads:
                return self

            def soon(self, act: Callable[[], None]) -> None:
                self.act = act

            def run(self, *args: Any) -> Later[None]:
                done: Later[None] = Later()
                done.callback(None)
                return done

        class Nothing:
            messages = ()

        threads = Threads()
        visits: Any = Visits(None, None, threads)  # type: ignore[arg-type]  # what is not used here
        broken, whole = visits.make(lambda: 1 // 0), visits.make(Nothing)
        threads.act()
        self.failureResultOf(broken, ZeroDivisionError)
        self.assertIsInstance(self.successResultOf(whole), Nothing)
        later = visits.make(Nothing)
        threads.act()
        self.assertIsInstance(self.successResultOf(later), Nothing)


class ResolverTests(SynchronousTestCase):
    """This case is the machine that the resolver knows."""

    hosts: Mapping[str, Sequence[str]] = {}

    def setUp(self) -> None:
        self.clock = Clock()
        self.resolver = StubResolver(site=Site("mx.example.org", frozenset(), Path("var"), self.clock))
        self.patch(self.resolver, "machine", self)
        self.patch(self.resolver, "_follow", self.ask)
        self.asked: list[Later[Answer[Any]]] = []

    async def servers(self) -> list[Any]:
        return []

    async def ask(self, question: Any, servers: Any) -> Answer[Any]:
        self.asked.append(Later())
        return await self.asked[-1]

    def look_up(self, *names: str) -> list[Later[Answer[Any]]]:
        return [ensureDeferred(self.resolver.look_up(name, "MX")) for name in names]

    def test_many_who_ask_the_same(self) -> None:
        asking = self.look_up(*["example.net"] * MANY)
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(Answer(Finding.NO_DATA))
        self.assertEqual({self.successResultOf(each).finding for each in asking}, {Finding.NO_DATA})

    def test_many_questions(self) -> None:
        asking = self.look_up(*[f"d{n}.example" for n in range(MANY)])
        self.assertEqual(len(self.asked), 200)
        for number in range(MANY):
            self.asked[number].callback(Answer(Finding.FAILED))
        self.assertEqual({self.successResultOf(each).finding for each in asking}, {Finding.FAILED})
