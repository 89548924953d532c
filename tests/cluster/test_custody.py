"""What a worker leaves with the keeper and asks of it, through the wire: the contracts are those of one process."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from mailfw.cluster.channel import Asking
from mailfw.cluster.custody import RemoteCustody, RemoteLocks, RemotePolicy
from mailfw.cluster.keeper import Counting, Keeper, WorkerDesk
from mailfw.cluster.procedures import ConnectionToKeeperLost, RemoteFault
from mailfw.interfaces import IDeliveryPolicy, IIntake
from mailfw.mail.address import Address
from mailfw.mail.envelope import Client, Envelope, Service
from mailfw.mail.failure import NoSpace
from mailfw.mail.outcome import Delivered
from mailfw.mail.queued import Leg, Pending, Queued
from mailfw.mail.route import Route
from mailfw.mail.verdict import Defer
from mailfw.patience import Overdue
from mailfw.policies.greylist import Greylist
from mailfw.policies.pipeline import Pipeline
from mailfw.queue.custody import SpoolCustody
from mailfw.queue.intake import Intake
from mailfw.queue.planning import Planner
from mailfw.site import Site
from mailfw.stores.kept import KeptContent
from mailfw.stores.memory import MemoryStore
from mailfw.testing.intake import IntakeContract
from mailfw.testing.policy import PolicyContract
from tests.cluster.keeping import adopt
from tests.queue.fixture import ANN, CLIENT, House


class Halls:
    """A keeper, and workers with connections to it; mix it into a `TestCase`."""

    def found(self, folder: Path) -> House:
        from twisted.internet import reactor

        house = House(folder, reactor=reactor)
        self.keeper = Keeper(
            store=MemoryStore(),
            custody=SpoolCustody(spool=house.spool, runner=house.runner, history=house.history, clock=reactor),
            etrn=self.etrn,
            policies={},
            reactor=reactor,
        )
        return house

    async def etrn(self, domain: str) -> bool:
        return domain == "example.net"

    def worker(self) -> Asking:
        from twisted.internet import reactor

        ours, theirs = socket.socketpair()
        channel = self.keeper.serve(ours.fileno(), {})
        asking: Asking = adopt(reactor, theirs.fileno(), Asking(WorkerDesk, {"low": lambda *said: None}))
        ours.close()
        theirs.close()
        case: Any = self
        case.addCleanup(self.end, asking, channel)
        return asking

    def end(self, *channels: Any) -> Any:
        from twisted.internet import reactor

        for each in channels:
            each.transport.loseConnection()
        return deferLater(reactor, 0.02)

    def die(self, asking: Asking) -> Any:
        return self.end(asking)


class IntakeThroughTheWire(Halls, IntakeContract, TestCase):
    def make_intake(self) -> IIntake:
        house = self.found(Path(self.mktemp()))
        planner = Planner(site=house.site, directory=house.known, router=house.router, rewriting=house.rewriting)
        intake: IIntake = Intake(
            site=house.site,
            planner=planner,
            policies=Pipeline([], house.reactor),
            custody=RemoteCustody(self.worker()),
            clock=house.runner.seconds,
            pause=60.0,
        )
        return intake


class PolicyThroughTheWire(Halls, PolicyContract, TestCase):
    def make_policy(self) -> IDeliveryPolicy:
        self.found(Path(self.mktemp()))
        self.keeper.policies["greylist"] = Counting(Greylist(site=site(Path(self.mktemp()), Clock())))
        policy: IDeliveryPolicy = RemotePolicy(self.worker(), "greylist", frozenset({"on_recipient"}))
        return policy


def site(data: Path, clock: Clock) -> Site:
    """Return the facts for a policy."""
    return Site("mx.example.org", frozenset({"example.org"}), data, clock)


def queued(name: str, size: int) -> Queued:
    """Return what the queue keeps of a message to ann."""
    leg = Leg(Route("mailbox"), (Pending(ANN, ANN),), 0.0)
    return Queued(Envelope(name, None, (ANN,)), 0.0, (leg,), size=size)


class CustodyTests(Halls, TestCase):
    async def test_what_many_workers_leave_at_once_is_all_there(self) -> None:
        house = self.found(Path(self.mktemp()))
        workers = [RemoteCustody(self.worker()) for _ in range(3)]
        taking = []
        for number in range(60):
            octets = b"%d " % number * (10 if number % 5 else 60_000)
            message = queued(f"m{number}", len(octets)), KeptContent(octets)
            taking.append(Deferred.fromCoroutine(workers[number % 3].take([message])))
        await gatherResults(taking)
        found = await house.queued()
        self.assertEqual(sorted(found), sorted(f"m{number}" for number in range(60)))
        for number in range(60):
            content = await house.spool.content(f"m{number}")
            self.assertEqual((await content.read(0, content.size))[:3].split()[0], b"%d" % number)
            await content.close()
        for each in workers:
            await each.etrn("")  # what each said before has been heard by then
        self.assertEqual(self.held(), 0)

    def held(self) -> int:
        desks: Any = self.keeper.register._members
        return sum(len(desk.holdings) for desk in desks)

    async def test_a_full_disk_is_the_clients_to_know(self) -> None:
        house = self.found(Path(self.mktemp()))

        async def put(message: Queued, content: object) -> None:
            raise NoSpace("full")

        house.spool.put = put
        custody: Any = RemoteCustody(self.worker())
        with self.assertRaises(NoSpace):
            await custody.take([(queued("m", 3), KeptContent(b"abc"))])

    async def test_a_worker_that_dies_leaves_no_draft(self) -> None:
        self.found(Path(self.mktemp()))
        asking = self.worker()
        draft = await RemoteCustody(asking).open_draft(10_000_000)
        await draft.write(b"x" * 500_000)
        self.assertEqual(self.held(), 1)
        await self.die(asking)
        self.assertEqual(len(self.keeper.register._members), 0)
        with self.assertRaises(ConnectionToKeeperLost):
            await draft.read(0, 1)

    async def test_delivering_now(self) -> None:
        house = self.found(Path(self.mktemp()))
        custody: Any = RemoteCustody(self.worker())
        pendings = (Pending(ANN, ANN),)
        outcomes = await custody.deliver(
            Route("mailbox"), Envelope("m", None, (ANN,)), pendings, KeptContent(b"abc"), False
        )
        self.assertEqual(outcomes, {ANN: Delivered()})
        self.assertEqual(house.courier.messages(ANN), [b"abc"])

    async def test_etrn(self) -> None:
        self.found(Path(self.mktemp()))
        custody = RemoteCustody(self.worker())
        self.assertEqual([await custody.etrn(each) for each in ("example.net", "example.com")], [True, False])


class LockTests(Halls, TestCase):
    async def test_one_holder_whichever_worker(self) -> None:
        self.found(Path(self.mktemp()))
        first, second = (RemoteLocks(self.worker()) for _ in range(2))
        self.assertEqual([await each.take("ann") for each in (first, second, first)], [True, False, False])
        self.assertTrue(await second.take("bob"))
        second.release("ann")  # which it does not have
        self.assertFalse(await second.take("ann"))
        first.release("ann")
        self.assertFalse(await first.take("bob"))  # by now the keeper has heard it
        self.assertTrue(await second.take("ann"))

    async def test_a_worker_that_dies_lets_go(self) -> None:
        self.found(Path(self.mktemp()))
        dying = self.worker()
        self.assertTrue(await RemoteLocks(dying).take("ann"))
        await self.die(dying)
        self.assertTrue(await RemoteLocks(self.worker()).take("ann"))


class RemotePolicyTests(Halls, TestCase):
    async def test_what_one_worker_asked_another_knows(self) -> None:
        self.found(Path(self.mktemp()))
        clock = Clock()
        self.keeper.policies["greylist"] = Counting(Greylist(site=site(Path(self.mktemp()), clock), delay=5.0))
        first, second = (RemotePolicy(self.worker(), "greylist", frozenset({"on_recipient"})) for _ in range(2))
        client, sender = Client(Service.SMTP, "192.0.2.7"), Address("x", "example.net")
        self.assertIsInstance(await first.on_recipient(client, sender, ANN), Defer)
        clock.advance(5)
        self.assertIsNone(await second.on_recipient(client, sender, ANN))
        self.assertIsNone(await second.on_sender(client, sender))
        self.assertIsNone(await second.on_connect(CLIENT))

    async def test_one_that_never_answers_is_not_waited_for(self) -> None:
        self.found(Path(self.mktemp()))

        class Silent:
            async def on_connect(self, client: Client) -> None:
                await Deferred()

        silent: Any = Silent()
        self.keeper.policies["silent"] = Counting(silent, 0.01)
        with self.assertRaises(RemoteFault):
            await RemotePolicy(self.worker(), "silent", frozenset({"on_connect"})).on_connect(CLIENT)
        self.assertEqual(len(self.flushLoggedErrors(Overdue)), 1)
