"""A cell of the table as a program for any number of rows, and its arguments for a given number."""

import numpy as np
from compiler.fused.running import normals

import recurrent_iree as ri

LARGEST = 1000


def program(cell, units, seed=0):
    """The function, its specs with ``batch=?``, and a function that gives inputs for some rows.

    The function takes the number of rows from its arguments. Those whose shape does not depend on
    it are weights; the rows of all others are the first rows of `LARGEST`.
    """
    _, most = cell(normals(seed), LARGEST, units)
    _, fewer = cell(normals(seed), LARGEST - 1, units)
    axes = [_axis(a.shape, b.shape) for a, b in zip(most, fewer, strict=True)]
    specs = [
        a if axis is None else ri.spec(*_dims(a.shape, axis), dtype=a.dtype)
        for a, axis in zip(most, axes, strict=True)
    ]

    number, rows = next((n, axis) for n, axis in enumerate(axes) if axis is not None)

    def function(*arguments):
        return cell(normals(seed), arguments[number].shape[rows], units)[0](*arguments)

    def inputs(batch):
        cut = [(a, axis) for a, axis in zip(most, axes, strict=True) if axis is not None]
        return [np.ascontiguousarray(np.take(a, range(batch), axis)) for a, axis in cut]

    def whole(batch):
        given = iter(inputs(batch))
        return [a if axis is None else next(given) for a, axis in zip(most, axes, strict=True)]

    return function, specs, inputs, whole


def _axis(shape, other):
    found = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
    return found[0] if found else None


def _dims(shape, axis):
    return [*shape[:axis], "batch=?", *shape[axis + 1 :]]
