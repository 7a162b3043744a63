"""Structures of arguments and results (pytrees) as plain JSON.

A tree is one of `{"leaf": i}`, `{"list": [tree...]}`, `{"tuple": [tree...]}`,
`{"dict": {key: tree}}`, `{"namedtuple": {"name":, "fields": [...], "items": [tree...]}}` and
`{"none": true}`. Leaves are numbered in the order of JAX: depth first, dict keys sorted.
"""

import keyword
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from ._codec import refuse, short
from ._errors import SignatureError
from ._manifest import Tree

DEEPEST = 64


def tree_of(value: Any) -> tuple[Tree, list[Any]]:
    """The tree of a Python value and its leaves; whatever is no container is a leaf.

    >>> tree_of({"a": 1, "b": (2, None)})
    ({'dict': {'a': {'leaf': 0}, 'b': {'tuple': [{'leaf': 1}, {'none': True}]}}}, [1, 2])
    """
    leaves: list[Any] = []
    return _tree_of(value, leaves), leaves


def _tree_of(value: Any, leaves: list[Any]) -> Tree:
    if value is None:
        return {"none": True}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [_tree_of(item, leaves) for item in value]
        fields = list(value._fields)  # pyright: ignore[reportAttributeAccessIssue]
        return {"namedtuple": {"name": type(value).__name__, "fields": fields, "items": items}}
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_tree_of(item, leaves) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": {k: _tree_of(v, leaves) for k, v in sorted(dict(value).items())}}
    leaves.append(value)
    return {"leaf": len(leaves) - 1}


def check_tree(tree: Any, leaves: int, path: str) -> None:
    """Refuse a tree that is malformed or does not name each of `leaves` leaves once."""
    seen: list[int] = []
    _check(tree, path, 0, seen)
    if sorted(seen) != list(range(leaves)):
        refuse(path, f"names the leaves {short(sorted(seen))}; expected each of 0..{leaves - 1}")


def _check(tree: Any, path: str, depth: int, seen: list[int]) -> None:
    if depth > DEEPEST:
        refuse(path, f"is deeper than {DEEPEST} levels")
    if not isinstance(tree, dict) or len(tree) != 1:
        refuse(path, f"is {short(tree)}; expected an object with one key")
    kind: str = next(iter(tree))
    body: Any = tree[kind]
    if kind == "leaf" and type(body) is int and body >= 0:
        seen.append(body)
    elif kind in ("list", "tuple") and isinstance(body, list):
        for i, item in enumerate(body):
            _check(item, f"{path}[{i}]", depth + 1, seen)
    elif kind == "dict" and isinstance(body, dict):
        for key in sorted(body):
            _check(body[key], f"{path}.{key}", depth + 1, seen)
    elif kind == "namedtuple":
        for key, item in _namedtuple_items(body, path):
            _check(item, f"{path}.{key}", depth + 1, seen)
    elif not (kind == "none" and body is True):
        refuse(path, f"is {short(tree)}; expected leaf, list, tuple, dict, namedtuple or none")


def _namedtuple_items(body: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(body, dict) or set(body) != {"name", "fields", "items"}:
        refuse(path, "is no namedtuple: expected the keys name, fields and items")
    names = [body["name"], *(body["fields"] if isinstance(body["fields"], list) else [None])]
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            refuse(path, f"has the name {short(name)}, which Python does not allow")
    fields = body["fields"]
    private = [name for name in fields if name.startswith("_")]
    if private or len(set(fields)) != len(fields):
        refuse(path, f"has field names that Python does not allow: {short(fields)}")
    if not isinstance(body["items"], list) or len(body["items"]) != len(fields):
        refuse(path, f"needs one item for each of {len(fields)} fields")
    return list(zip(fields, body["items"], strict=True))


@cache
def _namedtuple_type(name: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(name, fields)


def unflattener(tree: Tree) -> Callable[[Sequence[Any]], Any]:
    """A function that puts leaves into the structure; make it once, call it often.

    >>> unflattener({"tuple": [{"leaf": 1}, {"leaf": 0}]})(["a", "b"])
    ('b', 'a')
    """
    ((kind, body),) = tree.items()
    if kind == "leaf":
        return lambda leaves: leaves[body]
    if kind == "none":
        return lambda leaves: None
    if kind == "dict":
        parts = {k: unflattener(v) for k, v in body.items()}
        return lambda leaves: {k: part(leaves) for k, part in parts.items()}
    items = body["items"] if kind == "namedtuple" else body
    makers = [unflattener(item) for item in items]
    if kind == "list":
        return lambda leaves: [make(leaves) for make in makers]
    if kind == "tuple":
        return lambda leaves: tuple([make(leaves) for make in makers])
    cls = _namedtuple_type(body["name"], tuple(body["fields"]))
    return lambda leaves: cls(*[make(leaves) for make in makers])


def unflatten(tree: Tree, leaves: Sequence[Any]) -> Any:
    """Put leaves into the structure; namedtuples become new namedtuple types of that name."""
    return unflattener(tree)(leaves)


def flatten(tree: Tree, value: Any, where: str = "the argument") -> list[Any]:
    """The leaves of `value` in the tree's order; lists and tuples may stand for each other.

    Raises `SignatureError` that names the place where the structure differs.
    """
    found: dict[int, Any] = {}
    _flatten(tree, value, where, found)
    return [found[i] for i in range(len(found))]


def _flatten(tree: Tree, value: Any, where: str, found: dict[int, Any]) -> None:
    ((kind, body),) = tree.items()
    if kind == "leaf":
        found[body] = value
    elif kind == "none":
        if value is not None:
            raise SignatureError(f"{where} is {short(value)}; the program expects None there")
    elif kind == "dict":
        _flatten_dict(body, value, where, found)
    else:
        items = body["items"] if kind == "namedtuple" else body
        if not isinstance(value, (list, tuple)) or len(value) != len(items):
            size = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
            raise SignatureError(
                f"{where} is a {type(value).__name__}{size}; expected a {kind} of {len(items)}"
            )
        fields = getattr(value, "_fields", None)
        if kind == "namedtuple" and fields not in (None, tuple(body["fields"])):
            raise SignatureError(
                f"{where} is a namedtuple of {fields}; expected {tuple(body['fields'])}"
            )
        for i, (item, part) in enumerate(zip(items, value, strict=True)):
            _flatten(item, part, f"{where}[{i}]", found)


def _flatten_dict(body: dict[str, Tree], value: Any, where: str, found: dict[int, Any]) -> None:
    if not isinstance(value, Mapping):
        raise SignatureError(
            f"{where} is a {type(value).__name__}; expected a dict of "
            f"{', '.join(sorted(body)) or 'nothing'}"
        )
    for key in value:
        if key not in body:
            expected = ", ".join(repr(k) for k in sorted(body)) or "no keys"
            raise SignatureError(f"{where} has the unknown key {key!r}; expected {expected}")
    for key, item in body.items():
        if key not in value:
            raise SignatureError(f"{where} has no key {key!r}; the program needs it")
        _flatten(item, value[key], f"{where}[{key!r}]", found)


def leaf_paths(tree: Tree, start: str = "") -> dict[int, str]:
    """Leaf number -> its place in Python notation, such as `[0]['mask']`."""
    ((kind, body),) = tree.items()
    if kind == "leaf":
        return {body: start}
    if kind == "none":
        return {}
    if kind == "dict":
        parts = [(f"{start}[{k!r}]", v) for k, v in sorted(body.items())]
    elif kind == "namedtuple":
        parts = [(f"{start}.{k}", v) for k, v in zip(body["fields"], body["items"], strict=True)]
    else:
        parts = [(f"{start}[{i}]", v) for i, v in enumerate(body)]
    return {i: path for where, part in parts for i, path in leaf_paths(part, where).items()}
