"""The entry point of the console command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mailfw import __version__
from mailfw.commands import (
    backup,
    check_relay,
    config,
    explain,
    mail,
    migrate,
    plugins,
    queue,
    send,
    store,
    trace,
    user,
)
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.words import safe
from mailfw.configuration import ConfigurationRefused, usual_file
from mailfw.plugins import PluginRefused


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 when it is done, 1 when it cannot be, 2 when the command line is wrong."""
    given = make_parser().parse_args(arguments)
    given.config = given.config or usual_file()
    try:
        code: int = given.run(given)
    except (CommandRefused, ConfigurationRefused, PluginRefused) as refused:
        print("mailfw: " + "\n".join(map(safe, str(refused).split("\n"))), file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read our output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def make_parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    parser = argparse.ArgumentParser("mailfw", description="Looks after a mailfw server; `twistd mailfw` runs it.")
    parser.add_argument("--version", action="version", version=f"mailfw {__version__}")
    parser.add_argument("-c", "--config", metavar="FILE", type=Path, help="the configuration, a TOML file")
    parser.add_argument(
        "-s", "--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help="set one key"
    )
    families = parser.add_subparsers(metavar="COMMAND", required=True)
    for family in (user, mail, queue, send, trace, backup, migrate, store, explain, check_relay, config, plugins):
        family.add_parsers(families)
    return parser
