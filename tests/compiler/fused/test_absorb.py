"""Products of the inputs that kernels take back into the loop, and rows that lie batch first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running
from jax import lax

from recurrent_iree_compiler._fused import FusedKernel, Machine, known_machine

BATCH, TIME, UNITS = 9, 5, 24
AVX512 = Machine(512, 32, 48 << 10, 1 << 20, 2)


def gated(reverse=False):
    """A cell that needs its inputs in several ways, batch first outside."""
    random = running.normals(3)
    x, h = random(BATCH, TIME, UNITS), random(BATCH, UNITS)
    w, u, b = random(UNITS, 3 * UNITS), random(UNITS, 3 * UNITS), random(3 * UNITS)

    def program(x, h, w, u, b):
        def step(h, v):
            zf, zr, zn = jnp.split(v @ w + b, 3, -1)
            af, ar, an = jnp.split(h @ u, 3, -1)
            f = jax.nn.sigmoid(zf + af)
            h = f * h + (1 - f) * jnp.tanh(zn + jax.nn.sigmoid(zr + ar) * an + v)
            return h, (h, 2 * h[:, :3])

        last, (all_h, few) = lax.scan(step, h, jnp.swapaxes(x, 0, 1), reverse=reverse)
        return last, jnp.swapaxes(all_h, 0, 1), jnp.swapaxes(few, 0, 1)

    return program, (x, h, w, u, b)


def names(module):
    text = module.operation.get_asm(enable_debug_info=False)
    return text[text.index("func.func public @main") :].split("func.func private")[0]


@pytest.mark.parametrize("machine", [AVX512, running.AVX2, running.SSE])
@pytest.mark.parametrize("reverse", [False, True])
def test_inputs_are_multiplied_in_the_kernel_and_read_batch_first(machine, reverse):
    program, arguments = gated(reverse)
    module = running.fused_only(program, arguments, machine)
    main = names(module)
    assert "dot_general" not in main
    assert "transpose" not in main
    made = running.compiled(module)(*arguments)
    running.assert_close(made, running.by_xla(program, arguments))


def test_outputs_of_other_types_are_batch_first_too():
    random = running.normals(4)

    def program(x, h):
        def step(h, v):
            h = 0.5 * h + v
            return h, (h > 0, h.astype(jnp.bfloat16), (4 * h).astype(jnp.int8), h.sum(1) > 0)

        ys = lax.scan(step, h, jnp.swapaxes(x, 0, 1))[1]
        return [jnp.swapaxes(y, 0, 1).astype(jnp.float32) for y in ys]

    for rows in (2, BATCH):
        arguments = random(rows, TIME, UNITS), random(rows, UNITS)
        module = running.fused_only(program, arguments)
        running.assert_close(
            running.compiled(module)(*arguments), running.by_xla(program, arguments)
        )


def test_few_rows_keep_the_product_before_the_loop():
    program, (x, h, *weights) = gated()
    module = running.fused_only(program, (x[:4], h[:4], *weights))
    assert names(module).count("dot_general") == 1


def test_large_weights_are_not_read_at_every_step():
    program, arguments = gated()
    small = Machine(512, 32, 48 << 10, 3 * UNITS * UNITS - 1, 2)
    assert "dot_general" in names(running.fused_only(program, arguments, small))


def test_sums_of_products_share_registers():
    program, arguments = gated()
    _, (kernel,) = running.fuse(program, arguments, AVX512)
    assert isinstance(kernel, FusedKernel)
    stage = max(kernel.plan.stages, key=lambda s: s.operations.get("dot_general", 0))
    assert stage.operations["dot_general"] == 6
    assert stage.reason.startswith("4 sums")


def test_a_product_that_others_read_stays_outside():
    program, arguments = gated()
    w = arguments[2]

    def both(x, h, w, u, b):
        random = jnp.swapaxes(x, 0, 1) @ w

        def step(h, z):
            h = jnp.tanh(h @ u[:, :UNITS] + z[:, :UNITS])
            return h, h

        return lax.scan(step, h, random), random

    module = running.fused_only(both, arguments)
    assert names(module).count("dot_general") == 1
    made = running.compiled(module)(*arguments)
    running.assert_close(made, running.by_xla(both, arguments))
    assert w.shape == (UNITS, 3 * UNITS)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_sums_of_several_products_in_any_order(parts):
    random = running.normals(5)
    h, x = random(BATCH, UNITS), random(TIME, BATCH, UNITS)
    weights = [random(UNITS, UNITS) for _ in range(parts + 1)]

    def program(h, x, *weights):
        def step(h, v):
            total = 0.5 * h
            for number, w in enumerate(weights):
                total = (v if number == 0 else jnp.roll(h, number, 1)) @ w + (total + number)
            h = jnp.tanh(total)
            return h, h

        return lax.scan(step, h, x)

    arguments = (h, x, *weights)
    made = running.compiled(running.fused_only(program, arguments))(*arguments)
    running.assert_close(made, running.by_xla(program, arguments))


def test_constants_before_the_loop_move_with_the_product():
    random = running.normals(7)
    h, x, w = random(BATCH, UNITS), random(TIME, BATCH, UNITS), random(UNITS, UNITS)
    b = random(UNITS)

    def program(h, x, w, b):
        z = jnp.maximum(x @ w + b, 0.0) * 2

        def step(h, item):
            a, v = item
            h = jnp.tanh(h + a) * v
            return h, h

        return lax.scan(step, h, (jnp.concatenate([z, z[..., :2] - 1], -1)[..., 2:], x))

    arguments = (h, x, w, b)
    module = running.fused_only(program, arguments, known_machine("cpu"))
    made = running.compiled(module)(*arguments)
    running.assert_close(made, running.by_xla(program, arguments))
    assert np.isfinite(made[0]).all()
