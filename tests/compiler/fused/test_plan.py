"""The pieces of the planner, and what it says about three cells."""

import json

import pytest
from compiler.fused import cells, running

from recurrent_iree_compiler._fused import FusedKernel, Machine, known_machine
from recurrent_iree_compiler._fused._carried import segments
from recurrent_iree_compiler._fused._index import ROW, Affine, variable
from recurrent_iree_compiler._fused._shapes import reshape_groups
from recurrent_iree_compiler._fused._tiles import NO_PRODUCTS, Demand, choose_tile, workgroup_rows

AVX512 = Machine(512, 32, 48 << 10, 1 << 20, 2)


def plan_of(cell, batch, units, machine=AVX512):
    function, arguments = cell(running.normals(0), batch, units)
    _, (kernel,) = running.fuse(function, arguments, machine)
    assert isinstance(kernel, FusedKernel)
    return kernel.plan


def test_an_lstm_is_one_loop_with_four_sums_of_products():
    plan = plan_of(cells.lstm, 32, 128)
    (stage,) = plan.stages
    assert (plan.steps, plan.workgroups, plan.workgroup_rows) == (cells.STEPS, 2, 16)
    assert (stage.kind, stage.space, stage.per_row) == ("map", (128,), True)
    assert (stage.lanes, stage.rows) == (16, 4)
    assert stage.operations["dot_general"] == 8
    assert stage.reason.startswith("4 sums x 4 rows")
    assert stage.packed_bytes == (128 + cells.FEATURES) * 4 * 128 * 4


def test_a_reset_gate_before_the_product_makes_two_stages():
    stages = plan_of(cells.gru_reset_before, 8, 32).stages
    assert [s.level for s in stages] == [0, 1]
    assert [s.operations["dot_general"] for s in stages] == [2, 4]


def test_layer_norm_reduces_between_the_maps():
    stages = plan_of(cells.layer_norm_lstm, 4, 32).stages
    assert [s.kind for s in stages if s.kind == "reduce"] == ["reduce"] * 4
    assert sum("dot_general" in s.operations for s in stages) == 1
    assert stages[0].space == (128,)


def test_rows_that_depend_on_each_other_share_one_workgroup():
    plan = plan_of(cells.batch_norm, 6, 8)
    assert (plan.batch, plan.workgroups) == (1, 1)
    assert not any(stage.per_row for stage in plan.stages)


def test_the_text_tells_what_json_tells():
    plan = plan_of(cells.additive_attention, 4, 16)
    text, data = plan.text(), json.loads(json.dumps(plan.to_json()))
    assert f"one kernel, {cells.STEPS} steps, 4 rows in 2 workgroups of 2" in text
    assert "operand of dot_general" in text and "reduction" in text
    assert len(data["stages"]) == text.count("\nstage ")
    assert data["buffers"]["state0"] == 2 * 2 * 16 * 4


@pytest.mark.parametrize(
    ("size", "lanes", "expected"),
    [
        (32, 16, [(0, 2, 16)]),
        (7, 4, [(0, 1, 4), (4, 1, 2), (6, 1, 1)]),
        (3, 16, [(0, 1, 2), (2, 1, 1)]),
    ],
)
def test_segments_cover_an_axis_once(size, lanes, expected):
    assert [(s.start, s.tiles, s.lanes) for s in segments(size, lanes)] == expected


def test_reshapes_map_axes_in_groups():
    assert reshape_groups((2, 12), (2, 1, 3, 4)) == [([0], [0]), ([1], [2, 3])]
    assert reshape_groups((2, 3, 4), (6, 4)) == [([0, 1], [0]), ([2], [1])]
    assert reshape_groups((4, 6), (6, 4)) == [([0, 1], [0, 1])]
    assert reshape_groups((1, 1), ()) == []


def test_affine_indexes_add_and_scale():
    i = variable("%i") * 4 + Affine(3, lane=1) + ROW * 8
    assert i == Affine(3, (("%i", 4),), 8, 1)
    assert i.at_row(variable("%r").plus(1)) == Affine(11, (("%i", 4), ("%r", 8)), 0, 1)
    assert i + variable("%i") * -4 == Affine(3, (), 8, 1)


def test_tiles_follow_the_registers():
    assert (choose_tile(AVX512, 32, Demand(4), 16, 128).lanes, AVX512.lanes(32)) == (16, 16)
    assert choose_tile(AVX512, 32, Demand(1), 1, 128).lanes == 64
    assert choose_tile(running.AVX2, 32, Demand(4), 16, 128).rows == 3
    assert choose_tile(running.SSE, 32, NO_PRODUCTS, 16, 3).lanes == 2


def test_workgroups_split_the_batch():
    assert workgroup_rows(32, 1024, AVX512) == 16
    assert workgroup_rows(3, 1024, AVX512) == 2
    assert workgroup_rows(32, 1 << 20, AVX512) == 4


def test_machines_are_known_by_the_name_of_the_target():
    assert known_machine("cpu:x86-64-v4").vector_bits == 512
    assert known_machine("cpu:x86-64-v3").registers == 16
    assert known_machine("cpu:aarch64-cortex-a53").vector_bits == 128
    assert known_machine("cpu:unheard-of").vector_bits == 128
    assert known_machine("cpu").cores >= 1
