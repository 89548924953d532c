"""What one client is offered and may ask for: the site's choice, and what rules say otherwise for some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from mailfw.network import Networks


@dataclass(frozen=True, slots=True)
class Allowance:
    """
    Limits of one client's commands.

    `without` names capabilities that it is not offered, of which nothing is understood, with all that need these:
    `mailfw.imap.capabilities.switched_off`.  `line` and `command` are
    octets: of one line, and of a whole command without the message that it brings; RFC 9051 sets no limits, and clients
    name thousands of UIDs.
    `search_time` are seconds that the server works for one search.  `sessions` is how many one account may have.
    `messages` is on how many one command works (RFC 9738), 0 for any number.
    """

    without: frozenset[bytes] = frozenset()
    line: int = 64 * 1024
    command: int = 1024 * 1024
    append: int = 50 * 1024 * 1024
    search_time: float = 60.0
    sessions: int = 100
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """
    What holds for some clients in place of the site's choice; None is as it was.

    `accounts` are full names or domains, `programs` patterns of what a client calls itself by ID (RFC 2971), ``*``
    standing for anything, in lower case.  A rule that names none of a kind is for all.  `without` comes on top.
    """

    accounts: Sequence[str] = ()
    networks: Networks = field(default_factory=Networks)
    programs: Sequence[str] = ()
    without: frozenset[bytes] = frozenset()
    line: int | None = None
    command: int | None = None
    append: int | None = None
    search_time: float | None = None
    sessions: int | None = None
    messages: int | None = None

    def is_for(self, account: str, address: str, program: str) -> bool:
        """Whether the rule is for a client; before login, and before ID, it is for none that names such."""
        if self.accounts and not {account, account.rpartition("@")[2]} & set(self.accounts):
            return False
        if self.networks and not self.networks.have(address):
            return False
        return not self.programs or any(fnmatchcase(program.lower(), pattern) for pattern in self.programs)


_LIMITS = [each.name for each in fields(Allowance) if each.name != "without"]


def allowed(site: Allowance, rules: Sequence[Rule], account: str, address: str, program: str) -> Allowance:
    """Return what a client is allowed: of rules that set the same, the last one counts."""
    found = site
    for rule in rules:
        if rule.is_for(account, address, program):
            said: dict[str, Any] = {name: getattr(rule, name) for name in _LIMITS}
            changed = {name: value for name, value in said.items() if value is not None}
            found = replace(found, without=found.without | rule.without, **changed)
    return found


#: Under what name processes tell each other of the sessions of accounts, in the place of a service's.
BY_ACCOUNT = "accounts"


class SessionsElsewhere(Protocol):
    """The sessions of accounts with other processes; news of ours go there."""

    def of(self, client: str) -> int:
        """Return how many an account has."""

    def changed(self, client: str, by: int) -> None:
        """Hear that it has one more, or one less, here."""


class SessionCount:
    """Counts the sessions of each account."""

    def __init__(self, elsewhere: SessionsElsewhere | None = None) -> None:
        self._here: Counter[str] = Counter()
        self._elsewhere = elsewhere

    def admit(self, account: str, limit: int) -> bool:
        """Count a session, or refuse it and return False; with the limit 0 there may be any number."""
        if limit and self._here[account] + (self._elsewhere.of(account) if self._elsewhere else 0) >= limit:
            return False
        self._change(account, 1)
        return True

    def release(self, account: str) -> None:
        """Count an admitted session no more."""
        self._change(account, -1)

    def _change(self, account: str, by: int) -> None:
        self._here[account] += by
        if not self._here[account]:
            del self._here[account]
        if self._elsewhere:
            self._elsewhere.changed(account, by)
