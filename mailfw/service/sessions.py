"""A session factory for each service that speaks a mail protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.cred.portal import Portal

from mailfw import __version__
from mailfw.allowance import Allowance
from mailfw.configuration import Configuration
from mailfw.configuration.keys import IMAPClient
from mailfw.imap.allowances import BY_ACCOUNT, Rule, SessionCount
from mailfw.imap.allowances import Allowance as ClientAllowance
from mailfw.imap.capabilities import switched_off
from mailfw.imap.factory import IMAPSettings, imap_factory
from mailfw.interfaces import IIntake
from mailfw.mail.envelope import Service
from mailfw.network import Networks
from mailfw.optional import ICount, ITally
from mailfw.pop3.factory import POP3Settings, pop3_factory
from mailfw.pop3.locks import Locks
from mailfw.sasl.logins import Attempts
from mailfw.service.judges import Judges
from mailfw.smtp.factory import Load, SMTPSettings, smtp_factory
from mailfw.smtp.reception import Etrn
from mailfw.tls.certificates import Certificates
from mailfw.wire.limits import ConnectionLimits, Elsewhere
from mailfw.wire.protocol import SessionFactory


@dataclass(frozen=True, slots=True)
class Parts:
    """What the sessions work with; `elsewhere` knows of connections to other processes, by service."""

    configuration: Configuration
    certificates: Certificates
    portal: Portal
    judges: Judges
    intake: IIntake
    etrn: Etrn
    locks: Locks
    attempts: Attempts
    load: Load
    mistakes: Allowance
    reactor: Any
    pop3_logins: ICount
    elsewhere: Callable[[str], Elsewhere | None] = lambda name: None

    def tls(self, name: str) -> Any:
        """Return the context factory of a service; users may show certificates of the authorities we know."""
        return self.certificates.for_clients() if name in FOR_USERS else self.certificates

    def limits(self, name: str, patience: float | None = None) -> ConnectionLimits:
        """Return the bounds of one service; `patience` with silent clients while connections run short."""
        limits = self.configuration.limits
        return ConnectionLimits(
            limits.connections,
            limits.connections_per_address,
            limits.connections_per_minute,
            trusted(self.configuration),
            limits.stress,
            patience,
            self.elsewhere(name),
        )


def pop3_logins(configuration: Configuration, tally: ITally) -> ICount:
    """Return a count that lets an account log in to POP3 once in each login delay (RFC 2449 section 6.5)."""
    delay = configuration.pop3.login_delay
    return tally.allow(1 if delay else 0, float(delay or 1))


def trusted(configuration: Configuration) -> Networks:
    """Return the networks that bounds for strangers do not concern."""
    trust = configuration.trust
    return Networks(trust.unlimited + trust.relay + trust.xclient)


#: Services whose connections begin with a TLS handshake.
IMPLICIT_TLS = frozenset({"submissions", "imaps", "pop3s"})
#: Services that users log in to.
FOR_USERS = frozenset({"submission", "submissions", "imap", "imaps", "pop3", "pop3s"})
#: Services of mail being handed to us, and what the protocol calls them.
RECEIVING = {
    "smtp": Service.SMTP,
    "submission": Service.SUBMISSION,
    "submissions": Service.SUBMISSION,
    "lmtp": Service.LMTP,
}


def make_sessions(parts: Parts) -> dict[str, SessionFactory]:
    """Return a factory for each service that speaks a mail protocol; one that nobody listens with costs nothing."""
    sessions = {name: _smtp(parts, name) for name in RECEIVING}
    counted = SessionCount(parts.elsewhere(BY_ACCOUNT))
    sessions |= {name: _imap(parts, name, counted) for name in ("imap", "imaps")}
    sessions |= {name: _pop3(parts, name) for name in ("pop3", "pop3s")}
    return sessions


def _start_tls(parts: Parts, name: str) -> Any:
    return None if name in IMPLICIT_TLS else parts.tls(name)


def _smtp(parts: Parts, name: str) -> SessionFactory:
    return smtp_factory(
        smtp_settings(parts, name),
        intake=parts.intake,
        directory=parts.judges.directory,
        router=parts.judges.router,
        policies=parts.judges.policies,
        portal=parts.portal,
        clock=parts.reactor,
        limits=parts.limits(name, parts.configuration.limits.smtp_timeout_under_stress),
        attempts=parts.attempts,
        load=parts.load,
        mistakes=parts.mistakes,
        etrn=parts.etrn,
    )


def smtp_settings(parts: Parts, name: str) -> SMTPSettings:
    """Return what one listener of mail is told."""
    configuration, limits = parts.configuration, parts.configuration.limits
    trust, extensions = configuration.trust, configuration.extensions
    return SMTPSettings(
        configuration.hostname,
        RECEIVING[name],
        max_size=limits.message_size,
        max_recipients=limits.recipients,
        max_messages=limits.messages_per_connection,
        header_size=limits.header_size,
        header_fields=limits.header_fields,
        allow_plaintext_auth=configuration.allow_plaintext_auth,
        mechanisms=configuration.mechanisms,
        login_attempts=limits.login_attempts,
        tls=_start_tls(parts, name),
        send_as=trust.send_as,
        send_as_any=frozenset(each.lower() for each in trust.send_as_any),
        relay=Networks(trust.relay) if name == "smtp" else Networks(),
        xclient=Networks(trust.xclient),
        exempt=trusted(configuration),
        vrfy=trust.vrfy,
        soft_errors=limits.soft_errors,
        hard_errors=limits.hard_errors,
        error_delay=limits.error_delay,
        junk_commands=limits.junk_commands,
        command_line=limits.command_line,
        timeout=limits.smtp_timeout,
        minimum_rate=limits.minimum_rate,
        greeting_delay=limits.greeting_delay,
        strict_pipelining=limits.strict_pipelining,
        longest_hold=extensions.longest_hold,
        shortest_deliver_by=extensions.shortest_deliver_by,
        priority_policy=extensions.priority_policy,
        no_soliciting=extensions.no_soliciting,
    )


def _imap(parts: Parts, name: str, sessions: SessionCount) -> SessionFactory:
    configuration, imap = parts.configuration, parts.configuration.imap
    settings = IMAPSettings(
        configuration.hostname,
        tls=_start_tls(parts, name),
        allow_plaintext_auth=configuration.allow_plaintext_auth,
        allowance=ClientAllowance(
            switched_off(imap.without),
            imap.line,
            imap.command,
            configuration.limits.message_size,
            imap.search_time,
            imap.sessions,
            imap.message_limit,
        ),
        rules=[_rule(each) for each in configuration.imap_client],
        jmap_url=imap.jmap_url,
        quota_setters=frozenset(account.lower() for account in imap.quota_setters),
        annotations={
            name: text.encode("utf-8")
            for name, text in (("/shared/admin", imap.admin), ("/shared/comment", imap.comment))
            if text
        },
        version=__version__,
        mechanisms=configuration.mechanisms,
    )
    return imap_factory(
        settings,
        portal=parts.portal,
        open_draft=parts.intake.open_draft,
        clock=parts.reactor,
        limits=parts.limits(name),
        attempts=parts.attempts,
        sessions=sessions,
    )


def _rule(client: IMAPClient) -> Rule:
    return Rule(
        [each.lower() for each in client.accounts],
        Networks(client.networks),
        [each.lower() for each in client.programs],
        switched_off(client.without),
        client.line,
        client.command,
        client.message,
        client.search_time,
        client.sessions,
        client.message_limit,
    )


def _pop3(parts: Parts, name: str) -> SessionFactory:
    configuration, pop3 = parts.configuration, parts.configuration.pop3
    settings = POP3Settings(
        configuration.hostname,
        allow_plaintext_auth=configuration.allow_plaintext_auth,
        tls=_start_tls(parts, name),
        timeout=configuration.limits.pop3_timeout,
        mechanisms=configuration.mechanisms,
        expire=pop3.expire if pop3.expire >= 0 else None,
        login_delay=pop3.login_delay,
        language=pop3.language,
    )
    return pop3_factory(
        settings,
        portal=parts.portal,
        clock=parts.reactor,
        limits=parts.limits(name),
        locks=parts.locks,
        attempts=parts.attempts,
        logins_counted=parts.pop3_logins if pop3.login_delay else None,
    )
