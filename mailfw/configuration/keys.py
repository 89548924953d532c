"""Every key there is, with its default and its meaning; ``docs/reference/configuration.md`` says more."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mailfw.mail.address import normalise_domain


def _key(meaning: str, default: Any) -> Any:
    """Declare a key; a default that can be called is called when the key is not given."""
    made: Callable[[], Any] = default if callable(default) else lambda: default
    return field(default_factory=made, metadata={"help": meaning})


#: Each stands for its -PLUS too.
USUAL_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN")
MECHANISMS = (*USUAL_MECHANISMS, "CRAM-MD5")

# sub-domain = Let-dig [Ldh-str]     RFC 5321 section 4.1.2, with the underscores that machines do have in their names;
#                                    address-literal as a name of a machine that has no other
_HOSTNAME = re.compile(
    r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*|\[[0-9a-z.:]+\]", re.IGNORECASE
)

# sub-domain =/ U-label              RFC 6531 section 3.3
_U_LABELS = re.compile(r"[^\W_]([\w-]*\w)?(\.[^\W_]([\w-]*\w)?)*")


# rate = 1*9DIGIT "/" ("s" / "m" / "h" / "d"), ours
_RATE = re.compile(r"0*[1-9][0-9]{0,8} */ *[smhd]")


def is_rate(text: str) -> bool:
    """Whether this is so many in a time: ``100/h``."""
    return _RATE.fullmatch(text) is not None


def is_hostname(name: str) -> bool:
    """Whether a greeting can have this name; one in another alphabet is written in its A-labels (``xn--``)."""
    return _HOSTNAME.fullmatch(name) is not None and len(name) <= 255  # RFC 5321 section 4.5.3.1.2


def is_domain(name: str) -> bool:
    """Whether mail can be for this domain, in whichever alphabet it is written."""
    try:
        name = normalise_domain(name)
        return len(name) <= 255 and (is_hostname(name) or _U_LABELS.fullmatch(name) is not None)
    except ValueError:
        return False


def own_hostname() -> str:
    """Return this machine's full name, or ``localhost`` where it has none that is fit for a greeting."""
    name = socket.getfqdn()
    return name.lower() if "." in name and not name.endswith(".arpa") and is_hostname(name) else "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """
    Where each service listens: lists of Twisted endpoint strings, an empty one is off.

    These defaults hold while there is no configuration file; with one, what it does not list is off.
    """

    smtp: tuple[str, ...] = _key("Mail from other servers.", ("tcp:2525:interface=127.0.0.1",))
    submission: tuple[str, ...] = _key("Mail from our own users, with STARTTLS.", ("tcp:2587:interface=127.0.0.1",))
    submissions: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2465:interface=127.0.0.1",))
    lmtp: tuple[str, ...] = _key("Mail from a server that has a queue; give it to nobody else.", ())
    imap: tuple[str, ...] = _key("Reading mail, with STARTTLS.", ("tcp:2143:interface=127.0.0.1",))
    imaps: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2993:interface=127.0.0.1",))
    pop3: tuple[str, ...] = _key("Fetching mail, with STLS.", ("tcp:2110:interface=127.0.0.1",))
    pop3s: tuple[str, ...] = _key("The same under implicit TLS.", ("tcp:2995:interface=127.0.0.1",))
    http: tuple[str, ...] = _key(
        "Status, health and Thunderbird's autoconfiguration.", ("tcp:2080:interface=127.0.0.1",)
    )

    def endpoints(self) -> Iterator[tuple[str, str]]:
        """Yield each service's name with each of its endpoints."""
        for each in fields(self):
            for endpoint in getattr(self, each.name):
                yield each.name, endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """Where the certificates are.  With none given a self-signed one is made under `data`."""

    certificate: Path | None = _key("A PEM file: the certificate, then those between it and its authority.", None)
    key: Path | None = _key("The PEM file of its private key.", None)
    directory: Path | None = _key(
        "One folder a name, as certbot keeps them, each with fullchain.pem and privkey.pem; chosen by SNI.", None
    )
    client_authorities: Path | None = _key(
        "A PEM file: the authorities whose client certificates open the accounts that they name.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A plug-in by name; the other keys of its table are its options."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "")
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChoice:
    """Where mail is kept, and for how long what was expunged."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "maildir")
    retention: float = _key("Days for which expunged mail can be put back, where the store can do so; 0: none.", 7.0)
    search: bool = _key("Whether messages are found by their text without being read, where the store can do so.", True)
    share_with_anyone: bool = _key("Whether users may share mailboxes with everybody, not only by name.", False)
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChoice:
    """How much an account may keep; `mailfw user quota` gives one other limits."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "file")
    octets: int = _key("Octets of all messages of one account; 0: any number.", 0)
    messages: int = _key("Messages in all mailboxes of one account; 0: any number.", 0)
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """A delivery policy; policies are asked in the order of the configuration."""

    plugin: str = _key("A name that `mailfw plugins` lists, or python:package.module.factory.", "")
    timeout: float = _key("Seconds that it may take to answer one question.", 10.0)
    on_failure: Literal["defer", "accept", "refuse"] = _key(
        "What counts as its answer when it fails: defer, accept or refuse.", "defer"
    )
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all of them, may ask of us."""

    message_size: int = _key("Octets in one message; RFC 1870, Postfix's message_size_limit.", 100 * 1024 * 1024)
    recipients: int = _key("Recipients of one message; RFC 5321 section 4.5.3.1.8 asks for 100 at least.", 1000)
    connections: int = _key("Connections to one service at one time.", 20_000)
    connections_per_address: int = _key(
        "The same from one IP address; Postfix's smtpd_client_connection_count_limit.", 1000
    )
    smtp_timeout: float = _key(
        "Seconds in which a whole command must be here; RFC 5321 section 4.5.3.2.7: 300, and Postfix's "
        "smtpd_per_request_deadline.",
        300.0,
    )
    pop3_timeout: float = _key("The same for POP3; RFC 1939 section 3 asks for 600 at least.", 600.0)
    header_size: int = _key("Octets in the header of one message; Postfix's header_size_limit.", 102_400)
    header_fields: int = _key("Fields in it; Haraka's max_header_lines.", 1000)
    messages_per_connection: int = _key("Messages on one connection, told by RFC 9422; 0: any number.", 0)
    command_line: int = _key("Octets in one SMTP command; RFC 5321 section 4.5.3.1.4 and what extensions need.", 2048)
    connections_per_minute: int = _key("Connections to one service from one address in a minute; 0: any number.", 600)
    errors_per_minute: int = _key("Refused SMTP commands of one address in a minute; 0: any number.", 300)
    soft_errors: int = _key(
        "Refused commands of one SMTP session before each further one takes a while; Postfix's smtpd_soft_error_limit.",
        10,
    )
    hard_errors: int = _key("Refused commands before the session is ended; Postfix's smtpd_hard_error_limit.", 20)
    error_delay: float = _key(
        "Seconds that each refusal beyond soft_errors takes; Postfix's smtpd_error_sleep_time.", 1.0
    )
    junk_commands: int = _key(
        "NOOP, RSET, VRFY and the like between two messages; Postfix's smtpd_junk_command_limit; 0: any number.", 100
    )
    login_attempts: int = _key("Failed logins in one SMTP session.", 3)
    minimum_rate: float = _key(
        "Octets a second that a message must come with, after smtp_timeout of grace; Postfix's smtpd_min_data_rate.",
        500.0,
    )
    stress: float = _key("The share of `connections` in use from which smtp_timeout_under_stress holds.", 0.8)
    smtp_timeout_under_stress: float = _key("Seconds of patience then; Postfix's smtpd_timeout under stress.", 10.0)
    messages_in_flight: int = _key("Messages on their way in at one time; then 452, and 421 for who connects.", 5000)
    octets_in_flight: int = _key("Octets of these that are in memory; the same.", 256 * 1024 * 1024)
    greeting_delay: float = _key("Seconds before the greeting, in which who already speaks is refused; 0: none.", 0.0)
    strict_pipelining: bool = _key("End sessions that do not wait for an answer where RFC 2920 has them wait.", True)
    login_failures_per_address: int = _key("Failed logins after which an address is not listened to for a while.", 20)
    login_failures_per_account: int = _key("The same for an account, except from where it was opened before.", 100)
    login_delay: float = _key("Seconds that the answer to a first failed login takes; twice as many each time.", 0.5)
    login_longest_delay: float = _key("The longest that one takes.", 10.0)
    login_refusal: float = _key("Seconds without a failure until all are forgotten.", 900.0)
    answer_timeout: float = _key("Seconds that a directory, router or resolver may take for one answer.", 60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class POP3:
    """What POP3 tells clients of the site's rules."""

    expire: int = _key("Days that mail may stay; 0: what was retrieved goes at QUIT; -1: for ever.", -1)
    login_delay: int = _key("Seconds between two logins of one account; 0: any time.", 0)
    language: Literal["en", "de", "ko"] = _key("The language of a client that leaves the choice to the site.", "en")


@dataclass(frozen=True, slots=True, kw_only=True)
class IMAP:
    """What clients that read mail by IMAP are offered, and may ask for."""

    without: tuple[str, ...] = _key("Capabilities that no client is offered, as CAPABILITY names them.", ())
    line: int = _key("Octets in one line of a command.", 64 * 1024)
    command: int = _key("Octets in a whole command, without a message that it brings.", 1024 * 1024)
    search_time: float = _key("Seconds that the server works for one search.", 60.0)
    sessions: int = _key("Sessions of one account at one time; 0: any number.", 100)
    message_limit: int = _key("Messages that one command works on (RFC 9738); 0: any number.", 0)
    jmap_url: str = _key("Where the same mail is to be had by JMAP (RFC 9698); empty: nowhere.", "")
    quota_setters: tuple[str, ...] = _key("Accounts that may set anybody's quota by SETQUOTA (RFC 9208).", ())
    admin: str = _key("A URI at which the administrator can be reached, for clients to show (RFC 5464).", "")
    comment: str = _key("What clients may show about the server (RFC 5464).", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class IMAPClient:
    """What holds for some IMAP clients in place of ``[imap]``; of tables that say the same, the last one counts."""

    accounts: tuple[str, ...] = _key("Accounts or domains; none: all.", ())
    networks: tuple[str, ...] = _key("Networks that they come from; none: all.", ())
    programs: tuple[str, ...] = _key("What they call themselves by ID, * standing for anything; none: all.", ())
    without: tuple[str, ...] = _key("Capabilities that these are not offered either.", ())
    line: int | None = _key("As in [imap].", None)
    command: int | None = _key("As in [imap].", None)
    message: int | None = _key("Octets in a message that APPEND brings; for all others limits.message_size.", None)
    search_time: float | None = _key("As in [imap].", None)
    sessions: int | None = _key("As in [imap].", None)
    message_limit: int | None = _key("As in [imap].", None)


#: These enable what they see, and then ask for messages by number all the same: their users see an empty inbox.
_WITHOUT_UIDONLY = IMAPClient(programs=("*outlook*", "*microsoft*"), without=("UIDONLY",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose word is taken for what; networks are addresses or CIDR."""

    relay: tuple[str, ...] = _key("Networks that may send anywhere by the smtp service, without logging in.", ())
    proxy: tuple[str, ...] = _key("Networks of proxies; every connection from them begins with a PROXY header.", ())
    xclient: tuple[str, ...] = _key("Networks of mail servers that may say by XCLIENT whose connection theirs is.", ())
    unlimited: tuple[str, ...] = _key(
        "Networks whose connections and errors are not counted by address.", ("127.0.0.0/8", "::1")
    )
    send_as: Literal["envelope", "header", "off"] = _key(
        "What must be a user's own address: envelope, the sender; header, From and Sender too; or off.", "envelope"
    )
    send_as_any: tuple[str, ...] = _key("Accounts that may send as anybody.", ())
    vrfy: Literal["never", "users"] = _key("Whom VRFY tells who is here: never, or users and relay networks.", "never")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extensions:
    """What SMTP announces where a site may choose."""

    longest_hold: int = _key("Seconds that a user may have a message held, RFC 4865; 0: not at all.", 30 * 86_400)
    shortest_deliver_by: int = _key("Seconds that a message must leave us for its delivery, RFC 2852.", 0)
    priority_policy: str = _key("The name of the policy by which priorities are handled, RFC 6710.", "")
    no_soliciting: tuple[str, ...] = _key("Kinds of advertisement that are refused, RFC 3865.", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """When mail is tried again and given up, in seconds, and how much of it is worked on at one time."""

    first_pause: float = _key("How long to wait after the first attempt; then twice as long each time.", 60.0)
    longest_pause: float = _key("The longest time between two attempts.", 3600.0)
    lifetime: float = _key("When to give up and tell the sender; RFC 5321 section 4.5.4.1: 4 to 5 days.", 432_000.0)
    warning_after: float = _key("When to tell the sender that a message still waits; 0: never.", 14_400.0)
    max_hops: int = _key("Received fields that a message may have; more mean a loop, RFC 5321 section 6.3.", 100)
    active: int = _key("Messages of the queue that are in memory at one time.", 20_000)
    memory: int = _key("Octets of these that are kept in memory, small messages only.", 64 * 1024 * 1024)
    deliveries: int = _key("Deliveries to other servers at one time.", 500)
    delivery_timeout: float = _key("Seconds that one delivery may take in all; Postfix's daemon_timeout.", 18_000.0)
    concurrency: int = _key("Deliveries to one destination at one time, at most.", 20)
    concurrency_initial: int = _key("With how many that begins, before it is known how many are borne.", 5)
    local_concurrency: int = _key("Messages that are put into our own mailboxes at one time.", 500)
    destination_rates: tuple[str, ...] = _key("Limits: example.net=10/m; * is every other destination.", ())
    sender_rate: str = _key("Messages of one sender to other servers, as 100/h; empty: any number.", "")
    account_rate: str = _key("The same for one account.", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRule:
    """Where mail to some recipients, or from some senders, goes; the first that fits decides."""

    to: str = _key("smtp://, smtps:// or lmtp:// with user:password@host:port, mx, mailbox, or refuse: and why.", "")
    recipients: tuple[str, ...] = _key("ann@example.net, example.net, .example.net (all below it), or *.", ("*",))
    senders: tuple[str, ...] = _key("The same of senders; <> is the null sender.", ("*",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How mail is handed to other hosts, by SMTP and LMTP; times are in seconds."""

    connect_timeout: float = _key("How long to wait for a connection; Postfix's smtp_connect_timeout.", 30.0)
    greeting_timeout: float = _key("For the greeting; RFC 5321 section 4.5.3.2.1.", 300.0)
    command_timeout: float = _key("For the answer to EHLO, MAIL and RCPT; sections 4.5.3.2.2 and 4.5.3.2.3.", 300.0)
    data_timeout: float = _key("For the answer to DATA; section 4.5.3.2.4.", 120.0)
    block_timeout: float = _key("For a block of a message to be taken; section 4.5.3.2.5.", 180.0)
    final_timeout: float = _key("For the answer to the end of a message; section 4.5.3.2.6.", 600.0)
    hosts: int = _key("How many addresses of one destination to try.", 5)
    sessions: int = _key("With how many of them to try a message that they defer.", 2)
    host_connections: int = _key("Connections to one address at one time; more messages wait for one of them.", 10)
    connection_messages: int = _key("Messages on one connection; with 1 none is used again.", 200)
    connection_time: float = _key("How long a connection is used for new messages.", 300.0)
    idle_time: float = _key("How long a connection is kept for a next message.", 10.0)
    idle_connections: int = _key("How many connections are kept so.", 100)
    avoid_time: float = _key("How long an address that could not be used is left alone.", 30.0)
    port: int = _key("Where other servers listen for mail; 25 but for tests.", 25)
    own_addresses: tuple[str, ...] = _key("Addresses that lead to us besides those of this machine.", ())
    allow_loopback: bool = _key("Let MX records lead to loopback addresses; for tests.", False)
    mta_sts: bool = _key("Do as the MTA-STS policies of other domains say (RFC 8461).", True)
    dane: bool = _key("Do as TLSA records say, where a trusted resolver vouches for them (RFC 7672).", True)
    tls_reports: bool = _key("Tell other domains once a day how TLS to them went, if they ask for it (RFC 8460).", True)
    tls_reports_contact: str = _key("The address those reports name; postmaster@ our first domain if empty.", "")
    authorities: Path | None = _key(
        "A PEM file of certificate authorities to believe; the system's if not given.", None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """All of it."""

    hostname: str = _key("How we call ourselves in greetings and Received fields.", own_hostname)
    domains: tuple[str, ...] = _key("The domains we receive mail for.", ("localhost",))
    data: Path = _key("The one directory anything is written to.", lambda: Path("var"))
    allow_plaintext_auth: bool = _key("Let clients send passwords without TLS.", False)
    mechanisms: tuple[str, ...] = _key("The SASL mechanisms that may be used; CRAM-MD5 can be added.", USUAL_MECHANISMS)
    listen: Listen = field(default_factory=Listen)
    tls: TLSFiles = field(default_factory=TLSFiles)
    store: StoreChoice = field(default_factory=StoreChoice)
    quota: QuotaChoice = field(default_factory=QuotaChoice)
    directory: Choice = field(default_factory=lambda: Choice(plugin="accounts"))
    auth: tuple[Choice, ...] = field(default_factory=lambda: (Choice(plugin="passwords"),))
    policy: tuple[PolicyChoice, ...] = ()
    spool: Choice = field(default_factory=lambda: Choice(plugin="log"))
    router: Choice = field(default_factory=lambda: Choice(plugin="routes"))
    resolver: Choice = field(default_factory=lambda: Choice(plugin="stub"))
    relay: str = _key("The URL of a host that all mail goes to which is not for us and has no route; empty: by MX.", "")
    route: tuple[RouteRule, ...] = ()
    courier: tuple[Choice, ...] = field(
        default_factory=lambda: tuple(Choice(plugin=name) for name in ("mailbox", "relay", "lmtp"))
    )
    limits: Limits = field(default_factory=Limits)
    pop3: POP3 = field(default_factory=POP3)
    imap: IMAP = field(default_factory=IMAP)
    imap_client: tuple[IMAPClient, ...] = field(default_factory=lambda: (_WITHOUT_UIDONLY,))
    trust: Trust = field(default_factory=Trust)
    extensions: Extensions = field(default_factory=Extensions)
    queue: Queue = field(default_factory=Queue)
    delivery: Delivery = field(default_factory=Delivery)
