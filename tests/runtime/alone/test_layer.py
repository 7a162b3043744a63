"""The layer face of a model, without a compiler: arguments, states, weights, what is missing."""

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import layers, tiny

RNG = np.random.default_rng(6)
X = RNG.standard_normal((2, 6, 3)).astype(np.float32)
H = RNG.standard_normal((2, 3)).astype(np.float32)
C = RNG.standard_normal((2, 3)).astype(np.float32)
MASK = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], bool)
Y, LAST = layers.steps(X)


def same(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_calls():
    layer = layers.model().layer
    same(layer(X), Y)
    same(layer(X.tolist()), Y)
    same(layer(X.astype(np.float64)), Y)
    same(layer(X[:, :5]), Y[:, :5])
    for given in (H, [H], {"h": H}, H.tolist(), (H,), [None, H]):
        same(layer(X, initial_state=given), layers.steps(X, H)[0])
    same(layer(X, H), layers.steps(X, H)[0])
    same(layer([X, H]), layers.steps(X, H)[0])
    assert "Layer RNN 'memory' on fake" in repr(layer)
    assert layer.model.layer is layer


def test_masks_and_constants():
    layer = layers.model(takes=("mask", "constants", "reset")).layer
    same(layer(X, constants=C), layers.steps(X, constants=C)[0])
    want = layers.steps(X, H, MASK, C)[0]
    same(layer(X, constants=[C], mask=MASK, initial_state=H), want)
    same(layer(X, constants=[C], mask=MASK.astype(int), initial_state=H), want)
    same(layer([X, H, C], mask=MASK, training=False), want)
    same(layer([X, C]), layers.steps(X, constants=C)[0])
    with pytest.raises(rt.ArgumentError, match="compiled with 1 constants, got 0"):
        layer(X)
    with pytest.raises(rt.ArgumentError, match="compiled with 1 constants, got 2"):
        layer(X, constants=[C, C])


def test_all_in_one_list():
    layer = layers.model(takes=("initial_state", "constants"), streams=False, listed=True).layer
    same(layer([X, H, C]), layers.steps(X, H, constants=C)[0])
    same(layer(X, constants=C), layers.steps(X, constants=C)[0])


def test_a_stateful_layer():
    layer = layers.model(flags={"stateful": True}).layer
    assert layer.stateful and not layer.states[0].any()
    same(layer(X), Y)
    same(layer.states[0], LAST)
    again, last = layers.steps(X, LAST)
    same(layer(X), again)
    assert layer._session.states["n"] == 3  # what is no state of the layer starts again
    layer.reset_states([H])
    same(layer(X), layers.steps(X, H)[0])
    layer.reset_states(H)
    same(layer.states[0], H)
    layer.reset_states()
    same(layer(X, initial_state=H), layers.steps(X, H)[0])
    same(layer.states[0], layers.steps(X, H)[1])
    with pytest.raises(rt.ArgumentError, match="a batch of 2, got inputs with a batch of 1"):
        layer(X[:1])
    with pytest.raises(rt.ArgumentError, match="expects 1 states, but `reset_states` received 2"):
        layer.reset_states([H, H])
    with pytest.raises(rt.ArgumentError, match=r"state 0 is .*shape \(2, 3\), got \(2, 2\)"):
        layer.reset_states(H[:, :2])


def test_a_stateful_layer_after_a_lost_device():
    layer = layers.model(flags={"stateful": True}).layer
    layer(X)
    layer.model.lost(layer.model.runner())
    with pytest.raises(rt.StateError, match="lost"):
        layer(X)
    layer.reset_states()
    same(layer(X), Y)


def test_a_stateful_layer_whose_states_are_inputs():
    flags = {"stateful": True, "return_state": True}
    layer = layers.model(takes=("initial_state",), streams=False, flags=flags).layer
    assert layer.states == [None]
    with pytest.raises(rt.LayerAttributeError, match="no states before its first call"):
        layer.reset_states()
    y, last = layer(X)
    same(y, Y)
    same(layer.states[0], last)
    same(layer(X)[0], layers.steps(X, LAST)[0])
    layer.reset_states(H)
    same(layer(X)[0], layers.steps(X, H)[0])
    same(layer(X, initial_state=H)[0], layers.steps(X, H)[0])
    with pytest.raises(rt.ArgumentError, match="a batch of 2, got inputs with a batch of 1"):
        layer(X[:1])
    silent = layers.model(takes=("initial_state",), streams=False, flags={"stateful": True}).layer
    with pytest.raises(rt.LayerRuntimeError, match="does not return its states.*return_state=True"):
        silent(X)


def test_time_major():
    layer = layers.model(flags={"time_major": True}).layer
    with pytest.raises(rt.ArgumentError, match=r"state 0 has shape \(2, 3\).*expected \(6, 3\)"):
        layer(X, initial_state=H)


def test_attributes():
    layer = layers.model(flags={"return_state": True}).layer
    assert layer.return_sequences and layer.return_state and not layer.go_backwards
    assert not layer.stateful and layer.states == [None] and layer.built
    assert layer.name == "memory" and layer.count_params() == 9
    assert layer.get_config() == {"units": 3}
    with pytest.raises(AttributeError, match="a compiled RNN has no attribute 'units'"):
        layer.units  # noqa: B018
    with pytest.raises(rt.LayerAttributeError, match="is not in the artifact, because JSON"):
        layers.model(config=None).layer.get_config()
    assert layer.compute_output_shape((None, 7, 3)) == [(None, 7, 3), (None, 3)]
    assert layer.compute_output_shape([(2, 7, 3), (2, 3)]) == [(2, 7, 3), (2, 3)]
    with pytest.raises(rt.ArgumentError, match=r"inputs of rank 3, got the shape \(2, 3\)"):
        layer.compute_output_shape((2, 3))


def test_weights():
    layer = layers.model().layer
    (weight,) = layer.weights
    assert repr(weight) == "<LayerWeight 'kernel' float32[3, 3]>"
    assert layer.variables[0].name == layer.weight_names[0] == "kernel"
    np.testing.assert_array_equal(np.asarray(weight), tiny.KERNEL)
    np.testing.assert_array_equal(layer.get_weights()[0], tiny.KERNEL)
    layer.set_weights([2 * tiny.KERNEL.astype(np.float64)])
    assert layer.get_weights()[0].dtype == np.float32
    np.testing.assert_array_equal(layer.model.get_weights()["kernel"], 2 * tiny.KERNEL)
    weight.assign(tiny.KERNEL.tolist())
    np.testing.assert_array_equal(weight.numpy(), tiny.KERNEL)
    wrong = [
        ([], "got 0 arrays, but layer `memory` has 1 weights: kernel"),
        ([tiny.KERNEL[:2]], r"weight `kernel` has shape \(3, 3\), got"),
    ]
    for arrays, message in wrong:
        with pytest.raises(rt.ArgumentError, match=message):
            layer.set_weights(arrays)


REFUSED = [
    ({}, lambda f: f(X, constants=C), "`constants` was given, but Cell.call takes none"),
    ({}, lambda f: f(X, initial_state=[H, H]), "`initial_state` has 2 states, but the cell of"),
    ({}, lambda f: f([X, H], initial_state=H), "got a list of 2 inputs together with `initial_"),
    ({}, lambda f: f(X[0]), "rank at least 3"),
    ({}, lambda f: f(X[:, :, :2]), r"built for features \(3,\), got inputs of shape \(2, 6, 2\)"),
    ({}, lambda f: f(X, mask=MASK), r'without it. Compile it with mask: .*"batch=...", "time=...'),
    ({}, lambda f: f(X, size=3), "does not know the argument 'size'; it takes initial_state"),
    ({}, lambda f: f(X, training=True), "compiled for inference"),
    ({}, lambda f: f(X, None, None, None), "takes 2 arguments after the inputs, got 3"),
    ({"streams": False}, lambda f: f(X, initial_state=H), "no states to start from or to keep"),
    ({"starts_at_zero": False, "takes": ("initial_state",), "streams": False}, lambda f: f(X),
     "its cell does not start at zeros: give `initial_state`"),
    ({"takes_constants": True}, lambda f: f(X, constants=C),
     "`constants` was given, but this artifact of layer `memory` was compiled without it"),
]  # fmt: skip


@pytest.mark.parametrize("options, use, message", REFUSED)
def test_refused(options, use, message):
    with pytest.raises((rt.ArgumentError, rt.LayerRuntimeError), match=message):
        use(layers.model(**options).layer)


def test_a_layer_without_a_cell():
    layer = layers.model(cell=None, states=[], streams=True).layer
    same(layer(X), Y)
    pair = layers.model(cell=None, states=[], takes=("constants",), listed=True).layer
    same(pair([X, C]), layers.steps(X, constants=C)[0])
    with pytest.raises(rt.SignatureError, match="expected a list of 2"):
        pair(X)


WRONG = [
    ("", rt.LayerAttributeError, "'tiny' was not compiled from a layer, so there is no model.lay"),
    ("{", rt.NotAnArtifactError, r'metadata\["layer"\] is not JSON'),
    ("[]", rt.NotAnArtifactError, "expected an object"),
    (layers.facts(weights=["bias"]), rt.NotAnArtifactError, "names the weight 'bias'"),
    (layers.facts(weights=["kernel"] * 2), rt.NotAnArtifactError, "names a weight twice"),
    (layers.facts(states=[{"shape": [4], "dtype": "float32", "slot": "h"}]),
     rt.NotAnArtifactError, "names the state 'h'"),
    (layers.facts(states=[{"shape": [3], "dtype": "float32", "slot": "c"}]),
     rt.NotAnArtifactError, "names the state 'c'"),
    (layers.facts(flags={"stateful": 1}), rt.NotAnArtifactError, "flags.stateful is 1"),
]  # fmt: skip


@pytest.mark.parametrize("document, error, message", WRONG)
def test_what_an_artifact_may_say(document, error, message):
    with pytest.raises(error, match=message):
        layers.model(document=document).layer  # noqa: B018
