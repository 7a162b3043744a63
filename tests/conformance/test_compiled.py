"""Replays the recorded forward cases through the artifact and the runtime: CPU, and Vulkan.

Every third one of each API (in the order of their names) runs on both; all run on the CPU in the
sweep.
"""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from compiler.fused import running
from conformance.cases import Case, load
from conformance.test_conformance import REPLAYS

import recurrent_iree as ri
import recurrent_iree_runtime as rt

# A target approximates exp and tanh in its own way, and errors grow along a recurrence.
WIDER = 5.0
DATA = Path(__file__).parent / "data"
# IREE has no exp or tanh in float64 on any target: linked code lacks the symbols.
NO_FLOAT64 = "in float64, which IREE has no code for"


def run(cases: list[Case], target: str) -> None:
    """Compile the programs of `cases`, which have the same precision, as one, and compare."""
    with cases[0].precision():
        made = [(case, _program(case)) for case in cases]
        programs = [(case, *program) for case, program in made if program is not None]
        if not programs:
            return
        function, arrays = running.together([(p, given) for _, p, given in programs])
        specs = [ri.spec(*a.shape, dtype=a.dtype) for a in arrays]
        options = ri.BuildOptions(verify=False)
        try:
            artifact = ri.compile(function, *specs, targets=[target], options=options)
        except ri.UnsupportedError as error:
            if len(programs) > 1:
                for case, *_ in programs:
                    run([case], target)
                return
            assert "float64" in cases[0].tags, error
            assert NO_FLOAT64 in str(error)
            return
        if target == "cpu":
            assert_fused(artifact)
        with rt.load(artifact.to_bytes(), device=target.split(":")[0]) as model:
            results = model(*arrays)
        for (case, *_), got in zip(programs, results, strict=True):
            compare(jax.tree.leaves(got), _replay(case).forward_expected(case), case)


def _replay(case: Case) -> Any:
    return importlib.import_module(f"conformance.{REPLAYS[case.api]}")


def _program(case: Case) -> tuple[Any, list[np.ndarray]] | None:
    made = _replay(case).forward_program(case)
    if made is None:
        assert case.raises or case.api == "layers_RNN"
        return None
    return made[0], [np.asarray(a) for a in made[1]]


def assert_fused(artifact: Any) -> None:
    """Each recurrence became a kernel, as the report says."""
    (target,) = artifact.report()["targets"]
    for recurrence in target["recurrences"]:
        assert recurrence["form"] == "fused kernel", recurrence["reason"]


def compare(got: list[np.ndarray], want: list[Any], case: Case) -> None:
    assert len(got) == len(want), case.name
    for one, other in zip(got, want, strict=True):
        other = np.asarray(other)
        assert one.shape == other.shape, case.name
        if np.issubdtype(other.dtype, np.inexact):
            wide = np.asarray(one, np.float64), np.asarray(other, np.float64)
            np.testing.assert_allclose(
                *wide, case.rtol * WIDER, case.atol * WIDER, err_msg=case.name
            )
        else:
            np.testing.assert_array_equal(one, other, err_msg=case.name)


def by_precision(paths: list[Path]) -> list[list[Case]]:
    cases = [load(path) for path in paths]
    both = [[c for c in cases if c.wide], [c for c in cases if not c.wide]]
    return [some for some in both if some]


def test_compiled_for_cpu(third_group: list[Path]) -> None:
    for cases in by_precision(third_group):
        run(cases, "cpu")


@pytest.mark.slow
def test_all_compiled_for_cpu(case_group: list[Path]) -> None:
    for cases in by_precision(case_group):
        run(cases, "cpu")


@pytest.mark.vulkan
def test_compiled_for_vulkan(third_group: list[Path]) -> None:
    for cases in by_precision(third_group):
        run(cases, "vulkan:llvmpipe")
