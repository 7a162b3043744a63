"""Weights stored as bfloat16 or int8: through the file, to sessions and to other targets."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree._cli._main import main
from recurrent_iree_compiler import recompile

RNG = np.random.default_rng(11)
X = RNG.standard_normal((2, 9, 12)).astype(np.float32)
BYTES = {"bf16": 2, "int8": 1}


def built(kind, make=ri.layers.LSTM, targets=("cpu",), **options):
    layer = make(20, return_sequences=True, name="memory", **options)
    layer(X)
    spec = ri.spec("batch=2", "time=9", 12)
    return layer, ri.compile(layer, spec, targets=list(targets), weights=kind)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("make", [ri.layers.LSTM, ri.layers.GRU])
def test_the_artifact_computes_with_the_rounded_weights(kind, make):
    layer, artifact = built(kind, make)
    (target,) = artifact.report()["targets"]
    assert target["verification"]["status"] == "verified"
    for made in target["recurrences"]:
        assert made["form"] == "fused kernel"
        assert (
            f"are read as {'bf16' if kind == 'bf16' else 'i8'}" in made["details"]["stored weights"]
        )
    exact = np.asarray(layer(X))
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        made = model(X)
        layer.set_weights(model.layer.get_weights())  # rounded, in float32
        np.testing.assert_allclose(made, np.asarray(layer(X)), rtol=1e-4, atol=1e-5)
        assert 0 < np.abs(made - exact).max() < 0.05
        stream = model.session(batch=2)
        steps = np.stack([stream.step(X[:, t]) for t in range(9)], 1)
        np.testing.assert_allclose(steps, made, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_the_file_holds_small_weights_and_callers_see_float32(kind):
    layer, artifact = built(kind)
    file = rt.read(artifact.to_bytes())
    stored, matrices = file.weights(), 12 * 80 + 20 * 80
    size = sum(a.nbytes for n, a in stored.items() if not n.endswith((".scale", "bias")))
    assert size == matrices * BYTES[kind]
    assert len(artifact.members["weights.safetensors"]) < 4 * matrices * 0.8
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        before, weights = model(X), model.get_weights()
        assert {a.dtype.name for a in weights.values()} == {"float32"}
        assert [w.dtype.name for w in model.layer.weights] == ["float32"] * 3
        model.set_weights(weights)
        np.testing.assert_array_equal(model(X), before)
        other = {name: array * 1.5 for name, array in weights.items()}
        model.set_weights(other)
        layer.set_weights([model.get_weights()[w.name] for w in model.layer.weights])
        np.testing.assert_allclose(model(X), np.asarray(layer(X)), rtol=1e-4, atol=1e-5)
        name = model.layer.weight_names[0]
        model.layer.assign({name: weights[name]})
        np.testing.assert_allclose(model.get_weights()[name], weights[name], rtol=1e-6)
        with pytest.raises(rt.ArtifactError, match=r"the program needs"):
            model.set_weights({**weights, name: weights[name][:-1]})


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_other_targets_and_recompiling_keep_the_rounded_weights(kind):
    _, artifact = built(kind, targets=("xla",))
    again = recompile(artifact.to_bytes(), ["cpu", "vmvx", "xla"])
    assert again.members["weights.safetensors"] == artifact.members["weights.safetensors"]
    report = again.report()
    assert report["program"]["storage"] == artifact.report()["program"]["storage"]
    assert {t["verification"]["status"] for t in report["targets"]} == {"verified"}
    cpu, vmvx, _ = report["targets"]
    assert "are read as" in cpu["recurrences"][0]["details"]["stored weights"]
    why = vmvx["recurrences"][0]["details"]["stored weights"]
    assert why == "1 are widened to f32 before the loop, because there is no kernel"


@pytest.mark.vulkan
@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_vulkan(kind):
    _, artifact = built(kind, targets=("vulkan:llvmpipe",))
    (target,) = artifact.report()["targets"]
    assert target["verification"]["status"] == "verified"


def test_inspect_shows_the_loss(tmp_path):
    (tmp_path / "program.py").write_text(
        "import recurrent_iree as ri\nlayer = ri.layers.GRU(8, name='memory')\n"
    )
    path = tmp_path / "small.riree"
    arguments = ["--spec", "batch=1,time=3,4", "--weights", "int8", "-o", str(path)]
    done = CliRunner().invoke(main, ["compile", f"{tmp_path}/program.py:layer", *arguments])
    assert done.exit_code == 0, done.output
    shown = CliRunner().invoke(main, ["inspect", str(path)]).output
    assert "memory/recurrent_kernel: int8[8, 24]  (callers see float32)" in shown
    assert "memory/bias is kept: not a matrix of a product" in shown
    loss = rt.read(path).read_member("report.json")
    first = json.loads(bytes(loss))["program"]["storage"]["loss"][0]
    assert f"max abs error {first['max abs error']:.3g}" in shown
    assert f"relative error {first['relative error']:.3g}" in shown


def test_a_bad_value_of_weights():
    with pytest.raises(rt.ArgumentError, match="weights='fp8' says how weights are stored"):
        built("fp8")
