"""A fixed host that mail is handed to, as one writes it in a configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

#: The port of each scheme, RFC 5321 section 4.5.4.2, RFC 8314 section 3.3, IANA's lmtp; of ``smtp`` with a user it
#: is `SUBMISSION_PORT`.
PORTS = {"smtp": 25, "smtps": 465, "lmtp": 24}
SUBMISSION_PORT = 587
#: The values of ``?tls=``: those of `mailfw.mail.hop.TLSLevel`.
TLS_LEVELS = ("none", "may", "encrypt", "verify")

_EXAMPLE = "write smtp://host:port, smtps://user:password@host, lmtp://host:port or lmtp:///path/of/socket"
# reg-name, RFC 3986 section 3.2.2, as far as it can be a host's name, in whichever alphabet
_NAME = re.compile(r"[^\W_]([\w-]*\w)?(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class Destination:
    """
    A URL of a host: `scheme` is ``smtp``, ``smtps`` or ``lmtp``; an LMTP socket has a `path` and neither host nor port.

    `host` is a name or an IP address without brackets.  `tls` is one of `TLS_LEVELS`, ``""`` for what scheme
    and login ask for by themselves.  As text it is what a `Route` has: without password.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    user: str = ""
    tls: str = ""
    password: str = field(default="", repr=False, compare=False)
    password_file: str = field(default="", compare=False)

    @classmethod
    def read(cls, url: str) -> Destination:
        """Read ``scheme://user:password@host:port?tls=verify``.  Raises `ValueError`, which repeats no password."""
        try:
            if not url.isprintable() or " " in url:
                raise ValueError
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"no URL ({_EXAMPLE}; in a password / ? # @ and : are written %2F %3F %23 %40 %3A)")
        scheme = parts.scheme
        if scheme not in PORTS:
            raise ValueError(f"no such scheme ({_EXAMPLE})")
        if parts.fragment or (parts.path not in ("", "/") and parts.netloc):
            raise ValueError("nothing may follow the port (in a password / ? and # are written %2F %3F %23)")
        options = _options(parts.query)
        if not parts.netloc:
            return _socket(scheme, unquote(parts.path), options)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if password and not user:
            raise ValueError("a password without a user")
        port = (SUBMISSION_PORT if scheme == "smtp" and user else PORTS[scheme]) if port is None else port
        if port == 0:
            raise ValueError("no port 0")
        host = _host(parts.hostname or "")
        return cls(scheme, host, port, "", user, options.get("tls", ""), password, options.get("password_file", ""))

    def __str__(self) -> str:
        query = f"?tls={self.tls}" if self.tls else ""
        if self.path:
            return f"{self.scheme}://{quote(self.path)}{query}"
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{user}{host}:{self.port}{query}"

    def with_password(self) -> Destination:
        """Return it with the password that its file has, if it names one.  Raises `ValueError`."""
        if not self.password_file:
            return self
        try:
            text = Path(self.password_file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as reason:
            raise ValueError(f"{self.password_file}: {getattr(reason, 'strerror', '') or reason}") from reason
        password = text.removesuffix("\n").removesuffix("\r")
        if not password:
            raise ValueError(f"{self.password_file} is empty")
        return replace(self, password=password)


def is_destination(text: str) -> bool:
    """Whether a text is meant to be such a URL, right or not."""
    return "://" in text


def without_password(text: str) -> str:
    """Return a text that may be such a URL as it may be shown to anybody."""
    # userinfo = *( unreserved / pct-encoded / sub-delims / ":" )     RFC 3986 section 3.2.1
    return re.sub(r"(?<=://)([^:/?#]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name == "tls" and value not in TLS_LEVELS:
            raise ValueError(f"tls must be one of {', '.join(TLS_LEVELS)}, not {value!r}")
        if name == "password_file" and not Path(value).is_absolute():
            raise ValueError(f"password_file must be an absolute path, not {value!r}")
        if name not in ("tls", "password_file"):
            raise ValueError(f"no such option: {name!r} (there is tls and password_file)")
    return options


def _socket(scheme: str, path: str, options: dict[str, str]) -> Destination:
    if scheme != "lmtp" or len(path) < 2 or "\0" in path:
        raise ValueError(f"no host ({_EXAMPLE})")
    return Destination(scheme, path=path, tls=options.get("tls", ""))


def _host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        if len(host) > 255 or not _NAME.fullmatch(host.removesuffix(".")):
            raise ValueError("no host's name")
        return host.removesuffix(".")
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("a link-local address reaches no other network")
    return str(address)
