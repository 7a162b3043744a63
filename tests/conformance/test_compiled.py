"""Replays every recorded forward case through the artifact and the runtime: CPU, and Vulkan.

Every case runs on the CPU. On Vulkan, which compiles and runs slowly on a software driver, runs
every third one (in the order of their names) of each API.
"""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conformance.cases import Case, find, load
from conformance.test_conformance import REPLAYS

import recurrent_iree as ri
import recurrent_iree_runtime as rt

# A target approximates exp and tanh in its own way, and errors grow along a recurrence.
WIDER = 5.0
DATA = Path(__file__).parent / "data"
# IREE has no exp or tanh in float64 on any target: linked code lacks the symbols.
NO_FLOAT64 = "in float64, which IREE has no code for"


def run(case: Case, target: str) -> None:
    replay = importlib.import_module(f"conformance.{REPLAYS[case.api]}")
    with case.precision():
        made = replay.forward_program(case)
        if made is None:
            assert case.raises or case.api == "layers_RNN"
            return
        program, arguments = made
        arrays = [np.asarray(a) for a in arguments]
        specs = [ri.spec(*a.shape, dtype=a.dtype) for a in arrays]
        options = ri.BuildOptions(verify=False)
        try:
            artifact = ri.compile(program, *specs, targets=[target], options=options)
        except ri.UnsupportedError as error:
            assert "float64" in case.tags, error
            assert NO_FLOAT64 in str(error)
            return
        with rt.load(artifact.to_bytes(), device=target.split(":")[0]) as model:
            got = jax.tree.leaves(model(*arrays))
        compare(got, replay.forward_expected(case), case)


def compare(got: list[np.ndarray], want: list[Any], case: Case) -> None:
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        other = np.asarray(other)
        assert one.shape == other.shape
        if np.issubdtype(other.dtype, np.inexact):
            wide = np.asarray(one, np.float64), np.asarray(other, np.float64)
            np.testing.assert_allclose(*wide, case.rtol * WIDER, case.atol * WIDER)
        else:
            np.testing.assert_array_equal(one, other)


def test_compiled_for_cpu(case_path: Path) -> None:
    run(load(case_path), "cpu")


def every_third() -> list[Any]:
    paths = find(DATA)
    by_api: dict[str, list[Path]] = {}
    for path in paths:
        by_api.setdefault(path.parent.name, []).append(path)
    chosen = [p for found in by_api.values() for p in found[::3]]
    return [pytest.param(p, id=f"{p.parent.name}/{p.stem}") for p in chosen]


@pytest.mark.vulkan
@pytest.mark.parametrize("vulkan_case", every_third())
def test_compiled_for_vulkan(vulkan_case: Path, record_property: Any) -> None:
    record_property("conformance", f"{vulkan_case.parent.name} compiled_for_vulkan")
    run(load(vulkan_case), "vulkan:llvmpipe")
