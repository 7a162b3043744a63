"""A compiled layer with everything a layer may take, on the fake driver.

One step, for rows of `batch`: ``h = tanh(x @ kernel + h + constants)`` where the mask is set.
"""

import json

import numpy as np

import recurrent_iree_runtime as rt
from runtime import tiny

NAMES = {"mask": "bool", "reset": "bool", "constants": "float32", "initial_state": "float32"}


def steps(x, h=None, mask=None, constants=0.0):
    """The reference: `(y, h)`; the output of a masked step is zero."""
    h = np.zeros((x.shape[0], 3), np.float32) if h is None else h
    out = []
    for t in range(x.shape[1]):
        new = np.tanh(x[:, t] @ tiny.KERNEL + h + constants).astype(np.float32)
        valid = np.ones(len(x), bool) if mask is None else mask[:, t]
        h = np.where(valid[:, None], new, h)
        out.append(np.where(valid[:, None], new, 0))
    return np.stack(out, 1), h


def facts(takes=(), streams=True, **changes):
    """What the artifact says of the layer."""
    state = {"shape": [3], "dtype": "float32", "slot": "h" if streams else None}
    flags = dict.fromkeys(("stateful", "return_state", "go_backwards", "time_major"), False)
    parts = {
        "class_name": "RNN",
        "name": "memory",
        "config": {"units": 3},
        "weights": ["kernel"],
        "parameters": ["inputs", "initial_state", "constants"],
        "flags": flags | {"return_sequences": True} | changes.pop("flags", {}),
        "cell": "Cell",
        "takes_constants": "constants" in takes,
        "states": [state],
        "starts_at_zero": True,
    }
    return parts | changes


def _leaf(name, *shape, dtype="float32"):
    return rt.Leaf(name, shape, dtype)


def model(takes=(), streams=True, listed=False, document=None, **changes):
    """A model of the layer; `takes` are the arguments it was compiled with."""
    document = facts(takes, streams, **changes) if document is None else document
    returns = isinstance(document, dict) and document["flags"]["return_state"]
    shapes = {"mask": ("batch", "time"), "reset": ("batch", "time")}
    inputs = [_leaf("x", "batch", "time", 3)]
    inputs += [_leaf(n, *shapes.get(n, ("batch", 3)), dtype=NAMES[n]) for n in takes]
    named = {name: {"leaf": i + 1} for i, name in enumerate(takes)}
    first = {"list": [{"leaf": i} for i in range(len(inputs))]} if listed else {"leaf": 0}
    tree = {
        "dict": {"args": {"tuple": [first]}, "kwargs": {"dict": {} if listed else named}},
    }
    outputs = [_leaf("y", "batch", "time", 3)]
    out_tree = {"leaf": 0}
    if returns:
        outputs.append(_leaf("h", "batch", 3))
        out_tree = {"list": [{"leaf": 0}, {"leaf": 1}]}
    edges = (tuple(inputs), tree, tuple(outputs), out_tree)
    none = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    functions = {"init": lambda: [np.zeros((2, 3)), 0]}

    def compute(*arrays):
        given = dict(zip(("x", *takes), arrays[: len(inputs)], strict=True))
        h = arrays[len(inputs)] if streams else given.get("initial_state")
        y, h = steps(given["x"], h, given.get("mask"), given.get("constants", 0.0))
        count = [arrays[len(inputs) + 1] + 1] if streams else []
        return [y, *([h] if returns else []), *([h, *count] if streams else [])]

    sized = [rt.Function(f"f{t}", {"batch": 2, "time": t}) for t in (4, 1)]
    functions |= {"f4": compute, "f1": compute, "f6": compute}
    if streams:
        entries = (
            rt.Entry("sequence", "chunks", *edges, ()),
            rt.Entry("chunk", "module", *edges, tuple(sized)),
            rt.Entry("init", "module", (), none, (), {"tuple": []},
                     (rt.Function("init", {"batch": 2}),)),
        )  # fmt: skip
    else:
        whole = (rt.Function("f6", {"batch": 2, "time": 6}),)
        entries = (rt.Entry("sequence", "module", *edges, whole),)
    text = document if isinstance(document, str) else json.dumps(document)
    manifest = tiny.manifest(
        entries=entries,
        default_entry="sequence",
        dims=(rt.Dim("batch", (2,)), rt.Dim("time", None)),
        states=(_leaf("h", "batch", 3), _leaf("n", dtype="int32")) if streams else (),
        metadata={} if document == "" else {"layer": text},
    )
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    data = rt.container_bytes(rt.pack(manifest, parts))
    return rt.load(data, device=rt.FakeDriver(functions))
