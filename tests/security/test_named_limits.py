"""Every limit has a key that says where it comes from, or a line in the documentation where it is fixed."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.configuration.keys import Delivery, Limits
from mailfw.mail.mime import MAX_DEPTH, MAX_PARTS
from mailfw.sasl.logins import RESPONSE_LIMIT

DOCUMENTED = (Path(__file__).parent.parent.parent / "docs/reference/configuration.md").read_text()
#: Key, default and what must be named as its source.
SOURCES = {
    "command_line": (2048, "RFC 5321 section 4.5.3.1.4"),
    "message_size": (104_857_600, "RFC 1870"),
    "recipients": (1000, "RFC 5321 section 4.5.3.1.8"),
    "header_size": (102_400, "header_size_limit"),
    "header_fields": (1000, "max_header_lines"),
    "connections_per_address": (1000, "smtpd_client_connection_count_limit"),
    "soft_errors": (10, "smtpd_soft_error_limit"),
    "error_delay": (1.0, "smtpd_error_sleep_time"),
    "hard_errors": (20, "smtpd_hard_error_limit"),
    "junk_commands": (100, "smtpd_junk_command_limit"),
    "smtp_timeout": (300.0, "RFC 5321 section 4.5.3.2.7"),
    "smtp_timeout_under_stress": (10.0, "smtpd_timeout"),
    "minimum_rate": (500.0, "smtpd_min_data_rate"),
}
CLIENT = {
    "connect_timeout": (30.0, "smtp_connect_timeout"),
    "greeting_timeout": (300.0, "4.5.3.2.1"),
    "command_timeout": (300.0, "4.5.3.2.2 and 4.5.3.2.3"),
    "data_timeout": (120.0, "4.5.3.2.4"),
    "block_timeout": (180.0, "4.5.3.2.5"),
    "final_timeout": (600.0, "4.5.3.2.6"),
}


class NamedLimitTests(SynchronousTestCase):
    def row(self, key: str) -> str:
        found = re.search(rf"^\| `{re.escape(key)}` .*$", DOCUMENTED, re.MULTILINE)
        assert found is not None, key
        return found[0]

    def test_of_the_server(self) -> None:
        helps = {each.name: each.metadata["help"] for each in fields(Limits)}
        for key, (default, source) in SOURCES.items():
            self.assertEqual(getattr(Limits(), key), default, key)
            self.assertIn(source, helps[key])
            self.assertIn(source, self.row(f"limits.{key}"))

    def test_of_the_client(self) -> None:
        helps = {each.name: each.metadata["help"] for each in fields(Delivery)}
        for key, (default, source) in CLIENT.items():
            self.assertEqual(getattr(Delivery(), key), default, key)
            self.assertIn(source, helps[key])
            self.assertIn(source, self.row(f"delivery.{key}"))

    def test_every_key_is_explained(self) -> None:
        for each in fields(Limits):
            self.row(f"limits.{each.name}")

    def test_fixed_ones(self) -> None:
        self.assertEqual((MAX_DEPTH, MAX_PARTS, RESPONSE_LIMIT), (100, 1000, 12_288))
        for words in ("mime_nesting_limit", "max.mime_parts", "12288 (RFC 4954 section 4)"):
            self.assertIn(words, DOCUMENTED)
