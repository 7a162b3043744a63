"""`recompile`: from an artifact alone, without its author's source and without JAX."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from compiler import programs
from recurrent_iree_compiler import FunctionSource, build, recompile

X = np.linspace(-1, 1, 2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    from recurrent_iree_compiler import BuildOptions

    options = BuildOptions(cache_dir=tmp_path_factory.mktemp("cache"), time_limit=120)
    return build(programs.rnn_program(suffix=".mlirbc"), ["vmvx", "cpu"], options=options), options


def older(artifact, iree="3.5.0"):
    """The same artifact as if another IREE had made it."""
    manifest = artifact.manifest
    modules = tuple(replace(m, iree=iree) for m in manifest.modules)
    versions = {**manifest.versions, "iree": iree}
    kept = {k: v for k, v in artifact.members.items() if not k.startswith("manifest.")}
    return rt.container_bytes(rt.pack(replace(manifest, modules=modules, versions=versions), kept))


def test_unchanged_gives_the_same_bytes(original, tmp_path):
    artifact, options = original
    assert recompile(artifact.to_bytes(), options=options).to_bytes() == artifact.to_bytes()
    path = tmp_path / "m.riree"
    artifact.save(path)
    for source in (path, str(path), rt.read(path)):
        assert recompile(source, options=options).to_bytes() == artifact.to_bytes()


def test_a_streaming_program_gives_the_same_bytes(options):
    artifact = build(programs.streaming_program(), ["vmvx"], options=options)
    assert recompile(artifact.to_bytes(), options=options).to_bytes() == artifact.to_bytes()


def test_another_iree_is_refused_and_then_rebuilt(original):
    artifact, options = original
    old = older(artifact)
    with pytest.raises(rt.VersionError, match="IREE 3.5.0.*`recurrent-iree recompile FILE`"):
        rt.load(old, "cpu")
    assert rt.read(old).manifest.versions["iree"] == "3.5.0"
    made = recompile(old, options=options)
    assert made.to_bytes() == artifact.to_bytes()
    with rt.load(made.to_bytes(), "cpu") as new, rt.load(artifact.to_bytes(), "cpu") as before:
        for given, expected in zip(new(X, programs.H0), before(X, programs.H0), strict=True):
            np.testing.assert_array_equal(given, expected)


def test_other_targets_give_the_same_numbers(original):
    artifact, options = original
    made = recompile(artifact.to_bytes(), ["cpu:x86-64-v2", "vmvx"], options=options)
    assert made.targets == ["cpu:x86-64-v2", "vmvx"]
    expected = programs.numpy_rnn(X, programs.H0)
    with rt.load(made.to_bytes(), "vmvx") as model:
        for given, want in zip(model(X, programs.H0), expected, strict=True):
            np.testing.assert_allclose(given, want, rtol=1e-5, atol=1e-6)


def xla_program(blobs):
    """The program with blobs that nobody runs."""
    program = programs.rnn_program(suffix=".mlirbc")
    source = FunctionSource(program.functions["main"].stablehlo, blobs)
    return replace(program, functions={"main": source}, goldens=())


@pytest.mark.parametrize(
    "blobs, targets",
    [
        ({"cpu,cuda,tpu": b"all"}, ["xla"]),
        ({"cpu,cuda,tpu": b"all"}, ["vmvx", "xla:tpu"]),
        ({"cpu": b"a", "tpu": b"b"}, ["xla:cpu", "xla:tpu"]),
    ],
)
def test_blobs_of_xla_are_carried_over(blobs, targets, options):
    artifact = build(xla_program(blobs), targets, options=options)
    made = recompile(artifact.to_bytes(), options=options)
    assert made.to_bytes() == artifact.to_bytes()
    named = [m for m in made.manifest.modules if m.driver == "xla"]
    assert all("tpu" in m.needs["platforms"] or m.target == "xla:cpu" for m in named)


def test_blobs_serve_other_platforms_that_they_are_for(options):
    artifact = build(xla_program({"cpu,cuda": b"both"}), ["xla"], options=options)
    made = recompile(artifact.to_bytes(), ["xla:cuda"], options=options)
    assert made.members["program/main.jax"] == b"both"
    with pytest.raises(rt.UnsupportedError, match="no jax.export blob for 'xla:tpu'; it has cpu,c"):
        recompile(artifact.to_bytes(), ["xla:tpu"], options=options)


def test_no_target_adds_what_was_captured(options):
    program = replace(programs.rnn_program(), captured={"streaming": "no"})
    artifact = build(program, ["vmvx"], options=options)
    made = recompile(artifact.to_bytes(), options=options)
    assert made.report()["program"] == {"streaming": "no"}


@pytest.mark.parametrize("report", [b"", b"[]", b"{}", b'{"program":3}', b"[" * 100_000])
def test_a_report_that_cannot_be_read_is_left_out(report, original):
    artifact, options = original
    kept = {k: v for k, v in artifact.members.items() if not k.startswith("manifest.")}
    data = rt.container_bytes(rt.pack(artifact.manifest, {**kept, "report.json": report}))
    assert "program" in recompile(data, ["vmvx"], options=options).report()


def test_without_stablehlo(original):
    artifact, options = original
    kept = {
        k: v for k, v in artifact.members.items()
        if not k.startswith(("manifest.", "program/"))
    }  # fmt: skip
    data = rt.container_bytes(rt.pack(artifact.manifest, kept))
    with pytest.raises(rt.ArtifactError, match="carries no StableHLO of 'main'.*where it was wri"):
        recompile(data, options=options)


def test_a_changed_artifact_is_not_compiled(original):
    artifact, options = original
    data = bytearray(artifact.to_bytes())
    data[data.index(b"ML\xefR") + 40] ^= 1
    with pytest.raises(rt.IntegrityError, match="'program/main.stablehlo' does not have the hash"):
        recompile(bytes(data), options=options)


def test_without_jax(original, tmp_path):
    artifact, options = original
    path = tmp_path / "m.riree"
    path.write_bytes(older(artifact))
    code = """
import json, sys
sys.modules["jax"] = None
from recurrent_iree_compiler import BuildOptions, recompile
made = recompile(sys.argv[1], ["vmvx"], options=BuildOptions(cache_dir=sys.argv[2]))
print(json.dumps([made.targets, made.manifest.modules[0].iree]))
"""
    command = [sys.executable, "-c", code, str(path), str(options.cache_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["vmvx"], artifact.manifest.modules[0].iree]
