"""The recorded gradients through `entry="gradients"`: compiled for the CPU, run by the runtime.

Every twelfth case is run; the others are marked slow.
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conformance.cases import Case, check_equal, find, load, only, weighted_loss
from conformance.test_compiled import DATA, NO_FLOAT64, WIDER
from conformance.test_conformance import REPLAYS

import recurrent_iree as ri
import recurrent_iree_runtime as rt


def gradient_cases() -> list[Any]:
    paths = [p for p in find(DATA) if json.loads(p.read_text()).get("gradients")]
    return [
        pytest.param(p, id=f"{p.parent.name}/{p.stem}", marks=[pytest.mark.slow] if i % 12 else [])
        for i, p in enumerate(paths)
    ]


@pytest.mark.parametrize("gradient_path", gradient_cases())
def test_compiled_gradients(
    gradient_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    record_property("conformance", f"{gradient_path.parent.name} compiled_gradients")
    case = load(gradient_path)
    replay = importlib.import_module(f"conformance.{REPLAYS[case.api]}")
    checked: list[str] = []

    def check(case: Case, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        try:
            check_compiled(case, function, arguments)
        except ri.ArgumentError as error:  # the loop of raw_rnn that runs on the host
            assert "`max_steps` is required" in str(error)
        else:
            checked.append(case.name)

    monkeypatch.setattr(replay, "check_gradients", check)
    with case.precision():
        replay.replay(case)
    assert checked


def cut(result: Any, weights: Any) -> Any:
    """`result` without the rows that `max_steps` adds behind those that were recorded."""
    if weights is None:
        return result
    if isinstance(weights, dict):
        return {**result, **{key: cut(result[key], weights[key]) for key in weights}}
    if isinstance(weights, list | tuple):
        return [cut(one, other) for one, other in zip(result, weights, strict=True)]
    return result[: len(weights)] if weights.ndim else result


def check_compiled(
    case: Case, function: Callable[[dict[str, Any]], Any], arguments: dict[str, Any]
) -> None:
    """Compile the loss of the case with its gradients, and compare those that were recorded."""
    want = case.gradients
    assert want is not None
    only(want["expect"], arguments, "gradients.expect")
    leaves, structure = jax.tree.flatten(arguments)
    arrays = [np.asarray(leaf) for leaf in leaves]

    def loss(*leaves: jax.Array) -> jax.Array:
        outputs = function(jax.tree.unflatten(structure, leaves))
        return weighted_loss(want["loss"], cut(outputs, want["weights"]), want["weights"])

    specs = [ri.spec(*a.shape, dtype=a.dtype) for a in arrays]
    options = ri.BuildOptions(verify=False)
    try:
        artifact = ri.compile(loss, *specs, entry="gradients", targets=["cpu"], options=options)
    except ri.UnsupportedError as error:
        assert "float64" in case.tags, error
        assert NO_FLOAT64 in str(error)
        return
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        found = model.gradients(*arrays).inputs
    filled = [np.zeros_like(a) if g is None else g for g, a in zip(found, arrays, strict=True)]
    got = jax.tree.unflatten(structure, filled)
    rtol, atol = want["rtol"] * WIDER, want["atol"] * WIDER
    for name, expected in want["expect"].items():
        check_equal(got[name], expected, rtol, atol, f"gradient of {name}")
