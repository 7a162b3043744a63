"""Products outside of the loops as kernels: which ones, and their numbers."""

import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import running

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import BuildOptions, PlanOptions
from recurrent_iree_compiler._fused import FusedKernel, Machine, fuse_product, product_of
from recurrent_iree_compiler._mlir import ir
from recurrent_iree_compiler._plan._recurrence import functions

FOUR = Machine(512, 32, 32 << 10, 1 << 20, 4, "x86")


def replaced(function, arguments, machine=FOUR):
    """The module with a kernel for every product, and the kernels."""
    module = ir.Module.parse(running.captured(function, arguments), ir.Context())
    block = functions(module)["main"].regions[0].blocks[0]
    products = [product_of(op.operation) for op in block.operations]
    made = [
        fuse_product(module, p, machine, f"product{n}", {})
        for n, p in enumerate(p for p in products if p is not None)
    ]
    return module, made


# Rows in whole blocks and not, one workgroup with fewer rows than the others, lanes that are no
# whole vector, rows of several axes, a transposed matrix; with a vector that is added and without.
SHAPES = [
    ("tk,kn->tn", (100, 24), (24, 48), True),
    ("tk,kn->tn", (37, 7), (7, 19), False),
    ("tbk,kn->tbn", (5, 2, 16), (16, 80), True),
    ("tbk,nk->tbn", (9, 1, 33), (64, 33), True),
]


def test_numbers_of_all_shapes():
    normal = running.normals(3)
    arguments, counts = [], []
    for form, left, right, bias in SHAPES:
        width = right[form.split("-")[0].split(",")[1].index("n")]
        given = [normal(*left), normal(*right), *([normal(width)] if bias else [])]
        arguments += given
        counts.append(len(given))

    def run(*given):
        results = []
        for (form, *_), count in zip(SHAPES, counts, strict=True):
            x, w, *b = given[:count]
            results.append(jnp.einsum(form, x, w) + (b[0] if b else 0))
            given = given[count:]
        return results

    module, made = replaced(run, arguments)
    assert len(made) == len(SHAPES) and all(isinstance(m, FusedKernel) for m in made), made
    assert "dot_general" not in str(module)
    for device in ("local-sync", "local-task"):
        found = running.compiled(module, device)(*arguments)
        running.assert_close(found, by_numpy(arguments, counts), rtol=1e-5, atol=1e-5)


def by_numpy(arguments, counts):
    expected, rest = [], [a.astype(np.float64) for a in arguments]
    for (form, *_), count in zip(SHAPES, counts, strict=True):
        x, w, *b = rest[:count]
        expected.append(np.einsum(form, x, w) + (b[0] if b else 0))
        rest = rest[count:]
    return expected


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (lambda a, b: jnp.einsum("kt,kn->tn", a, b), [(8, 9), (8, 16)]),
        (lambda a, b: jnp.einsum("btk,bkn->btn", a, b), [(2, 9, 8), (2, 8, 16)]),
        (lambda a, b: jnp.einsum("tkl,kln->tn", a, b), [(9, 4, 2), (4, 2, 16)]),
        (lambda a, b: (a @ b).astype(jnp.int32), [(9, 8), (8, 0)]),
    ],
    ids=["rows last", "a batch", "two axes summed", "no columns"],
)
def test_other_products_are_left_alone(function, shapes):
    _, made = replaced(function, [running.normals(1)(*s) for s in shapes])
    assert made == []


@pytest.mark.parametrize(
    ("plan", "kernels"), [(PlanOptions(), 2), (PlanOptions(data_tiling=True), 0)]
)
def test_a_program_and_its_report(plan, kernels):
    rng = np.random.default_rng(0)
    matrix = (0.1 * rng.standard_normal((64, 96))).astype(np.float32)
    layer = ri.layers.LSTM(64, return_sequences=True)

    def program(x):
        y = layer(x)
        return y @ matrix, y[:, :9] @ jnp.swapaxes(y[:, 9:18], 1, 2)

    artifact = ri.compile(
        program, ri.spec("batch=1", "time=18", 64), options=BuildOptions(plan=plan)
    )
    (target,) = artifact.report()["targets"]
    assert (f"{kernels} with weights are kernels" in target["products"]) == bool(kernels)
    x = rng.standard_normal((1, 18, 64)).astype(np.float32)
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for made, expected in zip(model(x), program(x), strict=True):
            np.testing.assert_allclose(made, expected, rtol=2e-5, atol=2e-5)
