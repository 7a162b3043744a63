"""Replays the cases of layers_RNN: the script on the object, gradients on its pure face."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from conformance.cases import (
    Case,
    Fn,
    as_jax,
    check_equal,
    check_gradients,
    check_raises,
    only,
)
from conformance.layer_cells import CUSTOM, make_cell, regularizer

from recurrent_iree import layers

CALL = {
    "cell", "return_sequences", "return_state", "go_backwards", "stateful", "unroll",
    "activity_regularizer", "input_dim", "input_length", "input_shape", "batch_input_shape",
    "name", "dtype", "trainable", "time_major", "zero_output_for_mask",
}  # fmt: skip
ARRAYS = ("inputs", "initial_state", "constants", "mask")


def replay(case: Case) -> None:
    """Carry out the script, comparing each action with what was recorded."""
    if case.raises:
        return check_raises(case, lambda: make_layer(case))
    layer = make_layer(case)
    run = Run(case, layer)
    assert case.script is not None and len(case.script) == len(case.expect)
    for index, (action, expect) in enumerate(zip(case.script, case.expect, strict=True)):
        if case.gradients and case.gradients["at"] == index:
            _check_gradients(case, layer, action)
        do = getattr(run, action["do"], None)
        assert do is not None, f"unknown action {action['do']}"
        given = {key: value for key, value in action.items() if key != "do"}
        if "raises" in expect:
            check_raises(case, lambda do=do, given=given: do(**given), expect)
            continue
        got = do(**given) or {"ok": True}
        where = f"action {index} ({action['do']})"
        check_equal(got, expect, case.rtol, case.atol, where)


def forward_program(case: Case) -> tuple[Callable[..., list], list] | None:
    """A function of arrays that makes all calls of the script in order, and its arguments.

    It gives the leaves of `forward_expected`. None for a case that computes no outputs.
    """
    if case.raises or not _calls(case):
        return None
    layer = make_layer(case)
    Run(case, layer).build(case.script[0]["input_shape"])
    calls = [{key: action[key] for key in ARRAYS if key in action} for action in _calls(case)]
    leaves, structure = jax.tree.flatten(as_jax((layer.get_weights(), calls)))

    def program(*leaves: jax.Array) -> list:
        weights, calls = jax.tree.unflatten(structure, leaves)
        states, outputs = _zeros(layer), []
        for call in calls:
            result, states = layer.stateless_call(weights, states, **call)
            outputs += jax.tree.leaves(result)
        return outputs

    return program, leaves


def forward_expected(case: Case) -> list:
    """The expected results of `forward_program`, flat."""
    return [leaf for action in _calls(case, "expect") for leaf in action["outputs"]]


def make_layer(case: Case) -> layers.RNN:
    """The layer of a case."""
    call = dict(only(case.call, CALL, "call"))
    assert call.pop("cell") == Fn("cell")
    cell = make_cell(case.cell, case.cell_config)
    return layers.RNN(cell, **{key: regularizer(value) for key, value in call.items()})


class Run:
    """The actions of a script, one method each."""

    def __init__(self, case: Case, layer: layers.RNN):
        self.case = case
        self.layer = layer
        self.called: Any = None

    def build(self, input_shape):
        self.layer.build(tuple(input_shape))
        if self.case.weights:
            self.layer.set_weights(self.case.weights)
        if self.layer.stateful:
            self.layer.reset_states()

    def call(self, inputs, **options):
        return {"outputs": jax.tree.leaves(self.layer(inputs, **options))}

    def apply(self, inputs, **options):
        return {"outputs": jax.tree.leaves(self.layer.apply(inputs, **options))}

    def reset_states(self, states=None):
        single = isinstance(states, list) and len(states) == 1
        self.layer.reset_states(states[0] if single else states)

    def states(self):
        return {"states": self.layer.states}

    def get_initial_state(self, inputs):
        return {"states": self.layer.get_initial_state(inputs)}

    def compute_output_shape(self, input_shape):
        return {"shapes": _listed(self.layer.compute_output_shape(tuple(input_shape)))}

    def compute_mask(self, mask):
        return {"mask": _listed(self.layer.compute_mask(None, mask))}

    def count_params(self):
        return {"value": self.layer.count_params()}

    def get_weights(self):
        return {"weights": self.layer.get_weights()}

    def set_weights(self, weights):
        self.layer.set_weights(weights)

    def weights_info(self):
        kinds = {"trainable": "trainable_weights", "non_trainable": "non_trainable_weights"}
        kinds["all"] = "weights"
        return {
            key: [list(weight.shape) for weight in getattr(self.layer, name)]
            for key, name in kinds.items()
        }

    def set_trainable(self, value):
        self.layer.trainable = value

    def get_config(self, keys, absent=()):
        config = self.layer.get_config()
        present = [key for key in absent if key in config]
        assert not present, f"get_config has {present}"
        found = {key: _plain(config[key]) for key in keys}
        return {"config": found, "absent": list(absent)}

    def round_trip(self, inputs):
        config = self.layer.get_config()
        other = type(self.layer).from_config(config, custom_objects=CUSTOM)
        equal = _plain(other.get_config()) == _plain(config)
        other.build(inputs.shape)
        other.set_weights(self.layer.get_weights())
        return {"config_equal": equal, "outputs": jax.tree.leaves(other(inputs))}

    def losses(self, inputs):
        self.called = inputs
        self.layer(inputs)
        return {"losses": sorted(float(loss) for loss in self.layer.losses)}

    def losses_for(self, inputs):
        if self.called is None:
            self.losses(inputs)
        np.testing.assert_array_equal(self.called, inputs)
        conditional = self.layer.get_losses_for(self.called)
        unconditional = self.layer.get_losses_for(None)
        return {"conditional": len(conditional), "unconditional": len(unconditional)}

    def get_attr(self, name):
        value = getattr(self.layer, name)
        return {"is_none": True} if value is None else {"shapes": _shapes(value)}

    def node(self, method, node_index):
        return {"shapes": _shapes(getattr(self.layer, method)(node_index))}


def _check_gradients(case: Case, layer: layers.RNN, action: dict[str, Any]) -> None:
    states = [variable.value for variable in layer.state_variables]
    given = {key: action[key] for key in ARRAYS if key in action}

    @jax.jit
    def outputs(arguments: dict[str, Any]) -> list:
        call = dict(arguments)
        result, _ = layer.stateless_call(call.pop("weights"), states, **call)
        return jax.tree.leaves(result)

    check_gradients(case, outputs, as_jax({"weights": layer.get_weights(), **given}))


def _calls(case: Case, of: str = "script") -> list[dict[str, Any]]:
    """The calls that succeed, of a script that only builds, calls and reads."""
    pairs = list(zip(case.script or [], case.expect, strict=True))
    if not pairs or pairs[0][0]["do"] != "build":
        return []
    if any(action["do"] in ("set_weights", "reset_states", "losses") for action, _ in pairs):
        return []
    kept = [pair for pair in pairs if pair[0]["do"] in ("call", "apply") and "outputs" in pair[1]]
    return [action if of == "script" else expect for action, expect in kept]


def _zeros(layer: layers.RNN) -> list:
    return [np.zeros(v.shape, v.dtype) for v in layer.state_variables]


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def _shapes(value: Any) -> list[list[int]]:
    return [list(getattr(item, "shape", item)) for item in _listed(value)]


def _plain(value: Any) -> Any:
    """Tuples as lists, recursively: JSON knows no tuples."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
