"""Long inputs of golden calls: a part is stored, which is repeated when it is read."""

import numpy as np

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import recompile
from recurrent_iree_runtime import GOLDEN_PERIOD as PERIOD

SHAPE = (3, 400_000)


def test_a_part_is_stored_and_the_whole_is_compared(tmp_path):
    artifact = ri.compile(lambda x, y: (x + y, y[0]), ri.spec(*SHAPE), ri.spec(*SHAPE))
    stored = rt.read_safetensors(artifact.members["golden.safetensors"], "golden")
    assert [stored[f"0.input.{i}"].shape for i in (0, 1)] == [(PERIOD,)] * 2
    assert stored["0.output.0"].shape == SHAPE
    file = rt.read(artifact.to_bytes())
    x, y = (file.goldens()[f"0.input.{i}"] for i in (0, 1))
    assert x.shape == y.shape == SHAPE
    assert not np.array_equal(x, y)
    np.testing.assert_array_equal(x.reshape(-1)[PERIOD:], x.reshape(-1)[:-PERIOD])
    np.testing.assert_array_equal(x + y, stored["0.output.0"])
    with rt.load(file, device="cpu") as model:
        assert model.verify().ok
    assert recompile(file).to_bytes() == artifact.to_bytes()


def _artifact(shape, inputs):
    leaf = rt.Leaf("x", shape, "float32")
    none = {"dict": {"args": {"tuple": [{"leaf": 0}]}, "kwargs": {"dict": {}}}}
    call = (rt.Function("main", {}, {}),)
    main = rt.Entry("main", "module", (leaf,), none, (leaf,), {"leaf": 0}, call)
    tensors = {f"{i}": np.arange(size, dtype=np.float32) for i, size in enumerate(inputs)}
    goldens = tuple(rt.Golden("main", {}, (key,), (key,), 0.0, 0.0) for key in tensors)
    manifest = rt.Manifest("m", "main", (), (main,), goldens=goldens)
    members = {"golden.safetensors": rt.write_safetensors(tensors)}
    return rt.read(rt.container_bytes(rt.pack(manifest, members))).goldens()


def test_only_a_whole_period_is_repeated():
    whole, short = _artifact((2, PERIOD - 1), [PERIOD, 7]).values()
    assert whole.shape == (2, PERIOD - 1) and whole[1, 0] == PERIOD - 1 and whole[1, 1] == 0
    assert short.shape == (7,)


def test_a_size_that_lies_takes_no_memory():
    (array,) = _artifact((1 << 20, 1 << 20), [PERIOD]).values()
    assert array.shape == (PERIOD,)
