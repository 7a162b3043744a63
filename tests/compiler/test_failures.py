"""A compiler that hangs, dies, runs out of memory or refuses: each has its error."""

import os
import signal
import subprocess
import sys
import time

import pytest

from compiler import programs
from recurrent_iree_compiler import BuildOptions, build, parse_target
from recurrent_iree_compiler._diagnostics import compiler_error
from recurrent_iree_compiler._iree_compile import compile_module
from recurrent_iree_runtime import (
    ArgumentError,
    CompileError,
    CompilerCrashError,
    CompilerTimeoutError,
    Leaf,
    UnsupportedError,
)

SEARCH = os.pathsep.join(p for p in sys.path if p)


def run(compiler, tmp_path, target="vmvx", **options):
    chosen = BuildOptions(cache_dir=tmp_path / "cache", compiler=compiler, **options)
    return compile_module("module {}", parse_target(target), chosen)


def alive(pid):
    """Whether a process runs; a zombie that waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=5.0):
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


def hanging(fake_compiler, tmp_path):
    """Starts a child of its own and hangs; writes the numbers of both processes."""
    pids = tmp_path / "pids"
    return fake_compiler(f"sleep 100 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"), pids


def test_a_compiler_that_hangs_is_stopped_with_its_children(fake_compiler, tmp_path):
    compiler, pids = hanging(fake_compiler, tmp_path)
    message = r"stopped after 1 s while compiling for 'vmvx'.*time_limit(.|\n)*reproducer: "
    with pytest.raises(CompilerTimeoutError, match=message):
        run(compiler, tmp_path, time_limit=1)
    assert gone([int(pid) for pid in pids.read_text().split()])


def test_an_interrupt_stops_the_compiler(fake_compiler, tmp_path):
    compiler, pids = hanging(fake_compiler, tmp_path)
    # Jobs in the background of a shell ignore interrupts, and their children inherit that.
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])\n"
        "from compiler import programs\n"
        "from recurrent_iree_compiler import BuildOptions, build\n"
        "options = BuildOptions(cache_dir=sys.argv[1], compiler=sys.argv[2])\n"
        "build(programs.rnn_program(), ['vmvx'], options=options)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache"), str(compiler)]
    environment = {**os.environ, "PYTHONPATH": SEARCH}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    while not pids.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert b"KeyboardInterrupt" in errors
    assert gone([int(pid) for pid in pids.read_text().split()])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("kill -SEGV $$", "died with SIGSEGV"),
        ("kill -KILL $$", "was killed"),
        ("echo 'LLVM ERROR: out of memory' >&2; kill -ABRT $$", "ran out of memory"),
        ("echo 'PLEASE submit a bug report' >&2; exit 1", "crashed"),
        ("exit 0", "ended without a module"),
    ],
)
def test_a_compiler_that_dies(fake_compiler, tmp_path, body, message):
    with pytest.raises(CompilerCrashError, match=f"{message}(.|\n)*reproducer: "):
        run(fake_compiler(body), tmp_path)


@pytest.mark.parametrize(
    ("target", "options", "runs"),
    [("cpu", {}, "quick full"), ("cpu", {"verify": False}, "full"), ("cpu:x86-64-v2", {}, "full")],
)
def test_only_what_is_compared_here_is_compiled_without_checks(
    fake_compiler, tmp_path, target, options, runs
):
    """And where that fails, with them, because they may say why."""
    log = tmp_path / "log"
    body = (
        f'case "$*" in *--verify=false*) echo quick >> {log}; kill -SEGV $$;; esac\n'
        f"echo full >> {log}; echo 'a.mlir:1:2: error: too few values' >&2; exit 3"
    )
    with pytest.raises(CompileError, match="exit status 3.*\n.*too few values"):
        run(fake_compiler(body), tmp_path, target, **options)
    assert log.read_text().split() == runs.split()


def test_the_reproducer_is_kept_on_failure_only(fake_compiler, tmp_path):
    with pytest.raises(CompileError, match="exit status 3"):
        run(fake_compiler("echo 'a.mlir:1:2: error: no' >&2; exit 3"), tmp_path)
    (folder,) = (tmp_path / "cache" / "failed").iterdir()
    assert (folder / "module.mlir").read_text() == "module {}"
    assert "error: no" in (folder / "stderr.txt").read_text()
    command = (folder / "command.txt").read_text()
    assert "module.mlir --iree-input-type=stablehlo" in command
    other = tmp_path / "other"
    build(programs.rnn_program(), ["vmvx"], options=BuildOptions(cache_dir=other))
    assert not (other / "failed").exists()


def test_only_the_newest_reproducers_are_kept(fake_compiler, tmp_path):
    old = tmp_path / "cache" / "failed"
    for number in range(30):
        (old / f"{number:02}").mkdir(parents=True)
        os.utime(old / f"{number:02}", (number, number))
    with pytest.raises(CompileError, match="reproducer: "):
        run(fake_compiler("exit 3"), tmp_path)
    left = sorted(path.name for path in old.iterdir())
    assert len(left) == 20
    assert {f"{number:02}" for number in range(11, 30)} < set(left)


def test_the_memory_limit_holds(tmp_path):
    program = programs.rnn_program()
    options = BuildOptions(cache_dir=tmp_path / "cache", memory_limit=64 << 20)
    with pytest.raises(CompileError, match="iree-compile"):
        build(program, ["cpu:x86-64-v3"], options=options)


def test_a_compiler_that_is_missing(tmp_path):
    options = BuildOptions(cache_dir=tmp_path, cache=False, compiler=__file__)
    with pytest.raises(CompileError, match="cannot be run: Permission denied"):
        compile_module("module {}", parse_target("vmvx"), options)


def test_one_failure_stops_the_other_targets(fake_compiler, tmp_path):
    pids = tmp_path / "pids"
    script = f'case "$*" in *vmvx*) sleep 0.5; exit 1;; *) echo $$ > {pids}; sleep 100;; esac'
    options = BuildOptions(cache_dir=tmp_path / "cache", compiler=fake_compiler(script), jobs=2)
    start = time.monotonic()
    with pytest.raises(CompileError, match="for 'vmvx'"):
        build(programs.rnn_program(), ["cuda:sm_80", "vmvx"], options=options)
    assert time.monotonic() - start < 30
    assert gone([int(pids.read_text())])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("error: undefined symbol: tanh", "computes tanh in float64.*use float32"),
        ("error: failed to legalize operation 'stablehlo.cholesky'", "factorisation or a solver"),
        (
            "error: failed to legalize operation 'stablehlo.custom_call' @lapack_spotrf_ffi",
            "factorisation or a solver",
        ),
        (
            "error: failed to legalize operation 'stablehlo.dynamic_update_slice'",
            "an array of a dynamic size",
        ),
        ("error: failed to legalize operation 'stablehlo.fft'", "power of two"),
        ("error: custom_call @xla_python_cpu_callback", "a function of its host"),
        ("error: dialect 'sdy' does not implement", "jax_use_shardy_partitioner"),
    ],
)
def test_known_messages_say_what_to_do(line, message):
    error = compiler_error("cpu", 1, f"x\n{line}\n", "command")
    assert type(error) is UnsupportedError
    with pytest.raises(UnsupportedError, match=message):
        raise error
    assert line in str(error)


@pytest.mark.parametrize(
    ("operation", "dtype", "message"),
    [
        ("%y = stablehlo.tanh %x : tensor<4xf64>", "float64", "in float64"),
        (
            "%y = stablehlo.custom_call @callback(%x) : (tensor<4xf32>) -> tensor<4xf32>",
            "float32",
            "a function of its host",
        ),
    ],
)
def test_real_messages_of_the_real_compiler(operation, dtype, message, options):
    kind = f"tensor<4xf{dtype[-2:]}>"
    text = f"func.func public @main(%x: {kind}) -> {kind} {{\n{operation}\nreturn %y : {kind}\n}}"
    leaves = (Leaf("x", (4,), dtype),)
    with pytest.raises(UnsupportedError, match=message):
        build(programs.text_program(text, leaves, leaves), ["cpu:x86-64-v3"], options=options)


@pytest.mark.parametrize("name", ["time_limit", "memory_limit", "cache_size", "jobs"])
def test_options_are_checked(name):
    with pytest.raises(ArgumentError, match=f"{name} is 0; it must be positive"):
        BuildOptions(**{name: 0})
