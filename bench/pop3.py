"""
POP3 beside Dovecot, on copies of the same maildir.

Run ``python -m bench.pop3 [--rounds 3] [--messages 10000]`` as root, with Debian's dovecot-pop3d installed.  Both
servers are started again for each round.  RETR and TOP go through the first thousand messages.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.corpus import make_maildir
from bench.measure import Results
from bench.peers import DOMAIN, PASSWORD, Peer, dovecot, mailfw

#: How many messages are fetched, how many commands are pipelined, and how many messages are removed at once.
FETCHED, PIPELINED, REMOVED = 1000, 32, 500
#: Messages of the maildrops of which many sessions are opened, and in which messages are removed.
SMALL, REMOVABLE = 10, 1000
_END = b"\r\n.\r\n"


class Connection:
    """A bare POP3 connection that reads fast."""

    def __init__(self, port: int, user: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line()
        self.command(f"USER {user}@{DOMAIN}")
        self.command(f"PASS {PASSWORD}")

    def line(self) -> bytes:
        """Return an answer of one line, which is all that is on its way."""
        octets = self.socket.recv(4096)
        while not octets.endswith(b"\r\n"):
            more = self.socket.recv(4096)
            if not more:
                raise EOFError(octets)
            octets += more
        if not octets.startswith(b"+OK"):
            raise RuntimeError(octets)
        return octets

    def command(self, command: str) -> bytes:
        """Give a command whose answer is one line."""
        self.socket.sendall(command.encode() + b"\r\n")
        return self.line()

    def ask(self, *commands: str) -> int:
        """Give commands at once whose answers are multi-line; return the octets of all the answers."""
        self.socket.sendall("".join(f"{command}\r\n" for command in commands).encode())
        size, left, last = 0, len(commands), b""
        while left:
            octets = self.socket.recv(1 << 20)
            if not octets or (not size and not octets.startswith(b"+OK")):
                raise RuntimeError(octets[:100])
            size += len(octets)
            joined = last + octets
            left -= joined.count(_END)
            last = joined[-4:]  # less than an end, so that none is counted twice
        return size

    def quit(self) -> None:
        """End the session, and wait until the server has."""
        self.command("QUIT")
        while self.socket.recv(4096):
            pass
        self.socket.close()


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def open_and_list(port: int) -> None:
    """Log in to the large maildrop, and have all of it listed."""
    connection = Connection(port, "user0")
    connection.ask("UIDL")
    connection.quit()


def sessions(port: int, user: str, count: int) -> None:
    """Log in, STAT and QUIT, again and again."""
    for _ in range(count):
        connection = Connection(port, user)
        connection.command("STAT")
        connection.quit()


def at_once(port: int, users: list[str], count: int) -> None:
    """Have several users do so at the same time."""
    threads = [threading.Thread(target=sessions, args=(port, user, count)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(results: Results, peer: Peer, number: int) -> None:
    """Do all the work once on one peer."""
    port = peer.ports["pop3"]

    def note(row: str, figure: float, unit: str, better: str = "less") -> None:
        results.note(row, peer.name, figure, unit, better)

    first = "never seen before" if number == 0 else "the first after a start"
    note(f"login and UIDL of all, {first}", timed(lambda: open_and_list(port)), "s")
    for _ in range(3):
        note("login and UIDL of all, again", timed(lambda: open_and_list(port)), "s")
    note("login, STAT, QUIT, large", timed(lambda: sessions(port, "user0", 10)) / 10, "s")
    sessions(port, "user1", 1)
    note(
        "login, STAT, QUIT, small, one at a time", 100 / timed(lambda: sessions(port, "user1", 100)), "a second", "more"
    )
    small = [f"user{n}" for n in range(1, 9)]
    note("the same, 8 at a time", 200 / timed(lambda: at_once(port, small, 25)), "a second", "more")
    fetch(peer, note)
    remove(port, f"user{10 + number}", note)


def fetch(peer: Peer, note: Callable[..., None]) -> None:
    """Take messages one after the other, and several at once."""
    connection = Connection(peer.ports["pop3"], "user0")
    numbers = range(1, FETCHED + 1)

    def measure(work: Callable[[], int]) -> tuple[float, float, float]:
        cpu, began = peer.cpu_seconds(), time.perf_counter()
        size = work()
        seconds = time.perf_counter() - began
        return size / seconds / 1e6, seconds, peer.cpu_seconds() - cpu

    rate, _, cpu = measure(lambda: sum([connection.ask(f"RETR {n}") for n in numbers]))
    note("RETR, one at a time", rate, "MB/s", "more")
    note("its CPU for 1,000", cpu, "s")
    groups = [[f"RETR {n}" for n in numbers[start : start + PIPELINED]] for start in range(0, FETCHED, PIPELINED)]
    rate, _, cpu = measure(lambda: sum([connection.ask(*group) for group in groups]))
    note(f"RETR, {PIPELINED} pipelined", rate, "MB/s", "more")
    note("its CPU for 1,000, pipelined", cpu, "s")
    _, seconds, _ = measure(lambda: sum([connection.ask(f"TOP {n} 0") for n in numbers]))
    note("TOP n 0", FETCHED / seconds, "a second", "more")
    seconds = timed(lambda: [connection.command(f"DELE {n}") for n in numbers])
    note("DELE", FETCHED / seconds, "a second", "more")
    connection.command("RSET")
    connection.quit()


def remove(port: int, user: str, note: Callable[..., None]) -> None:
    """Have messages removed by QUIT."""
    connection = Connection(port, user)
    for number in range(1, REMOVED + 1):
        connection.command(f"DELE {number}")
    note(f"QUIT with {REMOVED} deletions", timed(connection.quit), "s")


@contextmanager
def servers(home: Path, number: int) -> Iterator[tuple[Peer, Peer]]:
    """Run both on what is in their homes; logs and accounts are new in each round."""
    ours = home / f"mailfw{number}"
    ours.mkdir()
    with dovecot(home / "dovecot") as theirs, mailfw(ours, f'store.path="{home}/mail"') as mine:
        yield theirs, mine


def main() -> None:
    """Interleave the peers, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=10_000)
    chosen = parser.parse_args()
    results = Results()
    home = Path(tempfile.mkdtemp(prefix="mailfw-bench-"))
    home.chmod(0o755)
    try:
        sizes = {"user0": chosen.messages} | {f"user{n}": SMALL for n in range(1, 9)}
        sizes |= {f"user{10 + n}": REMOVABLE for n in range(min(chosen.rounds, 10))}
        for user, count in sizes.items():
            make_maildir(home / "dovecot" / "mail" / user, count)
        (home / "mail").mkdir()
        subprocess.run(["cp", "-a", str(home / "dovecot" / "mail"), str(home / "mail" / DOMAIN)], check=True)
        for number in range(chosen.rounds):
            with servers(home, number) as peers:
                for peer in peers:
                    run(results, peer, number)
    finally:
        shutil.rmtree(home)
    print(results.table("mailfw", "Dovecot"))


if __name__ == "__main__":
    main()
