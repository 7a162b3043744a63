"""From a configuration back to an object: classes by name, plus the caller's own."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

T = TypeVar("T", bound=type)

_classes: dict[str, type] = {}


def register(cls: T) -> T:
    """Class decorator: make a class known to `from_config` by its name."""
    _classes[cls.__name__] = cls
    return cls


def to_config(value: Any) -> Any:
    """`{"class_name", "config"}` of an object with `get_config`, else the value itself."""
    if hasattr(value, "get_config"):
        return {"class_name": type(value).__name__, "config": value.get_config()}
    return value


def from_config(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The object of a `{"class_name", "config"}` dictionary.

    Raises:
        ArgumentTypeError: (a TypeError) not such a dictionary.
        ArgumentError: (a ValueError) unknown class.
    """
    if not isinstance(config, Mapping) or not {"class_name", "config"} <= set(config):
        raise ArgumentTypeError(
            f'expected a dictionary with "class_name" and "config", got {config!r}.'
        )
    name = config["class_name"]
    cls = (custom_objects or {}).get(name, _classes.get(name))
    if cls is None:
        raise ArgumentError(
            f"unknown class {name!r} in a configuration: pass custom_objects={{{name!r}: {name}}}."
        )
    options = dict(config["config"])
    if not hasattr(cls, "from_config"):
        return cls(**options)
    if _takes_custom_objects(cls.from_config):
        return cls.from_config(options, custom_objects=custom_objects)
    return cls.from_config(options)


def _takes_custom_objects(function: Callable[..., Any]) -> bool:
    return "custom_objects" in inspect.signature(function).parameters
