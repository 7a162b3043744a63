"""Scales of int8 weights behind products: StableHLO in, StableHLO out, the same numbers."""

import re

import numpy as np
import pytest
from compiler.fused import running
from iree.compiler import ir

from recurrent_iree_compiler._plan._scales import sink_scales

_random = np.random.default_rng(5)
# Arguments of `main`: rows, rows in groups, codes, codes in groups, and scales.
ARGUMENTS = {
    "x": _random.standard_normal((3, 4)).astype(np.float32),
    "xs": _random.standard_normal((2, 3, 4)).astype(np.float32),
    "codes": _random.integers(-127, 128, (4, 5)).astype(np.int8),
    "groups": _random.integers(-127, 128, (2, 4, 5)).astype(np.int8),
    "columns": _random.uniform(0.01, 1, 5).astype(np.float32),
    "flat": _random.uniform(0.01, 1, (1, 5)).astype(np.float32),
    "each": _random.uniform(0.01, 1, (2, 5)).astype(np.float32),
    "rows": _random.uniform(0.01, 1, 4).astype(np.float32),
}


def weight(codes, shape, scale, axes):
    """The lines that widen `codes` by `scale`, which runs along `axes`."""
    kind, given = _kind(shape), _kind(ARGUMENTS[scale].shape)
    stored = _kind(shape, "i8")
    return f"""
  %wide = stablehlo.convert %{codes} : ({stored}) -> {kind}
  %spread = stablehlo.broadcast_in_dim %{scale}, dims = {axes} : ({given}) -> {kind}
  %w = stablehlo.multiply %wide, %spread : {kind}"""


def _kind(shape, dtype="f32"):
    return f"tensor<{'x'.join(map(str, shape))}x{dtype}>"


PRODUCTS = {
    "columns": (
        weight("codes", (4, 5), "columns", [1]),
        "%x, %w, contracting_dims = [1] x [0] : (tensor<3x4xf32>, tensor<4x5xf32>)",
        (3, 5),
        lambda a: a["x"] @ (a["codes"] * a["columns"]),
    ),
    "an axis of one along the sum": (
        weight("codes", (4, 5), "flat", [0, 1]),
        "%x, %w, contracting_dims = [1] x [0] : (tensor<3x4xf32>, tensor<4x5xf32>)",
        (3, 5),
        lambda a: a["x"] @ (a["codes"] * a["flat"]),
    ),
    "on the left": (
        weight("codes", (4, 5), "columns", [1]),
        "%w, %x, contracting_dims = [0] x [1] : (tensor<4x5xf32>, tensor<3x4xf32>)",
        (5, 3),
        lambda a: (a["codes"] * a["columns"]).T @ a["x"].T,
    ),
    "in groups": (
        weight("groups", (2, 4, 5), "each", [0, 2]),
        "%xs, %w, batching_dims = [0] x [0], contracting_dims = [2] x [1] : "
        "(tensor<2x3x4xf32>, tensor<2x4x5xf32>)",
        (2, 3, 5),
        lambda a: a["xs"] @ (a["groups"] * a["each"][:, None]),
    ),
}
KEPT = {
    "along the sum": (
        weight("codes", (4, 5), "rows", [0]),
        "%x, %w, contracting_dims = [1] x [0] : (tensor<3x4xf32>, tensor<4x5xf32>)",
        (3, 5),
        lambda a: a["x"] @ (a["codes"] * a["rows"][:, None]),
    ),
}


def module_of(product):
    """The module of one product."""
    widened, text, shape, _ = product
    names = {"f": "f32", "i": "i8"}
    takes = ", ".join(f"%{n}: {_kind(a.shape, names[a.dtype.kind])}" for n, a in ARGUMENTS.items())
    lines = f"{widened}\n  %p = stablehlo.dot_general {text} -> {_kind(shape)}"
    body = f"{lines}\n  func.return %p : {_kind(shape)}"
    text = f"func.func public @main({takes}) -> {_kind(shape)} {{{body}\n}}"
    return ir.Module.parse(text, ir.Context())


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_scale_goes_behind_the_product(name):
    module = module_of(PRODUCTS[name])
    assert sink_scales(module) == 1
    module.operation.verify()
    text = str(module)
    scaled, product = text.rindex("stablehlo.multiply"), text.index("stablehlo.dot_general")
    assert product < scaled
    assert re.search(r"dot_general .*%\d+", text)
    wide = np.float64
    exact = PRODUCTS[name][3]({n: a.astype(wide) for n, a in ARGUMENTS.items()})
    (made,) = running.compiled(module)(*ARGUMENTS.values())
    np.testing.assert_allclose(made, exact, rtol=1e-5, atol=1e-4)
    assert sink_scales(module) == 0


@pytest.mark.parametrize("name", KEPT)
def test_a_scale_along_the_sum_stays(name):
    module = module_of(KEPT[name])
    before = str(module)
    assert sink_scales(module) == 0
    assert str(module) == before
