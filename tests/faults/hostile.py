"""Manifests and tensors that lie, hashed again so that every hash fits."""

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any

import recurrent_iree_runtime as rt

INTEGERS = (-1, 0, 1, 2, 3, 5, 64, 10_000, 1 << 15, 1 << 31, 1 << 32, (1 << 40) - 1, 1 << 40,
            1 << 63, 10**30, True, False)  # fmt: skip
NUMBERS = (0.5, -0.5, 1e308, 1e-308, 3e5, 1e7)
TEXTS = ("", "x", "time", "batch", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "a\0b",
         "é" * 40, "A" * 100_000, "__class__", "lambda: 0", "%s%n", "{0}", "float64", "int8",
         "complex128", "bfloat16", "object", "module", "chunks", "xla", "vmvx", "init")  # fmt: skip
OTHERS = (None, [], {}, [[]], {"leaf": 0}, {"none": True}, {"tuple": []}, [1, 2], "3")


def rehashed(members: dict[str, bytes], manifest: Any) -> bytes:
    """The file with another manifest, whose hash fits."""
    text = _dump(manifest)
    made = {**members, "manifest.json": text}
    made["manifest.sha256"] = hashlib.sha256(text).hexdigest().encode()
    return rt.container_bytes(made)


def _dump(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(node, dict):
        for key in node:
            yield from _places(node[key], (*path, key))
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _places(item, (*path, i))


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def _other_value(draw: random.Random, value: Any, document: Any) -> Any:
    """Something else in this place: mostly of the same type, so that it gets far."""
    if draw.random() < 0.15:
        return draw.choice((*OTHERS, *INTEGERS, *NUMBERS, *TEXTS))
    if isinstance(value, bool) or value is None:
        return draw.choice(OTHERS)
    if isinstance(value, (int, float)):
        return draw.choice((*INTEGERS, *NUMBERS) if isinstance(value, float) else INTEGERS)
    if isinstance(value, str):
        words = [_at(document, p) for p in _places(document)]
        same = sorted({w for w in words if isinstance(w, str)})
        return draw.choice(same) if draw.random() < 0.7 else draw.choice(TEXTS)
    return _other_container(draw, value)


def _other_container(draw: random.Random, value: Any) -> Any:
    value = copy.deepcopy(value)
    kind = draw.randrange(5)
    if isinstance(value, dict):
        if kind == 0 or not value:
            value[draw.choice(("extra", "leaf", "", "tuple", "time"))] = draw.choice(OTHERS)
        elif kind == 1:
            del value[draw.choice(list(value))]
        elif kind == 2:
            value[draw.choice(TEXTS)] = value.pop(draw.choice(list(value)))
        elif kind == 3:
            a, b = draw.choices(list(value), k=2)
            value[a], value[b] = value[b], value[a]
        else:
            return {"tuple": [value]} if draw.random() < 0.5 else _nested(draw, value)
        return value
    if kind == 0 or not value:
        value.append(draw.choice((*OTHERS, *INTEGERS)))
    elif kind == 1:
        del value[draw.randrange(len(value))]
    elif kind == 2:
        value.reverse()
    elif kind == 3:
        value.append(copy.deepcopy(draw.choice(value)))
    else:
        value = value * draw.choice((2, 17, 1001, 20_001))
    return value


def _nested(draw: random.Random, value: Any) -> Any:
    for _ in range(draw.choice((2, 62, 66, 100))):
        value = {"list": [value]}
    return value


def _deep_text(draw: random.Random, members: dict[str, bytes]) -> bytes:
    """Nested beyond what a recursive parser survives, so it cannot be made by dumping."""
    depth = draw.choice((100, 1000, 100_000))
    a, b = draw.choice((("[", "]"), ('{"tuple":[', "]}"), ('{"a":', "}")))
    inner = (a * depth + b * depth).replace('{"a":}', '{"a":0}').encode()
    old = members["manifest.json"]
    text = old.replace(b'{"leaf":0}', inner, 1) if draw.random() < 0.7 else inner
    made = {**members, "manifest.json": text}
    made["manifest.sha256"] = hashlib.sha256(text).hexdigest().encode()
    return rt.container_bytes(made)


def lying_manifest(draw: random.Random, members: dict[str, bytes]) -> tuple[str, bytes]:
    """What was changed, and a file whose hashes fit but whose manifest lies."""
    if draw.random() < 0.03:
        return "deep", _deep_text(draw, members)
    document = json.loads(members["manifest.json"])
    # Golden calls are what tells one program from another: they stay as they are, or are all
    # that changes.
    goldens = draw.random() < 0.1
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        paths = [p for p in _places(document) if (p[0] == "goldens") == goldens]
        path = draw.choice(paths)
        parent = _at(document, path[:-1])
        parent[path[-1]] = _other_value(draw, parent[path[-1]], document)
        done.append("$" + "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in path))
    return ", ".join(done), rehashed(members, document)


def lying_tensors(draw: random.Random, members: dict[str, bytes]) -> tuple[str, bytes]:
    """What was changed, and a file with hostile `.safetensors` members whose hashes fit."""
    name = draw.choice(("weights.safetensors", "golden.safetensors"))
    data = members[name]
    size = int.from_bytes(data[:8], "little")
    kind = draw.randrange(4)
    if kind == 0:
        header = json.loads(data[8 : 8 + size])
        path = draw.choice(list(_places(header)))
        parent = _at(header, path[:-1])
        parent[path[-1]] = _other_value(draw, parent[path[-1]], header)
        text = _dump(header)
        changed = len(text).to_bytes(8, "little") + text + data[8 + size :]
    elif kind == 1:
        claimed = draw.choice((0, 1, size - 1, size + 1, 1 << 31, (1 << 63) - 1, (1 << 64) - 1))
        changed = claimed.to_bytes(8, "little") + data[8:]
    elif kind == 2:
        text = draw.choice((b"[" * 50_000, b'{"a":' * 50_000, b"\xff" * 20, b"{}", b"NaN", b""))
        changed = len(text).to_bytes(8, "little") + text + data[8 + size :]
    else:
        at = draw.randrange(8 + size)
        changed = data[:at] + draw.randbytes(1) + data[at + 1 :]
    document = json.loads(members["manifest.json"])
    row = {"sha256": hashlib.sha256(changed).hexdigest(), "size": len(changed)}
    document["members"][name] = row
    return f"{name} {kind}", rehashed({**members, name: changed}, document)


def lying_snapshot(draw: random.Random, data: bytes) -> tuple[str, bytes]:
    """What was changed, and a snapshot of a stream whose hash fits but whose header lies."""
    start = 8 + 32 + 4
    size = int.from_bytes(data[start - 4 : start], "little")
    header = json.loads(data[start : start + size])
    path = draw.choice(list(_places(header)))
    parent = _at(header, path[:-1])
    parent[path[-1]] = _other_value(draw, parent[path[-1]], header)
    text = _dump(header)
    claimed = draw.choice((len(text),) * 5 + (0, 1 << 20, (1 << 32) - 1))
    body = claimed.to_bytes(4, "little") + text + data[start + size :]
    body = body[: draw.choice((len(body), len(body), len(body) - 1, len(text) + 4))]
    return f"header {path}", data[:8] + hashlib.sha256(body).digest() + body
