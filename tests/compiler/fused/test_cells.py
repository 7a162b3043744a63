"""Named cells: the fused kernel against XLA at odd and even sizes, and against float64."""

import jax
import numpy as np
import pytest
from compiler.fused import cells, running

SIZES = [(3, 16), (1, 7), (8, 5)]
RESULTS = running.SideBySide(lambda cell: cells.several_sizes(cell, SIZES), cells.ALL)


@pytest.mark.parametrize("cell", cells.ALL, ids=lambda cell: cell.__name__)
def test_it_equals_xla(cell):
    running.assert_close(*RESULTS[cell], atol=1e-5)


@pytest.mark.parametrize("machine", [running.AVX2, running.SSE], ids=["avx2", "sse"])
@pytest.mark.parametrize("cell", [cells.lstm, cells.layer_norm_lstm, cells.additive_attention])
def test_it_equals_xla_in_narrow_vectors(cell, machine):
    function, arguments = cells.several_sizes(cell, [(7, 20)])
    run = running.compiled(running.fused_only(function, arguments, machine))
    running.assert_close(run(*arguments), running.by_xla(function, arguments), atol=1e-5)


@pytest.mark.parametrize("cell", [cells.lstm, cells.gru_reset_after, cells.two_layers])
def test_large_sizes_equal_xla(cell):
    """Sizes with a tail, and several blocks of rows in a workgroup."""
    function, arguments = cells.several_sizes(cell, [(13, 96), (2, 200)])
    run = running.compiled(running.fused_only(function, arguments))
    running.assert_close(run(*arguments), running.by_xla(function, arguments), atol=1e-5)


def test_an_lstm_is_as_exact_as_xla():
    function, arguments = cells.lstm(running.normals(1), 4, 48)
    run = running.compiled(running.fused_only(function, arguments))
    exact = _lstm_in_float64(*(np.float64(a) for a in arguments))
    for made, theirs, true in zip(
        run(*arguments), running.by_xla(function, arguments), exact, strict=True
    ):
        assert np.abs(made - true).max() <= 1.5 * np.abs(theirs - true).max() + 1e-7


def _lstm_in_float64(x, w, u, b, h, c):
    ys = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ w + h @ u + b, 4, -1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        ys.append(h)
    return h, c, np.stack(ys)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_stored_and_computed_in_float32(dtype):
    function, arguments = cells.lstm(running.normals(2), 3, 16)
    half = [jax.numpy.asarray(a, dtype) for a in arguments]
    module = running.fused_only(function, half)
    assert "bf16" in str(module) or "f16" in str(module)
    made = running.compiled(_with_float32_edges(module, dtype))(*(np.float32(a) for a in half))
    exact = running.by_xla(function, [np.float32(a) for a in half])
    running.assert_close(made, exact, rtol=0, atol=0.02)


def _with_float32_edges(module, dtype):
    """The module with a float32 signature: NumPy has no bfloat16 to pass."""
    short = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    text = module.operation.get_asm(enable_debug_info=False)
    text = text.replace("func.func public @main(", "func.func private @half(")
    signature = text.split("@half(", 1)[1].split(" {\n", 1)[0]
    ins = [t.split(">")[0] for t in signature.split("->")[0].split("tensor<")[1:]]
    outs = [t.split(">")[0] for t in signature.split("->")[1].split("tensor<")[1:]]
    wide = [t.replace(short, "f32") for t in ins]
    lines = [
        f"func.func public @main({', '.join(f'%a{n}: tensor<{t}>' for n, t in enumerate(wide))})"
    ]
    lines.append(f" -> ({', '.join('tensor<' + t.replace(short, 'f32') + '>' for t in outs)}) {{")
    for n, (a, b) in enumerate(zip(wide, ins, strict=True)):
        lines.append(f"%b{n} = stablehlo.convert %a{n} : (tensor<{a}>) -> tensor<{b}>")
    names, types = (
        ", ".join(f"%b{n}" for n in range(len(ins))),
        ", ".join(f"tensor<{t}>" for t in ins),
    )
    results = ", ".join(f"tensor<{t}>" for t in outs)
    lines.append(f"%r:{len(outs)} = func.call @half({names}) : ({types}) -> ({results})")
    for n, t in enumerate(outs):
        f32 = t.replace(short, "f32")
        lines.append(f"%c{n} = stablehlo.convert %r#{n} : (tensor<{t}>) -> tensor<{f32}>")
    back = ", ".join(f"%c{n}" for n in range(len(outs)))
    types = ", ".join("tensor<" + t.replace(short, "f32") + ">" for t in outs)
    lines.append(f"return {back} : {types} }}")
    end = text.rindex("}")
    return text[:end] + "\n".join(lines) + "\n" + text[end:]
