"""The pages over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mailfw.http.autoconfig import Listener, autoconfig
from mailfw.http.site import http_site


class PretendServer:
    hostname = "mail.example.org"
    domains: Sequence[str] = ("example.org", "b&cher.example")
    is_ready = True
    listeners: Sequence[Listener] = (
        Listener("smtp", "127.0.0.1", 25),
        Listener("imap", "::1", 143),
        Listener("imaps", "127.0.0.1", 993),
        Listener("submission", "127.0.0.1", 587),
        Listener("imap", "/run/imap.sock", 0),
    )

    def connections(self) -> dict[str, int]:
        return {"imap": 7}


class HTTPTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = PretendServer()

    def get(self, path: str, verb: str = "GET") -> tuple[bytes, bytes]:
        protocol = http_site(self.server).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        protocol.dataReceived(f"{verb} {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return head.split(b"\r\n")[0], body

    def test_the_status_page_tells_what_listens(self) -> None:
        status, body = self.get("/")
        self.assertEqual(status, b"HTTP/1.0 200 OK")
        self.assertIn(b"<td>imap<td>[::1]:143<td>7", body)
        self.assertIn(b"b&amp;cher.example", body)

    def test_health_follows_the_server(self) -> None:
        self.assertEqual(self.get("/health"), (b"HTTP/1.0 200 OK", b"ok\n"))
        self.server.is_ready = False
        self.assertEqual(self.get("/health"), (b"HTTP/1.0 503 Service Unavailable", b"not ready\n"))

    def test_anything_else_is_not_there(self) -> None:
        for path in ("/etc/passwd", "/../x", "/mail/", "/mail", "/.well-known/autoconfig"):
            self.assertIn(self.get(path)[0].split()[1], (b"404",), path)
        self.assertIn(b"405", self.get("/", "POST")[0])

    def test_autoconfiguration_is_at_both_places(self) -> None:
        bodies = {
            self.get(path)[1] for path in ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")
        }
        self.assertEqual(bodies, {autoconfig("mail.example.org", self.server.domains, self.server.listeners)})

    def test_autoconfiguration_offers_what_listens_best_first(self) -> None:
        provider = ET.fromstring(self.get("/mail/config-v1.1.xml")[1])[0]
        self.assertEqual([each.text for each in provider.findall("domain")], ["example.org", "b&cher.example"])
        servers = [
            (each.tag, each.get("type"), each.findtext("hostname"), each.findtext("port"), each.findtext("socketType"))
            for each in provider
            if each.get("type")
        ]
        self.assertEqual(
            servers,
            [
                ("incomingServer", "imap", "mail.example.org", "993", "SSL"),
                ("incomingServer", "imap", "mail.example.org", "143", "STARTTLS"),
                ("outgoingServer", "smtp", "mail.example.org", "587", "STARTTLS"),
            ],
        )
