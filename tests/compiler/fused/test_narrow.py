"""Weights stored as bfloat16 or int8: what the kernel reads, and that it reads it right."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from compiler.fused import running
from hypothesis import given, settings, strategies as st
from jax import lax

from recurrent_iree_compiler._fused import FusedKernel

SEED = np.random.default_rng(3)


def _stored(kind, shape, axis):
    """A random weight as it is stored, and the function that widens it."""
    wide = SEED.standard_normal(shape).astype(np.float32) / shape[0] ** 0.5
    if kind == "bf16":
        return [wide.astype(ml_dtypes.bfloat16)], lambda codes: codes.astype(jnp.float32)
    scale = (np.abs(wide).max(axis=1 - axis) / 127).astype(np.float32)
    spread = scale[None, :] if axis == 1 else scale[:, None]
    codes = np.rint(wide / spread).astype(np.int8)

    def widen(codes, scale):
        return codes.astype(jnp.float32) * lax.broadcast_in_dim(scale, codes.shape, (axis,))

    return [codes, scale], widen


def _run(step, weights, batch, units):
    h = running.normals(1)(batch, units)
    arguments = [h, running.normals(2)(3, batch, units), *weights]

    def program(h, xs, *weights):
        return lax.scan(lambda h, x: step(h, x, weights), h, xs)

    module, found = running.fuse(program, arguments)
    assert isinstance(found[0], FusedKernel), found
    made = running.compiled(module)(*arguments)
    running.assert_close(made, running.by_xla(program, arguments), rtol=1e-4, atol=1e-5)
    return found[0].plan


def _types(plan):
    return {kind for stage in plan.stages for kind in stage.packed_as}


@pytest.mark.parametrize(("kind", "dtype"), [("bf16", "bf16"), ("int8", "i8")])
def test_a_stored_matrix_is_read_as_it_is_stored(kind, dtype):
    weights, widen = _stored(kind, (24, 24), 1)

    def step(h, x, weights):
        h = jnp.tanh(x + h @ widen(*weights))
        return h, h

    plan = _run(step, weights, 5, 24)
    assert dtype in _types(plan)
    assert plan.stored == f"576 B are read as {dtype}".replace(
        "576", "576" if dtype == "i8" else "1152"
    )
    assert f"stored as {dtype}" in plan.text()


def test_a_scale_along_the_sum_cannot_leave_it():
    weights, widen = _stored("int8", (16, 16), 0)

    def step(h, x, weights):
        h = jnp.tanh(x + h @ widen(*weights))
        return h, h

    plan = _run(step, weights, 1, 16)
    assert "i8" not in _types(plan)
    assert "have a scale along the axis that is summed" in plan.stored


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_a_matrix_used_both_ways(kind):
    weights, widen = _stored(kind, (16, 16), 1)

    def step(h, x, weights):
        w = widen(*weights)
        return jnp.tanh(x + h @ w), (h + x) @ w.T

    plan = _run(step, weights, 2, 16)
    assert _types(plan) == ({"bf16"} if kind == "bf16" else {"i8", "f32"})


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["bf16", "int8"]),
    units=st.integers(2, 37),
    gates=st.integers(1, 4),
    batch=st.sampled_from([1, 3, 5]),
    form=st.sampled_from(["whole", "slices", "transposed", "joined", "stacked"]),
)
def test_moved_weights_equal_xla(kind, units, gates, batch, form):
    shape, axis = (
        ((units, gates * units), 1) if form != "transposed" else ((gates * units, units), 0)
    )
    weights, widen = _stored(kind, shape, axis)

    def products(h, w):
        if form == "whole":
            return jnp.split(h @ w, gates, axis=1)
        if form == "slices":
            return [h @ w[:, g * units : (g + 1) * units] for g in range(gates)]
        if form == "transposed":
            return jnp.split(h @ w.T, gates, axis=1)
        if form == "joined":
            return jnp.split(h @ jnp.concatenate([w[:, units:], w[:, :units]], 1), gates, axis=1)
        return list(jnp.einsum("bi,igj->gbj", h, w.reshape(units, gates, units)))

    def step(h, x, weights):
        parts = products(h, widen(*weights))
        h = jnp.tanh(x + sum(jnp.sin(p) for p in parts))
        return h, h

    plan = _run(step, weights, batch, units)
    assert _types(plan) & {"bf16", "i8"}, plan.text()
