"""The loops over weights keep their sums in registers: nothing goes through the stack."""

import re

import pytest
from compiler.fused import cells, running

from recurrent_iree_compiler._fused import FusedKernel, Machine
from recurrent_iree_compiler._fused._tiles import Demand, choose_tile

AVX2 = Machine(256, 16, 32 << 10, 512 << 10, 2, "x86")
AVX512 = Machine(512, 32, 32 << 10, 1 << 20, 2, "x86")
FLAGS = [
    "--iree-llvmcpu-target-triple=x86_64-unknown-linux-gnu",
    "--iree-llvmcpu-target-cpu=x86-64-v3",
]


def loops_over_weights(assembly):
    """The instructions of each innermost loop with eight multiply-adds or more."""
    blocks = re.split(r"^(\.L\w+):.*$", assembly, flags=re.MULTILINE)
    for label, block in zip(blocks[1::2], blocks[2::2], strict=True):
        end = re.search(rf"\tj\w+\t{re.escape(label)}$", block, re.MULTILINE)
        if end and block.count("vfmadd", 0, end.start()) >= 8:
            yield block[: end.end()]


@pytest.mark.parametrize("rows", [6, 8])
@pytest.mark.parametrize("cell", [cells.simple_rnn_reverse, cells.coupled_gates, cells.lstm])
def test_sixteen_registers_hold_the_sums(cell, rows, tmp_path):
    """One, three and four sums; weights or rows stay in registers, whichever are fewer."""
    function, arguments = cell(running.normals(0), rows * AVX2.cores, 64)
    module, (kernel,) = running.fuse(function, arguments, AVX2)
    assert isinstance(kernel, FusedKernel)
    running.vmfb(module, [*FLAGS, f"--iree-hal-dump-executable-intermediates-to={tmp_path}"])
    (code,) = tmp_path.glob("*.s")
    found = list(loops_over_weights(code.read_text()))
    assert found
    assert not [loop for loop in found if "%rsp" in loop]


@pytest.mark.parametrize(
    ("machine", "sums", "width", "lanes"),
    [(AVX2, 4, 128, 16), (AVX2, 1, 128, 64), (AVX2, 1, 200, 32), (AVX2, 8, 128, 8),
     (AVX512, 4, 128, 16), (AVX512, 1, 128, 64), (AVX512, 1, 1024, 64)],
)  # fmt: skip
def test_one_row_has_as_many_sums_as_the_multipliers_need(machine, sums, width, lanes):
    """Eight of 256 bits, and four of 512; but a tile of eight registers must divide the lanes."""
    assert choose_tile(machine, 32, Demand(sums), 1, width).lanes == lanes
