"""Everything the server answers, said once."""

from __future__ import annotations

import functools
import re

from mailfw.mail.outcome import Deferred, Failed
from mailfw.mail.reply import Reply
from mailfw.mail.verdict import Defer, Refuse


class Rejected(Exception):
    """A command is answered with `reply` and has no effect."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


#: The octets of a reply; the same few are sent again and again.
encode = functools.lru_cache(maxsize=512)(Reply.encode)

# order and syntax
UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command not known here")
BAD_OCTETS = Reply(500, "5.5.2", "Only printable ASCII may be in this command")
LINE_TOO_LONG = Reply(500, "5.5.6", "Line too long")
BAD_ARGUMENT = Reply(501, "5.5.4", "Cannot make sense of the argument")
NO_ARGUMENT = Reply(501, "5.5.4", "An argument is needed")
ARGUMENT_NOT_ALLOWED = Reply(501, "5.5.4", "No argument is allowed")
BAD_PARAMETER = Reply(501, "5.5.4", "Cannot make sense of a parameter")
DUPLICATE_PARAMETER = Reply(501, "5.5.4", "A parameter was given twice")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "A parameter is not known here")
BAD_SENDER = Reply(501, "5.1.7", "Sender must be FROM:<address>")
BAD_RECIPIENT = Reply(501, "5.1.3", "Recipient must be TO:<address>")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "Command not implemented")
HELO_FIRST = Reply(503, "5.5.1", "Say hello first")
MAIL_FIRST = Reply(503, "5.5.1", "MAIL first")
NESTED_MAIL = Reply(503, "5.5.1", "A message has begun already")
NO_RECIPIENTS = Reply(503, "5.5.1", "No recipient was accepted")
IN_TRANSACTION = Reply(503, "5.5.1", "Not while a message is under way")
CHUNKS_BEGUN = Reply(503, "5.5.1", "The message has begun by BDAT")
CHUNKS_BROKEN = Reply(503, "5.5.1", "An earlier chunk was refused; RSET first")
BINARY_NEEDS_BDAT = Reply(503, "5.5.1", "BINARYMIME goes by BDAT")
BAD_CHUNK = Reply(501, "5.5.4", "Cannot tell where this chunk ends; closing the connection")
BAD_PIPELINING = Reply(554, "5.5.0", "More was sent than the answer allows for; closing the connection")
TOO_EARLY = Reply(554, "5.5.0", "You spoke before the greeting")
REFUSED_BEFORE = Reply(503, "5.5.1", "You were refused; QUIT is all that is left")

# what goes well
OK = Reply(250, "2.0.0", "OK")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
GO_AHEAD = Reply(354, "", "Send the message, and end it with a dot on a line of its own")
GOODBYE = Reply(221, "2.0.0", "Goodbye")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot say; mail will tell")
VERIFIED = Reply(250, "2.1.5", "Mail for that address is taken")
QUEUE_STARTED = Reply(250, "2.0.0", "Trying what waits for that domain")

# recipients
NO_SUCH_USER = Reply(550, "5.1.1", "No such mailbox here")
NO_RELAY = Reply(550, "5.7.1", "Relaying denied")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "That address needs SMTPUTF8")
NOT_YOURS = Reply(550, "5.7.1", "That address is not yours to send as")
NOT_YOURS_IN_HEADER = Reply(550, "5.7.1", "The address in From or Sender is not yours to send as")
CANNOT_QUEUE = Reply(458, "4.3.0", "Cannot start the queue for that domain now")
NOT_QUEUED_FOR = Reply(459, "4.7.1", "No mail is queued for that domain on request")

# parameters
HELD_TOO_LONG = Reply(501, "5.5.4", "Mail is not held for so long")
TOO_SOON = Reply(555, "5.4.7", "Delivery cannot be promised so soon")
SOLICITING = Reply(550, "5.7.1", "Such solicitation is not wanted here")

# the message
TOO_LARGE = Reply(552, "5.3.4", "Message too large")
BARE_LINE_END = Reply(550, "5.6.0", "A CR or LF stands alone; lines must end with CRLF")
NUL_IN_MESSAGE = Reply(550, "5.6.0", "Message contains NUL")
HEADER_TOO_LARGE = Reply(552, "5.3.4", "Message header too large")
TOO_MANY_FIELDS = Reply(552, "5.3.4", "Too many fields in the message header")
NO_SPACE = Reply(452, "4.3.1", "No space left; try again later")
FAULT = Reply(451, "4.3.0", "Local error; try again later")
OVERLOADED = Reply(452, "4.3.2", "Too much mail at this moment; try again later")

# TLS and AUTH
START_TLS = Reply(220, "2.0.0", "Go ahead with TLS")
TLS_ALREADY = Reply(503, "5.5.1", "TLS is on already")
TLS_FIRST = Reply(530, "5.7.0", "STARTTLS first")
AUTH_FIRST = Reply(530, "5.7.0", "Authentication required")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "Encryption required for authentication")
AUTH_ALREADY = Reply(503, "5.5.1", "Authenticated already")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "Mechanism not known here")
BAD_RESPONSE = Reply(501, "5.5.2", "Cannot decode the response")
AUTH_CANCELLED = Reply(501, "5.7.0", "Authentication cancelled")
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", "Authentication line too long")
AUTH_FAILED = Reply(535, "5.7.8", "Authentication credentials invalid")
AUTH_FAULT = Reply(454, "4.7.0", "Temporary authentication failure")
AUTH_THROTTLED = Reply(454, "4.7.0", "Too many failed logins; try again later")
AUTH_OK = Reply(235, "2.7.0", "Authentication successful")

# the end
TIMEOUT = Reply(421, "4.4.2", "Timeout; closing the connection")
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down; come back later")
TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", "Too many connections")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
TOO_MANY_MISTAKES = Reply(421, "4.7.0", "Too many errors from your address; come back later")
TOO_MUCH_JUNK = Reply(421, "4.7.0", "Too many commands that do nothing")
TOO_MANY_MESSAGES = Reply(421, "4.7.0", "Enough messages for one connection")
BUSY = Reply(421, "4.3.2", "Too busy; come back later")
NOT_TRUSTED = Reply(550, "5.7.0", "XCLIENT is for trusted servers")
TOO_MANY_LOGINS = Reply(421, "4.7.0", "Too many failed logins")
FOREIGN_PROTOCOL = Reply(421, "4.7.0", "This is not a web server")

#: Reply-line of RFC 5321 section 4.5.3.1.5 holds 512 octets, the code, the status and CRLF among them.
TEXT_LIMIT = 480
#: Lines of one reply that somebody else has worded.
LINES_LIMIT = 20


def of_verdict(verdict: Refuse | Defer) -> Reply:
    """Return what a policy wants answered, safe to send; a code of the wrong class is put right."""
    if isinstance(verdict, Refuse):
        return _safe(verdict.code, verdict.status, verdict.reason, 550)
    return _safe(verdict.code, verdict.status, verdict.reason, 451)


def of_outcome(outcome: Deferred | Failed) -> Reply:
    """Return what became of a message, safe to send at the end of its data."""
    return _of_others(outcome.reply, 451 if isinstance(outcome, Deferred) else 550)


def of_route(reply: Reply) -> Reply:
    """Return why there is no way to a recipient, safe to send."""
    return _of_others(reply, 451 if reply.code // 100 == 4 else 550)


def _of_others(reply: Reply, usual: int) -> Reply:
    """The words may be another server's.  Its 421 speaks of its own connection, not of ours."""
    return _safe(451 if reply.code == 421 else reply.code, reply.status, reply.text, usual)


def _safe(code: int, status: str, text: str, usual: int) -> Reply:
    """Return a reply of the class of `usual`, whatever is asked for."""
    kind = usual // 100
    # status-code = class "." subject "." detail                     RFC 3463 section 2
    fits = re.fullmatch(rf"{kind}\.[0-9]{{1,3}}\.[0-9]{{1,3}}", status)
    lines = [_line(line) for line in text.split("\n")[:LINES_LIMIT]]
    return Reply(code if code // 100 == kind else usual, status if fits else f"{kind}.0.0", "\n".join(lines))


def _line(text: str) -> str:
    """Keep only what textstring of RFC 5321 section 4.2 allows: no line ends, no controls, ASCII."""
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    return re.sub(r"[^\x20-\x7e]", "?", text)[:TEXT_LIMIT].strip() or "No reason given"
