"""Accumulators leave the loop with the numbers of the loop, and only where that pays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax

from recurrent_iree._capture._jaxpr import evaluate, flatten_calls
from recurrent_iree._capture._scan import describe_scan, lower_scan
from recurrent_iree._capture._streaming import quick_jit

T, B, D, H = 5, 2, 3, 4


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


X, U, START = normal(T, B, D), normal(H, H), normal(B, H)


def lowered(function: Callable[..., Any], *args: Any, tolerance: float = 1e-5) -> dict[str, Any]:
    """What is reported of the last scan of `function`, after checking its numbers."""
    jaxpr = flatten_calls(jax.make_jaxpr(function)(*args))
    got = quick_jit(lambda *v: evaluate(jaxpr, v, {"scan": lower_scan}))(*jax.tree.leaves(args))
    want = jax.tree.leaves(quick_jit(function)(*args))
    for one, other in zip(got, want, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        wide = np.asarray(one, np.float64), np.asarray(other, np.float64)
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)
    return describe_scan([e for e in jaxpr.jaxpr.eqns if e.primitive.name == "scan"][-1])


def accumulate(term: Callable[..., Any], first: Any, **options: Any) -> Callable[..., Any]:
    """A loop with a state, that adds ``term(h, x)`` to an accumulator."""

    def program(x: Any, first: Any = first) -> Any:
        def step(carry: Any, v: Any) -> Any:
            h, total = carry
            return (jnp.tanh(h @ U + v.sum()), term(total, h, v)), h

        return lax.scan(step, (START, first), x, **options)

    return program


# name: (the new accumulator, its start)
LEAVING: dict[str, tuple[Callable[..., Any], Any]] = {
    "outer product": (lambda a, h, v: a + v.T @ h, normal(D, H)),
    "transposed": (lambda a, h, v: (h.T @ v).T + a, normal(D, H)),
    "two terms": (lambda a, h, v: a + v.T @ h - 2.0 * (v.T @ (h * h)), normal(D, H)),
    "a sum over rows": (lambda a, h, v: a + h.sum(0), normal(H)),
    "padded": (lambda a, h, v: a + jnp.pad(h.sum(0)[None], ((1, 0), (0, 0))), normal(2, H)),
    "halves": (
        lambda a, h, v: a + jnp.concatenate([v.T @ h[:, :2], (v.T @ h)[:, 2:] / 3], 1),
        normal(D, H),
    ),
    "parts": (lambda a, h, v: a + sum(jnp.split(v.T @ h, 2, 1)), normal(D, 2)),
    "with a fixed matrix": (lambda a, h, v: a + h @ U, normal(B, H)),
    "with a constant": (lambda a, h, v: a + (v.T @ h + 1.5), normal(D, H)),
    "rows one by one": (lambda a, h, v: a + jnp.einsum("bd,bh->bdh", v, h), normal(B, D, H)),
    "three axes": (lambda a, h, v: a + jnp.einsum("bd,bh,h->dh", v, h, U[0]), normal(D, H)),
    "if": (lambda a, h, v: jnp.where(v[0, 0] > 0, a + v.T @ h, a), normal(D, H)),
    "unless": (lambda a, h, v: jnp.where(h[0, 0] > 0, a, a + v.T @ h), normal(D, H)),
    "if, twice": (
        lambda a, h, v: jnp.where(v[0, 0] > 0, jnp.where(v[0, 1] < 0, a + v.T @ h, a) + 1, a),
        normal(D, H),
    ),
    "a loss": (lambda a, h, v: a + jnp.sum((h - 1) ** 2), np.float32(2)),
    "what is stacked anyway": (lambda a, h, v: a + h, normal(B, H)),
}
STAYING: dict[str, tuple[Callable[..., Any], Any]] = {
    "element by element": (lambda a, h, v: a + jnp.sin(h), normal(B, H)),
    "a decay": (lambda a, h, v: 0.9 * a + v.T @ h, normal(D, H)),
    "subtracted from": (lambda a, h, v: v.T @ h - a, normal(D, H)),
    "used twice": (lambda a, h, v: a + v.T @ (h * a.sum()), normal(D, H)),
    "chosen by itself": (lambda a, h, v: jnp.where(a[0, 0] > 0, a + v.T @ h, a), normal(D, H)),
    "chosen row by row": (lambda a, h, v: jnp.where(v[0, :, None] > 0, a + v.T @ h, a),
                          normal(D, H)),
    "integers": (lambda a, h, v: a + jnp.sum(v > 0), np.int32(0)),
    "a huge intermediate": (
        lambda a, h, v: a + jnp.sin(h[:, :, None, None] * jnp.ones((50, 50))).sum((0, 1)),
        normal(50, 50),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEAVING)
def test_what_leaves(name: str) -> None:
    term, first = LEAVING[name]
    found = lowered(accumulate(term, first, reverse="two" in name), X)
    assert found["sums after the loop"] == 1
    assert found["products in the loop"] == 1


@pytest.mark.parametrize("name", STAYING)
def test_what_stays(name: str) -> None:
    term, first = STAYING[name]
    assert lowered(accumulate(term, first), X)["sums after the loop"] == 0


def test_an_accumulator_that_is_an_output_of_each_step_stays() -> None:
    def program(x: Any) -> Any:
        def step(total: Any, v: Any) -> Any:
            total = total + v.T @ v
            return total, total

        return lax.scan(step, jnp.zeros((D, D)), x)

    assert lowered(program, X)["sums after the loop"] == 0


@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps(steps: int) -> None:
    lowered(accumulate(*LEAVING["outer product"]), X[:steps])
    lowered(accumulate(*LEAVING["if"]), X[:steps])


def test_masked_steps_may_hold_anything() -> None:
    x = X.copy()
    x[2:] = np.nan
    x[3] = np.inf

    def program(x: Any) -> Any:
        def step(carry: Any, item: Any) -> Any:
            v, t = item
            total, rows = carry
            total = jnp.where(t < 2, total + v.T @ v, total)
            return (total, jnp.where(t < 2, rows + v.sum(0), rows)), None

        start = (jnp.zeros((D, D)), jnp.zeros(D))
        return lax.scan(step, start, (x, jnp.arange(T)))[0]

    assert lowered(program, x)["sums after the loop"] == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_is_summed_in_float32(dtype: str) -> None:
    x = jnp.asarray(X, dtype)

    def program(x: Any, wide: bool) -> Any:
        def step(total: Any, v: Any) -> Any:
            return total + (v.T @ v).astype(total.dtype), None

        return lax.scan(step, jnp.zeros((D, D), "float32" if wide else dtype), x)[0]

    exact = np.einsum("tbi,tbj->ij", *[np.asarray(x, np.float64)] * 2)
    for wide in (True, False):
        found = lowered(lambda x, wide=wide: program(x, wide), x, tolerance=0.05)
        assert found["sums after the loop"] == 1
    jaxpr = jax.make_jaxpr(lambda x: program(x, True))(x)
    (got,) = evaluate(jaxpr, [x], {"scan": lower_scan})
    np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


def test_products_of_what_the_loop_makes_stay_whole() -> None:
    """``[f(h), g(h)] @ U`` has no part that could leave the loop, so it stays one product."""

    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            both = jnp.concatenate([jnp.sin(h), jnp.cos(h)], 1)
            return jnp.tanh(both @ jnp.concatenate([U, U]) + v.sum()), None

        return lax.scan(step, START, x)[0]

    assert lowered(program, X)["products in the loop"] == 1


TERMS = st.sampled_from(
    [
        lambda p, h, v: v.T @ h,
        lambda p, h, v: (h.T @ v).T,
        lambda p, h, v: jnp.broadcast_to(h.sum(0), (D, H)),
        lambda p, h, v: p * (v.T @ h),
        lambda p, h, v: (v * 2).T @ jnp.sin(h) / (1 + p * p),
        lambda p, h, v: p,
        lambda p, h, v: v.T[:, :1] * h[:1],
        lambda p, h, v: -(v.T @ h)[::-1],
        lambda p, h, v: jnp.reshape((v.T @ h).T, (D, H)),
        lambda p, h, v: (v.sum(0)[:, None] @ h[:1]) @ U,
    ]
)
GUARDS = st.sampled_from(
    [None, lambda h, v: v[0, 0] > 0, lambda h, v: h.sum() < 0, lambda h, v: jnp.bool_(True)]
)


@settings(max_examples=12, deadline=None)
@given(
    terms=st.lists(st.tuples(TERMS, st.booleans(), GUARDS), min_size=1, max_size=4),
    steps=st.integers(0, 5),
    reverse=st.booleans(),
)
def test_any_sum_of_terms(terms: list[Any], steps: int, reverse: bool) -> None:
    def program(x: Any, p: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            h, total = carry
            for term, negative, guard in terms:
                value = term(p, h, v)
                new = total - value if negative else total + value
                total = new if guard is None else jnp.where(guard(h, v), new, total)
            return (jnp.tanh(h @ U + v.sum()), total), None

        return lax.scan(step, (START, normal(D, H)), x, reverse=reverse)[0]

    lowered(program, X[:steps], normal(D, H) * 0.5, tolerance=5e-5)


@settings(max_examples=5, deadline=None)
@given(reverse=st.booleans(), steps=st.integers(2, 6), seed=st.integers(0, 99))
def test_gradients_of_a_loop(reverse: bool, steps: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = {k: rng.standard_normal(s).astype(np.float32) * 0.5
               for k, s in {"W": (D, H), "U": (H, H), "b": (H,)}.items()}  # fmt: skip

    def loss(p: Any, x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh(v @ p["W"] + h @ p["U"] + p["b"])
            return h, h

        return jnp.sum(lax.scan(step, START, x, reverse=reverse)[1] ** 2)

    x = rng.standard_normal((steps, B, D)).astype(np.float32)
    found = lowered(jax.grad(loss, (0, 1)), weights, x, tolerance=5e-5)
    assert found["sums after the loop"] == 3
    assert found["products in the loop"] == 1


def test_carries_that_end_as_a_constant_or_as_they_began() -> None:
    def program(x: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            same, zero, total = carry
            return (same, jnp.zeros((D, D)), total + v.T @ v), None

        start = (x[0], x[0].T @ x[0], jnp.zeros((D, D)))
        return lax.scan(step, start, x)[0]

    assert lowered(program, X)["sums after the loop"] == 1


def test_checkpoints_are_inlined() -> None:
    def loss(U: Any, x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh(h @ U + v.sum())
            return h, h

        return jnp.sum(lax.scan(jax.checkpoint(step), START, x)[1])

    found = lowered(jax.grad(loss), U, X, tolerance=5e-5)
    assert found["sums after the loop"] == 1
    assert found["products before the loop"] == 1  # what is computed again, for all steps at once
    assert found["products in the loop"] == 1
