"""Parts of a content as contents of their own."""

from twisted.trial.unittest import SynchronousTestCase

from mailfw.mail.content import Octets, Slice, blocking_reader


class Slices(SynchronousTestCase):
    def test_nothing_around_it_is_read(self) -> None:
        part = Slice(Octets(b"before, the part, behind"), 8, 8)
        self.assertEqual(part.size, 8)
        for offset, length, expected in ((0, 8, b"the part"), (4, 100, b"part"), (8, 1, b""), (9, 5, b""), (0, 0, b"")):
            self.assertEqual(self.successResultOf(part.read(offset, length)), expected)
            self.assertEqual(part.read_now(offset, length), expected)

    def test_it_is_read_in_threads_where_the_whole_is(self) -> None:
        self.assertIsNotNone(blocking_reader(Slice(Octets(b"x"), 0, 1)))

        class Elsewhere:
            size = 1

            async def read(self, offset: int, length: int) -> bytes:
                return b"x"

            async def close(self) -> None:
                pass

        self.assertIsNone(blocking_reader(Slice(Elsewhere(), 0, 1)))
