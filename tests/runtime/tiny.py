"""A tiny program that tests share: its manifest, its MLIR, and the same in NumPy.

One step, for rows of `batch`: ``h = tanh(x @ kernel + h)``, ``n = n + 1``; the output is ``h``.
The entry `pair` takes and returns a dict with several dtypes, and passes one input through.
"""

import itertools

import numpy as np

import recurrent_iree_runtime as rt

BATCHES, CHUNKS, WIDTH = (1, 2), (4, 1), 3
KERNEL = np.array([[0.5, -1.0, 0.25], [1.5, 0.5, -0.5], [-0.25, 0.75, 1.0]], np.float32)


def steps(x, h=None, n=None):
    """The reference: `(y, h, n)` for x of shape [batch, time, 3]."""
    h = np.zeros((x.shape[0], WIDTH), np.float32) if h is None else h
    n = np.zeros((), np.int32) if n is None else n
    out = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ KERNEL + h).astype(np.float32)
        n = np.int32(n + 1)
        out.append(h)
    return np.stack(out, axis=1), h, n


def pair(a, m, k):
    """The reference of `pair`."""
    return {"a": a, "any": np.logical_not(m), "sum": (k + np.int32(1),)}


def _leaf(name, *shape, dtype="float32", from_input=None):
    return rt.Leaf(name, shape, dtype, from_input)


def entries():
    """`sequence` by chunks, `chunk`, `init`, and `pair`."""
    x, y = _leaf("x", "batch", "time", WIDTH), _leaf("y", "batch", "time", WIDTH)
    call = {"dict": {"args": {"tuple": [{"leaf": 0}]}, "kwargs": {"dict": {}}}}
    none = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    chunks = tuple(
        rt.Function(f"chunk_b{b}_t{t}", {"batch": b, "time": t}, {"flops": 18.0 * b * t})
        for b, t in itertools.product(BATCHES, CHUNKS)
    )
    inits = tuple(rt.Function(f"init_b{b}", {"batch": b}, {"flops": 0.0}) for b in BATCHES)
    pair_in = {
        "dict": {
            "args": {"tuple": [{"dict": {"a": {"leaf": 0}, "m": {"leaf": 1}}}]},
            "kwargs": {"dict": {"k": {"leaf": 2}}},
        }
    }
    pair_out = {"dict": {"a": {"leaf": 0}, "any": {"leaf": 1}, "sum": {"tuple": [{"leaf": 2}]}}}
    a, m, k = _leaf("p.a", 2), _leaf("p.m", 2, dtype="bool"), _leaf("k", 2, dtype="int32")
    return (
        rt.Entry("sequence", "chunks", (x,), call, (y,), {"leaf": 0}, ()),
        rt.Entry("chunk", "module", (x,), call, (y,), {"leaf": 0}, chunks),
        rt.Entry("init", "module", (), none, (), {"tuple": []}, inits),
        rt.Entry(
            "pair",
            "module",
            (a, m, k),
            pair_in,
            (
                _leaf("a", 2, from_input=0),
                _leaf("any", 2, dtype="bool"),
                _leaf("sum", 2, dtype="int32"),
            ),
            pair_out,
            (rt.Function("pair", {}, {"flops": 4.0}),),
        ),
    )


def manifest(modules=(), goldens=(), **changes):
    """The manifest of the tiny program."""
    parts = {
        "name": "tiny",
        "default_entry": "sequence",
        "dims": (rt.Dim("batch", BATCHES), rt.Dim("time", None)),
        "entries": entries(),
        "states": (_leaf("h", "batch", WIDTH), _leaf("n", dtype="int32")),
        "weights": (rt.Weight("kernel", (WIDTH, WIDTH), "float32"),),
        "modules": tuple(modules),
        "goldens": tuple(goldens),
        "versions": {"iree": rt.iree_version()},
        "metadata": {"author": "tests"},
    }
    return rt.Manifest(**{**parts, **changes})


def golden():
    """Golden calls of every entry, and their arrays."""
    x = np.linspace(-1, 1, 1 * 6 * WIDTH, dtype=np.float32).reshape(1, 6, WIDTH)
    y, h, n = steps(x)
    p = (np.float32([1, 2]), np.array([True, False]), np.int32([3, 4]))
    q = pair(*p)
    arrays = {"x": x, "y": y, "x4": x[:, :4].copy(), "a": p[0], "m": p[1], "k": p[2]}
    y4, h4, n4 = steps(x[:, :4])
    arrays |= {"y4": y4, "h4": h4, "n4": n4, "h0": np.zeros_like(h), "n0": np.zeros_like(n)}
    arrays |= {"qa": q["a"], "qany": q["any"], "qsum": q["sum"][0]}
    sizes = {"batch": 1}
    calls = (
        rt.Golden("sequence", {**sizes, "time": 6}, ("x",), ("y", "h", "n")[:1], 1e-5, 1e-6),
        rt.Golden("chunk", {**sizes, "time": 4}, ("x4",), ("y4", "h4", "n4"), 1e-5, 1e-6),
        rt.Golden("chunk", {**sizes, "time": 4}, ("x4", "h0", "n0"), ("y4",), 1e-5, 1e-6),
        rt.Golden("init", sizes, (), ("h0", "n0"), 0.0, 0.0),
        rt.Golden("pair", {}, ("a", "m", "k"), ("qa", "qany", "qsum"), 0.0, 0.0),
    )
    return calls, {name: np.asarray(array) for name, array in arrays.items()}


def members(modules=(), code=None, **changes):
    """All members of a tiny artifact; `code` has the bytes of each module."""
    calls, arrays = golden()
    parts = {
        "weights.safetensors": rt.write_safetensors({"kernel": KERNEL}),
        "golden.safetensors": rt.write_safetensors(arrays),
        "report.json": b"{}",
        **(code or {}),
    }
    return rt.pack(manifest(modules, calls, **changes), parts)


def artifact(modules=(), code=None, **changes):
    """The bytes of a tiny artifact."""
    return rt.container_bytes(members(modules, code, **changes))


def fake_driver():
    """The tiny program as Python functions."""
    functions = {"pair": lambda a, m, k: [np.logical_not(m), k + 1]}
    for b in BATCHES:
        functions[f"init_b{b}"] = lambda b=b: [np.zeros((b, WIDTH)), 0]
        for t in CHUNKS:
            functions[f"chunk_b{b}_t{t}"] = steps
    return rt.FakeDriver(functions)


def fake_model():
    """The tiny program on a `FakeDriver`, and the driver."""
    driver = fake_driver()
    return rt.load(artifact(), device=driver), driver


def mlir(edge_bool="i1"):
    """StableHLO of every function; `edge_bool` is the type of bool at the edge of the module."""
    text = ["module @tiny {", '  util.global private @kernel = #flow.parameter.named<"weights"::'
            '"kernel"> : tensor<3x3xf32>']  # fmt: skip
    text += [_chunk(b, t) for b in BATCHES for t in CHUNKS] + [_init(b) for b in BATCHES]
    return "\n".join([*text, _pair(edge_bool), "}"])


def _chunk(b, t):
    h, x1 = f"tensor<{b}x3xf32>", f"tensor<{b}x1x3xf32>"
    lines = [
        f"  func.func @chunk_b{b}_t{t}(%x: tensor<{b}x{t}x3xf32>, %h0: {h}, %n: tensor<i32>)"
        f" -> (tensor<{b}x{t}x3xf32>, {h}, tensor<i32>) {{",
        "    %w = util.global.load @kernel : tensor<3x3xf32>",
    ]
    for i in range(t):
        lines += [
            f"    %s{i} = stablehlo.slice %x [0:{b}, {i}:{i + 1}, 0:3]"
            f" : (tensor<{b}x{t}x3xf32>) -> {x1}",
            f"    %r{i} = stablehlo.reshape %s{i} : ({x1}) -> {h}",
            f"    %d{i} = stablehlo.dot_general %r{i}, %w, contracting_dims = [1] x [0]"
            f" : ({h}, tensor<3x3xf32>) -> {h}",
            f"    %a{i} = stablehlo.add %d{i}, %h{i} : {h}",
            f"    %h{i + 1} = stablehlo.tanh %a{i} : {h}",
            f"    %o{i} = stablehlo.reshape %h{i + 1} : ({h}) -> {x1}",
        ]
    names = ", ".join(f"%o{i}" for i in range(t))
    types = ", ".join([x1] * t)
    return "\n".join([
        *lines,
        f"    %y = stablehlo.concatenate {names}, dim = 1 : ({types}) -> tensor<{b}x{t}x3xf32>",
        f"    %c = stablehlo.constant dense<{t}> : tensor<i32>",
        "    %m = stablehlo.add %n, %c : tensor<i32>",
        f"    return %y, %h{t}, %m : tensor<{b}x{t}x3xf32>, {h}, tensor<i32>",
        "  }",
    ])  # fmt: skip


def _init(b):
    return f"""  func.func @init_b{b}() -> (tensor<{b}x3xf32>, tensor<i32>) {{
    %h = stablehlo.constant dense<0.0> : tensor<{b}x3xf32>
    %n = stablehlo.constant dense<0> : tensor<i32>
    return %h, %n : tensor<{b}x3xf32>, tensor<i32>
  }}"""


def _pair(edge):
    convert = edge != "i1"
    into = f"stablehlo.convert %m : (tensor<2x{edge}>) -> tensor<2xi1>"
    out = f"    %o = stablehlo.convert %q : (tensor<2xi1>) -> tensor<2x{edge}>"
    return f"""  func.func @pair(%a: tensor<2xf32>, %m: tensor<2x{edge}>, %k: tensor<2xi32>)
      -> (tensor<2x{edge}>, tensor<2xi32>) {{
    {"%b = " + into if convert else ""}
    %q = stablehlo.not {"%b" if convert else "%m"} : tensor<2xi1>
{out if convert else ""}
    %c = stablehlo.constant dense<1> : tensor<2xi32>
    %s = stablehlo.add %k, %c : tensor<2xi32>
    return {"%o" if convert else "%q"}, %s : tensor<2x{edge}>, tensor<2xi32>
  }}"""
