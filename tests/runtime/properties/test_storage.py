"""Weights stored as bfloat16 or int8: packing, unpacking, and what the manifest says of them."""

import json
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._manifest import Weight
from recurrent_iree_runtime._storage import (
    KEY,
    Storage,
    Stored,
    narrowed,
    pack_weights,
    read_storage,
    seen,
    unpack,
    widened,
)

BF16 = Stored("float32", None, ())
INT8 = Stored("float32", "w.scale", (1,))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.sampled_from([1e-30, 1e-3, 1.0, 1e6, 1e37]))
def test_int8_is_near_and_packing_again_changes_nothing(seed, size):
    array = np.random.default_rng(seed).standard_normal((7, 5)).astype(np.float32) * np.float32(
        size
    )
    codes, scale = narrowed(array, INT8)
    back = widened(codes, INT8, scale)
    assert codes.dtype == np.int8 and np.abs(codes.astype(int)).max() <= 127
    assert (np.abs(back - array) <= np.abs(array).max(axis=0) / 253 + 1e-30).all()
    again, scale_again = narrowed(back, INT8)
    np.testing.assert_array_equal(again, codes)
    np.testing.assert_array_equal(scale_again, scale)


def test_zeros_and_what_int8_cannot_hold():
    codes, scale = narrowed(np.zeros((3, 2), np.float32), INT8)
    assert not codes.any() and (scale > 0).all()
    with pytest.raises(rt.ArgumentError, match="infinities or NaN"):
        narrowed(np.float32([[1, np.nan]]), INT8)


def test_bfloat16_rounds_to_even():
    codes, scale = narrowed(np.float32([[1 + 2**-8, 1 + 3 * 2**-8]]), BF16)
    assert scale is None and codes.dtype == ml_dtypes.bfloat16
    assert widened(codes, BF16, None).tolist() == [[1.0, 1 + 2**-6]]


def test_callers_give_and_get_float32():
    storage = Storage({"w": INT8})
    wide = np.float32([[1, -2], [0.5, 1]])
    stored = pack_weights(storage, {"w": wide, "b": np.ones(2, np.float32)}, "weights=")
    assert {name: a.dtype.name for name, a in stored.items()} == {
        "w": "int8",
        "b": "float32",
        "w.scale": "float32",
    }
    assert pack_weights(storage, stored, "weights=")["w"] is stored["w"]
    back = unpack(storage, stored)
    assert sorted(back) == ["b", "w"]
    np.testing.assert_allclose(back["w"], wide, atol=0.01)
    with pytest.raises(rt.ArtifactError, match=r"the file: the array 'w' holds infinities"):
        pack_weights(storage, {"w": wide / 0 if False else wide * np.inf}, "the file")


def _manifest(storage, dtype="int8", scale_shape=(2,)):
    leaf = rt.Leaf("x", (2,), "float32")
    tree = {"dict": {"args": {"tuple": [0]}, "kwargs": {"dict": {}}}}
    entry = rt.Entry("main", "module", (leaf,), tree, (leaf,), {"leaf": 0}, ())
    weights = (Weight("w", (3, 2), dtype), Weight("w.scale", scale_shape, "float32"))
    made = rt.Manifest(name="m", default_entry="main", dims=(), entries=(entry,), weights=weights)
    return replace(made, metadata={KEY: json.dumps(storage)})


GOOD = {"weights": {"w": {"dtype": "float32", "scale": "w.scale", "axes": [1]}}}


def test_the_manifest_says_how():
    manifest = _manifest(GOOD)
    storage = read_storage(manifest)
    assert storage.weights["w"] == INT8
    assert seen(manifest, storage) == {"w": ((3, 2), "float32")}
    assert read_storage(replace(manifest, metadata={})).weights == {}


@pytest.mark.parametrize(
    ("storage", "change", "message"),
    [
        ({}, {}, "weights"),
        ({"weights": {"v": GOOD["weights"]["w"]}}, {}, "names the weight 'v'"),
        (GOOD, {"dtype": "float32"}, "names the weight 'w'"),
        (GOOD, {"scale_shape": (3,)}, "another shape or dtype"),
        ({"weights": {"w": {"dtype": "float32", "scale": "s", "axes": [1]}}}, {}, "no scale"),
        ({"weights": {"w": {"dtype": "float32", "scale": "w.scale", "axes": [2]}}}, {}, "no scale"),
    ],
)
def test_storage_that_does_not_fit_is_refused(storage, change, message):
    with pytest.raises(rt.NotAnArtifactError, match=message):
        read_storage(_manifest(storage, **change))
