"""`rnn` and `rnn_r1_1`: what each argument means, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import recurrent_iree as ri
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

X = jnp.arange(12.0).reshape(2, 3, 2)
H = jnp.ones((2, 2))
MASK = jnp.array([[0, 1, 0], [1, 0, 1]])


def add(x, states):
    return x + states[0], [x + states[0]]


def test_alias_arguments_are_positional_in_seed_order() -> None:
    got = ri.rnn(add, X, [H], False, None, None, False, None, False, False)
    assert jax.tree.structure(got) == jax.tree.structure((0, 0, [0]))
    np.testing.assert_array_equal(got[0], H + X.sum(1))
    np.testing.assert_array_equal(got[1], H[:, None] + X.cumsum(1))


def test_step_function_gets_states_then_constants_in_a_list() -> None:
    seen = []

    def step(x, states):
        seen.append((type(states), [s.shape for s in states]))
        return x, [states[0]]

    ri.rnn(step, X, (H,), constants=[jnp.zeros(5), jnp.zeros((2, 7))])
    assert set(map(str, seen)) == {str((list, [(2, 2), (5,), (2, 7)]))}


def test_one_bare_state_is_a_list_of_one() -> None:
    _, _, states = ri.rnn(add, X, H)
    assert len(states) == 1


@pytest.mark.parametrize("unroll", [False, True, 2])
def test_one_time_step(unroll) -> None:
    last, outputs, _ = ri.rnn(add, X[:, :1], [H], unroll=unroll)
    np.testing.assert_array_equal(outputs[:, 0], last)


@pytest.mark.parametrize("unroll", [False, True])
def test_no_time_steps(unroll) -> None:
    last, outputs, states = ri.rnn(add, X[:, :0], [H], unroll=unroll, mask=MASK[:, :0])
    assert outputs.shape == (2, 0, 2) and not last.any()
    np.testing.assert_array_equal(states[0], H)


def test_go_backwards_with_lengths_below_time_runs_the_valid_steps_only() -> None:
    lengths = jnp.array([1, 2])
    _, _, (state,) = ri.rnn(add, X, [H], go_backwards=True, input_length=lengths)
    np.testing.assert_array_equal(state, [H[0] + X[0, 0], H[1] + X[1, :2].sum(0)])


def test_reset_returns_a_row_to_reset_states() -> None:
    reset = jnp.array([[0, 1, 0], [0, 0, 0]])
    fresh = [jnp.full((2, 2), 50.0)]
    _, outputs, _ = ri.rnn(add, X, [H], reset=reset, reset_states=fresh)
    np.testing.assert_array_equal(outputs[0], [1 + X[0, 0], 50 + X[0, 1], 50 + X[0, 1] + X[0, 2]])
    np.testing.assert_array_equal(outputs[1], 1 + X[1].cumsum(0))


def test_traced_length_and_mask_under_jit_and_vmap() -> None:
    lengths = jnp.array([[1, 3], [2, 0]])
    run = jax.jit(jax.vmap(lambda n: ri.rnn(add, X, [H], input_length=n)))
    for row, got in zip(lengths, run(lengths)[1], strict=True):
        np.testing.assert_array_equal(got, ri.rnn(add, X, [H], input_length=row)[1])


def test_unknown_time_works_in_a_loop_and_is_refused_unrolled() -> None:
    (time,) = export.symbolic_shape("time")
    spec = jax.ShapeDtypeStruct((2, time, 2), jnp.float32)
    exported = export.export(jax.jit(lambda x: ri.rnn(add, x, [H])[1]))(spec)
    np.testing.assert_array_equal(exported.call(X), ri.rnn(add, X, [H])[1])
    with pytest.raises(ValueError, match=r"`unroll=True` needs a fixed number of time steps.*time"):
        export.export(jax.jit(lambda x: ri.rnn(add, x, [H], unroll=True)[1]))(spec)


def test_a_mask_without_states() -> None:
    last, outputs, states = ri.rnn(lambda x, s: (2 * x, []), X, [], mask=MASK)
    want = np.array(2 * X)
    want[0, 0], want[0, 2], want[1, 1] = 0, want[0, 1], want[1, 0]
    np.testing.assert_array_equal(outputs, want)
    np.testing.assert_array_equal(last, want[:, -1])
    assert states == []


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_r1_1_arguments(go_backwards, unroll) -> None:
    def step(x, states):
        h, constant = states
        return x + h + constant, [x + h + constant]

    last, outputs, states = ri.rnn_r1_1(step, X, [H], go_backwards, None, [2 * H], unroll)
    x = X[:, ::-1] if go_backwards else X
    want = H[:, None] + (x + 2 * H[:, None]).cumsum(1)
    np.testing.assert_array_equal(outputs, want)
    np.testing.assert_array_equal(last, want[:, -1])
    np.testing.assert_array_equal(states[0], want[:, -1])


def test_r1_1_loop_emits_the_first_state_and_unrolled_the_previous_output() -> None:
    _, loop, _ = ri.rnn_r1_1(add, X, [H], mask=MASK)
    _, unrolled, _ = ri.rnn_r1_1(add, X, [H], mask=MASK, unroll=True)
    np.testing.assert_array_equal(loop[0, 0], H[0])
    np.testing.assert_array_equal(unrolled[0, 0], [0, 0])
    np.testing.assert_array_equal(loop[:, 1:], unrolled[:, 1:])


def test_r1_1_is_a_named_rule_of_rnn() -> None:
    for unroll in (False, True):
        got = ri.rnn(add, X, [H], mask=MASK, masked_output="first_state", unroll=unroll)
        np.testing.assert_array_equal(got[1], ri.rnn_r1_1(add, X, [H], mask=MASK)[1])


REFUSED = [
    (dict(inputs=X[:, 0]), ArgumentError, r"`inputs` must have rank at least 3.*float32\[2, 2\]"),
    (dict(inputs=(X, X[:, :2])), ArgumentError, r"`inputs\[1\]` is float32\[2, 2, 2\] but"),
    (dict(inputs=()), ArgumentError, "`inputs` holds no array"),
    (dict(inputs="text"), ArgumentTypeError, "`inputs` is not an array: got str"),
    (dict(initial_states=[H[:1]]), ArgumentError, r"`initial_states\[0\]` is float32\[1, 2\], but"),
    (dict(initial_states=3), ArgumentTypeError, "`initial_states` must be a list or tuple"),
    (dict(initial_states=[jnp.ones(())], mask=MASK), ArgumentError, "expected the batch in dim"),
    (dict(initial_states=[H.astype(int)]), ArgumentError, r"another shape or dtype than `initial_"),
    (dict(step_function=None), ArgumentTypeError, "`step_function` must be a function, got NoneTy"),
    (
        dict(constants=3),
        ArgumentTypeError,
        "`constants` must be a list or tuple of arrays, got int",
    ),
    (dict(mask=[["a", "b", "c"]] * 2), ArgumentTypeError, "`mask` is not an array: got ndarray"),
    (dict(mask=MASK.T), ArgumentError, r"`mask` has shape \(3, 2\), expected \(batch, time\) ="),
    (dict(mask=MASK.T, time_major=True), ArgumentError, r"expected \(time, batch\)"),
    (dict(reset=MASK[:, :1]), ArgumentError, r"`reset` has shape \(2, 1\)"),
    (dict(reset_states=[H]), ArgumentError, "`reset_states` was given without `reset`"),
    (dict(reset=MASK, reset_states=[H, H]), ArgumentError, "`reset_states` was given with another"),
    (dict(input_length=jnp.array([1, 4])), ArgumentError, "`input_length` goes from 1 to 4"),
    (dict(input_length=-1), ArgumentError, "`input_length` goes from -1 to -1"),
    (dict(input_length=jnp.array([1])), ArgumentError, r"`input_length` has shape \(1,\)"),
    (dict(input_length=jnp.array([1.0, 2.0])), ArgumentTypeError, "`input_length` must hold int"),
    (dict(unroll=0), ArgumentError, "`unroll` must be at least 1, got 0"),
    (dict(unroll="yes"), ArgumentTypeError, "`unroll` must be a bool or a positive int, got str"),
    (dict(masked_output="last"), ArgumentError, r"`masked_output` must be one of .*got 'last'"),
    (
        dict(masked_output="first_state", zero_output_for_mask=True),
        ArgumentError,
        "contradict each other",
    ),
    (dict(initial_output=H[:1]), ArgumentError, "`initial_output` was given with another shape"),
    (dict(step_function=lambda x, s: x), ArgumentTypeError, r"must return a pair \(output, new_st"),
    (dict(step_function=lambda x, s: (x, x)), ArgumentTypeError, "new states as a list or tuple"),
    (dict(step_function=lambda x, s: (x, [])), ArgumentError, "another structure than `initial_"),
    (dict(step_function=lambda x, s: (x[:1], s)), ArgumentError, "expected the batch size 2 in"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_refused_before_any_computation(change, error, message) -> None:
    arguments = {"step_function": add, "inputs": X, "initial_states": [H], **change}
    with pytest.raises(error, match=message):
        ri.rnn(**arguments)


def test_r1_1_refuses_what_its_page_names() -> None:
    with pytest.raises(ValueError, match="`mask` was given, but `initial_states` is empty"):
        ri.rnn_r1_1(lambda x, s: (x, []), X, [], mask=MASK)
    with pytest.raises(ValueError, match=r"`initial_states\[0\]` is float32\[2, 1\], but the out"):
        ri.rnn_r1_1(lambda x, s: (x, s), X, [H[:, :1]], mask=MASK)
    with pytest.raises(TypeError, match="`unroll` must be a bool, got int"):
        ri.rnn_r1_1(add, X, [H], unroll=2)
    with pytest.raises(ValueError, match="`initial_states` is empty: this masked-output rule"):
        ri.rnn(lambda x, s: (x, []), X, [], mask=MASK, masked_output="first_state")
