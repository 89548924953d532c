from __future__ import annotations

import email
import email.policy
import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Request

from mailfw.mail.address import Address
from mailfw.mail.hop import Hop, TLSDemand, TLSLevel
from mailfw.mail.lookup import TLSA, Answer, Finding
from mailfw.routing.hops import HopFinder
from mailfw.routing.https import https_agent
from mailfw.routing.mta_sts import Mode, Policy
from mailfw.routing.settings import HopSettings
from mailfw.routing.tls_report import Applied, TLSReports
from mailfw.routing.tls_report_format import Report, as_json, as_message, compress, file_name, read_rua
from mailfw.site import Site
from mailfw.testing.dialogue import run_now
from mailfw.testing.resolver import PretendResolver
from tests.routing.authority import Authority, web_site

reactor: Any = installed
DAY = 86_400.0
STS = Applied.sts(Policy(Mode.ENFORCE, ("mx.example.net",), 100))
RUA = ("_smtp._tls.example.net", "TXT")


class RecordTests(SynchronousTestCase):
    def test_where_reports_are_wanted(self) -> None:
        mail, web = "mailto:reports@example.net", "https://reports.example.net/v1/tlsrpt"
        for records, expected in (
            ([b"v=TLSRPTv1; rua=mailto:reports@example.net"], [mail]),
            ([b"v=TLSRPTv1;rua=mailto:reports@example.net , https://reports.example.net/v1/tlsrpt;"], [mail, web]),
            ([b"other", b"v=TLSRPTv1; x=1; rua=" + web.encode()], [web]),
            ([b"v=TLSRPTv1; rua=mailto:a@b.example?subject=x,http://x.example/,mailto:a@b"], []),
            ([b"v=TLSRPTv1; rua=mailto:a@b.example\r\nBcc: c@d.example"], []),
            ([b"v=TLSRPTv1; rua=" + b",".join(b"mailto:a%d@b.example" % n for n in range(50))], None),
            ([b"v=TLSRPTv1; rua=mailto:a@b.example", b"v=TLSRPTv1; rua=mailto:c@d.example"], []),
            ([b"v=TLSRPTv2; rua=mailto:a@b.example"], []),
            ([], []),
        ):
            found = read_rua(records)
            if expected is None:
                self.assertEqual(len(found), 3)
            else:
                self.assertEqual(found, expected, records)

    @given(st.binary(max_size=100))
    def test_any_record(self, octets: bytes) -> None:
        for uri in read_rua([b"v=TLSRPTv1; rua=" + octets]):
            self.assertTrue(uri.isascii() and uri.isprintable())
            self.assertTrue(uri.startswith(("mailto:", "https://")))


class FormatTests(SynchronousTestCase):
    def test_the_message(self) -> None:
        report = Report("example.net", "mx.example.org", "postmaster@example.org", date(2026, 3, 1), "1a2b", [])
        now = datetime(2026, 3, 2, 1, tzinfo=UTC)
        octets = as_message(report, compress(as_json(report)), "reports@example.net", now)
        self.assertFalse(any(len(line) > 998 for line in octets.split(b"\r\n")))
        self.assertNotIn(b"\n", octets.replace(b"\r\n", b""))
        message = email.message_from_bytes(octets, policy=email.policy.default)
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "tlsrpt")
        self.assertEqual(message["TLS-Report-Domain"], "example.net")
        self.assertEqual(message["TLS-Report-Submitter"], "mx.example.org")
        self.assertEqual(message["TLS-Required"], "No")
        self.assertIn("Report Domain: example.net Submitter: mx.example.org Report-ID: <1a2b@", message["Subject"])
        text, attached = message.iter_parts()
        self.assertEqual(text.get_content_type(), "text/plain")
        self.assertEqual(attached.get_content_type(), "application/tlsrpt+gzip")
        self.assertEqual(attached.get_filename(), "mx.example.org!example.net!1772323200!1772409599!1a2b.json.gz")
        self.assertEqual(attached.get_filename(), file_name(report))
        content = json.loads(gzip.decompress(attached.get_content()))
        self.assertEqual(content["date-range"]["end-datetime"], "2026-03-01T23:59:59Z")
        self.assertEqual(content["policies"], [])


class Unkept:
    def changed(self) -> None:
        """Nothing is written."""

    async def load(self) -> None:
        """Nothing was."""

    async def close(self) -> None:
        """Nothing is."""


class CountingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(20_000 * DAY + 3600)
        self.resolver = PretendResolver({RUA: [b"v=TLSRPTv1; rua=mailto:reports@example.net"]})
        site = Site("mx.example.org", frozenset({"example.org"}), Path("absent"), self.clock)
        agent: Any = None
        self.reports = TLSReports(site=site, resolver=self.resolver, agent=agent)
        self.reports._kept = Unkept()  # type: ignore[assignment]
        self.sent: list[tuple[Address | None, Address, bytes]] = []
        self.fault: Exception | None = None
        self.finder = HopFinder(
            site=site, resolver=self.resolver, settings=HopSettings(), logins={}, reports=self.reports
        )
        run_now(self, self.finder.start(self.send))

    async def send(self, sender: Address | None, recipient: Address, octets: bytes) -> None:
        if self.fault:
            raise self.fault
        self.sent.append((sender, recipient, octets))

    def report(self) -> Any:
        """Return what was sent last."""
        _, _, octets = self.sent[-1]
        _, attached = email.message_from_bytes(octets, policy=email.policy.default).iter_parts()
        return json.loads(gzip.decompress(attached.get_content()))

    def test_a_day(self) -> None:
        hop = Hop("mx.example.net", "192.0.2.1", 25)
        dane = Hop(
            "mx.example.net",
            "192.0.2.1",
            25,
            tls=TLSDemand(TLSLevel.VERIFY, tlsa=(TLSA(3, 1, 1, b"ab"),), policy="tlsa"),
        )
        for result in ("", "", "certificate-expired", "certificate-expired", "starttls-not-supported"):
            self.finder.note_tls("example.net", hop, result)
        self.finder.note_tls("example.net", dane, "")
        self.finder.note_tls("smtp://host:25", hop, "")
        self.finder.note_tls("[192.0.2.1]", hop, "")
        self.finder.note_tls("unheard.example", hop, "")
        self.clock.advance(23 * 3600 - 1)
        self.assertEqual(self.sent, [])
        self.clock.advance(4 * 3600 + 1)
        self.assertEqual(len(self.sent), 1)
        self.assertEqual(self.sent[0][:2], (None, Address("reports", "example.net")))
        content = self.report()
        self.assertEqual(content["contact-info"], "postmaster@example.org")
        self.assertTrue(content["date-range"]["start-datetime"].endswith("T00:00:00Z"))
        plain, vouched = content["policies"]
        self.assertEqual(plain["policy"], {"policy-type": "no-policy-found", "policy-domain": "example.net"})
        self.assertEqual(plain["summary"], {"total-successful-session-count": 2, "total-failure-session-count": 3})
        counts = {one["result-type"]: one["failed-session-count"] for one in plain["failure-details"]}
        self.assertEqual(counts, {"certificate-expired": 2, "starttls-not-supported": 1})
        self.assertEqual(plain["failure-details"][0]["receiving-ip"], "192.0.2.1")
        self.assertEqual(vouched["policy"]["policy-string"], ["3 1 1 6162"])
        self.clock.advance(DAY)
        self.assertEqual(len(self.sent), 1)  # what was told is not told again

    def test_a_policy_of_mta_sts(self) -> None:
        self.reports.count("example.net", STS, "certificate-host-mismatch", "mx.example.net", "192.0.2.1")
        self.clock.advance(30 * 3600)
        [one] = self.report()["policies"]
        self.assertEqual(one["policy"]["policy-type"], "sts")
        self.assertEqual(one["policy"]["mx-host"], ["mx.example.net"])
        self.assertEqual(one["policy"]["policy-string"][1], "mode: enforce")

    def test_trouble_is_tried_again_for_a_while(self) -> None:
        failed: Answer[Any] = Answer(Finding.FAILED)
        right = self.resolver.table[RUA]
        self.reports.count("example.net", Applied(), "")
        self.resolver.table[RUA] = failed
        self.clock.advance(28 * 3600)
        self.resolver.table[RUA] = right
        self.fault = OSError("full")
        self.clock.advance(3600)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.fault = None
        self.assertEqual(self.sent, [])
        self.clock.advance(3600)
        self.assertEqual(len(self.sent), 1)
        self.resolver.table[RUA] = failed
        self.reports.count("example.net", Applied(), "")
        for _ in range(100):
            self.clock.advance(3600)
        self.assertEqual(self.reports._days, {})
        self.assertEqual(len(self.sent), 1)

    def test_a_stop_in_the_middle(self) -> None:
        self.reports.count("example.net", Applied(), "")
        waiting: Deferred[Any] = Deferred()

        async def look_up(name: str, kind: str) -> Any:
            return await waiting

        self.resolver.look_up = look_up  # type: ignore[method-assign]
        self.clock.advance(30 * 3600)
        run_now(self, self.finder.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.reports._days), 1)

    def test_what_is_counted_is_bounded(self) -> None:
        for n in range(20_000):
            self.reports.count(f"d{n}.example", Applied(), "")
        for n in range(1000):
            self.reports.count("d1.example", Applied(lines=(str(n),)), "")
            self.reports.count("d2.example", Applied(), "validation-failure", f"mx{n}.example")
        [domains] = self.reports._days.values()
        self.assertEqual(len(domains), 10_000)
        self.assertEqual(len(domains["d1.example"]), 10)
        [tally] = domains["d2.example"].values()
        self.assertEqual((tally.failures, len(tally.kinds)), (1000, 100))


class KeepingTests(TestCase):
    async def test_over_a_restart_and_by_https(self) -> None:
        authority = Authority()
        posted: list[Any] = []

        def answer(request: Request) -> bytes:
            assert request.content is not None
            kind = request.getHeader("content-type")
            posted.append((request.method, kind, json.loads(gzip.decompress(request.content.read()))))
            request.setResponseCode(201)
            return b""

        web = reactor.listenSSL(0, web_site(answer), authority.options("reports.example.net"), interface="127.0.0.1")
        self.addCleanup(web.stopListening)
        port = web.getHost().port
        table: dict[tuple[str, str], Any] = {
            RUA: [b"v=TLSRPTv1; rua=https://reports.example.net/v1"],
            ("reports.example.net", "A"): ["127.0.0.1"],
        }
        resolver = PretendResolver(table)
        site = Site("mx.example.org", frozenset({"example.org"}), Path(self.mktemp()), reactor)
        agent = https_agent(reactor, resolver, trust=authority.trust, port=port, allow_loopback=True)

        async def send(sender: Address | None, recipient: Address, octets: bytes) -> None:
            raise AssertionError("not by mail")

        reports = TLSReports(site=site, resolver=resolver, agent=agent)
        await reports.start(send)
        reports.count("example.net", STS, "")
        reports.count("example.net", STS, "validation-failure", "mx.example.net", "127.0.0.1", "odd")
        await reports.stop()

        again = TLSReports(site=site, resolver=resolver, agent=agent)
        await again.start(send)
        self.assertEqual(again._days, reports._days)
        [[today, counted]] = again._days.items()
        again._days.clear()
        again._days[date.fromordinal(today.toordinal() - 1)] = counted
        await again.send_old()
        await again.stop()
        [(method, kind, content)] = posted
        self.assertEqual((method, kind), (b"POST", "application/tlsrpt+gzip"))
        [details] = content["policies"][0]["failure-details"]
        self.assertEqual(details["sending-mta-ip"], "127.0.0.1")
        self.assertEqual(again._days, {})

    async def test_a_file_that_cannot_be_read(self) -> None:
        site = Site("mx.example.org", frozenset(), Path(self.mktemp()), reactor)
        (site.data / "routing").mkdir(parents=True)
        agent: Any = None
        for text in ("nonsense", "[]", '{"2026-01-01": 5}', '{"x": {}}', '{"2026-01-01": {"a": [[1]]}}'):
            (site.data / "routing" / "tls-reports.json").write_text(text)
            reports = TLSReports(site=site, resolver=PretendResolver({}), agent=agent)
            await reports.start(lambda *_: Deferred())
            await reports.stop()
