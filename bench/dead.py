"""
How long mail for a living destination waits while very much is queued for dead ones.

::

    python -m bench.dead [--messages 100000]

As root, with Debian's postfix installed, whose smtp-source is the load.  Half of the messages are for a host that
refuses connections, half for one that takes them and never says a word.  Meanwhile, and for ten seconds after, a
message for another host is sent four times a second; what counts is from its 250 until that host has it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import smtplib
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.load import SENDER, Work, percentile, send
from bench.peers import mailfw
from tests.running import free_port

#: Seconds between two messages for the living, and how long they go on after the load.
EVERY, AFTER = 0.25, 10.0


class _Session(socketserver.StreamRequestHandler):
    """As much of an SMTP server as one courier needs."""

    def handle(self) -> None:
        """Note when each message has come."""
        self.wfile.write(b"220 living.example\r\n")
        reading = False
        for line in self.rfile:
            if reading:
                if (found := re.match(rb"Subject: (\d+)", line)) is not None:
                    self.server.arrivals[int(found[1])] = time.perf_counter()  # type: ignore[attr-defined]  # Living's
                reading = line != b".\r\n"
                if reading:
                    continue
            elif line[:4].upper() == b"DATA":
                reading = True
                self.wfile.write(b"354 Go\r\n")
                continue
            self.wfile.write(b"250 OK\r\n")


class Living(socketserver.ThreadingTCPServer):
    """The host that gets its mail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.arrivals: dict[int, float] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Listen while the body of the ``with`` lasts."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()


def send_now_and_then(port: int, ended: threading.Event, accepted: dict[int, float]) -> None:
    """Send messages for the living, each on a connection of its own, and note when they were accepted."""
    while not ended.wait(EVERY):
        number = len(accepted)
        with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
            client.sendmail(SENDER, ["ann@living.example"], f"Subject: {number}\r\n\r\nHello\r\n")
            accepted[number] = time.perf_counter()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    asked = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    living, ended, accepted = Living(), threading.Event(), dict[int, float]()
    try:
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as silent, living.running():
            routes = {
                "refusing": free_port(),
                "silent": silent.getsockname()[1],
                "living": living.server_address[1],
            }
            settings = [
                f'route.{n}={{recipients=["{name}.example"], to="smtp://127.0.0.1:{port}"}}'
                for n, (name, port) in enumerate(routes.items())
            ]
            with mailfw(home / "mailfw", 'trust.relay=["127.0.0.0/8"]', *settings, users=["ann"]) as peer:
                port = peer.ports["smtp"]
                sending = threading.Thread(target=send_now_and_then, args=(port, ended, accepted))
                sending.start()
                began = time.perf_counter()
                for name in ("refusing", "silent"):
                    send(Work(name, asked.messages // 2, 10, 1, domain=f"{name}.example"), port)
                rate = asked.messages / (time.perf_counter() - began)
                time.sleep(AFTER)
                ended.set()
                sending.join()
                time.sleep(1.0)
                memory = peer.memory_kilobytes() / 1024
    finally:
        shutil.rmtree(home)
    waits = [living.arrivals[number] - when for number, when in accepted.items() if number in living.arrivals]
    print(f"{asked.messages} messages for the dead, taken at {rate:,.0f}/s; {memory:.0f} MB afterwards")
    print(f"{len(accepted)} messages for the living, {len(accepted) - len(waits)} missing; from 250 until there:")
    print(f"median {percentile(waits, 0.5) * 1000:.0f} ms, 99 % {percentile(waits, 0.99) * 1000:.0f} ms, ", end="")
    print(f"longest {max(waits) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
