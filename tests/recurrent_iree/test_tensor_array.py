"""`TensorArray`: rows written one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError


def test_fixed_size() -> None:
    array = ri.TensorArray("float32", 3).write(2, [1, 2])
    assert array.stack().tolist() == [[0, 0], [0, 0], [1, 2]]
    assert int(array.size()) == 3 and array.read(2).tolist() == [1, 2]
    assert (array.dtype, array.element_shape) == (np.float32, (2,))
    with pytest.raises(ArgumentError, match="`index` is 3, but this TensorArray holds 3 rows"):
        array.write(3, [1, 2])
    with pytest.raises(ArgumentError, match="`index` is -1"):
        array.read(-1)


def test_growing_size() -> None:
    array = ri.TensorArray("int32", dynamic_size=True)
    for index in range(5):
        array = array.write(index, index)
    assert array.stack().tolist() == [0, 1, 2, 3, 4]
    assert array.gather([3, 1]).tolist() == [3, 1]
    with pytest.raises(ArgumentError, match="`index` is 5, but this TensorArray holds 5 rows"):
        array.read(5)
    with pytest.raises(ArgumentError, match="`index` is -1, expected 0 or more"):
        array.write(-1, 0)


def test_unstack_and_concat() -> None:
    array = ri.TensorArray("float32", 2).unstack([[1.0, 2.0], [3.0, 4.0]])
    assert array.read(1).tolist() == [3, 4] and array.concat().tolist() == [1, 2, 3, 4]
    with pytest.raises(ArgumentError, match="holds 3 rows, but this TensorArray has size 2"):
        array.unstack(jnp.ones((3, 2)))
    with pytest.raises(ArgumentError, match="`values` is a scalar"):
        array.unstack(1.0)
    with pytest.raises(ArgumentError, match="are scalars: use stack"):
        ri.TensorArray("float32", 2, element_shape=()).concat()


def test_traced_index_in_reserved_rows() -> None:
    def fill(count):
        array = ri.TensorArray("float32", dynamic_size=True).reserve(8, ())
        array = jax.lax.fori_loop(0, count, lambda i, a: a.write(i, 2.0 * i), array)
        return array.size(), array.stack(), array

    size, stacked, array = jax.jit(fill)(3)
    assert int(size) == 3 and stacked.shape == (8,)
    assert array.stack().tolist() == [0, 2, 4] and array.capacity == 8


def test_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="`size` must be an int, got float"):
        ri.TensorArray("float32", 1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="`size` must be at least 0, got -1"):
        ri.TensorArray("float32", -1)
    empty = ri.TensorArray("float32", dynamic_size=True)
    with pytest.raises(ArgumentError, match="holds no row yet"):
        empty.stack()
    with pytest.raises(ArgumentError, match="`element_shape` is not known yet"):
        empty.reserve(3)
    with pytest.raises(ArgumentError, match=r"`value` is float32\[3\], but the rows .* \(2,\)"):
        empty.write(0, [1, 2]).write(1, [1, 2, 3])
    assert repr(empty) == "TensorArray(float32, element_shape=None)" and empty.dynamic_size
