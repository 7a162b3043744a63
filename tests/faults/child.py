"""A process that meets changed artifacts: `python child.py FILE CLASS SEED FIRST LAST`.

It prints the number of each variant before it tries it, so that whoever started it knows which one
killed it, and afterwards what came of it.
"""

import functools
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults.hostile import lying_manifest, lying_snapshot, lying_tensors  # noqa: E402
from faults.mutations import changed_bytes  # noqa: E402
from faults.zips import attacked  # noqa: E402

import recurrent_iree_runtime as rt  # noqa: E402

Attempt = Callable[[bytes], list[np.ndarray]]
SECONDS = 20
MEMORY = 8 << 30
X = np.linspace(-1, 1, 18, dtype=np.float32).reshape(1, 6, 3)
P = {"a": np.float32([1, 2]), "m": np.array([True, False])}
K = np.int32([3, 4])


def leaves(value: Any) -> list[np.ndarray]:
    """The arrays in a result, in an order that does not depend on what holds them."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        found = [leaf for item in value for leaf in leaves(item)]
        return sorted(found, key=lambda a: (a.dtype.str, a.shape, a.tobytes()))
    return [] if value is None else [value]


def answers(model: rt.Model) -> list[np.ndarray]:
    """What the program gives for fixed arguments, called in every way that it has."""
    found = leaves(model(X)) + leaves(model.run("pair", P, k=K))
    with model.session(batch=1) as stream:
        found += leaves(stream.step(X[:, 0])) + leaves(stream.run(X[:, 1:]))
        found += leaves(list(stream.states.values()))
    return found


def same(given: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for rounding: other chunk lengths add in another order."""
    if (given.shape, given.dtype) != (expected.shape, expected.dtype):
        return False
    return np.allclose(given, expected, rtol=1e-5, atol=1e-6)


def answers_of_artifact(data: bytes) -> list[np.ndarray]:
    """The answers of an artifact that passes its own golden calls."""
    artifact = rt.read(data)
    artifact.check()
    with rt.load(artifact, "cpu") as model:
        model.verify().raise_if_failed()
        return answers(model)


def answers_of_snapshot(model: rt.Model, data: bytes) -> list[np.ndarray]:
    """The answers of a stream that goes on from a snapshot."""
    with model.restore(data) as stream:
        return [*stream.states.values(), stream.step(X[:, 0])]


def judge(attempt: Attempt, data: bytes, right: list[np.ndarray]) -> str:
    """What came of a variant, in one word and a detail."""
    try:
        found = attempt(data)
    except rt.RecurrentIreeError as error:
        return f"refused {type(error).__name__}"
    except Exception as error:
        return f"untyped {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if len(found) == len(right) and all(map(same, found, right)):
        return "right answer"
    return f"wrong {[getattr(a, 'shape', a) for a in found]}"


def variant(kind: str, seed: int, number: int, data: bytes, members: dict[str, bytes]) -> Any:
    """The name and bytes of a variant; the same numbers always give the same variant."""
    draw = random.Random(f"{kind}:{seed}:{number}")
    if kind == "bytes":
        return changed_bytes(draw, data)
    if kind == "zip":
        return attacked(draw, data, members)
    if kind == "snapshot":
        return changed_bytes(draw, data) if draw.random() < 0.5 else lying_snapshot(draw, data)
    return {"manifest": lying_manifest, "tensors": lying_tensors}[kind](draw, members)


def main() -> None:
    path, kind, seed, first, last = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    data = Path(path).read_bytes()
    artifact = rt.read(data)
    members = {name: bytes(artifact.read_member(name)) for name in artifact.members}
    attempt: Attempt = answers_of_artifact
    model = rt.load(data, "cpu")
    right = answers(model)
    if kind == "snapshot":
        with model.session(batch=1) as stream:
            stream.run(X)
            data = stream.snapshot()
        attempt = functools.partial(answers_of_snapshot, model)
        right = attempt(data)
    for number in range(int(first), int(last)):
        name, changed = variant(kind, int(seed), number, data, members)
        print(number, name.replace("\n", " ")[:200], flush=True)
        if changed == data:
            print("same", flush=True)
            continue
        signal.alarm(SECONDS)
        print(judge(attempt, changed, right), flush=True)
        signal.alarm(0)
    status = Path("/proc/self/status").read_text()
    print("peak", int(status.partition("VmHWM:")[2].split()[0]) * 1024, flush=True)


if __name__ == "__main__":
    main()
