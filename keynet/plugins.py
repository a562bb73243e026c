"""Finding installed plugins by entry point; the only file that imports stevedore.

What lives here: which distributions offer a name, loading one, and saying what is wrong with it.
What a plugin must be able to do is its layer's contract (`api.py`), handed in by the caller. The
built-in implementations are found the same way as everybody else's.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from keynet.errors import (
    ConfigError,
    ContractBroken,
    PluginConflict,
    PluginLoadFailed,
    PluginNotFound,
)

if TYPE_CHECKING:
    from stevedore.extension import ExtensionManager

GROUPS = ("keynet.transport", "keynet.rpc", "keynet.p2p")
"""The entry-point groups, one for each layer that can be swapped."""

Factory = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point that an installed distribution offers."""

    group: str
    name: str
    origin: str
    """The distribution and its version, as `keynet 0.1.0`."""
    target: str
    """Where the factory is, as `package.module:function`."""
    error: str | None
    """One line that says why it cannot be used; None when it loads."""


class _EntryPoint:
    """An entry point whose faults are ordinary exceptions and which knows where it came from.

    stevedore lets AssertionError through and cannot catch SystemExit: without this, one plugin
    with a failing assert at import would take all the others with it.
    """

    def __init__(self, entry_point: importlib.metadata.EntryPoint) -> None:
        self.name = entry_point.name
        self.group = entry_point.group
        self.value = entry_point.value
        self._entry_point = entry_point

    @cached_property
    def origin(self) -> str:
        dist = self._entry_point.dist
        return f"{dist.name} {dist.version}" if dist is not None else "unknown"

    def load(self) -> Factory:
        try:
            factory = self._entry_point.load()
        except (Exception, SystemExit) as error:
            raise PluginLoadFailed(_one_line(error)) from error
        if not callable(factory):
            raise PluginLoadFailed(f"{self.value} is no factory function but a {_kind(factory)}")
        return factory  # type: ignore[no-any-return]


def available(group: str) -> list[Plugin]:
    """Every plugin of `group`, sorted by name, the broken ones with the reason; imports them all.

    Never raises for what a plugin does: a broken one does not hide the others.
    """
    failures: dict[str, BaseException] = {}
    entries = _entry_points(group)
    _manager(group, [entry.name for entry in entries], failures)
    return [_described(entry, entries, failures) for entry in entries]


def load(group: str, name: str) -> Factory:
    """The factory function that the entry point `name` of `group` names.

    Raises PluginNotFound, PluginConflict (two distributions offer it) or PluginLoadFailed. Only
    that plugin is imported.
    """
    entries = _entry_points(group)
    offered = [entry for entry in entries if entry.name == name]
    if not offered:
        raise PluginNotFound(_not_found(group, name, entries))
    if len(offered) > 1:
        raise PluginConflict(_conflict(name, offered))
    failures: dict[str, BaseException] = {}
    manager = _manager(group, [name], failures)
    if not manager.extensions:
        cause = failures[offered[0].value]
        raise PluginLoadFailed(
            f"plugin {name!r} of {offered[0].origin} cannot be loaded: {cause}; "
            "reinstall or remove that distribution"
        ) from cause
    factory: Factory = manager.extensions[0].plugin
    return factory


def create(group: str, name: str, contract: type, **settings: object) -> Any:
    """What the plugin's factory makes of `settings`, checked against the layer's `contract`.

    `contract` is a runtime-checkable Protocol. A setting that is text, as flags and files give
    it, becomes the int, float or bool that the factory's parameter is annotated with.

    Raises what `load` raises, ConfigError when the factory does not know a setting or says so of
    its value, PluginLoadFailed when it fails otherwise, and ContractBroken when its product lacks
    part of the contract or goes by another name than its entry point.
    """
    factory = load(group, name)
    _check_settings(group, name, factory, settings)
    try:
        product = factory(**_typed(name, factory, settings))
    except ConfigError:
        raise
    except Exception as error:
        given = ", ".join(sorted(settings)) or "no settings"
        raise PluginLoadFailed(
            f"plugin {name!r} refused to start with {given}: {_one_line(error)}"
        ) from error
    if not isinstance(product, contract):
        raise ContractBroken(
            f"plugin {name!r} made a {_kind(product)}, which is no {contract.__name__}: "
            f"it lacks {', '.join(_missing(product, contract)) or 'a part of it'}"
        )
    if product.name != name:  # type: ignore[attr-defined]
        raise ContractBroken(f"plugin {name!r} calls itself {product.name!r}")  # type: ignore[attr-defined]
    return product


def _check_settings(group: str, name: str, factory: Factory, settings: dict[str, object]) -> None:
    parameters = inspect.signature(factory).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    unknown = [setting for setting in settings if setting not in parameters]
    if unknown:
        raise ConfigError(
            f"the {group.rpartition('.')[2]} {name!r} has no option {unknown[0]!r}; "
            f"it has: {', '.join(parameters) or 'none'}"
        )


def _typed(name: str, factory: Factory, settings: dict[str, object]) -> dict[str, object]:
    try:
        hints = get_type_hints(factory)
    except (NameError, TypeError):  # annotated for type checkers alone
        return settings
    typed = dict(settings)
    for setting, value in settings.items():
        if isinstance(value, str) and hints.get(setting) in (int, float, bool):
            try:
                typed[setting] = msgspec.convert(value, hints[setting], strict=False)
            except msgspec.ValidationError as error:
                wanted = hints[setting].__name__
                raise ConfigError(
                    f"option {setting!r} of {name!r} takes a value of type {wanted}, not {value!r}"
                ) from error
    return typed


def _entry_points(group: str) -> list[_EntryPoint]:
    """Read afresh: stevedore's own scan is cached on disk under times too coarse to trust."""
    found = importlib.metadata.entry_points(group=group)
    return sorted((_EntryPoint(entry) for entry in found), key=lambda e: (e.name, e.origin))


def _manager(
    group: str, names: list[str], failures: dict[str, BaseException]
) -> ExtensionManager[Any]:
    """Load the entry points named; `failures` is filled with exceptions, by target."""
    from stevedore.named import NamedExtensionManager  # lazy: only who selects plugins pays for it

    class Scan(NamedExtensionManager[Any]):
        def list_entry_points(self) -> list[Any]:
            return list(_entry_points(self.namespace))

    def failed(_: object, entry: Any, error: BaseException) -> None:
        failures[entry.value] = error

    return Scan(
        group,
        names,
        on_load_failure_callback=failed,
        on_missing_entrypoints_callback=None,
    )


def _described(
    entry: _EntryPoint, entries: list[_EntryPoint], failures: dict[str, BaseException]
) -> Plugin:
    rivals = [other for other in entries if other.name == entry.name]
    error = failures.get(entry.value)
    reason = str(error) if error else _conflict(entry.name, rivals) if len(rivals) > 1 else None
    return Plugin(entry.group, entry.name, entry.origin, entry.value, reason)


def _not_found(group: str, name: str, entries: list[_EntryPoint]) -> str:
    layer = group.rpartition(".")[2]
    if not entries:
        return (
            f"no {layer} plugin is installed, not even keynet's own: "
            "install keynet with pip instead of running it from its source directory"
        )
    known = ", ".join(sorted({entry.name for entry in entries}))
    return f"no installed distribution offers the {layer} {name!r}; there are: {known}"


def _conflict(name: str, offered: list[_EntryPoint]) -> str:
    origins = " and ".join(entry.origin for entry in offered)
    return f"{name!r} is offered by {origins}: uninstall all but one"


def _missing(product: object, contract: type) -> Iterator[str]:
    wanted = {n for n in dir(contract) if not n.startswith("_")}
    return (n for n in sorted(wanted) if not hasattr(product, n))


def _kind(thing: object) -> str:
    return type(thing).__name__


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
