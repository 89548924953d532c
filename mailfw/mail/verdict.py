"""What a policy may decide.  `None` in place of a verdict means: no opinion, ask the next one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accept:
    """End this question with yes: the policies after this one are not asked at this stage."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer 5yz: the mail will not be taken, now or later."""

    reason: str
    status: str = "5.7.1"
    code: int = 550


@dataclass(frozen=True, slots=True)
class Defer:
    """Answer 4yz: the sender should try again later."""

    reason: str
    status: str = "4.7.1"
    code: int = 451


@dataclass(frozen=True, slots=True)
class Quarantine:
    """
    Take the message, but file it in the recipient's Junk mailbox; `fields` are added as `Modify` does.

    What would leave this site is held as with `Hold`.
    """

    reason: str
    fields: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Hold:
    """
    Take the message and keep it in the queue's quarantine until somebody releases or deletes it.

    Only `on_message` may answer this.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Say 250 and keep nothing; the reason is logged."""

    reason: str


@dataclass(frozen=True, slots=True)
class Modify:
    """
    Add header fields at the top of the message and go on asking; only `on_message` may answer this.

    Each field is a name and an unfolded value without CR, LF or NUL.
    """

    fields: tuple[tuple[str, str], ...]


Verdict = Accept | Refuse | Defer | Quarantine | Hold | Discard | Modify
