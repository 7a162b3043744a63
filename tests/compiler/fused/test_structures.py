"""Unusual shapes of a recurrence: states that pass, swap or are constant, odd types, no state."""

import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

make = running.normals(5)
X, H, G = make(4, 3, 6), make(3, 6), make(3, 6)


def _passing(x, h, g):
    """One state never changes, two swap, one is set to a constant, one to the input."""

    def step(state, x):
        fixed, a, b, c, d = state
        return (fixed, b, a, jnp.zeros_like(c) + 2, x), (fixed * 2, a + d, x, c)

    return lax.scan(step, (h, h, g, g, h), x)


def _no_state(x, h, g):
    return lax.scan(lambda _, x: (None, (jnp.tanh(x) * h, jnp.float32(3))), None, x)


def _no_output(x, h, g):
    return lax.scan(lambda s, x: (jnp.tanh(s + x @ jnp.ones((6, 6)) * 0.1), None), h, x)[0]


def _same_output_twice(x, h, g):
    def step(s, x):
        s = jnp.tanh(s + x)
        return s, (s, s, s[:, :2], s.sum())

    return lax.scan(step, h, x)


def _types(x, h, g):
    """Unsigned, narrow, wide and half-precision states, inputs and outputs."""

    def step(state, inputs):
        x, k = inputs
        a, b, c, d = state
        a = a * jnp.uint32(3) + k.astype(jnp.uint32)
        b = (b + k.astype(jnp.int8)).astype(jnp.int8)
        c = jnp.minimum(c + jnp.uint8(100), jnp.uint8(250))
        d = (d + x).astype(jnp.float16)
        return (a, b, c, d), (a > 100, b, c.astype(jnp.int16), d.astype(jnp.float32))

    k = jnp.arange(12, dtype=jnp.int16).reshape(4, 3)
    states = (
        jnp.arange(3, dtype=jnp.uint32) + jnp.uint32(2**31),
        jnp.array([120, -120, 3], jnp.int8),
        jnp.array([1, 2, 255], jnp.uint8),
        h.astype(jnp.float16),
    )
    (a, b, c, d), ys = lax.scan(step, states, (x.astype(jnp.float16), k))
    return a.astype(jnp.int32), b, c.astype(jnp.int32), d.astype(jnp.float32), ys


def _batch_in_the_middle(x, h, g):
    """States as (lanes, batch): the batch axis does not lead."""
    w = jnp.asarray(make(6, 6))

    def step(s, x):
        s = jnp.tanh(w @ s + x.T)
        return s, s

    return lax.scan(step, h.T, x)


def _two_recurrences(x, h, g):
    _, first = lax.scan(lambda s, x: ((s + x) * 0.5, s), h, x)
    return lax.scan(lambda s, x: (jnp.tanh(s * x), s), g, first, reverse=True)


def _scalars(x, h, g):
    def step(s, x):
        return 0.9 * s + x.mean(), s > 0.1

    return lax.scan(step, jnp.float32(0.2), x)


def _indexed_inputs(x, h, g):
    """Rows of a table picked by an integer input, and one lane of the state by a counter."""
    table = jnp.asarray(make(5, 6))
    index = jnp.array([[0, 4, 9], [1, 1, 1], [3, -1, 2], [2, 2, 0]], jnp.int32)

    def step(state, inputs):
        s, at = state
        x, i = inputs
        s = jnp.tanh(s + table[i] + x)
        return (s, (at + 1) % 6), (s, lax.dynamic_index_in_dim(s, at, 1), s[:, 5])

    return lax.scan(step, (h, jnp.int32(3)), (x, index))


def _a_row_that_is_set_anywhere(x, h, g):
    """The leading axis of a state is the time of what is collected, and no batch."""

    def step(state, x):
        rows, at, s = state
        s = jnp.tanh(s + x[0])
        rows = lax.dynamic_update_index_in_dim(rows * 0.9, s, at, 0)
        return (rows, (at + 1) % 4, s), None

    return lax.scan(step, (jnp.zeros((4, 6)), jnp.int32(1), h[0]), x)[0]


def _many_outputs(x, h, g):
    """More buffers than one dispatch may have."""

    def step(s, x):
        s = jnp.tanh(s + x)
        return s, [s * n for n in range(40)]

    return lax.scan(step, h, x)


def _rows_that_wait_for_each_other(x, h, g):
    """No batch to cut: rows go into registers together, and are looked up by an argmax."""
    weight, table = jnp.asarray(make(6, 23)), jnp.asarray(make(23, 6))

    def step(state, x):
        s, done = state
        logits = jnp.round(jnp.tanh(s + x) @ weight * 4)
        best, least = jnp.argmax(logits, -1), jnp.argmin(logits, -1).astype(jnp.int32)
        keep = done.all()
        s = jnp.where(keep, s, s + table[best])
        return (s, done | (best == 7)), (best.astype(jnp.int32), least, logits)

    return lax.scan(step, (jnp.concatenate([h, h, g]), jnp.zeros(9, bool)), jnp.tile(x, (1, 3, 1)))


def _bools_that_are_returned_too(x, h, g):
    """IREE 3.13 cannot compile a dispatch that writes bools and the bytes that the kernel takes."""

    def step(s, v):
        positive = v < v + 0.1
        return jnp.tanh(s), (positive, jnp.where(positive, s, 0.25 - s))

    return lax.scan(step, h, x[:3])


def _argmax_of_infinities(x, h, g):
    def step(s, x):
        odd = jnp.where(x > 0.1, jnp.inf, jnp.where(x < -0.1, -jnp.inf, jnp.nan))
        return s, (jnp.argmax(odd, -1), jnp.argmin(odd, -1), jnp.argmax(0 * x - jnp.inf, -1))

    return lax.scan(step, h, x)


CASES = [
    _bools_that_are_returned_too,
    _rows_that_wait_for_each_other,
    _argmax_of_infinities,
    _passing,
    _no_state,
    _no_output,
    _same_output_twice,
    _types,
    _batch_in_the_middle,
    _two_recurrences,
    _scalars,
    _indexed_inputs,
    _a_row_that_is_set_anywhere,
    _many_outputs,
]
RESULTS = running.SideBySide(lambda function: (function, [X, H, G]), CASES)


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__name__.strip("_"))
def test_it_equals_xla(function):
    # float16 is rounded where it is stored, and not between operations as in XLA.
    atol = 1e-3 if function is _types else 1e-5
    running.assert_close(*RESULTS[function], atol=atol)


def test_the_state_of_the_caller_is_left_alone():
    before = H.copy()
    run = running.compiled(running.fused_only(_same_output_twice, [X, H, G]))
    first = run(X, H, G)
    np.testing.assert_array_equal(H, before)
    running.assert_close(run(X, H, G), first, rtol=0, atol=0)
