"""layers.RNN refuses inputs and cells that cannot work."""

import jax.numpy as jnp
import numpy as np
import pytest

from recurrent_iree import layers
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


class Leaky:
    state_size = 3

    def call(self, inputs, states):
        return inputs + states[0], [inputs + states[0]]


def test_inputs_must_have_time():
    with pytest.raises(ArgumentError, match=r"needs inputs of rank at least 3 .*shape \(2, 3\)"):
        layers.RNN(Leaky())(X[:, 0])


def test_features_must_stay():
    layer = layers.LSTM(4)
    layer(X)
    assert layer(X[:, :2]).shape == (2, 4)
    with pytest.raises(ArgumentError, match=r"was built for features \(3,\), got .*\(2, 5, 2\)"):
        layer(X[:, :, :2])


def test_integer_inputs_of_a_floating_cell():
    message = "state 0 starts as int32, but the cell returns it as float32.* cast the inputs"
    with pytest.raises(ArgumentError, match=message):
        layers.GRU(4)(np.ones((2, 5, 3), np.int32))


def test_a_cell_may_not_change_its_states():
    class Growing(Leaky):
        def call(self, inputs, states):
            return inputs, [jnp.concatenate([states[0], inputs], 1)]

    with pytest.raises(ArgumentError, match=r"Growing.call`: state 0 has shape \(2, 6\)"):
        layers.RNN(Growing())(X)
    many = type("Many", (Leaky,), {"call": lambda self, x, s: (x, [x, x])})
    with pytest.raises(ArgumentError, match="Many.call` has 2 states, but the cell has 1"):
        layers.RNN(many())(X)
    single = type("Single", (Leaky,), {"call": lambda self, x, s: x})
    with pytest.raises(ArgumentError, match=r"Single.call must return a pair \(output, states\)"):
        layers.RNN(single())(X)


def test_a_stateful_layer_keeps_its_batch_size():
    layer = layers.GRU(4, stateful=True)
    layer(X)
    with pytest.raises(
        ArgumentError, match="states for a batch of 2, got inputs with a batch of 1"
    ):
        layer(X[:1])


def test_a_reset_of_another_shape():
    with pytest.raises(ArgumentError, match=r"`reset` has shape \(2, 4\), expected .*\(2, 5\)"):
        layers.GRU(4)(X, reset=np.zeros((2, 4)))


def test_initial_states_of_the_cell_must_fit():
    class Started(Leaky):
        def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
            return jnp.zeros((batch_size, 2), dtype)

    with pytest.raises(
        ArgumentError, match=r"Started.get_initial_state`: state 0 has shape \(2, 2\)"
    ):
        layers.RNN(Started())(X)


def test_a_cell_must_keep_to_its_output_size():
    class Wide:
        state_size, output_size = 3, 7

        def call(self, inputs, states):
            return inputs, [inputs]

    with pytest.raises(ArgumentError, match=r"output of shape \(2, 3\), but .* says \(2, 7\)"):
        layers.RNN(Wide())(X)


BAD = [
    (lambda: layers.Input("ab"), ArgumentTypeError, "must hold integers and None"),
    (lambda: layers.Input((2.5, 3)), ArgumentTypeError, "must hold integers and None"),
    (lambda: layers.GRU(3, dtype="float99"), ArgumentTypeError, "`dtype` must name a dtype"),
    (lambda: layers.Input((3,), dtype="float99"), ArgumentTypeError, "`dtype` must name a dtype"),
    (lambda: layers.ConvLSTM2D(-4, 3), ArgumentError, "`filters` must be at least 1, got -4"),
    (lambda: layers.GRU(3).compute_output_shape((2, 3)), ArgumentError, "rank at least 3"),
    (
        lambda: layers.RNN.from_config({"name": "x"}),
        ArgumentError,
        "`config` has no entry",
    ),
    (lambda: layers.GRU(3)(X, mask="abc"), ArgumentTypeError, "`mask` is not an array"),
    (
        lambda: layers.GRU(3)(X, initial_state="abc"),
        ArgumentTypeError,
        "is not an array",
    ),
    (lambda: called().set_weights(None), ArgumentTypeError, "takes a list of arrays, got No"),
    (
        lambda: called().get_input_at("0"),
        ArgumentTypeError,
        "`node_index` must be an integer",
    ),
    (
        lambda: layers.ConvLSTM2DCell(2, 3).zero_state(2),
        ArgumentError,
        "does not know the sizes of its states .* call `build",
    ),
]


def called():
    layer = layers.GRU(3)
    layer(X)
    return layer


@pytest.mark.parametrize(("make", "error", "message"), BAD)
def test_arguments_that_cannot_work(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_mask_as_a_list_of_lists():
    layer = layers.GRU(3)
    mask = [[1, 1, 0, 0, 0], [1, 0, 1, 1, 1]]
    np.testing.assert_array_equal(layer(X, mask=mask), layer(X, mask=np.array(mask)))
