"""`RNN`: a layer that runs a cell over time."""

from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp

from recurrent_iree._rnn import rnn
from recurrent_iree._trees import as_arrays
from recurrent_iree_runtime import ArgumentError

from ._base import Layer, accepts
from ._cells import call_cell, check_cell, check_states, initial_states, output_shape, state_tree
from ._program import fingerprint, run_compiled
from ._registry import from_config, register, to_config
from ._rnn_arguments import CallArguments, read_call
from ._rnn_states import KeepsStates
from ._scope import is_traced, isolated
from ._shape import first_shape, map_shapes, shapes_of, shapes_of_inputs
from ._stacked import StackedRNNCells, build_cell

FLAGS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
NEW_FLAGS = ("time_major", "zero_output_for_mask")


@register
class RNN(KeepsStates, Layer):
    """Runs a cell over the time dimension of its input.

    Args:
        cell: a cell, or a list of cells that are stacked. A cell is any object with
            ``call(inputs_t, states_t) -> (output_t, states_t_plus_1)`` and ``state_size``, and
            optionally ``output_size``, ``build(step_shape)`` and
            ``get_initial_state(inputs=None, batch_size=None, dtype=None)``.
        return_sequences: return all outputs instead of the last one.
        return_state: return the final states too.
        go_backwards: process the last time step first; outputs stay in processing order.
        stateful: start each call from the states that the previous one left.
        unroll: straight-line code instead of a loop; an integer unrolls by that many steps.
        time_major: inputs, outputs and masks are ``[time, batch, …]``.
        zero_output_for_mask: masked outputs are zeros instead of the previous output.
        input_dim, input_length: sizes for `batch_input_shape`.
        **options: of `Layer`: name, trainable, dtype, activity_regularizer, batch_input_shape…

    Calling it with ``[batch, time, …]`` returns ``[batch, output_size]`` or, with
    ``return_sequences``, ``[batch, time, output_size]``; with ``return_state`` a list of that and
    the states ``[batch, state_size]``, flat, in the order of the cells.

    Raises:
        ArgumentError: (a ValueError) an object that is no cell.
        ArgumentTypeError: (a TypeError) an unknown keyword argument.

    Source: tf.keras.layers.RNN, TensorFlow r1.11; masks as in r2.4.

    >>> import jax.numpy as jnp
    >>> from recurrent_iree.layers import RNN, GRUCell, LSTMCell
    >>> layer = RNN([LSTMCell(4), GRUCell(8)], return_state=True)
    >>> [array.shape for array in layer(jnp.ones((2, 5, 3)))]
    [(2, 8), (2, 4), (2, 4), (2, 8)]
    """

    supports_masking = True

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool | int = False,
        time_major: bool = False,
        zero_output_for_mask: bool = False,
        **options: Any,
    ):
        if isinstance(cell, list | tuple):
            cell = StackedRNNCells(cell)
        check_cell(cell)
        self._num_constants = int(options.pop("num_constants", None) or 0)
        super().__init__(**_with_length(options))
        self.cell = cell
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.unroll = unroll
        self.time_major = time_major
        self.zero_output_for_mask = zero_output_for_mask
        self._features: Any = None

    def build(self, input_shape: Any) -> None:
        """Build the cell for one step of ``[batch, time, …]``, and the states if stateful.

        Raises:
            ArgumentError: (a ValueError) rank below 3, or stateful without a known batch size.
        """
        shapes = shapes_of_inputs(input_shape)
        map_shapes(self._check_rank, shapes)
        steps = map_shapes(lambda shape: (self._batch(shape), *shape[2:]), shapes)
        build_cell(self.cell, steps, self._dtype)
        self._features = map_shapes(lambda shape: shape[2:], shapes)
        if self.stateful:
            self._create_states(shapes)
        self.built = True

    def __call__(
        self, inputs: Any, initial_state: Any = None, constants: Any = None, **kwargs: Any
    ) -> Any:
        """Run the cell.

        Args:
            inputs: ``[batch, time, …]``, or a dictionary or tuple of such arrays, of which the cell
                gets one step; or a list of that, the initial states and the constants.
            initial_state: an array or list of arrays instead of zeros (or of the stored states).
            constants: an array or list of arrays for the ``constants`` argument of the cell.
            mask: ``[batch, time]``; at a zero a row keeps its states and repeats its output.
            reset: ``[batch, time]``; where nonzero a row starts afresh, before this step.
            training: handed to cells that take it.

        Raises:
            ArgumentError: (a ValueError) states or features that do not fit the cell; constants
                for a cell that takes none; symbolic and other tensors mixed.
        """
        read = read_call(self, inputs, initial_state, constants)
        return super().__call__(
            read.inputs, initial_state=read.initial_state, constants=read.constants, **kwargs
        )

    def call(
        self,
        inputs: Any,
        mask: Any = None,
        training: Any = None,
        initial_state: Any = None,
        constants: Any = None,
        reset: Any = None,
    ) -> Any:
        """See `__call__`; here ``inputs`` has no states and constants in it."""
        self._check_inputs(inputs)
        mask = _one_mask(mask)
        call = CallArguments(inputs, initial_state, constants)
        states = self._start(call)
        arrays = (inputs, mask, states, call.constants, reset)
        last, outputs, states = self._run(arrays, training)
        if self.stateful:
            self._store(states)
        result = outputs if self.return_sequences else last
        return [result, *states] if self.return_state else result

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask if `return_sequences`, else None; None for every returned state."""
        mask = _one_mask(mask)
        output_mask = mask if self.return_sequences else None
        return [output_mask, *(None for _ in self._shapes())] if self.return_state else output_mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The output shape as a tuple; with `return_state` a list with the states' shapes."""
        shape = first_shape(shapes_of_inputs(input_shape))
        self._check_rank(shape)
        batch = self._batch(shape)
        output = (batch, *output_shape(self.cell))
        if self.return_sequences:
            output = (*shape[:2], *output_shape(self.cell))
        if not self.return_state:
            return output
        return [output, *((batch, *state) for state in self._shapes())]

    def get_initial_state(self, inputs: Any) -> list[Any]:
        """The states that a call on ``inputs`` starts from: the cell's own, or zeros; flat."""
        inputs = jax.tree.map(jnp.asarray, inputs)
        first = jax.tree.leaves(inputs)[0]
        return initial_states(self.cell, inputs, self._batch(first.shape), first.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; the cell as ``{"class_name", "config"}``."""
        config = super().get_config() | {flag: getattr(self, flag) for flag in FLAGS}
        config |= {flag: True for flag in NEW_FLAGS if getattr(self, flag)}
        if self._num_constants:
            config["num_constants"] = self._num_constants
        if self.activity_regularizer is not None:
            config["activity_regularizer"] = to_config(self.activity_regularizer)
        return config | {"cell": to_config(self.cell)}

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """See `Layer.from_config`."""
        if "cell" not in config:
            raise ArgumentError(f'`config` has no entry "cell", it has {sorted(config)}.')
        return cls(**{**config, "cell": from_config(config["cell"], custom_objects)})

    def _shapes(self) -> list[Any]:
        return shapes_of(state_tree(self.cell))

    def _batch(self, shape: Any) -> Any:
        return shape[1] if self.time_major else shape[0]

    def _inner_paths(self, kind: str) -> list[str]:
        if kind == "weights" and isinstance(self.cell, Layer) and not self._own_variables():
            return self.cell._inner_paths(kind)
        return super()._inner_paths(kind)

    def _check_inputs(self, inputs: Any) -> None:
        shapes = jax.tree.map(lambda leaf: tuple(leaf.shape), inputs)
        map_shapes(self._check_rank, shapes)
        features = map_shapes(lambda shape: shape[2:], shapes)
        if self._features is not None and features != self._features:
            raise ArgumentError(
                f"layer `{self.name}` was built for features {self._features}, got inputs of "
                f"shape {shapes}."
            )

    def _check_rank(self, shape: tuple[int | None, ...]) -> None:
        if len(shape) < 3:
            raise ArgumentError(
                f"layer `{self.name}` needs inputs of rank at least 3 (batch, time, …), got shape "
                f"{shape}."
            )

    def _check_dtypes(self, states: list[Any], new: list[Any]) -> None:
        for index, (state, after) in enumerate(zip(states, new, strict=True)):
            if state.dtype != after.dtype:
                raise ArgumentError(
                    f"layer `{self.name}`: state {index} starts as {state.dtype}, but the cell "
                    f"returns it as {after.dtype}. Without `initial_state` states start in the "
                    "dtype of the inputs: cast the inputs, or give `initial_state`."
                )

    def _start(self, call: CallArguments) -> list[Any]:
        """Explicit states, else the stored ones, else those of the cell."""
        batch = self._batch(jax.tree.leaves(call.inputs)[0].shape)
        if call.initial_state is not None:
            states = jax.tree.leaves(as_arrays(call.initial_state, "initial_state"))
            check_states(states, state_tree(self.cell), batch, "initial_state")
            return states
        if self.stateful:
            return self._stored(batch)
        return self.get_initial_state(call.inputs)

    def _run(self, arrays: tuple[Any, ...], training: Any) -> tuple[Any, Any, list[Any]]:
        variables = self.weights
        options = {}
        if training is not None and accepts(self.cell.call, "training"):
            options["training"] = training

        def loop(*arrays: Any) -> tuple[Any, Any, list[Any]]:
            return self._loop(options, *arrays)

        if is_traced((arrays, [variable.value for variable in variables])) or training:
            return loop(*arrays)
        known = frozenset(id(variable) for variable in variables)
        flags = [getattr(self, flag) for flag in FLAGS + NEW_FLAGS]
        key = fingerprint([self.cell, flags, options], known)
        if key is None:
            return loop(*arrays)
        programs = self.__dict__.setdefault("_programs", {})
        return run_compiled(programs, key, loop, variables, arrays)

    def _loop(
        self,
        options: dict[str, Any],
        inputs: Any,
        mask: Any,
        states: list[Any],
        constants: list[Any] | None,
        reset: Any,
    ) -> tuple[Any, Any, list[Any]]:
        count = len(states)

        def step(inputs_t: Any, states_and_constants: list[Any]) -> tuple[Any, list[Any]]:
            extra = {"constants": states_and_constants[count:]} if constants is not None else {}
            states = states_and_constants[:count]
            with isolated(f"the cell of layer `{self.name}`"):
                output, new = call_cell(self.cell, inputs_t, states, options | extra)
            self._check_dtypes(states, new)
            return output, new

        return rnn(
            step,
            inputs,
            states,
            go_backwards=self.go_backwards,
            mask=mask,
            constants=constants,
            unroll=self.unroll,
            time_major=self.time_major,
            zero_output_for_mask=self.zero_output_for_mask,
            reset=reset,
            reset_states=None if reset is None else self.get_initial_state(inputs),
        )


def _one_mask(mask: Any) -> Any:
    """The mask of the inputs, from one mask for each of them: all have the same."""
    given = [leaf for leaf in jax.tree.leaves(mask) if hasattr(leaf, "shape")]
    return (given or [None])[0] if isinstance(mask, list | tuple) else mask


def _with_length(options: dict[str, Any]) -> dict[str, Any]:
    """Fold `input_dim` and `input_length` into `input_shape`."""
    length, dim = options.pop("input_length", None), options.pop("input_dim", None)
    if (length is not None or dim is not None) and "input_shape" not in options:
        features = dim if isinstance(dim, tuple | list) else (dim,)
        options["input_shape"] = (length, *features)
    return options
