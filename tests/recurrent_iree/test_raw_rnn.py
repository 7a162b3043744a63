"""`raw_rnn` and `dynamic_rnn`: the protocol of the loop function, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


class Sum:
    """Adds its inputs up."""

    state_size = output_size = 2

    def __call__(self, x, s):
        return x + s, x + s


class Cell:
    """Any function as a cell."""

    def __init__(self, function, state_size=2, output_size=2):
        self.function, self.state_size, self.output_size = function, state_size, output_size

    def __call__(self, x, s):
        return self.function(x, s)


LENGTHS = jnp.array([3, 1])
ZEROS = jnp.zeros((2, 2))


def loop(lengths=LENGTHS, first=None, start=ZEROS, state0=None, **change):
    """A loop function whose results at time 0 or later can be replaced by name."""

    def loop_fn(time, output, state, loop_state):
        initial = output is None
        result = {
            "finished": time >= lengths,
            "next_input": jnp.ones((2, 2)),
            "state": start if initial else state,
            "emit": first if initial else output,
            "loop_state": state0 if initial else loop_state,
        }
        for name, value in change.items():
            when, _, what = name.partition("_")
            if initial == (when == "initial"):
                result[what] = value
        return tuple(result.values())

    return loop_fn


def test_calls_and_arguments_of_loop_fn() -> None:
    seen = []

    def loop_fn(time, output, state, loop_state):
        assert time.dtype == jnp.int32 and time.shape == ()
        jax.debug.callback(lambda t: seen.append(int(t)), time)
        if len(seen) == 0:
            assert output is None and state is None and loop_state is None
        return loop()(time, output, state, loop_state)

    jax.block_until_ready(ri.raw_rnn(Sum(), loop_fn))
    jax.effects_barrier()
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("max_steps", [None, 3, 7])
def test_finished_rows_emit_zeros_and_keep_their_state(max_steps) -> None:
    emit_ta, state, loop_state = ri.raw_rnn(Sum(), loop(), max_steps=max_steps)
    assert emit_ta.stack()[:, :, 0].tolist() == [[1, 1], [2, 0], [3, 0]]
    assert int(emit_ta.size()) == 3 and emit_ta.read(1).tolist() == [[2, 2], [0, 0]]
    assert state[:, 0].tolist() == [3, 1] and loop_state is None


def test_max_steps_is_required_under_jit() -> None:
    with pytest.raises(ArgumentError, match="`max_steps` is required while tracing"):
        jax.jit(lambda n: ri.raw_rnn(Sum(), loop(n))[1])(LENGTHS)
    emit_ta, _, _ = jax.jit(lambda n: ri.raw_rnn(Sum(), loop(n), max_steps=5))(LENGTHS)
    assert int(emit_ta.size()) == 3 and emit_ta.stack().shape == (3, 2, 2)
    assert emit_ta.all_rows().shape == (5, 2, 2)


def test_max_steps_ends_the_loop() -> None:
    emit_ta, state, _ = ri.raw_rnn(Sum(), loop(), max_steps=2)
    assert int(emit_ta.size()) == 2 and state[:, 0].tolist() == [2, 1]
    emit_ta, state, _ = ri.raw_rnn(Sum(), loop(), max_steps=0)
    assert emit_ta.stack().shape == (0, 2, 2) and not state.any()


@pytest.mark.parametrize("max_steps", [None, 4])
def test_all_finished_at_the_start(max_steps) -> None:
    start = jnp.full((2, 2), 9.0)
    emit_ta, state, _ = ri.raw_rnn(
        Sum(), loop(lengths=0 * LENGTHS, start=start), max_steps=max_steps
    )
    assert emit_ta.stack().shape == (0, 2, 2) and (state == 9).all()


def test_an_empty_batch_takes_no_step() -> None:
    empty = jnp.zeros((0, 2))
    loop_fn = lambda t, o, s, l: (jnp.zeros(0, bool), empty, empty, o, None)  # noqa: E731, E741
    assert ri.raw_rnn(Sum(), loop_fn)[0].stack().shape == (0, 0, 2)


def test_one_finished_for_all_rows() -> None:
    loop_fn = lambda t, o, s, l: (t >= 2, ZEROS, ZEROS if s is None else s, o, None)  # noqa: E731, E741
    assert int(ri.raw_rnn(Sum(), loop_fn)[0].size()) == 2


@pytest.mark.parametrize("max_steps", [None, 5])
def test_first_emit_gives_the_structure_of_one_example(max_steps) -> None:
    first = {"a": jnp.full((3, 1), 7.0), "b": jnp.int32(7)}
    emit = {"a": jnp.ones((2, 3, 1)), "b": jnp.array([4, 5], jnp.int32)}
    emit_ta, _, _ = ri.raw_rnn(Sum(), loop(first=first, later_emit=emit), max_steps=max_steps)
    assert emit_ta["a"].stack().shape == (3, 2, 3, 1)
    assert emit_ta["b"].stack().tolist() == [[4, 5], [4, 0], [4, 0]]


@pytest.mark.parametrize("max_steps", [None, 40])
def test_tensor_arrays_in_the_loop_state_grow_with_time(max_steps) -> None:
    def loop_fn(time, output, state, loop_state):
        if output is None:
            arrays = {"n": ri.TensorArray("int32", dynamic_size=True), "sum": jnp.float32(0)}
            return time >= 20 * LENGTHS, ZEROS, ZEROS, None, arrays
        arrays = {"n": loop_state["n"].write(time - 1, 2 * time), "sum": loop_state["sum"] + 1}
        return time >= 20 * LENGTHS, ZEROS + 1, state, output, arrays

    _, _, found = ri.raw_rnn(Sum(), loop_fn, max_steps=max_steps)
    steps = 40 if max_steps else 60
    assert found["n"].stack().tolist() == list(range(2, 2 * steps + 1, 2))
    assert float(found["sum"]) == steps


def test_rank_0_states_are_not_masked() -> None:
    cell = Cell(lambda x, s: (x, (s[0] + x, s[1] + 1)), (2, ()))
    loop_fn = loop(start=(ZEROS, jnp.int32(0)))
    for max_steps in (None, 6):
        _, (total, count), _ = ri.raw_rnn(cell, loop_fn, max_steps=max_steps)
        assert total[:, 0].tolist() == [3, 1] and int(count) == 3


def test_shapes_as_sizes() -> None:
    shape = ri.layers.TensorShape([3, 2])
    for size in (shape, (3, 2)):
        cell = Cell(lambda x, s: (s, s + 1), size, size)
        emit_ta, state, _ = ri.raw_rnn(cell, loop(start=jnp.zeros((2, 3, 2))))
        assert emit_ta.stack().shape == (3, 2, 3, 2) and state[1].tolist() == [[1, 1]] * 3


def test_options_are_accepted() -> None:
    emit_ta, _, _ = ri.raw_rnn(Sum(), loop(), 1, True, "scope")
    assert int(emit_ta.size()) == 3


@pytest.mark.parametrize(
    "cell",
    [
        ri.layers.LSTMCell(4),
        ri.layers.GRUCell(4),
        ri.layers.SimpleRNNCell(4),
        ri.layers.StackedRNNCells([ri.layers.GRUCell(3), ri.layers.LSTMCell(4)]),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_the_example_of_the_page(cell) -> None:
    lengths = jnp.array([2, 3])
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 5)), jnp.float32)
    inputs_ta = ri.TensorArray(dtype=jnp.float32, size=3).unstack(inputs)

    def loop_fn(time, cell_output, cell_state, loop_state):
        emit_output = cell_output
        next_cell_state = cell.zero_state(2, jnp.float32) if cell_output is None else cell_state
        elements_finished = time >= lengths
        next_input = jax.lax.cond(
            jnp.all(elements_finished), lambda: jnp.zeros((2, 5)), lambda: inputs_ta.read(time)
        )
        return elements_finished, next_input, next_cell_state, emit_output, None

    outputs_ta, final_state, _ = ri.raw_rnn(cell, loop_fn)
    layer = ri.layers.RNN(cell, return_sequences=True, return_state=True, time_major=True)
    layer.zero_output_for_mask = True
    outputs, *states = layer(inputs, mask=np.arange(3)[:, None] < lengths)
    np.testing.assert_allclose(outputs_ta.stack(), outputs, rtol=1e-5, atol=1e-6)
    for one, other in zip(jax.tree.leaves(final_state), states, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    again, _ = ri.dynamic_rnn(cell, inputs, lengths, dtype=jnp.float32, time_major=True)
    np.testing.assert_allclose(again, outputs, rtol=1e-5, atol=1e-6)


THREE = jnp.zeros((2, 3))
REFUSED = [
    (dict(cell="cell"), ArgumentTypeError, "`cell` must be an RNN cell, got str, which lacks stat"),
    (dict(cell=len), ArgumentTypeError, "which lacks state_size, output_size"),
    (dict(cell=Cell(lambda x, s: x)), ArgumentTypeError, r"`cell` must return \(output, new_state"),
    (dict(loop_fn=3), ArgumentTypeError, "`loop_fn` must be a function, got int"),
    (dict(loop_fn=lambda *a: (True, None)), ArgumentTypeError, "must return 5 values .*2 values"),
    (dict(parallel_iterations=0), ArgumentError, "`parallel_iterations` must be at least 1, got 0"),
    (dict(max_steps=-1), ArgumentError, "`max_steps` must be at least 0, got -1"),
    (dict(max_steps=1.5), ArgumentTypeError, "`max_steps` must be an int or None, got float"),
    (loop(initial_state=None), ArgumentError, "`loop_fn` returned no state at time 0"),
    (loop(start=THREE), ArgumentError, r"`next_cell_state` is float32\[2, 3\], but `cell.state_si"),
    (loop(start=(ZEROS, ZEROS)), ArgumentError, "`next_cell_state` has another structure than"),
    (loop(initial_finished=None), ArgumentTypeError, "`loop_fn` returned finished None"),
    (loop(initial_finished=LENGTHS), ArgumentTypeError, "finished as int32, expected bool"),
    (loop(initial_finished=LENGTHS[:1] > 0), ArgumentError, r"finished of shape \(1,\), expected"),
    (loop(initial_next_input=(ZEROS, ZEROS[:1])), ArgumentError, r"`next_input\[1\]` is float32"),
    (
        loop(later_next_input=(ZEROS, ZEROS)),
        ArgumentError,
        "`loop_fn` returned next_input with another str",
    ),
    (loop(later_next_input=THREE), ArgumentError, "`loop_fn` returned next_input with another sh"),
    (loop(later_state=THREE), ArgumentError, "`loop_fn` returned next_cell_state with another sh"),
    (loop(later_state=None), ArgumentError, "returned next_cell_state None, but float32"),
    (loop(first=ZEROS[0], later_emit=None), ArgumentError, "emit_output None after time 0"),
    (loop(first=ZEROS), ArgumentError, r"is float32\[2, 2\], expected float32\[2, 2, 2\]"),
    (loop(later_emit=(ZEROS, ZEROS)), ArgumentError, "emit_output with another structure than the"),
    (loop(later_loop_state=ZEROS), ArgumentError, r"next_loop_state float32\[2, 2\], but None at"),
    (loop(state0=ZEROS, later_loop_state=THREE), ArgumentError, "next_loop_state with another sh"),
    (dict(cell=Cell(Sum(), 2, 3)), ArgumentError, r"`cell_output` is float32\[2, 2\], but `cell.o"),
]


@pytest.mark.parametrize("max_steps", [None, 4])
@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_refused_before_any_computation(change, error, message, max_steps) -> None:
    change = change if isinstance(change, dict) else {"loop_fn": change}
    arguments = {"cell": Sum(), "loop_fn": loop(), "max_steps": max_steps, **change}
    with pytest.raises(error, match=message):
        ri.raw_rnn(**arguments)


X = jnp.arange(12.0).reshape(2, 3, 2)


def test_dynamic_rnn_zeroes_outputs_and_keeps_states_past_the_length() -> None:
    outputs, state = ri.dynamic_rnn(Sum(), X, jnp.array([2, 0]))
    _, want, (final,) = ri.rnn(
        lambda x, s: (x + s[0], [x + s[0]]),
        X,
        [ZEROS],
        input_length=jnp.array([2, 0]),
        zero_output_for_mask=True,
    )
    np.testing.assert_array_equal(outputs, want)
    np.testing.assert_array_equal(state, final)
    turned, _ = ri.dynamic_rnn(Sum(), X.swapaxes(0, 1), jnp.array([2, 0]), time_major=True)
    np.testing.assert_array_equal(turned.swapaxes(0, 1), want)


def test_dynamic_rnn_initial_states() -> None:
    pair = Cell(lambda x, s: (s[0], [s[0] + x, s[1] + 1]), [2, ri.layers.TensorShape([2, 1])])
    outputs, state = ri.dynamic_rnn(pair, X.astype(jnp.float16))
    assert outputs.dtype == jnp.float16 and state[1].shape == (2, 2, 1)
    start = jnp.full((2, 2), 5.0)
    assert ri.dynamic_rnn(Sum(), X, initial_state=start)[1][0].tolist() == [11, 14]
    Sum.zero_state = lambda self, batch, dtype: jnp.ones((batch, 2), dtype)  # type: ignore
    try:
        assert ri.dynamic_rnn(Sum(), X[:, :0])[1].tolist() == [[1, 1], [1, 1]]
    finally:
        del Sum.zero_state  # type: ignore


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(inputs=X[:, 0, 0]), ArgumentError, r"`inputs` is float32\[2\]"),
        (dict(inputs=[]), ArgumentError, "`inputs` holds no array"),
        (dict(sequence_length=2), ArgumentError, r"must be a vector of one length per row \(2,\)"),
        (dict(sequence_length=jnp.array([1, 4])), ArgumentError, "goes from 1 to 4"),
        (dict(sequence_length=jnp.ones(2)), ArgumentTypeError, "must hold integers, got float32"),
        (dict(cell=3), ArgumentTypeError, "`cell` must be an RNN cell"),
        (dict(initial_state=THREE), ArgumentError, r"`next_cell_state` is float32\[2, 3\]"),
    ],
)
def test_dynamic_rnn_refuses(change, error, message) -> None:
    with pytest.raises(error, match=message):
        ri.dynamic_rnn(**{"cell": Sum(), "inputs": X, **change})
