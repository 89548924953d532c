"""``mailfw check-relay``: would a server send mail of strangers to others?"""

from __future__ import annotations

import argparse
import re
import smtplib
from collections.abc import Iterator
from typing import Any

from mailfw.commands.refusal import CommandRefused

#: Whom a stranger may say that a message is from.
SENDERS = ("<>", "<spoof@[192.0.2.1]>", "<eve@far.example>", "<postmaster@{ours}>")
#: Addresses of others, and the classic ways of hiding that they are: RFC 5321 section 4.1.3, appendix C.
FOREIGN = (
    "<u@remote.example>",
    '<"u@remote.example">',
    "<@{ours}:u@remote.example>",
    "<@{ours},@other.example:u@remote.example>",
    "<u@remote.example@{ours}>",
    "<u@[192.0.2.9]>",
    "<u@[127.0.0.1]>",
    "<u@[IPv6:2001:db8::9]>",
    "<u@REMOTE.example.>",
    "u@remote.example",
)
#: These are ours, and nobody's; where another server has our mailboxes, it is for that one to say so.
HIDDEN = ('<"u@remote.example"@{ours}>', "<u%remote.example@{ours}>", "<remote.example!u@{ours}>")
#: Seconds for an answer: RFC 5321 section 4.5.3.2.
_PATIENCE = 300.0


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("check-relay", help="try whether a server sends mail of strangers to others")
    parser.add_argument("server", metavar="HOST[:PORT]", help="as strangers reach it; the port is 25")
    parser.add_argument("--domain", metavar="DOMAIN", help="one of its own; what it greets with otherwise")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Ask for every address from every sender, send nothing, and print the answers that are no refusal."""
    host, port = _host_and_port(given.server)
    taken = unsure = asked = 0
    try:
        for sender, recipient, code, text in _answers(host, port, given.domain):
            asked += 1
            if 500 <= code <= 599:
                continue
            taken, unsure = taken + (code < 400), unsure + (code >= 400)
            print(f"{'taken' if code < 400 else 'put off'}: from {sender} to {recipient}: {code} {text}")
    except (OSError, smtplib.SMTPException) as reason:
        raise CommandRefused(f"{given.server}: {reason}")
    print(f"{asked} ways tried, {taken} taken, {unsure} put off: {_verdict(taken, unsure)}")
    return 1 if taken or unsure else 0


def _verdict(taken: int, unsure: int) -> str:
    if taken:
        return "strangers can send to others through this server"
    return "try again later" if unsure else "this server relays for no stranger"


def _host_and_port(text: str) -> tuple[str, int]:
    """Read ``host``, ``host:port``, ``[::1]`` or ``[::1]:port``."""
    found = re.fullmatch(r"(?:\[([^]]+)]|([^:]+))(?::(\d{1,5}))?", text, re.ASCII)
    if found is None:
        raise CommandRefused(f"{text}: this is neither HOST nor HOST:PORT")
    return found[1] or found[2], int(found[3] or smtplib.SMTP_PORT)


def _answers(host: str, port: int, domain: str | None) -> Iterator[tuple[str, str, int, str]]:
    """Yield each sender, recipient, and what the server says; each sender has a connection of its own."""
    for sender in SENDERS:
        client, greeted = _connect(host, port)
        ours = domain or greeted
        for recipient in FOREIGN + HIDDEN:
            asked = sender.format(ours=ours), recipient.format(ours=ours)
            try:
                answer = _ask(client, *asked)
            except smtplib.SMTPServerDisconnected:  # it has heard enough mistakes
                client, _ = _connect(host, port)
                answer = _ask(client, *asked)
            yield (*asked, *answer)
        client.close()


def _connect(host: str, port: int) -> tuple[smtplib.SMTP, str]:
    """Return a connection, and the name by which the server greets."""
    client = smtplib.SMTP(host, port, timeout=_PATIENCE)
    said = client.ehlo("stranger.example")[1].decode("utf-8", "replace").split()
    return client, said[0] if said else host


def _ask(client: smtplib.SMTP, sender: str, recipient: str) -> tuple[int, str]:
    """Return the answer to RCPT, or to MAIL where that is a refusal already."""
    client.docmd("RSET")
    code, text = client.docmd(f"MAIL FROM:{sender}")
    if code < 400:
        code, text = client.docmd(f"RCPT TO:{recipient}")
    if code == 421:
        raise smtplib.SMTPServerDisconnected
    return code, text.decode("utf-8", "replace").replace("\n", " ")
