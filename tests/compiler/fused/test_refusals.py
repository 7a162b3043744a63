"""What has no kernel is refused with the operation and the reason, and the module stays whole."""

import jax.numpy as jnp
import pytest
from compiler.fused import running
from jax import lax

from recurrent_iree_compiler._fused import Refusal

H = running.normals(4)(2, 6)


def _nested(h):
    return lax.fori_loop(0, 3, lambda _, a: jnp.tanh(a), h)


def _branch(h):
    return lax.cond(h.sum() > 0, lambda a: a + 1, lambda a: a - 1, h)


CASES = {
    "nested scan": (
        lambda h: lax.scan(lambda a, _: (a * 0.5, None), h, None, length=3)[0],
        "region",
    ),
    "loop": (_nested, "region"),
    "branch": (_branch, "region"),
    "sort": (lambda h: jnp.sort(h, -1), "region"),
    "scatter": (lambda h: h.at[:, jnp.int32(h[0, 0])].set(0.0), "region"),
    "complex": (lambda h: jnp.abs(lax.complex(h, h)), "complex"),
    "empty sum": (lambda h: jnp.tanh(h + h[:, :0].sum(1, keepdims=True)), "no elements"),
    "convolution": (
        lambda h: lax.conv_general_dilated(h[:, None], jnp.ones((1, 1, 3)), (1,), "SAME")[:, 0],
        "no rule",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_says_which_operation_and_why(name):
    body, reason = CASES[name]

    def run(h):
        return lax.scan(lambda h, _: (body(h), None), h, None, length=3)[0]

    module, found = running.fuse(run, [H])
    refusals = [f for f in found if isinstance(f, Refusal)]
    assert refusals, found
    assert reason in refusals[0].reason
    assert refusals[0].op.startswith(("stablehlo.", "tensor", "chlo."))
    running.assert_close(running.compiled(module)(H), running.by_xla(run, [H]))
