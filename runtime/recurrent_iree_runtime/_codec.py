"""Frozen dataclasses to and from strict, canonical JSON, driven by their type hints.

One set of hints gives the writer, the reader and the JSON schema (`_schema.py`), so that the
three cannot disagree.
"""

import dataclasses
import json
import math
import re
import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from ._errors import NotAnArtifactError

_UNIONS = (Union, types.UnionType)


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number, both inclusive."""

    low: int
    high: int


@dataclasses.dataclass(frozen=True)
class Text:
    """A string of at most `longest` characters that matches the whole `pattern`."""

    pattern: str
    longest: int = 200


@dataclasses.dataclass(frozen=True)
class Count:
    """At most `most` items in an array or object."""

    most: int


class AnyJson:
    """A hint for a part of the document that has its own checker (trees)."""


class LeftOut:
    """A hint for a field that is not in the document if it is empty."""


@cache
def fields_of(cls: type) -> dict[str, Any]:
    """Field name -> type hint with its annotations."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def dump(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    ).encode("ascii")


def parse(data: bytes, what: str) -> Any:
    """JSON text to Python values; anything that is not JSON raises `NotAnArtifactError`."""
    try:
        return json.loads(bytes(data).decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise NotAnArtifactError(f"{what} is not JSON text of this format: {error}") from error


def encode(hint: Any, value: Any) -> Any:
    """A value of type `hint` as plain JSON values."""
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        if AnyJson in notes:
            return value
    if dataclasses.is_dataclass(hint):
        hints = fields_of(hint)  # pyright: ignore[reportArgumentType]
        values = {name: getattr(value, name) for name in hints}
        given = {k: h for k, h in hints.items() if values[k] or not is_left_out(h)}
        return {name: encode(h, values[name]) for name, h in given.items()}
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return [encode(args[0], item) for item in value]
    if origin is dict:
        return {str(k): encode(args[1], v) for k, v in value.items()}
    if origin in _UNIONS:
        for option in args:
            if _fits(option, value):
                return encode(option, value)
        return value
    if hint is float:
        return float(value)
    if hint is int and not isinstance(value, str):
        return int(value)
    return value


def decode(hint: Any, value: Any, path: str) -> Any:
    """Plain JSON values as a value of type `hint`; raises `NotAnArtifactError` with the path."""
    notes: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        notes = tuple(rest)
    if AnyJson in notes:
        return value
    for note in notes:
        if isinstance(note, Count) and isinstance(value, (list, dict)):
            _check_note(note, value, path)  # first, so that too many items are never decoded
    result = _decode_plain(hint, value, path)
    for note in notes:
        _check_note(note, result, path)
    return result


def _decode_plain(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(hint, value, path)  # pyright: ignore[reportArgumentType]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if not isinstance(value, type(args[0])) or value not in args:
            refuse(path, f"is {short(value)}; expected one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        _expect(isinstance(value, list), path, value, "an array")
        return tuple(decode(args[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), path, value, "an object")
        return {
            decode(args[0], k, f"{path} key"): decode(args[1], v, f"{path}.{k}")
            for k, v in value.items()
        }
    if origin in _UNIONS:
        for option in args:
            if _fits(option, value):
                return None if value is None else decode(option, value, path)
        _expect(False, path, value, " or ".join(map(_describe, args)))
    return _decode_scalar(hint, value, path)


def _decode_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        _expect(good and math.isfinite(value), path, value, "a finite number")
        return float(value)
    _expect(
        isinstance(value, hint) and (hint is bool or not isinstance(value, bool)),
        path,
        value,
        _describe(hint),
    )
    return value


def _decode_dataclass(cls: type, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), path, value, "an object")
    hints = fields_of(cls)
    for key in value:
        if key not in hints:
            refuse(path, f"has the unknown key {short(key)}")
    for key in hints:
        if key not in value and not is_left_out(hints[key]):
            refuse(path, f"has no key {key!r}")
    given = {k: h for k, h in hints.items() if k in value}
    return cls(**{k: decode(h, value[k], f"{path}.{k}") for k, h in given.items()})


def is_left_out(hint: Any) -> bool:
    """Whether a key is left out of the JSON when it is empty."""
    return get_origin(hint) is Annotated and LeftOut in get_args(hint)[1:]


def _check_note(note: Any, value: Any, path: str) -> None:
    if isinstance(note, Range) and not note.low <= value <= note.high:
        refuse(path, f"is {value}; expected {note.low} to {note.high}")
    if isinstance(note, Count) and len(value) > note.most:
        refuse(path, f"has {len(value)} items; at most {note.most} are allowed")
    if isinstance(note, Text):
        if len(value) > note.longest:
            refuse(path, f"has {len(value)} characters; at most {note.longest} are allowed")
        if not re.fullmatch(note.pattern, value, re.ASCII | re.DOTALL):
            refuse(path, f"is {short(value)}; expected text that matches {note.pattern}")


def _fits(option: Any, value: Any) -> bool:
    if get_origin(option) is Annotated:
        option = get_args(option)[0]
    option = get_origin(option) or option
    if option is types.NoneType or value is None:
        return value is None and option is types.NoneType
    if dataclasses.is_dataclass(option):
        return isinstance(value, (dict, option))  # pyright: ignore[reportArgumentType]
    accepts = {tuple: (list, tuple), dict: Mapping}.get(option, option)
    return isinstance(value, accepts) and not (option is int and isinstance(value, bool))


def _expect(good: bool, path: str, value: Any, expected: str) -> None:
    if not good:
        refuse(path, f"is {short(value)}; expected {expected}")


def _describe(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    names = {
        str: "a string",
        int: "an integer",
        bool: "true or false",
        types.NoneType: "null",
        tuple: "an array",
        dict: "an object",
    }
    return names.get(get_origin(hint) or hint, getattr(hint, "__name__", str(hint)))


def short(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse(path: str, why: str) -> NoReturn:
    """Raise the error of a document that is not as specified."""
    where = path if ": $" in path else f"manifest.json: {path}"
    raise NotAnArtifactError(f"{where} {why}")
