"""A message in memory, as a content."""

from __future__ import annotations

from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.mail import content


@implementer(IContent)
class Octets(content.Octets):
    """The octets of a message."""

    __slots__ = ()
