"""The command line: what it prints, its exit status, and one line per error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._cli import main
from runtime import tiny

FILE = str(Path(__file__).resolve().parents[1] / "data" / "tiny.riree")
X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(1, 5, 3)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    a, m, k = np.float32([1, 2]), np.array([True, False]), np.int32([3, 4])
    np.savez("pair.npz", **{"p.a": a, "p.m": m, "k": k})
    np.save("k.npy", k)
    np.save("a.npy", a)
    np.save("m.npy", m)


def fails(capsys, arguments, message, status=1):
    assert main(arguments) == status
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    assert message in printed.err, printed.err


def test_run(capsys):
    assert main(["run", FILE, "--input", "x.npy", "--output", "y.npz", "--device", "cpu"]) == 0
    with np.load("y.npz") as found:
        np.testing.assert_allclose(found["y"], tiny.steps(X)[0], atol=1e-6)
    printed = capsys.readouterr().out
    assert "tiny, entry 'sequence', on cpu" in printed
    assert "y       float32  [1, 5, 3]" in printed


@pytest.mark.parametrize(
    "inputs",
    [
        ["pair.npz"],
        ["a.npy", "m.npy", "k.npy"],
        ["k=k.npy", "p.a=a.npy", "p.m=m.npy"],
        ["a.npy", "k=k.npy", "m.npy"],
    ],
)
def test_run_with_inputs_by_order_and_name(capsys, inputs):
    given = [part for text in inputs for part in ("--input", text)]
    assert main(["run", FILE, "--entry", "pair", *given, "--output", "y.npz"]) == 0
    with np.load("y.npz") as found:
        assert sorted(found.files) == ["a", "any", "sum"]
        assert found["sum"].tolist() == [4, 5]
    capsys.readouterr()


def test_run_writes_npy(capsys):
    assert main(["run", FILE, "--input", "x=x.npy", "--output", "y.npy"]) == 0
    assert np.load("y.npy").shape == (1, 5, 3)
    capsys.readouterr()


def test_run_with_other_weights(capsys):
    Path("w.safetensors").write_bytes(rt.write_safetensors({"kernel": 0 * tiny.KERNEL}))
    options = ["--weights", "w.safetensors", "--output", "y.npy"]
    assert main(["run", FILE, "--input", "x.npy", *options]) == 0
    assert not np.load("y.npy").any()
    capsys.readouterr()


ERRORS = [
    (["run", FILE], "'sequence' needs 1 inputs (x); 0 were given with --input"),
    (["run", FILE, "--input", "none.npy"], "none.npy cannot be read: No such file"),
    (["run", FILE, "--input", "y=x.npy"], "has no input 'y'; it has x"),
    (["run", FILE, "--input", "pair.npz"], "has no input 'p.a'; it has x"),
    (["run", FILE, "--input", "x=pair.npz"], "pair.npz holds 3 arrays; NAME=FILE takes one"),
    (["run", FILE, "--input", FILE], "is not a .npy or .npz file of plain arrays"),
    (["run", FILE, "--input", "x.npy", "--output", "y.txt"], "expected a name ending in .npz"),
    (["run", FILE, "--input", "x.npy", "--output", "no/y.npz"], "No such file or directory"),
    (["run", FILE, "--entry", "nope"], "has no entry 'nope'; it has sequence, chunk"),
    (["run", FILE, "--entry", "init"], "'init' has no inputs to run"),
    (["run", FILE, "--input", "k.npy"], "dtype int32; expected float32"),
    (["run", FILE, "--input", "x.npy", "--device", "tpu"], "there is no device 'tpu'"),
    (["run", "none.riree"], "none.riree cannot be read: No such file or directory"),
    (["run", "x.npy"], "x.npy is not a .riree artifact"),
    (["inspect", "x.npy"], "x.npy is not a .riree artifact"),
    (["verify", "x.npy"], "x.npy is not a .riree artifact"),
    (["verify", FILE, "--device", "tpu"], "there is no device 'tpu'"),
    (["bench", "x.npy"], "x.npy is not a .riree artifact"),
    (["bench", FILE, "--entry", "nope"], "has no entry 'nope' to time"),
    (["bench", FILE, "--device", "tpu"], "there is no device 'tpu'"),
    (["bench", FILE, "--seconds", "0.01", "--json", "no/t.json"], "No such file or directory"),
]


@pytest.mark.parametrize("arguments, message", ERRORS)
def test_errors_are_one_line(capsys, arguments, message):
    fails(capsys, arguments, message)
    assert not [name for name in os.listdir() if "tmp" in name or name.startswith("y.")]


def test_a_pickle_is_refused(capsys):
    np.save("o.npy", np.array([object()]), allow_pickle=True)
    fails(capsys, ["run", FILE, "--input", "o.npy"], "is not a .npy or .npz file of plain arrays")


def test_a_changed_artifact(capsys):
    data = bytearray(Path(FILE).read_bytes())
    data[len(data) // 2] ^= 1
    Path("bad.riree").write_bytes(data)
    for command in ("inspect", "verify", "run", "bench"):
        fails(capsys, [command, "bad.riree"], "was changed after it was written")


USAGE = [[], ["fly"], ["run"], ["bench", FILE, "--seconds", "0"], ["run", FILE, "--nope"]]


@pytest.mark.parametrize("arguments", USAGE)
def test_wrong_usage_is_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: recurrent-iree-runtime" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "run", "inspect", "verify", "bench", "devices"])
def test_help_has_examples(capsys, command):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "examples:\n  recurrent-iree-runtime" in capsys.readouterr().out


def test_inspect(capsys):
    assert main(["inspect", FILE]) == 0
    printed = capsys.readouterr().out
    for line in (
        "├── states, on the device between steps",
        "in x: float32[batch, time, 3]  at args[0]",
        "out a: float32[2]  (input 0, passed through)  at ['a']",
        "@chunk_b1_t4(batch=1, time=4)  72 flops",
        "needs arch: x86_64",
        "kernel: float32[3, 3]",
    ):
        assert line in printed, line
    assert main(["inspect", FILE, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["name"] == "tiny" and document["size"] == os.stat(FILE).st_size


def test_verify(capsys):
    devices = ["--device", "cpu", "--device", "cpu:local-task"]
    assert main(["verify", FILE, *devices]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ok") == 10 and "cpu:local-task" in printed


def test_verify_shows_what_worked_and_what_not(capsys):
    assert main(["verify", FILE, "--device", "cpu", "--device", "tpu"]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("ok") == 5
    assert printed.err.startswith("error: there is no device 'tpu'")


def test_bench(capsys):
    devices = ["--device", "cpu", "--device", "cpu:local-task", "--device", "tpu"]
    assert main(["bench", FILE, *devices, "--seconds", "0.05", "--json", "t.json"]) == 0
    printed = capsys.readouterr().out
    for word in ("init", "first", "p50", "p90", "p99", "per step", "stream step", "peak memory"):
        assert word in printed
    assert "tpu: there is no device 'tpu'" in printed
    report = json.loads(Path("t.json").read_text())
    first = report["rows"][0]
    assert first["device"] == "cpu" and first["target"].startswith("cpu:")
    assert first["steps"] == 6 and 0 < first["p50"] <= first["p90"] <= first["p99"]
    assert first["per_step"] == pytest.approx(first["p50"] / 6)
    assert first["stream_step"] > 0 and first["calls"] > 0
    assert report["rows"][2]["error"] and report["shapes"] == {"x": [1, 6, 3]}


def test_bench_with_own_inputs(capsys):
    given = ["--entry", "pair", "--input", "pair.npz", "--seconds", "0.02"]
    assert main(["bench", FILE, *given]) == 0
    assert "entry 'pair', p.a [2], p.m [2], k [2]" in capsys.readouterr().out


def test_devices(capsys):
    assert main(["devices"]) == 0
    assert "cpu:local-sync  yes" in capsys.readouterr().out
    assert main(["devices", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "cpu"


def test_as_a_module():
    command = [sys.executable, "-m", "recurrent_iree_runtime"]
    done = subprocess.run([*command, "inspect", FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("tiny") and done.stderr == ""
    done = subprocess.run([*command, "run", "x.npy"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: ")


def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m recurrent_iree_runtime inspect {FILE} | head -1 >/dev/null"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""
