"""Specs: what they say and what they refuse."""

import pytest

from recurrent_iree._spec import spec
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


def test_a_spec_names_its_axes() -> None:
    given = spec("batch=1", "time=8|16", 40, dtype="int32")
    assert str(given) == "int32[batch=1, time=8|16, 40]"
    assert given.time_axis == 1
    assert given.shape({"batch": 1, "time": 16}) == (1, 16, 40)


def test_sizes_are_sorted_and_each_once() -> None:
    assert spec("time=16|8|16").dims[0].sizes == (8, 16)


def test_any_size() -> None:
    assert spec("time=?").dims[0].sizes is None


def test_a_scalar_has_no_dims() -> None:
    assert spec().dims == ()
    assert spec().time_axis is None


@pytest.mark.parametrize(
    ("dims", "error", "words"),
    [
        (("batch",), ArgumentError, "cannot read the dim 'batch'; write \"batch=1\""),
        (("batch=-1",), ArgumentError, "cannot read the dim"),
        ((-1,), ArgumentError, "a dim is -1; sizes are 0 or more"),
        ((1.5,), ArgumentTypeError, "a dim is 1.5 of type float"),
        ((True,), ArgumentTypeError, "a dim is True of type bool"),
        (("time=?", "time=3"), ArgumentError, "occurs twice"),
    ],
)
def test_what_cannot_be_read_is_refused(dims: tuple, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        spec(*dims)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="'flot32' is not a dtype"):
        spec(1, dtype="flot32")
