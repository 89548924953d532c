from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailfw.accounts.attempts import AttemptLimits, LoginAttempts

HERE, ELSEWHERE = "192.0.2.1", "198.51.100.1"
ANN = "ann@example.org"
LIMITS = AttemptLimits(per_address=4, per_account=6, delay=1.0, longest_delay=5.0, refusal=100.0)


class AttemptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts = LoginAttempts(self.clock, LIMITS, "example.org", most=50)

    def fail_times(self, times: int, address: str = HERE, account: str = ANN) -> list[float]:
        return [self.attempts.failed(address, account) for _ in range(times)]

    def test_growing_delay_then_refusal(self) -> None:
        self.assertEqual(self.fail_times(3), [1.0, 2.0, 4.0])
        self.assertTrue(self.attempts.admits(HERE, ANN))
        self.assertEqual(self.fail_times(1), [5.0])
        self.assertFalse(self.attempts.admits(HERE, ANN))
        self.assertFalse(self.attempts.admits(HERE, "bob@example.org"))
        self.assertTrue(self.attempts.admits(ELSEWHERE, ANN))

    def test_refusal_ends(self) -> None:
        self.fail_times(4)
        self.clock.advance(99)
        self.assertFalse(self.attempts.admits(HERE, ANN))
        self.clock.advance(1)
        self.assertTrue(self.attempts.admits(HERE, ANN))
        self.assertEqual(self.fail_times(1), [1.0])

    def test_account_from_many_addresses(self) -> None:
        for number in range(6):
            self.attempts.failed(f"203.0.113.{number}", ANN)
        self.assertFalse(self.attempts.admits(ELSEWHERE, ANN))
        self.assertTrue(self.attempts.admits(ELSEWHERE, "bob@example.org"))

    def test_spellings_are_one_account(self) -> None:
        for number, name in enumerate(["ann", "Ann", "ANN@Example.org", "ann@example.org.", "ann", ANN]):
            self.attempts.failed(f"203.0.113.{number}", name)
        self.assertFalse(self.attempts.admits(ELSEWHERE, ANN))

    def test_owner_is_not_locked_out(self) -> None:
        self.attempts.succeeded(ELSEWHERE, ANN)
        for number in range(30):
            self.attempts.failed(f"203.0.113.{number}", ANN)
        self.assertTrue(self.attempts.admits(ELSEWHERE, "ann"))
        self.assertFalse(self.attempts.admits(HERE, ANN))

    def test_owner_behind_an_address_that_others_spoil(self) -> None:
        self.attempts.succeeded(HERE, ANN)
        self.fail_times(4, account="bob@example.org")
        self.assertTrue(self.attempts.admits(HERE, ANN))
        self.assertFalse(self.attempts.admits(HERE, "bob@example.org"))

    def test_guessing_from_where_the_owner_is(self) -> None:
        self.attempts.succeeded(HERE, ANN)
        self.fail_times(3)
        self.assertTrue(self.attempts.admits(HERE, ANN))
        self.fail_times(1)
        self.assertFalse(self.attempts.admits(HERE, ANN))

    def test_networks(self) -> None:
        self.fail_times(2, "2001:db8::1")
        self.fail_times(2, "2001:db8::ffff:1", "bob")
        self.assertFalse(self.attempts.admits("2001:db8:0:0:1::", "carol"))
        self.assertTrue(self.attempts.admits("2001:db8:0:1::1", "carol"))
        self.fail_times(4, "::ffff:192.0.2.1", "dan")
        self.assertFalse(self.attempts.admits(HERE, "carol"))

    def test_what_is_nobodys(self) -> None:
        self.assertEqual(self.attempts.failed("", ""), 0.0)
        self.fail_times(6, "")
        self.assertFalse(self.attempts.admits("", ANN))
        self.assertTrue(self.attempts.admits("", "bob"))

    @given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=300), st.booleans()), max_size=200))
    def test_memory_is_bounded_and_nothing_raised(self, events: list[tuple[str, str, bool]]) -> None:
        for address, account, right in events:
            self.attempts.admits(address, account)
            (self.attempts.succeeded if right else self.attempts.failed)(address, account)
            self.assertLessEqual(len(self.attempts._failures), 50)
            self.assertLessEqual(len(self.attempts._right), 50)
