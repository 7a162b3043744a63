"""The Keras-shaped face of a compiled layer."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ._dtypes import dtype_of
from ._entry_plan import EntryPlan
from ._errors import ArgumentError, LayerAttributeError, LayerRuntimeError
from ._layer_arguments import LayerCall, Places, as_leaf, check_inputs, check_states, read_call
from ._layer_facts import LayerFacts, read_facts
from ._layer_weights import LayerWeights
from ._session import Session
from ._tree import flatten, unflatten

if TYPE_CHECKING:
    from ._model import Model

_OPTIONS = ("initial_state", "constants", "mask", "reset", "training")


class Layer(LayerWeights):
    """A compiled layer that is used as the layer that it was compiled from. Made by `model.layer`.

    `stateful`, `return_sequences`, `return_state`, `go_backwards` and `time_major` are as compiled.
    Like a Keras layer it belongs to one thread at a time if it is stateful.
    """

    built = True

    def __init__(self, model: "Model") -> None:
        self.model = model
        self._facts: LayerFacts = read_facts(model.manifest)
        self.name = self._facts.name
        self._plan: EntryPlan = model.plan(model.manifest.default_entry)
        self._places = Places(self._plan.entry, self._facts)
        self._session: Session | None = None
        self._stored: list[np.ndarray] | None = None

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("_facts")
        if facts is not None and name in facts.flags:
            return facts.flags[name]
        raise LayerAttributeError(f"a compiled {facts.class_name if facts else 'layer'} has no "
                                  f"attribute {name!r}")  # fmt: skip

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the layer on NumPy arrays: `(inputs, initial_state=, constants=, mask=, reset=)`.

        Floats of another precision are cast, and a mask may be of any dtype. Raises
        `ArgumentError` for what the layer would refuse, and for arguments that this artifact was
        compiled without; the message then says how to compile it with them.
        """
        call = read_call(self.name, self._facts, self._places, inputs, self._options(args, kwargs))
        leaves = self._leaves(call)
        if self._places.has("initial_state"):
            return self._call_with_states(call, leaves)
        if call.initial_state is None and not self.stateful:
            return self._run(leaves)
        return self._call_stream(call, leaves)

    def _options(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in self._facts.parameters if name != "inputs"] or ["initial_state"]
        if len(args) > len(names):
            raise ArgumentError(
                f"layer `{self.name}` takes {len(names)} arguments after the inputs, got "
                f"{len(args)}."
            )
        options = {**dict(zip(names, args, strict=False)), **kwargs}
        for name, value in options.items():
            if name not in _OPTIONS:
                raise ArgumentError(f"layer `{self.name}` does not know the argument {name!r}; it "
                                    f"takes {', '.join(_OPTIONS)}")  # fmt: skip
            if name == "training" and value:
                raise ArgumentError(f"layer `{self.name}` was compiled for inference; "
                                    "training=True is not in this artifact")  # fmt: skip
        return options

    def _leaves(self, call: LayerCall) -> dict[int, Any]:
        """The input leaves of the entry by number, without the initial states."""
        places, leaves = self._places, {}
        numbers = places.leaves.get("inputs", [])
        for number, value in zip(numbers, call.inputs, strict=True):
            leaves[number] = as_leaf(value, self._plan.entry.inputs[number].dtype)
        if self._facts.cell is not None:
            check_inputs(self.name, places.leaf("inputs"), leaves[numbers[0]])
        shape = tuple(np.shape(leaves[numbers[0]])[:2])
        for name, rest in (("mask", True), ("reset", False)):
            value = getattr(call, name)
            if not places.has(name):
                self._refuse(name, value)
                continue
            leaf = places.leaf(name)
            value = np.full(shape, rest) if value is None else np.asarray(value)
            value = value != 0 if leaf.dtype == "bool" else value.astype(dtype_of(leaf.dtype))
            leaves[places.leaves[name][0]] = value
        self._place_constants(call, leaves)
        return leaves

    def _place_constants(self, call: LayerCall, leaves: dict[int, Any]) -> None:
        if not self._places.has("constants"):
            self._refuse("constants", call.constants)
            return
        numbers = self._places.leaves["constants"]
        if call.constants is None or len(call.constants) != len(numbers):
            given = 0 if call.constants is None else len(call.constants)
            raise ArgumentError(f"layer `{self.name}` was compiled with {len(numbers)} constants, "
                                f"got {given}.")  # fmt: skip
        for number, value in zip(numbers, call.constants, strict=True):
            leaves[number] = as_leaf(value, self._plan.entry.inputs[number].dtype)

    def _refuse(self, name: str, value: Any) -> None:
        if value is not None:
            shape = self._places.leaf("inputs").shape[:2]
            dims = ", ".join(f'"{n}=..."' if isinstance(n, str) else str(n) for n in shape)
            dims += ', dtype="bool"' if name in ("mask", "reset") else ""
            raise ArgumentError(
                f"`{name}` was given, but this artifact of layer `{self.name}` was compiled "
                f"without it. Compile it with {name}: "
                f"ri.compile(layer, ..., {name}=ri.spec({dims}))"
            )

    def _run(self, leaves: dict[int, Any]) -> Any:
        parts = self._parts(leaves)
        return self.model.run(self._plan.name, *parts["args"], **parts["kwargs"])

    def _parts(self, leaves: dict[int, Any]) -> dict[str, Any]:
        values = [leaves[number] for number in range(len(self._plan.entry.inputs))]
        return unflatten(self._plan.entry.input_tree, values)

    def _batch(self, leaves: dict[int, Any]) -> int:
        array = leaves[self._places.leaves["inputs"][0]]
        return int(array.shape[1 if self._facts.flags.get("time_major") else 0])

    def _call_with_states(self, call: LayerCall, leaves: dict[int, Any]) -> Any:
        """A call of an entry that takes the initial states as inputs."""
        batch, states = self._batch(leaves), call.initial_state
        if states is not None:
            arrays = check_states(states, self._facts, batch, "initial_state")
        elif self.stateful and self._stored is not None:
            self._check_batch(self._stored_batch(), batch)
            arrays = self._stored
        elif self._facts.starts_at_zero or self.stateful:
            arrays = [np.zeros((batch, *s.shape), dtype_of(s.dtype)) for s in self._facts.states]
        else:
            raise ArgumentError(
                f"layer `{self.name}` was compiled with `initial_state`, and its cell does not "
                "start at zeros: give `initial_state`."
            )
        for number, array in zip(self._places.leaves["initial_state"], arrays, strict=True):
            leaves[number] = array
        result = self._run(leaves)
        if self.stateful:
            self._stored = self._returned_states(result)
        return result

    def _returned_states(self, result: Any) -> list[np.ndarray]:
        if not self.return_state:
            raise LayerRuntimeError(
                f"layer `{self.name}` is stateful, but this artifact does not return its states. "
                'Compile it with a dim "time" and without `initial_state`, or with '
                "return_state=True."
            )
        arrays = flatten(self._plan.entry.output_tree, result, "the result")
        return [np.array(a) for a in arrays[len(arrays) - len(self._facts.states) :]]

    def _call_stream(self, call: LayerCall, leaves: dict[int, Any]) -> Any:
        """A call that starts from given or stored states: a chunk of a stream."""
        slots = self._slots()
        batch = self._batch(leaves)
        if self.stateful:
            session = self._open_session()
            self._check_batch(self._stored_batch(), batch)
        else:
            streams = self.model.streams()
            arrays = self._plan.arrays(list(leaves.values()), self._ordered(leaves))
            dims = self._plan.dims(arrays, self._ordered(leaves))
            session = self.model.session(**streams.init_for(dims).dims)
        given: dict[str, Any] = {}
        if call.initial_state is not None:
            states = check_states(call.initial_state, self._facts, batch, "initial_state")
            given = dict(zip(slots, states, strict=True))
        session.begin(given, keep=slots if self.stateful and not given else ())
        parts = self._parts(leaves)
        return session.run(*parts["args"], **parts["kwargs"])

    def _stored_batch(self) -> int:
        """The batch of the stored states."""
        if self._stored is not None:
            return self._stored[0].shape[0]
        name = self._slots()[0]
        slot = next(slot for slot in self.model.manifest.states if slot.name == name)
        size = slot.shape[0]
        return size if isinstance(size, int) else self._open_session().dims[size]

    def _ordered(self, leaves: dict[int, Any]) -> list[Any]:
        return [self._plan.entry.inputs[number] for number in leaves]

    def _check_batch(self, stored: int, batch: int) -> None:
        if stored != batch:
            raise ArgumentError(
                f"layer `{self.name}` is stateful with states for a batch of {stored}, got inputs "
                f"with a batch of {batch}."
            )

    def _slots(self) -> list[str]:
        slots = self._facts.slots
        if not slots or not self.model.manifest.streams:
            raise LayerRuntimeError(
                f"layer `{self.name}`: this artifact has no states to start from or to keep. "
                'Compile the layer so that it can be streamed: with a dim "time", for example '
                'ri.spec("batch=1", "time=?", 40), forward in time; or give `initial_state` its '
                'own input: ri.compile(layer, ..., initial_state=[ri.spec("batch=1", 128)])'
            )
        return slots

    def _open_session(self) -> Session:
        if self._session is None:
            self._session = self.model.session()
        return self._session

    @property
    def states(self) -> list[Any]:
        """Copies of the stored states, flat; one None per state if the layer is not stateful."""
        if not self.stateful:
            return [None] * len(self._facts.states)
        if self._places.has("initial_state"):
            return [None] * len(self._facts.states) if self._stored is None else [
                state.copy() for state in self._stored
            ]  # fmt: skip
        states = self._open_session().states if self._slots() else {}
        return [states[slot] for slot in self._slots()]

    def reset_states(self, states: Any = None) -> None:
        """Set the stored states: to zeros, or to `states` (an array, or a list of arrays).

        Raises `LayerAttributeError` if the layer is not stateful, `ArgumentError` for a wrong
        number or shape; nothing is changed then.
        """
        if not self.stateful:
            raise LayerAttributeError(
                f"`reset_states`: layer `{self.name}` must be stateful: make it with stateful=True."
            )
        if self._places.has("initial_state") and self._stored is None:
            raise LayerAttributeError(
                f"`reset_states`: layer `{self.name}` has no states before its first call."
            )
        batch = self._stored_batch()
        shapes = [(batch, *state.shape) for state in self._facts.states]
        dtypes = [dtype_of(state.dtype) for state in self._facts.states]
        arrays = [np.zeros(shape) for shape in shapes] if states is None else _arrays(states)
        if len(arrays) != len(shapes):
            raise ArgumentError(
                f"layer `{self.name}` expects {len(shapes)} states, but `reset_states` received "
                f"{len(arrays)} arrays."
            )
        for index, (shape, new) in enumerate(zip(shapes, arrays, strict=True)):
            if np.shape(new) != shape:
                raise ArgumentError(
                    f"`reset_states`: state {index} is incompatible with layer `{self.name}`: "
                    f"expected shape {shape}, got {np.shape(new)}."
                )
        values = [np.asarray(new).astype(d) for new, d in zip(arrays, dtypes, strict=True)]
        if self._places.has("initial_state"):
            self._stored = values
        else:
            self._open_session().begin(dict(zip(self._slots(), values, strict=True)))

    def get_config(self) -> dict[str, Any]:
        """The arguments from which the layer's class makes an equal layer (lists, not tuples)."""
        if self._facts.config is None:
            raise LayerAttributeError(
                f"the configuration of layer `{self.name}` is not in the artifact, because JSON "
                "cannot hold it (a function of your own?)"
            )
        return copy.deepcopy(self._facts.config)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the outputs (a tuple, or a list of them) for a shape of the inputs.

        Unknown sizes are None. Raises `ArgumentError` for a rank that the layer does not take.
        """
        nested = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shape = tuple(input_shape[0] if nested else input_shape)
        leaf = self._places.leaf("inputs")
        if len(shape) != len(leaf.shape):
            raise ArgumentError(f"layer `{self.name}` takes inputs of rank {len(leaf.shape)}, got "
                                f"the shape {shape}.")  # fmt: skip
        named = zip(leaf.shape, shape, strict=True)
        sizes: dict[Any, Any] = {n: size for n, size in named if isinstance(n, str)}
        outputs = [tuple(sizes.get(n, n if isinstance(n, int) else None) for n in output.shape)
                   for output in self._plan.entry.outputs]  # fmt: skip
        return unflatten(self._plan.entry.output_tree, outputs)

    def __repr__(self) -> str:
        return f"<Layer {self._facts.class_name} {self.name!r} on {self.model.device.name}>"


def _arrays(states: Any) -> list[Any]:
    if isinstance(states, (list, tuple)) and any(np.ndim(item) for item in states):
        return list(states) if all(hasattr(item, "shape") for item in states) else [states]
    return [states]
