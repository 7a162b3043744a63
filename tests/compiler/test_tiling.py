"""Whether products outside of the loops are packed: the cost model, the report, the numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import BuildOptions, PlanOptions
from recurrent_iree_compiler._fused import Machine
from recurrent_iree_compiler._mlir import ir
from recurrent_iree_compiler._plan import Decision
from recurrent_iree_compiler._plan._tiling import FLAGS, choose_tiling

MACHINE = Machine(512, 32, 32 << 10, 1 << 20, 2)


def chosen(function, *shapes, decisions=(), forced=None):
    specs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    text = jax.jit(function).lower(*specs).as_text()
    return choose_tiling(ir.Module.parse(text, ir.Context()), MACHINE, decisions, forced)


@pytest.mark.parametrize(
    ("left", "right", "packed"),
    [
        ((100, 256), (256, 1024), True),
        ((3200, 128), (128, 512), True),
        ((100, 128), (128, 512), False),
        ((1, 1024), (1024, 4096), False),
        ((0, 256), (256, 1024), False),
        ((101, 128), (128, 512), True),
        ((100, 128), (128, 510), True),
        ((101, 32), (32, 128), False),
    ],
)
def test_large_factors_that_are_read_for_many_rows_are_packed(left, right, packed):
    made = chosen(lambda a, b: a @ b, left, right)
    assert made.packed == packed
    assert made.flags == (FLAGS if packed else ())
    assert made.text.startswith("packed: " if packed else "not packed: ")


def test_other_contracted_axes_and_called_functions_are_seen():
    def inner(a, b):
        return jnp.einsum("tbk,nk->tbn", a, b)

    assert chosen(lambda a, b: jax.jit(inner)(a, b) + 1, (10, 32, 256), (1024, 256)).packed


@pytest.mark.parametrize(("width", "packed"), [(512, True), (24, False)])
def test_rows_of_an_unknown_number_are_packed_for_smaller_factors(width, packed):
    (rows,) = export.symbolic_shape("rows")
    specs = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((rows, 128), (128, width))]
    text = export.export(jax.jit(lambda a, b: a @ b))(*specs).mlir_module()
    made = choose_tiling(ir.Module.parse(text, ir.Context()), MACHINE, (), None)
    assert made.packed == packed
    assert ("unknown sizes" in made.reason) == packed


def test_a_batch_of_products_is_left_alone():
    assert not chosen(lambda a, b: a @ b, (64, 128, 64), (64, 64, 128)).packed


def test_loops_and_the_caller_decide_first():
    shapes = (100, 256), (256, 1024)
    loop = Decision("r", "nested loop", "because", 100)
    kept = chosen(lambda a, b: a @ b, *shapes, decisions=[loop])
    assert not kept.packed and "1 recurrences run as loops" in kept.reason
    assert chosen(lambda a, b: a @ b, *shapes, decisions=[loop], forced=True).packed
    assert not chosen(lambda a, b: a @ b, *shapes, forced=False).packed


@pytest.mark.parametrize("forced", [True, False])
def test_numbers_and_report(forced):
    layer = ri.layers.LSTM(24, return_sequences=True)
    x = np.random.default_rng(0).standard_normal((2, 20, 17)).astype(np.float32)
    options = BuildOptions(plan=PlanOptions(data_tiling=forced))
    spec = ri.spec("batch=2", "time=20", 17)
    artifact = ri.compile(layer, spec, targets=["cpu", "vmvx"], options=options)
    cpu, vmvx = artifact.report()["targets"]
    assert (FLAGS[0] in cpu["flags"]) == forced
    assert "chosen by the caller" in cpu["products"] and not vmvx["products"]
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        np.testing.assert_allclose(model(x), layer(x), rtol=1e-5, atol=1e-6)
        with model.session(batch=2) as session:
            last = [session.step(x[:, t]) for t in range(20)][-1]
    np.testing.assert_allclose(last, np.asarray(layer(x))[:, -1], rtol=1e-5, atol=1e-6)


def test_other_families_have_no_choice():
    artifact = ri.compile(
        ri.layers.LSTM(4), ri.spec("batch=1", "time=3", 2), targets=["cpu:riscv64", "cpu:aarch64"]
    )
    riscv, arm = artifact.report()["targets"]
    assert not riscv["products"] and arm["products"].startswith("not packed")
