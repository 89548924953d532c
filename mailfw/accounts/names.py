"""The names of accounts: full addresses in lower case, and what a user may type in place of one."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mailfw.mail.address import normalise_domain
from mailfw.site import Site


class AccountRefusal(ValueError):
    """What was asked of the accounts cannot be done; the text is for the administrator."""


class NotAName(AccountRefusal):
    """No account can have this name."""


# Dot-string of RFC 5321 section 4.1.2 with the UTF8-non-ascii of RFC 6531 section 3.3, and without "/": an account's
# name becomes the name of a folder.
_LOCAL = re.compile(r"[^\s\x00-\x20\x7f\"(),./:;<>@\[\\\]]+(\.[^\s\x00-\x20\x7f\"(),./:;<>@\[\\\]]+)*")
# sub-domain = Let-dig [Ldh-str]                                                RFC 5321 section 4.1.2, with U-labels
_DOMAIN = re.compile(r"[^\W_]([\w-]*[^\W_])?(\.[^\W_]([\w-]*[^\W_])?)*")
#: RFC 5321 section 4.5.3.1.3: a path has at most 256 octets, and two of them are its angle brackets.
_LONGEST = 254


@lru_cache(maxsize=4096)
def full_name(name: str, default_domain: str) -> str:
    """
    Return the account name a user means by `name`: lower case, NFC, with a domain.

    A bare local part gets `default_domain`.  Raises `NotAName`, also where that is empty.
    """
    local, at, domain = unicodedata.normalize("NFC", name).rpartition("@")
    if not at:
        local, domain = domain, default_domain
    try:
        domain = normalise_domain(domain)
    except ValueError:
        raise NotAName("This is not a domain name")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise NotAName("An account's name is an address, such as ann@example.org")
    full = f"{local.lower()}@{domain}"
    if len(full.encode("utf-8", "surrogatepass")) > _LONGEST or not full.isprintable():
        raise NotAName("An account's name has at most 254 octets, all of them printable")
    return full


def default_domain(site: Site) -> str:
    """Return the domain that a bare name belongs to: the site's only one, or ``""`` where it has several."""
    return next(iter(site.domains)) if len(site.domains) == 1 else ""
