"""What is left of a subject without the marks of answers, forwarding and lists: RFC 5256 section 2.1."""

from __future__ import annotations

import re

# subj-blob = "[" *BLOBCHAR "]" *WSP
_BLOBS = re.compile(r"(?:\[[^\[\]]*+\][ \t]*+)*+")
# subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
_REFWD = re.compile(r"(?:re|fwd?)[ \t]*+(?:\[[^\[\]]*+\][ \t]*+)?+:", re.IGNORECASE | re.ASCII)
_SPACE = re.compile(r"[ \t\r\n]+")
# subj-fwd-hdr = "[fwd:", subj-fwd-trl = "]", and of subj-trailer = "(fwd)" / WSP the first
_HEADER, _FOOTER, _TRAILER = "[fwd:", "]", "(fwd)"


def base_subject(subject: str) -> tuple[str, bool]:
    """
    Return the base subject of a decoded one, and whether it was that of a reply or of something forwarded.

    Takes time in proportion to the length, whatever the subject.
    """
    text = _SPACE.sub(" ", subject)
    start, end, answers = 0, len(text), False
    while True:
        end, trailed = _without_trailers(text, start, end)  # step (2)
        start, led = _without_leaders(text, start, end)  # steps (3) to (5)
        answers = answers or trailed or led
        inner = text[start : start + len(_HEADER)].lower() == _HEADER and end - start > len(_HEADER)
        if not inner or text[end - 1] != _FOOTER:  # step (6)
            return text[start:end], answers
        start, end, answers = start + len(_HEADER), end - len(_FOOTER), True


def _without_trailers(text: str, start: int, end: int) -> tuple[int, bool]:
    found = False
    while end > start:
        if text[end - 1] in " \t":
            end -= 1
        elif end - start >= len(_TRAILER) and text[end - len(_TRAILER) : end].lower() == _TRAILER:
            end, found = end - len(_TRAILER), True
        else:
            break
    return end, found


def _without_leaders(text: str, start: int, end: int) -> tuple[int, bool]:
    """Return where the text begins behind all leaders and blobs, and whether one was that of an answer."""
    found = False
    while start < end:
        if text[start] in " \t":
            start += 1
            continue
        blobs = _BLOBS.match(text, start, end)
        assert blobs is not None  # it may be empty
        leader = _REFWD.match(text, blobs.end(), end)
        if leader is None:
            # None of these blobs leads to one, so step (4) takes each away, but not the last of all there is.
            last = text.rfind("[", start, blobs.end())
            return (blobs.end() if blobs.end() < end else max(start, last)), found
        start, found = leader.end(), True
    return start, found
