"""What LIST and LSUB show of a tree of mailboxes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mailfw.imap import names
from mailfw.imap.grammar_mailboxes import ListRequest
from mailfw.mail.mailbox import INBOX, MailboxInfo, Path, Role
from mailfw.mail.rights import READ


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One line of LIST or LSUB.

    `is_chosen` is False for what is only shown for what is `subscribed_below` it (RFC 5258 section 3.5).
    """

    path: Path
    attributes: tuple[str, ...]
    is_chosen: bool = True
    subscribed_below: bool = False


class Pattern:
    """
    Names with the wildcards of RFC 3501 section 6.3.8: ``*`` matches anything, ``%`` all but the delimiter.

    All ways to match any of them are followed at once, one bit for each, so that no pattern takes long, nor many.
    """

    def __init__(self, *texts: str) -> None:
        self._through = self._within = self._begins = self._ends = 0
        self._places: dict[str, int] = {}
        bit = 1
        for text in texts:
            self._begins |= bit
            for character in _collapse(text):
                if character == "*":
                    self._through |= bit
                elif character == "%":
                    self._within |= bit
                else:
                    self._places[character] = self._places.get(character, 0) | bit
                bit <<= 1
            self._ends |= bit
            bit <<= 1
        self._wild = self._through | self._within

    def matches(self, name: str) -> bool:
        """Whether a whole name fits."""
        reached = self._step(self._begins)
        for character in name:
            stayed = reached & (self._through if character == names.DELIMITER else self._wild)
            reached = self._step(stayed | (reached & self._places.get(character, 0)) << 1)
            if not reached:
                return False
        return bool(reached & self._ends)

    def _step(self, reached: int) -> int:
        """A wildcard may match nothing; no two stand side by side."""
        return reached | (reached & self._wild) << 1


def _collapse(text: str) -> list[str]:
    """Draw wildcards that stand side by side together: ``*`` if there is one among them."""
    collapsed: list[str] = []
    for character in text:
        if character in "*%" and collapsed and collapsed[-1] in ("*", "%"):
            collapsed[-1] = "*" if "*" in (collapsed[-1], character) else "%"
        else:
            collapsed.append(character)
    return collapsed


class _Matcher:
    """The patterns of one request, beside names as they are written; the inbox is found in upper and lower case."""

    def __init__(self, request: ListRequest) -> None:
        self._is_unicode = request.is_unicode
        reference = self._written(request.reference)
        wanted = [reference + pattern for pattern in request.patterns]
        self._pattern = Pattern(*wanted)
        self._below_inbox = Pattern(*wanted, *map(_first_in_capitals, wanted))
        self._is_all = "*" in wanted  # what most clients ask for
        self.ends_in_percent = any(text.endswith("%") for text in wanted)

    def matches(self, path: Path) -> bool:
        if self._is_all:
            return True
        name = self._written(names.from_path(path))
        return (self._below_inbox if path[:1] == INBOX else self._pattern).matches(name)

    def _written(self, name: str) -> str:
        return name if self._is_unicode else names.encode(name).decode("ascii")


def _first_in_capitals(text: str) -> str:
    first, delimiter, rest = text.partition(names.DELIMITER)
    return first.upper() + delimiter + rest


def superiors(paths: Iterable[Path]) -> set[Path]:
    """Return every path that has one of `paths` below it."""
    found: set[Path] = set()
    for path in paths:
        above = path[:-1]
        while above and above not in found:
            found.add(above)
            above = above[:-1]
    return found


def list_entries(
    infos: Mapping[Path, MailboxInfo], subscribed: Collection[Path], request: ListRequest
) -> Iterator[Entry]:
    """Say what LIST shows: mailboxes, and names that only stand for what is below them."""
    return (entry for entry in walk(infos, subscribed, request) if entry is not None)


def walk(
    infos: Mapping[Path, MailboxInfo], subscribed: Collection[Path], request: ListRequest
) -> Iterator[Entry | None]:
    """As `list_entries`, with None for each name that is not shown: nobody has to wait for the next that is."""
    matcher = _Matcher(request)
    parents = superiors(infos)
    roles = _roles(infos)

    def is_chosen(path: Path) -> bool:
        return not (request.only_subscribed and path not in subscribed) and not (
            request.only_special_use and path not in roles
        )

    candidates = {*infos, *parents, *(subscribed if request.only_subscribed else ())}
    above, hidden_below = set[Path](), set[Path]()
    if request.with_parents:
        above, hidden_below = yield from _above_chosen(candidates, is_chosen, matcher)
    candidates |= hidden_below
    for path in sorted(candidates, key=_order):
        chosen = is_chosen(path)
        if (chosen or path in hidden_below) and matcher.matches(path):
            attributes = _attributes(infos.get(path), path in parents, roles.get(path), path in subscribed, request)
            yield Entry(path, attributes, chosen, path in above)
        else:
            yield None


def _above_chosen(
    candidates: Iterable[Path], is_chosen: Callable[[Path], bool], matcher: _Matcher
) -> Generator[None, None, tuple[set[Path], set[Path]]]:
    """
    Return what has anything chosen below it, and what has such below it as is not shown itself.

    RFC 5258 section 3.3: what was not chosen is only shown for the sake of the latter.  Nobody has to wait for it: None
    is yielded for each name.
    """
    chosen: list[Path] = []
    hidden: list[Path] = []
    for path in candidates:
        yield None
        if is_chosen(path):
            chosen.append(path)
            if not matcher.matches(path):
                hidden.append(path)
    return superiors(chosen), superiors(hidden)


def _attributes(
    info: MailboxInfo | None, has_children: bool, role: Role | None, subscribed: bool, request: ListRequest
) -> tuple[str, ...]:
    attributes = []
    if info is None:  # RFC 5258 section 3: \NonExistent implies \Noselect, and there is one of them at most
        attributes.append("\\NonExistent" if request.is_extended else "\\Noselect")
    elif READ not in info.rights:
        attributes.append("\\Noselect")
    attributes.append("\\HasChildren" if has_children else "\\HasNoChildren")
    if role is not None:
        attributes.append(role.value)
    if subscribed and request.show_subscribed:
        attributes.append("\\Subscribed")
    return tuple(attributes)


def _roles(infos: Mapping[Path, MailboxInfo]) -> dict[Path, Role]:
    """Give each use to one mailbox: clients take the first they see, so all must see the same."""
    roles: dict[Role, Path] = {}
    for path in sorted((path for path, info in infos.items() if info.role is not None), key=_order):
        role = infos[path].role
        if role is not None:
            roles.setdefault(role, path)
    return {path: role for role, path in roles.items()}


def _order(path: Path) -> tuple[bool, Path]:
    return path[0] != INBOX[0], path


def walk_subscribed(
    existing: Collection[Path], subscribed: Collection[Path], request: ListRequest
) -> Iterator[Entry | None]:
    """
    Say what LSUB shows: subscribed names, whether there are such mailboxes or not; None for each that is looked at.

    Where ``%`` stops above a subscribed name, what it stopped at is shown as \\Noselect (RFC 3501 section 6.3.9).  So
    is a name without a mailbox, which some clients would open and complain about.
    """
    matcher = _Matcher(request)
    shown: dict[Path, tuple[str, ...]] = {}
    for path in subscribed:
        yield None
        if matcher.matches(path):
            shown[path] = () if path in existing else ("\\Noselect",)
    if matcher.ends_in_percent:
        for path in superiors(path for path in subscribed if path not in shown).difference(subscribed):
            yield None
            if matcher.matches(path):
                shown[path] = ("\\Noselect",)
    for path in sorted(shown, key=_order):
        yield Entry(path, shown[path])


def moved(paths: Iterable[Path], old: Path, new: Path) -> dict[Path, Path]:
    """Return where each of `paths` goes that is at or below `old`."""
    return {path: new + path[len(old) :] for path in paths if path[: len(old)] == old}


def tops(paths: Collection[Path]) -> list[Path]:
    """Return those of `paths` that are not below another of them."""
    return [path for path in paths if not any(path[:depth] in paths for depth in range(1, len(path)))]
