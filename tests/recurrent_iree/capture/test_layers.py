"""Loops whose states only feed forward become a loop for each layer, with the same numbers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax

from recurrent_iree._capture import _layers
from recurrent_iree._capture._composite import RECURRENCE
from recurrent_iree._capture._jaxpr import evaluate, flatten_calls
from recurrent_iree._capture._scan import describe_scan, lower_scan
from recurrent_iree._capture._streaming import quick_jit

T, B, H = 6, 2, 4
PAYS = "2: a product with the output of the layer before leaves it"


@pytest.fixture(autouse=True)
def small_products_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layers, "WORTH", 1)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([seed, *shape])
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


X = normal(T, B, H)


def reported(function: Callable[..., Any], *args: Any, loops: int) -> dict[str, Any]:
    """What is reported of the only scan of `function`, after checking its numbers."""
    jaxpr = flatten_calls(jax.make_jaxpr(function)(*args))

    def lowered(*values: Any) -> list[Any]:
        return evaluate(jaxpr, values, {"scan": lower_scan})

    leaves = jax.tree.leaves(args)
    got, want = quick_jit(lowered)(*leaves), jax.tree.leaves(quick_jit(function)(*args))
    for one, other in zip(got, want, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    made = [e for e in jax.make_jaxpr(lowered)(*leaves).eqns if e.primitive.name == "composite"]
    assert [e.params["name"] for e in made] == [RECURRENCE] * loops
    (scan,) = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "scan"]
    return describe_scan(scan)


def elman(number: int) -> Callable[[Any, Any], Any]:
    w, u = normal(H, H, seed=2 * number), normal(H, H, seed=2 * number + 1)
    return lambda v, h: jnp.tanh(v @ w + h @ u)


def stack(count: int, **options: Any) -> Callable[[Any], Any]:
    cells = [elman(n) for n in range(count)]

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            new = []
            for cell, h in zip(cells, states, strict=True):
                v = cell(v, h)
                new.append(v)
            return tuple(new), (v, new[0])

        return lax.scan(step, (jnp.ones((B, H)),) * count, x, **options)

    return program


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("count", [2, 3])
def test_a_stack_is_a_loop_for_each_cell(count: int, reverse: bool) -> None:
    found = reported(stack(count, reverse=reverse), X, loops=count)
    assert found["layers"].startswith(f"{count}: a product")
    assert found["products before the loop"] == found["products in the loop"] == count


def test_cells_that_join_their_input_and_state() -> None:
    matrices = [normal(2 * H, H, seed=n) for n in range(2)]

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            new = []
            for matrix, h in zip(matrices, states, strict=True):
                v = jnp.tanh(jnp.concatenate([v, h], -1) @ matrix)
                new.append(v)
            return tuple(new), v

        return lax.scan(step, (jnp.ones((B, H)), jnp.zeros((B, H))), x)

    found = reported(program, X, loops=2)
    assert found["layers"] == PAYS
    assert found["products before the loop"] == found["products in the loop"] == 2


def test_small_products_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layers, "WORTH", T * B * H * H + 1)
    found = reported(stack(2), X, loops=1)
    assert found["layers"] == "1: the products between its layers are too small to leave it"
    assert found["products in the loop"] == 3


def test_kernels_of_many_rows_keep_their_products() -> None:
    found = reported(stack(2), np.zeros((T, 1, H), np.float32), loops=2)
    assert found["layers"] == PAYS

    def many(x: Any) -> Any:
        first, second = elman(0), elman(1)

        def step(states: Any, v: Any) -> Any:
            h = first(v, states[0])
            return (h, second(h, states[1])), h

        return lax.scan(step, (jnp.ones((8, H)),) * 2, x)

    assert reported(many, normal(T, 8, H), loops=1)["layers"] == "1"


def test_the_output_of_the_step_before_feeds_forward_too() -> None:
    """The second layer reads the old state of the first, and what is made of it."""
    first, second = elman(0), elman(1)

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            a, b = states
            return (first(v, a), second(a * v, b)), (a + b, v)

        return lax.scan(step, (jnp.ones((B, H)), jnp.zeros((B, H))), x)

    assert reported(program, X, loops=2)["layers"] == PAYS


def test_states_that_feed_back_stay_together() -> None:
    first, second = elman(0), elman(1)

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            a, b = states
            a = first(v + b, a)
            return (a, second(a, b)), b

        return lax.scan(step, (jnp.ones((B, H)), jnp.zeros((B, H))), x)

    assert reported(program, X, loops=1)["layers"] == "1"


def test_masked_steps_stay_together() -> None:
    first, second = elman(0), elman(1)

    def program(x: Any, mask: Any) -> Any:
        def step(states: Any, inputs: Any) -> Any:
            (a, b), (v, keep) = states, inputs
            new_a = first(v, a)
            new_b = second(new_a, b)
            keep = keep[:, None]
            states = jnp.where(keep, new_a, a), jnp.where(keep, new_b, b)
            return states, states[1]

        return lax.scan(step, (jnp.ones((B, H)), jnp.zeros((B, H))), (x, mask))

    found = reported(program, X, np.arange(T * B).reshape(T, B) % 3 > 0, loops=1)
    assert found["layers"] == "1: steps that a mask leaves out are cheaper in one loop"


def test_states_without_a_product_between_them_share_a_loop() -> None:
    first = elman(0)

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            a, mean = states
            a = first(v, a)
            return (a, 0.9 * mean + 0.1 * a), mean

        return lax.scan(step, (jnp.ones((B, H)), jnp.zeros((B, H))), x)

    assert reported(program, X, loops=1)["layers"] == "1"


@pytest.mark.parametrize("steps", [0, 1])
def test_no_and_one_step(steps: int) -> None:
    assert reported(stack(2), X[:steps], loops=steps)["layers"] == "1"


def test_the_backward_pass_of_a_stack() -> None:
    program = stack(2)

    def loss(x: Any) -> Any:
        return jnp.sum(program(x)[1][0] ** 2)

    jaxpr = flatten_calls(jax.make_jaxpr(jax.grad(loss))(X))
    got = quick_jit(lambda x: evaluate(jaxpr, [x], {"scan": lower_scan}))(X)
    np.testing.assert_allclose(got[0], quick_jit(jax.grad(loss))(X), rtol=1e-5, atol=1e-6)
    scans = [e for e in jaxpr.jaxpr.eqns if e.primitive.name == "scan"]
    assert [describe_scan(e)["layers"] for e in scans] == [PAYS] * 2


OPS = {
    "product": lambda a, b, m: a @ m,
    "tanh": lambda a, b, m: jnp.tanh(a),
    "add": lambda a, b, m: a + b,
    "mul": lambda a, b, m: a * b,
    "split": lambda a, b, m: jnp.concatenate(jnp.split(a, 2, -1)[::-1], -1),
    "norm": lambda a, b, m: a - b.mean(-1, keepdims=True),
    "select": lambda a, b, m: jnp.where(b > 0, a, b),
}


@settings(max_examples=30, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(sorted(OPS)), st.integers(0, 9), st.integers(0, 9)),
        min_size=4,
        max_size=12,
    ),
    picks=st.lists(st.integers(0, 15), min_size=5, max_size=5),
    reverse=st.booleans(),
)
def test_random_states_keep_their_numbers(
    plan: list[tuple[str, int, int]], picks: list[int], reverse: bool
) -> None:
    matrix = normal(H, H)

    def program(x: Any) -> Any:
        def step(states: Any, v: Any) -> Any:
            values = [*states, v, v @ matrix]
            for name, a, b in plan:
                values.append(OPS[name](values[a % len(values)], values[-1 - b % 5], matrix))
            made = [values[-1 - k % len(values)] for k in picks]
            return tuple(jnp.tanh(m) for m in made[:3]), made[3:]

        return lax.scan(step, tuple(normal(B, H, seed=n) for n in range(3)), x, reverse=reverse)

    jaxpr = jax.make_jaxpr(program)(X)
    got = quick_jit(lambda x: evaluate(jaxpr, [x], {"scan": lower_scan}))(X)
    want = jax.tree.leaves(quick_jit(program)(X))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)
