"""Random cells through the fused path and through XLA: none may differ, nearly all must fuse.

A cell may amplify rounding (a floor or a comparison next to its edge). So where results differ by
more than the tolerance, XLA runs again on inputs that differ by rounding; a difference counts only
if it is much larger than what that does.

The sweep runs ``RIREE_CELLS`` cells (2000) from number ``RIREE_FIRST_CELL`` (0) on, so that it can
be run in pieces.
"""

import os

import jax
import numpy as np
import pytest
from compiler.fused import any_rows, running
from compiler.fused.random_cells import random_cell
from hypothesis import HealthCheck, given, settings, strategies as st

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler._fused import Refusal

NUMBERS = st.lists(st.integers(0, 65535), min_size=24, max_size=90)
RELAXED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def check(cells):
    """Which recurrences were refused; fails if a cell gives wrong numbers."""
    pairs, found = running.side_by_side(cells)
    for (function, inputs), (ours, theirs) in zip(cells, pairs, strict=True):
        try:
            running.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)
        except AssertionError:
            if not _explained_by_rounding(function, inputs, ours, theirs):
                raise
    return [f for f in found if isinstance(f, Refusal)]


def check_any_rows(numbers):
    """The same for any number of rows: why there is no kernel, or nothing.

    A module that crashes does so in the process that verifies it.
    """
    function, specs, inputs, whole = any_rows.program(
        lambda _, rows, __: random_cell(numbers, rows), 0
    )
    try:
        artifact = ri.compile(function, *specs, targets=["cpu"])
    except (ri.UnsupportedError, rt.VerificationError) as error:
        return [str(error)]
    made_as = artifact.report()["targets"][0]["recurrences"]
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for rows in (1, 3, 4, 6, 17):
            made = [np.asarray(y) for y in jax.tree.leaves(model(*inputs(rows)))]
            expected = running.by_xla(function, whole(rows))
            try:
                running.assert_close(made, expected, rtol=1e-4, atol=2e-5)
            except AssertionError:
                if not _explained_by_rounding(function, whole(rows), made, expected):
                    raise
    return [made["reason"] for made in made_as if made["form"] != "fused kernel"]


def _explained_by_rounding(function, arguments, made, expected):
    run = jax.jit(function)
    difference = np.zeros(len(expected))
    for seed in range(4):
        random = np.random.default_rng(seed)
        moved = [
            (a * (1 + 1e-6 * random.standard_normal(a.shape))).astype(a.dtype)
            if a.dtype.kind == "f"
            else a
            for a in arguments
        ]
        again = [np.asarray(a) for a in jax.tree.leaves(run(*moved))]
        difference = np.maximum(
            difference, [_distance(a, b) for a, b in zip(again, expected, strict=True)]
        )
    ours = [_distance(a, b) for a, b in zip(made, expected, strict=True)]
    return all(o <= 50 * d + 2e-5 for o, d in zip(ours, difference, strict=True))


def _distance(a, b):
    return np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=RELAXED)
@given(NUMBERS)
def test_random_cells_equal_xla(numbers):
    assert not check([random_cell(numbers)])


def sweep(seeds):
    """Refusals of all cells; a message names the cells among which something went wrong."""
    refused, step = [], running.TOGETHER
    for some in (seeds[n : n + step] for n in range(0, len(seeds), step)):
        try:
            refused += check([random_cell(_numbers(seed)) for seed in some])
        except Exception as error:
            error.add_note(f"one of the cells {list(some)}")
            raise
    return refused


def _chosen(total):
    """The first cell of a sweep and how many, as the environment says."""
    names = ("RIREE_FIRST_CELL", "0"), ("RIREE_CELLS", str(total))
    first, count = (int(os.environ.get(*name)) for name in names)
    return first, count


@pytest.mark.parametrize("first", range(10_000, 10_180, 20))
def test_twenty_cells_of_the_sweep(first):
    assert not sweep(range(first, first + 20))


def _numbers(seed):
    return [int(n) for n in np.random.default_rng(seed).integers(0, 65536, 80)]


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_sweep_for_any_number_of_rows():
    """No cell of ``RIREE_CELLS`` (20) from ``RIREE_FIRST_CELL`` on is wrong, whatever its form."""
    first, total = _chosen(20)
    others = [why for n in range(first, first + total) for why in check_any_rows(_numbers(n))]
    print(f"{total} cells from {first}: {total - len(others)} fused", *others, sep="\n")


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_sweep_of_random_cells():
    """None wrong, at least 95% fused; the refusals are in the message."""
    first, total = _chosen(2000)
    refused = sweep(range(first, first + total))
    print(f"{total} cells from {first}: {total - len(refused)} fused", *map(str, refused), sep="\n")
    assert len(refused) <= total * 0.05, [str(r) for r in refused]
