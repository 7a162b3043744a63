"""The cells, written once for any array library; every system computes these equations.

A cell has three parts: the shapes of its weights, the part of a step that needs no state
(`project`, which may be computed for all steps at once) and the step itself. Weights named
``kernel…`` belong to `project`; two-dimensional ones of other names are multiplied in each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._work import Work

Arrays = dict[str, Any]
MEMORY_ROWS = 16
WORDS = 256


@dataclass(frozen=True)
class Cell:
    """Weights by name as multiples of the width, number of states, and the two functions."""

    shapes: Callable[[int], dict[str, tuple[int, ...]]]
    states: int
    step: Callable[[Any, Arrays, list[Any], Any, Any], tuple[list[Any], Any]]
    project: Callable[[Any, Arrays, Any], Any] = lambda m, w, x: x @ w["kernel"] + w["bias"]


def weights_of(work: Work) -> dict[str, np.ndarray]:
    """The weights of a row, the same in every process."""
    rng = np.random.default_rng(7)
    shapes = CELLS[work.cell].shapes(work.width)
    return {
        name: (rng.standard_normal(shape) * (0.5 / np.sqrt(shape[0]))).astype(np.float32)
        if len(shape) > 1
        else (0.1 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def inputs_of(work: Work) -> list[np.ndarray]:
    """``[batch, time, width]``; attention also takes ``[batch, rows, width]``, decoders a state."""
    rng = np.random.default_rng(8)
    shapes = [(work.batch, work.steps, work.width)]
    if work.cell == "attention":
        shapes.append((work.batch, MEMORY_ROWS, work.width))
    if work.cell == "decoder":
        shapes = [(work.batch, work.width)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def flops_of(work: Work) -> tuple[float, float]:
    """Multiplications and additions of products: for all steps at once, and in one step."""
    shapes = CELLS[work.cell].shapes(work.width)
    products = {name: s for name, s in shapes.items() if len(s) > 1 and name != "words"}
    outside = sum(2.0 * s[0] * s[1] for n, s in products.items() if n.startswith("kernel"))
    inside = sum(2.0 * s[0] * s[1] for n, s in products.items() if not n.startswith("kernel"))
    if work.cell == "attention":
        inside += 4.0 * MEMORY_ROWS * work.width
    return outside * work.batch * work.steps, inside * work.batch


def step_bytes_of(work: Work) -> float:
    """Bytes of the weights that each step reads."""
    shapes = CELLS[work.cell].shapes(work.width)
    return sum(
        4.0 * np.prod(s)
        for n, s in shapes.items()
        if len(s) > 1 and n != "words" and not n.startswith("kernel")
    )


def _gates(count: int) -> Callable[[int], dict[str, tuple[int, ...]]]:
    return lambda h: {
        "kernel": (h, count * h),
        "recurrent": (h, count * h),
        "bias": (count * h,),
    }


def _with(count: int, **more: Callable[[int], tuple[int, ...]]) -> Callable[[int], Any]:
    return lambda h: {**_gates(count)(h), **{name: shape(h) for name, shape in more.items()}}


def _lstm_step(m: Any, a: Any, c: Any) -> tuple[Any, Any]:
    i, f, g, o = m.split(a, 4)
    c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
    return m.sigmoid(o) * m.tanh(c), c


def _lstm(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h, c = _lstm_step(m, z + s[0] @ w["recurrent"], s[1])
    return [h, c], h


def _gru(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h = s[0]
    zz, zr, zn = m.split(z, 3)
    az, ar, an = m.split(h @ w["recurrent"] + w["recurrent_bias"], 3)
    update = m.sigmoid(zz + az)
    new = m.tanh(zn + m.sigmoid(zr + ar) * an)
    h = update * h + (1 - update) * new
    return [h], h


def _simple_rnn(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h = m.tanh(z + s[0] @ w["recurrent"])
    return [h], h


def _peephole(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h, c = s
    i, f, g, o = m.split(z + h @ w["recurrent"], 4)
    new = m.sigmoid(f + w["peep_f"] * c) * c + m.sigmoid(i + w["peep_i"] * c) * m.tanh(g)
    h = m.sigmoid(o + w["peep_o"] * new) * m.tanh(new)
    return [h, new], h


def _norm(m: Any, x: Any, scale: Any) -> Any:
    centered = x - m.mean(x)
    return centered * m.rsqrt(m.mean(centered * centered) + 1e-5) * scale


def _layer_norm_lstm(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h, c = s
    parts, scales = m.split(z + h @ w["recurrent"], 4), m.split(w["scale"], 4)
    i, f, g, o = (_norm(m, part, scale) for part, scale in zip(parts, scales, strict=True))
    c = m.sigmoid(f + 1.0) * c + m.sigmoid(i) * m.tanh(g)
    h = m.sigmoid(o) * m.tanh(_norm(m, c, w["scale_c"]))
    return [h, c], h


def _coupled(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h, c = s
    i, g, o = m.split(z + h @ w["recurrent"], 3)
    i = m.sigmoid(i)
    c = (1 - i) * c + i * m.tanh(g)
    h = m.sigmoid(o) * m.tanh(c)
    return [h, c], h


def _minimal(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h = s[0]
    zf, zn = m.split(z, 2)
    f = m.sigmoid(zf + h @ w["recurrent_f"])
    h = (1 - f) * h + f * m.tanh(zn + (f * h) @ w["recurrent_n"])
    return [h], h


def _sru_project(m: Any, w: Arrays, x: Any) -> Any:
    return m.join([x @ w["kernel"] + w["bias"], x])


def _sru(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    c = s[0]
    new, f, r, x = m.split(z, 4)
    f, r = m.sigmoid(f + w["peep_f"] * c), m.sigmoid(r + w["peep_r"] * c)
    c = f * c + (1 - f) * new
    return [c], r * c + (1 - r) * x


def _leaky(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    rate = m.sigmoid(w["rate"])
    h = (1 - rate) * s[0] + rate * m.tanh(z + s[0] @ w["recurrent"])
    return [h], h


def _attention(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h = s[0]
    weights = m.softmax(m.einsum("bh,bmh->bm", h @ w["query"], memory))
    context = m.einsum("bm,bmh->bh", weights, memory)
    h = m.tanh(z + h @ w["recurrent"] + context @ w["context"])
    return [h], h


def _two_layers(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    h1, c1 = _lstm_step(m, z + s[0] @ w["recurrent"], s[1])
    h2, c2 = _lstm_step(m, h1 @ w["between"] + s[2] @ w["recurrent_2"] + w["bias_2"], s[3])
    return [h1, c1, h2, c2], h2


def _decoder_project(m: Any, w: Arrays, x: Any) -> Any:
    return x


def _decoder(m: Any, w: Arrays, s: list[Any], z: Any, memory: Any) -> Any:
    """States: hidden and the last word; the output is the next word."""
    h = m.tanh(m.take(w["words"], s[1]) + s[0] @ w["recurrent"])
    word = m.argmax(h @ w["logits"])
    return [h, word], word


def _lanes(h: int) -> tuple[int, ...]:
    return (h,)


def _square(h: int) -> tuple[int, ...]:
    return (h, h)


CELLS: dict[str, Cell] = {
    "lstm": Cell(_gates(4), 2, _lstm),
    "gru": Cell(_with(3, recurrent_bias=lambda h: (3 * h,)), 1, _gru),
    "simple_rnn": Cell(_gates(1), 1, _simple_rnn),
    "peephole": Cell(_with(4, peep_i=_lanes, peep_f=_lanes, peep_o=_lanes), 2, _peephole),
    "layer_norm_lstm": Cell(
        _with(4, scale=lambda h: (4 * h,), scale_c=_lanes), 2, _layer_norm_lstm
    ),
    "coupled_gates": Cell(_gates(3), 2, _coupled),
    "minimal_gated_unit": Cell(
        lambda h: {
            "kernel": (h, 2 * h),
            "bias": (2 * h,),
            "recurrent_f": (h, h),
            "recurrent_n": (h, h),
        },
        1,
        _minimal,
    ),
    "sru": Cell(
        lambda h: {"kernel": (h, 3 * h), "bias": (3 * h,), "peep_f": (h,), "peep_r": (h,)},
        1,
        _sru,
        _sru_project,
    ),
    "leaky_integrator": Cell(_with(1, rate=_lanes), 1, _leaky),
    "attention": Cell(_with(1, query=_square, context=_square), 1, _attention),
    "two_layers": Cell(
        _with(
            4,
            between=lambda h: (h, 4 * h),
            recurrent_2=lambda h: (h, 4 * h),
            bias_2=lambda h: (4 * h,),
        ),
        4,
        _two_layers,
    ),
    "decoder": Cell(
        lambda h: {"words": (WORDS, h), "recurrent": (h, h), "logits": (h, WORDS)},
        2,
        _decoder,
        _decoder_project,
    ),
}
