"""``mailfw send``: hands a message to the queue, as `sendmail` does."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from mailfw.commands.connection import Line, ask, configuration_of
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.submission import read_message, recipients_of
from mailfw.configuration import Configuration


@dataclass(slots=True)
class Letter:
    """What is said of a message beside itself; `sender` is None where nobody was named, ``""`` for nobody at all."""

    recipients: list[str] = field(default_factory=list)
    sender: str | None = None
    name: str = ""
    from_header: bool = False
    ignore_dots: bool = False
    notify: str = ""
    returns: str = ""
    envid: str = ""


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("send", help="hand a message on standard input to the queue")
    parser.add_argument("recipients", metavar="RECIPIENT", nargs="*")
    parser.add_argument(
        "-f", metavar="SENDER", dest="sender", help="whom to tell if it cannot be delivered; '': nobody"
    )
    parser.add_argument("-F", metavar="NAME", dest="name", default="", help="the name in From, if the message has none")
    parser.add_argument("-t", action="store_true", dest="from_header", help="to those in To, Cc and Bcc too")
    parser.add_argument("-i", action="store_true", dest="ignore_dots", help="a dot alone on a line ends nothing")
    parser.add_argument(
        "-N", metavar="WHEN", dest="notify", default="", help="tell the sender of: success,failure,delay or never"
    )
    parser.add_argument("-R", metavar="WHAT", dest="returns", default="", help="give back in a report: full or hdrs")
    parser.add_argument("-V", metavar="ENVID", dest="envid", default="", help="a name for it that a report repeats")
    parser.set_defaults(run=send)


def send(given: argparse.Namespace) -> int:
    """Hand the message over and print the name it has in the queue."""
    letter = Letter(
        recipients=given.recipients,
        sender=given.sender,
        name=given.name,
        from_header=given.from_header,
        ignore_dots=given.ignore_dots,
        notify=given.notify,
        returns=given.returns,
        envid=given.envid,
    )
    print(hand_over(given, letter, sys.stdin.buffer))
    return 0


def hand_over(given: argparse.Namespace, letter: Letter, source: BinaryIO) -> str:
    """Put a message into the queue and return its name there.  Raises `CommandRefused`."""
    configuration = configuration_of(given)
    sender = _sender(letter, configuration)
    author = f'"{_quotable(letter.name)}" <{sender}>' if letter.name else sender
    message = read_message(
        source, not letter.ignore_dots, configuration.limits.message_size, author or "<mailer-daemon>"
    )
    with message.file:
        found = [*letter.recipients, *(recipients_of(message.header) if letter.from_header else ())]
        if not found:
            raise CommandRefused("no recipients are named")
        recipients = [_full(each, configuration) for each in found]
        request = {
            "do": "send",
            "sender": sender,
            "recipients": recipients,
            "size": message.size,
            "eight_bit": not message.is_ascii,
            "smtputf8": not all(each.isascii() for each in (sender, *recipients)),
            "notify": letter.notify,
            "returns": _returns(letter.returns),
            "envid": letter.envid,
        }
        names: list[Line] = []
        ask(given, request, names.append, message.file)
    return str(names[0]["id"])


def _sender(letter: Letter, configuration: Configuration) -> str:
    if letter.sender is None:
        try:
            return _full(pwd.getpwuid(os.getuid()).pw_name, configuration)
        except KeyError:
            raise CommandRefused("this user has no name; say who sends with -f")
    return _full(letter.sender, configuration) if letter.sender not in ("", "<>") else ""


def _full(address: str, configuration: Configuration) -> str:
    """Return an address with a domain, ours where it has none."""
    address = address.strip().removeprefix("<").removesuffix(">")
    return address if "@" in address else f"{address}@{configuration.domains[0]}"


def _quotable(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _returns(said: str) -> str:
    if said.upper() not in ("", "FULL", "HDRS"):
        raise CommandRefused(f"-R takes full or hdrs, not {said}")
    return said.upper()
