"""The name server for tests, as a program of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailfw.dns import StubResolver
from mailfw.mail.lookup import MX, Finding
from mailfw.testing.dns import MANNERS, DNSServer, parse_zone
from tests.dns.test_resolver import site

ZONE = """
# a comment
example.net    MX  10 mx.example.net.
mx.example.net A   192.0.2.1   # and another
"""


class ProgramTests(TestCase):
    def begin(self, zone: str) -> subprocess.Popen[str]:
        file = Path(self.mktemp())
        file.write_text(zone)
        command = [sys.executable, "-m", "mailfw.testing.dns", str(file), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(server.wait, 30)
        self.addCleanup(server.kill)
        assert server.stdout is not None
        self.addCleanup(server.stdout.close)
        return server

    async def test_it_answers(self) -> None:
        server = self.begin(ZONE)
        assert server.stdout is not None
        found = re.fullmatch(r"Listening on (127\.0\.0\.1:[0-9]+)\n", server.stdout.readline())
        assert found is not None
        resolver = StubResolver(site=site(), servers=[found[1]])
        self.assertEqual((await resolver.look_up("example.net", "MX")).records, (MX(10, "mx.example.net"),))
        self.assertIs((await resolver.look_up("example.com", "MX")).finding, Finding.NO_NAME)

    def test_a_zone_that_is_none(self) -> None:
        server = self.begin("example.net MX\n")
        assert server.stdout is not None
        self.assertIn("example.net: 'MX'", server.stdout.read())
        self.assertEqual(server.wait(30), 2)


class ZoneTests(SynchronousTestCase):
    def test_lines(self) -> None:
        self.assertEqual(
            parse_zone(ZONE), {"example.net": ["MX  10 mx.example.net."], "mx.example.net": ["A   192.0.2.1"]}
        )
        with self.assertRaises(ValueError) as caught:
            parse_zone("\nexample.net\n")
        self.assertIn("line 2", str(caught.exception))

    def test_what_is_no_record(self) -> None:
        for record in ("A 1.2.3", "MX mx.example.", "NONSENSE x", "! LAUGH", "A"):
            with self.assertRaises(ValueError, msg=record):
                DNSServer({"example.net": [record]})

    def test_every_manner_is_known(self) -> None:
        for manner in MANNERS:
            DNSServer({"example.net": [f"! {manner}", f"! {manner} MX"]})
