"""Updates out of range are left out, as JAX does; stock IREE writes outside of the array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt

rng = np.random.default_rng(4)
TABLE = rng.standard_normal((5, 3)).astype(np.float32)
ROWS = np.arange(3)
INDICES = [[0, 1, 2], [2, 2, 4], [0, 5, 4], [-1, 7, -5], [-6, 99, 3], [10**9, -(10**9), 0]]


def one_row(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[i[0]].set(x)


def add_rows(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[i].add(x[:, None])


def add_elements(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[i, ROWS].add(x)


def set_rows(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[jnp.stack([i[0], i[0] + 1, i[0] + 2])].set(x[:, None] + TABLE[:3])


def set_elements(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[i, ROWS].set(x)


def largest(i: Any, x: Any) -> Any:
    return jnp.asarray(TABLE).at[i].max(x)


def each_row(i: Any, x: Any) -> Any:
    return jax.vmap(lambda row, k, v: row.at[k].set(v))(jnp.asarray(TABLE).T, i, x)


def window(i: Any, x: Any) -> Any:
    numbers = lax.ScatterDimensionNumbers((0, 1), (), (0, 1))
    at = jnp.stack([i[0], i[1] - i[1]])
    return lax.scatter(jnp.asarray(TABLE), at, x[:2, None] + TABLE[:2], numbers)


def flags(i: Any, x: Any) -> Any:
    return jnp.zeros((4, 3), bool).at[i, ROWS].set(x > 0)


def counts(i: Any, x: Any) -> Any:
    return jnp.zeros(4, jnp.int32).at[i].add(1)


def in_a_loop(i: Any, x: Any) -> Any:
    def step(table: Any, k: Any) -> Any:
        table = table.at[i + k, ROWS].add(x)
        return table, table.sum(0)

    return lax.scan(step, jnp.asarray(TABLE), jnp.arange(4))


PROGRAMS = [
    *(one_row, add_rows, add_elements, set_rows, set_elements, largest),
    *(each_row, window, flags, counts, in_a_loop),
]


@pytest.mark.parametrize("target", ["cpu", pytest.param("vulkan", marks=pytest.mark.vulkan)])
def test_updates_out_of_range(target: str) -> None:
    def program(i: Any, x: Any) -> Any:
        return [f(i, x) for f in PROGRAMS]

    specs = ri.spec(3, dtype="int32"), ri.spec(3)
    artifact = ri.compile(program, *specs, targets=[target])
    x = rng.standard_normal(3).astype(np.float32)
    with rt.load(artifact.to_bytes(), device=target) as model:
        for given in INDICES:
            i = np.asarray(given, np.int32)
            for f, made in zip(PROGRAMS, model(i, x), strict=True):
                for got, want in zip(jax.tree.leaves(made), jax.tree.leaves(f(i, x)), strict=True):
                    message = f"{f.__name__} {given}"
                    np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=message)


def test_writing_one_row_at_each_step_is_a_kernel() -> None:
    def program(xs: Any, places: Any) -> Any:
        def step(memory: Any, x: Any) -> Any:
            memory = memory.at[x[1]].set(jnp.tanh(x[0] + memory[0]))
            return memory, memory.sum(0)

        return lax.scan(step, jnp.asarray(TABLE), (xs, places))

    specs = ri.spec("time=?", 3), ri.spec("time=?", dtype="int32")
    artifact = ri.compile(program, *specs, targets=["cpu"], fallback="error")
    xs = rng.standard_normal((9, 3)).astype(np.float32)
    places = np.array([0, 4, 5, -1, -6, 99, 2, 2, -(10**9)], np.int32)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for got, want in zip(
            jax.tree.leaves(model(xs, places)), jax.tree.leaves(program(xs, places)), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_scatters_of_unknown_sizes_are_refused() -> None:
    def program(x: Any, i: Any) -> Any:
        return x.at[:, i].add(1.0)

    with pytest.raises(ri.UnsupportedError, match=r"it scatters outside of the loop.*batch=1\|8"):
        ri.compile(program, ri.spec("batch=?", 4), ri.spec(dtype="int32"), targets=["cpu"])
