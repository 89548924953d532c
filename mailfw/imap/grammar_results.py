"""How the answer to a search is wanted: RETURN options, sort criteria, threading algorithms, places to search."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailfw.imap import grammar_fetch
from mailfw.imap.grammar_fetch import Item, Section
from mailfw.imap.grammar_pages import Page, partial
from mailfw.imap.lexer import BadSyntax, Cursor


class Return(enum.Enum):
    """What RETURN asks for: RFC 4731 section 3.1, RFC 5182, RFC 5267 section 4, RFC 6203 section 4."""

    MIN = b"MIN"
    MAX = b"MAX"
    ALL = b"ALL"
    COUNT = b"COUNT"
    SAVE = b"SAVE"
    UPDATE = b"UPDATE"
    CONTEXT = b"CONTEXT"
    RELEVANCY = b"RELEVANCY"


_RETURNS = {option.value: option for option in Return}


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    RETURN and its options: without any but those that show nothing, ALL.

    With UPDATE `fetch` may be wanted of new messages in the result (RFC 5465 section 7).
    """

    options: frozenset[Return]
    page: Page | None = None
    fetch: tuple[Item | Section, ...] = ()

    @property
    def is_silent(self) -> bool:
        """Whether the result is only to be saved: RFC 5182 section 1."""
        return self.options == {Return.SAVE} and self.page is None


def returns(cursor: Cursor, capability: bytes) -> Wanted | None:
    """Read ``[SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"]``, which a capability brings."""
    if not cursor.take(b" RETURN "):
        return None
    cursor.needs(capability)
    cursor.expect(b"(")
    options: set[Return] = set()
    page: Page | None = None
    fetch: tuple[Item | Section, ...] = ()
    while not cursor.take(b")"):
        if options or page:
            cursor.space()
        name = cursor.atom().upper()
        if name == b"PARTIAL":
            if page is not None:
                raise BadSyntax("PARTIAL can stand there once")
            cursor.needs(b"PARTIAL", b"CONTEXT=SEARCH")
            cursor.space()
            page = partial(cursor)
            if page.from_end:
                cursor.needs(b"PARTIAL")  # RFC 5267 section 4.4 has no such ranges
        elif name in _RETURNS:
            cursor.needs(_capability_of(_RETURNS[name], capability))
            options.add(_RETURNS[name])
            if name == b"UPDATE" and (cursor.take(b" (") or cursor.take(b"(")):
                cursor.needs(b"NOTIFY")
                fetch = grammar_fetch.items(cursor)
        else:
            raise BadSyntax("There is no such thing to return")
    if page is not None and Return.ALL in options:
        raise BadSyntax("PARTIAL and ALL exclude each other")  # RFC 9394 section 3.1
    if not options - {Return.UPDATE, Return.CONTEXT, Return.RELEVANCY} and page is None:
        options.add(Return.ALL)
    return Wanted(frozenset(options), page, fetch)


def _capability_of(option: Return, command: bytes) -> bytes:
    """Return which capability brings an option to the RETURN that another brings."""
    match option:
        case Return.SAVE:
            return b"SEARCHRES"
        case Return.RELEVANCY:
            return b"SEARCH=FUZZY"
        case Return.UPDATE | Return.CONTEXT:
            return b"CONTEXT=SORT" if command == b"ESORT" else b"CONTEXT=SEARCH"
    return command


# ---------------------------------------------------------------- sorting and threading


class Criterion(enum.Enum):
    """RFC 5256 section 3, RFC 5957 section 4, RFC 6203 section 6."""

    ARRIVAL = b"ARRIVAL"
    CC = b"CC"
    DATE = b"DATE"
    DISPLAYFROM = b"DISPLAYFROM"
    DISPLAYTO = b"DISPLAYTO"
    FROM = b"FROM"
    RELEVANCY = b"RELEVANCY"
    SIZE = b"SIZE"
    SUBJECT = b"SUBJECT"
    TO = b"TO"


_CRITERIA = {criterion.value: criterion for criterion in Criterion}


@dataclass(frozen=True, slots=True)
class SortBy:
    """One criterion."""

    criterion: Criterion
    reverse: bool = False


def sort_criteria(cursor: Cursor) -> tuple[SortBy, ...]:
    """Read ``"(" sort-criterion *(SP sort-criterion) ")"``; what comes twice decides nothing and is left out."""
    cursor.expect(b"(")
    criteria: dict[Criterion, SortBy] = {}
    while True:
        name = cursor.atom().upper()
        reverse = name == b"REVERSE"
        if reverse:
            cursor.space()
            name = cursor.atom().upper()
        if name not in _CRITERIA:
            raise BadSyntax("Messages cannot be sorted by that")
        if name in (b"DISPLAYFROM", b"DISPLAYTO"):
            cursor.needs(b"SORT=DISPLAY")
        elif name == b"RELEVANCY":
            cursor.needs(b"SEARCH=FUZZY")
        criteria.setdefault(_CRITERIA[name], SortBy(_CRITERIA[name], reverse))
        if cursor.take(b")"):
            return tuple(criteria.values())
        cursor.space()


class Algorithm(enum.Enum):
    """How messages are threaded: RFC 5256 section 3, and the REFS of draft-ietf-morg-inthread."""

    ORDEREDSUBJECT = b"ORDEREDSUBJECT"
    REFERENCES = b"REFERENCES"
    REFS = b"REFS"


_ALGORITHMS = {algorithm.value: algorithm for algorithm in Algorithm}


def algorithm(cursor: Cursor) -> Algorithm:
    """Read ``thread-alg``."""
    name = cursor.atom().upper()
    if name not in _ALGORITHMS:
        raise BadSyntax("Messages cannot be threaded so")
    return _ALGORITHMS[name]


# ---------------------------------------------------------------- mailboxes


class Where(enum.Enum):
    """The mailboxes that RFC 5465 section 6 names by what they are, as RFC 7377 section 2.2 has them."""

    SELECTED = b"selected"
    INBOXES = b"inboxes"
    PERSONAL = b"personal"
    SUBSCRIBED = b"subscribed"
    SUBTREE = b"subtree"
    SUBTREE_ONE = b"subtree-one"
    MAILBOXES = b"mailboxes"


_WHERE = {where.value: where for where in Where}
_NAMED = frozenset({Where.SUBTREE, Where.SUBTREE_ONE, Where.MAILBOXES})
#: RFC 7377 sets no limit on sources that differ, nor on names in all of them, where a source without any counts too.
_MOST_SOURCES, _MOST_NAMES = 100, 1000


@dataclass(frozen=True, slots=True)
class Source:
    """Some of the mailboxes to search; `names` are there for those kinds that have them."""

    where: Where
    names: tuple[str, ...] = ()


def sources(cursor: Cursor) -> tuple[Source, ...] | None:
    """
    Read ``[SP "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"]`` of RFC 7377 section 4.

    What comes twice adds nothing (section 2.2) and is left out.
    """
    if not cursor.take(b" IN "):
        return None
    cursor.expect(b"(")
    found: dict[Source, None] = {}
    names = 0
    while not (found and cursor.take(b")")):
        if found:
            cursor.space()
            if cursor.peek() == ord("("):
                raise BadSyntax("There are no options of the scope")
        source = _source(cursor)
        found[source] = None
        names += len(source.names) or 1
        if len(found) > _MOST_SOURCES or names > _MOST_NAMES:
            raise BadSyntax("Too many mailboxes")
    return tuple(found)


def _source(cursor: Cursor) -> Source:
    where = _WHERE.get(cursor.atom().lower())
    if where is None:
        raise BadSyntax("There are no such mailboxes")
    if where not in _NAMED:
        return Source(where)
    cursor.space()
    if not cursor.take(b"("):
        return Source(where, (cursor.mailbox(),))
    names = [cursor.mailbox()]
    while not cursor.take(b")"):
        cursor.space()
        names.append(cursor.mailbox())
        if len(names) > _MOST_NAMES:
            raise BadSyntax("Too many mailboxes")
    return Source(where, tuple(names))


# ---------------------------------------------------------------- batches


def batches(cursor: Cursor) -> tuple[int, tuple[int, int] | None]:
    """Read ``SP nz-number [SP nz-number ":" nz-number]``: RFC 10022."""
    cursor.space()
    size = cursor.nz_number()
    chosen: tuple[int, int] | None = None
    if not cursor.at_end():
        cursor.space()
        first = cursor.nz_number()
        cursor.expect(b":")
        chosen = first, cursor.nz_number()
    cursor.expect_end()
    return size, chosen
