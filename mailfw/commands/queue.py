"""``mailfw queue`` and ``mailfw quarantine``: what waits, and what is to be done with it."""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from mailfw.commands.connection import Line, ask, remark
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import age, lines_of, octets, summary

#: What destroys: it is not done to everything for the asking.
_DESTROYING = ("bounce", "delete")
_MEANINGS = {
    "hold": "let nothing be done with messages until they are released",
    "release": "let held messages go",
    "retry": "try now what waits",
    "bounce": "give messages back to their senders",
    "delete": "delete messages; nobody is told",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)")


def add_parsers(families: Any) -> None:
    """Add both families to the command line."""
    _add_queue(families.add_parser("queue", help="look at the queue, and work on it"))
    _add_quarantine(families.add_parser("quarantine", help="look at what policies have set aside, and release it"))


def _add_queue(family: argparse.ArgumentParser) -> None:
    verbs = family.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="print the messages, one a line")
    _add_filters(listing)
    _add_json(listing)
    listing.set_defaults(run=list_messages, quarantined=None)
    _add_show(verbs)
    for name, meaning in _MEANINGS.items():
        _add_change(verbs, name, meaning, quarantined=None)
    counting = verbs.add_parser("stats", help="count what is there, by destination")
    _add_json(counting)
    counting.set_defaults(run=count)


def _add_quarantine(family: argparse.ArgumentParser) -> None:
    verbs = family.add_subparsers(metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="print the messages, one a line")
    _add_filters(listing)
    _add_json(listing)
    listing.set_defaults(run=list_messages, quarantined=True)
    _add_show(verbs)
    for name in ("release", "delete"):
        _add_change(verbs, name, _MEANINGS[name], quarantined=True)


def _add_show(verbs: Any) -> None:
    showing = verbs.add_parser("show", help="print all that is known of a message")
    showing.add_argument("id", metavar="ID")
    showing.add_argument("--header", action="store_const", const="header", dest="part", help="and its header")
    showing.add_argument("--content", action="store_const", const="content", dest="part", help="the message alone")
    _add_json(showing)
    showing.set_defaults(run=show, part="")


def _add_change(verbs: Any, name: str, meaning: str, quarantined: bool | None) -> None:
    changing = verbs.add_parser(name, help=meaning)
    changing.add_argument("ids", metavar="ID", nargs="*")
    changing.add_argument("--all", action="store_true", help="all messages, or all that the filters leave")
    changing.add_argument("--yes", action="store_true", help="even all there are")
    if name in ("hold", "bounce"):
        told = "why; the sender is told" if name == "bounce" else "why"
        changing.add_argument("--because", metavar="TEXT", default="", help=told)
    _add_filters(changing)
    _add_json(changing)
    changing.set_defaults(run=change, verb=name, quarantined=quarantined)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    filters = parser.add_argument_group("which messages")
    filters.add_argument("--older", metavar="AGE", type=_age, help="those that came so long ago: 90s, 30m, 2h, 5d, 1w")
    filters.add_argument(
        "--sender", metavar="WHO", help="an address, a domain, or a pattern: '*@example.org'; <>: none"
    )
    filters.add_argument("--recipient", metavar="WHO", help="the same for somebody who has not got it yet")
    filters.add_argument("--destination", metavar="WHERE", help="a domain, a route, or a pattern")
    filters.add_argument("--reason", metavar="TEXT", help="what is part of the last answer, or of why it is held")
    holding = filters.add_mutually_exclusive_group()
    holding.add_argument("--held", action="store_true", default=None, help="those that are held")
    holding.add_argument("--not-held", action="store_false", dest="held", help="the others")


def _age(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"not an age like 2h: {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _where(given: argparse.Namespace) -> dict[str, Any]:
    names = ("older", "sender", "recipient", "destination", "reason", "held", "quarantined")
    return {name: value for name in names if (value := getattr(given, name)) is not None}


# ---------------------------------------------------------------- looking


def list_messages(given: argparse.Namespace) -> int:
    """Print messages, and below each who waits for it and why."""
    found = 0

    def tell(line: Line) -> None:
        nonlocal found
        found += 1
        print(json.dumps(line) if given.json else "\n".join(summary(line)))

    ask(given, {"do": "list", "where": _where(given)}, tell)
    if not given.json:
        remark(f"{found} messages")
    return 0


def show(given: argparse.Namespace) -> int:
    """Print one message: what the queue knows of it, or what it is."""

    def tell(line: Line) -> None:
        if set(line) == {"octets"}:
            sys.stdout.flush()
            sys.stdout.buffer.write(base64.b64decode(line["octets"]))
        elif given.part != "content":
            print(json.dumps(line) if given.json else "\n".join(lines_of(line)), end="\n\n" if given.part else "\n")

    ask(given, {"do": "show", "id": given.id, "part": given.part}, tell)
    return 0


def count(given: argparse.Namespace) -> int:
    """Print the figures."""

    def tell(line: Line) -> None:
        print(json.dumps(line) if given.json else "\n".join(_figures(line)))

    ask(given, {"do": "stats"}, tell)
    return 0


def _figures(line: Line) -> Iterator[str]:
    yield f"{line['messages']} messages, {octets(line['octets'])}; {line['deferred']} were deferred"
    yield f"{line['held']} held, {line['quarantined']} in quarantine"
    if line["oldest"] is not None:
        yield f"the oldest came {age(line['oldest'])} ago"
    yield f"{line['in_memory']} in memory, {line['in_flight']} deliveries under way"
    since = line["since_start"]
    yield (
        f"recipients since the server started: {since['delivered']} delivered, {since['deferred']} deferred, "
        f"{since['failed']} failed"
    )
    most = sorted(line["destinations"].items(), key=lambda item: -item[1]["recipients"])
    for name, entry in most[:50]:
        lane = line["lanes"].get(name, {})
        reason = f"; {lane['reason']}" if lane.get("reason") else ""
        waiting = f"{entry['messages']} messages, {entry['recipients']} recipients"
        yield f"  {name or 'elsewhere'}: {waiting}, oldest {age(entry['oldest'])}{reason}"


# ---------------------------------------------------------------- changing


def change(given: argparse.Namespace) -> int:
    """Do something to messages; 1 where one of them could not be changed."""
    request = {
        "do": given.verb,
        "where": {**_selected(given), "ids": given.ids},
        "reason": getattr(given, "because", ""),
    }
    if len(given.ids) > 10_000:
        raise CommandRefused("so many ids are better said with a filter")
    counted = {"done": 0, "refused": 0}

    def tell(line: Line) -> None:
        counted["refused" if "refused" in line else "done"] += 1
        if given.json:
            print(json.dumps(line))
        elif "refused" in line:
            remark(f"{line['id']}: {line['refused']}")
        else:
            print(f"{line['id']}: {line['done']}")

    ask(given, request, tell)
    if not any(counted.values()):
        remark("no message is meant by that")
    return 1 if counted["refused"] else 0


def _selected(given: argparse.Namespace) -> dict[str, Any]:
    """Return the filters, where it is clear what is meant."""
    where = _where(given)
    filters = where.keys() - {"quarantined"}
    if given.ids and given.all:
        raise CommandRefused("name messages, or say --all")
    if not given.ids and not given.all and not filters:
        raise CommandRefused("say which messages: by their ids, by filters, or --all")
    if given.verb in _DESTROYING and not given.ids and not filters and not given.yes:
        raise CommandRefused(f"this would {given.verb} everything; if that is meant, say --yes too")
    return where
