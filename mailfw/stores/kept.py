"""A content whose octets are in memory already."""

from __future__ import annotations

from zope.interface import implementer

from mailfw.interfaces import IContent
from mailfw.mail.content import Octets


@implementer(IContent)
class KeptContent(Octets):
    """The octets of a message that is kept: they never change, so nothing has to be held open."""
