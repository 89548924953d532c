"""``mailfw-sendmail``: the command by which programs have sent mail since there are any, as far as they use it."""

from __future__ import annotations

import argparse
import getopt
import sys
from collections.abc import Sequence
from pathlib import Path

from mailfw.commands.connection import TryLater, ask
from mailfw.commands.queue import list_messages
from mailfw.commands.refusal import CommandRefused
from mailfw.commands.send import Letter, hand_over
from mailfw.configuration import ConfigurationRefused, usual_file
from mailfw.plugins import PluginRefused

#: What the options of sendmail(1) and of Postfix's are; with a colon they have a value.
_OPTIONS = "A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:tvx"

# sysexits.h
EX_USAGE, EX_DATAERR, EX_NOUSER, EX_UNAVAILABLE, EX_IOERR, EX_TEMPFAIL, EX_CONFIG = 64, 65, 67, 69, 74, 75, 78

_NOT_OFFERED = {
    "s": "SMTP on standard input is not offered; use the submission port",
    "d": "twistd mailfw runs the server",
    "D": "twistd mailfw runs the server",
    "v": "addresses are explained by mailfw explain",
}


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> None:
    """Do what `sendmail` would, and exit with a code of sysexits.h."""
    called = Path(program or sys.argv[0]).name
    try:
        code = _run(called, list(sys.argv[1:] if arguments is None else arguments))
    except getopt.GetoptError as wrong:
        code = _say(wrong, EX_USAGE)
    except TryLater as later:
        code = _say(later, EX_TEMPFAIL)
    except CommandRefused as refused:
        code = _say(refused, _code_of(str(refused)))
    except (ConfigurationRefused, PluginRefused) as refused:
        code = _say(refused, EX_CONFIG)
    except OSError as broken:
        code = _say(broken, EX_IOERR)
    except KeyboardInterrupt:
        code = EX_TEMPFAIL
    sys.exit(code)


def _say(reason: Exception, code: int) -> int:
    print(f"sendmail: {reason}", file=sys.stderr)
    return code


def _code_of(refusal: str) -> int:
    """Return the code for a refusal in the words of the server: a status says more than a name."""
    for status, code in ((" 5.1.1 ", EX_NOUSER), (" 5.6.", EX_DATAERR), (" 5.3.4", EX_DATAERR)):
        if status in refusal:
            return code
    return EX_UNAVAILABLE


def _run(called: str, arguments: list[str]) -> int:
    flush = [each for each in arguments if each.startswith("-q")]
    options, recipients = getopt.gnu_getopt([each for each in arguments if each not in flush], _OPTIONS)
    given = argparse.Namespace(config=_configuration(options), settings=[])
    mode = _mode(called, options)
    if mode in _NOT_OFFERED:
        raise CommandRefused(_NOT_OFFERED[mode])
    if mode == "i":
        return 0  # newaliases: aliases are read as they are written
    if mode == "p":
        return _list(given)
    if flush:
        ask(given, {"do": "retry", "where": {"held": False}}, lambda _: None)
        return 0
    hand_over(given, _letter(options, recipients), sys.stdin.buffer)
    return 0


def _mode(called: str, options: list[tuple[str, str]]) -> str:
    implied = {"mailq": "p", "newaliases": "i"}.get(called, "m")
    return next((value[:1] for option, value in reversed(options) if option == "-b"), implied)


def _configuration(options: list[tuple[str, str]]) -> Path | None:
    named = dict(options).get("-C")
    return Path(named) if named else usual_file()


def _letter(options: list[tuple[str, str]], recipients: list[str]) -> Letter:
    """Read what concerns a message; all other options are for another program's insides, and pass."""
    letter = Letter(recipients=recipients)
    for option, value in options:
        if option in ("-f", "-r"):
            letter.sender = value
        elif option == "-F":
            letter.name = value
        elif option == "-t":
            letter.from_header = True
        elif option == "-i" or (option == "-o" and value == "i"):
            letter.ignore_dots = True
        elif option == "-N":
            letter.notify = value
        elif option == "-R":
            letter.returns = value
        elif option == "-V":
            letter.envid = value
    return letter


def _list(given: argparse.Namespace) -> int:
    everything = dict.fromkeys(("older", "sender", "recipient", "destination", "reason", "held", "quarantined"))
    return list_messages(argparse.Namespace(json=False, **everything, **vars(given)))
