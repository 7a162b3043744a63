"""The forward loop of a derivative keeps the fewest bytes; gradients are what they were."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jax import lax

from recurrent_iree._capture._cut import cheapest_cut
from recurrent_iree._capture._jaxpr import evaluate, flatten_calls
from recurrent_iree._capture._keep_less import keep_less
from recurrent_iree._capture._program import Trace
from recurrent_iree._capture._streaming import quick_jit

T, B, H = 5, 2, 3
UNIT = 4 * B * H  # bytes of one value of all units


def normal(*shape: int) -> np.ndarray:
    return (0.5 * np.random.default_rng(sum(shape)).standard_normal(shape)).astype(np.float32)


X, W, U = normal(T, B, H), normal(H, 4 * H), normal(H, 4 * H + 1)[:, : 4 * H]
ZERO: Any = np.zeros((B, H), np.float32)


def kept(program: Callable[..., Any], *args: Any) -> list[tuple[int, int]]:
    """Bytes of a step before and after, once the numbers have been compared."""
    jaxpr = flatten_calls(jax.make_jaxpr(program)(*args))
    trace, found = keep_less(Trace(jaxpr, [], [None] * len(jaxpr.consts), None))
    assert len(trace.lifted) == len(trace.jaxpr.consts)
    got = quick_jit(lambda *v: evaluate(trace.jaxpr, v, {}))(*args)
    want = jax.tree.leaves(quick_jit(program)(*args))
    for one, other in zip(got, want, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        most = max(1.0, np.abs(np.asarray(other, np.float64)).max(initial=0))
        np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-7 * most)  # sums cancel
    return found


def gradient(loss: Callable[..., Any], *numbers: int) -> Callable[..., Any]:
    return jax.grad(loss, numbers or (0, 1, 2))


def lstm(x: Any, w: Any, u: Any) -> Any:
    def step(carry: Any, v: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(v @ w + h @ u, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return (lax.scan(step, (ZERO, ZERO), x)[1] ** 2).mean()


def test_of_an_lstm_seven_values_are_kept() -> None:
    """Four gates, the old states, and the hyperbolic tangent of the new one."""
    ((before, after),) = kept(gradient(lstm), X, W, U)
    assert after == 7 * UNIT < before


def gru(x: Any, w: Any, u: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        z, r = (jax.nn.sigmoid(v @ w[:, k] + h @ u[:, k]) for k in (slice(3), slice(3, 6)))
        g = jnp.tanh(v @ w[:, 6:9] + (r * h) @ u[:, 6:9])
        h = (1 - z) * h + z * g
        return h, h

    return lax.scan(step, ZERO, x)[1].sum()


def masked(x: Any, w: Any, u: Any) -> Any:
    def step(carry: Any, v: Any) -> Any:
        h, n = carry
        new = jnp.tanh(v @ w[:, :3] + h @ u[:, :3]) ** 2
        h = jnp.where(n < 3, new, h / (1 + jnp.abs(new)))
        return (h, n + 1), None

    return (lax.scan(step, (ZERO, jnp.int32(0)), x, reverse=True)[0][0] ** 3).sum()


def two_layers(x: Any, w: Any, u: Any) -> Any:
    def layer(x: Any, k: int) -> Any:
        def step(h: Any, v: Any) -> Any:
            s = jax.nn.sigmoid(v @ w[:, k : k + 3] + h @ u[:, k : k + 3])
            return s * (1 - s) * h + s, s

        return lax.scan(step, ZERO, x)[1]

    return layer(layer(x, 0), 3).sum()


def outer_product(x: Any, w: Any, u: Any) -> Any:
    """The output of the loop is what the backward loop needs, too."""

    def step(h: Any, v: Any) -> Any:
        h = jnp.exp(-jnp.square(v * h + x[0])) * w[0, 0] + h @ u[:, :3]
        return h, (h, jnp.float32(2))

    return sum(y.sum() for y in lax.scan(step, ZERO, x)[1])


PROGRAMS: dict[str, Callable[..., Any]] = {
    "lstm": lstm,
    "gru": gru,
    "masked": masked,
    "two layers": two_layers,
    "outer product": outer_product,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    loss = PROGRAMS[name]
    found = kept(jax.value_and_grad(loss, (0, 1, 2)), X, W, U)
    assert found and all(after < before for before, after in found)


def test_second_derivatives() -> None:
    """The loops of a first derivative are forward loops of the second."""
    kept(gradient(lambda *a: sum((g**2).sum() for g in gradient(gru)(*a))), X, W, U)


def test_a_loop_that_keeps_only_what_it_must_stays_as_it_is() -> None:
    def loss(x: Any, w: Any) -> Any:
        return lax.scan(lambda h, v: (jnp.exp(h @ w[:, :3] + v), h), ZERO, x)[1].sum()

    program = gradient(loss, 0, 1)
    jaxpr = flatten_calls(jax.make_jaxpr(program)(X, W))
    trace = Trace(jaxpr, [], [None] * len(jaxpr.consts), None)
    assert keep_less(trace) == (trace, [])


VALUES = st.deferred(lambda: LEAVES | TREES)
LEAVES = st.sampled_from(["h", "v", "h @ u", "v @ w", "c", "2.0", "old"])
TREES = st.one_of(
    st.tuples(st.sampled_from(["mul", "add", "sub", "max", "where"]), VALUES, VALUES),
    st.tuples(st.sampled_from(["tanh", "sigmoid", "square", "neg", "flip", "over"]), VALUES),
)
ONE: dict[str, Callable[[Any], Any]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "square": jnp.square,
    "neg": lambda a: -a,
    "flip": lambda a: jnp.concatenate([a[:, 1:], a[:, :1]], 1),
    "over": lambda a: a / (1.5 + jnp.abs(a)),
}
TWO: dict[str, Callable[[Any, Any], Any]] = {
    "mul": jnp.multiply,
    "add": jnp.add,
    "sub": jnp.subtract,
    "max": jnp.maximum,
    "where": lambda a, b: jnp.where(a > 0.1, a, b),
}


def computed(tree: Any, env: dict[str, Any]) -> Any:
    if isinstance(tree, str):
        return env[tree]
    values = [computed(part, env) for part in tree[1:]]
    return ONE[tree[0]](*values) if len(values) == 1 else TWO[tree[0]](*values)


def check_cell(trees: Any) -> None:
    def loss(x: Any, w: Any, u: Any) -> Any:
        def step(carry: Any, v: Any) -> Any:
            h, c = carry
            env = {"h": h, "v": v, "c": c, "old": c - h, "h @ u": h @ u[:, :3]}
            env |= {"v @ w": v @ w[:, :3], "2.0": jnp.full((B, H), 2.0)}
            h, c, y = (jnp.sin(computed(tree, env)) for tree in trees)
            return (h, c), y

        carry, y = lax.scan(step, (x[0], x[1]), x)
        return y.sum() + sum(part.sum() for part in carry)

    found = kept(gradient(loss), X, W, U)
    assert all(after < before for before, after in found)


@settings(max_examples=3, deadline=None)
@given(st.tuples(VALUES, VALUES, VALUES))
def test_any_cell(trees: Any) -> None:
    check_cell(trees)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.tuples(VALUES, VALUES, VALUES))
def test_sweep_of_cells(trees: Any) -> None:
    check_cell(trees)


GRAPHS = st.integers(2, 7).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.none() | st.lists(st.integers(0, n), max_size=3), min_size=n, max_size=n),
        st.lists(st.integers(1, 5), min_size=n, max_size=n),
        st.sets(st.integers(0, n - 1), min_size=1, max_size=3),
    )
)


@settings(max_examples=100, deadline=None)
@given(GRAPHS)
def test_no_set_is_cheaper(graph: Any) -> None:
    count, parts, costs, wanted = graph
    made_of = {i: [p for p in own if p < i] for i, own in enumerate(parts) if own is not None}

    def follows(node: int, stored: set[int]) -> bool:
        made = node in made_of and all(follows(p, stored) for p in made_of[node])
        return node in stored or made

    def cost(nodes: Any) -> int:
        return sum(costs[i] for i in nodes)

    sets = [set(s) for k in range(count + 1) for s in itertools.combinations(range(count), k)]
    enough = [s for s in sets if all(follows(i, s) for i in wanted)]
    found = cheapest_cut(made_of, lambda i: costs[i], sorted(wanted))
    assert set(found) in enough
    assert cost(found) == min(map(cost, enough))
