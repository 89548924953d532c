from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.couriers.caller import Lessons
from mailfw.mail.address import Address
from mailfw.mail.hop import Login, TLSDemand, TLSLevel
from mailfw.mail.outcome import Outcome
from mailfw.smtp.client.transaction import Transaction
from tests.couriers.hosts import BOB, CAROL, MX, CourierCase, Host

GROUP = b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"
TEXT = b"Subject: x\r\n\r\nhello\r\n.\r\n"
YES = b"250 OK\r\n250 OK\r\n354 Go\r\n"


class PoolCase(CourierCase):
    def one(self, host: Host) -> None:
        """Take one message on a connection."""
        self.assertEqual(host.hear(), GROUP)
        host.say(YES)
        self.assertEqual(host.hear(), TEXT)
        host.say(b"250 Taken\r\n")

    def used(self) -> Host:
        """Return a connection on which one message has gone."""
        delivery = self.deliver()
        host = self.open("PIPELINING")
        self.one(host)
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        return host


class ReuseTests(PoolCase):
    def test_many_messages_on_one_connection(self) -> None:
        self.begin()
        host = self.used()
        for _ in range(5):
            delivery = self.deliver()
            self.assertFalse(self.waits())
            self.one(host)
            self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_after_a_refusal_the_transaction_is_reset(self) -> None:
        for extensions in (["PIPELINING"], []):
            self.begin()
            delivery = self.deliver()
            host = self.open(*extensions)
            host.say(b"250 OK\r\n550 5.1.1 No\r\n" + (b"503 No\r\n" if extensions else b""))
            self.assertEqual(self.codes(delivery), ["Failed 550 5.1.1"])
            host.hear()
            again = self.deliver()
            self.assertEqual(host.hear(), b"RSET\r\n" + (GROUP if extensions else b""))
            for reply in (b"250 Reset\r\n", b"250 OK\r\n", b"250 OK\r\n", b"354 Go\r\n", b"250 Taken\r\n"):
                host.say(reply)
            self.assertEqual(self.codes(again), ["Delivered 250"])

    def test_after_a_refused_message_nothing_is_reset(self) -> None:
        self.begin()
        delivery = self.deliver()
        host = self.open("PIPELINING")
        host.say(YES + b"550 5.7.1 Spam\r\n")
        self.assertEqual(self.codes(delivery), ["Failed 550 5.7.1"])
        host.hear()
        self.deliver()
        self.one(host)

    def test_a_reset_refused(self) -> None:
        self.begin()
        self.deliver()
        host = self.open("PIPELINING")
        host.say(b"250 OK\r\n550 No\r\n503 No\r\n")
        again = self.deliver()
        host.say(b"500 RSET?\r\n")
        self.assertTrue(host.transport.aborted)
        self.assertEqual(self.codes(again), ["Deferred 451 4.4.2"])

    def test_off(self) -> None:
        self.begin(connection_messages=1)
        delivery = self.deliver()
        host = self.open("PIPELINING")
        self.one(host)
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual(host.hear(), b"QUIT\r\n")
        host.say(b"221 Bye\r\n")
        self.assertTrue(host.closed)
        self.deliver()
        self.assertTrue(self.waits())

    def test_no_more_messages_than_the_host_says(self) -> None:
        """MAILMAX of RFC 9422."""
        self.begin()
        deliveries = [self.deliver()]
        host = self.open("PIPELINING", "LIMITS MAILMAX=2")
        self.one(host)
        deliveries.append(self.deliver())
        self.one(host)
        self.assertEqual(host.hear(), b"QUIT\r\n")

    def test_no_longer_than_allowed(self) -> None:
        self.begin(connection_time=100.0, idle_time=60.0)
        host = self.used()
        self.reactor.pump([1.0] * 50)
        delivery = self.deliver()
        self.reactor.pump([1.0] * 51)
        self.one(host)
        self.assertEqual(self.codes(delivery), ["Delivered 250"])
        self.assertEqual(host.hear(), b"QUIT\r\n")

    def test_an_idle_connection_is_closed_with_a_goodbye(self) -> None:
        self.begin(idle_time=10.0)
        host = self.used()
        self.reactor.pump([1.0] * 8)
        self.assertEqual(host.hear(), b"")
        self.reactor.pump([1.0] * 4)
        self.assertEqual(host.hear(), b"QUIT\r\n")
        self.assertFalse(host.closed)
        host.say(b"221 Bye\r\n")
        self.assertTrue(host.closed)
        host.leave()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_host_that_says_no_goodbye(self) -> None:
        self.begin(idle_time=10.0)
        host = self.used()
        self.reactor.pump([1.0] * 20)
        self.assertTrue(host.closed)

    def test_no_more_idle_connections_than_allowed(self) -> None:
        self.begin(idle_connections=1)
        deliveries = [self.deliver(), self.deliver()]
        first, second = self.open("PIPELINING"), self.open("PIPELINING")
        self.one(first)
        self.one(second)
        self.assertEqual([first.hear(), second.hear()], [b"", b"QUIT\r\n"])
        self.assertEqual([self.codes(each) for each in deliveries], [["Delivered 250"]] * 2)

    def test_the_last_used_goes_first(self) -> None:
        """So that the others become superfluous."""
        self.begin()
        for _ in range(2):
            self.deliver()
        first, second = self.open("PIPELINING"), self.open("PIPELINING")
        self.one(second)
        self.one(first)
        self.deliver()
        self.assertEqual((first.hear(), second.hear()), (GROUP, b""))

    def test_connections_are_not_shared_with_other_demands(self) -> None:
        """Neither with another login nor with another demand of TLS, nor another port."""
        self.begin()
        self.used()
        for hop in (
            replace(MX, login=Login("a", "b")),
            replace(MX, tls=TLSDemand(TLSLevel.MAY)),
            replace(MX, tls=TLSDemand(TLSLevel.VERIFY, names=("mx.example.net",))),
            replace(MX, port=26),
            replace(MX, address="192.0.2.9"),
            replace(MX, host="other.example.net"),
            replace(MX, protocol="lmtp"),
        ):
            self.hops.hops = [hop]
            self.deliver()
            self.assertTrue(self.waits(), hop)
            self.accept()
        self.hops.hops = [replace(MX)]
        self.deliver()
        self.assertFalse(self.waits(), "an equal one")


class BrokenReuseTests(PoolCase):
    """What breaks on a connection that was used before says nothing of the message in hand."""

    def fresh(self, delivery: Deferred[list[Outcome]]) -> None:
        self.assertNoResult(delivery)
        self.assertTrue(self.waits())
        self.one(self.open("PIPELINING"))
        self.assertEqual(self.codes(delivery), ["Delivered 250"])

    def test_lost_while_idle(self) -> None:
        self.begin()
        self.used().leave()
        self.fresh(self.deliver())

    def test_lost_before_the_end(self) -> None:
        for replies in (b"", b"250 OK\r\n", b"250 OK\r\n250 OK\r\n"):
            self.begin()
            host = self.used()
            delivery = self.deliver()
            host.say(replies)
            host.leave()
            self.fresh(delivery)

    def test_lost_behind_the_end(self) -> None:
        """The host may have the message: it is not sent again at once."""
        self.begin()
        host = self.used()
        delivery = self.deliver()
        host.say(YES)
        host.leave()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])

    def test_421_at_each_stage(self) -> None:
        for replies in (b"", b"250 OK\r\n", b"250 OK\r\n250 OK\r\n", YES):
            self.begin()
            host = self.used()
            delivery = self.deliver()
            host.say(replies + b"421 4.4.2 Enough\r\n")
            self.assertTrue(host.transport.aborted)
            self.fresh(delivery)

    def test_421_while_idle(self) -> None:
        self.begin()
        host = self.used()
        host.say(b"421 4.4.2 Timeout\r\n")
        self.assertEqual(host.hear(), b"QUIT\r\n")
        host.leave()
        self.fresh(self.deliver())

    def test_something_else_while_idle(self) -> None:
        """An answer to nothing must not be taken for one to the next message."""
        self.begin()
        host = self.used()
        host.say(b"250 OK\r\n250 OK\r\n354 Go\r\n250 OK\r\n")
        host.say(b"221 Bye\r\n")
        self.fresh(self.deliver())

    def test_not_for_ever(self) -> None:
        self.begin(host_connections=1)
        delivery = self.deliver()
        host = self.open("PIPELINING")
        host.say(b"250 OK\r\n")
        host.leave()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])
        self.assertFalse(self.waits())

    def test_a_host_that_is_gone(self) -> None:
        self.begin()
        host = self.used()
        delivery = self.deliver()
        host.leave()
        self.refuse()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.1"])


class ManyTests(PoolCase):
    def test_no_more_connections_than_allowed(self) -> None:
        self.begin(host_connections=2)
        deliveries = [self.deliver() for _ in range(5)]
        self.assertEqual(len(self.reactor.tcpClients), 2)
        first = self.open("PIPELINING")
        second = self.open("PIPELINING")
        for host in (first, second, first, second, first):
            heard = host.hear()
            self.assertIn(GROUP, heard)
            host.say(YES)
            host.say(b"250 Taken\r\n")
        self.assertEqual([self.codes(each) for each in deliveries], [["Delivered 250"]] * 5)

    def test_the_next_message_begins_behind_the_end_of_the_last(self) -> None:
        """RFC 2920 section 3.1: that is one round trip less."""
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(3)]
        host = self.open("PIPELINING")
        self.assertEqual(host.hear(), GROUP)
        host.say(YES)
        self.assertEqual(host.hear(), TEXT + GROUP)
        host.say(b"550 5.7.1 First\r\n" + YES)
        self.assertEqual(host.hear(), TEXT + GROUP)
        host.say(b"250 Second\r\n" + b"250 OK\r\n550 5.1.1 No\r\n503 No\r\n")
        self.assertEqual(host.hear(), b"")
        codes = [self.codes(each) for each in deliveries]
        self.assertEqual(codes, [["Failed 550 5.7.1"], ["Delivered 250"], ["Failed 550 5.1.1"]])

    def test_with_chunks_the_next_content_waits(self) -> None:
        self.begin(host_connections=1)
        self.deliver()
        self.deliver()
        host = self.open("PIPELINING", "CHUNKING")
        self.assertEqual(host.hear().count(b"BDAT"), 1)
        self.deliver()
        host.say(b"250 OK\r\n250 OK\r\n")
        self.assertEqual(host.hear(), b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.net>\r\n")
        host.say(b"250 First\r\n250 OK\r\n250 OK\r\n")
        heard = host.hear()
        self.assertTrue(heard.startswith(b"BDAT 21 LAST\r\nSubject: x\r\n\r\nhello\r\nMAIL FROM"), heard)

    def test_a_host_that_does_not_bear_it(self) -> None:
        """The message behind is not harmed by the connection's end, and it is not tried again so."""
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(3)]
        host = self.open("PIPELINING")
        host.say(YES)
        host.hear()
        host.leave()
        self.assertEqual(self.codes(deliveries[0]), ["Deferred 451 4.4.2"])
        second = self.open("PIPELINING")
        self.one(second)
        self.one(second)
        self.assertEqual([self.codes(each) for each in deliveries[1:]], [["Delivered 250"]] * 2)

    def test_421_between_two(self) -> None:
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(2)]
        host = self.open("PIPELINING")
        host.say(YES)
        host.say(b"250 Taken\r\n421 4.7.0 One is enough\r\n")
        self.assertEqual(self.codes(deliveries[0]), ["Delivered 250"])
        self.one(self.open("PIPELINING"))
        self.assertEqual(self.codes(deliveries[1]), ["Delivered 250"])

    def test_without_pipelining_one_after_the_other(self) -> None:
        self.begin(host_connections=1)
        deliveries = [self.deliver() for _ in range(2)]
        host = self.open()
        for _ in range(2):
            for command in (b"MAIL", b"RCPT", b"DATA", b"Subj"):
                heard = host.hear()
                self.assertTrue(heard.startswith(command), heard)
                self.assertEqual(heard.count(b"\r\n") > 1, command == b"Subj")
                host.say({b"DATA": b"354 Go\r\n"}.get(command, b"250 OK\r\n"))
        self.assertEqual([self.codes(each) for each in deliveries], [["Delivered 250"]] * 2)

    def test_a_free_connection_goes_before_a_new_one(self) -> None:
        self.begin()
        deliveries = [self.deliver()]
        host = self.open("PIPELINING")
        host.say(YES + b"250 OK\r\n")
        deliveries += [self.deliver(), self.deliver()]
        self.assertEqual(len(self.reactor.tcpClients), 2, "one is taken, for the other a new one is made")
        host.say(YES)
        self.assertTrue(host.hear().endswith(TEXT + GROUP), "and before that is there the first one goes on")

    def test_a_host_that_wants_no_more_connections(self) -> None:
        """Those who wait for one that was refused get one that was not."""
        self.begin()
        deliveries = [self.deliver(), self.deliver()]
        first = self.open("PIPELINING")
        second = self.accept()
        second.say(b"421 4.7.0 Too many connections\r\n")
        first.say(YES)
        self.assertEqual(first.hear(), GROUP + TEXT + GROUP)
        first.say(b"250 OK\r\n" + YES)
        first.say(b"250 OK\r\n")
        self.assertEqual([self.codes(each) for each in deliveries], [["Delivered 250"]] * 2)
        self.assertFalse(self.waits())

    def test_everybody_hears_of_a_host_that_cannot_be_reached(self) -> None:
        self.begin(host_connections=2)
        deliveries = [self.deliver() for _ in range(5)]
        self.refuse()
        self.assertEqual([self.codes(each) for each in deliveries], [["Deferred 451 4.4.1"]] * 5)

    def test_recipients_left_over_go_first(self) -> None:
        self.begin(host_connections=1)
        first = self.deliver(BOB, CAROL)
        second = self.deliver(sender=None)
        host = self.open("PIPELINING", "LIMITS RCPTMAX=1")
        host.say(YES)
        self.assertTrue(host.hear().endswith(TEXT + GROUP.replace(b"ann@example.org", b"")))
        host.say(b"250 OK\r\n" + YES)
        self.assertTrue(host.hear().endswith(TEXT + GROUP.replace(b"bob", b"carol")))
        host.say(b"250 OK\r\n" + YES)
        host.say(b"250 OK\r\n")
        self.assertEqual(self.codes(first), ["Delivered 250"] * 2)
        self.assertEqual(self.codes(second), ["Delivered 250"])


class FaultTests(PoolCase):
    def test_no_delivery_is_left_without_an_outcome(self) -> None:
        """Whatever fault of ours ends a connection."""
        self.begin(host_connections=1)

        def fail(transaction: Transaction, behind_another: bool = False) -> None:
            raise RuntimeError("a fault")

        self.patch(Transaction, "begin", fail)
        deliveries = [self.deliver(), self.deliver()]
        self.open("PIPELINING")
        self.assertEqual(self.codes(deliveries[0]), ["Deferred 451 4.3.0"])
        self.open("PIPELINING")
        self.assertEqual(self.codes(deliveries[1]), ["Deferred 451 4.3.0"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_lessons_are_forgotten(self) -> None:
        clock = Clock()
        lessons = Lessons(clock.seconds)
        for number in range(1001):
            lessons.learn(replace(MX, port=number))
        self.assertNotIn(replace(MX, port=0), lessons)
        self.assertIn(replace(MX, port=1000), lessons)
        clock.advance(3601)
        self.assertNotIn(replace(MX, port=1000), lessons)


class CloseTests(PoolCase):
    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.courier.close())

    def test_idle(self) -> None:
        self.begin()
        host = self.used()
        closed = self.close()
        self.assertEqual(host.hear(), b"QUIT\r\n")
        self.assertNoResult(closed)
        host.say(b"221 Bye\r\n")
        self.successResultOf(closed)
        host.leave()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_nothing(self) -> None:
        self.begin()
        self.successResultOf(self.close())
        self.successResultOf(self.close())
        self.assertEqual(self.codes(self.deliver()), ["Deferred 451 4.3.2"])

    def test_under_way(self) -> None:
        """What is under way goes to its end, what waits is deferred."""
        self.begin(host_connections=1)
        deliveries = [self.deliver(), self.deliver()]
        host = self.open("PIPELINING")
        closed = self.close()
        self.assertEqual(self.codes(deliveries[1]), ["Deferred 451 4.3.2"])
        self.one(host)
        self.assertEqual(self.codes(deliveries[0]), ["Delivered 250"])
        host.say(b"221 Bye\r\n")
        self.successResultOf(closed)

    def test_a_host_that_takes_its_time(self) -> None:
        self.begin()
        delivery = self.deliver()
        host = self.open("PIPELINING")
        closed = self.close()
        self.reactor.pump([1.0] * 25)
        self.assertTrue(host.transport.aborted)
        host.leave()
        self.successResultOf(closed)
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.4.2"])

    def test_while_connecting(self) -> None:
        self.begin()
        delivery = self.deliver()
        closed = self.close()
        self.assertEqual(self.codes(delivery), ["Deferred 451 4.3.2"])
        host = self.open("PIPELINING")
        self.assertEqual(host.hear(), b"QUIT\r\n")
        host.leave()
        self.successResultOf(closed)


class SplitTests(SynchronousTestCase):
    """However the network splits and delays what a host says, the courier says the same."""

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(1, 12), min_size=1, max_size=60))
    def test_any_split(self, sizes: list[int]) -> None:
        case = PoolCase()
        case.begin(host_connections=1)
        deliveries = [case.deliver(BOB, CAROL), case.deliver(Address("x", "example.net"))]
        host = case.accept()
        said = b"220-hello\r\n220 mx\r\n250-mx\r\n250-SIZE 99\r\n250 PIPELINING\r\n250 OK\r\n550 5.1.1 No\r\n250 OK\r\n"
        said += b"354 Go\r\n250 First\r\n250 OK\r\n250 OK\r\n354 Go\r\n451-4.2.0 Try\r\n451 4.2.0 again\r\n"
        at = 0
        for number in range(1000):
            size = sizes[number % len(sizes)]
            host.say(said[at : at + size])
            at += size
            if at >= len(said):
                break
        self.assertEqual(case.codes(deliveries[0]), ["Failed 550 5.1.1", "Delivered 250"])
        self.assertEqual(case.codes(deliveries[1]), ["Deferred 451 4.2.0"])
        second = GROUP.replace(b">\r\nRCPT TO:<bob", b"> SIZE=21\r\nRCPT TO:<x")
        first = GROUP.replace(b">\r\nRCPT TO:<bob", b"> SIZE=21\r\nRCPT TO:<bob").replace(
            b"DATA", b"RCPT TO:<carol@example.net>\r\nDATA"
        )
        self.assertEqual(host.hear(), b"EHLO mail.example.org\r\n" + first + TEXT + second + TEXT)
        case.leave([host])
