"""Workgroups that share the steps of a recurrence: the same numbers, whoever computes them."""

import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused import cells, running
from compiler.fused.random_cells import random_cell
from compiler.fused.test_finished import EARLY
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import BuildOptions, PlanOptions
from recurrent_iree_compiler._fused import FusedKernel, Machine

FOUR = Machine(512, 32, 32 << 10, 1 << 20, 4, "x86")
CHILD = Path(__file__).with_name("sharing_child.py")

# Reductions; a reduction with parts; two cells in one; a lookup; lanes that do not lie side by
# side; rows that depend on each other; more workgroups than parts; rows that could be split, and
# such that end at steps of their own.
DEFAULT = [
    (cells.layer_norm_lstm, 1, 32, 4),
    (cells.additive_attention, 1, 24, 3),
    (cells.two_layers, 1, 33, 2),
    (cells.greedy_decoder, 1, 20, 2),
    (cells.shuffled, 1, 9, 2),
    (cells.batch_norm, 6, 17, 3),
    (cells.simple_rnn_reverse, 1, 192, 64),
    (cells.lstm, 5, 24, 3),
    (cells.layer_norm_lstm, 7, 19, 2),
    (cells.finishing, 5, 40, 2),
    (cells.masked, 6, 72, 3),
]


def together(chosen):
    """One function that runs all cells, and its arguments."""
    return running.together([cell(running.normals(5), n, units) for cell, n, units, _ in chosen])


def kernels(function, arguments, share):
    """The module, with one number of workgroups for each kernel, and the kernels."""
    module, found = running.fuse(function, arguments, FOUR, share)
    assert all(isinstance(k, FusedKernel) for k in found), found
    return module, [k.takes.executable.kernel for k in found]


def check(function, arguments, share):
    """Bitwise the same alone, on one thread and on a pool; says whether it was shared."""
    alone = running.compiled(running.fuse(function, arguments, FOUR, 1)[0])(*arguments)
    module, made = kernels(function, arguments, share)
    code = running.vmfb(module)
    for device in ("local-sync", "local-task"):
        run = running.loaded(code, device)
        for _ in range(5):
            for a, b in zip(run(*arguments), alone, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=device)
    return all(k.sharing.parts > 1 for k in made)


def test_parts_give_the_same_numbers():
    function, arguments = together(DEFAULT)
    assert check(function, arguments, [share for *_, share in DEFAULT])


@pytest.mark.slow
@pytest.mark.parametrize("share", [2, 3, 8])
@pytest.mark.parametrize("cell", cells.ALL, ids=lambda cell: cell.__name__)
def test_every_cell_gives_the_same_numbers_in_parts(cell, share):
    for units in (16, 23):
        check(*cell(running.normals(3), 1, units), share)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_cells_give_the_same_numbers_in_parts(seed):
    numbers = np.random.default_rng(seed).integers(0, 65536, 60).tolist()
    check(*random_cell(numbers), 2 + seed % 4)


def test_steps_are_left_out_together():
    def programs(*given):
        return [program(*given) for program in EARLY]

    arguments = [running.normals(2)(1, 6), np.array([4], np.int32), np.array([1], np.int32)]
    alone = running.compiled(running.fuse(programs, arguments, FOUR, 1)[0])
    module, made = kernels(programs, arguments, 2)
    assert all(k.idle and k.sharing.parts == 2 for k in made)
    code = running.vmfb(module)
    sync, task = running.loaded(code), running.loaded(code, "local-task")
    for ends in range(11):
        arguments[1:] = [np.array([n], np.int32) for n in (ends, ends % 5)]
        made = sync(*arguments)
        running.assert_close(made, alone(*arguments))  # what is outside of the kernels may differ
        for a, b in zip(task(*arguments), made, strict=True):
            np.testing.assert_array_equal(a, b)


def blinking(make, batch, units):
    """Blocks of steps that run and that are left out in turn."""

    def run(x, u, h):
        def step(h, inputs):
            x, t = inputs
            stays = (t // 5) % 3 == 1
            new = jnp.where(stays, h, jnp.tanh(x + h @ u))
            return new, new

        return lax.scan(step, h, (x, jnp.arange(300)))

    return run, [make(300, batch, units), make(units, units), make(batch, units)]


@pytest.fixture(scope="module")
def shared_lstm(tmp_path_factory):
    """Files of a module in four parts, and of its arguments and results."""
    folder = tmp_path_factory.mktemp("sharing")
    chosen = [(cells.lstm, 1, 96, 4), (cells.layer_norm_lstm, 1, 48, 4), (blinking, 1, 256, 4)]
    function, arguments = together(chosen)
    alone = running.compiled(running.fuse(function, arguments, FOUR, 1)[0])(*arguments)
    named = {f"a{n}": a for n, a in enumerate(arguments)}
    named |= {f"r{n}": r for n, r in enumerate(alone)}
    np.savez(folder / "arrays.npz", **named)
    module, made = kernels(function, arguments, 4)
    assert [k.idle is not None for k in made] == [False, False, True]
    (folder / "module.vmfb").write_bytes(running.vmfb(module))
    return [str(folder / "module.vmfb"), str(folder / "arrays.npz")]


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (2, 8), (3, 2), (4, 8)])
def test_a_crowd_of_callers_waits_for_nobody_in_vain(shared_lstm, workers, threads):
    """Fewer and more workers than parts, and calls that hold a worker each."""
    command = [sys.executable, str(CHILD), *shared_lstm, str(workers), str(threads), "150"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok\n"


def choice(cell, batch, units, share=None, machine=FOUR):
    function, arguments = cell(running.normals(0), batch, units)
    _, (kernel,) = running.fuse(function, arguments, machine, share)
    assert isinstance(kernel, FusedKernel)
    assert not kernel.plan.sharing or kernel.plan.sharing in kernel.plan.text()
    return kernel.plan.sharing


def test_the_cost_model_shares_long_steps():
    assert choice(cells.lstm, 1, 512).startswith(
        "each step is shared by 4 workgroups: 1 of 1 stages in parts, 1 meeting in a step; about "
    )
    assert "too short" in choice(cells.lstm, 1, 16)


def test_few_rows_share_weights_that_are_larger_than_a_cache():
    shared = "each step is shared by 4 workgroups"
    assert choice(cells.lstm, 4, 512).startswith(shared)
    assert choice(cells.lstm, 16, 512).startswith(shared)
    assert choice(cells.lstm, 4, 128) == ""  # a workgroup for each row: its cache holds the weights
    assert choice(cells.lstm, 17, 512) == ""
    assert choice(cells.lstm, 4, 512, 1) == ""
    assert choice(cells.lstm, 17, 128, 2).startswith("each step is shared by 2 workgroups: chosen")


def test_few_rows_are_split_where_their_steps_are_too_short_to_share():
    tiny = Machine(256, 16, 1 << 10, 4 << 10, 4, "x86")
    assert choice(cells.lstm, 4, 24, None, tiny) == ""


@pytest.mark.parametrize(
    ("cell", "share", "machine", "text"),
    [
        (cells.lstm, 1, FOUR, "one workgroup: chosen by the caller"),
        (cells.lstm, 5, FOUR, "each step is shared by 5 workgroups: chosen by the caller"),
        (cells.lstm, None, running.SSE, "one workgroup: the target has one core"),
        (cells.lstm, 2, running.SSE, "one workgroup: the target has one core"),
    ],
)
def test_the_plan_says_why(cell, share, machine, text):
    assert choice(cell, 1, 256, share, machine).startswith(text)


def test_short_stages_are_computed_by_each():
    def phases(cell, units):
        function, arguments = cell(running.normals(0), 1, units)
        _, (kernel,) = running.fuse(function, arguments, FOUR, 2)
        made = kernel.takes.executable.kernel
        assert {b.name for b in made.local}.isdisjoint(b.name for b in made.own)
        return [phase.by_each for phase in made.sharing.phases]

    assert phases(cells.lstm, 64) == [False]
    alone = phases(cells.layer_norm_lstm, 64)
    assert any(alone) and not alone[-1]


def test_looks_are_loads_on_aarch64(tmp_path):
    """Counters are read and written in the order that weak memory needs, without a claim."""
    function, arguments = cells.lstm(running.normals(0), 1, 32)
    machine = Machine(128, 32, 32 << 10, 512 << 10, 4, "aarch64")
    module, _ = running.fuse(function, arguments, machine, 2)
    flags = ["--iree-llvmcpu-target-triple=aarch64-linux-gnu"]
    flags.append(f"--iree-hal-dump-executable-intermediates-to={tmp_path}")
    running.vmfb(module, ["--iree-llvmcpu-target-cpu=generic", *flags])
    (code,) = tmp_path.glob("*.s")
    found = re.findall(r"\b(ldar|stlr|ldaxr|yield)\b", code.read_text())
    assert found.count("ldar") > found.count("ldaxr")
    assert found.count("stlr") >= 2 and "yield" in found


@pytest.mark.parametrize("share", [0, 65, -1, 2.5, True])
def test_a_wrong_number_is_refused(share):
    with pytest.raises(ri.ArgumentError, match=r"share is .*; give the number of workgroups"):
        PlanOptions(share=share)


@pytest.fixture(scope="module")
def artifacts():
    layer = ri.layers.LSTM(24, return_sequences=True)
    made = []
    for share in (1, 3):
        options = BuildOptions(plan=PlanOptions(share=share))
        made.append(
            ri.compile(layer, ri.spec("batch=1", "time=?", 5), targets=["cpu"], options=options)
        )
    return made


def test_any_number_of_steps(artifacts):
    texts = [str(a.report()["targets"][0]["recurrences"]) for a in artifacts]
    assert "one workgroup: chosen by the caller" in texts[0]
    assert "each step is shared by 3 workgroups: chosen by the caller" in texts[1]
    x = np.random.default_rng(0).standard_normal((1, 300, 5)).astype(np.float32)
    for device in ("cpu:local-sync", "cpu:local-task"):
        one, three = (rt.load(a.to_bytes(), device=device) for a in artifacts)
        with one, three:
            for steps in (0, 1, 2, 7, 300):
                np.testing.assert_array_equal(three(x[:, :steps]), one(x[:, :steps]))
