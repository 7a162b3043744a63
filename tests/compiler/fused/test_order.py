"""The order of work in a step: where weights are read from, and which rows run together."""

from dataclasses import replace

import numpy as np
import pytest
from compiler.fused import cells, running

from recurrent_iree_compiler._fused import FusedKernel, Machine

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
