"""Each family of targets, from StableHLO to numbers."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from compiler import programs
from recurrent_iree_compiler import BuildOptions, _build, build

FAMILIES = ["cpu", "cpu:x86-64-v3", "cpu:aarch64", "vulkan:llvmpipe", "cuda:sm_80", "vmvx"]
RUNNABLE = ["cpu", "vmvx", pytest.param("vulkan:llvmpipe", marks=pytest.mark.vulkan)]


@pytest.mark.parametrize("target", FAMILIES)
def test_every_family_compiles(target, options):
    artifact = build(programs.rnn_program(), [target], options=options)
    (report,) = artifact.report()["targets"]
    assert report["recurrences"][0]["steps"] == 5
    assert report["size"] > 1000
    checked = report["verification"]
    if target in ("cpu", "vmvx"):
        assert checked == {"status": "verified", "reason": "", "calls": 1}
    assert bool(checked["reason"]) == (checked["status"] == "not run")


@pytest.mark.parametrize("target", RUNNABLE)
def test_numbers(target, options):
    artifact = build(programs.rnn_program(), [target], options=options)
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(2, 5, 3)
    with rt.load(artifact.to_bytes(), device=target.partition(":")[0]) as model:
        results = model(x, programs.H0)
    for given, expected in zip(results, programs.numpy_rnn(x, programs.H0), strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)


def test_portable_bytecode_gives_the_module_of_the_text(options):
    text, bytecode = (
        build(programs.rnn_program(suffix=suffix), ["vmvx"], options=options)
        for suffix in (".mlir", ".mlirbc")
    )
    assert text.members["modules/vmvx.vmfb"] == bytecode.members["modules/vmvx.vmfb"]
    assert "stablehlo.composite" in bytecode.text()


@pytest.mark.parametrize("target", RUNNABLE)
def test_a_long_recurrence_is_planned_and_still_right(target, options):
    artifact = build(programs.rnn_program(300), [target], options=options)
    (report,) = artifact.report()["targets"]
    assert report["recurrences"][0]["form"] != "plain loop"
    assert report["verification"]["status"] == "verified"


@pytest.mark.parametrize("target", RUNNABLE)
def test_streaming_entries(target, options):
    artifact = build(programs.streaming_program(), [target], options=options)
    x = np.linspace(-1, 1, 2 * 7 * 3, dtype=np.float32).reshape(2, 7, 3)
    expected, last = programs.numpy_rnn(x, np.zeros_like(programs.H0))
    with rt.load(artifact.to_bytes(), device=target.partition(":")[0]) as model:
        with model.session() as session:
            steps = [session.step(x[:, t])[0] for t in range(7)]
            (state,) = session.states.values()
    np.testing.assert_allclose(np.stack(steps, 1), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [RUNNABLE[0], RUNNABLE[2]])
def test_small_types_at_the_edge(target, options):
    artifact = build(programs.small_types_program(), [target], options=options)
    assert artifact.report()["targets"][0]["verification"]["status"] == "verified"
    (module,) = artifact.manifest.modules
    wide = {"bool": "int32", "uint8": "uint32", "float16": "float32"}
    assert module.abi == (wide if target == "vulkan:llvmpipe" else {})


def test_vmvx_has_no_float16(options):
    with pytest.raises(rt.UnsupportedError, match="computes in f16, for which this target has no"):
        build(programs.small_types_program(), ["vmvx"], options=options)


_BUILD = """
import sys
from pathlib import Path
from compiler import programs
from recurrent_iree_compiler import BuildOptions, _build, build
options = BuildOptions(cache=False, cache_dir=Path.cwd() / "cache")
targets = ["cpu", "cuda:sm_80"]
build(programs.rnn_program(), targets, options=options).save("out.riree")
"""


def test_artifacts_are_reproducible_and_hold_no_path(tmp_path):
    files = []
    for name in ("first", "second-folder"):
        folder = tmp_path / name
        folder.mkdir()
        search = os.pathsep.join(p for p in sys.path if p)
        environment = {**os.environ, "PYTHONPATH": search, "TMPDIR": str(folder)}
        subprocess.run([sys.executable, "-c", _BUILD], cwd=folder, env=environment, check=True)
        files.append((folder / "out.riree").read_bytes())
    assert hashlib.sha256(files[0]).digest() == hashlib.sha256(files[1]).digest()
    for path in (str(tmp_path), str(Path(__file__).parents[2]), sys.prefix, "/tmp/"):
        assert path.encode() not in files[0]


def test_the_artifact_object(options, tmp_path):
    events = []
    artifact = build(
        programs.rnn_program(), ["cpu", "vmvx"], options=options, progress=events.append
    )
    assert artifact.targets == ["cpu", "vmvx"]
    assert set(artifact.times) == {"cpu", "vmvx"}
    assert artifact.size == len(artifact.to_bytes())
    assert artifact.text("main").startswith("module")
    with pytest.raises(rt.ArgumentError, match="no function 'step'; there are main"):
        artifact.text("step")
    artifact.save(tmp_path / "a.riree")
    assert (tmp_path / "a.riree").read_bytes() == artifact.to_bytes()
    file = rt.read(tmp_path / "a.riree")
    assert json.loads(bytes(file.read_member("report.json"))) == artifact.report()
    assert artifact.manifest.versions["iree"].startswith("3.13")
    stages = [event.stage for event in events if event.target == "vmvx"]
    assert stages == ["plan", "compile", "verify", "verified", "done"]
    assert {event.total for event in events} == {2}
    assert events[-1].done == 2


def test_wrong_numbers_are_refused(options):
    program = programs.rnn_program()
    golden = program.goldens[0]
    wrong = type(golden)("main", {}, golden.inputs, tuple(y + 1 for y in golden.outputs))
    broken = type(program)(**{**program.__dict__, "goldens": (wrong,)})
    message = "the module for 'vmvx' of 'rnn' does not pass its golden calls.*largest error 1"
    with pytest.raises(rt.VerificationError, match=message):
        build(broken, ["vmvx"], options=options)
    unchecked = BuildOptions(cache_dir=options.cache_dir, verify=False)
    artifact = build(broken, ["vmvx"], options=unchecked)
    assert artifact.report()["targets"][0]["verification"]["status"] == "not run"


@pytest.mark.parametrize(("targets", "message"), [([], "is empty"), (["vmvx"] * 2, "given twice")])
def test_bad_lists_of_targets(targets, message):
    with pytest.raises(rt.ArgumentError, match=message):
        build(programs.rnn_program(), targets)


def test_a_full_disk_leaves_nothing_behind(options, tmp_path):
    artifact = build(programs.rnn_program(), ["vmvx"], options=options)
    out = tmp_path / "out"
    out.mkdir()
    (out / "file.riree").write_bytes(artifact.to_bytes())
    code = (
        "import resource, signal, sys; import recurrent_iree_runtime as rt\n"
        "from recurrent_iree_compiler import Artifact\n"
        "file = rt.read('file.riree')\n"
        "members = {n: bytes(file.read_member(n)) for n in file.members}\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: Artifact(members, {}).save('new.riree')\n"
        "except rt.StorageError as error: print(error)\n"
    )
    search = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=out,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "new.riree" in done.stdout
    assert [path.name for path in out.iterdir()] == ["file.riree"]
    with pytest.raises(rt.StorageError, match="missing"):
        artifact.save(tmp_path / "missing" / "x.riree")
    shutil.rmtree(out)


def test_a_process_that_waits_to_verify_ends_with_the_build(options, tmp_path, monkeypatch):
    started = []

    class Noted(_build.Verifier):
        def __init__(self, target, limits):
            super().__init__(target, limits)
            started.append(self._process._process)

    monkeypatch.setattr(_build, "Verifier", Noted)
    build(programs.rnn_program(), ["vmvx"], options=options)
    compiler = tmp_path / "refuses"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    with pytest.raises(rt.CompileError):
        build(programs.rnn_program(), ["vmvx"], options=replace(options, compiler=compiler))
    assert [process.returncode for process in started] == [0, -signal.SIGKILL]
