"""The contents handed to everybody's tests are what they say."""

from __future__ import annotations

import email
import email.policy

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailfw.interfaces import IContent, IDraft
from mailfw.testing.contents import KOREAN_EUC_KR, KOREAN_UTF_8, SAMPLES, BrokenContent, MemoryContent, ReadFailed


class MemoryContentTests(TestCase):
    def test_provides_the_interfaces(self) -> None:
        for interface in (IContent, IDraft):
            self.assertTrue(verifyObject(interface, MemoryContent()))

    async def test_what_is_written_is_read(self) -> None:
        content = MemoryContent(b"one ")
        await content.write(b"two")
        self.assertEqual(content.size, 7)
        self.assertEqual(
            [await content.read(2, 3), await content.read(5, 9), await content.read(9, 1)], [b"e t", b"wo", b""]
        )

    async def test_closings_are_counted(self) -> None:
        content = MemoryContent()
        await content.close()
        await content.close()
        self.assertEqual(content.closed, 2)

    async def test_second_half_of_a_broken_one(self) -> None:
        content = BrokenContent(b"0123456789")
        self.assertEqual(await content.read(3, 10), b"34")
        with self.assertRaises(ReadFailed):
            await content.read(5, 1)


class SampleTests(TestCase):
    def test_korean_is_readable(self) -> None:
        for octets, sender in ((KOREAN_EUC_KR, "하늘"), (KOREAN_UTF_8, "하늘")):
            message = email.message_from_bytes(octets, policy=email.policy.default)
            self.assertIn("회의 결과", str(message["Subject"]))
            self.assertIn(sender, str(message["From"]))
            self.assertIn("안녕하세요", message.get_content())

    def test_parts(self) -> None:
        types = [
            part.get_content_type()
            for part in email.message_from_bytes(SAMPLES["nested"], policy=email.policy.default).walk()
        ]
        self.assertEqual(types.count("message/rfc822"), 2)
        self.assertIn("application/octet-stream", types)
