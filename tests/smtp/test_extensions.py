"""What is announced to whom, and every parameter of MAIL and RCPT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.envelope import DeliverBy, Notify, RecipientOptions, Service
from mailfw.mail.reply import Reply
from mailfw.smtp import grammar, replies
from mailfw.smtp.extensions import EXTENSIONS, MailOptions, Offer, announce, read_mail_options, read_rcpt_options
from mailfw.smtp.extensions.etrn import parse_etrn
from mailfw.smtp.extensions.xclient import Told, parse_xclient
from mailfw.smtp.replies import Rejected
from mailfw.smtp.settings import SMTPSettings

#: 2026-01-01T00:00:00Z
NOW = 1_767_225_600.0


def offer(service: Service = Service.SMTP, secure: bool = True, **known: Any) -> Offer:
    """Return what a connection of a service can have; what is no field of the offer is a setting."""
    fields = {
        name: known.pop(name) for name in ("trusted", "account", "mechanisms", "xclient", "etrn") if name in known
    }
    return Offer(SMTPSettings("x", service, **known), secure=secure, now=NOW, **fields)


USER = offer(Service.SUBMISSION, account="ann@here.example", longest_hold=3600, shortest_deliver_by=60)
PEER = offer(trusted=True)
STRANGER = offer(no_soliciting=("net.example:ADV",))


class ExtensionCase(SynchronousTestCase):
    def refuse(self, reply: Reply, parse: Any, *arguments: Any) -> None:
        self.assertEqual(self.assertRaises(Rejected, parse, *arguments).reply, reply, arguments)

    def mail(self, text: str, whom: Offer = STRANGER) -> MailOptions:
        return read_mail_options(grammar.parse_mail(f"FROM:<a@b> {text}")[1], whom)

    def rcpt(self, text: str, whom: Offer = STRANGER) -> RecipientOptions:
        return read_rcpt_options(grammar.parse_rcpt(f"TO:<a@b> {text}")[1], whom)

    def bad(self, *texts: str, whom: Offer = STRANGER, reply: Reply = replies.BAD_PARAMETER) -> None:
        for text in texts:
            self.refuse(reply, self.mail, text, whom)


class AnnouncementTests(SynchronousTestCase):
    def test_strangers(self) -> None:
        self.assertEqual(
            announce(offer(secure=False, max_size=1000, max_messages=7)),
            [
                "PIPELINING",
                "SIZE 1000",
                "ENHANCEDSTATUSCODES",
                "8BITMIME",
                "BINARYMIME",
                "CHUNKING",
                "SMTPUTF8",
                "DSN",
                "LIMITS RCPTMAX=1000 MAILMAX=7",
                "DELIVERBY",
                "NO-SOLICITING",
            ],
        )

    def test_each_to_whom_it_is_for(self) -> None:
        for line, yes, no in [
            ("STARTTLS", offer(secure=False, tls=object()), offer(tls=object())),
            ("AUTH PLAIN LOGIN", offer(mechanisms=("PLAIN", "LOGIN")), offer()),
            ("REQUIRETLS", offer(), offer(secure=False)),
            ("MT-PRIORITY", PEER, STRANGER),
            ("MT-PRIORITY", offer(Service.SUBMISSION), STRANGER),
            ("MT-PRIORITY", offer(account="ann@here.example"), STRANGER),
            ("MT-PRIORITY MIXER", offer(trusted=True, priority_policy="MIXER"), STRANGER),
            ("FUTURERELEASE 3600 2026-01-01T01:00:00Z", USER, STRANGER),
            ("FUTURERELEASE 3600 2026-01-01T01:00:00Z", USER, offer(Service.SUBMISSION, longest_hold=0)),
            ("DELIVERBY 60", USER, STRANGER),
            ("NO-SOLICITING net.example:ADV", STRANGER, PEER),
            ("ETRN", offer(etrn=True), offer()),
            ("XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT", offer(xclient=True), offer()),
        ]:
            self.assertIn(line, announce(yes))
            self.assertNotIn(line, announce(no))

    def test_what_is_not_announced_is_not_known(self) -> None:
        for text in ("MT-PRIORITY=3", "HOLDFOR=10"):
            refused = self.assertRaises(Rejected, read_mail_options, grammar.parse_mail(f"FROM:<> {text}")[1], STRANGER)
            self.assertEqual(refused.reply, replies.UNKNOWN_PARAMETER)
        plain = offer(secure=False)
        parameters = grammar.parse_mail("FROM:<> REQUIRETLS")[1]
        self.assertEqual(
            self.assertRaises(Rejected, read_mail_options, parameters, plain).reply, replies.UNKNOWN_PARAMETER
        )

    def test_one_parser_for_each_parameter(self) -> None:
        for kind in ("mail", "rcpt"):
            names = [name for each in EXTENSIONS for name in getattr(each, kind)]
            self.assertEqual(len(names), len(set(names)))


class MailTests(ExtensionCase):
    def test_known(self) -> None:
        for text, options in [
            ("", MailOptions()),
            ("SIZE=0", MailOptions()),
            ("SIZE=00012345678901234567", MailOptions(size=12345678901234567)),
            ("body=8bitmime", MailOptions(body="8BITMIME")),
            ("BODY=BINARYMIME", MailOptions(body="BINARYMIME")),
            ("BODY=7BIT  SMTPUTF8", MailOptions(smtputf8=True)),
            ("RET=hdrs ENVID=QQ314+2B+3D", MailOptions(returns="HDRS", envid="QQ314+=")),
            ("RET=FULL", MailOptions(returns="FULL")),
            ("REQUIRETLS", MailOptions(require_tls=True)),
            (
                "SOLICIT=org.example:ADV:ADLT,com.example.x",
                MailOptions(solicitation="org.example:ADV:ADLT,com.example.x"),
            ),
            ("BY=120;R", MailOptions(by=DeliverBy(NOW + 120, True))),
            ("BY=+120;rt", MailOptions(by=DeliverBy(NOW + 120, True, True))),
            ("BY=-5;N", MailOptions(by=DeliverBy(NOW - 5, False))),
            ("BY=0;NT", MailOptions(by=DeliverBy(NOW, False, True))),
        ]:
            self.assertEqual(self.mail(text), options)

    def test_of_users(self) -> None:
        for text, options in [
            ("MT-PRIORITY=-9", MailOptions(priority=-9)),
            ("MT-PRIORITY=0", MailOptions()),
            ("MT-PRIORITY=9", MailOptions(priority=9)),
            ("HOLDFOR=1", MailOptions(release=NOW + 1)),
            ("HOLDFOR=3600", MailOptions(release=NOW + 3600)),
            ("HOLDUNTIL=2026-01-01T01:00:00Z", MailOptions(release=NOW + 3600)),
        ]:
            self.assertEqual(self.mail(text, USER), options)
        self.bad("HOLDFOR=3601", "HOLDUNTIL=2026-01-01T01:00:01Z", whom=USER, reply=replies.HELD_TOO_LONG)
        self.bad("HOLDFOR=1 HOLDUNTIL=2026-01-01T00:00:01Z", whom=USER, reply=replies.DUPLICATE_PARAMETER)
        self.bad("BY=59;R", whom=USER, reply=replies.TOO_SOON)
        self.assertEqual(self.mail("BY=60;R", USER), MailOptions(by=DeliverBy(NOW + 60, True)))

    def test_who_submitted_it(self) -> None:
        """RFC 4954 section 5: only whom we trust is believed, and each user what he is himself."""
        for whom, value, submitter in [
            (PEER, "e+3Dmc2@example.com", "e=mc2@example.com"),
            (PEER, "<>", "<>"),
            (STRANGER, "e+3Dmc2@example.com", "<>"),
            (STRANGER, "<>", "<>"),
            (USER, "ann@here.example", "ann@here.example"),
            (USER, "bob@here.example", "<>"),
        ]:
            self.assertEqual(self.mail(f"AUTH={value}", whom).submitter, submitter)

    def test_wrong(self) -> None:
        self.bad(
            "SIZE",
            "SIZE=-1",
            "SIZE=1.0",
            "SIZE=" + "1" * 21,
            "SIZE=١",
            "BODY",
            "BODY=16BIT",
            "SMTPUTF8=1",
            "AUTH",
            "AUTH=+3d",
            "AUTH=a+",
            "AUTH=a+0D+0ARCPT",
            "=1",
            "SIZE==1",
            "SIZE=1\u2028",
            "-A=1",
            "RET",
            "RET=ALL",
            "ENVID",
            "ENVID=" + "x" * 101,
            "ENVID=+0D+0ABcc:x",
            "ENVID=+00",
            "ENVID=+C3+BC",
            "REQUIRETLS=1",
            "BY",
            "BY=1",
            "BY=1;X",
            "BY=0;R",
            "BY=-1;R",
            "BY=1234567890;N",
            "BY=1;RTT",
            "SOLICIT",
            "SOLICIT=1x",
            "SOLICIT=a,,b",
            "SOLICIT=" + "x" * 1001,
        )
        self.bad(
            "MT-PRIORITY", "MT-PRIORITY=10", "MT-PRIORITY=+1", "MT-PRIORITY=-0", "HOLDFOR=0", "HOLDFOR=x", whom=USER
        )
        self.bad(
            "HOLDUNTIL=2026-01-01", "HOLDUNTIL=2026-13-01T00:00:00Z", "HOLDUNTIL=2026-01-01T00:00:00+01:00", whom=USER
        )

    def test_limits_of_length(self) -> None:
        self.assertEqual(self.mail("ENVID=" + "x" * 100).envid, "x" * 100)
        self.assertEqual(self.mail("SOLICIT=" + "x" * 1000).solicitation, "x" * 1000)

    def test_unwanted_solicitation(self) -> None:
        self.bad("SOLICIT=net.example:adv", "SOLICIT=a.b,NET.EXAMPLE:ADV", reply=replies.SOLICITING)
        self.assertEqual(self.mail("SOLICIT=net.example:adv", PEER).solicitation, "net.example:adv")

    def test_unknown_and_twice(self) -> None:
        self.bad("NOTIFY=NEVER", "FOO", reply=replies.UNKNOWN_PARAMETER)
        self.bad("SIZE=1 size=1", reply=replies.DUPLICATE_PARAMETER)

    @given(st.dictionaries(st.sampled_from(["SIZE", "BODY", "ENVID", "BY", "HOLDUNTIL", "AUTH", "SOLICIT"]), st.text()))
    def test_nothing_else_is_raised(self, parameters: dict[str, str]) -> None:
        try:
            read_mail_options(parameters, USER)
            read_rcpt_options({"ORCPT": parameters.get("AUTH"), "NOTIFY": parameters.get("BODY")}, USER)
        except Rejected:
            return


class RcptTests(ExtensionCase):
    def test_known(self) -> None:
        for text, options in [
            ("", RecipientOptions()),
            ("NOTIFY=never", RecipientOptions(Notify.NEVER)),
            ("NOTIFY=SUCCESS,delay", RecipientOptions(Notify.SUCCESS | Notify.DELAY)),
            ("NOTIFY=FAILURE ORCPT=rfc822;a+2Bb@c", RecipientOptions(Notify.FAILURE, ("rfc822", "a+b@c"))),
            ("ORCPT=utf-8;j\\x{FC}rgen@b", RecipientOptions(None, ("utf-8", "jürgen@b"))),
            ("ORCPT=UTF-8;jürgen@b", RecipientOptions(None, ("utf-8", "jürgen@b"))),
        ]:
            self.assertEqual(self.rcpt(text), options)

    def test_wrong(self) -> None:
        for text in (
            "NOTIFY",
            "NOTIFY=NEVER,SUCCESS",
            "NOTIFY=NEVER,NEVER",
            "NOTIFY=SUCCESS,",
            "NOTIFY=ALWAYS",
            "ORCPT",
            "ORCPT=a@b",
            "ORCPT=rfc822;",
            "ORCPT=rfc822;a+",
            "ORCPT=rfc822;a+0D+0AX-Evil:1",
            "ORCPT=utf-8;\\x{0A}",
            "ORCPT=rfc822;" + "x" * 494,
        ):
            self.refuse(replies.BAD_PARAMETER, self.rcpt, text)
        self.assertEqual(self.rcpt("ORCPT=rfc822;" + "x" * 493).original, ("rfc822", "x" * 493))
        self.refuse(replies.UNKNOWN_PARAMETER, self.rcpt, "SIZE=1")


class ArgumentTests(ExtensionCase):
    def test_xclient(self) -> None:
        for argument, told in [
            ("ADDR=192.0.2.9", Told("192.0.2.9")),
            ("addr=IPV6:2001:DB8::9 PORT=25", Told("2001:db8::9", 25)),
            ("NAME=[UNAVAILABLE] ADDR=[TEMPUNAVAIL] PROTO=SMTP", Told(extended=False)),
            (
                "HELO=a.example PROTO=ESMTP LOGIN=ann+40here.example",
                Told(None, None, "a.example", True, "ann@here.example"),
            ),
            ("NAME=x.example DESTADDR=192.0.2.1 DESTPORT=25", Told()),
        ]:
            self.assertEqual(parse_xclient(argument), told)
        for argument in (
            "ADDR",
            "ADDR=",
            "ADDR=x",
            "ADDR=2001:db8::1",
            "ADDR=IPV6:192.0.2.1",
            "ADDR=192.0.2.1 ADDR=192.0.2.2",
            "PORT=65536",
            "PORT=-1",
            "PROTO=HTTP",
            "FOO=1",
            "LOGIN=a+0D+0Ab",
            "HELO=a+20b",
            "DESTADDR=x",
        ):
            self.refuse(replies.BAD_ARGUMENT, parse_xclient, argument)
        self.refuse(replies.NO_ARGUMENT, parse_xclient, "")

    def test_etrn(self) -> None:
        self.assertEqual(parse_etrn("Far.Example"), "far.example")
        self.refuse(replies.NO_ARGUMENT, parse_etrn, "")
        for argument in ("@far.example", "#queue", "far example", "-a", "a..b", "x" * 256, "<far.example>"):
            self.refuse(replies.BAD_ARGUMENT, parse_etrn, argument)

    def test_offers_are_values(self) -> None:
        self.assertEqual(replace(STRANGER, trusted=True).trusted, True)
