"""A stack of cells in one step is a kernel for each cell, in sequences, streams and gradients."""

import jax
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree._capture import _layers

WIDTH = 9


@pytest.fixture(autouse=True)
def small_products_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_layers, "WORTH", 1)


def layer() -> ri.layers.RNN:
    cells = [ri.layers.LSTMCell(WIDTH), ri.layers.GRUCell(5), ri.layers.SimpleRNNCell(WIDTH)]
    return ri.layers.RNN(cells, return_sequences=True, return_state=True)


def inputs(steps: int) -> np.ndarray:
    return np.random.default_rng(steps).standard_normal((2, steps, 4)).astype(np.float32)


def close(got: object, want: object) -> None:
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_any_length_and_streams() -> None:
    stack = layer()
    options = ri.BuildOptions(cache=False)
    artifact = ri.compile(stack, ri.spec("batch=2", "time=?", 4), targets=["cpu"], options=options)
    report = artifact.report()
    assert report["targets"][0]["lengths"] == "one function runs any number of steps"
    made = report["targets"][0]["recurrences"]
    assert {r["form"] for r in made} == {"fused kernel"}
    assert sorted((r["steps"] for r in made), key=str) == [1, None, None, None]
    x = inputs(7)
    whole = stack(x)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        close(model(x), whole)
        stream = model.session(batch=2)
        steps = [stream.step(x[:, t])[0] for t in range(7)]
        close(np.stack(steps, 1), whole[0])


def test_gradients() -> None:
    stack, x = layer(), inputs(6)
    artifact = ri.compile(
        stack,
        ri.spec("batch=2", "time=6", 4),
        targets=["cpu"],
        entry="gradients",
        options=ri.BuildOptions(cache=False),
    )
    report = artifact.report()
    assert report["targets"][0]["verification"]["status"] == "verified"
    assert [loop["layers"][:3] for loop in report["program"]["loops"]] == ["3: "] * 2
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        want, pull = jax.vjp(lambda x: jax.tree.leaves(stack(x)), x)
        ones = [np.ones_like(w) for w in want]
        close(model.gradients(x, cotangents=ones).inputs[0], pull(ones)[0])
