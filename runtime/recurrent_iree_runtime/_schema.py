"""The JSON schema of the manifest, from the same type hints that read and write it.

python -m recurrent_iree_runtime._schema > docs/manifest.schema.json
"""

import dataclasses
import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ._codec import AnyJson, Count, Range, Text, fields_of, is_left_out
from ._manifest import FORMAT, Manifest

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TREE = {
    "description": "structure of arguments or results; leaves are numbered as JAX does",
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "leaf": {"type": "integer", "minimum": 0},
        "none": {"const": True},
        "list": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        "tuple": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
        "dict": {"type": "object", "additionalProperties": {"$ref": "#/$defs/Tree"}},
        "namedtuple": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "fields", "items"],
            "properties": {
                "name": {"type": "string"},
                "fields": {"type": "array", "items": {"type": "string"}},
                "items": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            },
        },
    },
}


def manifest_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of `manifest.json`, format version 1."""
    defs: dict[str, Any] = {"Tree": _TREE}
    root = _schema(Manifest, defs)
    defs["Manifest"]["properties"]["format"] = {"const": FORMAT}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of a .riree artifact, format {FORMAT}",
        **root,
        "$defs": defs,
    }


def schema_text() -> str:
    """The bytes of `docs/manifest.schema.json`."""
    return json.dumps(manifest_schema(), indent=2, sort_keys=True) + "\n"


def _schema(hint: Any, defs: dict[str, Any]) -> dict[str, Any]:
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        if AnyJson in notes:
            return {"$ref": "#/$defs/Tree"}
        schema = _schema(hint, defs)
        for note in notes:
            schema = {**schema, **_bounds(note, schema)}
        return schema
    if dataclasses.is_dataclass(hint):
        return _dataclass_schema(hint, defs)  # pyright: ignore[reportArgumentType]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0], defs)}
    if origin is dict:
        names, values = (_schema(arg, defs) for arg in args)
        return {"type": "object", "additionalProperties": values, "propertyNames": names}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(option, defs) for option in args]}
    return {"type": "null"} if hint is types.NoneType else {"type": _SCALARS[hint]}


def _dataclass_schema(cls: type, defs: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in defs:
        defs[cls.__name__] = {}
        hints = fields_of(cls)
        defs[cls.__name__] = {
            "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
            "type": "object",
            "additionalProperties": False,
            "required": sorted(name for name, hint in hints.items() if not is_left_out(hint)),
            "properties": {name: _schema(hint, defs) for name, hint in hints.items()},
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _bounds(note: Any, schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(note, Range):
        return {"minimum": note.low, "maximum": note.high}
    if isinstance(note, Text):
        return {"pattern": f"^(?:{note.pattern})$", "maxLength": note.longest}
    if isinstance(note, Count):
        return {"maxItems" if schema.get("type") == "array" else "maxProperties": note.most}
    return {}


if __name__ == "__main__":
    print(schema_text(), end="")
