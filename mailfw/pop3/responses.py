"""Everything a POP3 server says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Refused(Exception):
    """A command is answered with `response` and has no effect."""

    def __init__(self, response: bytes) -> None:
        super().__init__(response)
        self.response = response


def ok(text: str) -> bytes:
    """Return a positive status line."""
    return f"+OK {text}\r\n".encode("ascii")


def err(text: str, code: str = "") -> bytes:
    """Return a negative status line, with a response code of RFC 2449 section 8 or RFC 3206."""
    return f"-ERR [{code}] {text}\r\n".encode("ascii") if code else f"-ERR {text}\r\n".encode("ascii")


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

# TLS
BEGIN_TLS = ok("Begin TLS")
TLS_ALREADY = err("This is under TLS already")
NO_TLS = err("TLS is not offered here")

# the maildrop
NO_SUCH_MESSAGE = err("No such message")
MESSAGE_GONE = err("This message is no longer there")
DONE = ok("Done")
FAULT = err("Something is wrong here; try again later", "SYS/TEMP")

# the end
GOODBYE = ok("Goodbye")
NOT_REMOVED = err("Some messages were not removed", "SYS/TEMP")
SHUTTING_DOWN = err("The server stops; try again later", "SYS/TEMP")
TOO_MANY_CONNECTIONS = err("Too many connections; try again later", "SYS/TEMP")


def capabilities(tls: bool, passwords: bool, mechanisms: Sequence[str], software: str) -> bytes:
    """Return the answer to CAPA: whether STLS and USER can be used now, and with which mechanisms AUTH can."""
    names = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
    if tls:
        names.append("STLS")
    if passwords:
        names.append("USER")
    if mechanisms:
        names.append("SASL " + " ".join(mechanisms))
    names.append(f"IMPLEMENTATION {software}")
    return ok("What there is") + lines(names) + END


def lines(texts: Iterable[str]) -> bytes:
    """Return lines of a multi-line response; none of them begins with a dot."""
    return "".join([f"{text}\r\n" for text in texts]).encode("ascii")


def unique_id(uid: int, uid_validity: int) -> str:
    """Return the unique-id of a message: Dovecot's own by default, so that nobody who moves here fetches all again."""
    return f"{uid:08x}{uid_validity:08x}"
