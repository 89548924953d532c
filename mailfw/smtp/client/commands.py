"""MAIL and RCPT as we say them: values in, octets out, or `Unsayable`."""

from __future__ import annotations

import re
from collections.abc import Iterator

import idna

from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope, Notify, RecipientOptions
from mailfw.mail.reply import Reply
from mailfw.smtp.client.capabilities import Capabilities

#: RFC 5321 section 4.5.3.1.4 promises 512 octets and each extension some more; longer than this is no address.
COMMAND_LIMIT = 2048

# Mailbox of RFC 5321 section 4.1.2 with the growth of RFC 6531 section 3.3, as `Address` writes it: whatever could end
# the path, the parameter or the line is nowhere outside of quotes, and no control is anywhere.
_PLAIN = r"[^\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff<>()\[\],;:@\"\\]+"
_QUOTED = r'"(?:[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\"\\]|\\[\x20-\x7e])*"'
_MAILBOX = re.compile(rf"(?:{_PLAIN}|{_QUOTED})@(?:{_PLAIN}|\[[0-9A-Za-z.:]+\])|[A-Za-z]+")
# esmtp-param = esmtp-keyword ["=" esmtp-value]                      RFC 5321 section 4.1.2
_PARAMETER = re.compile(r"[A-Z0-9-]+(?:=[\x21-\x3c\x3e-\x7e]+)?")
# xchar = any ASCII CHAR between "!" and "~" inclusive, except for "+" and "="     RFC 3461 section 4
_NO_XCHAR = re.compile(rb"[^!-*,-<>-~]")
# QCHAR of utf-8-addr-xtext                                          RFC 6533 section 3
_NO_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")

BAD_ADDRESS = Reply(553, "5.1.3", "The address cannot be said in SMTP")
BAD_SENDER = Reply(553, "5.1.7", "The sender's address cannot be said in SMTP")
BAD_PARAMETER = Reply(501, "5.5.4", "A parameter of the message cannot be said in SMTP")


class Unsayable(Exception):
    """The command would not be what it should be; `reply` is a refusal in the next host's place."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def a_labels(domain: str) -> str:
    """Return a domain in A-labels.  Raises `ValueError`."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:  # names that IDNA 2003 allowed are still about
        return domain.encode("idna").decode("ascii")


def xtext(text: str) -> str:
    """Encode as RFC 3461 section 4 does."""
    return _NO_XCHAR.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8")).decode("ascii")


def _utf8_xtext(text: str) -> str:
    """Encode as utf-8-addr-xtext, RFC 6533 section 3."""
    return _NO_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def mail_command(
    envelope: Envelope, offered: Capabilities, size: int, body: str, utf8: bool, now: float, trusted: bool
) -> bytes:
    """
    Return MAIL with those of the envelope's wishes that the server knows; `body` is ``""`` for no BODY parameter.

    `trusted` says that we are logged in there: only then is AUTH of any weight (RFC 4954 section 5).
    """
    path = "" if envelope.sender is None else _mailbox(envelope.sender, utf8, BAD_SENDER)
    parameters = list(_mail_parameters(envelope, offered, size, now, trusted))
    if body:
        parameters.append(f"BODY={body}")
    if utf8:
        parameters.append("SMTPUTF8")
    return _command(f"MAIL FROM:<{path}>", parameters, BAD_SENDER)


def _mail_parameters(envelope: Envelope, offered: Capabilities, size: int, now: float, trusted: bool) -> Iterator[str]:
    if "SIZE" in offered:
        yield f"SIZE={size}"  # RFC 1870 section 6
    if offered.dsn:
        if envelope.returns:
            yield f"RET={envelope.returns}"
        if envelope.envid:
            yield f"ENVID={xtext(envelope.envid)}"
    if envelope.require_tls:
        yield "REQUIRETLS"  # whoever does not offer it is not asked: see `fitting`
    if envelope.priority and "MT-PRIORITY" in offered:
        yield f"MT-PRIORITY={envelope.priority}"
    if envelope.by is not None and "DELIVERBY" in offered:
        # by-value = by-time ";" by-mode [by-trace]; by-time has nine digits at most       RFC 2852 section 4
        left = max(-999_999_999, min(999_999_999, int(envelope.by.deadline - now)))
        yield f"BY={left};{'R' if envelope.by.returns else 'N'}{'T' if envelope.by.trace else ''}"
    if envelope.solicitation and "NO-SOLICITING" in offered:
        yield f"SOLICIT={envelope.solicitation}"
    if envelope.submitter and trusted and "AUTH" in offered:
        yield "AUTH=<>" if envelope.submitter == "<>" else f"AUTH={xtext(envelope.submitter)}"


def rcpt_command(address: Address, options: RecipientOptions, offered: Capabilities, utf8: bool) -> bytes:
    """Return RCPT, with NOTIFY and ORCPT where the server knows DSN."""
    parameters: list[str] = []
    if offered.dsn:
        if options.notify is not None:
            parameters.append(f"NOTIFY={_notify(options.notify)}")
        if options.original is not None:
            parameters.append(f"ORCPT={_original(*options.original)}")
    return _command(f"RCPT TO:<{_mailbox(address, utf8, BAD_ADDRESS)}>", parameters, BAD_ADDRESS)


def _notify(notify: Notify) -> str:
    # notify-esmtp-value = "NEVER" / 1#notify-list-element             RFC 3461 section 4.1
    return ",".join(each.name or "" for each in notify) or "NEVER"


def _original(kind: str, address: str) -> str:
    # original-recipient-address = addr-type ";" xtext                 RFC 3461 section 4.2, RFC 6533 section 3
    if not re.fullmatch(r"[A-Za-z0-9-]+", kind):
        raise Unsayable(BAD_PARAMETER)
    return f"{kind};{_utf8_xtext(address) if kind.lower() == 'utf-8' else xtext(address)}"


def _mailbox(address: Address, utf8: bool, otherwise: Reply) -> str:
    """Return an address as a path holds it, its domain in A-labels unless UTF-8 may be said."""
    try:
        domain = address.domain if utf8 else a_labels(address.domain)
    except ValueError:
        raise Unsayable(otherwise)
    text = str(Address(address.local, domain))
    if _MAILBOX.fullmatch(text) is None or not (utf8 or text.isascii()):
        raise Unsayable(otherwise)
    return text


def _command(path: str, parameters: list[str], otherwise: Reply) -> bytes:
    for parameter in parameters:
        if _PARAMETER.fullmatch(parameter) is None:
            raise Unsayable(BAD_PARAMETER)
    line = " ".join((path, *parameters)).encode("utf-8") + b"\r\n"
    if len(line) > COMMAND_LIMIT:
        raise Unsayable(otherwise)
    return line
