"""Which models keep the memory of their calls unless the caller says."""

from dataclasses import replace

import pytest
from runtime.tiny import entries, manifest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._kept import LARGE, keeps_memory

HALF = LARGE // 8  # numbers of four bytes


def named(name: str, shape: tuple[int | str, ...], size: int | None) -> rt.Manifest:
    """One function with an input and an output of that shape."""
    like = next(entry for entry in entries() if entry.name == "chunk")
    leaf = replace(like.inputs[0], shape=shape)
    dims = {} if size is None else {"time": size}
    function = replace(like.functions[0], dims=dims)
    entry = replace(like, name=name, inputs=(leaf,), outputs=(leaf,), functions=(function,))
    return manifest(entries=(entry,), states=())


@pytest.mark.parametrize(
    ("name", "shape", "size", "keeps"),
    [
        ("sequence", (HALF,), None, True),
        ("sequence", (HALF - 1,), None, False),
        ("sequence", ("time", 8), HALF // 8, True),
        ("sequence", ("time", HALF), None, False),
        ("gradients", (1,), None, True),
    ],
)
def test_large_calls_of_known_sizes_and_gradients_keep_it(
    name: str, shape: tuple[int | str, ...], size: int | None, keeps: bool
) -> None:
    assert keeps_memory(named(name, shape, size)) is keeps


def test_the_limit_is_that_of_the_documentation() -> None:
    assert f"{LARGE >> 20} MiB" in (rt.load.__doc__ or "")
