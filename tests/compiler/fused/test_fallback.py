"""`fallback="error"` refuses what would run as a loop, and names recurrence, operation, reason."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import recurrent_iree as ri
from recurrent_iree_compiler import PlanOptions

SPEC = ri.spec(100, 2, 4)


def loop(cell, x):
    def step(h, v):
        h = cell(h + v)
        return h, h

    return lax.scan(step, jnp.zeros((2, 4)), x)[1]


def fusible(x):
    return loop(jnp.tanh, x)


def stubborn(x):
    return loop(lambda h: jnp.tanh(jnp.sort(h, -1)), x)


def keyed(x):
    def step(key, v):
        key, own = jax.random.split(key)
        return key, v * jax.random.uniform(own)

    return lax.scan(step, jax.random.key(0), x)[1]


def compiled(program, **options):
    return ri.compile(program, SPEC, targets=["cpu"], **options)


def test_it_names_the_recurrence_the_operation_and_the_reason():
    names = r"recurrence 'main.*recurrence.*' cannot be fused for 'cpu'"
    why = re.escape("because of stablehlo.sort: ")
    with pytest.raises(ri.UnsupportedError, match=f'{names}.*{why}.*fallback="loop"'):
        compiled(stubborn, fallback="error")


def test_a_kernel_passes():
    (target,) = compiled(fusible, fallback="error").report()["targets"]
    assert [r["form"] for r in target["recurrences"]] == ["fused kernel"]


def test_a_loop_is_the_default_and_the_report_says_why():
    (target,) = compiled(stubborn).report()["targets"]
    (decision,) = target["recurrences"]
    assert decision["form"] == "nested loop"
    assert "because of stablehlo.sort: " in decision["reason"]


def test_a_loop_that_is_no_recurrence_is_refused_too():
    with pytest.raises(ri.UnsupportedError, match=r"a loop in 'main.*' cannot.*PRNG keys"):
        compiled(keyed, fallback="error")


def test_a_target_without_kernels():
    with pytest.raises(ri.UnsupportedError, match="no fused kernels for vulkan yet"):
        ri.compile(fusible, SPEC, targets=["vulkan:llvmpipe"], fallback="error")


def test_the_argument_wins_over_the_options():
    options = ri.BuildOptions(plan=PlanOptions(fallback="error"))
    with pytest.raises(ri.UnsupportedError, match="sort"):
        compiled(stubborn, options=options)
    assert compiled(stubborn, options=options, fallback="loop").size > 0


def test_another_word():
    with pytest.raises(ri.ArgumentError, match=r"fallback is 'no'; give \"loop\".*\"error\""):
        compiled(fusible, fallback="no")
