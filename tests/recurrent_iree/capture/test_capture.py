"""What is captured from a callable: entries, states, weights, and why a program cannot stream."""

from collections import namedtuple
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
from recurrent_iree._capture import Lowered
from recurrent_iree._spec import spec
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError, UnsupportedError

D, H = 5, 4
W = np.linspace(-1, 1, D * H, dtype=np.float32).reshape(D, H)
U = np.linspace(-0.5, 0.5, H * H, dtype=np.float32).reshape(H, H)


def capture(program: Any, args: tuple, kwargs: dict, **options: Any) -> Lowered:
    return ri.lower(program, *args, xla=False, **options, **kwargs)


def elman(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = jnp.tanh(v @ W + h @ U)
        return h, h

    return jnp.swapaxes(lax.scan(step, jnp.zeros((x.shape[0], H)), jnp.swapaxes(x, 0, 1))[1], 0, 1)


def entry(lowered: Lowered, name: str) -> Any:
    return next(e for e in lowered.entries if e.name == name)


def test_any_length_of_time_runs_in_chunks() -> None:
    lowered = capture(elman, (spec("batch=1|2", "time=?", D),), {})
    assert lowered.default_entry == "sequence"
    assert entry(lowered, "sequence").realization == "chunks"
    assert {f.symbol for f in entry(lowered, "chunk").functions} == {
        f"chunk_batch{b}{t}" for b in (1, 2) for t in ("", "_time64", "_time8", "_time1")
    }
    assert lowered.any_length == "yes"
    assert [f.symbol for f in entry(lowered, "init").functions] == ["init_batch1", "init_batch2"]
    assert [(s.name, s.shape) for s in lowered.states] == [("loop0/carry0", ("batch", H))]
    assert entry(lowered, "sequence").outputs[0].shape == ("batch", "time", H)


def test_named_lengths_are_whole_functions_and_stream_too() -> None:
    lowered = capture(elman, (spec("batch=1", "time=5|9", D),), {})
    assert entry(lowered, "sequence").realization == "module"
    assert len(entry(lowered, "sequence").functions) == 2
    assert [f.dims["time"] for f in entry(lowered, "chunk").functions] == [1]


def test_without_a_time_axis_there_is_only_main() -> None:
    lowered = capture(elman, (spec(2, 6, D),), {})
    assert [e.name for e in lowered.entries] == ["main"]
    assert lowered.streaming == 'no input has a dim called "time"'


def test_chunk_lengths_can_be_chosen() -> None:
    lowered = capture(elman, (spec("batch=1", "time=?", D),), {}, chunks=(16,))
    assert [f.dims["time"] for f in entry(lowered, "chunk").functions] == [16, 1]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (lambda x: elman(x[:, ::-1]), "something other than a forward loop mixes time steps"),
        (lambda x: x.mean(1), "something other than a forward loop mixes time steps"),
        (lambda x: lax.cumsum(x, 1), "something other than a forward loop mixes time steps"),
        (
            lambda x: lax.scan(lambda c, v: (c + v, c), x[:, 0], jnp.swapaxes(x, 0, 1))[1],
            "the start of a loop depends on the inputs",
        ),
        (
            lambda x: lax.scan(
                lambda c, v: (c + v, c), jnp.zeros((1, D)), jnp.swapaxes(x, 0, 1), reverse=True
            )[1],
            "a loop runs backwards in time",
        ),
        (
            lambda x: sum(elman(x[:, : k + 1]).sum() for k in range(x.shape[1])),
            "the number of its loops depends on the length of time",
        ),
        (
            lambda x: lax.fori_loop(0, 2 * x.shape[1], lambda i, c: c + i, x.sum(1)),
            "a number of steps that is not the length of time",
        ),
    ],
)
def test_what_cannot_run_in_pieces_says_why(program: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=f'"time=\\?" needs .*{words}'):
        capture(program, (spec("batch=1", "time=?", D),), {})
    lowered = capture(program, (spec("batch=1", "time=4|6", D),), {})
    assert words in lowered.streaming
    assert [e.name for e in lowered.entries] == ["sequence"]


def test_a_program_that_fixes_its_length_does_not_stream() -> None:
    def program(x: Any) -> Any:
        return elman(x) + jnp.ones((1, 6, H))

    lowered = capture(program, (spec("batch=1", "time=6", D),), {})
    assert "cannot be traced for other lengths" in lowered.streaming


def test_a_dynamic_batch_in_a_loop_has_a_step_for_any_rows() -> None:
    lowered = capture(elman, (spec("batch=?", "time=4", D),), {})
    (function,) = entry(lowered, "sequence").functions
    assert function.dims == {"time": 4}
    assert "rows = 1000003" in function.text and "tensor<1000003x4xf32>" in function.text


def test_a_program_that_looks_at_its_batch_is_refused() -> None:
    def program(x: Any) -> Any:
        return elman(x) / x.shape[0] ** 0.5

    with pytest.raises(UnsupportedError, match='"batch=\\?" in a program with a loop'):
        capture(program, (spec("batch=?", "time=4", D),), {})


def test_a_dynamic_batch_without_a_loop_is_one_function() -> None:
    lowered = capture(lambda x: jnp.tanh(x @ W), (spec("batch=?", D),), {})
    (function,) = entry(lowered, "main").functions
    assert function.dims == {}
    assert "?x4xf32" in function.text
    assert entry(lowered, "main").outputs[0].shape == ("batch", H)


def test_arrays_become_weights_and_keep_their_names() -> None:
    def program(p: dict[str, Any], x: Any, *, scale: Any) -> Any:
        return x @ p["kernel"] * scale["s"]

    lowered = capture(program, ({"kernel": W}, spec(2, D)), {"scale": {"s": jnp.ones(H)}})
    assert set(lowered.weights) == {"arg0/kernel", "scale/s"}
    assert entry(lowered, "main").input_tree == {
        "dict": {"args": {"tuple": [{"leaf": 0}]}, "kwargs": {"dict": {}}}
    }


def test_closed_over_arrays_are_lifted_once() -> None:
    lowered = capture(elman, (spec("batch=1|2", "time=?", D),), {})
    assert set(lowered.weights) == {"constant_0", "constant_1"}
    assert "dense<" not in lowered.text().replace("dense<0.000000e+00>", "").replace(
        "dense<1> : tensor<i32>", ""
    ).replace("dense<0> : tensor<i32>", "").replace("dense<64> : tensor<i32>", "")


def test_trees_of_arguments_and_results() -> None:
    Pair = namedtuple("Pair", ["a", "b"])

    def program(x: dict[str, Any], y: Any) -> Any:
        return Pair(x["u"] + y[0], [None, (x["v"],)])

    lowered = capture(program, ({"u": spec(2), "v": spec(2)}, [spec(2)]), {})
    main = entry(lowered, "main")
    assert [a.name for a in main.inputs] == ["arg0/u", "arg0/v", "arg1/0"]
    assert main.output_tree == {
        "namedtuple": {
            "name": "Pair",
            "fields": ["a", "b"],
            "items": [{"leaf": 0}, {"list": [{"none": True}, {"tuple": [{"leaf": 1}]}]}],
        }
    }
    assert main.functions[0].sources == (None, 1)


def test_golden_vectors_come_from_the_program_as_written() -> None:
    lowered = capture(elman, (spec("batch=1", "time=?", D),), {})
    assert {g.dims["time"] for g in lowered.goldens} == {1, 73, 128}
    for golden in lowered.goldens:
        want = jax.jit(elman)(golden.inputs[0])
        np.testing.assert_allclose(golden.outputs[0], want, rtol=1e-5, atol=1e-6)


def test_no_source_path_is_in_what_is_lowered() -> None:
    lowered = capture(elman, (spec("batch=1", "time=4", D),), {})
    for function in entry(lowered, "sequence").functions:
        assert b".py" not in function.portable
        assert b".py" not in function.xla


def test_lowering_is_reproducible() -> None:
    one, two = (capture(elman, (spec("batch=1", "time=4", D),), {}) for _ in range(2))
    for a, b in zip(one.entries, two.entries, strict=True):
        assert [f.portable for f in a.functions] == [f.portable for f in b.functions]
        assert [f.xla for f in a.functions] == [f.xla for f in b.functions]


@pytest.mark.parametrize(
    ("program", "args", "error", "words"),
    [
        (3, (spec(2),), ArgumentTypeError, "the program is a int; give a function or a layer"),
        (jnp.tanh, (), ArgumentError, "no argument is a spec"),
        (ri.layers.LSTM(2), (), ArgumentTypeError, "argument of the layer is missing"),
        (ri.layers.LSTM(2), (W,), ArgumentTypeError, "argument of the layer is a ndarray"),
        (jnp.tanh, ("x",), ArgumentTypeError, "'arg0' is a str; give a spec"),
        (
            jnp.add,
            (spec("batch=1", 2), spec("batch=2", 2)),
            ArgumentError,
            "the dim 'batch' has other sizes in the input 'arg1'",
        ),
        (
            lambda x: jnp.concatenate([x, x]),
            (spec("batch=1|2", 2),),
            UnsupportedError,
            "axis 0 of output 0 has the sizes \\[2, 4\\]",
        ),
        (
            lambda x: jnp.tanh(jax.debug.print("{}", x) or x),
            (spec(2),),
            UnsupportedError,
            "side effects",
        ),
    ],
)
def test_bad_input_is_refused(program: Any, args: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        capture(program, args, {})


@pytest.mark.parametrize("chunks", [(), (0,), (2.5,)])
def test_bad_chunks_are_refused(chunks: Any) -> None:
    with pytest.raises(ArgumentError, match="give the lengths of the pieces"):
        capture(elman, (spec("batch=1", "time=?", D),), {}, chunks=chunks)


def test_the_report_counts_the_products_of_each_loop() -> None:
    report = capture(elman, (spec("batch=1", "time=4", D),), {}).report()
    assert report["streaming"] == "yes"
    assert report["loops"] == [
        {
            "steps": 4,
            "layers": "1",
            "pieces": 1,
            "backwards": False,
            "carries": 1,
            "sums after the loop": 0,
            "products before the loop": 1,
            "products in the loop": 1,
            "products after the loop": 0,
        }
    ]
