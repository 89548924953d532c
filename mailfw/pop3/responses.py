"""Everything a POP3 server says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailfw.pop3.languages import ENGLISH, Language


@dataclass(frozen=True, slots=True)
class Answer:
    """
    A status line: its English text, the key of its translations, with ``{}`` where values go.

    `code` is a response code of RFC 2449 section 8, RFC 3206 sections 4 and 5, or RFC 6856 section 5.
    """

    is_positive: bool
    text: str
    code: str = ""

    def octets(self, language: Language = ENGLISH, *values: object) -> bytes:
        """Return the line as it is sent; a code comes before the text, and is never translated."""
        text = language.translate(self.text)
        if values:
            text = text.format(*values)
        if self.code:
            text = f"[{self.code}] {text}"
        return f"{'+OK' if self.is_positive else '-ERR'} {text}\r\n".encode()


class Refused(Exception):
    """A command is answered with `answer` and has no effect; `values` go into its text."""

    def __init__(self, answer: Answer, *values: object) -> None:
        super().__init__(answer)
        self.answer = answer
        self.values = values


def ok(text: str) -> Answer:
    """Return a positive answer."""
    return Answer(True, text)


def err(text: str, code: str = "") -> Answer:
    """Return a negative answer."""
    return Answer(False, text, code)


#: What stands before a challenge (RFC 5034 section 4).
CHALLENGE = b"+ "
END = b".\r\n"

# order and syntax
UNKNOWN_COMMAND = err("Command not known here")
LINE_TOO_LONG = err("Line too long")
TOO_MANY_ERRORS = err("Too many errors")
NOT_BEFORE_LOGIN = err("Log in first")
NOT_AFTER_LOGIN = err("You have logged in already")

# logging in: RFC 3206 tells what is wrong with the user from what is wrong with us
NAME_TAKEN = ok("Now the password")
NAME_FIRST = err("USER first")
LOGIN_FAILED = err("Name or password is wrong", "AUTH")
TOO_MANY_LOGINS = err("Name or password is wrong; too many attempts", "AUTH")
PASSWORDS_NEED_TLS = err("Passwords are taken under TLS only", "AUTH")
NO_PASSWORDS = err("No passwords are taken here", "AUTH")
UNKNOWN_MECHANISM = err("This mechanism is not known here")
CANCELLED = err("Cancelled")
BAD_EXCHANGE = err("This does not follow the mechanism")
THROTTLED = err("Too many failed logins; try again later", "AUTH")
NOT_BASE64 = err("This is not base64")
UNAVAILABLE = err("Logins cannot be checked at the moment", "SYS/TEMP")
IN_USE = err("Another session has this maildrop", "IN-USE")
TOO_SOON = err("Too soon after the last login; wait {} seconds", "LOGIN-DELAY")
NO_MAILDROP = err("This maildrop cannot be opened; tell the postmaster", "SYS/PERM")

# TLS
BEGIN_TLS = ok("Begin TLS")
TLS_ALREADY = err("This is under TLS already")
NO_TLS = err("TLS is not offered here")
TLS_TOO_LATE = err("STLS comes before UTF8")

# text in other alphabets
UTF_8 = ok("UTF-8 from now on")
LANGUAGE_LIST = ok("Languages")
NO_SUCH_LANGUAGE = err("This language is not spoken here")

# the maildrop
NO_SUCH_MESSAGE = err("No such message")
MESSAGE_GONE = err("This message is no longer there")
DONE = ok("Done")
STATISTICS = ok("{} messages ({} octets)")
SIZE = ok("{} octets")
TOP = ok("Top of message")
CAPABILITIES = ok("What there is")
FAULT = err("Something is wrong here; try again later", "SYS/TEMP")

# the end
GOODBYE = ok("Goodbye")
NOT_REMOVED = err("Some messages were not removed", "SYS/TEMP")
SHUTTING_DOWN = err("The server stops; try again later", "SYS/TEMP")
TOO_MANY_CONNECTIONS = err("Too many connections; try again later", "SYS/TEMP")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """
    What CAPA tells: whether STLS and USER can be used now, AUTH with which mechanisms, and what the site's rules are.

    `expire` is how many days mail may stay, None without end; `login_delay` seconds between two logins, 0 for any.
    """

    tls: bool
    passwords: bool
    mechanisms: Sequence[str]
    expire: int | None
    login_delay: int
    software: str

    def names(self) -> list[str]:
        """Return the lines; arguments follow a space (RFC 2449 section 5)."""
        names = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"]
        names.append("EXPIRE NEVER" if self.expire is None else f"EXPIRE {self.expire}")
        if self.login_delay:
            names.append(f"LOGIN-DELAY {self.login_delay}")
        names += ["UTF8 USER" if self.passwords else "UTF8", "LANG"]  # RFC 6856 sections 2.2 and 3
        if self.tls:
            names.append("STLS")
        if self.passwords:
            names.append("USER")
        if self.mechanisms:
            names.append("SASL " + " ".join(self.mechanisms))
        return [*names, f"IMPLEMENTATION {self.software}"]


def lines(texts: Iterable[str]) -> bytes:
    """Return lines of a multi-line response; none of them begins with a dot."""
    return "".join([f"{text}\r\n" for text in texts]).encode()


def unique_id(uid: int, uid_validity: int) -> str:
    """Return the unique-id of a message: Dovecot's own by default, so that nobody who moves here fetches all again."""
    return f"{uid:08x}{uid_validity:08x}"
