"""Models and sessions on the fake driver: state, misuse, faults."""

import threading
import time

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import tiny

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 11, 3)).astype(np.float32)
Y, H, N = tiny.steps(X)


@pytest.fixture
def model():
    return tiny.fake_model()[0]


def test_whole_chunks_and_steps_agree(model):
    np.testing.assert_allclose(model(X), Y, rtol=1e-6)
    for cuts in ([0, 11], [0, 1, 2, 11], [0, 5, 6, 11], [0, 4, 8, 11]):
        with model.session(batch=2) as stream:
            pairs = zip(cuts, cuts[1:], strict=False)
            parts = [stream.run(X[:, a:b]) for a, b in pairs]
            np.testing.assert_allclose(np.concatenate(parts, 1), Y, rtol=1e-6)
            np.testing.assert_allclose(stream.states["h"], H, rtol=1e-6)
            assert stream.states["n"] == 11
    stream = model.session(2)
    for t in range(11):
        np.testing.assert_allclose(stream.step(X[:, t]), Y[:, t], rtol=1e-6)


def test_chunks_are_split_greedily():
    model, driver = tiny.fake_model()
    driver.calls.clear()
    model(X)
    assert driver.calls == ["init_b2", *["chunk_b2_t4"] * 2, *["chunk_b2_t1"] * 3]


def test_run_by_name(model):
    np.testing.assert_allclose(model.run("chunk", X), Y, rtol=1e-6)
    assert set(model.run("init", batch=2)) == {"h", "n"}
    with pytest.raises(rt.ArgumentError, match="has no entry 'step'; it has sequence, chunk"):
        model.run("step", X)
    with pytest.raises(rt.ArgumentError, match="'init' takes no arrays"):
        model.run("init", X)
    assert list(model.entries) == ["sequence", "chunk", "init", "pair"]


def test_sizes_of_sessions(model):
    with pytest.raises(rt.ArgumentError, match="needs its size: batch=1 or batch=2"):
        model.session()
    with pytest.raises(rt.ArgumentError, match="batch=3 was not compiled; it can be batch=1 or"):
        model.session(batch=3)
    with pytest.raises(rt.ArgumentError, match="width= is unknown; a session takes batch"):
        model.session(width=3)
    assert model.session(batch=1).dims == {"batch": 1}


def test_reset_states_and_clone(model):
    stream = model.session(batch=2)
    stream.run(X[:, :4])
    kept = stream.states
    other = stream.clone()
    stream.step(X[:, 4])
    np.testing.assert_array_equal(other.states["h"], kept["h"])
    np.testing.assert_allclose(other.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)
    stream.set_states(kept)
    np.testing.assert_allclose(stream.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)
    stream.reset()
    np.testing.assert_allclose(stream.run(X), Y, rtol=1e-6)


def test_states_are_copies(model):
    stream = model.session(batch=2)
    stream.states["h"][:] = 7
    assert (stream.states["h"] == 0).all()


BAD_STATES = [
    ([], rt.StateError, r"given as a list; expected a dict with h, n"),
    ({"h": H}, rt.StateError, r"the state 'n' is missing; expected h, n"),
    ({"h": H, "n": 1, "c": 1}, rt.StateError, r"the state 'c' is unknown"),
    ({"h": H[:1], "n": 1}, rt.SignatureError, r"state 'h' has shape \[1, 3\]; expected \[2, 3\]"),
    ({"h": H.astype(float), "n": 1}, rt.SignatureError, r"state 'h' has dtype float64"),
    ({"h": H, "n": 1.5}, rt.SignatureError, r"the state 'n' is 1.5, which int32 cannot hold"),
]


@pytest.mark.parametrize("states, error, message", BAD_STATES)
def test_wrong_states_change_nothing(model, states, error, message):
    stream = model.session(batch=2)
    stream.step(X[:, 0])
    with pytest.raises(error, match=message):
        stream.set_states(states)
    np.testing.assert_allclose(stream.run(X[:, 1:]), Y[:, 1:], rtol=1e-6)


STEPS = [
    (X[:, 0].astype(float), r"has dtype float64; expected float32"),
    (X[:, :1], r"has 3 dimensions \(shape \[2, 1, 3\]\); expected 2: \[batch, 3\]"),
    (X[:1, 0], r"the inputs have batch 1, and this session has batch 2; .*session\(batch=1\)"),
    (X[:, 0, :2], r"axis 1 is 2 instead of 3"),
]


@pytest.mark.parametrize("value, message", STEPS)
def test_a_refused_step_keeps_the_state(model, value, message):
    stream = model.session(batch=2)
    stream.run(X[:, :3])
    with pytest.raises(rt.SignatureError, match=message):
        stream.step(value)
    with pytest.raises(rt.SignatureError):
        stream.run(X[:1])
    assert stream.run(X[:, :0]).shape == Y[:, :0].shape
    np.testing.assert_allclose(stream.run(X[:, 3:]), Y[:, 3:], rtol=1e-6)


def test_steps_take_lists_and_names(model):
    stream = model.session(batch=2)
    np.testing.assert_allclose(stream.step(x=X[:, 0].tolist()), Y[:, 0], rtol=1e-6)


def test_a_failed_call_poisons_the_state():
    model, driver = tiny.fake_model()
    stream = model.session(batch=2)
    stream.step(X[:, 0])
    good, fail = driver.functions["chunk_b2_t1"], True

    def fails(*arrays):
        if fail:
            raise rt.DeviceError("out of memory")
        return good(*arrays)

    model = rt.load(tiny.artifact(), device=rt.FakeDriver({**driver.functions,
                                                           "chunk_b2_t1": fails}))  # fmt: skip
    stream = model.session(batch=2)
    with pytest.raises(rt.DeviceError, match="out of memory"):
        stream.step(X[:, 0])
    for use in (lambda: stream.step(X[:, 0]), lambda: stream.run(X), lambda: stream.states):
        with pytest.raises(rt.StateError, match=r"state of this session was lost.*call reset\(\)"):
            use()
    fail = False
    stream.reset()
    np.testing.assert_allclose(stream.step(X[:, 0]), Y[:, 0], rtol=1e-6)


def test_a_lost_device_is_opened_anew():
    driver = tiny.fake_driver()
    good, lose = driver.functions["chunk_b2_t1"], [False]

    def call(*arrays):
        if lose.pop():
            raise rt.DeviceLostError("the device was lost")
        lose.append(False)
        return good(*arrays)

    driver.functions["chunk_b2_t1"] = call
    model = rt.load(tiny.artifact(), device=driver)
    stream, other = model.session(batch=2), model.session(batch=2)
    stream.step(X[:, 0])
    kept = stream.states
    lose.append(True)
    with pytest.raises(rt.DeviceLostError):
        stream.step(X[:, 1])
    lose.append(False)
    assert driver.loads == 1
    with pytest.raises(rt.StateError, match="lost"):
        stream.step(X[:, 1])
    assert driver.loads == 2
    with pytest.raises(rt.StateError, match="lost"):
        other.step(X[:, 0])
    np.testing.assert_allclose(model(X), Y, rtol=1e-6)
    stream.set_states(kept)
    np.testing.assert_allclose(stream.run(X[:, 1:]), Y[:, 1:], rtol=1e-6)
    other.reset()
    np.testing.assert_allclose(other.run(X), Y, rtol=1e-6)


def test_explicit_states(model):
    state = model.initial_state(batch=2)
    y1, after = model.advance(state, X[:, :4])
    y2, last = model.advance(after.clone(), X[:, 4:])
    np.testing.assert_allclose(np.concatenate([y1, y2], 1), Y, rtol=1e-6)
    np.testing.assert_allclose(last.to_host()["h"], H, rtol=1e-6)
    assert after.to_host()["n"] == 4
    with pytest.raises(rt.StateError, match=r"was consumed[\s\S]*# bug! state0 is used up"):
        model.advance(state, X)
    with pytest.raises(rt.StateError, match="was consumed"):
        state.to_host()
    with pytest.raises(rt.SignatureError):
        model.advance(last, X[:1].astype(float))
    model.advance(last, X)
    with pytest.raises(rt.StateError, match="belongs to another model"):
        tiny.fake_model()[0].advance(after, X)
    with pytest.raises(rt.ArgumentTypeError, match="state is a dict; expected a State"):
        model.advance({}, X)


def test_two_threads_in_one_session():
    inside, leave = threading.Event(), threading.Event()
    driver = tiny.fake_driver()

    def slow(*arrays):
        inside.set()
        leave.wait(10)
        return tiny.steps(*arrays)

    driver.functions["chunk_b1_t1"] = slow
    stream = rt.load(tiny.artifact(), device=driver).session(batch=1)
    thread = threading.Thread(target=stream.step, args=(X[:1, 0],))
    thread.start()
    inside.wait(10)
    uses = [lambda: stream.step(X[:1, 0]), lambda: stream.run(X[:1]), lambda: stream.states]
    for use in [*uses, stream.reset, stream.clone, lambda: stream.set_states({})]:
        with pytest.raises(rt.StateError, match="used by another thread. A session belongs to one"):
            use()
    leave.set()
    thread.join()
    assert stream.states["n"] == 1


def test_closing_during_a_step():
    inside, leave = threading.Event(), threading.Event()
    driver = tiny.fake_driver()

    def slow(*arrays):
        inside.set()
        leave.wait(10)
        return tiny.steps(*arrays)

    driver.functions["chunk_b1_t1"] = slow
    model = rt.load(tiny.artifact(), device=driver)
    stream = model.session(batch=1)
    thread = threading.Thread(target=stream.step, args=(X[:1, 0],))
    thread.start()
    inside.wait(10)
    model.close()
    leave.set()
    thread.join()
    with pytest.raises(rt.StateError, match="closed"):
        stream.step(X[:1, 0])


def test_closed_things(model):
    with model.session(batch=1) as stream:
        other = model.session(batch=1)
    uses = [lambda: stream.step(X[:1, 0]), lambda: stream.run(X[:1]), stream.reset]
    for use in [*uses, stream.clone, lambda: stream.states]:
        with pytest.raises(rt.StateError, match="this session was closed; open another"):
            use()
    stream.close()
    with model:
        pass
    for use in (lambda: model(X), lambda: model.session(batch=1), model.verify):
        with pytest.raises(rt.StateError, match="the model 'tiny' was closed"):
            use()
    with pytest.raises(rt.StateError, match="closed"):
        other.step(X[:1, 0])
    model.close()


def test_many_threads_share_a_model(model):
    failures = []

    def work(seed):
        x = np.random.default_rng(seed).standard_normal((1, 9, 3)).astype(np.float32)
        want = tiny.steps(x)[0]
        stream = model.session(batch=1)
        for _ in range(20):
            stream.reset()
            got = np.stack([stream.step(x[:, t]) for t in range(9)], 1)
            if not np.allclose(got, want) or not np.allclose(model(x), want):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_programs_that_cannot_be_streamed():
    entries = tuple(e for e in tiny.entries() if e.name == "pair")
    data = tiny.artifact(entries=entries, default_entry="pair", states=())
    calls = rt.Manifest.from_json
    with pytest.raises(rt.NotAnArtifactError, match="'sequence', which is no entry"):
        rt.read(data)
    assert calls
    manifest = tiny.manifest(entries=entries, default_entry="pair", states=())
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    data = rt.container_bytes(rt.pack(manifest, parts))
    model = rt.load(data, device=tiny.fake_driver())
    with pytest.raises(rt.StateError, match="'tiny' cannot be streamed: it has no chunk"):
        model.session()


def test_without_a_chunk_of_one():
    entries = tuple(
        rt.Entry(e.name, e.realization, e.inputs, e.input_tree, e.outputs, e.output_tree,
                 tuple(f for f in e.functions if f.dims.get("time") != 1))
        for e in tiny.entries()
    )  # fmt: skip
    model = rt.load(tiny.artifact(entries=entries), device=tiny.fake_driver())
    stream = model.session(batch=2)
    with pytest.raises(rt.ArgumentError, match="needs a chunk of length 1, .*lengths 4; use run"):
        stream.step(X[:, 0])
    with pytest.raises(rt.SignatureError, match="time 11, which the compiled chunk lengths 4 do"):
        model(X)
    with pytest.raises(rt.SignatureError, match="time 11"):
        stream.run(X)
    np.testing.assert_allclose(stream.run(X[:, :8]), Y[:, :8], rtol=1e-6)


def test_verify_finds_wrong_numbers():
    model, driver = tiny.fake_model()
    report = model.verify()
    assert report.ok and len(report.rows) == 5
    report.raise_if_failed()
    driver.functions["pair"] = lambda a, m, k: [np.logical_not(m), k + 2]
    bad = rt.load(tiny.artifact(), device=driver).verify()
    assert not bad.ok and [row.entry for row in bad.rows if not row.ok] == ["pair"]
    assert bad.rows[-1].max_abs_error == 1.0
    with pytest.raises(rt.VerificationError, match="wrong numbers on 'fake' in 'pair'.*largest"):
        bad.raise_if_failed()


def test_verify_without_golden_calls():
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    data = rt.container_bytes(rt.pack(tiny.manifest(), parts))
    report = rt.load(data, device=tiny.fake_driver()).verify()
    assert not report.ok
    with pytest.raises(rt.VerificationError, match="holds no golden calls"):
        report.raise_if_failed()


def test_a_step_is_cheap(model):
    stream, x = model.session(batch=1), X[:1, 0].copy()
    start = time.perf_counter()
    for _ in range(200):
        stream.step(x)
    assert time.perf_counter() - start < 2
