"""Making one message fit one server: what it cannot take is converted, left unsaid, or a reason not to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from twisted.logger import Logger

from mailfw.interfaces import IContent, IDraft
from mailfw.mail.address import Address
from mailfw.mail.envelope import Envelope
from mailfw.mail.reply import Reply
from mailfw.mail.seven_bit import SevenBit
from mailfw.smtp.client.capabilities import Capabilities
from mailfw.smtp.client.commands import Unsayable, mail_command, rcpt_command
from mailfw.smtp.client.stuffing import canonical, dot_text

log = Logger()

#: Octets of a message that are prepared as a whole, in memory.
SMALL = 64 * 1024
#: Octets that are read of a larger one at a time.
PIECE = 128 * 1024
#: Octets in which the header of a message is looked for.
HEADER_LIMIT = 1024 * 1024

TOO_LARGE = Reply(552, "5.3.4", "The message is larger than the next host takes")
NEEDS_REQUIRETLS = Reply(550, "5.7.30", "The next host does not support REQUIRETLS")
NEEDS_DELIVERBY = Reply(550, "5.3.3", "The next host does not support DELIVERBY, and the message may not be late")
NEEDS_SMTPUTF8 = Reply(550, "5.6.7", "The next host does not support SMTPUTF8, which the message needs")
ADDRESS_NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "The next host does not support SMTPUTF8, which the address needs")


class Unfit(Exception):
    """The message cannot be handed to this host; `elsewhere` says that another one may be able to take it."""

    def __init__(self, reply: Reply, elsewhere: bool = False) -> None:
        super().__init__(reply)
        self.reply = reply
        self.elsewhere = elsewhere


class ContentBroken(Exception):
    """The message ended before its size."""


#: Runs a function that computes for long, in a thread.
Compute = Callable[[Callable[[bytes], bytes], bytes], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Means:
    """What a conversion needs: room for what it writes, and a thread to work in."""

    open_draft: Callable[[int], Awaitable[IDraft]]
    compute: Compute


@dataclass(slots=True)
class Parcel:
    """
    A message made ready for one server.

    `mail` is the MAIL command, `rcpt` RCPT by recipient, `unsayable` why a recipient has none.  `octets` is a small
    message as it goes over the wire, None for one that is read from `content` as it goes; `by_chunks` says that this
    is BDAT, `verbatim` that line ends are not ours to put right (RFC 3030 section 3).
    """

    mail: bytes
    content: IContent
    by_chunks: bool = False
    verbatim: bool = False
    octets: bytes | None = None
    rcpt: dict[Address, bytes] = field(default_factory=dict)
    unsayable: dict[Address, Reply] = field(default_factory=dict)
    draft: IDraft | None = None

    async def close(self) -> None:
        """Let go of what a conversion has written; that this fails is logged, and of no importance to the mail."""
        if self.draft is None:
            return
        try:
            await self.draft.close()
        except Exception:
            log.failure("A converted message could not be closed")


@dataclass(frozen=True, slots=True)
class Peer:
    """What there is to know of a server: what it offered, whether TLS is on, and whether we are logged in."""

    offered: Capabilities
    is_secure: bool = False
    is_logged_in: bool = False


async def fit(envelope: Envelope, content: IContent, peer: Peer, now: float, means: Means) -> Parcel:
    """
    Make a message ready; `now` is in seconds since the epoch.

    Raises `Unfit`, and whatever reading the content or writing a draft raises.
    """
    offered = peer.offered
    _check(envelope, content.size, peer, now)
    octets = await _whole(content) if content.size <= SMALL else None
    utf8 = await _must_say_utf8(envelope, content, octets, offered)
    verbatim = envelope.body == "BINARYMIME" and offered.binary
    draft = None
    if not verbatim and await _must_convert(envelope, content, octets, offered):
        if octets is not None:
            octets = _seven_bit(octets)
        else:
            content = draft = await converted(content, means)
    by_chunks = verbatim or (offered.chunking and offered.pipelining)
    parcel = Parcel(b"", content, by_chunks, verbatim, draft=draft)
    try:
        _address(parcel, envelope, offered, utf8)
        size = content.size if octets is None else len(octets)
        body = "BINARYMIME" if verbatim else _body(envelope, offered, octets)
        parcel.mail = mail_command(envelope, offered, size, body, utf8, now, peer.is_logged_in)
    except Unsayable as reason:
        await parcel.close()
        raise Unfit(reason.reply)
    if octets is not None:
        parcel.octets = octets if verbatim else canonical(octets) if by_chunks else dot_text(octets)
    return parcel


def _check(envelope: Envelope, size: int, peer: Peer, now: float) -> None:
    """Refuse what no conversion helps."""
    offered = peer.offered
    if offered.size and size > offered.size:
        raise Unfit(TOO_LARGE)  # RFC 1870 section 6.1: there is no use in trying
    if envelope.require_tls and not (peer.is_secure and "REQUIRETLS" in offered):
        raise Unfit(NEEDS_REQUIRETLS, elsewhere=True)  # RFC 8689 section 4.2.1
    by = envelope.by
    if by is not None and by.returns and ("DELIVERBY" not in offered or by.deadline - now < offered.by_minimum):
        raise Unfit(NEEDS_DELIVERBY, elsewhere=True)  # RFC 2852 section 4: mode R is never relayed without it


def _address(parcel: Parcel, envelope: Envelope, offered: Capabilities, utf8: bool) -> None:
    """Write the RCPT commands; a recipient of whom nothing can be said keeps nobody else from having the message."""
    for recipient in envelope.recipients:
        if not utf8 and not recipient.local.isascii():
            parcel.unsayable[recipient] = ADDRESS_NEEDS_SMTPUTF8
            continue
        try:
            parcel.rcpt[recipient] = rcpt_command(recipient, envelope.of(recipient), offered, utf8)
        except Unsayable as reason:
            parcel.unsayable[recipient] = reason.reply


# ---------------------------------------------------------------- reading


async def _whole(content: IContent) -> bytes:
    octets = b""
    async for piece in pieces(content):
        octets = octets + piece if octets else piece
    return octets


async def pieces(content: IContent) -> AsyncIterator[bytes]:
    """Yield a message in pieces.  Raises `ContentBroken`: half a message must never look like one."""
    offset, size = 0, content.size
    while offset < size:
        piece = await content.read(offset, PIECE)
        if not piece:
            raise ContentBroken
        offset += len(piece)
        yield piece


async def _header(content: IContent, octets: bytes | None) -> bytes:
    header = bytearray(octets or b"")
    while octets is None and b"\r\n\r\n" not in header and len(header) < min(HEADER_LIMIT, content.size):
        piece = await content.read(len(header), PIECE)
        if not piece:
            raise ContentBroken
        header += piece
    return bytes(header[: header.find(b"\r\n\r\n") + 2 if b"\r\n\r\n" in header else len(header)])


# ---------------------------------------------------------------- beyond ASCII


async def _must_say_utf8(envelope: Envelope, content: IContent, octets: bytes | None, offered: Capabilities) -> bool:
    """
    Whether to say SMTPUTF8; raises `Unfit` where it is needed and not offered (RFC 6531 section 3.2).

    A message that its sender could have sent without is sent without: who can take it should get it.
    """
    header = envelope.smtputf8 and not (await _header(content, octets)).isascii()
    sender = envelope.sender is not None and not envelope.sender.local.isascii()
    if offered.utf8:
        return header or sender or not all(each.local.isascii() for each in envelope.recipients)
    if header or sender:
        raise Unfit(NEEDS_SMTPUTF8, elsewhere=True)
    return False


async def _must_convert(envelope: Envelope, content: IContent, octets: bytes | None, offered: Capabilities) -> bool:
    """Whether the message has octets that the server has not promised to take (RFC 6152 section 3)."""
    if envelope.body == "BINARYMIME":
        return True
    if offered.eight_bit:
        return False
    if octets is not None:
        return not octets.isascii()
    async for piece in pieces(content):
        if not piece.isascii():
            return True
    return False


def _body(envelope: Envelope, offered: Capabilities, octets: bytes | None) -> str:
    """Return the BODY parameter; what clients send is not always what they said."""
    eight_bit = envelope.body == "8BITMIME" if octets is None else not octets.isascii()
    return "8BITMIME" if eight_bit and offered.eight_bit else ""


def _seven_bit(octets: bytes) -> bytes:
    converter = SevenBit()
    return converter.feed(octets) + converter.close()


async def converted(content: IContent, means: Means) -> IDraft:
    """Write the message anew with 7-bit encodings.  Raises `NoSpace`."""
    draft = await means.open_draft(content.size + content.size // 3)  # base64
    try:
        converter = SevenBit()
        async for piece in pieces(content):
            await draft.write(await means.compute(converter.feed, piece))
        await draft.write(converter.close())
    except BaseException:
        await draft.close()
        raise
    return draft
