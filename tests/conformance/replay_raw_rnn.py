"""Replays the cases of `raw_rnn`, driven by the host and bounded by ``max_steps``."""

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
from conformance.raw_rnn_cells import make_cell
from conformance.raw_rnn_loops import array_settings, make_loop_fn

from recurrent_iree._raw_rnn import TensorArray, raw_rnn

OPTIONS = ("parallel_iterations", "swap_memory", "scope")


def replay(case: Case) -> None:
    """Run both loops, take the gradients through both, and compare."""
    only(case.hints, {"max_steps"}, "hints")
    function, arguments = _program(case)
    if case.raises:
        check_raises(case, lambda: function(arguments, None))
        return check_raises(case, lambda: function(arguments, 8))
    only(case.expect, {"emit", "final_state", "final_loop_state", "steps"}, "expect")
    for max_steps in (None, case.hints["max_steps"]):
        result = function(arguments, max_steps)
        check_equal(result, case.expect, case.rtol, case.atol, f"max_steps={max_steps}")
        if case.gradients:
            check_gradients(case, lambda given, m=max_steps: function(given, m), arguments)


def forward_program(case: Case) -> tuple[Callable[..., list], list] | None:
    """A function of arrays that gives the leaves of `forward_expected`, and its arguments."""
    if case.raises:
        return None
    function, arguments = _program(case)
    leaves, structure = jax.tree.flatten(arguments)

    def program(*leaves: jax.Array) -> list:
        given = jax.tree.unflatten(structure, leaves)
        return jax.tree.leaves(function(given, case.hints["max_steps"]))

    return program, leaves


def forward_expected(case: Case) -> list:
    """The expected results of `forward_program`, flat: emitted rows are padded with zeros."""
    rows = case.hints["max_steps"]
    emit = jax.tree.map(lambda leaf: _padded(leaf, rows), case.expect["emit"])
    expect = {**case.expect, "emit": emit, "steps": np.int32(case.expect["steps"])}
    if "tensor-array" in case.tags:
        expect["final_loop_state"] = _padded(expect["final_loop_state"], rows)
    return jax.tree.leaves(expect)


def _padded(leaf: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([leaf, np.zeros((rows - len(leaf), *leaf.shape[1:]), leaf.dtype)])


def _program(case: Case) -> tuple[Callable[..., dict[str, Any]], dict[str, Any]]:
    call = only(case.call, {"cell", "loop_fn", *OPTIONS}, "call")
    assert call["cell"] == Fn("cell")
    options = {name: call[name] for name in OPTIONS if name in call}

    def function(arguments: dict[str, Any], max_steps: int | None) -> dict[str, Any]:
        settings = dict(arguments)
        cell = make_cell(case, settings.pop("params"))
        loop_fn = make_loop_fn(call["loop_fn"], settings)
        emit, state, loop_state = raw_rnn(cell, loop_fn, **options, max_steps=max_steps)
        steps = jax.tree.leaves(emit, is_leaf=_is_array)[0].size()
        return {
            "emit": jax.tree.map(lambda array: array.stack(), emit, is_leaf=_is_array),
            "final_state": state,
            "final_loop_state": _stacked(loop_state, max_steps),
            "steps": steps,
        }

    params = case.cell_config.get("params", {})
    return function, as_jax({"params": params, **array_settings(call["loop_fn"])})


def _stacked(loop_state: Any, max_steps: int | None) -> Any:
    def stack(node: Any) -> Any:
        return node.stack()[:max_steps] if _is_array(node) else node

    return jax.tree.map(stack, loop_state, is_leaf=_is_array)


def _is_array(node: Any) -> bool:
    return isinstance(node, TensorArray)
