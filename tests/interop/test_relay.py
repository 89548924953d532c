"""Three sites send mail to each other through MX records: two of ours, and Debian's Postfix."""

from __future__ import annotations

import os
import poplib
import smtplib
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.postfix import Postfix
from tests.interop.server import PASSWORD, RunningServer, insecure
from tests.running import own_address

#: Addresses of the sites, and of the name server that knows them.  Servers look for mail at port 25 alone.
NAMES, ONE, TWO, THREE = map(own_address, (40, 41, 42, 43))
ZONE = f"""\
one.example       MX 10 mail.one.example.
mail.one.example  A  {ONE}
two.example       MX 5  down.two.example.
two.example       MX 10 mail.two.example.
down.two.example  A  {own_address(49)}
mail.two.example  A  {TWO}
three.example     MX 10 mail.three.example.
mail.three.example A {THREE}
null.example      MX 0 .
broken.example    !  SERVFAIL
"""
#: Seconds; what comes here comes within one.
PATIENCE = 30.0


class NameServer:
    """`mailfw.testing.dns` in a process of its own, on port 53 of `NAMES`."""

    def __init__(self) -> None:
        zone = Path(mkdtemp(prefix="mailfw-zone-")) / "zone"
        zone.write_text(ZONE)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailfw.testing.dns", str(zone), "--interface", NAMES, "--port", "53"],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def remove(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


def site(name: str, domain: str, address: str, *settings: str) -> RunningServer:
    """Start a site of ours that retries fast."""
    return RunningServer(
        name,
        domain=domain,
        address=address,
        settings=(
            f'resolver.servers=["{NAMES}"]',
            "delivery.allow_loopback=true",
            "delivery.mta_sts=false",
            "delivery.avoid_time=0.5",
            "queue.first_pause=1",
            "queue.longest_pause=2",
            *settings,
        ),
    )


def message(subject: str, sender: str, recipient: str, text: str = "Shall we?\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, recipient, subject
    mail.set_content(text)
    return mail


def submit(server: RunningServer, user: str, mail: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=60) as client:
        client.starttls(context=insecure())
        client.login(f"{user}@{server.domain}", PASSWORD)
        client.send_message(mail)


def inbox(server: RunningServer, user: str) -> list[bytes]:
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=60)
    try:
        client.user(f"{user}@{server.domain}")
        client.pass_(PASSWORD)
        return [b"\r\n".join(client.retr(number)[1]) for number in range(1, client.stat()[0] + 1)]
    finally:
        client.quit()


class RelayTests(SynchronousTestCase):
    """The whole way: submission, queue, MX, another site's mailbox."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("Only root may listen on ports 25 and 53")
        names = NameServer()
        self.addCleanup(names.remove)

    def site(self, name: str, domain: str, address: str, *settings: str) -> RunningServer:
        server = site(name, domain, address, *settings)
        self.addCleanup(server.remove)
        return server

    def wait_for(
        self, subject: str, server: RunningServer | Postfix, user: str = "", patience: float = PATIENCE
    ) -> bytes:
        """Return the message with a subject as soon as it is in the mailbox."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            mail = server.messages() if isinstance(server, Postfix) else inbox(server, user)
            for each in mail:
                if f"Subject: {subject}".encode() in each:
                    return each
            time.sleep(0.1)
        raise AssertionError(f"{subject} did not come:\n{server.log()}")

    def test_all_three_send_to_each_other(self) -> None:
        one = self.site("ann", "one.example", ONE)
        two = self.site("bob", "two.example", TWO)
        three = Postfix("three.example", THREE, NAMES, tls=(one.certificate, one.certificate.with_name("key.pem")))
        self.addCleanup(three.remove)
        submit(one, "ann", message("one to two", "ann@one.example", "bob@two.example"))
        submit(one, "ann", message("one to three", "ann@one.example", "paul@three.example"))
        submit(two, "bob", message("two to one", "bob@two.example", "ann@one.example"))
        submit(two, "bob", message("Grüße über 三", "bob@two.example", "paul@three.example", "Grüße, 안녕\n"))
        with smtplib.SMTP(THREE, 25, source_address=("127.0.0.1", 0), timeout=60) as client:
            client.send_message(message("three to one", "paul@three.example", "ann@one.example"))
            client.send_message(message("three to two", "paul@three.example", "bob@two.example"))
        self.assertIn(b"Received: from mail.one.example", self.wait_for("one to two", two, "bob"))
        self.assertIn(b"TLS", self.wait_for("one to three", three))
        self.wait_for("two to one", one, "ann")
        self.wait_for("=?", three)
        self.assertIn(b"(Postfix)", self.wait_for("three to one", one, "ann"))
        self.wait_for("three to two", two, "bob")

    def test_mail_waits_for_a_receiver_that_is_down(self) -> None:
        one = self.site("ann", "one.example", ONE)
        two = self.site("bob", "two.example", TWO)
        two.terminate()
        submit(one, "ann", message("patience", "ann@one.example", "bob@two.example"))
        time.sleep(2)
        self.assertIn("bob@two.example", one.console("queue", "list"))
        one.kill()
        one.start()
        two.start()
        self.wait_for("patience", two, "bob")
        until = time.monotonic() + PATIENCE
        while "bob@two.example" in one.console("queue", "list") and time.monotonic() < until:
            time.sleep(0.1)
        self.assertNotIn("bob@two.example", one.console("queue", "list"))

    def test_the_sender_hears_of_a_delay_and_then_of_the_failure(self) -> None:
        one = self.site("ann", "one.example", ONE, "queue.warning_after=3", "queue.lifetime=8")
        submit(one, "ann", message("in vain", "ann@one.example", "bob@two.example"))
        delay = self.wait_for("Your message is delayed", one, "ann")
        self.assertIn(b"Action: delayed", delay)
        self.assertIn(b"Will-Retry-Until:", delay)
        failure = self.wait_for("Your message could not be delivered", one, "ann")
        self.assertIn(b"Action: failed", failure)
        self.assertIn(b"Final-Recipient: rfc822; bob@two.example", failure)
        self.assertIn(b"Return-Path: <>", failure)

    def test_a_domain_that_takes_no_mail_is_told_at_once(self) -> None:
        one = self.site("ann", "one.example", ONE)
        mail = message("nowhere", "ann@one.example", "bob@null.example, bob@missing.example, bob@broken.example")
        submit(one, "ann", mail)
        report = self.wait_for("Your message could not be delivered", one, "ann")
        self.assertIn(b"bob@null.example", report)
        self.assertIn(b"Status: 5.1.10", report)
        self.assertIn(b"Status: 5.1.2", report)
        self.assertNotIn(b"Final-Recipient: rfc822; bob@broken.example", report)
        self.assertIn("bob@broken.example", one.console("queue", "list"))
