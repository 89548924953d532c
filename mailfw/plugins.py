"""From a plug-in's name in the configuration to the object it makes, with a helpful refusal for every mistake."""

from __future__ import annotations

import difflib
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import StrcredException, findCheckerFactories, makeChecker
from twisted.logger import Logger
from twisted.plugin import IPlugin, getPlugins
from twisted.python.reflect import namedAny
from zope.interface import Attribute, Interface, implementer
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from mailfw.site import Site

log = Logger()


@dataclass(frozen=True, slots=True)
class Point:
    """
    A place where sites differ.

    `interface` is the dotted name of what a product provides: a drop-in imports this module in every Twisted
    program of the machine, so the interfaces are imported on use.  `parts` are the parameters that a factory
    gets from us if it has them; all its others are options.  `keys` are what its table may have besides options.
    """

    interface: str
    meaning: str
    parts: tuple[str, ...] = ("site",)
    keys: tuple[str, ...] = ("plugin",)


#: Every point, in the order in which a message meets them.
POINTS: Mapping[str, Point] = {
    "auth": Point("twisted.cred.checkers.ICredentialsChecker", "who may log in"),
    "directory": Point("mailfw.interfaces.IDirectory", "whose address is this", ("site", "accounts")),
    "policy": Point(
        "mailfw.interfaces.IDeliveryPolicy", "may mail pass", ("site", "tally"), ("plugin", "timeout", "on_failure")
    ),
    "spool": Point("mailfw.interfaces.ISpool", "where the queue is kept"),
    "router": Point("mailfw.interfaces.IRouter", "where mail goes next", ("site", "directory", "table")),
    "resolver": Point("mailfw.interfaces.IResolver", "who asks the DNS"),
    "courier": Point(
        "mailfw.interfaces.ICourier",
        "how it gets there",
        ("site", "directory", "store", "hops", "open_draft", "delivery", "held"),
    ),
    "quota": Point(
        "mailfw.interfaces.IQuotas",
        "how much may be kept",
        ("site", "default"),
        keys=("plugin", "octets", "messages"),
    ),
    "store": Point(
        "mailfw.interfaces.IMailStore",
        "where mail is kept",
        ("site", "quotas", "retention", "search", "generations", "writer"),
        keys=("plugin", "retention", "search"),
    ),
    "source": Point(
        "mailfw.interfaces.IMessageSource",
        "where messages are kept, indexed by mailfw",
        ("site", "retention"),
        keys=("plugin", "retention", "search"),
    ),
}


class PluginRefused(Exception):
    """The configuration asks for what no plug-in can give; `option` is the key at fault, or None."""

    def __init__(self, reason: str, option: str | None = None) -> None:
        super().__init__(reason)
        self.option = option


class IMailfwPlugin(Interface):
    """What a drop-in in ``twisted/plugins/`` declares: a name, and where the factory is."""

    point: str = Attribute("A key of `POINTS`.")
    name: str = Attribute("What the configuration calls it.")
    factory: str = Attribute("The dotted path of a callable, imported on first use.")
    help: str = Attribute("One line for `mailfw plugins`.")


@implementer(IPlugin, IMailfwPlugin)
@dataclass(frozen=True)
class Plugin:
    """
    One plug-in: ``Plugin("store", "acme", "acme_mail.store.AcmeStore", "Keeps mail in ACME's cloud.")``.

    A drop-in may import this class and nothing heavier: every Twisted program imports every drop-in.
    """

    point: str
    name: str
    factory: str
    help: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A plug-in that was found and whose options are right; `make` is all that is left to do.

    `where` is the line of the configuration that asks for it, for refusals.
    """

    point: str
    name: str
    factory: Callable[..., Any]
    options: Mapping[str, object] = field(default_factory=dict)
    where: str = ""

    def make(self, **parts: object) -> Any:
        """Call the factory, with those of `parts` that it asks for, and verify the product.  Raises `PluginRefused`."""
        wanted = {name: part for name, part in parts.items() if name in _parameters(self.factory)}
        try:
            product = self.factory(**wanted, **self.options)
        except (ValueError, TypeError, OSError, StrcredException) as reason:
            raise PluginRefused(f"{self} cannot start: {str(reason) or type(reason).__name__}") from reason
        except Exception as fault:
            log.failure("{plugin} has a fault", plugin=str(self))  # its author needs the traceback
            raise PluginRefused(f"{self} cannot start: {type(fault).__name__}: {fault}") from fault
        _verify(self, product)
        return product

    def takes(self, part: str) -> bool:
        """Whether the factory asks for a part."""
        return part in _parameters(self.factory)

    @property
    def points(self) -> list[str]:
        """The points it may serve; which of several is known when its product is there."""
        return self.point.split(" or ")

    def __str__(self) -> str:
        what = f"{self.point} plug-in {self.name!r}"
        return f"{self.where}: {what}" if self.where else what


def installed(*points: str) -> list[IMailfwPlugin]:
    """Return the plug-ins installed for these points (all, if none is named), by point and name."""
    order = list(POINTS)
    found = [plugin for plugin in getPlugins(IMailfwPlugin) if plugin.point in (points or order)]
    return sorted(found, key=lambda plugin: (order.index(plugin.point), plugin.name))


def misplaced() -> list[str]:
    """Say of each plug-in for a point that does not exist which it may have meant."""
    return [
        f"{plugin.name} ({plugin.factory}): {unknown('plug-in point', plugin.point, POINTS)}"
        for plugin in getPlugins(IMailfwPlugin)
        if plugin.point not in POINTS
    ]


def find(point: str | Sequence[str], spec: str, site: Site, **options: object) -> Any:
    """Return the product of a plug-in; see `resolve`."""
    return resolve(point, spec, options).make(site=site)


def resolve(point: str | Sequence[str], spec: str, options: Mapping[str, object] | None = None) -> Recipe:
    """
    Find what ``name``, ``name:key=value:key=value`` or ``python:package.module.factory`` stands for.

    Where several points are given the name may be of any of them, and the recipe says which it was.  A ``\\:``
    in a value is a colon.  Raises `PluginRefused`.
    """
    points = (point,) if isinstance(point, str) else tuple(point)
    name, *pieces = [piece.replace("\\:", ":") for piece in re.split(r"(?<!\\):", spec)]
    if name == "python":
        # Which point it serves is known when its product is there.
        path = pieces.pop(0) if pieces else ""
        recipe = Recipe(" or ".join(points), path, _import(path, repr(spec)))
    else:
        plugin = _named(points, name)
        if plugin is None and "auth" in points and name in _checkers():
            check_options(_checker(name, spec), {}, options or {})
            return _checker(name, spec)
        if plugin is None:
            raise PluginRefused(unknown(" or ".join(points) + " plug-in", name, _names(points)), "plugin")
        recipe = Recipe(plugin.point, name, load(plugin))
    given = _split_options(recipe, pieces)
    return replace(recipe, options=check_options(recipe, given, options or {}))


def _named(points: Sequence[str], name: str) -> IMailfwPlugin | None:
    named = [plugin for plugin in installed(*points) if plugin.name == name]
    if len(named) > 1:
        rivals = " and ".join(plugin.factory for plugin in named)
        raise PluginRefused(f"two {named[0].point} plug-ins are called {name!r}: {rivals}", "plugin")
    return named[0] if named else None


def _names(points: Sequence[str]) -> set[str]:
    names = {plugin.name for plugin in installed(*points)}
    return names | _checkers() if "auth" in points else names


def _checkers() -> set[str]:
    """Return what ``--auth`` knows: every checker of `twisted.cred.strcred` may be named in ``[[auth]]`` too."""
    return {factory.authType for factory in findCheckerFactories() if usable_checker(factory)}


def usable_checker(factory: Any) -> bool:
    """Whether a `strcred` checker can judge a name and a password."""
    return any(interface.isOrExtends(IUsernamePassword) for interface in factory.credentialInterfaces)


def _checker(name: str, spec: str) -> Recipe:
    return Recipe("auth", name, lambda: with_octets(makeChecker(spec)))


def with_octets(checker: Any) -> Any:
    """Return a `strcred` checker fit for us: ``memory:`` keeps names and passwords as text, mail sends octets."""
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        checker.users = {_octets(name): _octets(password) for name, password in checker.users.items()}
    return checker


def _octets(text: str | bytes) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def load(plugin: IMailfwPlugin) -> Callable[..., Any]:
    """Import a plug-in's factory.  Raises `PluginRefused`."""
    return _import(plugin.factory, f"{plugin.point} plug-in {plugin.name!r}")


def _import(path: str, what: str) -> Callable[..., Any]:
    try:
        factory = namedAny(path)
    except Exception as reason:
        raise PluginRefused(f"{what}: cannot import {path}: {type(reason).__name__}: {reason}", "plugin") from reason
    if not callable(factory):
        raise PluginRefused(f"{what}: {path} cannot be called", "plugin")
    return typing.cast("Callable[..., Any]", factory)


# ---------------------------------------------------------------- options


def _split_options(recipe: Recipe, pieces: Iterable[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for piece in pieces:
        key, equals, value = piece.partition("=")
        if not equals:
            raise PluginRefused(f"{recipe.name!r}: {piece!r} is no option: write key=value", "plugin")
        given[key] = value
    return given


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except ValueError:  # some callables written in C do not say
        return {}


def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a factory's parameters; of a class, those of its initialiser."""
    subject = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return typing.get_type_hints(subject)
    except (NameError, TypeError):
        return {}


def option_names(recipe: Recipe) -> list[str]:
    """Return what the configuration may give a factory."""
    parts = {part for point in recipe.points for part in POINTS[point].parts}
    return [
        name
        for name, parameter in _parameters(recipe.factory).items()
        if name not in parts and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def describe_options(recipe: Recipe) -> list[str]:
    """Return each option as ``name: type = default``."""
    annotations = _annotations(recipe.factory)
    described = []
    for name in option_names(recipe):
        default = _parameters(recipe.factory)[name].default
        kind = TYPE_NAMES.get(_plain(annotations.get(name, object)), "any value")
        ending = "required" if default is inspect.Parameter.empty else f"default {_written(default)}"
        described.append(f"{name}: {kind}, {ending}")
    return described


def _written(default: object) -> str:
    """Write a default as TOML does, as far as options go."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return '"' + default.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(default, tuple | list):
        return "[" + ", ".join(_written(item) for item in default) + "]"
    return "none" if default is None else str(default)


def check_options(recipe: Recipe, texts: Mapping[str, str], values: Mapping[str, object]) -> dict[str, object]:
    """Check options, and convert those that came as text, by the annotations.  Raises `PluginRefused`."""
    known = option_names(recipe)
    annotations = _annotations(recipe.factory)
    checked: dict[str, object] = {}
    for name, value in {**texts, **values}.items():
        if name not in known:
            keys = [] if name in texts else [key for point in recipe.points for key in POINTS[point].keys]
            raise PluginRefused(unknown(f"option of {recipe.name!r}", name, {*known, *keys}), name)
        convert = _from_text if name in texts and name not in values else _checked
        try:
            checked[name] = convert(value, annotations.get(name, object))
        except ValueError as reason:
            raise PluginRefused(f"{recipe.name!r}: {name} must be {reason}, not {value!r}", name)
    for name in known:
        if name not in checked and _parameters(recipe.factory)[name].default is inspect.Parameter.empty:
            raise PluginRefused(f"{recipe.name!r} needs the option {name!r}")
    return checked


#: What the types an option may have are called in a refusal.
TYPE_NAMES: Mapping[object, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list[str]: "a list of strings",
}
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _plain(annotation: Any) -> Any:
    """Reduce ``X | None`` to ``X``, and every sequence of strings to ``list[str]``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        left = [part for part in typing.get_args(annotation) if part is not type(None)]
        annotation = left[0] if len(left) == 1 else object
    if typing.get_origin(annotation) in (list, tuple, Sequence, Iterable) and typing.get_args(annotation)[0] is str:
        return list[str]
    return annotation


def _from_text(value: Any, annotation: Any) -> object:
    wanted = _plain(annotation)
    if wanted is bool:
        if value.lower() not in _TRUTHS:
            raise ValueError(TYPE_NAMES[bool])
        return _TRUTHS[value.lower()]
    if wanted in (int, float):
        try:
            return wanted(value)
        except ValueError:
            raise ValueError(TYPE_NAMES[wanted])
    if wanted == list[str]:
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _checked(value: Any, annotation: Any) -> object:
    wanted = _plain(annotation)
    if wanted not in TYPE_NAMES:
        return value
    if wanted == list[str]:
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif wanted is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = type(value) is wanted
    if not fits:
        raise ValueError(TYPE_NAMES[wanted])
    return value


# ---------------------------------------------------------------- refusals


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """Say that there is no such thing, which is nearest, and what there is."""
    there = sorted(names)
    nearest = difflib.get_close_matches(name, there, 1, 0.6)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return f"no {what} is called {name!r}{hint} (there is: {', '.join(there) or 'none'})"


def interface_of(point: str) -> Any:
    """Return the interface that the products of a point provide."""
    return namedAny(POINTS[point].interface)


def _verify(recipe: Recipe, product: Any) -> None:
    """Refuse a product that lacks a method, or has one that cannot be called as the interface says."""
    interfaces = [interface_of(point) for point in recipe.points]
    provided = [interface for interface in interfaces if interface.providedBy(product)]
    if not provided:
        wanted = " or ".join(interface.__name__ for interface in interfaces)
        raise PluginRefused(f"{recipe} makes a {type(product).__name__}, which does not say @implementer({wanted})")
    try:
        verifyObject(provided[0], product)
    except Invalid as broken:
        raise PluginRefused(f"{recipe} is broken: {' '.join(str(broken).split())}") from broken
