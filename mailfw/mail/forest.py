"""Threads of messages: ORDEREDSUBJECT and REFERENCES of RFC 5256 section 3, and REFS of draft-ietf-morg-inthread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mailfw.mail.conversation import NO_ID, WIDTH
from mailfw.mail.steps import PORTION, Steps, ordered, portions

#: Steps up the threads of a mailbox to find loops.  One that needs more was made to take long: what else is referred to
#: counts as a loop.
_STEPS = 2_000_000
#: So many of them others can wait for.
_PATIENCE = 100_000

_NOBODY = -1


class Messages(NamedTuple):
    """
    Messages in the order of the mailbox, in columns.

    `numbers` are what they are called in the answer; `sent` is their Date or, without one, when they were received;
    `subjects` and `answers` are as in `mailfw.mail.sorting.SortKeys`, and `ids` those of
    `mailfw.mail.conversation.Relations`.
    """

    numbers: list[int]
    sent: list[int]
    subjects: list[bytes]
    answers: list[bool]
    ids: list[bytes]


class Threads(NamedTuple):
    """
    Trees of nodes, which are places in `numbers`; one whose number is 0 is a message that is not there.

    `children` are in their order; what has none is not in it.
    """

    numbers: Sequence[int]
    roots: Sequence[int]
    children: Mapping[int, Sequence[int]]


def _ranks(by_date: Sequence[int]) -> list[int]:
    """Return, for each message, how many were sent before it."""
    ranks = [0] * len(by_date)
    for rank, place in enumerate(by_date):
        ranks[place] = rank
    return ranks


def _by_date(sent: Sequence[int]) -> Steps[list[int]]:
    """Return messages as they were sent; of two that were at the same time the first was."""
    return ordered(range(len(sent)), sent.__getitem__)


def ordered_subject(messages: Messages) -> Steps[Threads]:
    """Thread messages by their subjects alone."""
    subjects = messages.subjects
    by_date = yield from _by_date(messages.sent)
    ranks = _ranks(by_date)
    yield
    by_subject = yield from ordered(by_date, subjects.__getitem__)
    roots: list[int] = []
    children: dict[int, list[int]] = {}
    for portion in portions(by_subject):
        for place in portion:
            if roots and subjects[roots[-1]] == subjects[place]:
                children.setdefault(roots[-1], []).append(place)
            else:
                roots.append(place)
        yield
    roots = yield from ordered(roots, ranks.__getitem__)
    return Threads(messages.numbers, roots, children)


class Forest:
    """
    Threads by what messages refer to.

    Use one of `references` and `refs`, once.
    """

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        count = len(messages.ids)
        own = [ids[:WIDTH] for ids in messages.ids]
        #: Nodes by id; of two messages with the same id the second stands for itself.
        self._table = dict(zip(reversed(own), range(count - 1, -1, -1), strict=True))
        self._table.pop(NO_ID, None)
        self._table.pop(b"", None)
        # Nodes behind those of the messages are of messages that are not there.
        self._parents = [_NOBODY] * count
        self._families = [0] * count
        self._children: dict[int, list[int]] = {}
        self._ranks: list[int] = []
        self._steps = _STEPS

    # ------------------------------------------------------------ step 1

    def _referred(self) -> Steps[None]:
        """Take what the messages refer to."""
        parents, table = self._parents, self._table
        octets, steps = 0, self._steps
        for node, ids in enumerate(self._messages.ids):
            octets += len(ids)
            if octets > PORTION * WIDTH or self._steps < steps - _PATIENCE:
                octets, steps = 0, self._steps
                yield
            elder = _NOBODY
            if len(ids) == 2 * WIDTH:
                elder = table.get(ids[WIDTH:], _NOBODY)
                if elder == _NOBODY:
                    elder = self._unknown(ids[WIDTH:])
            elif len(ids) > WIDTH:
                elder = self._chain(ids)
            if parents[node] != elder:
                self._give_parent(node, elder)

    def _unknown(self, id_: bytes) -> int:
        """Make a node for a message that is not there."""
        node = self._table[id_] = len(self._parents)
        self._parents.append(_NOBODY)
        self._families.append(0)
        return node

    def _chain(self, ids: bytes) -> int:
        """Step 1 (A): let each message referred to be below the one before it; return the last."""
        elder = _NOBODY
        for start in range(WIDTH, len(ids), WIDTH):
            id_ = ids[start : start + WIDTH]
            named = self._table.get(id_, _NOBODY)
            if named == _NOBODY:
                named = self._unknown(id_)
            if elder != _NOBODY and self._parents[named] == _NOBODY and not self._is_below(elder, named):
                self._parents[named] = elder
                self._families[elder] += 1
            elder = named
        return elder

    def _give_parent(self, node: int, elder: int) -> None:
        """Step 1 (B): the last reference, or nobody, takes the place of what others have said; a loop is not made."""
        before = self._parents[node]
        if before == elder:
            return
        if before != _NOBODY:
            self._families[before] -= 1
            self._parents[node] = _NOBODY
        if elder != _NOBODY and not self._is_below(elder, node):
            self._parents[node] = elder
            self._families[elder] += 1

    def _is_below(self, node: int, other: int) -> bool:
        """Whether a node is `other`, or below it."""
        if not self._families[other]:
            return node == other
        parents, steps = self._parents, self._steps
        while node != _NOBODY and steps:
            if node == other:
                break
            node = parents[node]
            steps -= 1
        self._steps = steps
        return node != _NOBODY

    # ------------------------------------------------------------ the rest

    def references(self) -> Steps[Threads]:
        """Return REFERENCES: threads with the same subject are one."""
        roots, _ = yield from self._grown()
        roots = yield from self._gathered(roots)
        roots = yield from ordered(roots, self._ranks.__getitem__)
        return self._threads(roots)

    def refs(self) -> Steps[Threads]:
        """Return REFS: subjects say nothing, and the thread with the latest message is the last."""
        roots, below = yield from self._grown()
        latest = self._ranks[:]
        for portion in portions(below):
            for node in portion:
                last = max([latest[child] for child in self._children[node]])
                latest[node] = max(last, latest[node]) if self._is_there(node) else last
            yield
        roots = yield from ordered(roots, latest.__getitem__)
        return self._threads(roots)

    def _threads(self, roots: list[int]) -> Threads:
        numbers = self._messages.numbers
        return Threads([*numbers, *[0] * (len(self._ranks) - len(numbers))], roots, self._children)

    def _is_there(self, node: int) -> bool:
        return node < len(self._messages.ids)

    def _grown(self) -> Steps[tuple[list[int], list[int]]]:
        """Steps 3 and 4: return the roots by date, and all nodes that have children, each behind these."""
        yield from self._referred()
        roots = yield from self._families_made()
        if len(self._parents) > len(self._messages.ids):
            roots = yield from self._pruned(roots)
        self._ranks = _ranks((yield from _by_date(self._messages.sent)))
        self._ranks += [0] * (len(self._parents) - len(self._ranks))
        yield
        below = yield from self._from_below(roots)
        for portion in portions(below):
            for node in portion:
                yield from self._sort(node)
            yield
        roots = yield from ordered(roots, self._ranks.__getitem__)
        return roots, below

    def _families_made(self) -> Steps[list[int]]:
        """Note the children of each node, and return those that are nobody's."""
        children, parents = self._children, self._parents
        roots: list[int] = []
        for portion in portions(range(len(parents))):
            for node in portion:
                if (parent := parents[node]) == _NOBODY:
                    roots.append(node)
                else:
                    children.setdefault(parent, []).append(node)
            yield
        return roots

    def _from_below(self, roots: Sequence[int]) -> Steps[list[int]]:
        """Return all nodes that have children, each behind its children."""
        children, found = self._children, list[int]()
        waiting = [root for root in roots if root in children]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += [child for child in children[node] if child in children]
            if len(found) % PORTION == 0:
                yield
        found.reverse()
        return found

    def _pruned(self, roots: list[int]) -> Steps[list[int]]:
        """Step 3: take out what is not there; it stays at the root, where it holds several children together."""
        children, count = self._children, len(self._messages.ids)
        for portion in portions((yield from self._from_below(roots))):
            for node in portion:
                if max(children[node]) >= count:
                    kept = self._shown(children.pop(node))
                    if kept:
                        children[node] = kept
            yield
        shown: list[int] = []
        for portion in portions(roots):
            for root in portion:
                if root < count or len(children.get(root, ())) > 1:
                    shown.append(root)
                else:
                    shown += children.pop(root, ())
            yield
        return shown

    def _shown(self, nodes: Iterable[int]) -> list[int]:
        found: list[int] = []
        for node in nodes:
            if self._is_there(node):
                found.append(node)
            else:
                found += self._children.pop(node, ())
        return found

    def _sort(self, node: int) -> Steps[None]:
        """Put children in their order: step 4; what is not there was sent when the first of these was."""
        below = self._children[node]
        if len(below) > 1:
            below = self._children[node] = yield from ordered(below, self._ranks.__getitem__)
        if not self._is_there(node):
            self._ranks[node] = self._ranks[below[0]]

    # ------------------------------------------------------------ step 5: the same subject

    def _gathered(self, roots: list[int]) -> Steps[list[int]]:
        """Put threads together that have the same subject, and their children in order: steps 5 and 6."""
        subjects: dict[int, bytes] = {}
        for portion in portions(roots):
            subjects.update({root: self._messages.subjects[self._first(root)] for root in portion})
            yield
        table = yield from self._by_subject(subjects)
        both: dict[int, int] = {}
        kept: list[int] = []
        for portion in portions(roots):
            for root in portion:
                subject = subjects[root]
                known = table.get(subject, root)
                if known == root:
                    kept.append(root)
                else:
                    table[subject] = self._joined(root, known)
                    if table[subject] != known:
                        both[known] = table[subject]
            yield
        for portion in portions([*both, *table.values()]):
            for node in portion:
                if node in self._children:
                    yield from self._sort(node)
            yield
        return [both.get(root, root) for root in kept]

    def _by_subject(self, subjects: Mapping[int, bytes]) -> Steps[dict[bytes, int]]:
        """Return the thread of each subject that others of the same join."""
        table: dict[bytes, int] = {}
        for portion in portions(list(subjects)):
            for root in portion:
                if subject := subjects[root]:
                    known = table.setdefault(subject, root)
                    if known != root and self._is_better(root, known):
                        table[subject] = root
            yield
        return table

    def _joined(self, root: int, known: int) -> int:
        """Let a thread be with another that has its subject: step 5 (C); return which is the one of both."""
        children = self._children
        if not self._is_there(known):
            children[known] += [root] if self._is_there(root) else children.pop(root)
        elif self._is_answer(root) and not self._is_answer(known):
            children.setdefault(known, []).append(root)
        else:
            # They are side by side below a message that is not there.
            children[len(self._ranks)] = [known, root]
            self._ranks.append(0)
            return len(self._ranks) - 1
        return known

    def _is_better(self, root: int, known: int) -> bool:
        """Whether a thread, not the one with its subject that came before, is the one others join: step 5 (B)."""
        if not self._is_there(known):
            return False
        return not self._is_there(root) or (self._is_answer(known) and not self._is_answer(root))

    def _first(self, node: int) -> int:
        return node if self._is_there(node) else self._children[node][0]

    def _is_answer(self, node: int) -> bool:
        return self._is_there(node) and self._messages.answers[node]
