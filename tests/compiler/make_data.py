"""Write the StableHLO fixtures of these tests: `python tests/compiler/make_data.py` (needs JAX)."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

DATA = Path(__file__).parent / "data"
BATCH, FEATURES, UNITS = 2, 3, 4


def recurrence(kernel, h, zs, *, cell, length):
    """A scan marked as the authoring package marks it."""
    step_of_cell = lax.composite(cell, name="recurrent_iree.cell", version=1)

    def decomposition(kernel, h, zs, **_):
        return lax.scan(lambda h, z: step_of_cell(kernel, h, z), h, zs)

    marked = lax.composite(decomposition, name="recurrent_iree.recurrence", version=1)
    sizes = {"num_consts": 1, "num_carry": 1, "num_xs": 1, "length": length, "reverse": False}
    return marked(kernel, h, zs, **sizes)


def tanh_cell(kernel, h, z):
    h = jnp.tanh(z + h @ kernel)
    return h, h


def rnn(w, u, x, h):
    """`(batch, time, features)` -> all outputs and the last state of a simple RNN."""
    zs = jnp.einsum("btd,dh->tbh", x, w)
    h, ys = recurrence(u, h, zs, cell=tanh_cell, length=x.shape[1])
    return jnp.swapaxes(ys, 0, 1), h


def last_state(w, u, x):
    """The whole sequence from a zero state, as `sequence` of a program that streams."""
    return rnn(w, u, x, jnp.zeros((x.shape[0], u.shape[0]), x.dtype))[0]


def initial_state(w, u):
    return jnp.zeros((BATCH, u.shape[0]), w.dtype)


def small_types(flags, bytes_, halves):
    """Types that need another type at the edge of a Vulkan module."""
    picked = jnp.where(flags, bytes_.astype(jnp.float16), halves)
    return ~flags, (bytes_ + jnp.uint8(1)), picked * jnp.float16(2)


def spec(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


WEIGHTS = (spec(FEATURES, UNITS), spec(UNITS, UNITS))


def x_of(time):
    return spec(BATCH, time, FEATURES)


PROGRAMS = {
    "rnn_5": (rnn, *WEIGHTS, x_of(5), spec(BATCH, UNITS)),
    "rnn_1": (rnn, *WEIGHTS, x_of(1), spec(BATCH, UNITS)),
    "rnn_300": (rnn, *WEIGHTS, x_of(300), spec(BATCH, UNITS)),
    "sequence_5": (last_state, *WEIGHTS, x_of(5)),
    "init": (initial_state, *WEIGHTS),
    "small_types": (
        small_types,
        spec(3, dtype=np.bool_),
        spec(3, dtype=np.uint8),
        spec(3, dtype=np.float16),
    ),
}


def main():
    jax.config.update("jax_use_shardy_partitioner", False)
    jax.config.update("jax_traceback_in_locations_limit", 0)
    for name, (function, *specs) in PROGRAMS.items():
        exported = export.export(jax.jit(function, keep_unused=True))(*specs)
        lines = jax.jit(function, keep_unused=True).lower(*specs).as_text()
        (DATA / f"{name}.mlir").write_text(lines)
        if name == "rnn_5":
            (DATA / f"{name}.mlirbc").write_bytes(exported.mlir_module_serialized)


if __name__ == "__main__":
    main()
