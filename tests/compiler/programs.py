"""Small programs for the tests of the compiler, and what NumPy says they compute."""

from pathlib import Path

import numpy as np

from recurrent_iree_compiler import FunctionSource, GoldenCase, Program
from recurrent_iree_runtime import Dim, Entry, Function, Leaf

DATA = Path(__file__).parent / "data"
BATCH, FEATURES, UNITS = 2, 3, 4

_random = np.random.default_rng(7)


def normal(*shape):
    return (_random.standard_normal(shape) * 0.5).astype(np.float32)


WEIGHTS = {"rnn/kernel": normal(FEATURES, UNITS), "rnn/recurrent": normal(UNITS, UNITS)}
H0 = normal(BATCH, UNITS)


def source(name, suffix=".mlir"):
    return FunctionSource((DATA / f"{name}{suffix}").read_bytes())


def input_tree(count):
    leaves = [{"leaf": i} for i in range(count)]
    return {"dict": {"args": {"tuple": leaves}, "kwargs": {"dict": {}}}}


def output_tree(count):
    return {"tuple": [{"leaf": i} for i in range(count)]}


def numpy_rnn(x, h):
    """All outputs and the last state, step by step."""
    ys = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ WEIGHTS["rnn/kernel"] + h @ WEIGHTS["rnn/recurrent"])
        ys.append(h)
    return np.stack(ys, axis=1).astype(np.float32), h.astype(np.float32)


def rnn_program(time=5, suffix=".mlir", tolerance=1e-5):
    """`main(x, h0) -> (ys, h)` for one length."""
    inputs = (
        Leaf("x", (BATCH, time, FEATURES), "float32"),
        Leaf("h0", (BATCH, UNITS), "float32"),
    )
    outputs = (Leaf("ys", (BATCH, time, UNITS), "float32"), Leaf("h", (BATCH, UNITS), "float32"))
    function = Function("main", {})
    entry = Entry("main", "module", inputs, input_tree(2), outputs, output_tree(2), (function,))
    x = normal(BATCH, time, FEATURES)
    golden = GoldenCase("main", {}, (x, H0), numpy_rnn(x, H0), tolerance, tolerance)
    sources = {"main": source(f"rnn_{time}", suffix)}
    return Program("rnn", "main", (), (entry,), sources, (), WEIGHTS, (golden,))


def streaming_program():
    """A program with `sequence` in chunks of 5 and 1, and the state slot `rnn/h`."""
    leaf = Leaf("x", (BATCH, "time", FEATURES), "float32")
    ys = Leaf("ys", (BATCH, "time", UNITS), "float32")
    edge = ((leaf,), input_tree(1), (ys,), output_tree(1))
    chunks = tuple(Function(f"chunk_{n}", {"time": n}) for n in (5, 1))
    nothing = ((), input_tree(0), (), output_tree(0))
    entries = (
        Entry("sequence", "chunks", *edge, ()),
        Entry("chunk", "module", *edge, chunks),
        Entry("init", "module", *nothing, (Function("init", {}),)),
    )
    x = normal(BATCH, 11, FEATURES)
    ys_expected, h = numpy_rnn(x, np.zeros_like(H0))
    golden = GoldenCase("sequence", {"time": 11}, (x,), (ys_expected,), 1e-5, 1e-5)
    sources = {"chunk_5": source("rnn_5"), "chunk_1": source("rnn_1"), "init": source("init")}
    states = (Leaf("rnn/h", (BATCH, UNITS), "float32"),)
    return Program(
        "stream", "sequence", (Dim("time", None),), entries, sources, states, WEIGHTS, (golden,)
    )


def small_types_program():
    """bool, uint8 and float16 at the edge."""
    inputs = (
        Leaf("flags", (3,), "bool"),
        Leaf("bytes", (3,), "uint8"),
        Leaf("halves", (3,), "float16"),
    )
    function = Function("main", {})
    entry = Entry("main", "module", inputs, input_tree(3), inputs, output_tree(3), (function,))
    flags = np.array([True, False, True])
    numbers = np.array([3, 254, 255], np.uint8)
    halves = np.array([0.5, -1.5, 2.0], np.float16)
    picked = np.where(flags, numbers.astype(np.float16), halves) * np.float16(2)
    expected = (~flags, numbers + np.uint8(1), picked)
    golden = GoldenCase("main", {}, (flags, numbers, halves), expected, 0.0, 0.0)
    return Program(
        "small", "main", (), (entry,), {"main": source("small_types")}, goldens=(golden,)
    )


def text_program(text, inputs, outputs, goldens=()):
    """A program of one function without weights, given as StableHLO text."""
    function = Function("main", {})
    trees = input_tree(len(inputs)), output_tree(len(outputs))
    entry = Entry("main", "module", inputs, trees[0], outputs, trees[1], (function,))
    sources = {"main": FunctionSource(text.encode())}
    return Program("text", "main", (), (entry,), sources, goldens=tuple(goldens))
