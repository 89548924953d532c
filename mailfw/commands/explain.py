"""``mailfw explain``: where mail for an address would go, and why."""

from __future__ import annotations

import argparse
from typing import Any

from mailfw.commands.connection import in_reactor


def add_parsers(families: Any) -> None:
    """Add this command to the command line."""
    parser = families.add_parser("explain", help="print every step of routing for an address; nothing is sent")
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--sender", metavar="ADDRESS", help="whom the message would be from")
    parser.add_argument("--require-tls", action="store_true", help="as for a message with REQUIRETLS")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Print the steps; the name servers are asked as for a delivery."""
    from mailfw.commands.explanation import Question

    question = Question.read(given)

    async def answer(reactor: Any) -> None:
        for line in await question.answer(reactor):
            print(line)

    in_reactor(answer)
    return 0
