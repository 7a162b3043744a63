"""The `recurrent-iree` command, through click's runner: what it prints and how it fails."""

import json
import subprocess
import sys
from importlib.metadata import entry_points

import numpy as np
import pytest
from click.testing import CliRunner

import recurrent_iree_runtime as rt
from recurrent_iree._cli import main
from recurrent_iree._cli._load import load_program, parse_spec

MODEL = """
import recurrent_iree as ri

layer = ri.layers.SimpleRNN(
    4,
    return_sequences=True,
    kernel_initializer="ones",
    recurrent_initializer="zeros",
    name="simple_rnn",
)


class nested:
    double = staticmethod(lambda x: 2 * x)


def broken(x):
    raise KeyError("oops")


number = 3
"""
COMPILE = ["--spec", "batch=1,time=?,3", "--target", "cpu", "--target", "xla"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    (path / "model.py").write_text(MODEL)
    np.save(path / "x.npy", np.ones((1, 11, 3), np.float32))
    return path


@pytest.fixture(scope="module")
def artifact(folder):
    path = folder / "model.riree"
    result = call("compile", f"{folder}/model.py:layer", *COMPILE, "-o", path)
    assert result.exit_code == 0, result.output
    return path


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def fails(match, *arguments):
    """One line on standard error and exit status 1."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 1 and errors[0].startswith("Error: ")
    assert match in errors[0]


def test_entry_point_is_installed():
    [point] = entry_points(group="console_scripts", name="recurrent-iree")
    assert point.value == "recurrent_iree._cli:main"


@pytest.mark.parametrize("command", [[], *[[name] for name in main.commands]], ids=str)
def test_help_has_examples(command):
    result = call(*command, "--help")
    assert result.exit_code == 0
    assert "Examples:\n    recurrent-iree" in result.output


def test_compile_says_what_it_made(folder, artifact):
    output = folder / "again.riree"
    result = call("compile", f"{folder}/model.py:layer", *COMPILE, "-o", output)
    assert result.exit_code == 0
    assert f"{output}  " in result.stdout and "cpu, xla" in result.stdout
    assert output.read_bytes() == artifact.read_bytes()


def test_compile_refuses_a_loop_if_asked_to(folder):
    program = f"{folder}/model.py:layer"
    refusing = [*COMPILE[:2], "--target", "vulkan:llvmpipe", "--fallback", "error"]
    result = call("compile", program, *refusing, "-o", folder / "no.riree")
    assert result.exit_code == 1
    assert "cannot be fused for 'vulkan:llvmpipe'" in result.output
    assert not (folder / "no.riree").exists()


def test_compile_the_gradients(folder):
    path = folder / "gradients.riree"
    given = ["--spec", "batch=1,time=4,3", "--target", "cpu", "--entry", "gradients"]
    result = call("compile", f"{folder}/model.py:layer", *given, "-o", path)
    assert result.exit_code == 0, result.output
    assert [entry.name for entry in rt.read(path).manifest.entries] == ["gradients"]


def test_compile_default_output_is_the_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = call("compile", "model.py:nested.double", "--spec", "4", "--quiet")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert rt.read(folder / "nested_double.riree").manifest.name == "nested_double"


def test_recompile_gives_the_same_file(folder, artifact):
    output = folder / "recompiled.riree"
    result = call("recompile", artifact, "-o", output)
    assert result.exit_code == 0, result.output
    assert output.read_bytes() == artifact.read_bytes()


def test_recompile_for_another_target(folder, artifact):
    output = folder / "portable.riree"
    result = call("recompile", artifact, "--target", "vmvx", "-o", output, "--quiet")
    assert result.exit_code == 0, result.output
    assert [module.target for module in rt.read(output).manifest.modules] == ["vmvx"]
    assert call("verify", output, "--device", "vmvx").exit_code == 0


def test_run(folder, artifact):
    output = folder / "y.npy"
    result = call("run", artifact, "--input", folder / "x.npy", "--output", output)
    assert result.exit_code == 0, result.output
    assert "[1, 11, 4]" in result.output
    with rt.load(artifact, device="cpu") as model:
        np.testing.assert_array_equal(np.load(output), model(np.ones((1, 11, 3), np.float32)))


def test_inspect(artifact):
    result = call("inspect", artifact, "--plan")
    assert result.exit_code == 0
    for text in ("sequence", "states", "simple_rnn/kernel: float32[3, 4]", "modules/cpu.vmfb"):
        assert text in result.output
    assert "verified at build time" in result.output


def test_inspect_json_is_the_manifest(artifact):
    document = json.loads(call("inspect", artifact, "--json", "--plan").stdout)
    assert document["manifest"] == json.loads(rt.read(artifact).manifest.to_json())
    assert [target["target"] for target in document["report"]["targets"]] == ["cpu", "xla"]


def test_verify(artifact):
    result = call("verify", artifact, "--device", "cpu")
    assert result.exit_code == 0
    assert "ok" in result.output and "FAILED" not in result.output
    [report] = json.loads(call("verify", artifact, "--device", "cpu", "--json").stdout)
    assert report["ok"] and report["device"] == "cpu"


def test_verify_takes_every_device_of_the_file(artifact):
    result = call("verify", artifact)
    assert result.exit_code == 0, result.output
    assert "\ncpu " in result.output and "\nxla " in result.output


def test_bench(folder, artifact):
    page, figures = folder / "bench.html", folder / "bench.json"
    result = call(
        "bench", artifact, "--device", "cpu", "--against", "xla", "--seconds", "0.1", "--profile",
        "--report", page, "--json", figures,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in ("p50", "p99", "per step", "peak memory", "× xla"):
        assert text in result.output
    rows = json.loads(figures.read_text())["rows"]
    assert [row["device"] for row in rows] == ["cpu", "xla"]
    assert all(0 < row["p50"] <= row["p99"] for row in rows)
    html = page.read_text()
    assert html.startswith("<!doctype html>") and "<script" not in html
    assert html.count('class="bar"') == html.count('class="bar base"') == 1


def test_devices():
    result = call("devices")
    assert result.exit_code == 0 and "cpu" in result.output
    listed = json.loads(call("devices", "--json").stdout)
    assert {device["name"] for device in listed} == {device.name for device in rt.devices()}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("batch=1,time=?,40", "float32[batch=1, time=?, 40]"),
        ("batch=1|8, time=16:int32", "int32[batch=1|8, time=16]"),
        ("", "float32[]"),
        (":bool", "bool[]"),
    ],
)
def test_spec_text(text, shown):
    assert str(parse_spec(text)) == shown


def test_program_may_be_in_a_module():
    assert load_program("recurrent_iree.layers:LSTM").__name__ == "LSTM"


@pytest.mark.parametrize(
    ("program", "match"),
    [
        ("model.py", "expected FILE.py:NAME or MODULE:NAME"),
        ("gone.py:layer", "there is no file gone.py"),
        ("{folder}/model.py:gone", "has no 'gone'; it has layer, nested, broken"),
        ("{folder}/model.py:number", "is a int; expected a layer or a function"),
        ("{folder}/broken.py:layer", "cannot be imported: ZeroDivisionError: division by zero"),
        ("no_such_module:layer", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_wrong_program(folder, program, match):
    (folder / "broken.py").write_text("1 / 0")
    fails(match, "compile", program.format(folder=folder), "--spec", "4")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--spec", "batch=x,3"], "cannot read the dim 'batch=x'"),
        (["--spec", "4:int32:int8"], "dims between commas"),
        (["--spec", "batch=1,time=?,3", "--target", "abacus"], "there is no target 'abacus'"),
        (["--spec", "batch=1,time=?,3", "-o", "/no/such/folder/m.riree"], "could not be written"),
    ],
)
def test_wrong_options(folder, options, match):
    fails(match, "compile", f"{folder}/model.py:layer", *options)


def test_program_that_fails_when_traced(folder):
    program = f"{folder}/model.py:broken"
    fails("cannot be traced with 1 --spec: KeyError: 'oops'", "compile", program, "--spec", "4")
    result = call("compile", program, "--spec", "4", "--traceback")
    assert isinstance(result.exception, KeyError)


@pytest.mark.parametrize("command", ["run", "inspect", "verify", "bench"])
def test_not_an_artifact(folder, command):
    fails("is not a .riree artifact", command, folder / "model.py")
    fails("gone.riree cannot be read", command, folder / "gone.riree")


def test_changed_artifact(folder, artifact):
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "changed.riree").write_bytes(data)
    fails("changed.riree", "inspect", folder / "changed.riree")


def test_wrong_inputs_and_devices(artifact):
    fails("needs 1 inputs", "run", artifact)
    fails("there is no device 'toaster'", "run", artifact, "--device", "toaster")
    fails("has no entry 'backwards'", "bench", artifact, "--entry", "backwards")


def test_no_traceback_from_the_shell(folder):
    code = "from recurrent_iree._cli import main; main(prog_name='recurrent-iree')"
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(folder / "gone.riree")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1


def test_keygen_sign_and_verify(folder, artifact):
    key, signed = folder / "release.key", folder / "signed.riree"
    made = call("keygen", key)
    assert made.exit_code == 0 and "keep it secret" in made.output
    assert key.stat().st_mode & 0o777 == 0o600
    fails("could not be written: File exists", "keygen", key)
    assert call("sign", artifact, "--key", key, "-o", signed).exit_code == 0
    trusted = ["--trusted-key", f"{key}.pub", "--device", "cpu"]
    assert call("verify", signed, *trusted).exit_code == 0
    fails("is not signed, and trusted_keys asks for", "verify", artifact, *trusted)
    fails("holds no private key as PEM text", "sign", artifact, "--key", f"{key}.pub")
    assert "signature by " in call("inspect", signed).output
    assert call("recompile", signed, "-o", folder / "again.riree").exit_code == 0
    assert (folder / "again.riree").read_bytes() == artifact.read_bytes()
