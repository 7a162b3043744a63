"""Convolutional LSTM over sequences of images."""

from typing import Any

import jax.numpy as jnp
from jax import lax

from recurrent_iree_runtime import ArgumentError

from ._cell_base import read_units
from ._cell_layer import CellLayer
from ._lstm import LSTMCell
from ._registry import register
from ._shape import TensorShape

FORMATS = ("channels_last", "channels_first")


@register
class ConvLSTM2DCell(LSTMCell):
    """One step of an LSTM whose products are convolutions.

        i, f, g, o = split4(conv(x, kernel) + bias + conv(h, recurrent_kernel))
        c' = ract(f) * c + ract(i) * act(g)
        h' = ract(o) * act(c')

    Args:
        filters: channels of `h` and `c`.
        kernel_size, strides, dilation_rate: an integer or a pair, of the input's convolution.
        padding: "valid" or "same" for the input's convolution; the state's is always "same".
        data_format: "channels_last" ``[batch, rows, columns, channels]`` or "channels_first".
        activation, recurrent_activation, …: as in `LSTMCell`.

    Weights: kernel ``[rows, columns, channels, 4 * filters]``, recurrent_kernel
    ``[rows, columns, filters, 4 * filters]``, bias ``[4 * filters]``.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1),
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        **options: Any,
    ):
        filters = read_units(filters, "filters")
        super().__init__(filters, activation, recurrent_activation, **options)
        self.kernel_size = _pair(kernel_size, "kernel_size")
        self.strides = _pair(strides, "strides")
        self.dilation_rate = _pair(dilation_rate, "dilation_rate")
        self.padding = _one_of("padding", padding, ("valid", "same"))
        self.data_format = _one_of("data_format", data_format, FORMATS)
        self._image: tuple[int | None, int | None] = (None, None)

    @property
    def filters(self) -> int:
        """The channels of the output."""
        return self.units

    @property
    def state_size(self) -> list[Any]:
        """The shapes of `h` and `c`; rows and columns are None before the cell is built."""
        return [self.output_size, self.output_size]

    @property
    def output_size(self) -> Any:
        """The shape of the output; rows and columns are None before the cell is built."""
        if self.data_format == "channels_last":
            return TensorShape((*self._image, self.filters))
        return TensorShape((self.filters, *self._image))

    def image_after(self, input_shape: Any) -> tuple[int | None, int | None]:
        """Rows and columns of the output for one step ``[batch, …]``."""
        shape = tuple(input_shape)
        if len(shape) != 4:
            raise ArgumentError(
                f"cell `{self.name}` takes steps of rank 4 (batch and an image with channels), got "
                f"{shape}: the inputs of its layer must be (batch, time, rows, columns, channels)."
            )
        sizes = shape[1:3] if self.data_format == "channels_last" else shape[2:4]
        options = zip(self.kernel_size, self.strides, self.dilation_rate, strict=True)
        rows, columns = (
            self._length(size, *option) for size, option in zip(sizes, options, strict=True)
        )
        return rows, columns

    def build(self, input_shape: Any) -> None:
        """Create the weights for one step ``[batch, rows, columns, channels]``."""
        self._image = self.image_after(input_shape)
        channels = tuple(input_shape)[-1 if self.data_format == "channels_last" else 1]
        for name, depth in (("kernel", channels), ("recurrent_kernel", self.filters)):
            of = name.removesuffix("_kernel")
            weight = self.add_weight(
                name,
                (*self.kernel_size, depth, 4 * self.filters),
                initializer=getattr(self, f"{of}_initializer"),
                regularizer=getattr(self, f"{of}_regularizer"),
            )
            setattr(self, name, weight)
        if self.use_bias:
            self.bias = self.add_weight(
                "bias",
                self._bias_shape(),
                initializer=self._bias_initializer(),
                regularizer=self.bias_regularizer,
            )
        self.built = True

    def call(self, inputs: Any, states: Any, training: Any = None) -> Any:
        """``(h', [h', c'])``."""
        h, c = states
        inputs, h = self._dropped(inputs, h, training)
        x = self._convolve(
            inputs, self.kernel, self.padding.upper(), self.strides, self.dilation_rate
        )
        if self.use_bias:
            last = self.data_format == "channels_last"
            x = x + (self.bias if last else self.bias[:, None, None])
        y = self._convolve(h, self.recurrent_kernel, "SAME", (1, 1), (1, 1))
        axis = -1 if self.data_format == "channels_last" else 1
        return self._gates(jnp.split(x + y, 4, axis=axis), c)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        filters = config.pop("units")
        return config | {
            "filters": filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }

    def _convolve(self, x: Any, kernel: Any, padding: str, strides: Any, dilation: Any) -> Any:
        layout = "NHWC" if self.data_format == "channels_last" else "NCHW"
        return lax.conv_general_dilated(
            x,
            kernel,
            strides,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=(layout, "HWIO", layout),
        )

    def _length(self, size: int | None, kernel: int, stride: int, dilation: int) -> int | None:
        if size is None:
            return None
        if self.padding == "valid":
            size = size - dilation * (kernel - 1)
        if size < 1:
            raise ArgumentError(
                f"cell `{self.name}`: `kernel_size` {self.kernel_size} with `dilation_rate` "
                f"{self.dilation_rate} does not fit into the image: use padding='same'."
            )
        return -(-size // stride)


@register
class ConvLSTM2D(CellLayer):
    """Convolutional LSTM: `RNN` over a `ConvLSTM2DCell`.

    Args:
        filters, kernel_size, strides, padding, data_format, dilation_rate, activation, …: of
            `ConvLSTM2DCell`.
        return_sequences, return_state, go_backwards, stateful, unroll and the rest: of `RNN`.

    ``[batch, time, rows, columns, channels]`` → ``[batch, rows', columns', filters]``, with
    ``return_sequences`` ``[batch, time, rows', columns', filters]``; states ``[h, c]``.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import ConvLSTM2D
    >>> ConvLSTM2D(4, 3, padding="same")(jnp.ones((2, 5, 6, 6, 1))).shape
    (2, 6, 6, 4)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str = "channels_last",
        dilation_rate: Any = (1, 1),
        activation: Any = "tanh",
        recurrent_activation: Any = "hard_sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        implementation: int = 2,
        **options: Any,
    ):
        cell = ConvLSTM2DCell(
            filters,
            kernel_size,
            strides,
            padding,
            data_format,
            dilation_rate,
            activation,
            recurrent_activation,
            use_bias=use_bias,
            unit_forget_bias=unit_forget_bias,
            implementation=implementation,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            dtype=options.get("dtype"),
        )
        super().__init__(cell, **options)

    @property
    def filters(self) -> int:
        """The channels of the output."""
        return self.cell.filters

    def compute_output_shape(self, input_shape: Any) -> Any:
        """See `RNN.compute_output_shape`; it needs no built cell."""
        shape = tuple(input_shape[0] if isinstance(input_shape, list) else input_shape)
        image = self.cell.image_after((shape[0], *shape[2:]))
        last = self.cell.data_format == "channels_last"
        state = (*image, self.filters) if last else (self.filters, *image)
        output = (*shape[: 2 if self.return_sequences else 1], *state)
        return [output, *[(shape[0], *state)] * 2] if self.return_state else output


def _pair(value: Any, argument: str) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2:
        raise ArgumentError(f"`{argument}` must be an integer or a pair, got {value!r}.")
    return read_units(values[0], argument), read_units(values[1], argument)


def _one_of(argument: str, value: str, values: tuple[str, ...]) -> str:
    if value not in values:
        raise ArgumentError(f"`{argument}` must be one of {values}, got {value!r}.")
    return value
