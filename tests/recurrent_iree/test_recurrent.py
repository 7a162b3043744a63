"""`Recurrent`: what each argument means, its gradient, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

RANDOM = np.random.default_rng(3)
THETA = {"w": jnp.asarray(RANDOM.normal(size=(2, 2)), jnp.float32)}
STATE = {"h": jnp.asarray(RANDOM.normal(size=(3, 2)), jnp.float32)}
INPUTS = {"x": jnp.asarray(RANDOM.normal(size=(4, 3, 2)), jnp.float32)}


def cell(theta, state, inputs):
    h = jnp.tanh(inputs["x"] + state["h"] @ theta["w"])
    return {"h": h}, {"a": h}


def plain(theta, state, inputs, steps=4):
    rows = []
    for t in range(steps):
        state, _ = cell(theta, state, jax.tree.map(lambda leaf: leaf[t], inputs))  # noqa: B023
        rows.append(state["h"])
    rows += [jnp.zeros_like(state["h"])] * (4 - steps)
    return {"h": jnp.stack(rows)}, state


def loss(run, *arguments):
    acc, final = run(*arguments)[:2]
    return jnp.sin(3 * acc["h"]).sum() + (final["h"] ** 2).sum()


def gradients(run):
    return jax.grad(partial(loss, run), (0, 1, 2))(THETA, STATE, INPUTS)


def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), got, want)


@pytest.mark.parametrize("steps", [0, 1, 3, 4])
@pytest.mark.parametrize("use_tpu", [False, True])
@pytest.mark.parametrize("form", [int, np.int32, jnp.int32, "traced"])
def test_max_input_length(steps, use_tpu, form) -> None:
    def run(*arguments, length=None):
        length = steps if length is None else length
        return ri.Recurrent(*arguments, cell, max_input_length=length, use_tpu=use_tpu)

    def both(length):
        limited = partial(run, length=length)
        return limited(THETA, STATE, INPUTS), gradients(limited)

    got = jax.jit(both)(steps) if form == "traced" else both(form(steps))
    close(got, (plain(THETA, STATE, INPUTS, steps), gradients(partial(plain, steps=steps))))
    assert not np.any(got[0][0]["h"][steps:]) and not np.any(got[1][2]["x"][steps:])


def test_a_traced_length_beyond_the_inputs_is_their_length() -> None:
    run = jax.jit(lambda n: ri.Recurrent(THETA, STATE, INPUTS, cell, max_input_length=n))
    close(run(99), plain(THETA, STATE, INPUTS))


def test_inputs_may_be_empty_with_a_length() -> None:
    acc, final = ri.Recurrent(
        [], {"n": jnp.int32(5)}, {}, lambda w, s, x: ({"n": s["n"] + 1}, []), max_input_length=3
    )
    assert acc["n"].tolist() == [6, 7, 8] and int(final["n"]) == 8


def test_cell_grad_decides_the_gradient_and_gets_the_extras_of_its_step() -> None:
    seen = []

    def cell_grad(theta, state, inputs, extras, d):
        seen.append(jax.tree.map(jnp.shape, (theta, state, inputs, extras, d)))
        g = d["h"] * (1 - extras["a"] ** 2)
        return {"w": 7 * state["h"].T @ g}, {"h": g @ theta["w"].T}, None

    want = gradients(plain)
    got = gradients(lambda *a: ri.Recurrent(*a, cell, cell_grad))
    close(got[0]["w"], 7 * want[0]["w"])
    close(got[1], want[1])
    assert not got[2]["x"].any()
    shapes = ({"w": (2, 2)}, {"h": (3, 2)}, {"x": (3, 2)}, {"a": (3, 2)}, {"h": (3, 2)})
    assert seen[0] == shapes


def test_extras_are_a_template_with_zero_gradient() -> None:
    def run(extras):
        return loss(lambda *a: ri.Recurrent(*a, cell, extras=extras), THETA, STATE, INPUTS)

    assert not jax.grad(run)({"a": jnp.ones((3, 2))})["a"].any()


def test_integer_and_bool_leaves_get_zeros_of_their_dtype() -> None:
    def step(theta, state, inputs):
        v = jnp.where(inputs["m"], state["v"] * theta["w"] * theta["k"], state["v"])
        return {"v": v, "n": state["n"] + 1, "b": ~state["b"]}, ()

    def total(theta, state, inputs):
        return ri.Recurrent(theta, state, inputs, step)[1]["v"]

    arguments = (
        {"w": jnp.float32(3), "k": jnp.int32(2)},
        {"v": jnp.float32(1), "n": jnp.int32(0), "b": jnp.array(False)},
        {"m": jnp.array([True, False, True])},
    )
    value, got = ri.value_and_grad(total, (0, 1, 2))(*arguments)
    assert float(value) == 36 and float(got[0]["w"]) == 24 and float(got[1]["v"]) == 36
    rest = (got[0]["k"], got[1]["n"], got[1]["b"], got[2]["m"])
    assert [leaf.dtype.name for leaf in rest] == ["int32", "int32", "bool", "bool"]
    assert not any(leaf.any() for leaf in rest)
    assert ri.grad(lambda n: (jnp.float32(n), n), has_aux=True)(jnp.int32(4)) == (0, 4)


def test_higher_order_gradients() -> None:
    def curvature(run):
        def norm(*arguments):
            first = jax.grad(partial(loss, run), (0, 1, 2))(*arguments)
            return sum((leaf**2).sum() for leaf in jax.tree.leaves(first))

        return jax.grad(norm, (0, 1, 2))(THETA, STATE, INPUTS)

    close(curvature(lambda *a: ri.Recurrent(*a, cell)), curvature(plain))
    length = jnp.int32(3)
    close(
        curvature(lambda *a: ri.Recurrent(*a, cell, max_input_length=length)),
        curvature(partial(plain, steps=3)),
    )
    with pytest.raises(ArgumentError, match="no second derivative, because it has a `cell_grad`"):
        curvature(lambda *a: ri.Recurrent(*a, cell, lambda *b: (None, None, None)))
    with pytest.raises(ArgumentError, match="no second derivative, because use_tpu=True"):
        curvature(lambda *a: ri.Recurrent(*a, cell, max_input_length=length, use_tpu=True))


def test_higher_derivatives_equal_those_of_a_scan() -> None:
    def by_scan(w):
        step = lambda s, x: (cell({"w": w}, s, x)[0],) * 2  # noqa: E731
        return jax.lax.scan(step, STATE, INPUTS)[1]["h"].sum()

    def by_recurrent(w, **more):
        step = (lambda *a, rng: cell(*a)) if more else cell
        return ri.Recurrent({"w": w}, STATE, INPUTS, step, **more)[0]["h"].sum()

    want = jax.hessian(by_scan)(THETA["w"])
    close(jax.hessian(by_recurrent)(THETA["w"]), want)
    close(jax.jacrev(jax.jacrev(by_recurrent))(THETA["w"]), want)
    keyed = lambda w: by_recurrent(w, rng=jax.random.key(0))  # noqa: E731
    close(jax.jacrev(jax.grad(keyed))(THETA["w"]), want)
    third = lambda f: jax.grad(lambda w: (jax.hessian(f)(w) ** 2).sum())(THETA["w"])  # noqa: E731
    close(third(by_recurrent), third(by_scan))


def test_backward_keeps_states_and_not_the_intermediates_of_the_cell() -> None:
    def wide(theta, state, x):
        h = state
        for _ in range(20):
            h = jnp.tanh(h * theta)
        return h + x, ()

    def by_scan(theta, state, x):
        return jax.lax.scan(lambda s, x: (wide(theta, s, x)[0],) * 2, state, x)[0].sum()

    def by_recurrent(theta, state, x):
        return ri.Recurrent(theta, state, x, wide)[1].sum()

    arguments = (jnp.ones(64), jnp.ones(64), jnp.ones((100, 64)))
    memory = [
        jax.jit(jax.grad(f)).lower(*arguments).compile().memory_analysis().temp_size_in_bytes
        for f in (by_recurrent, by_scan)
    ]
    states = 100 * 64 * 4
    assert memory[0] < 1.5 * states < 15 * states < memory[1]


@pytest.mark.parametrize("use_tpu", [False, True])
def test_stop_fn_ends_the_loop_and_returns_the_number_of_steps(use_tpu) -> None:
    def run(*arguments):
        stop = lambda t, theta, state: (t >= 2) & (state["h"] < 9).all()  # noqa: E731
        return ri.Recurrent(*arguments, cell, stop_fn=stop, use_tpu=use_tpu)

    acc, final, steps = run(THETA, STATE, INPUTS)
    assert int(steps) == 2
    close((acc, final), plain(THETA, STATE, INPUTS, 2))
    close(gradients(run), gradients(partial(plain, steps=2)))


def test_return_extras() -> None:
    acc, _, extras = ri.Recurrent(
        THETA, STATE, INPUTS, cell, max_input_length=3, return_extras=True
    )
    close(extras["a"], acc["h"])


def test_accumulators_are_differentiable_sums() -> None:
    def step(theta, state, inputs):
        state, extras = cell(theta, state, inputs)
        return state, extras, {"loss": (state["h"] ** 2).sum(), "steps": jnp.int32(1)}

    start = {"loss": jnp.float32(1), "steps": jnp.int32(0)}

    def run(*arguments, start=start):
        return ri.Recurrent(*arguments, step, accumulators=start)[2]

    total = run(THETA, STATE, INPUTS)
    want = lambda *a: (plain(*a)[0]["h"] ** 2).sum()  # noqa: E731
    assert int(total["steps"]) == 4
    close(total["loss"], 1 + want(THETA, STATE, INPUTS))
    got = jax.grad(lambda *a: run(*a)["loss"], (0, 1, 2))(THETA, STATE, INPUTS)
    close(got, jax.grad(want, (0, 1, 2))(THETA, STATE, INPUTS))


def test_the_rng_key_of_a_step_is_the_same_when_recomputed() -> None:
    key = jax.random.key(5)

    def noisy(theta, state, inputs, rng):
        state, extras = cell(theta, state, inputs)
        return {"h": state["h"] * jax.random.bernoulli(rng, 0.5, state["h"].shape)}, extras

    def by_hand(theta, state, inputs):
        rows = []
        for t in range(4):
            x = {"x": inputs["x"][t]}
            state, _ = noisy(theta, state, x, jax.random.fold_in(key, t))
            rows.append(state["h"])
        return {"h": jnp.stack(rows)}, state

    run = lambda *a: ri.Recurrent(*a, noisy, rng=key)  # noqa: E731
    close(run(THETA, STATE, INPUTS), by_hand(THETA, STATE, INPUTS))
    close(gradients(run), gradients(by_hand))


def test_vmap_checkpoint_and_jit() -> None:
    run = lambda *a: ri.Recurrent(*a, cell)  # noqa: E731
    close(gradients(jax.checkpoint(run)), gradients(plain))
    close(jax.jit(lambda: gradients(run))(), gradients(plain))
    states = {"h": jnp.stack([STATE["h"], 2 * STATE["h"]])}
    got = jax.vmap(run, (None, 0, None))(THETA, states, INPUTS)
    close(got[1]["h"][1], plain(THETA, {"h": 2 * STATE["h"]}, INPUTS)[1]["h"])


class Model:
    """A cell function as a method that reads an attribute."""

    def __init__(self, weight):
        self.weight = {"kernel": weight}

    def step(self, theta, state, inputs):
        return {"h": state["h"] @ self.weight["kernel"] + inputs["x"]}, {}


def test_closing_over_traced_arrays_is_refused_by_name() -> None:
    def by_closure(weight):
        def step(theta, state, inputs):
            return {"h": state["h"] @ weight}, {}

        return ri.Recurrent({}, STATE, INPUTS, step)[1]["h"].sum()

    def by_attribute(weight):
        return ri.Recurrent({}, STATE, INPUTS, Model(weight).step)[1]["h"].sum()

    def by_partial(weight):
        step = partial(lambda w, theta, state, inputs: ({"h": state["h"] @ w}, {}), weight)
        return ri.Recurrent({}, STATE, INPUTS, step)[1]["h"].sum()

    for wrap in (jax.jit, jax.grad):
        with pytest.raises(ArgumentError, match=r"`cell_fn` closes over .*: `weight` \(float32\[2"):
            wrap(by_closure)(THETA["w"])
        with pytest.raises(ArgumentError, match=r"`self.weight\['kernel'\]` \(float32\[2,2\]\)"):
            wrap(by_attribute)(THETA["w"])
        with pytest.raises(ArgumentError, match=r"`argument 0` \(float32\[2,2\]\)"):
            wrap(by_partial)(THETA["w"])


def test_a_concrete_array_is_a_constant() -> None:
    weight = THETA["w"]
    run = lambda s: ri.Recurrent({}, s, INPUTS, Model(weight).step)[1]["h"].sum()  # noqa: E731
    want = jnp.ones((3, 2)) @ jnp.linalg.matrix_power(weight, 4).T
    close(jax.grad(run)(STATE)["h"], want)


def returns(state, extras=None):
    return lambda *a: (state, {} if extras is None else extras)


WIDE = {"h": jnp.zeros((3, 3))}
REFUSED = [
    (dict(cell_fn=3), ArgumentTypeError, "`cell_fn` must be a function, got int"),
    (dict(cell_grad="no"), ArgumentTypeError, "`cell_grad` must be a function, got str"),
    (dict(stop_fn=1), ArgumentTypeError, "`stop_fn` must be a function, got int"),
    (dict(stop_fn=lambda t, w, s: s["h"] > 0), ArgumentError, r"one bool, got bool\[3, 2\]"),
    (dict(inputs={"x": jnp.ones(4), "y": jnp.ones(5)}), ArgumentError, r"`inputs\['y'\]` is fl"),
    (dict(inputs={"x": jnp.float32(1)}), ArgumentError, "need the same time length in dim"),
    (dict(inputs={}), ArgumentError, "its time length is unknown: give `max_input_length`"),
    (dict(max_input_length=5), ArgumentError, "`max_input_length` is 5, but .* have 4 time"),
    (dict(max_input_length=-1), ArgumentError, "`max_input_length` is -1.* expected 0 to 4"),
    (dict(max_input_length=jnp.int32(9)), ArgumentError, "`max_input_length` is 9"),
    (dict(max_input_length=2.0), ArgumentTypeError, "`max_input_length` must be an integer, got"),
    (
        dict(max_input_length="all"),
        ArgumentTypeError,
        "`max_input_length` is not an array: got str",
    ),
    (dict(max_input_length=True), ArgumentTypeError, "must be an integer, got bool"),
    (dict(max_input_length=jnp.array([1, 2])), ArgumentError, "one scalar for the whole batch"),
    (dict(extras={"b": jnp.ones(2)}), ArgumentError, "extras with another structure than `extras"),
    (dict(extras={"a": jnp.ones(2)}), ArgumentError, r"leaf \['a'\] is float32\[3, 2\], expected"),
    (dict(cell_fn=lambda *a: a[1]), ArgumentTypeError, r"must return 2 values \(state1, extras\)"),
    (dict(accumulators=jnp.ones(2)), ArgumentTypeError, "must return 3 values"),
    (dict(cell_fn=returns({"g": STATE["h"]})), ArgumentError, "another structure than `state0`"),
    (dict(cell_fn=returns(WIDE)), ArgumentError, r"is float32\[3, 3\], expected float32\[3, 2\]"),
    (dict(cell_grad=lambda *a: None), ArgumentTypeError, "`cell_grad` must return 3 values"),
    (dict(cell_grad=lambda *a: ({}, None, None)), ArgumentError, "dtheta with another structure"),
    (dict(cell_grad=lambda *a: (None, WIDE, None)), ArgumentError, r"of shape \(3, 3\), expected"),
    (dict(theta={"w": "text"}), ArgumentTypeError, r"`theta\['w'\]` is not an array: got str"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_refused_before_any_computation(change, error, message) -> None:
    arguments = {"theta": THETA, "state0": STATE, "inputs": INPUTS, "cell_fn": cell, **change}
    with pytest.raises(error, match=message):
        ri.Recurrent(**arguments)
