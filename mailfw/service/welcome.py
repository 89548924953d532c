"""What a server says when it has started: what listens where, and how to send and read a message."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from mailfw import __version__
from mailfw.http.autoconfig import Listener

#: What stands for the password where it is not known.
SOME_PASSWORD = "PASSWORD"  # noqa: S105  # no password


def welcome(
    hostname: str,
    domains: Sequence[str],
    listeners: Sequence[Listener],
    account: str | None = None,
    password: str | None = None,
) -> str:
    """
    Return some lines for a person: `account` is one to try with, `password` its own if it was made just now.

    The commands need Python alone and can be pasted as they are.
    """
    lines = [f"mailfw {__version__} on {hostname} serves mail for {', '.join(domains)}"]
    lines += [f"  {each.service:<12} {each}" for each in listeners]
    if password is not None:
        lines += [f"First account: {account}", f"     Password: {password}     (it is not shown again)"]
    if account is not None:
        lines += _first_message(listeners, account, password or SOME_PASSWORD)
    return "\n".join(lines)


def _first_message(listeners: Iterable[Listener], account: str, password: str) -> list[str]:
    places: dict[str, Listener] = {}
    for listener in listeners:
        if listener.port:
            places.setdefault(listener.service, listener)
    lines = []
    if "smtp" in places:
        lines += ["Send a message:", "  " + send_command(places["smtp"], account)]
    if "imaps" in places:
        lines += ["Read the newest:", "  " + read_command(places["imaps"], account, password)]
    return lines


def _reachable(listener: Listener) -> str:
    """Return an address to connect to; a server that listens everywhere is here too."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)  # noqa: S104  # not bound here


def send_command(listener: Listener, account: str) -> str:
    """Return a shell command that sends a message to the account."""
    script = (
        f'import smtplib; smtplib.SMTP("{_reachable(listener)}", {listener.port}).sendmail("somebody@example.org", '
        f'["{account}"], "Subject: Hello\\n\\nIt works.\\n")'
    )
    return shlex.join(["python3", "-c", script])


def read_command(listener: Listener, account: str, password: str) -> str:
    """Return a shell command that prints the newest message of the account's inbox."""
    script = (
        f'import imaplib; m = imaplib.IMAP4_SSL("{_reachable(listener)}", {listener.port}); '
        f'm.login("{account}", "{password}"); m.select(); print(m.fetch("*", "BODY.PEEK[]")[1][0][1].decode())'
    )
    return shlex.join(["python3", "-c", script])
