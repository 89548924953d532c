"""The contract of a resolver, and a resolver whose answers a test writes down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailfw.interfaces import IResolver
from mailfw.mail.lookup import MX, TLSA, Answer, Finding
from mailfw.testing.dns import DNSServer

if TYPE_CHECKING:  # the contract is mixed into a TestCase, and mypy has to know its assertions
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


@implementer(IResolver)
class PretendResolver:
    """
    Answers from a table: ``{("example.net", "MX"): [MX(10, "mx.example.net")]}``.

    A value may be an `Answer` instead of records.  A name that is in the table has no data of other kinds, others do
    not exist.  The names in `secure` are vouched for.  `asked` is every question.
    """

    def __init__(
        self, table: Mapping[tuple[str, str], Sequence[Any] | Answer[Any]], secure: Sequence[str] = ()
    ) -> None:
        self.table = dict(table)
        self.secure = set(secure)
        self.asked: list[tuple[str, str]] = []

    async def look_up(self, name: str, kind: str) -> Answer[Any]:
        """Return what the table says."""
        self.asked.append((name, kind))
        known = self.table.get((name, kind))
        if isinstance(known, Answer):
            return known
        secure = name in self.secure
        if known:
            return Answer(Finding.FOUND, tuple(known), secure, 300, name)
        exists = any(name == each or each.endswith(f".{name}") for each, _ in self.table)
        return Answer(Finding.NO_DATA if exists else Finding.NO_NAME, (), secure, 300, name)


#: What the contract's server knows.
ZONE = {
    "example.net": ["MX 10 mx1.example.net.", "MX 20 mx2.example.net.", 'TXT "one " "two"', "! SECURE MX"],
    "mx1.example.net": ["A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1"],
    "mx2.example.net": ["CNAME mx1.example.net."],
    "_25._tcp.mx1.example.net": ["TLSA 3 1 1 " + "ab" * 32],
    "quiet.example": ["MX 0 ."],
    "1.2.0.192.in-addr.arpa": ["PTR mx1.example.net."],
    "a.loop.example": ["CNAME b.loop.example."],
    "b.loop.example": ["CNAME a.loop.example."],
    "servfail.example": ["! SERVFAIL"],
    "refused.example": ["! REFUSED"],
    "garbage.example": ["! GARBAGE"],
    "huge.example": ["! HUGE", "A 192.0.2.9"],
    "truncated.example": ["! TRUNCATE", "A 192.0.2.3"],
}

#: Each question, what is found, and the records.
TABLE: Sequence[tuple[str, str, Finding, tuple[object, ...]]] = (
    ("example.net", "MX", Finding.FOUND, (MX(10, "mx1.example.net"), MX(20, "mx2.example.net"))),
    ("EXAMPLE.net.", "TXT", Finding.FOUND, (b"one two",)),
    ("example.net", "A", Finding.NO_DATA, ()),
    ("mx1.example.net", "A", Finding.FOUND, ("192.0.2.1", "192.0.2.2")),
    ("mx1.example.net", "AAAA", Finding.FOUND, ("2001:db8::1",)),
    ("mx2.example.net", "AAAA", Finding.FOUND, ("2001:db8::1",)),
    ("mx2.example.net", "CNAME", Finding.FOUND, ("mx1.example.net",)),
    ("mx2.example.net", "MX", Finding.NO_DATA, ()),
    ("_25._tcp.mx1.example.net", "TLSA", Finding.FOUND, (TLSA(3, 1, 1, b"\xab" * 32),)),
    ("1.2.0.192.in-addr.arpa", "PTR", Finding.FOUND, ("mx1.example.net",)),
    ("quiet.example", "MX", Finding.FOUND, (MX(0, ""),)),
    ("nowhere.example", "MX", Finding.NO_NAME, ()),
    ("a.loop.example", "A", Finding.FAILED, ()),
    ("servfail.example", "MX", Finding.FAILED, ()),
    ("refused.example", "MX", Finding.FAILED, ()),
    ("garbage.example", "MX", Finding.FAILED, ()),
    ("huge.example", "A", Finding.FAILED, ()),
    ("truncated.example", "A", Finding.FOUND, ("192.0.2.3",)),
    ("a..b.example", "A", Finding.NO_NAME, ()),
    ("x" * 64 + ".example", "A", Finding.NO_NAME, ()),
    ("예시.example", "A", Finding.NO_NAME, ()),
)


class ResolverContract(Case):
    """
    What a resolver promises; mix it into a `twisted.trial.unittest.TestCase`.

    Give it ``make_resolver(self, server)``, which asks the one name server `server` (``127.0.0.1:5353``).
    """

    if TYPE_CHECKING:

        def make_resolver(self, server: str) -> IResolver:
            """Return the resolver that is tried."""

    async def _served(self) -> tuple[DNSServer, IResolver]:
        server = DNSServer(ZONE)
        await server.start()
        self.addCleanup(lambda: _finish(server))
        return server, self.make_resolver(server.address)

    async def test_provides_the_interface(self) -> None:
        """Every method is there, with the parameters of the interface."""
        _, resolver = await self._served()
        self.assertTrue(verifyObject(IResolver, resolver))

    async def test_answers(self) -> None:
        """Each kind of record comes as the interface says, and no trouble is taken for an answer."""
        _, resolver = await self._served()
        for name, kind, finding, records in TABLE:
            answer = await resolver.look_up(name, kind)
            self.assertEqual((name, kind, answer.finding), (name, kind, finding), answer.why)
            self.assertCountEqual(answer.records, records, name)

    async def test_names(self) -> None:
        """The answer says where CNAMEs led to."""
        _, resolver = await self._served()
        self.assertEqual((await resolver.look_up("mx2.example.net", "A")).name, "mx1.example.net")
        self.assertEqual((await resolver.look_up("mx1.example.net", "A")).name, "mx1.example.net")

    async def test_failures_say_why(self) -> None:
        """What failed has a reason."""
        _, resolver = await self._served()
        for name in ("servfail.example", "garbage.example", "a.loop.example"):
            self.assertTrue((await resolver.look_up(name, "A")).why)

    async def test_at_once(self) -> None:
        """The same question, asked twice at once, has one answer."""
        from twisted.internet.defer import Deferred, gatherResults

        _, resolver = await self._served()
        questions = [Deferred.fromCoroutine(resolver.look_up("example.net", "MX")) for _ in range(20)]
        answers = await gatherResults(questions)
        self.assertEqual({each.finding for each in answers}, {Finding.FOUND})


def _finish(server: DNSServer) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromCoroutine(server.stop())
