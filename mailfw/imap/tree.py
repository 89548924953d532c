"""What LIST and LSUB show of a tree of mailboxes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mailfw.imap import names
from mailfw.imap.grammar import ListRequest
from mailfw.mail.mailbox import INBOX, MailboxInfo, Path, Role


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of LIST or LSUB."""

    path: Path
    attributes: tuple[str, ...]


class Pattern:
    """
    A name with the wildcards of RFC 3501 section 6.3.8: ``*`` matches anything, ``%`` all but the delimiter.

    All ways to match are followed at once, one bit for each, so that no pattern takes long.
    """

    def __init__(self, text: str) -> None:
        self._through = self._within = self._wild = 0
        self._places: dict[str, int] = {}
        length = 0
        for character in _collapse(text):
            bit = 1 << length
            if character == "*":
                self._through |= bit
            elif character == "%":
                self._within |= bit
            else:
                self._places[character] = self._places.get(character, 0) | bit
            length += 1
        self._wild = self._through | self._within
        self._end = 1 << length
        self.ends_in_percent = text.endswith("%")

    def matches(self, name: str) -> bool:
        """Whether a whole name fits."""
        reached = self._step(1)
        for character in name:
            stayed = reached & (self._through if character == names.DELIMITER else self._wild)
            reached = self._step(stayed | (reached & self._places.get(character, 0)) << 1)
            if not reached:
                return False
        return bool(reached & self._end)

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
        self._patterns = [Pattern(text) for text in wanted]
        self._below_inbox = [*self._patterns, *(Pattern(_first_in_capitals(text)) for text in wanted)]
        self.ends_in_percent = any(pattern.ends_in_percent for pattern in self._patterns)

    def matches(self, path: Path) -> bool:
        name = self._written(names.from_path(path))
        patterns = self._below_inbox if path[:1] == INBOX else self._patterns
        return any(pattern.matches(name) for pattern in patterns)

    def _written(self, name: str) -> str:
        return name if self._is_unicode else names.encode(name).decode("ascii")


def _first_in_capitals(text: str) -> str:
    first, delimiter, rest = text.partition(names.DELIMITER)
    return first.upper() + delimiter + rest


def superiors(paths: Iterable[Path]) -> set[Path]:
    """Return every path that has one of `paths` below it."""
    return {path[:depth] for path in paths for depth in range(1, len(path))}


def list_entries(
    infos: Mapping[Path, MailboxInfo], subscribed: Collection[Path], request: ListRequest
) -> Iterator[Entry]:
    """Say what LIST shows: mailboxes, and names that only stand for what is below them."""
    matcher = _Matcher(request)
    parents = superiors(infos)
    roles = _roles(infos)
    candidates = {*infos, *parents, *(subscribed if request.only_subscribed else ())}
    for path in sorted(candidates, key=_order):
        if request.only_subscribed and path not in subscribed:
            continue
        role = roles.get(path)
        if request.only_special_use and role is None:
            continue
        if matcher.matches(path):
            yield Entry(path, _attributes(path in infos, path in parents, role, path in subscribed))


def _attributes(exists: bool, has_children: bool, role: Role | None, subscribed: bool) -> tuple[str, ...]:
    attributes = [] if exists else ["\\Noselect"]
    attributes.append("\\HasChildren" if has_children else "\\HasNoChildren")
    if role is not None:
        attributes.append(role.value)
    if subscribed:
        attributes.append("\\Subscribed")
    return tuple(attributes)


def _roles(infos: Mapping[Path, MailboxInfo]) -> dict[Path, Role]:
    """Give each use to one mailbox: clients take the first they see, so all must see the same."""
    roles: dict[Role, Path] = {}
    for path in sorted(infos, key=_order):
        role = infos[path].role
        if role is not None:
            roles.setdefault(role, path)
    return {path: role for role, path in roles.items()}


def _order(path: Path) -> tuple[bool, Path]:
    return path[0] != INBOX[0], path


def lsub_entries(subscribed: Collection[Path], request: ListRequest) -> Iterator[Entry]:
    """
    Say what LSUB shows: subscribed names, whether there are such mailboxes or not.

    Where ``%`` stops above a subscribed name, what it stopped at is shown as \\Noselect (RFC 3501 section 6.3.9).
    """
    matcher = _Matcher(request)
    shown: dict[Path, tuple[str, ...]] = {path: () for path in subscribed if matcher.matches(path)}
    if matcher.ends_in_percent:
        above = superiors(path for path in subscribed if path not in shown).difference(subscribed)
        shown.update({path: ("\\Noselect",) for path in above if matcher.matches(path)})
    for path in sorted(shown, key=_order):
        yield Entry(path, shown[path])


def moved(paths: Iterable[Path], old: Path, new: Path) -> dict[Path, Path]:
    """Return where each of `paths` goes that is at or below `old`."""
    return {path: new + path[len(old) :] for path in paths if path[: len(old)] == old}


def tops(paths: Collection[Path]) -> list[Path]:
    """Return those of `paths` that are not below another of them."""
    return [path for path in paths if not any(path[:depth] in paths for depth in range(1, len(path)))]
