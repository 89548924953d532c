"""
The contract of `ISpool`, for your own spool in a few lines.

::

    class AcmeSpoolTests(DurableSpoolContract, TestCase):  # twisted.trial.unittest.TestCase
        def make_spool(self):
            self.folder = self.mktemp()
            return AcmeSpool(self.folder)

        async def reopen_spool(self, spool):
            await spool.close()
            return AcmeSpool(self.folder)
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from mailfw.interfaces import IContent, IDraft, ISpool
from mailfw.mail.address import Address
from mailfw.mail.content import Prefixed
from mailfw.mail.envelope import DeliverBy, Envelope, Notify, RecipientOptions
from mailfw.mail.queued import Action, Concluded, Leg, Pending, Queued
from mailfw.mail.reply import Reply
from mailfw.mail.route import Route
from mailfw.testing.contents import SAMPLES, BrokenContent, MemoryContent, ReadFailed

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object

#: The clock of these tests: seconds since the epoch.
NOW = 1_800_000_000.0
BUSY = Reply(451, "4.3.0", "Busy")

#: Ids that a message may have, each another message's neighbour.
IDS = ("1a2b", "A", "a", "..", "a/b", "report-1a2b", "x" * 200, "ü", "\udcff", "with space", "a.eml")


def queued(name: str, *ways: tuple[str, float], priority: int = 0, size: int = 0, held: str = "") -> Queued:
    """Return a message that waits for destinations until then: ``queued("1a", ("example.net", NOW))``."""
    legs = tuple(
        Leg(Route("relay", destination), (Pending(Address("bob", destination), Address("bob", destination)),), due)
        for destination, due in ways
    )
    recipients = tuple(pending.original for leg in legs for pending in leg.recipients)
    envelope = Envelope(name, Address("ann", "example.org"), recipients, priority=priority)
    return Queued(envelope, NOW, legs, size=size, held=held)


def rich(name: str) -> Queued:
    """Return a message of which everything is known that can be."""
    bob, carol = Address("böb", "example.net"), Address('"c d"', "example.com")
    envelope = Envelope(
        name,
        None,
        (bob, carol),
        smtputf8=True,
        body="8BITMIME",
        returns="HDRS",
        envid="QQ314159",
        options={bob: RecipientOptions(Notify.SUCCESS | Notify.DELAY, ("rfc822", "Bob@example.net"))},
        require_tls=True,
        tls_optional=True,
        priority=3,
        release=NOW + 60,
        by=DeliverBy(NOW + 120, True, True),
        solicitation="org.example:ADV",
        submitter="ann@example.org",
    )
    legs = (Leg(Route("relay", "example.net"), (Pending(bob, bob, BUSY, "mx.example.net"),), NOW + 5, 2),)
    owed = (Concluded(carol, carol, Action.FAILED, Reply(550, "5.1.1", "No such user"), "mx.example.com", NOW),)
    return Queued(envelope, NOW, legs, owed, 12, "ann@example.org", "192.0.2.7", junk=True, warned=True)


def names(found: Sequence[Queued]) -> list[str]:
    """Return the ids of messages."""
    return [one.id for one in found]


async def read_all(content: IContent | None) -> bytes | None:
    """Read a content in odd pieces, and close it twice."""
    if content is None:
        return None
    octets = b""
    while len(octets) < content.size:
        octets += await content.read(len(octets), 40_009)
    assert await content.read(content.size, 10) == b""
    await content.close()
    await content.close()
    return octets


class SpoolContract(Case):
    """
    What a spool promises but for what survives; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_spool(self)``.
    """

    spool: ISpool

    def make_spool(self) -> ISpool | Awaitable[ISpool]:
        """Return a new, empty spool, not yet open; `mktemp` makes it a directory.  Yours to override."""
        raise self.failureException("make_spool() has to return the spool to try")

    async def setUp(self) -> None:  # type: ignore[override]  # trial awaits what setUp returns
        """Make the spool."""
        made = self.make_spool()
        self.spool = await made if inspect.isawaitable(made) else made
        self.addCleanup(self._close)
        await self.spool.open()

    async def _close(self) -> None:
        await self.spool.close()

    # ------------------------------------------------------------ what is done to it, in short

    async def put(self, *messages: Queued, octets: bytes = SAMPLES["plain"]) -> None:
        """Put messages with the same octets; they are out."""
        for one in messages:
            await self.spool.put(one, await self.draft(octets))

    async def wait(self, *messages: Queued) -> None:
        """Put messages and give them back."""
        await self.put(*messages)
        for one in messages:
            await self.spool.give_back(one)

    async def draft(self, octets: bytes, piece: int = 65_536) -> IDraft:
        """Return a draft of the spool's."""
        draft = await self.spool.open_draft(len(octets))
        for offset in range(0, len(octets), piece):
            await draft.write(octets[offset : offset + piece])
        return draft

    async def take(
        self, now: float = NOW, limit: int = 100, each: int = 100, passing_over: Sequence[str] = ()
    ) -> list[str]:
        """Take messages and return their ids."""
        return names(await self.spool.take(now, limit, each, passing_over))

    # ------------------------------------------------------------ contents

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        self.assertTrue(verifyObject(ISpool, self.spool))

    async def test_drafts(self) -> None:
        """A draft gives back what was written, in whatever pieces, and can be closed twice."""
        for size, piece in ((0, 1), (1, 1), (5000, 7), (65_536, 65_536), (70_000, 1000), (300_000, 65_536)):
            octets = (bytes(range(256)) * (size // 256 + 1))[:size]
            draft = await self.draft(octets, piece)
            self.assertTrue(verifyObject(IDraft, draft))
            self.assertEqual(draft.size, size)
            self.assertEqual(await draft.read(0, size + 10), octets)
            self.assertEqual(await draft.read(size // 2, 100), octets[size // 2 : size // 2 + 100])
            self.assertEqual(await draft.read(size, 10), b"")
            await draft.close()
            await draft.close()

    async def test_every_message_is_kept_whole(self) -> None:
        """Whatever octets a message has, of whatever size, from whatever content, it comes back as it was."""
        sizes = {str(size): b"x" * size for size in (0, 1, 65_535, 65_536, 65_537, 400_000)}
        expected: dict[str, bytes] = {}
        for name, octets in (SAMPLES | sizes).items():
            draft = await self.draft(octets, 10_000)
            contents: dict[str, tuple[Any, bytes]] = {
                "draft": (draft, octets),
                "prefixed": (Prefixed(b"X: y\r\n", draft), b"X: y\r\n" + octets),
                "cut": (Prefixed(b"X: y\r\n", draft, len(octets) // 3), b"X: y\r\n" + octets[len(octets) // 3 :]),
                "twice": (Prefixed(b"A: b\r\n", Prefixed(b"C: d\r\n", draft, 1), 3), b"A: b\r\nd\r\n" + octets[1:]),
                "other": (MemoryContent(octets), octets),
            }
            if not octets:
                del contents["twice"]
            for kind, (content, whole) in contents.items():
                await self.spool.put(queued(f"{name}-{kind}"), content)
                expected[f"{name}-{kind}"] = whole
            await draft.close()
        await self._compare(expected)

    async def _compare(self, expected: dict[str, bytes]) -> None:
        for name, octets in expected.items():
            self.assertEqual(await read_all(await self.spool.content(name)), octets, name)

    async def test_a_content_that_breaks(self) -> None:
        """What cannot be read is not kept."""
        for octets in (SAMPLES["plain"], b"x" * 200_000):
            with self.assertRaises((ReadFailed, OSError)):
                await self.spool.put(queued("1a", ("example.net", NOW)), BrokenContent(octets))
        self.assertEqual(await self.spool.count(), 0)
        self.assertIsNone(await self.spool.get("1a"))
        self.assertIsNone(await self.spool.content("1a"))

    async def test_contents_outlive_their_message(self) -> None:
        """What is open can be read to its end, removed or not."""
        for octets in (SAMPLES["plain"], b"x" * 200_000):
            await self.put(queued("1a"), octets=octets)
            content = await self.spool.content("1a")
            await self.spool.remove("1a")
            self.assertEqual(await read_all(content), octets)

    async def test_states(self) -> None:
        """All that is known of a message comes back, whatever its id."""
        for name in IDS:
            await self.put(rich(name), octets=name.encode("utf-8", "replace"))
        for name in IDS:
            self.assertEqual(await self.spool.get(name), rich(name))
            await self.spool.give_back(replace(rich(name), junk=False))
        for name in IDS:
            self.assertEqual(await self.spool.get(name), replace(rich(name), junk=False))
            self.assertEqual(await read_all(await self.spool.content(name)), name.encode("utf-8", "replace"))
        self.assertIsNone(await self.spool.get("unknown"))
        self.assertIsNone(await self.spool.content("unknown"))

    # ------------------------------------------------------------ in and out

    async def test_what_was_put_is_out(self) -> None:
        """Who put a message works with it; nobody else is given it until it is back."""
        message = queued("1a", ("example.net", NOW))
        await self.put(message)
        self.assertEqual(await self.take(), [])
        self.assertIsNone(await self.spool.next_due(()))
        self.assertIsNone(await self.spool.seize("1a"))
        self.assertEqual(await self.spool.count(), 1)
        await self.spool.record(message)
        self.assertEqual(await self.take(), [])
        await self.spool.give_back(message)
        self.assertEqual(await self.spool.next_due(()), NOW)
        self.assertEqual(await self.take(), ["1a"])
        self.assertEqual(await self.take(), [])
        self.assertIsNone(await self.spool.next_due(()))
        self.assertIsNone(await self.spool.seize("1a"))
        await self.spool.remove("1a")
        self.assertEqual(await self.spool.count(), 0)
        self.assertIsNone(await self.spool.get("1a"))

    async def test_what_is_recorded_is_given(self) -> None:
        """The state that is given is the last that was written."""
        first, second, third = (queued("1a", (f"{n}.example.net", NOW)) for n in range(3))
        await self.put(first)
        await self.spool.record(second)
        self.assertEqual(await self.spool.get("1a"), second)
        await self.spool.give_back(third)
        self.assertEqual(await self.spool.take(NOW, 10, 10, ["relay:0.example.net"]), [third])
        await self.spool.record(second)
        self.assertEqual(await self.spool.get("1a"), second)
        await self.spool.give_back(first)
        self.assertEqual(await self.spool.seize("1a"), first)

    async def test_seizing(self) -> None:
        """One message can be taken out by its id, due, held or not."""
        await self.wait(queued("1a", ("example.net", NOW + 9)), queued("2b", ("example.net", NOW), held="by hand"))
        self.assertIsNone(await self.spool.seize("3c"))
        for name in ("1a", "2b"):
            found = await self.spool.seize(name)
            assert found is not None
            self.assertEqual(found.id, name)
            self.assertIsNone(await self.spool.seize(name))
            await self.spool.give_back(found)
            self.assertIsNotNone(await self.spool.seize(name))

    async def test_the_same_id_again(self) -> None:
        """A message that is here stays as it is, and is its caller's."""
        first, second = queued("1a", ("example.net", NOW)), queued("1a", ("example.com", NOW))
        await self.put(first, octets=b"first\r\n")
        await self.put(second, octets=b"second\r\n")
        self.assertEqual(await self.spool.get("1a"), first)
        await self.spool.give_back(first)
        await self.put(second, octets=b"second\r\n")
        self.assertEqual(await self.take(), [])
        self.assertEqual(await self.spool.get("1a"), first)
        self.assertEqual(await read_all(await self.spool.content("1a")), b"first\r\n")
        self.assertEqual(await self.spool.count(), 1)
        await self.spool.remove("1a")
        await self.put(second, octets=b"second\r\n")
        self.assertEqual(await read_all(await self.spool.content("1a")), b"second\r\n")

    async def test_many_at_once(self) -> None:
        """Whatever is asked for at the same time is done."""
        messages = [queued(f"{n:03}", ("example.net", NOW + n)) for n in range(60)]
        await gatherResults([Deferred.fromCoroutine(self.wait(one)) for one in messages])
        removals = [self.spool.remove(one.id) for one in messages[::2]]
        await gatherResults([Deferred.fromCoroutine(each) for each in removals])
        self.assertEqual(await self.spool.count(), 30)
        self.assertEqual(await self.take(NOW + 60), [one.id for one in messages[1::2]])

    # ------------------------------------------------------------ what is due

    async def test_what_is_due(self) -> None:
        """What waits is given when its time has come, the earliest first."""
        await self.wait(*(queued(f"{n}", ("example.net", NOW + n)) for n in (3, 1, 2)))
        self.assertEqual(await self.take(NOW), [])
        self.assertEqual(await self.spool.next_due(()), NOW + 1)
        self.assertEqual(await self.take(NOW + 2), ["1", "2"])
        self.assertEqual(await self.spool.next_due(()), NOW + 3)

    async def test_held(self) -> None:
        """What is held is not given, until somebody says so."""
        held = queued("1a", ("example.net", NOW), held="by hand")
        await self.wait(held)
        self.assertEqual(await self.take(), [])
        self.assertIsNone(await self.spool.next_due(()))
        await self.spool.seize("1a")
        await self.spool.give_back(replace(held, held=""))
        self.assertEqual(await self.take(), ["1a"])

    async def test_owed_reports(self) -> None:
        """A report that is owed is due at once, wherever the message goes besides."""
        await self.wait(rich("1a"))
        self.assertEqual(await self.spool.next_due(["relay:example.net"]), 0.0)
        self.assertEqual(await self.take(NOW + 9, passing_over=["relay:example.net"]), ["1a"])
        await self.spool.give_back(replace(rich("1a"), legs=()))
        self.assertEqual(await self.spool.next_due(()), 0.0)
        self.assertEqual(await self.take(NOW - 9), ["1a"])

    async def test_priorities(self) -> None:
        """Within a destination the highest priority comes first, then what has waited longest."""
        urgency = {"a": 0, "b": -9, "c": 4, "d": 0, "e": 9, "f": 4}
        await self.wait(
            *(queued(name, ("example.net", NOW - ord(name)), priority=each) for name, each in urgency.items())
        )
        self.assertEqual(await self.take(), ["e", "f", "c", "d", "a", "b"])

    async def test_limits(self) -> None:
        """No more are given than asked for, in all and for each destination."""
        for n in range(8):
            await self.wait(*(queued(f"{place}{n}", (f"{place}.example", NOW - 10 + n)) for place in "abc"))
        taken = await self.take(limit=5, each=2)
        self.assertEqual(len(taken), 5)
        self.assertTrue(all(sum(name[0] == place for name in taken) <= 2 for place in "abc"), taken)
        rest = await self.take(limit=100, each=100)
        self.assertEqual(sorted(taken + rest), [f"{place}{n}" for place in "abc" for n in range(8)])

    async def test_limits_where_a_message_goes_to_several(self) -> None:
        """A message counts for each of its destinations, and all are given in the end."""
        places = [("a", "b"), ("a",), ("b", "c"), ("a", "b", "c"), ("c",), ("b",)]
        for n in range(12):
            await self.wait(queued(f"{n:02}", *((f"{place}.example", NOW) for place in places[n % 6])))
        seen: list[str] = []
        for _ in range(24):
            taken = await self.spool.take(NOW, 100, 2, ())
            for route in {str(leg.route) for one in taken for leg in one.legs}:
                self.assertLessEqual(sum(any(str(leg.route) == route for leg in one.legs) for one in taken), 2)
            seen += names(taken)
        self.assertEqual(sorted(seen), [f"{n:02}" for n in range(12)])

    async def test_passing_over(self) -> None:
        """A destination that is passed over hides nothing of another."""
        await self.wait(*(queued(f"a{n}", ("a.example", NOW - 9)) for n in range(20)))
        await self.wait(queued("b", ("b.example", NOW)), queued("ab", ("a.example", NOW), ("b.example", NOW + 5)))
        passed = ["relay:a.example"]
        self.assertEqual(await self.spool.next_due(passed), NOW)
        self.assertEqual(await self.take(passing_over=passed, limit=5), ["b"])
        self.assertEqual(await self.spool.next_due(passed), NOW + 5)
        self.assertEqual(await self.take(passing_over=passed), [])
        self.assertEqual(await self.take(NOW + 5, passing_over=passed), ["ab"])
        self.assertIsNone(await self.spool.next_due(passed))
        self.assertEqual(len(await self.take()), 20)

    # ------------------------------------------------------------ looking around

    async def test_scanning(self) -> None:
        """All messages can be walked through by id, in pieces, out or not."""
        chosen = sorted(name for name in IDS if name.isascii())
        await self.put(*(queued(name, ("example.net", NOW)) for name in chosen))
        for name in chosen[::2]:
            await self.spool.give_back(queued(name, ("example.net", NOW)))
        seen: list[str] = []
        while found := names(await self.spool.scan(seen[-1] if seen else "", 3)):
            self.assertLessEqual(len(found), 3)
            seen += found
        self.assertEqual(seen, chosen)
        self.assertEqual(await self.spool.count(), len(chosen))


class DurableSpoolContract(SpoolContract):
    """
    What a spool promises that keeps mail over a restart, as all for real mail do.

    Give it ``reopen_spool(self, spool)`` too, which lets go of the spool and returns another one on what it kept, not
    yet open.
    """

    async def reopen_spool(self, spool: ISpool) -> ISpool:
        """Close the spool and return it again, with what it kept.  Yours to override."""
        raise self.failureException("reopen_spool() has to return what it kept")

    async def reopen(self) -> None:
        """Go on with the spool as it is after a restart."""
        self.spool = await self.reopen_spool(self.spool)
        await self.spool.open()

    async def test_everything_survives(self) -> None:
        """After a restart all is in again that was not removed, as it was last written."""
        large = b"y" * 200_000
        first, second = queued("1a", ("example.net", NOW)), queued("2b", ("example.net", NOW + 1))
        await self.put(first, queued("3c"), rich("5e"))
        await self.put(second, queued("4d"), octets=large)
        await self.spool.record(replace(first, warned=True))
        await self.spool.give_back(replace(second, warned=True))
        await self.spool.give_back(queued("4d"))
        for name in ("3c", "4d"):
            await self.spool.remove(name)
        for _ in range(2):
            await self.reopen()
            self.assertEqual(await self.spool.count(), 3)
            self.assertEqual(names(await self.spool.scan("", 10)), ["1a", "2b", "5e"])
            self.assertEqual(await self.spool.get("5e"), rich("5e"))
            self.assertEqual(
                await self.spool.take(NOW + 1, 2, 9, ()) + await self.spool.take(NOW + 1, 10, 9, ()),
                [rich("5e"), replace(first, warned=True), replace(second, warned=True)],
            )
            await self._compare({"1a": SAMPLES["plain"], "2b": large})

    async def test_what_was_removed_stays_away(self) -> None:
        """A message that was removed and one that was not keep apart over restarts."""
        await self.wait(*(queued(f"{n}", ("example.net", NOW)) for n in range(6)))
        await self.put(*(queued(f"{n}", ("example.net", NOW)) for n in range(6, 9)))
        await self.spool.remove("7")
        await self.reopen()
        await self.spool.seize("3")
        await self.spool.remove("3")
        await self.reopen()
        self.assertEqual(sorted(await self.take()), ["0", "1", "2", "4", "5", "6", "8"])
