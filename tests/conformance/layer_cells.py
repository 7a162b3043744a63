"""The cells of the layers_RNN cases, by name, written against `recurrent_iree.layers`."""

from typing import Any

import jax.numpy as jnp
from conformance.cases import only

from recurrent_iree import layers


class MinimalRNNCell(layers.Layer):
    def __init__(self, units, **options):
        self.units = units
        self.state_size = units
        super().__init__(**options)

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], self.units))
        self.recurrent = self.add_weight("recurrent", (self.units, self.units))
        self.built = True

    def call(self, inputs, states):
        o = jnp.dot(inputs, self.kernel) + jnp.dot(states[0], self.recurrent)
        return o, [o]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class InitialStateCell(MinimalRNNCell):
    def __init__(self, units, fill, **options):
        super().__init__(units, **options)
        self.fill = fill

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        return jnp.full((inputs.shape[0], self.units), self.fill, inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "fill": self.fill}


class TwoStateCell(MinimalRNNCell):
    def __init__(self, units, aux, **options):
        super().__init__(units, **options)
        self.aux = aux
        self.state_size = [units, aux]

    def build(self, input_shape):
        super().build(input_shape)
        self.aux_kernel = self.add_weight("aux_kernel", (input_shape[-1], self.aux))

    def call(self, inputs, states):
        h, a = states
        h = jnp.tanh(inputs @ self.kernel + h @ self.recurrent + 0.1 * a.sum(1)[:, None])
        return h, [h, 0.9 * a + inputs @ self.aux_kernel]

    def get_config(self):
        return {**super().get_config(), "aux": self.aux}


class ConstantsCell(MinimalRNNCell):
    def call(self, inputs, states, constants=None):
        assert constants is not None
        z = inputs @ self.kernel + states[0] @ self.recurrent + constants[0]
        h = jnp.tanh(z * constants[1] if len(constants) == 2 else z)
        return h, [h]


class OutputSizeCell(MinimalRNNCell):
    def __init__(self, units, out, **options):
        super().__init__(units, **options)
        self.output_size = out

    def build(self, input_shape):
        super().build(input_shape)
        self.out_kernel = self.add_weight("out_kernel", (self.units, self.output_size))

    def call(self, inputs, states):
        h = jnp.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return h @ self.out_kernel, [h]

    def get_config(self):
        return {**super().get_config(), "out": self.output_size}


class ImageCell(layers.Layer):
    def __init__(self, shape, decay, **options):
        super().__init__(**options)
        self.decay = decay
        self.state_size = self.output_size = layers.TensorShape(shape)

    def build(self, input_shape):
        self.scale = self.add_weight("scale", self.state_size)
        self.built = True

    def call(self, inputs, states):
        o = jnp.tanh(inputs * self.scale + self.decay * states[0])
        return o, [o]

    def get_config(self):
        return {**super().get_config(), "shape": list(self.state_size), "decay": self.decay}


class CounterCell:
    state_size = 1

    def __init__(self, dim):
        self.output_size = dim

    def call(self, inputs, states):
        return inputs, [states[0] + 1]


class NoCall:
    state_size = 3


class NoStateSize:
    def call(self, inputs, states):
        return inputs, states


CUSTOM = {
    cls.__name__: cls
    for cls in (
        MinimalRNNCell, InitialStateCell, TwoStateCell, ConstantsCell, OutputSizeCell, ImageCell,
        CounterCell, NoCall, NoStateSize,
    )
}  # fmt: skip
BUILT_IN = {"SimpleRNNCell", "LSTMCell", "GRUCell"}


def make_cell(name: str, config: dict[str, Any]) -> Any:
    """The cell of a case, or the list of cells of a stack."""
    if name == "stack":
        only(config, {"cells"}, "cell_config of stack")
        entries = [
            only(entry, {"cell", "cell_config"}, "a stacked cell") for entry in config["cells"]
        ]
        return [make_cell(entry["cell"], entry["cell_config"]) for entry in entries]
    assert name in CUSTOM or name in BUILT_IN, f"unknown cell {name}"
    settings = {key: regularizer(value) for key, value in config.items()}
    return CUSTOM[name](**settings) if name in CUSTOM else getattr(layers, name)(**settings)


def regularizer(value: Any) -> Any:
    """A regularizer of the notation as one of ours; anything else as it is."""
    if type(value).__name__ != "Regularizer":
        return value
    assert value.kind in ("l1", "l2"), f"unknown regularizer {value.kind}"
    return getattr(layers, value.kind)(value.factor)
