"""The tiny program without the state that all rows share: streams of it can be stacked."""

import numpy as np

import recurrent_iree_runtime as rt
from runtime import tiny


def steps(x, h=None):
    """The reference: `(y, h)` for x of shape [batch, time, 3]."""
    y, h, _ = tiny.steps(x, h)
    return y, h


def artifact(entries=None, states=None, **changes):
    """The bytes of the program, without golden calls."""
    states = tiny.manifest().states[:1] if states is None else states
    manifest = tiny.manifest(entries=entries or tiny.entries(), states=states, **changes)
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    return rt.container_bytes(rt.pack(manifest, parts))


def driver():
    """The program as Python functions."""
    functions = dict(tiny.fake_driver().functions)
    for b in tiny.BATCHES:
        functions[f"init_b{b}"] = lambda b=b: [np.zeros((b, tiny.WIDTH))]
        for t in tiny.CHUNKS:
            functions[f"chunk_b{b}_t{t}"] = lambda x, h: steps(x, h)
    return rt.FakeDriver(functions)


def model():
    """The program on a `FakeDriver`."""
    return rt.load(artifact(), device=driver())
