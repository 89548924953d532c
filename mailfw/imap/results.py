"""What a search found, as octets: the responses SEARCH, ESEARCH, SORT, THREAD and UIDBATCHES."""

from __future__ import annotations

from collections.abc import Sequence

from mailfw.imap.grammar_results import Return, Wanted
from mailfw.imap.responses import string, uid_set, untagged
from mailfw.mail.forest import Threads
from mailfw.mail.steps import PORTION, Steps


def esearch(tag: bytes, by_uid: bool, items: Sequence[bytes], mailbox: bytes = b"") -> bytes:
    """Return an ESEARCH response (RFC 4731 section 4); `mailbox` are the correlators of RFC 7377 section 2.1."""
    correlator = b"(TAG " + string(tag) + (b" " + mailbox if mailbox else b"") + b")"
    return untagged(b" ".join([b"ESEARCH", correlator, *([b"UID"] if by_uid else []), *items]))


def items(wanted: Wanted, numbers: Sequence[int], modseq: int | None, scores: Sequence[int] = ()) -> list[bytes]:
    """Return what was asked of a result, which may be sorted; what is not there is left out, but for the count."""
    found: list[bytes] = []
    options = wanted.options
    if numbers:
        if Return.MIN in options:
            found.append(b"MIN %d" % numbers[0])
        if Return.MAX in options:
            found.append(b"MAX %d" % numbers[-1])
        if Return.ALL in options:
            found.append(b"ALL " + uid_set(numbers))
    if Return.COUNT in options:
        found.append(b"COUNT %d" % len(numbers))
    if (page := wanted.page) is not None:
        shown = page.of(numbers)
        found.append(b"PARTIAL (%b %b)" % (page.encode(), uid_set(shown) if shown else b"NIL"))
    if modseq is not None and numbers:
        found.append(b"MODSEQ %d" % modseq)
    if Return.RELEVANCY in options and numbers and (Return.ALL in options or page is not None):
        shown_scores = scores if page is None else page.of(scores)
        found.append(b"RELEVANCY (%b)" % b" ".join([b"%d" % score for score in shown_scores]))
    return found


def listed(word: bytes, numbers: Sequence[int], modseq: int | None) -> bytes:
    """Return SEARCH or SORT, with the modification sequence of RFC 7162 section 3.1.5 if there is one."""
    end = b" (MODSEQ %d)" % modseq if modseq is not None and numbers else b""
    shown = b" " + " ".join(map(str, numbers)).encode("ascii") if numbers else b""
    return untagged(word + shown + end)


def thread(threads: Threads) -> Steps[bytes]:
    """Return THREAD: RFC 5256 section 4.  However deep it is, no call is within another for it."""
    children, numbers = threads.children, threads.numbers
    shown = list(map(str, numbers))
    written: list[str] = []
    #: What is to be written, the last first: a node of a list, or text.
    waiting: list[int | str] = []
    done = 0
    for root in threads.roots:
        done += 1
        if done % PORTION == 0:
            yield
        if root not in children:
            written.append(f"({shown[root]})")
            continue
        waiting += (")", root)
        written.append("(")
        while waiting:
            done += 1
            if done % PORTION == 0:
                yield
            each = waiting.pop()
            if isinstance(each, str):
                written.append(each)
                continue
            below = children.get(each)
            if below is None:
                written.append(shown[each])
                continue
            if numbers[each]:
                written.append(f"{shown[each]} ")
            if len(below) == 1:
                waiting.append(below[0])
            else:
                for child in reversed(below):
                    waiting += (")", child, "(")
    return untagged(b"THREAD" + (b" " + "".join(written).encode("ascii") if written else b""))


def batches(tag: bytes, ranges: Sequence[tuple[int, int]]) -> bytes:
    """Return UIDBATCHES (RFC 10022), from the last messages to the first."""
    correlator = b"UIDBATCHES (TAG " + string(tag) + b")"
    return untagged(b" ".join([correlator, *([b",".join([b"%d:%d" % each for each in ranges])] if ranges else [])]))
