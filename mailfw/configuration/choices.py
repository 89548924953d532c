"""The plug-ins a configuration names, found and their options checked before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mailfw.configuration.keys import Choice, Configuration, PolicyChoice, QuotaChoice, StoreChoice
from mailfw.configuration.reading import configure
from mailfw.configuration.source import Place, Source
from mailfw.plugins import PluginRefused, Recipe, resolve


@dataclass(frozen=True, slots=True)
class Choices:
    """A recipe for each plug-in; `store` may be a source's.  `where` tells people where a key is written."""

    store: Recipe
    quota: Recipe
    directory: Recipe
    auth: tuple[Recipe, ...]
    policy: tuple[tuple[PolicyChoice, Recipe], ...]
    spool: Recipe
    router: Recipe
    resolver: Recipe
    courier: tuple[Recipe, ...]
    where: Callable[[Place], str]


def read(file: Path | None, settings: Sequence[str] = ()) -> tuple[Source, Configuration, Choices]:
    """Read the whole configuration, and find what it names.  Raises `ConfigurationRefused`."""
    source = Source.read(file, settings)
    configuration = configure(source)
    return source, configuration, choose(source, configuration)


def choose(source: Source, configuration: Configuration) -> Choices:
    """Find the plug-ins.  Raises `ConfigurationRefused` with the line of the key at fault."""
    return Choices(
        _recipe(source, ("store",), ("store", "source"), configuration.store),
        _recipe(source, ("quota",), ("quota",), configuration.quota),
        _recipe(source, ("directory",), ("directory",), configuration.directory),
        _recipes(source, "auth", configuration.auth),
        tuple((each, _recipe(source, ("policy", n), ("policy",), each)) for n, each in enumerate(configuration.policy)),
        _recipe(source, ("spool",), ("spool",), configuration.spool),
        _recipe(source, ("router",), ("router",), configuration.router),
        _recipe(source, ("resolver",), ("resolver",), configuration.resolver),
        _recipes(source, "courier", configuration.courier),
        source.where,
    )


def _recipes(source: Source, point: str, choices: Sequence[Choice]) -> tuple[Recipe, ...]:
    return tuple(_recipe(source, (point, n), (point,), each) for n, each in enumerate(choices))


def _recipe(
    source: Source, place: Place, points: Sequence[str], choice: Choice | PolicyChoice | QuotaChoice | StoreChoice
) -> Recipe:
    try:
        return replace(resolve(points, choice.plugin, choice.options), where=source.where(place))
    except PluginRefused as refused:
        # An option that is no key of the table was written in the plug-in's name.
        at = refused.option if refused.option is None or refused.option in choice.options else "plugin"
        raise source.refuse((*place, at) if at else place, str(refused))
