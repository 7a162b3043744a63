"""Steps that change nothing are left out, and the result is that of XLA all the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from hypothesis import HealthCheck, given, settings, strategies as st
from jax import lax

import recurrent_iree as ri
from recurrent_iree_compiler._fused import FusedKernel, Machine

STEPS, UNITS = 9, 6
make = running.normals(11)
W, V, TABLE = make(UNITS, UNITS), make(UNITS, 5), make(5, UNITS)
MANY = Machine(vector_bits=256, registers=16, l1=32 << 10, l2=256 << 10, cores=3)


def _rows(flag, yes, no):
    return jnp.where(flag[:, None], yes, no)


def masked(h, ends, _):
    """The flag is an input of each step."""

    def step(h, x):
        new = jnp.tanh(h @ W + 1)
        return _rows(x, h, new), _rows(x, jnp.zeros_like(new), new)

    mask = jnp.arange(STEPS)[:, None] >= ends
    return lax.scan(step, h, mask)


def masked_backwards(h, ends, _):
    def step(h, x):
        new = jnp.tanh(h @ W + 1)
        return _rows(x, h, new), _rows(x, h, new)

    mask = jnp.arange(STEPS)[:, None] >= ends
    return lax.scan(step, h, mask, reverse=True)


def flickering(h, ends, _):
    """Masked steps come and go."""

    def step(h, x):
        mask, bias = x
        new = jnp.tanh(h @ W + bias)
        return _rows(mask, h, new), _rows(mask, h, new)

    steps = jnp.arange(STEPS)[:, None]
    mask = (steps // 3 + ends) % 2 == 0
    return lax.scan(step, h, (mask, jnp.cos(steps.astype(jnp.float32))))


def counting(h, ends, _):
    """The flag is a state that each row sets; a masked counter and an output that is not masked."""

    def step(carry, _):
        h, t, done = carry
        new = jnp.tanh(h @ W + 1)
        now = (_rows(done, h, new), jnp.where(done, t, t + 1), done | (t + 1 >= ends))
        return now, (new @ V, t, done)

    count = jnp.zeros(h.shape[0], jnp.int32)
    return lax.scan(step, (h, count, count >= ends), None, length=STEPS)


def greedy(h, ends, start):
    """Finished rows give the end token, which is not what their state held before."""

    def step(carry, _):
        h, token, t, done = carry
        new = jnp.tanh(h @ W + jnp.asarray(TABLE)[token])
        best = jnp.argmax(new @ V, -1).astype(jnp.int32)
        token = jnp.where(done, 0, best)
        t = jnp.where(done, t, t + 1)
        return (_rows(done, h, new), token, t, done | (t >= ends)), token

    count = jnp.zeros(h.shape[0], jnp.int32)
    return lax.scan(step, (h, start, count, count >= ends), None, length=STEPS)


class _Cell:
    state_size = output_size = UNITS

    def __call__(self, x, state):
        new = jnp.tanh(x @ W + state)
        return new, new


def raw(h, ends, _):
    """`raw_rnn`: its time is one for all rows."""

    def loop(time, output, state, _):
        if output is None:
            return time >= ends, h, h, None, None
        return time >= ends, jnp.tanh(output), state, output, None

    emitted, state, _ = ri.raw_rnn(_Cell(), loop, max_steps=STEPS)
    return emitted.stack(), state


EARLY = [masked, masked_backwards, flickering, counting, greedy, raw]


@functools.cache
def _both(program, batch):
    arguments = [
        np.zeros((batch, UNITS), np.float32),
        np.zeros(batch, np.int32),
        np.zeros(batch, np.int32),
    ]
    module, (kernel,) = running.fuse(program, arguments, MANY)
    assert isinstance(kernel, FusedKernel), kernel
    return running.compiled(module), jax.jit(program), kernel


@pytest.mark.parametrize("program", EARLY)
@pytest.mark.parametrize("batch", [1, 5])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_pattern_of_finished_rows_gives_what_xla_gives(program, batch, data):
    run, reference, kernel = _both(program, batch)
    assert "early exit: once" in kernel.plan.text()
    ends = st.integers(0, STEPS + 1)
    ends = data.draw(st.lists(ends, min_size=batch, max_size=batch))
    start = data.draw(st.lists(st.integers(0, 4), min_size=batch, max_size=batch))
    arguments = [make(batch, UNITS), np.array(ends, np.int32), np.array(start, np.int32)]
    expected = [np.asarray(a) for a in jax.tree.leaves(reference(*arguments))]
    running.assert_close(run(*arguments), expected)


def test_a_step_is_left_out_only_after_its_output_was_seen():
    assert _both(counting, 5)[2].plan.early_exit.count("1 more step run") == 1
    assert _both(greedy, 5)[2].plan.early_exit.count("2 more steps run") == 1


def _still_counts(h, ends, _):
    def step(carry, mask):
        h, t = carry
        return (_rows(mask, h, jnp.tanh(h @ W)), t + 1), t

    mask = jnp.arange(STEPS)[:, None] >= ends
    return lax.scan(step, (h, jnp.int32(0)), mask)


def _still_listens(h, ends, _):
    def step(h, x):
        mask, x = x
        new = jnp.tanh(h @ W + x)
        return _rows(mask, h, new), new

    mask = jnp.arange(STEPS)[:, None] >= ends
    return lax.scan(step, h, (mask, jnp.broadcast_to(h, (STEPS, *h.shape)) + 1))


def _without_flag(h, ends, _):
    return lax.scan(lambda h, _: (jnp.tanh(h @ W), None), h, None, length=STEPS)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (_still_counts, "no early exit: state 1"),
        (_still_listens, "no early exit: output 0"),
        (_without_flag, ""),
    ],
)
def test_without_a_proof_every_step_runs(program, reason):
    run, reference, kernel = _both(program, 5)
    assert kernel.plan.early_exit.startswith(reason) and bool(reason) == bool(
        kernel.plan.early_exit
    )
    arguments = [make(5, UNITS), np.array([0, 3, 3, 9, 1], np.int32), np.zeros(5, np.int32)]
    expected = [np.asarray(a) for a in jax.tree.leaves(reference(*arguments))]
    running.assert_close(run(*arguments), expected)
