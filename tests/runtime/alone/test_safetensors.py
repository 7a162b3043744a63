"""Files of weights."""

import json

import ml_dtypes
import numpy as np
import pytest

import recurrent_iree_runtime as rt


def pack(header, data=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return len(text).to_bytes(8, "little") + text + data


def test_round_trip():
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(7, np.int64),
        "c": np.zeros((0, 4), np.float32),
        "d": np.array([True, False]),
        "e": np.array([1.5, -2], ml_dtypes.bfloat16),
    }
    back = rt.read_safetensors(rt.write_safetensors(arrays), "w")
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype and back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()
        assert not back[name].flags.writeable


def test_the_same_arrays_give_the_same_bytes():
    one = rt.write_safetensors({"a": np.ones(2, np.float32), "b": np.ones(1, np.float32)})
    two = rt.write_safetensors({"b": np.ones(1, np.float32), "a": np.ones(2, np.float32)})
    assert one == two


def test_big_endian_arrays_are_written_little_endian():
    data = rt.write_safetensors({"a": np.array([1, 2], ">f4")})
    assert rt.read_safetensors(data, "w")["a"].tolist() == [1, 2]


def test_a_dtype_that_the_format_lacks():
    with pytest.raises(rt.ArgumentError, match="which safetensors lacks"):
        rt.write_safetensors({"a": np.zeros(1, np.complex128)})


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        (1 << 60).to_bytes(8, "little"),
        pack(b"{", b""),
        pack([], b""),
        pack(b"\xff\xff", b""),
        pack({"a": F32}, b"1234"),
        pack({"a": F32}, b"123456789"),
        pack({"a": {**F32, "shape": [3]}}, b"12345678"),
        pack({"a": {**F32, "shape": [-2]}}, b"12345678"),
        pack({"a": {**F32, "shape": [1 << 50]}}, b"12345678"),
        pack({"a": {**F32, "shape": [1] * 30}}, b"12345678"),
        pack({"a": {**F32, "shape": "2"}}, b"12345678"),
        pack({"a": {**F32, "dtype": "F33"}}, b"12345678"),
        pack({"a": {**F32, "dtype": 1}}, b"12345678"),
        pack({"a": {**F32, "data_offsets": [0]}}, b"12345678"),
        pack({"a": {**F32, "data_offsets": [4, 12]}}, b"12345678"),
        pack({"a": {**F32, "data_offsets": [True, 8]}}, b"12345678"),
        pack({"a": {**F32, "more": 1}}, b"12345678"),
        pack({"a": 3}, b"12345678"),
        pack({"a": F32, "b": F32}, b"12345678"),
    ],
)
def test_malformed_files(data):
    with pytest.raises(rt.NotAnArtifactError):
        rt.read_safetensors(data, "w.safetensors")


def test_metadata_is_allowed():
    data = pack({"__metadata__": {"by": "ä"}, "a": F32}, bytes(8))
    assert list(rt.read_safetensors(data, "w")) == ["a"]
