"""GETQUOTA, GETQUOTAROOT and SETQUOTA: RFC 9208."""

from __future__ import annotations

from dataclasses import replace

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from zope.interface import implementer

from mailfw.interfaces import IQuotas
from mailfw.mail.mailbox import CreateMailbox
from mailfw.mail.quota import QuotaLimits
from mailfw.optional import ISettableQuotas
from mailfw.stores.memory import MemoryStore
from mailfw.testing.dialogue import run_now
from tests.imap.sessions import ANN, PretendRealm
from tests.imap.test_listing import TreeCase
from tests.sharing.test_imap import BOB, SharedCase


@implementer(IQuotas, ISettableQuotas)
class PretendQuotas:
    """Limits that tests change."""

    def __init__(self) -> None:
        self.limited: dict[str, QuotaLimits] = {}

    async def limits(self, account: str) -> QuotaLimits:
        return self.limited.get(account, QuotaLimits())

    async def change_limits(self, account: str, limits: QuotaLimits) -> None:
        self.limited[account] = limits


class QuotaCase(TreeCase):
    def setUp(self) -> None:
        super().setUp()
        self.quotas = PretendQuotas()
        self.store = MemoryStore(self.quotas)
        self.realm = PretendRealm(self.store)
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser(ANN.encode(), b"secret")
        self.portal = Portal(self.realm, [checker])
        for name in (ANN, BOB):
            run_now(self, self.store.open_account(name))


class Quotas(QuotaCase):
    def test_what_is_kept_and_what_may_be(self) -> None:
        here = self.log_in()
        self.quotas.limited[ANN] = QuotaLimits(100 * 1024 + 1023, 10)
        self.put(3)
        told = b'* QUOTA "" (STORAGE 1 100 MESSAGE 3 10)'
        self.says(here, b'GETQUOTA ""', told)
        self.says(here, b"GETQUOTAROOT inbox", b'* QUOTAROOT INBOX ""', told)
        self.quotas.limited[ANN] = QuotaLimits(0, 10)
        self.says(here, b'GETQUOTA ""', b'* QUOTA "" (MESSAGE 3 10)')

    def test_who_has_no_limit_has_no_root(self) -> None:
        here = self.log_in()
        self.says(here, b"GETQUOTAROOT INBOX", b"* QUOTAROOT INBOX")
        self.says(here, b'GETQUOTA ""', end=b"a NO [NONEXISTENT] ")

    def test_a_mailbox_that_is_not_there_yet(self) -> None:
        here = self.log_in()
        self.says(here, b"GETQUOTAROOT nowhere", b"* QUOTAROOT nowhere")
        self.quotas.limited[ANN] = QuotaLimits(0, 10)
        self.says(here, b"GETQUOTAROOT nowhere/x/", b'* QUOTAROOT nowhere/x ""', b'* QUOTA "" (MESSAGE 0 10)')
        self.says(here, b"GETQUOTAROOT //", end=b"a NO [CANNOT] ")

    def test_others_quotas_are_not_told(self) -> None:
        here = self.log_in()
        self.quotas.limited[BOB] = QuotaLimits(1024, 0)
        self.says(here, b"GETQUOTA bob@example.org", end=b"a NO [NOPERM] ")

    def test_what_is_full_takes_no_more(self) -> None:
        here = self.log_in()
        self.quotas.limited[ANN] = QuotaLimits(0, 1)
        self.put(1)
        run_now(self, self.store.edit_mailbox(ANN, CreateMailbox(("x",))))
        here.say(b"a APPEND INBOX {3+}\r\nabc\r\n")
        self.assertTrue(here.hear().startswith(b"a NO [OVERQUOTA] "))
        self.ask(here, b"b SELECT INBOX")
        self.says(here, b"COPY 1 x", end=b"a NO [OVERQUOTA] ")
        self.says(here, b"MOVE 1 x", *self.moved(here), end=b"a OK ")

    def moved(self, here: object) -> list[bytes]:
        uid_validity = self.info(("x",)).uid_validity
        return [b"* OK [COPYUID %d 1 1] Moved" % uid_validity, b"* 1 EXPUNGE"]

    def test_nobody_sets_quotas(self) -> None:
        here = self.log_in()
        self.assertNotIn(b"QUOTASET", self.ask(here, b"c CAPABILITY"))
        self.assertIn(b" QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE ", self.ask(here, b"c CAPABILITY"))
        self.says(here, b'SETQUOTA "" (STORAGE 1)', end=b"a BAD ")


class Setting(QuotaCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings = replace(self.settings, quota_setters=frozenset({ANN}))
        self.here = self.log_in()

    def test_whoever_may_sets_anybodys(self) -> None:
        self.assertIn(b" QUOTASET ", self.ask(self.here, b"c CAPABILITY"))
        line = b"SETQUOTA Bob@example.org (STORAGE 512 MESSAGE 10)"
        self.says(self.here, line, b"* QUOTA Bob@example.org (STORAGE 0 512 MESSAGE 0 10)")
        self.assertEqual(self.quotas.limited, {BOB: QuotaLimits(512 * 1024, 10)})
        self.says(self.here, b"GETQUOTA bob@example.org", b"* QUOTA bob@example.org (STORAGE 0 512 MESSAGE 0 10)")
        self.says(self.here, b'SETQUOTA "" (MESSAGE 1)', b'* QUOTA "" (MESSAGE 0 1)')
        self.says(self.here, b"SETQUOTA bob@example.org ()")
        self.assertEqual(self.quotas.limited[BOB], QuotaLimits())

    def test_what_cannot_be(self) -> None:
        self.says(self.here, b"SETQUOTA nobody@example.org (STORAGE 1)", end=b"a NO [")
        self.says(self.here, b'SETQUOTA "" (MAILBOX 1)', end=b"a NO [CANNOT] ")
        self.says(self.here, b'SETQUOTA "" (STORAGE 10 MESSAGE 0)', end=b"a NO [CANNOT] ")
        self.says(self.here, b'SETQUOTA "" (STORAGE 9223372036854775807)', end=b"a NO [CANNOT] ")
        self.assertEqual(self.quotas.limited, {})


class Shared(SharedCase):
    def test_what_is_added_counts_as_the_owners(self) -> None:
        quotas = PretendQuotas()
        self.start_over(MemoryStore(quotas))
        self.share("lri")
        self.share("lri", "Sent")
        bob = self.enter(BOB)
        name, message = "Shared/ann@example.org/INBOX", "{3+}\r\nabc"
        quotas.limited[ANN] = QuotaLimits(0, 1)
        self.says(bob, f"a APPEND {name} {message}", "a OK [APPENDUID ")
        self.says(bob, f"b APPEND {name} {message}", "b NO [OVERQUOTA]")
        self.says(bob, f"c APPEND Shared/ann@example.org/Sent {message}", "c NO [OVERQUOTA]")
        self.says(bob, f"d APPEND INBOX {message}", "d OK [APPENDUID ")
        quotas.limited = {BOB: QuotaLimits(0, 1)}
        self.says(bob, f"e APPEND INBOX {message}", "e NO [OVERQUOTA]")
        self.says(bob, f"f APPEND {name} {message}", "f OK [APPENDUID ")

    def test_whose_mailbox_it_is_keeps_his_quota_to_himself(self) -> None:
        self.share("lr")
        bob = self.enter(BOB)
        name = "Shared/ann@example.org/INBOX"
        self.says(bob, f"a GETQUOTAROOT {name}", f"* QUOTAROOT {name}\r\na OK")
