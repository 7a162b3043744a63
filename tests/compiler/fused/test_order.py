"""The order of work in a step: how weights are read, and which rows run together."""

from dataclasses import replace

import numpy as np
import pytest
from compiler.fused import cells, running

from recurrent_iree_compiler._fused import FusedKernel, Machine
from recurrent_iree_compiler._fused._index import Affine
from recurrent_iree_compiler._fused._nests import Nests
from recurrent_iree_compiler._fused._writer import Writer

LARGE = Machine(512, 32, 32 << 10, 1 << 20, 2, "x86")
TURNS = [(cells.lstm, 1, 40), (cells.gru_reset_before, 3, 24), (cells.simple_rnn_reverse, 1, 200)]


def made(function, arguments, machine, share):
    """What a function gives on one thread and on a pool, its kernel, and what XLA gives."""
    module, (kernel,) = running.fuse(function, arguments, machine, share)
    assert isinstance(kernel, FusedKernel)
    code = running.vmfb(module)
    results = [running.loaded(code, d)(*arguments) for d in ("local-sync", "local-task")]
    return results, kernel, running.by_xla(function, arguments)


@pytest.mark.parametrize(("cell", "batch", "units"), TURNS, ids=lambda v: getattr(v, "__name__", v))
def test_weights_read_from_the_end_give_the_same_numbers(cell, batch, units):
    function, arguments = cell(running.normals(2), batch, units)
    (plain, _), before, _ = made(function, arguments, LARGE, 1)
    assert "%odd" not in before.executable and not before.plan.turns
    weights = sum(stage.packed_bytes for stage in before.plan.stages)
    small = replace(LARGE, l2=weights)
    for share in (1, 2):
        results, after, expected = made(function, arguments, small, share)
        assert "%odd" in after.executable and after.plan.turns
        assert "the other end" in after.plan.text()
        for found in results:
            running.assert_close(found, expected)
            for a, b in zip(found, plain, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cell", [cells.additive_attention, cells.layer_norm_lstm])
def test_loops_without_weights_run_for_a_few_rows_at_a_time(cell):
    function, arguments = cell(running.normals(2), 16, 20)
    results, kernel, expected = made(function, arguments, LARGE, None)
    assert kernel.plan.workgroup_rows == 8
    for found in results:
        running.assert_close(found, expected)


@pytest.mark.parametrize("share", [1, 2])
@pytest.mark.parametrize(
    ("cell", "batch", "units"), [(cells.lstm, 5, 40), (cells.gru_reset_before, 1, 23)]
)
def test_weights_are_asked_for_before_they_are_read(cell, batch, units, share):
    """Only those that a cache does not hold, and with the same numbers."""
    function, arguments = cell(running.normals(2), batch, units)
    small = Machine(256, 16, 32 << 10, 2 << 10, 2, "x86")
    results, kernel, expected = made(function, arguments, small, share)
    assert "memref.prefetch" in kernel.executable
    assert "weights are asked for 1024 B before they are read" in kernel.plan.text()
    for found in results:
        running.assert_close(found, expected)
    for other in (replace(small, l2=1 << 20), replace(small, vector_bits=512, registers=32)):
        _, (kernel,) = running.fuse(function, arguments, other, share)
        assert "prefetch" not in kernel.executable and not kernel.plan.ahead


@pytest.mark.parametrize(
    ("total", "most", "sizes"),
    [
        (4, 3, [(2, 2)]),
        (16, 3, [(4, 3), (2, 2)]),
        (7, 3, [(1, 3), (2, 2)]),
        (8, 4, [(2, 4)]),
        (3, 4, [(1, 3)]),
        (1, 1, [(1, 1)]),
    ],
)
def test_blocks_of_rows_differ_by_one_at_most(total, most, sizes):
    """A last block of one row would have too few sums to keep a processor busy."""
    writer = Writer()
    nests = Nests(writer, None, {}, total, Affine())
    blocks = []
    for first, size in nests._blocks(total, most):
        trips = [line for line in writer.lines if "scf.for" in line]
        blocks.append((size, first.const, len(trips)))
    assert [size for size, *_ in blocks] == [size for _, size in sizes]
    assert sum(count * size for count, size in sizes) == total
    starts = [sum(c * s for c, s in sizes[:n]) for n in range(len(sizes))]
    assert [start for _, start, _ in blocks] == starts
    assert [trips for *_, trips in blocks] == [
        sum(count > 1 for count, _ in sizes[: n + 1]) for n in range(len(sizes))
    ]
