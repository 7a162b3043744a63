"""Kernels that do not need each other run side by side: the choice, the report, the numbers."""

import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import BuildOptions, PlanOptions
from recurrent_iree_compiler._plan._schedule import FLAGS

LSTM, T, H = ri.layers.LSTM, 30, 12


def stack():
    return ri.layers.Sequential([LSTM(H, return_sequences=True), LSTM(H)])


def directions():
    return ri.layers.Bidirectional(LSTM(H, return_sequences=True))


def built(layer, target="cpu", forced=None):
    options = BuildOptions(plan=PlanOptions(side_by_side=forced))
    spec = ri.spec("batch=1", f"time={T}", H)
    artifact = ri.compile(layer, spec, targets=[target], options=options)
    (report,) = artifact.report()["targets"]
    assert all(r["form"] == "fused kernel" for r in report["recurrences"])
    return artifact, report


def test_two_directions_run_side_by_side():
    layer = directions()
    artifact, report = built(layer)
    assert report["schedule"] == "side by side: 2 kernels do not need each other"
    assert FLAGS[0] in report["flags"]
    x = np.random.default_rng(0).standard_normal((1, T, H)).astype(np.float32)
    for device in ("cpu:local-sync", "cpu:local-task"):
        with rt.load(artifact.to_bytes(), device=device) as model:
            for _ in range(20):
                np.testing.assert_allclose(model(x), layer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [stack, lambda: LSTM(H)])
def test_kernels_in_a_row_stay_in_a_row(make):
    report = built(make())[1]
    assert report["schedule"] == "one after the other: every kernel needs the one before it"
    assert FLAGS[0] not in report["flags"]


@pytest.mark.parametrize("forced", [True, False])
def test_the_caller_decides(forced):
    report = built(directions() if not forced else stack(), forced=forced)[1]
    assert report["schedule"].endswith("chosen by the caller")
    assert (FLAGS[0] in report["flags"]) == forced


def test_one_core_has_no_sides():
    report = built(directions(), "cpu:wasm32")[1]
    assert report["schedule"] == "one after the other: the target has one core"
