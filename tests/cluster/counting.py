"""What tests of counts need."""

from __future__ import annotations

from typing import Any

from mailfw.accounts.attempts import AttemptLimits, LoginAttempts


def attempts(clock: Any) -> LoginAttempts:
    """Return a count of failed logins."""
    return LoginAttempts(clock, AttemptLimits(), "example.org")
