import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailfw.accounts.pretence import PretendKeys
from mailfw.accounts.secret import LastingSecret
from mailfw.sasl.keys import ITERATIONS, make_keys
from mailfw.testing.dialogue import run_now
from tests.accounts.pretend import PretendReactor


class SecretTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "scram.secret"

    def secret(self) -> LastingSecret:
        return LastingSecret(self.path, PretendReactor())

    def test_outlives_the_server(self) -> None:
        first = run_now(self, self.secret().value())
        self.assertEqual(run_now(self, self.secret().value()), first)
        self.assertEqual(len(first), 32)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_nothing_is_written_before_it_is_needed(self) -> None:
        self.secret()
        self.assertFalse(self.path.exists())

    def test_where_nothing_can_be_kept(self) -> None:
        self.path.parent.write_text("a file")
        secret = self.secret()
        first = run_now(self, secret.value())
        self.assertEqual(run_now(self, secret.value()), first)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_file_that_is_broken(self) -> None:
        self.path.parent.mkdir()
        self.path.write_text("no hexadecimal digits")
        self.assertEqual(len(run_now(self, self.secret().value())), 32)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class PretenceTests(SynchronousTestCase):
    def test_looks_like_an_account_and_stays_the_same(self) -> None:
        real = make_keys("SCRAM-SHA-256", b"x")
        pretence = PretendKeys()
        keys = run_now(self, pretence.keys("ann", "SCRAM-SHA-256"))
        self.assertEqual((keys.iterations, len(keys.salt)), (real.iterations, len(real.salt)))
        self.assertEqual(keys.iterations, ITERATIONS)
        self.assertEqual(run_now(self, pretence.keys("ann", "SCRAM-SHA-256")).salt, keys.salt)
        for name, mechanism in (("bob", "SCRAM-SHA-256"), ("ann", "SCRAM-SHA-1")):
            self.assertNotEqual(run_now(self, pretence.keys(name, mechanism)).salt, keys.salt)

    def test_differs_with_the_secret(self) -> None:
        one, other = (run_now(self, PretendKeys().keys("ann", "SCRAM-SHA-1")).salt for _ in range(2))
        self.assertNotEqual(one, other)
