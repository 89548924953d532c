"""What an administrator can choose about the IMAP server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mailfw.imap.allowances import Allowance, Rule
from mailfw.sasl.mechanisms import USUAL


@dataclass(frozen=True, slots=True)
class IMAPSettings:
    """
    Choices that all sessions of a listener share.

    `tls` is a context factory for STARTTLS, None where it is not offered.  `allow_plaintext_auth` permits
    passwords in the clear.  `mechanisms` are those of SASL that may be used.  `allowance` is what clients may ask for,
    and `rules` what holds for some of them.  `jmap_url` is where the same mail is to be had by JMAP, if it is.
    `quota_setters` are accounts that may set quotas, anybody's.  `annotations` are the server's, of RFC 5464 section
    6.2.1, by name in lower case.  `software` and `version` are what ID tells.
    """

    hostname: str
    tls: Any | None = None
    allow_plaintext_auth: bool = False
    mechanisms: Sequence[str] = USUAL
    allowance: Allowance = field(default_factory=Allowance)
    rules: Sequence[Rule] = ()
    jmap_url: str = ""
    quota_setters: frozenset[str] = frozenset()
    annotations: Mapping[str, bytes] = field(default_factory=dict)
    software: str = "mailfw"
    version: str = ""
