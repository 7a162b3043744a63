"""Calls a program with arguments of every kind: `python inputs_child.py FILE DEVICE`.

It prints one line of JSON: how many cases were right or refused, and what went wrong.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.arguments import Case, array_cases, odd_cases  # noqa: E402

import recurrent_iree_runtime as rt  # noqa: E402
from runtime import tiny  # noqa: E402

X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(1, 5, 3)
SHAPES = ((1, 5, 3), (2, 4, 3), (1, 1, 3), (3, 5, 3), (1, 0, 3), (0, 5, 3), (1, 5, 2), (1, 5, 4),
          (5, 3), (1, 1, 5, 3), (), (3,), (1, 5, 0))  # fmt: skip
STEPS = ((1, 3), (2, 3), (1, 4), (3,), (1, 1, 3), (0, 3), ())
VECTORS = ((2,), (1,), (3,), (2, 1), (), (0,))
P = {"a": np.float32([1, 2]), "m": np.array([True, False])}
K = np.int32([3, 4])
ZEROS = {"h": np.zeros((1, 3), np.float32), "n": np.zeros((), np.int32)}


def sequences(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in (1, 2) and shape[2] == 3


def reference(x: np.ndarray) -> np.ndarray:
    if not x.shape[1]:
        return x.copy()  # outputs are as wide as inputs
    with np.errstate(all="ignore"):
        return tiny.steps(x)[0]


Way = tuple[str, str, Iterator[Case], Callable[[Any], Any], Callable[[np.ndarray], Any]]


def ways(model: rt.Model) -> Iterator[Way]:
    """Each way to hand an argument over: its name, the argument's name, cases, call, reference."""
    one = [c for c in array_cases(SHAPES[:1] + SHAPES[2:], lambda s: s[:1] == (1,) and sequences(s),
                                  "float32")]  # fmt: skip
    stream = model.session(batch=1)

    def from_start(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            stream.reset()
            return call(value)

        return run

    def pair(**change: Any) -> Any:
        given = {**P, "k": K, **change}
        k = given.pop("k")
        return model.run("pair", given, k=k)

    def states(value: Any) -> Any:
        stream.set_states({**ZEROS, "h": value})
        return stream.states["h"]

    def both() -> Iterator[Case]:
        yield from array_cases(SHAPES, sequences, "float32")
        yield from odd_cases(X)

    vectors = lambda s: s == (2,)  # noqa: E731
    yield "model(x)", "x", both(), model, reference
    yield "model(x=)", "x", odd_cases(X), lambda v: model(x=v), reference
    yield "session.run", "x", iter(one), from_start(stream.run), reference
    yield "session.step", "x", array_cases(STEPS, lambda s: s == (1, 3), "float32"), from_start(
        stream.step), lambda x: reference(x[:, None])[:, 0]  # fmt: skip
    yield "advance", "x", odd_cases(X), (
        lambda v: model.advance(model.initial_state(batch=1), v)[0]), reference  # fmt: skip
    yield "pair k", "k", array_cases(VECTORS, vectors, "int32"), (
        lambda v: pair(k=v)["sum"][0]), lambda k: k + np.int32(1)  # fmt: skip
    yield "pair m", "p.m", array_cases(VECTORS, vectors, "bool"), (
        lambda v: pair(m=v)["any"]), np.logical_not  # fmt: skip
    yield "pair a", "p.a", array_cases(VECTORS, vectors, "float32"), (
        lambda v: pair(a=v)["a"]), lambda a: a  # fmt: skip
    yield "set_states", "h", array_cases(STEPS, lambda s: s == (1, 3), "float32"), states, (
        lambda h: h)  # fmt: skip


def arity(model: rt.Model) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Calls with wrong counts and names, all of which must be refused."""
    names = ("y", "X", "", "x ", "args", "kwargs", "é", "a" * 1000, "__class__", "width")
    for count in (0, 2, 3, 50):
        yield f"{count} arguments", lambda n=count: model(*[X] * n)
    for name in names:
        yield f"keyword {name[:9]!r}", lambda n=name: model(**{n: X})
        yield f"x and {name[:9]!r}", lambda n=name: model(X, **{n: X})
        yield f"entry {name[:9]!r}", lambda n=name: model.run(n, X)
        yield f"key {name[:9]!r}", lambda n=name: model.run("pair", {n: P["a"]}, k=K)
        yield f"state {name[:9]!r}", lambda n=name: model.session(batch=1).set_states({n: X})
        yield f"size {name[:9]!r}", lambda n=name: model.session(**{"batch": 3, n: 1})
    for size in (0, -1, 3, 1 << 40, 10**30, 1.5, "1", (1,), [], object()):
        yield f"batch {str(size)[:9]}", lambda s=size: model.session(batch=s)
    huge = np.broadcast_to(np.float32(0), (1, 1 << 40, 3))
    yield "2**40 steps", lambda: model(huge)
    yield "2**40 steps of a session", lambda: model.session(batch=1).run(huge)
    yield "2**40 wide", lambda: model(np.broadcast_to(np.float32(0), (1, 5, 1 << 40)))
    yield "2**40 rows", lambda: model(np.broadcast_to(np.float32(0), (1 << 40, 5, 3)))
    for value in (None, 3, [], X, "state", {"h": X}, object()):
        yield f"advance {type(value).__name__}", lambda v=value: model.advance(v, X)
        yield f"set_states {type(value).__name__}", lambda v=value: model.session(
            batch=1).set_states(v)  # fmt: skip


def same(given: Any, wanted: Any) -> bool:
    return given.dtype == wanted.dtype and np.allclose(
        given, wanted, rtol=1e-4, atol=1e-5, equal_nan=True
    )


def judge(argument: str | None, call: Callable[[Any], Any], value: Any, expected: Any) -> str:
    """What came of a case; `expected` is the right answer, or `None` if it must be refused."""
    try:
        given = call(value)
    except rt.RecurrentIreeError as error:
        if expected is not None:
            return f"wrongly refused: {str(error)[:200]}"
        names = repr(argument), "the inputs have"
        if argument is None or any(name in str(error) for name in names):
            return "refused"
        return f"does not name {argument!r}: {str(error)[:200]}"
    except Exception as error:
        return f"untyped {type(error).__name__}: {str(error)[:200]}"
    if expected is None:
        return "wrongly accepted"
    return "right" if same(given, expected) else f"wrong: {given!r} instead of {expected!r}"[:400]


def main() -> None:
    path, device = sys.argv[1:]
    counts: Counter[str] = Counter()
    bad: list[str] = []

    def note(what: str, outcome: str) -> None:
        counts[outcome if outcome in ("right", "refused") else "bad"] += 1
        if outcome not in ("right", "refused"):
            bad.append(f"{what}: {outcome}")

    with rt.load(path, device) as model:
        for way, argument, cases, call, compute in ways(model):
            for name, value, array in cases:
                expected = None if array is None else compute(array)
                note(f"{way} {name}", judge(argument, call, value, expected))
        for name, attempt in arity(model):
            note(name, judge(None, lambda _, run=attempt: run(), None, None))
    print(json.dumps({"counts": counts, "bad": bad}))


if __name__ == "__main__":
    main()
