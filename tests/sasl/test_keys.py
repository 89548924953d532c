import hashlib
import hmac
from base64 import b64decode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailfw.sasl.keys import ScramKeys, make_keys, parse_keys


class ScramTests(SynchronousTestCase):
    def test_example_of_rfc_7677(self) -> None:
        """Section 3 gives a client's proof and a server's signature; both follow from these keys."""
        self._check("SCRAM-SHA-256", b"W22ZaJ0SNY7soEsUEjb6gQ==", _SHA_256, "sha256")

    def test_example_of_rfc_5802(self) -> None:
        self._check("SCRAM-SHA-1", b"QSXCR+Q6sek8bf92", _SHA_1, "sha1")

    def _check(self, mechanism: str, salt: bytes, exchange: tuple[bytes, bytes, bytes], hash_name: str) -> None:
        message, proof, signature = exchange
        keys = make_keys(mechanism, b"pencil", b64decode(salt), 4096)
        client_signature = hmac.digest(keys.stored_key, message, hash_name)
        client_key = bytes(a ^ b for a, b in zip(b64decode(proof), client_signature, strict=True))
        self.assertEqual(hashlib.new(hash_name, client_key).digest(), keys.stored_key)
        self.assertEqual(hmac.digest(keys.server_key, message, hash_name), b64decode(signature))

    def test_salts_differ(self) -> None:
        self.assertNotEqual(make_keys("SCRAM-SHA-256", b"x").salt, make_keys("SCRAM-SHA-256", b"x").salt)

    def test_keys_do_not_show(self) -> None:
        keys = make_keys("SCRAM-SHA-1", b"x", b"salt", 4096)
        self.assertNotIn(repr(keys.stored_key), repr(keys))

    @given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 10**6))
    def test_parsing_what_was_written(self, salt: bytes, stored: bytes, server: bytes, iterations: int) -> None:
        keys = ScramKeys("SCRAM-SHA-256", iterations, salt, stored, server)
        self.assertEqual(parse_keys(str(keys)), keys)

    @given(st.text(max_size=60) | st.from_regex(r"SCRAM-SHA-1\$[0-9a]*:[a=]*\$[A=]*:.*", fullmatch=True))
    def test_parsing_refuses_with_value_error(self, text: str) -> None:
        try:
            parse_keys(text)
        except ValueError:
            return


_PENCIL_256 = (
    b"n=user,r=rOprNGfwEbeRWgbNEkqO"
    b",r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    b",c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
_PENCIL_1 = (
    b"n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    b",r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    b",c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
)
_SHA_256 = _PENCIL_256, b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
_SHA_1 = _PENCIL_1, b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", b"rmF9pqV8S7suAoZWja4dJRkFsKQ="
