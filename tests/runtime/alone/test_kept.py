"""Which models keep the memory of their calls unless the caller says."""

from dataclasses import replace
from pathlib import Path

import pytest
from runtime.tiny import entries, manifest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _load
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


@pytest.mark.parametrize(("said", "kept"), [(None, False), (False, False), (True, True)])
def test_what_the_caller_says_is_done(
    said: bool | None, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    make = _load.make_driver

    def noted(info: rt.DeviceInfo, uri: str | None, keep_memory: bool) -> rt.Driver:
        asked.append(keep_memory)
        return make(info, uri, keep_memory)

    monkeypatch.setattr(_load, "make_driver", noted)
    file = Path(__file__).parents[1] / "data" / "tiny.riree"
    with rt.load(file, device="cpu:local-sync", keep_memory=said) as model:
        model.verify().raise_if_failed()
    assert asked and set(asked) == {kept}
