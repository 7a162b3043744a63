"""Long loops are cut into pieces: the numbers stay, and equal pieces share one kernel."""

import re

import jax
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree._capture import _pieces
from recurrent_iree._compile import _compiler_program
from recurrent_iree_compiler._link import link, module_text
from recurrent_iree_compiler._plan import plan_module

BATCH, TIME, WIDTH = 3, 14, 8


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "LARGE", 0)
    monkeypatch.setattr(_pieces, "PIECE", 1024)


def spec() -> ri.Spec:
    return ri.spec(f"batch={BATCH}", f"time={TIME}", WIDTH)


@pytest.mark.parametrize("target", ["cpu", "vmvx"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_numbers_stay(target: str, backwards: bool) -> None:
    layer = ri.layers.LSTM(WIDTH, return_sequences=True, return_state=True, go_backwards=backwards)
    artifact = ri.compile(layer, spec(), targets=[target], options=ri.BuildOptions(cache=False))
    assert artifact.report()["program"]["loops"][0]["pieces"] == TIME // 4
    x = np.random.default_rng(0).standard_normal((BATCH, TIME, WIDTH)).astype(np.float32)
    with rt.load(artifact.to_bytes(), device=target) as model:
        got = jax.tree.leaves(model(x))
    for one, other in zip(got, jax.tree.leaves(layer(x)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_equal_pieces_share_a_kernel() -> None:
    lowered = ri.lower(ri.layers.LSTM(WIDTH, return_sequences=True), spec(), xla=False)
    module = link(_compiler_program(lowered, {}), {})
    decisions = plan_module(module, "cpu", "cpu")
    lengths = [d.steps for d in decisions if d.form == "fused kernel"]
    assert lengths == [5, 5, 4, 1]  # three pieces of the sequence, and the step of a stream
    kernels = re.findall("stream.executable private @(?!pack_)", module_text(module))
    assert len(kernels) == len(set(lengths))
