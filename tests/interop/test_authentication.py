"""GNU SASL logs in: an implementation of SCRAM, its channel binding and EXTERNAL that is not ours."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.server import DOMAIN, PASSWORD, RunningServer, require, shared
from tests.tls.handshakes import Authority

ANN = f"ann@{DOMAIN}"


class GnuSaslTests(SynchronousTestCase):
    authority: Authority
    folder: Path

    @classmethod
    def start(cls) -> RunningServer:
        cls.folder = Path(tempfile.mkdtemp(prefix="mailfw-interop-"))
        cls.authority = Authority("An authority")
        cls.authority.write(cls.folder / "authorities.pem")
        return RunningServer(
            "ann", plaintext=False, settings=(f'tls.client_authorities="{cls.folder / "authorities.pem"}"',)
        )

    def setUp(self) -> None:
        self.program = require("gsasl")
        self.server = shared(type(self), self.start)

    def log_in(self, service: str, mechanism: str, *options: str, password: str = PASSWORD) -> bytes:
        protocol, farewell = ("--imap", b". LOGOUT\r\n") if service == "imap" else ("--smtp", b"QUIT\r\n")
        return self.server.run(
            *(self.program, protocol, f"--connect=127.0.0.1:{self.server.ports[service]}", "--starttls", "--verbose"),
            *("--x509-ca-file=", "-m", mechanism, "-a", ANN, "-p", password, *options),
            given=farewell,
        )

    def test_bound_to_the_channel(self) -> None:
        for service in ("imap", "submission"):
            for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
                for version in ("NORMAL", "NORMAL:-VERS-TLS1.3"):  # tls-exporter, and tls-unique before it
                    self.log_in(service, mechanism, "--priority", version)

    def test_not_bound(self) -> None:
        for service in ("imap", "submission"):
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"):
                self.log_in(service, mechanism, "--no-cb")

    def test_wrong_password(self) -> None:
        for mechanism in ("SCRAM-SHA-256-PLUS", "PLAIN"):
            self.assertRaises(AssertionError, self.log_in, "imap", mechanism, password="a wrong one")

    def test_certificate(self) -> None:
        certificate, key = self.folder / "ann.pem", self.folder / "ann.key"
        Authority("Ann", self.authority, addresses=[ANN]).write(certificate, key)
        shown = (f"--x509-cert-file={certificate}", f"--x509-key-file={key}")
        for service in ("imap", "submission"):
            self.log_in(service, "EXTERNAL", "-z", ANN, *shown)
        self.assertRaises(AssertionError, self.log_in, "imap", "EXTERNAL", "-z", f"bob@{DOMAIN}", *shown)
        Authority("Ann", Authority("Another authority"), addresses=[ANN]).write(certificate, key)
        self.assertRaises(AssertionError, self.log_in, "imap", "EXTERNAL", "-z", ANN, *shown)
        self.log_in("imap", "SCRAM-SHA-256-PLUS", *shown)
