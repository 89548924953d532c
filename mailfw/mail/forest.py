"""Threads of messages: ORDEREDSUBJECT and REFERENCES of RFC 5256 section 3, and REFS of draft-ietf-morg-inthread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mailfw.mail.conversation import NO_ID, WIDTH
from mailfw.mail.steps import PORTION, Steps, ordered, portions

#: Steps up the threads of a mailbox to find loops.  One that needs more was made to take long: what else is referred to
#: counts as a loop.
_STEPS = 2_000_000


class Node:
    """
    A message of a forest, or, without a `number`, one that is not there and has children.

    `number` is what the message is called in the answer, `sent` its Date or, without one, when it was received;
    `subject` and `is_answer` are those of `mailfw.mail.sorting.SortKeys`.
    """

    __slots__ = ("children", "is_answer", "number", "parent", "sent", "subject")

    def __init__(self, number: int, sent: int, subject: bytes, is_answer: bool) -> None:
        self.number = number
        self.sent = sent
        self.subject = subject
        self.is_answer = is_answer
        self.parent: Node | None = None
        self.children: list[Node] = []

    def become(self, other: Node) -> None:
        """Stand for the message of another node."""
        self.number, self.sent = other.number, other.sent
        self.subject, self.is_answer = other.subject, other.is_answer


def _nobody() -> Node:
    return Node(0, 0, b"", False)


def ordered_subject(messages: Sequence[Node]) -> Steps[list[Node]]:
    """Thread messages, given in the order of the mailbox, by their subjects alone."""
    keys = [(message.subject, message.sent) for message in messages]
    yield
    places = yield from ordered(range(len(messages)), keys.__getitem__)
    roots: list[Node] = []
    for portion in portions(places):
        for message in map(messages.__getitem__, portion):
            if roots and roots[-1].subject == message.subject:
                roots[-1].children.append(message)
            else:
                roots.append(message)
        yield
    return (yield from _by_date(roots))


class Forest:
    """
    Threads by what messages refer to; `add` takes these in the order of the mailbox, a few or all at once.

    Use one of `references` and `refs`, once.
    """

    def __init__(self) -> None:
        self._table: dict[bytes, Node] = {}
        self._nodes: list[Node] = []
        self._left: dict[int, Node] = {}
        self._steps = _STEPS

    def add(self, messages: Iterable[tuple[Node, bytes]]) -> None:
        """Take more messages, with the ids of `mailfw.mail.conversation.Relations`: step 1."""
        table, nodes = self._table, self._nodes
        for node, ids in messages:
            own = ids[:WIDTH]
            known = table.get(own)
            if known is not None and not known.number:
                known.become(node)
                node = known  # in its place already
            else:
                nodes.append(node)
                # Of two with the same id the second stands for itself.
                if known is None and own and own != NO_ID:
                    table[own] = node
            if len(ids) > WIDTH or node.parent is not None:
                self._refer(node, ids)

    def references(self) -> Steps[list[Node]]:
        """Return REFERENCES: threads with the same subject are one."""
        roots = yield from self._roots()
        roots = yield from _sorted(roots)
        roots = yield from _gathered(roots)
        return (yield from _sorted(roots))

    def refs(self) -> Steps[list[Node]]:
        """Return REFS: subjects say nothing, and the thread with the latest message is the last."""
        roots = yield from self._roots()
        roots = yield from _sorted(roots)
        latest = yield from _latest(roots)
        return (yield from ordered(roots, lambda root: latest[id(root)]))

    def _roots(self) -> Steps[list[Node]]:
        for node in self._left.values():
            node.children = [child for child in dict.fromkeys(node.children) if child.parent is node]
            yield
        return (yield from _pruned([node for node in self._nodes if node.parent is None]))

    def _refer(self, node: Node, ids: bytes) -> None:
        """Step 1 (A) and (B)."""
        table = self._table
        elder: Node | None = None
        for start in range(WIDTH, len(ids), WIDTH):
            id_ = ids[start : start + WIDTH]
            named = table.get(id_)
            if named is None:
                named = table[id_] = _nobody()
                self._nodes.append(named)
            if elder is not None and named.parent is None and not self._is_below(elder, named):
                named.parent = elder
                elder.children.append(named)
            elder = named
        self._give_parent(node, elder)

    def _give_parent(self, node: Node, elder: Node | None) -> None:
        """Step 1 (B): the last reference, or nobody, takes the place of what others have said; a loop is not made."""
        if node.parent is elder:
            return
        if node.parent is not None:
            # It stays among the children until `_roots`: to find it there could take long.
            self._left[id(node.parent)] = node.parent
            node.parent = None
        if elder is not None and not self._is_below(elder, node):
            node.parent = elder
            elder.children.append(node)

    def _is_below(self, node: Node, other: Node) -> bool:
        """Whether a node is `other`, or below it."""
        if not other.children:
            return node is other
        at: Node | None = node
        while at is not None and self._steps:
            if at is other:
                return True
            at = at.parent
            self._steps -= 1
        return at is not None


# ---------------------------------------------------------------- step 3: nodes without a message


def _pruned(roots: list[Node]) -> Steps[list[Node]]:
    """Take out what is not there; it stays at the root, where it holds several children together."""
    order = yield from _all(roots)
    order.reverse()  # the lowest first: whatever is below is done
    for portion in portions(order):
        for node in portion:
            if any(not child.number for child in node.children):
                node.children = list(_shown(node.children))
        yield
    kept: list[Node] = []
    for portion in portions(roots):
        for root in portion:
            if root.number or len(root.children) > 1:
                kept.append(root)
            else:
                kept.extend(root.children)
        yield
    return kept


def _shown(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        if not node.number:
            yield from node.children
        else:
            yield node


def _all(roots: Iterable[Node]) -> Steps[list[Node]]:
    """Return all nodes, each before its children."""
    found: list[Node] = []
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        found.append(node)
        waiting.extend(node.children)
        if len(found) % PORTION == 0:
            yield
    return found


# ---------------------------------------------------------------- steps 4 and 6: the order


def _date(node: Node) -> int:
    """Return what orders by when a message was sent, and then by number; of one that is not there its first child's."""
    first = _first(node)
    return (first.sent << 32) + first.number


def _first(node: Node) -> Node:
    while not node.number:
        node = node.children[0]
    return node


def _by_date(nodes: list[Node]) -> Steps[list[Node]]:
    if len(nodes) <= PORTION:
        return sorted(nodes, key=_date)
    dates: list[int] = []
    for portion in portions(nodes):
        dates.extend(map(_date, portion))
        yield
    places = yield from ordered(range(len(nodes)), dates.__getitem__)
    return [nodes[place] for place in places]


def _sorted(roots: list[Node]) -> Steps[list[Node]]:
    """Put children in order, and return the roots so."""
    order = yield from _all(roots)
    order.reverse()
    for portion in portions(order):
        for node in portion:
            if len(node.children) > 1:
                node.children = yield from _by_date(node.children)
        yield
    return (yield from _by_date(roots))


def _latest(roots: list[Node]) -> Steps[dict[int, int]]:
    """Return the date of the latest message of each thread, by the `id` of its root."""
    latest: dict[int, int] = {}
    order = yield from _all(roots)
    order.reverse()
    for portion in portions(order):
        for node in portion:
            dates = [latest.pop(id(child)) for child in node.children]
            if node.number:
                dates.append(_date(node))
            latest[id(node)] = max(dates)
        yield
    return latest


# ---------------------------------------------------------------- step 5: the same subject


def _gathered(roots: list[Node]) -> Steps[list[Node]]:
    """Put threads together that have the same subject."""
    table = yield from _by_subject(roots)
    both: dict[int, Node] = {}
    gone: set[int] = set()
    for portion in portions(roots):
        for root in portion:
            known = table.get(_first(root).subject)
            if known is None or known is root:
                continue
            gone.add(id(root))
            if not known.number:
                known.children.extend([root] if root.number else root.children)
            elif root.is_answer and not known.is_answer:
                known.children.append(root)
            else:
                # They are side by side below a message that is not there.
                above = both[id(known)] = table[_first(root).subject] = _nobody()
                above.children = [known, root]
        yield
    return [both.get(id(root), root) for root in roots if id(root) not in gone]


def _by_subject(roots: list[Node]) -> Steps[dict[bytes, Node]]:
    """Return the thread of each subject that others of the same join."""
    table: dict[bytes, Node] = {}
    for portion in portions(roots):
        for root in portion:
            if subject := _first(root).subject:
                known = table.get(subject)
                if known is None or _is_better(root, known):
                    table[subject] = root
        yield
    return table


def _is_better(root: Node, known: Node) -> bool:
    """Whether a thread, not the one with its subject that came before, is the one that others join: step 5 (B)."""
    if not known.number:
        return False
    return not root.number or (known.is_answer and not root.is_answer)
