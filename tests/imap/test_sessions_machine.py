"""Several sessions, any interleaving of commands, over stores of each kind: what each client was told is the truth."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase

from mailfw.interfaces import IMailStore
from mailfw.mail.rights import parse_rights
from mailfw.sharing.store import SharingStore
from mailfw.testing.disk import FaultyDisk
from tests.imap.believer import Believer, now
from tests.imap.machine import BOXES, SESSIONS, Sessions
from tests.imap.sessions import ANN
from tests.sharing.test_imap import BOB, SharingRealm
from tests.stores.test_maildir_crashes import open_store

#: ``IMAP_SEED`` and ``IMAP_EXAMPLES`` ask for other histories, and for more of them.
SEED = int(os.environ.get("IMAP_SEED", 7162))


class IndexedSessions(Sessions):
    """The same over a maildir and its index, all of whose threads are this one."""

    def make_store(self) -> IMailStore:
        self.place = Path(tempfile.mkdtemp())
        return open_store(self.place / "mail", FaultyDisk(self.place / "attic"))

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            now(self.store.close())
            shutil.rmtree(self.place)


class SharedSessions(Sessions):
    """The same where the last client is somebody else's, with whom all is shared, and whose \\Seen is his own."""

    def make_portal(self) -> Portal:
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        for name in (ANN, BOB):
            checker.addUser(name.encode(), b"secret")
        return Portal(SharingRealm(self.store), [checker])

    def account(self, who: int) -> str:
        return BOB if who == SESSIONS - 1 else ANN

    def connect(self, who: int) -> Believer:
        now(self.store.open_account(BOB))
        self.share()
        return super().connect(who)

    def share(self) -> None:
        store: Any = self.store
        for info in now(store.mailboxes(ANN)):
            if info.path[0] in BOXES:
                now(store.grant(ANN, info.id, BOB, parse_rights("lrswite")))

    def name(self, who: int, box: str) -> str:
        return f"Shared/{ANN}/{box}" if self.account(who) == BOB else box

    def seen_by(self, account: str) -> IMailStore:
        return SharingStore(self.store)

    @precondition(lambda self: False)
    @rule()
    def rename(self) -> None:
        """What is renamed has another name for everybody, which the model does not follow here."""

    @rule(who=st.integers(0, SESSIONS - 2), box=st.sampled_from(["A", "B"]), is_new=st.booleans())
    def create_or_delete(self, who: int, box: str, is_new: bool) -> None:
        super().create_or_delete(who, box, is_new)
        self.share()
        self.listen(who)


def machine_settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=int(os.environ.get("IMAP_EXAMPLES", examples)),
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Machines(SynchronousTestCase):
    def test_over_memory(self) -> None:
        run_state_machine_as_test(seed(SEED)(Sessions), settings=machine_settings(150, 40))

    def test_over_what_is_shared(self) -> None:
        run_state_machine_as_test(seed(SEED)(SharedSessions), settings=machine_settings(50, 40))

    def test_over_a_maildir(self) -> None:
        run_state_machine_as_test(seed(SEED)(IndexedSessions), settings=machine_settings(15, 30))
