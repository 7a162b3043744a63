"""Snapshots, rows that start again, and sessions that move to another device object."""

import hashlib
import json

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import rows, tiny

RNG = np.random.default_rng(2)
X = RNG.standard_normal((2, 9, 3)).astype(np.float32)
Y = rows.steps(X)[0]


@pytest.fixture
def model():
    return rows.model()


def test_going_on_from_a_snapshot(model):
    stream = model.session(batch=2)
    stream.run(X[:, :4])
    data = stream.snapshot()
    assert isinstance(data, bytes) and data == stream.snapshot()
    np.testing.assert_allclose(stream.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)
    stream.restore(data)
    np.testing.assert_allclose(stream.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)
    other = rows.model().restore(bytearray(data))
    assert other.dims == {"batch": 2}
    np.testing.assert_allclose(other.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)


def test_scalars_and_several_dtypes():
    stream = tiny.fake_model()[0].session(batch=2)
    stream.run(X[:, :4])
    again = tiny.fake_model()[0].restore(stream.snapshot())
    assert again.states["n"] == 4 and again.states["n"].dtype == np.int32


def test_after_the_device_was_lost():
    driver, lose = rows.driver(), [False]
    good = driver.functions["chunk_b2_t1"]

    def call(*arrays):
        if lose[0]:
            raise rt.DeviceLostError("the device was lost")
        return good(*arrays)

    driver.functions["chunk_b2_t1"] = call
    model = rt.load(rows.artifact(), device=driver)
    stream = model.session(batch=2)
    stream.step(X[:, 0])
    kept = stream.snapshot()
    lose[0] = True
    with pytest.raises(rt.DeviceLostError):
        stream.step(X[:, 1])
    lose[0] = False
    for use in (stream.snapshot, lambda: stream.reset(rows=[0])):
        with pytest.raises(rt.StateError, match="the device of this session was lost"):
            use()
    moved = model.restore(kept)
    np.testing.assert_allclose(moved.run(X[:, 1:]), Y[:, 1:], rtol=1e-6)
    stream.restore(kept)
    np.testing.assert_allclose(stream.run(X[:, 1:]), Y[:, 1:], rtol=1e-6)


def sealed(body):
    """A snapshot whose hash fits, whatever is in it."""
    return b"RISNAP01" + hashlib.sha256(body).digest() + body


def header(text):
    return len(text).to_bytes(4, "little") + text


def changed(data, **parts):
    """A snapshot with another header, sealed again."""
    length = int.from_bytes(data[40:44], "little")
    document = json.loads(data[44 : 44 + length]) | parts
    return sealed(header(json.dumps(document).encode()) + data[44 + length :])


def test_anything_else_is_refused(model):
    stream = model.session(batch=2)
    stream.run(X[:, :4])
    data = stream.snapshot()
    leaf = {"name": "h", "shape": [2, 3], "dtype": "float32", "from_input": None}
    bad = [
        ("text", rt.ArgumentTypeError, "the snapshot is a str; expected the bytes"),
        (b"", rt.NotAnArtifactError, "these 0 bytes are no snapshot"),
        (b"PK" + data, rt.NotAnArtifactError, "are no snapshot"),
        (data[:40], rt.NotAnArtifactError, "are no snapshot"),
        (data[:6] + b"02" + data[8:], rt.VersionError, "the format b'02'; this runtime reads"),
        (data[:-1], rt.IntegrityError, "was changed after it was taken"),
        (data + b"\0", rt.IntegrityError, "was changed after it was taken"),
        (sealed(b"\xff\xff\xff\xff"), rt.NotAnArtifactError, "its header is too long"),
        (sealed(header(b"{")), rt.NotAnArtifactError, "the snapshot is not JSON"),
        (sealed(header(b"{}")), rt.NotAnArtifactError, r"the snapshot: \$ has no key 'program'"),
        (changed(data, program="other"), rt.StateError, "of the program 'other', and this is 'ti"),
        (changed(data, dims={}), rt.StateError, r"has the states h float32\[2, 3\]; this art"),
        (changed(data, dims={"batch": 1}), rt.StateError, "from another version of the program"),
        (changed(data, states=[]), rt.StateError, "has the states none; this artifact has h"),
        (changed(data, states=[leaf | {"dtype": "int32"}]), rt.StateError, "another version"),
        (sealed(changed(data)[40:-4]), rt.NotAnArtifactError,
         "it has 20 bytes of states for 24"),
    ]  # fmt: skip
    for given, error, message in bad:
        with pytest.raises(error, match=message):
            stream.restore(given)
        with pytest.raises(error, match=message):
            model.restore(given)
    np.testing.assert_allclose(stream.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)


def test_every_flipped_bit_is_noticed(model):
    stream = model.session(batch=1)
    data = stream.snapshot()
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(rt.ArtifactError):
            stream.restore(bytes(flipped))


def test_sizes_must_fit(model):
    data = model.session(batch=1).snapshot()
    with pytest.raises(rt.StateError, match=r"a session with batch=1, and this one.*restore\(\)"):
        model.session(batch=2).restore(data)
    stream = model.session(batch=1)
    big = changed(
        data,
        dims={"batch": 5},
        states=[{"name": "h", "shape": [5, 3], "dtype": "float32", "from_input": None}],
    )
    body = sealed(big[40:] + bytes(48))
    with pytest.raises(rt.ArgumentError, match="batch=5 was not compiled"):
        model.restore(body)
    stream.close()
    with pytest.raises(rt.StateError, match="closed"):
        stream.snapshot()


def test_rows_start_again(model):
    stream = model.session(batch=2)
    for chosen in ([0], 0, np.array([True, False]), np.array([0]), (0,)):
        stream.reset()
        stream.run(X[:, :4])
        stream.reset(rows=chosen)
        states = stream.states["h"]
        assert (states[0] == 0).all()
        np.testing.assert_allclose(states[1], rows.steps(X[:, :4])[1][1], rtol=1e-6)
    got = stream.run(np.stack([X[0], np.concatenate([X[1, 4:], X[1, :4]])]))
    np.testing.assert_allclose(got[0], Y[0], rtol=1e-6)
    np.testing.assert_allclose(got[1, :5], Y[1, 4:], rtol=1e-6)
    before = stream.states["h"]
    stream.reset(rows=[])
    np.testing.assert_array_equal(stream.states["h"], before)


BAD_ROWS = [
    ([2], rt.ArgumentError, "rows has 2; this session has the rows 0 to 1"),
    ([-1], rt.ArgumentError, "rows has -1"),
    ([True], rt.ArgumentError, r"a mask of shape \[1\]; expected \[2\]"),
    ([0.5], rt.ArgumentTypeError, r"rows is \[0.5\]; expected row numbers"),
    ([[0]], rt.ArgumentTypeError, "expected row numbers"),
    ("all", rt.ArgumentTypeError, "rows is 'all'"),
]


@pytest.mark.parametrize("chosen, error, message", BAD_ROWS)
def test_wrong_rows_change_nothing(model, chosen, error, message):
    stream = model.session(batch=2)
    stream.run(X[:, :4])
    with pytest.raises(error, match=message):
        stream.reset(rows=chosen)
    np.testing.assert_allclose(stream.run(X[:, 4:]), Y[:, 4:], rtol=1e-6)


def test_rows_of_a_shared_state():
    stream = tiny.fake_model()[0].session(batch=2)
    with pytest.raises(rt.StateError, match=r"reset\(rows=...\) needs states of separate rows"):
        stream.reset(rows=[0])


def test_a_call_begins_with_some_states(model):
    stream = tiny.fake_model()[0].session(batch=2)
    stream.run(X[:, :4])
    kept = stream.states
    stream.begin({}, keep=("h", "n"))
    assert stream.states["n"] == 4
    stream.begin({}, keep=("h",))
    np.testing.assert_array_equal(stream.states["h"], kept["h"])
    assert stream.states["n"] == 0
    stream.begin({"n": np.int32(7)})
    assert stream.states["n"] == 7 and not stream.states["h"].any()
