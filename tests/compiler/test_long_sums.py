"""Products that sum over many terms are cut: which ones, into how many parts, and the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler._fused import Machine
from recurrent_iree_compiler._mlir import ir
from recurrent_iree_compiler._plan._long_sums import cut_long_sums

MACHINE = Machine(256, 16, 32 << 10, 512 << 10, 2)  # 1,024 terms of eight lanes fill its cache


def planned(equation, *shapes, dtype=jnp.float32):
    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    text = jax.jit(lambda a, b: jnp.einsum(equation, a, b)).lower(*specs).as_text()
    module = ir.Module.parse(text, ir.Context())
    count = cut_long_sums(module, MACHINE)
    return count, str(module)


@pytest.mark.parametrize(
    ("equation", "left", "right", "batch"),
    [
        ("km,kn->mn", (3200, 64), (3200, 48), "tensor<4x64x48xf32>"),
        ("mk,kn->mn", (64, 3000), (3000, 48), "tensor<3x64x48xf32>"),
        ("akm,nk->amn", (3, 2048, 32), (64, 2048), "tensor<2x3x32x64xf32>"),
    ],
)
def test_parts_fit_the_cache(equation, left, right, batch):
    count, text = planned(equation, left, right)
    assert count == 1
    assert batch in text


@pytest.mark.parametrize(
    ("equation", "left", "right", "why"),
    [
        ("km,kn->mn", (1024, 64), (1024, 64), "it fits"),
        ("km,kn->mn", (3203, 64), (3203, 64), "a prime number has no parts"),
        ("km,kn->mn", (3200, 8), (3200, 64), "few rows"),
        ("km,kn->mn", (2048, 4096), (2048, 4096), "the parts take more memory than the factors"),
        ("bkm,bkn->bmn", (2, 3200, 64), (2, 3200, 64), "a batch of products"),
        ("akm,akn->mn", (2, 3200, 64), (2, 3200, 64), "two axes"),
    ],
)
def test_others_stay(equation, left, right, why):
    assert planned(equation, left, right)[0] == 0, why


def test_half_precision_stays():
    assert planned("km,kn->mn", (3200, 64), (3200, 64), dtype=jnp.bfloat16)[0] == 0


def test_gradients_of_weights_are_cut_and_right():
    layer = ri.layers.SimpleRNN(64, return_sequences=True)
    spec = ri.spec("batch=32", "time=80", 64)
    artifact = ri.compile(layer, spec, entry="gradients", targets=["cpu:x86-64-v3"])
    assert "2 long sums in parts" in artifact.report()["targets"][0]["products"]
    random = np.random.default_rng(0)
    x, cotangents = (random.standard_normal((32, 80, 64)).astype(np.float32) for _ in range(2))

    def forward(weights):
        return layer.stateless_call(weights, [], x)[0]

    weights = layer.get_weights()
    by_weight = jax.vjp(forward, weights)[1](jnp.asarray(cotangents))[0]
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        made = model.gradients(x, cotangents=cotangents).weights
    for name, expected in zip(layer.weight_names, by_weight, strict=True):
        np.testing.assert_allclose(made[name], expected, rtol=1e-4, atol=2e-3)
