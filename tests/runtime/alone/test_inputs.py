"""Arguments of a call: what is accepted, and the sentence for what is not."""

import ml_dtypes
import numpy as np
import pytest

import recurrent_iree_runtime as rt
from runtime import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.fake_model()[0]


X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(1, 5, 3)
WANT = tiny.steps(X)[0]


class ArrayLike:
    def __array__(self, dtype=None, copy=None):
        return X


GOOD = {
    "array": X,
    "list": X.tolist(),
    "big-endian": X.astype(">f4"),
    "fortran": np.asfortranarray(X),
    "strided": np.repeat(X, 2, axis=1)[:, ::2],
    "negative stride": X[:, ::-1].copy()[:, ::-1],
    "read-only": np.frombuffer(X.tobytes(), np.float32).reshape(X.shape),
    "subclass": X.view(np.matrix) if X.ndim == 2 else X.view(np.recarray),
    "array-like": ArrayLike(),
}


@pytest.mark.parametrize("name", GOOD)
def test_accepted(model, name):
    np.testing.assert_allclose(model(GOOD[name]), WANT, rtol=1e-6)


def test_small_integers_are_accepted_for_floats(model):
    ones = np.ones((1, 2, 3), np.int16)
    np.testing.assert_array_equal(model(ones), model(ones.astype(np.float32)))


def test_nan_and_infinity_go_through(model):
    x = np.full((1, 1, 3), np.nan, np.float32)
    assert np.isnan(model(x)).all()


def test_inputs_are_not_changed(model):
    x = X.copy()
    model(x)
    np.testing.assert_array_equal(x, X)


HUGE = np.broadcast_to(np.float32(0), (1, 1 << 40, 4))

BAD = {
    "float64": (X.astype(np.float64), r"dtype float64; expected float32.*\.astype\(np\.float32\)"),
    "float16": (X.astype(np.float16), r"dtype float16; expected float32"),
    "int64": (X.astype(np.int64), r"dtype int64; expected float32"),
    "int32": (X.astype(np.int32), r"dtype int32; expected float32"),
    "bool": (X > 0, r"dtype bool; expected float32"),
    "complex": (X.astype(np.complex64), r"dtype complex64; expected float32"),
    "bfloat16": (X.astype(ml_dtypes.bfloat16), r"dtype bfloat16; expected float32"),
    "object": (np.full((1, 5, 3), None), r"dtype object; expected float32"),
    "str": ("hello", r"is 'hello' \(str\); expected an array of float32\[batch, time, 3\]"),
    "bytes": (b"hello", r"is b'hello' \(bytes\)"),
    "str array": (np.array([["a"]]), r"has dtype str"),
    "datetime": (np.zeros((1, 5, 3), "M8[s]"), r"has dtype datetime64"),
    "none": (None, r"is None \(NoneType\)"),
    "masked": (np.ma.masked_array(X, X > 0), r"masked array, and its mask would be lost.*filled"),
    "ragged": ([[[1, 2, 3], [1, 2]]], r"no regular array of numbers"),
    "list of str": ([[["a", "b", "c"]]], r"holds <U1 values"),
    "big list": ([[[1e300, 0, 0]]], r"cannot hold without loss"),
    "inexact int": ([[[2**24 + 1, 0, 0]]], r"cannot hold without loss"),
    "bool list": ([[[True, False, True]]], r"cannot hold without loss"),
    "scalar": (1.0, r"has 0 dimensions \(shape \[\]\); expected 3: \[batch, time, 3\]"),
    "rank": (X[0], r"has 2 dimensions \(shape \[5, 3\]\)"),
    "width": (X[:, :, :2], r"shape \[1, 5, 2\]; expected \[batch, time, 3\]: axis 2 is 2 instead"),
    "batch": (np.zeros((3, 5, 3), np.float32), r"batch 3, time 5.*compiled for batch 1|batch 3"),
    "huge": (HUGE, r"axis 2 is 4 instead of 3"),
    "dict": ({"x": X}, r"is \{'x'"),
    "set": ({1.0}, r"\(set\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(model, name):
    value, message = BAD[name]
    with pytest.raises(rt.SignatureError, match=message) as caught:
        model(value)
    assert "'sequence'" in str(caught.value) or "list" in name


COUNT = [
    ((), {}, r"'sequence' needs 1 arguments; x is missing; call it as \(x\)"),
    ((X, X), {}, r"takes 1 positional arguments; 2 were given"),
    ((X,), {"x": X}, r"the argument 'x' of 'sequence' was given twice"),
    ((X,), {"mask": X}, r"the argument 'mask' of 'sequence' is unknown"),
]


@pytest.mark.parametrize("args, kwargs, message", COUNT)
def test_wrong_counts_and_names(model, args, kwargs, message):
    with pytest.raises(rt.SignatureError, match=message):
        model(*args, **kwargs)


def test_arguments_by_name(model):
    np.testing.assert_array_equal(model(x=X), model(X))
    p = {"a": np.float32([1, 2]), "m": np.array([True, False])}
    assert model.run("pair", p=p, k=[3, 4])["sum"][0].tolist() == [4, 5]


def test_trees_in_and_out(model):
    a = np.float32([1, 2])
    result = model.run("pair", {"a": a, "m": [True, False]}, k=[3, 4])
    assert set(result) == {"a", "any", "sum"}
    assert result["a"].tolist() == [1, 2] and result["a"] is not a
    assert result["any"].dtype == np.bool_ and result["any"].tolist() == [False, True]
    assert isinstance(result["sum"], tuple) and result["sum"][0].dtype == np.int32


PAIR = [
    ((), {"k": [1, 2]}, r"p is missing"),
    (({"a": [1, 2], "m": [True, False]},), {}, r"'pair' needs the argument k="),
    (({"a": [1, 2]},), {"k": [1, 2]}, r"has no key 'm'"),
    (({"a": [1, 2], "m": [1, 0]},), {"k": [1, 2]}, r"bool cannot hold without loss"),
    (({"a": [1, 2], "m": np.uint8([1, 0])},), {"k": [1, 2]}, r"'p.m' of 'pair' has dtype uint8"),
    (({"a": [1, 2], "m": [True, True]},), {"k": [1.5, 2]}, r"int32 cannot hold without loss"),
    (({"a": [1, 2], "m": [True, True]},), {"k": [2**31, 2]}, r"int32 cannot hold without loss"),
    (({"a": [1, 2, 3], "m": [True, True]},), {"k": [1, 2]}, r"axis 0 is 3 instead of 2"),
]


@pytest.mark.parametrize("args, kwargs, message", PAIR)
def test_trees_that_do_not_fit(model, args, kwargs, message):
    with pytest.raises(rt.SignatureError, match=message):
        model.run("pair", *args, **kwargs)


def test_dims_must_agree_between_inputs():
    leaves = [rt.Leaf("x", ("batch", 3), "float32"), rt.Leaf("m", ("batch",), "float32")]
    tree = rt.tree_of({"args": (0, 1), "kwargs": {}})[0]
    function = rt.Function("main", {"batch": 2})
    entry = rt.Entry("main", "module", tuple(leaves), tree, (leaves[0],), {"leaf": 0}, (function,))
    manifest = rt.Manifest("two", "main", (rt.Dim("batch", (2,)),), (entry,))
    driver = rt.FakeDriver({"main": lambda x, m: [x * m[:, None]]})
    model = rt.load(rt.container_bytes(rt.pack(manifest, {})), device=driver)
    x = np.ones((2, 3), np.float32)
    assert model(x, np.float32([1, 2])).tolist() == [[1, 1, 1], [2, 2, 2]]
    with pytest.raises(rt.SignatureError, match=r"'m'.* has batch 3 .*but 'x' has batch 2"):
        model(x, np.ones(3, np.float32))
    with pytest.raises(rt.SignatureError, match=r"called with batch 4; it was compiled for batch"):
        model(np.ones((4, 3), np.float32), np.ones(4, np.float32))
