"""Tolerances of golden calls: fixed, but fair to programs that let rounding grow."""

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree._capture import _background, _golden
from recurrent_iree._capture._golden import ENOUGH
from recurrent_iree._capture._sensitivity import fair_atol, forgets_rounding

BASE = (1e-4, 2e-5)


def _loop(step, h0, xs):
    return jax.lax.scan(lambda h, x: (step(h, x), step(h, x)), h0, xs)[1]


def _chaotic(w, x):
    """A logistic map, whose errors double at each step."""
    return (_loop(lambda h, v: w["r"] * h * (1 - h) + 0 * v, jax.nn.sigmoid(x[0]), x),)


def _forgetting(w, x):
    return (_loop(lambda h, v: w["r"] * h + jnp.tanh(v), x[0], x),)


def _atol(program, weights, inputs):
    outputs = [np.asarray(y) for y in program(weights, *inputs)]
    return fair_atol(lambda w, i: program(w, *i), weights, inputs, outputs, BASE)


def _inputs(steps, scale=1.0):
    rng = np.random.default_rng(3)
    return [(scale * rng.standard_normal((steps, 2, 5))).astype(np.float32)]


def test_a_program_that_forgets_rounding_keeps_its_tolerance():
    r = {"r": np.float32(0.5)}
    assert _atol(_forgetting, r, _inputs(200)) == BASE[1]
    assert _atol(_forgetting, r, _inputs(200, 100.0)) == BASE[1]


def test_a_program_that_lets_rounding_grow_gets_what_last_bits_do_to_it():
    r = {"r": np.float32(3.7)}
    few, more = _atol(_chaotic, r, _inputs(6)), _atol(_chaotic, r, _inputs(16))
    assert BASE[1] <= few < more < 1e-2


def test_no_tolerance_is_larger_than_a_hundredth_of_the_numbers():
    atol = _atol(_chaotic, {"r": np.float32(3.7)}, _inputs(300))
    assert 5e-3 < atol <= 1e-2


def test_integers_and_empty_outputs_have_no_tolerance_of_their_own():
    def program(w, x):
        return jnp.argmax(x, -1), x[:0], jnp.full_like(x, jnp.nan)

    assert _atol(program, {}, _inputs(4)) == BASE[1]


def test_a_chaotic_program_compiles(tmp_path):
    def program(x):
        return _chaotic({"r": np.float32(3.6)}, x)[0]

    path = tmp_path / "chaotic.riree"
    ri.compile(program, ri.spec(18, 2, 5), targets=["cpu"]).save(path)
    with rt.load(path, device="cpu") as model:
        assert all(golden.atol > BASE[1] for golden in model.manifest.goldens)


def test_large_calls_are_made_once(tmp_path):
    artifact = ri.compile(lambda x: x + 1, ri.spec(ENOUGH // 8), targets=["cpu"])
    artifact.save(tmp_path / "large.riree")
    with rt.load(tmp_path / "large.riree", device="cpu") as model:
        assert len(model.manifest.goldens) == 1


def test_the_effort_of_xla_follows_the_operations_of_a_call(monkeypatch):
    """Of all steps of a loop; and it changes nothing but the last bits."""
    efforts = []
    compiled = jax.stages.Lowered.compile

    def compile(self, options=None):
        efforts.append(options)
        return compiled(self, options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile)
    weights = jnp.full((5, 5), 0.1)

    def outputs(limit):
        monkeypatch.setattr(_background, "_WORTH_EFFORT", limit)
        loop = ri.lower(lambda x: _loop(lambda h, v: h @ weights + v, x[0], x), ri.spec(30, 2, 5))
        return [case.outputs[0] for case in loop.goldens]

    products = 30 * 2 * 2 * 5 * 5  # in a cell that is called twice in each step
    some, more = outputs(100 * products), outputs(products)
    assert efforts == [None, {"xla_backend_optimization_level": 1}]
    for one, other in zip(some, more, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def _forgets(program, weights, inputs, steps, axes=(0,)):
    outputs = [np.asarray(y) for y in program(weights, *inputs)]

    def call(weights, inputs):
        return program(weights, *inputs)

    return forgets_rounding(call, weights, inputs, outputs, axes, steps, BASE)


def test_few_steps_tell_that_a_program_forgets_rounding():
    r = {"r": np.float32(0.5)}
    assert _forgets(_forgetting, r, _inputs(32), 1000)
    assert _atol(_forgetting, r, _inputs(1000)) == BASE[1]


def test_few_steps_do_not_speak_for_what_grows():
    r = {"r": np.float32(3.7)}
    assert _atol(_chaotic, r, _inputs(4)) == BASE[1]  # what 4 steps do is within the tolerance
    assert _forgets(_chaotic, r, _inputs(4), 4)
    assert not _forgets(_chaotic, r, _inputs(4), 100)
    assert _atol(_chaotic, r, _inputs(100)) > BASE[1]


def test_growth_over_many_steps_is_no_number_too_large():
    r = {"r": np.float32(3.7)}
    assert not _forgets(_chaotic, r, _inputs(4), 1_000_000)


def test_few_steps_do_not_speak_for_outputs_without_time():
    def last(w, x):
        return (_forgetting(w, x)[0][-1],)

    assert not _forgets(last, {"r": np.float32(0.5)}, _inputs(32), 1000, (None,))


def test_a_large_program_is_judged_by_few_steps(monkeypatch):
    monkeypatch.setattr(_golden, "_MANY_FLOPS", 0.0)
    whole = []
    monkeypatch.setattr(_golden, "fair_atol", lambda *_: whole.append(1) or 1.0)
    start = jnp.full((2, 5), 0.3)

    def tolerances(step):
        whole.clear()
        spec = ri.spec("time=100", 2, 5)
        lowered = ri.lower(lambda x: _loop(step, start, x), spec)
        return {case.dims["time"]: case.atol for case in lowered.goldens}

    assert tolerances(lambda h, v: 0.5 * h + jnp.tanh(v))[100] == BASE[1]
    assert len(whole) == 1  # that of the call of one step
    assert tolerances(lambda h, v: 3.7 * h * (1 - h) + 1e-3 * jnp.tanh(v))[100] == 1.0
