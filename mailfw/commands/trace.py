"""``mailfw trace``: what has happened to a message."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from mailfw.commands.connection import Line, ask
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import moment, safe


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("trace", help="print the life of a message, also of one that is gone")
    parser.add_argument(
        "id", metavar="QUEUE-ID", help="the name that the server gave it, in its reply and Received field"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one event a line")
    parser.set_defaults(run=trace)


def trace(given: argparse.Namespace) -> int:
    """Print every event, oldest first."""
    found: list[Line] = []
    ask(given, {"do": "trace", "id": given.id}, found.append)
    if not found:
        raise CommandRefused(f"nothing is known of a message {given.id}, or no longer")
    for event in found:
        print(json.dumps(event) if given.json else "\n".join(_lines(event)))
    return 0


def _lines(event: Line) -> Iterator[str]:
    facts = {
        name: value for name, value in event.items() if name not in ("at", "id", "event") and value not in ("", [])
    }
    many = {name: value for name, value in facts.items() if isinstance(value, list)}
    few = "".join(f"  {name}={safe(value)}" for name, value in facts.items() if name not in many)
    yield f"{moment(event['at'])}  {safe(event['event'])}{few}"
    for name, values in many.items():
        for value in values:
            said = " ".join(safe(each) for each in value if each != "") if isinstance(value, list) else safe(value)
            yield f"    {name}: {said}"
