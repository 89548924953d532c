"""How the commands say what is known of a message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mailfw.mail.message import printable

_AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))
#: Recipients that a list shows of one message.
_SHOWN = 5


def age(when: float, now: float | None = None) -> str:
    """Return how long ago something was, in its largest unit."""
    passed = max(0.0, (time.time() if now is None else now) - when)
    size, unit = next((each for each in _AGES if passed >= each[0]), _AGES[-1])
    return f"{passed / size:.0f}{unit}"


def moment(when: float) -> str:
    """Return a time as this machine's clock shows it."""
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def octets(count: int) -> str:
    """Return a size that can be taken in at once."""
    size = float(count)
    for unit in ("octets", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "octets" else f"{size:.1f} {unit}"
        size /= 1024
    return ""


def safe(text: object) -> str:
    """Return foreign text as a terminal may see it."""
    return printable(str(text), 2000)


def summary(line: dict[str, Any]) -> Iterator[str]:
    """Yield a message in a few lines."""
    state = f"  HELD: {safe(line['held'])}" if line["held"] else ""
    sender = safe(line["sender"] or "<>")
    yield f"{line['id']}  {age(line['arrived']):>4}  {octets(line['size']):>12}  {sender}{state}"
    waiting = line["recipients"]
    for one in waiting[:_SHOWN]:
        yield f"    {safe(one['address'])}  by {safe(one['route']) or '?'}{_last(one)}"
    if len(waiting) > _SHOWN:
        yield f"    and {len(waiting) - _SHOWN} more recipients"


def _last(one: dict[str, Any]) -> str:
    if not one["reply"]:
        return ""
    host = f"{safe(one['host'])}: " if one["host"] else ""
    return f"\n        {host}{safe(one['reply'])}"


def lines_of(line: dict[str, Any]) -> Iterator[str]:
    """Yield all that is known of a message."""
    yield f"id:         {line['id']}"
    yield f"sender:     {safe(line['sender'] or '<>')}"
    yield f"arrived:    {moment(line['arrived'])} ({age(line['arrived'])} ago)"
    yield f"size:       {octets(line['size'])}"
    if line["due"]:
        yield f"next try:   {moment(line['due'])}"
    for key in ("held", "account", "client", "envid", "priority"):
        if line[key]:
            yield f"{key + ':':<12}{safe(line[key])}"
    for key in ("junk", "warned", "smtputf8", "require_tls", "tls_optional"):
        if line[key]:
            yield f"{key + ':':<11} yes"
    for one in line["recipients"]:
        original = f" (for {safe(one['original'])})" if one["original"] != one["address"] else ""
        yield f"recipient:  {safe(one['address'])}{original}"
        yield f"    by {safe(one['route']) or '?'}, {one['attempts']} attempts, next {moment(one['due'])}"
        if one["reply"]:
            yield f"    {safe(one['host']) + ': ' if one['host'] else ''}{safe(one['reply'])}"
    for one in line["owed"]:
        yield f"to report:  {safe(one['original'])} {one['action']}: {safe(one['reply'])}"
