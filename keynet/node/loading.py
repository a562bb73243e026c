"""Importing the service definitions that settings name. Nothing of a node is here."""

from __future__ import annotations

import importlib
from operator import attrgetter

from keynet.config import ServiceObject
from keynet.errors import ConfigError
from keynet.rpc.service import Service


def load_service(wanted: ServiceObject) -> Service:
    """The `Service` that `MODULE:NAME` names. Runs the module. Raises ConfigError, which says
    whether the module, what it imports, or the name is missing."""
    try:
        module = importlib.import_module(wanted.module)
    except ModuleNotFoundError as error:
        missing = error.name or wanted.module
        if wanted.module == missing or wanted.module.startswith(f"{missing}."):
            raise ConfigError(
                f"there is no module {missing} for {wanted}: run keynet in its directory, "
                "or name it as Python's import does"
            ) from error
        raise ConfigError(f"{wanted.module} imports {missing}, which is not installed") from error
    except ConfigError as error:
        raise ConfigError(f"{wanted}: {error}") from error
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{wanted.module} cannot be imported: {told}") from error
    return _service(module, wanted)


def _service(module: object, wanted: ServiceObject) -> Service:
    try:
        found = attrgetter(wanted.name)(module)
    except AttributeError as error:
        raise ConfigError(f"module {wanted.module} has no {wanted.name}: see {wanted}") from error
    if not isinstance(found, Service):
        raise ConfigError(f"{wanted} is no keynet.rpc.service.Service but a {type(found).__name__}")
    return found
