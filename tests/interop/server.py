"""A server of ours in a process of its own, for clients that need a real one."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.running import PATIENCE, free_port

DOMAIN = "interop.example"
PASSWORD = "a correct horse"
_PROGRAMS = Path(sys.executable).parent
LISTENERS = ("smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s")


def require(program: str) -> str:
    """Return where a client from Debian is, or skip: ``make test`` installs it where it may."""
    found = shutil.which(program)
    if found is None:
        raise SkipTest(f"{program} is not installed, and only root may install it")
    return found


def insecure() -> ssl.SSLContext:
    """Return a TLS context that trusts our self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_shared: dict[type, RunningServer] = {}


def shared(case: type, make: Callable[[], RunningServer]) -> RunningServer:
    """Return the one server of a test case class, started for its first test and removed when all have run."""
    if case not in _shared:
        _shared[case] = make()
        atexit.register(_shared[case].remove)
    return _shared[case]


class RunningServer:
    """
    `twistd mailfw` with the accounts `names`, all with `PASSWORD`, on free loopback ports.

    It is one process unless `arguments`, more words for `twistd mailfw`, say otherwise.  With `address` port smtp is 25
    there, where other servers look for it.  With `user` it runs as somebody else, who may read everything: Python
    itself may be where only root looks.
    """

    def __init__(
        self,
        *names: str,
        settings: tuple[str, ...] = (),
        plaintext: bool = True,
        domain: str = DOMAIN,
        address: str = "",
        user: str = "",
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mailfw-interop-"))
        self._as: list[str] = []
        if user:
            self._as = [require("setpriv"), f"--reuid={user}", "--regid=nogroup", "--clear-groups"]
            self._as += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
            shutil.chown(self.home, user, "nogroup")
        self.domain = domain
        self.ports = {name: free_port() for name in LISTENERS}
        if address:
            settings = (f'listen.smtp=["tcp:25:interface={address}"]', *settings)
        chosen = [
            f'domains=["{domain}"]',
            f'hostname="mail.{domain}"',
            f'data="{self.home / "data"}"',
            f"allow_plaintext_auth={'true' if plaintext else 'false'}",
            "listen.http=[]",
            *(f'listen.{name}=["tcp:{port}:interface=127.0.0.1"]' for name, port in self.ports.items()),
            *settings,
        ]
        self.options = [argument for setting in chosen for argument in ("--set", setting)]
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        for name in names:
            self.console("user", "add", f"{name}@{domain}", given=PASSWORD)
        self.start()

    def console(self, *command: str, given: str = "") -> str:
        """Run the console command and return what it prints."""
        done = subprocess.run(
            [*self._as, str(_PROGRAMS / "mailfw"), *self.options, *command],
            input=given + "\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
        )
        if done.returncode:
            raise AssertionError(f"{command} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> None:
        """Start the server and wait until it greets."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self._as,
                    *(str(_PROGRAMS / "twistd"), "-n", "--pidfile=", "mailfw", "--workers=0"),
                    *self.options,
                    *self.arguments,
                ],
                cwd=self.home,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.ports["pop3"]), 1) as connection:
                    connection.settimeout(5)
                    if connection.recv(1):
                        return
            except OSError:
                time.sleep(0.05)
        said = self.log()
        self.kill()
        raise AssertionError(f"The server did not start:\n{said}")

    def kill(self) -> None:
        """End the server as a power cut would, as far as a process can tell."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """End the server in order and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    def remove(self) -> None:
        """End the server and delete all it wrote."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        shutil.rmtree(self.home, ignore_errors=True)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.home / "log").read_text(errors="replace")[-5000:]

    def send(self, recipient: str, message: bytes, sender: str = "somebody@elsewhere.example") -> None:
        """Send a message through port smtp, and wait until it is in the mailbox."""
        with smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=60) as client:
            client.ehlo()
            client.mail(sender)
            client.rcpt(f"{recipient}@{self.domain}")
            said = client.data(message)[1].decode()
        self.wait_for(f"Message {said.rpartition(' ')[2]} by mailbox, attempt 1: 1 delivered")

    def wait_for(self, words: str, patience: float = 60.0) -> None:
        """Wait until the server has logged these words."""
        until = time.monotonic() + patience
        while words not in (self.home / "log").read_text(errors="replace"):
            if time.monotonic() > until:
                raise AssertionError(f"{words!r} was not logged:\n{self.log()}")
            time.sleep(0.02)

    @property
    def certificate(self) -> Path:
        """Where the self-signed certificate is."""
        return self.home / "data" / "tls" / "certificate.pem"

    @property
    def environment(self) -> dict[str, str]:
        """What clients run with: another home, and not where our Python looks, for some are of another Python."""
        return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "HOME": str(self.home)}

    def run(self, *command: str, given: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
        """Run a client in the server's directory; a failure shows what it said and what the server logged."""
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            cwd=self.home,
            check=False,
            timeout=240,
            env={**self.environment, **(environment or {})},
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
            raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{said}\n--- server\n{self.log()}")
        return done.stdout
