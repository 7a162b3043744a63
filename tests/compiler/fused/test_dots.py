"""Products whose lanes are apart in memory: scores of the keys of each row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

from recurrent_iree_compiler._fused import FusedKernel, Machine
from recurrent_iree_compiler._fused._lane_sums import LaneSums
from recurrent_iree_compiler._fused._tiles import Demand, choose_tile
from recurrent_iree_compiler._fused._writer import Writer

LARGE = Machine(512, 32, 32 << 10, 1 << 20, 2, "x86")
# Rows, keys of a row, numbers of a key: whole registers, tails of both, keys shorter than one.
SIZES = [(4, 16, 32), (3, 23, 9), (2, 5, 70), (6, 33, 4), (5, 3, 3)]


def scores(ops, h, keys):
    """The next state and its output, for JAX or NumPy."""
    energy = ops.einsum("bd,bsd->bs", h, keys)
    pairs = ops.einsum("bsd,bsd->bs", keys + 0 * h[:, None, :] + h[:, None, :], keys)
    both = ops.einsum("bij,bsij->bs", keys[:, :2], (keys[:, :, None] * keys[:, None, :2]))
    h = ops.tanh(h + ops.einsum("bs,bsd->bd", energy + 0.1 * pairs, keys))
    return h, (energy, pairs, both[:, :1] + energy)


def cell(batch, count, units):
    random = np.random.default_rng(count)
    keys = (random.standard_normal((batch, count, units)) * 0.3).astype(np.float32)
    h = random.standard_normal((batch, units)).astype(np.float32)

    def run(h, keys):
        return lax.scan(lambda h, _: scores(jnp, h, keys), h, None, 3)

    return run, [h, keys]


def all_sizes():
    made = [cell(*size) for size in SIZES]

    def run(*given):
        return [f(*given[2 * n : 2 * n + 2]) for n, (f, _) in enumerate(made)]

    return run, [a for _, arguments in made for a in arguments]


@pytest.mark.parametrize("machine", [LARGE, running.SSE], ids=["avx512", "sse"])
def test_they_equal_xla_and_float64(machine):
    function, arguments = all_sizes()
    made = running.compiled(running.fused_only(function, arguments, machine))(*arguments)
    running.assert_close(made, running.by_xla(function, arguments), atol=1e-5)
    exact = []
    for h, keys in zip(*[iter(np.float64(a) for a in arguments)] * 2, strict=True):
        steps = []
        for _ in range(3):
            h, outputs = scores(np, h, keys)
            steps.append(outputs)
        exact += [h, *(np.stack(ys) for ys in zip(*steps, strict=True))]
    running.assert_close(made, exact, atol=1e-5)


def test_no_lane_is_gathered():
    function, arguments = cell(8, 16, 64)
    _, (kernel,) = running.fuse(function, arguments, LARGE)
    assert isinstance(kernel, FusedKernel)
    assert "lanes along what is summed" in kernel.plan.text()
    assert "vector.from_elements" not in kernel.executable


def test_rows_that_share_nothing_have_registers_side_by_side():
    alone = choose_tile(LARGE, 32, Demand(1, shared=False), 8, 256)
    assert (alone.rows, alone.lanes) == (1, 256)
    assert (choose_tile(LARGE, 32, Demand(1), 8, 256).rows) == 4
    assert choose_tile(running.SSE, 32, Demand(0, apart=True), 8, 16).rows == 3


@pytest.mark.parametrize(("count", "width"), [(16, 16), (4, 16), (16, 4), (1, 8), (2, 1)])
def test_lanes_are_summed(count, width):
    """The text that is written, read by a small interpreter."""
    w = Writer()
    data = np.random.default_rng(0).integers(0, 99, (count, width))
    values = {f"%v{n}": row for n, row in enumerate(data)}
    result = LaneSums(w, "f32").of(list(values), width)
    for line in w.lines:
        name, _, text = line.strip().partition(" = ")
        a, b = (v.rstrip(",") for v in text.split()[1:3])
        if text.startswith("vector.shuffle"):
            mask = [int(n) for n in text[text.index("[") + 1 : text.index("]")].split(",")]
            values[name] = np.concatenate([values[a], values[b]])[mask]
        else:
            values[name] = values[a] + values[b]
    np.testing.assert_array_equal(values[result], data.sum(1))


def test_gradients_of_scores_equal_xla():
    function, (h, keys) = cell(4, 7, 12)

    def loss(h, keys):
        return (function(h, keys)[0] ** 2).sum()

    gradients = jax.grad(loss, (0, 1))
    made = running.compiled(running.fused_only(gradients, [h, keys], LARGE))(h, keys)
    running.assert_close(made, running.by_xla(gradients, [h, keys]), rtol=1e-4, atol=1e-5)
