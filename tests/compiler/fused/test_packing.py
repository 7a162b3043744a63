"""Weights are packed by dispatches of our own, and equal packs are one executable."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

from recurrent_iree_compiler._fused._pack_kernel import MOST_WEIGHTS

ROWS, STEPS, WIDTH = 3, 4, 20  # a width of one whole vector of sixteen lanes and a rest
NORMALS = running.normals(4)
PACKER = re.compile(r"stream.executable private @(pack_\w+)")


def several_products(weights, h, xs):
    """Each step sums the products of the state with all `weights`."""

    def step(h, x):
        h = jnp.tanh(x + sum(h @ w for w in weights))
        return h, h

    return lax.scan(step, h, xs)


def arguments(count, width=WIDTH):
    weights = [NORMALS(width, width) / (count * width**0.5) for _ in range(count)]
    return [*weights, NORMALS(ROWS, width), NORMALS(STEPS, ROWS, width)]


def check(function, given):
    """The module, after its numbers were compared with those of XLA."""
    module = running.fused_only(function, given)
    running.assert_close(running.compiled(module)(*given), running.by_xla(function, given))
    return str(module)


def run_all(*given):
    *weights, h, xs = given
    return several_products(weights, h, xs)


@pytest.mark.parametrize("count", [1, 4, MOST_WEIGHTS, MOST_WEIGHTS + 6])
def test_any_number_of_weights_is_packed_by_one_dispatch(count):
    assert len(PACKER.findall(check(run_all, arguments(count)))) == 1


def test_weights_are_packed_across_their_rows():
    def transposed(*given):
        *weights, h, xs = given
        return several_products([w.T for w in weights], h, xs)

    given = arguments(2)
    assert len(PACKER.findall(check(transposed, given))) == 1


def test_large_packs_are_made_by_several_workgroups():
    packer = check(run_all, arguments(2, width=256)).split("private @pack_")[1]
    assert "workgroup.id" in packer.split("stream.executable private")[0]


def test_equal_packs_are_one_executable():
    def twice(*given):
        first, xs = run_all(*given)
        return several_products(given[:-2], first + 1, -xs)

    assert len(PACKER.findall(check(twice, arguments(2)))) == 1


def test_weights_lie_where_a_step_reads_them():
    """Sums of one whole number each, so that nothing is rounded."""
    w = np.arange(WIDTH * WIDTH, dtype=np.float32).reshape(WIDTH, WIDTH)

    def pick(w, h, xs):
        return lax.scan(lambda h, x: (x, h @ w), h, xs)[1]

    eye = np.eye(WIDTH, dtype=np.float32)
    module = running.fused_only(pick, [w, eye[:1], eye[1:, None]])
    (made,) = running.compiled(module)(w, eye[:1], eye[1:, None])
    np.testing.assert_array_equal(made[:, 0], w[:-1])


def test_what_lies_in_order_is_not_copied():
    given = [*arguments(1, width=16)]
    assert not PACKER.findall(check(run_all, given))
