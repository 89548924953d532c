"""
Start the installed `twistd mailfw`, send it one message by SMTP and read it by IMAP.

Run by the Python of the environment under test.  Other arguments are passed on, e.g. ``--set 'store.plugin="eml"'``.
"""

from __future__ import annotations

import imaplib
import re
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MESSAGE = "From: ann@example.org\r\nTo: postmaster@localhost\r\nSubject: 안녕 👋\r\n\r\nFrom the wheel.\r\n"
#: How Twisted ends when it has stopped in order: newer versions die of the signal that stopped them.
STOPPED = (0, -signal.SIGTERM)
#: Seconds for the server to start, and for a message to arrive.
PATIENCE = 30


def main() -> int:
    """Deliver, and say so."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        listen = [f"--set=listen.{name}=[]" for name in ("submission", "submissions", "pop3", "pop3s", "http", "imaps")]
        listen += [f'--set=listen.{name}=["tcp:0:interface=127.0.0.1"]' for name in ("smtp", "imap")]
        twistd = [
            str(Path(sys.executable).with_name("twistd")),
            "--nodaemon",
            "--pidfile=",
            f"--logfile={log}",
            "mailfw",
        ]
        server = subprocess.Popen([*twistd, f"--set=data={folder}/var", *listen, *sys.argv[1:]])
        try:
            heard = wait_for(log, "Password: ", server)
            deliver(heard)
        except Exception:
            print(log.read_text("utf-8", "replace") if log.exists() else "no log")
            raise
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait(PATIENCE)
    print(f"delivered and read; twistd ended with {code}")
    return 0 if code in STOPPED else 1


def wait_for(log: Path, word: str, server: subprocess.Popen[bytes]) -> str:
    """Return the log once it contains the word."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        heard = log.read_text("utf-8") if log.exists() else ""
        if word in heard and heard.endswith("\n"):
            return heard
        time.sleep(0.05)
    raise SystemExit(f"the server did not start (exit code {server.poll()})")


def wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    """The queue delivers after 250."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)


def deliver(heard: str) -> None:
    """Send and read."""
    ports = {name: int(port) for name, port in re.findall(r"(\w+) +127\.0\.0\.1:(\d+)", heard)}
    password = re.search(r"Password: (\S+)", heard)
    assert password is not None
    with smtplib.SMTP("127.0.0.1", ports["smtp"]) as smtp:
        smtp.sendmail("ann@example.org", ["postmaster@localhost"], MESSAGE.encode(), ["BODY=8BITMIME"])
    imap = imaplib.IMAP4("127.0.0.1", ports["imap"])
    imap.starttls()
    imap.login("postmaster@localhost", password[1])
    wait_until(lambda: imap.select()[1] == [b"1"], "the inbox does not have one message")
    octets = imap.fetch("1", "BODY.PEEK[]")[1][0][1]
    assert octets.endswith(MESSAGE.encode()), octets
    imap.logout()


if __name__ == "__main__":
    sys.exit(main())
