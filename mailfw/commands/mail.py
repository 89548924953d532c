"""``mailfw mail``: what accounts keep, what was expunged from them, and what they share."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mailfw.commands.connection import Line, ask, configuration_of, remark
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import age, octets, safe
from mailfw.mail.rights import LETTERS, BadRights, format_rights, parse_rights

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])", re.ASCII)
#: Rights in a word, before it is taken for letters.
_WORDS = {"none": "", "all": LETTERS}
_FILTERS = ("since", "mailbox", "subject", "sender")


def add_parsers(families: Any) -> None:
    """Add this family to the command line."""
    family = families.add_parser(
        "mail", help="look at the mail of accounts, put back what was expunged, share mailboxes"
    )
    verbs = family.add_subparsers(metavar="VERB", required=True)
    for name, run, meaning in (
        ("usage", usage, "print what an account keeps, and what it may"),
        ("retained", retained, "print the expunged messages that can be put back"),
        ("undelete", undelete, "put expunged messages back where they were"),
    ):
        verb = verbs.add_parser(name, help=meaning)
        verb.add_argument("account", metavar="ACCOUNT", help="a full address, or its local part in the first domain")
        if name != "usage":
            _add_filters(verb)
        if name == "undelete":
            verb.add_argument("--all", action="store_true", help="everything there is")
        else:
            verb.add_argument("--json", action="store_true", help="print JSON, one object a line")
        verb.set_defaults(run=run)
    _add_share(verbs)
    _add_shares(verbs)


def _add_share(verbs: Any) -> None:
    verb = verbs.add_parser("share", help="say what somebody may do with a mailbox of somebody else's")
    verb.add_argument("account", metavar="OWNER", help="whose mailbox it is")
    verb.add_argument("mailbox", metavar="MAILBOX", help="its name: INBOX, Work/2026")
    verb.add_argument("user", metavar="USER", help="an account, or anyone")
    verb.add_argument(
        "rights",
        metavar="RIGHTS",
        type=_rights,
        help=f"letters of {LETTERS} as in RFC 4314, say lrs to read; all or none",
    )
    verb.set_defaults(run=share)


def _add_shares(verbs: Any) -> None:
    verb = verbs.add_parser("shares", help="print what an account shares, and what is shared with it")
    verb.add_argument("account", metavar="ACCOUNT", help="a full address, or its local part in the first domain")
    verb.add_argument("--json", action="store_true", help="print JSON, one object a line")
    verb.set_defaults(run=shares)


def _rights(text: str) -> str:
    try:
        return _WORDS[text] if text in _WORDS else format_rights(parse_rights(text))
    except BadRights as bad:
        raise argparse.ArgumentTypeError(str(bad))


def _add_filters(parser: argparse.ArgumentParser) -> None:
    filters = parser.add_argument_group("which messages")
    filters.add_argument("--since", metavar="WHEN", type=_moment, help="expunged since then: 2h, 3d, 2026-05-01T14:30")
    filters.add_argument("--mailbox", metavar="NAME", help="that were in it, whatever the case: INBOX, Work/2026")
    filters.add_argument("--subject", metavar="TEXT", help="whose subject has this in it, whatever the case")
    filters.add_argument("--from", metavar="TEXT", dest="sender", help="the same for From: a name or an address")


def _moment(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is not None:
        return time.time() - float(match[1]) * _UNITS[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"neither a time like 2026-05-01T14:30 nor an age like 2h: {text!r}")


def usage(given: argparse.Namespace) -> int:
    """Print the figures of an account."""

    def tell(line: Line) -> None:
        print(json.dumps(line) if given.json else "\n".join(_figures(line)))

    ask(given, {"do": "usage", "account": _account(given)}, tell)
    return 0


def _figures(line: Line) -> Iterator[str]:
    octet_limit = f" of {octets(line['octet_limit'])}" if line["octet_limit"] else ""
    message_limit = f" of {line['message_limit']}" if line["message_limit"] else ""
    yield f"kept:     {line['messages']}{message_limit} messages, {octets(line['octets'])}{octet_limit}"
    yield f"retained: {line['retained_messages']} expunged messages, {octets(line['retained_octets'])} more"


def retained(given: argparse.Namespace) -> int:
    """Print expunged messages, one a line."""
    count = size = 0

    def tell(line: Line) -> None:
        nonlocal count, size
        count, size = count + 1, size + line["size"]
        print(json.dumps(line) if given.json else _row(line))

    ask(given, {"do": "retained", "account": _account(given), "where": _where(given)}, tell)
    if not given.json:
        remark(f"{count} messages, {octets(size)}")
    return 0


def _row(line: Line) -> str:
    words = [f"{age(line['expunged']):>4}", f"{octets(line['size']):>12}", safe(line["mailbox"])]
    return "  ".join([*words, safe(line["from"]) or "(nobody)", safe(line["subject"]) or "(no subject)"])


def undelete(given: argparse.Namespace) -> int:
    """Put messages back."""
    where = _where(given)
    if bool(where) == given.all:
        raise CommandRefused("say which messages: by filters, or --all")

    def tell(line: Line) -> None:
        print(f"{line['done']} messages are back")

    ask(given, {"do": "undelete", "account": _account(given), "where": where}, tell)
    return 0


def share(given: argparse.Namespace) -> int:
    """Give somebody exactly these rights to a mailbox."""

    def tell(line: Line) -> None:
        print(_sharing(line))

    asked = {"account": _account(given), "mailbox": given.mailbox, "user": given.user, "rights": given.rights}
    ask(given, {"do": "share", **asked}, tell)
    return 0


def shares(given: argparse.Namespace) -> int:
    """Print who may do what with whose mailboxes, one a line."""

    def tell(line: Line) -> None:
        print(json.dumps(line) if given.json else _sharing(line))

    ask(given, {"do": "shares", "account": _account(given)}, tell)
    return 0


def _sharing(line: Line) -> str:
    return f"{safe(line['owner'])}  {safe(line['mailbox'])}  {safe(line['user'])}  {line['rights'] or 'none'}"


def _where(given: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name in _FILTERS if (value := getattr(given, name)) is not None}


def _account(given: argparse.Namespace) -> str:
    name: str = given.account.lower()
    return name if "@" in name else f"{name}@{configuration_of(given).domains[0]}"
