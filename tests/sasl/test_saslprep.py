from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.sasl.saslprep import prepare_password, saslprep


class SASLprepTests(SynchronousTestCase):
    def test_examples_of_the_rfc(self) -> None:
        """RFC 4013 section 3."""
        for text, prepared in [
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ]:
            self.assertEqual(saslprep(text), prepared)
        for text in ("\u0007", "\u0627\u0031"):
            with self.assertRaises(ValueError):
                saslprep(text)

    def test_spaces_and_directions(self) -> None:
        self.assertEqual(saslprep("a\u00a0b"), "a b")
        self.assertEqual(saslprep("\u0627\u0031\u0628"), "\u0627\u0031\u0628")
        with self.assertRaises(ValueError):
            saslprep("\u0627a\u0628")

    def test_one_password_however_composed(self) -> None:
        self.assertEqual(prepare_password("비밀".encode()), prepare_password("\u1107\u1175\u1106\u1175\u11af".encode()))

    def test_what_cannot_be_prepared_is_taken_as_it_is(self) -> None:
        for password in (b"a\nb", b"a:b", b"\xff", "é\n".encode()):
            self.assertEqual(prepare_password(password), password)

    @given(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_preparing_never_fails(self, password: bytes) -> None:
        prepare_password(password)
