"""Benchmarks and commands for odd programs, arrays and systems; arguments from Python."""

from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _bench
from recurrent_iree_runtime._cli import _run, main
from recurrent_iree_runtime._cli._bench import sys as cli_sys
from runtime import layers, tiny

FILE = str(Path(__file__).resolve().parents[1] / "data" / "tiny.riree")
X = np.linspace(-1, 1, 15, dtype=np.float32).reshape(1, 5, 3)


def timed(monkeypatch, make, **options):
    """The only row of a benchmark of a model on the fake driver."""
    monkeypatch.setattr(_bench, "load", lambda artifact, device: make())
    report = _bench.bench(make().artifact, ["fake"], seconds=0.01, rounds=1, **options)
    (row,) = report.rows
    assert not row.error and row.calls > 0
    return row


def without(**changes):
    """A function that makes the tiny program with some parts changed."""
    parts = {"weights.safetensors": rt.write_safetensors({"kernel": tiny.KERNEL})}
    data = rt.container_bytes(rt.pack(tiny.manifest(**changes), parts))
    return lambda: rt.load(data, device=tiny.fake_driver())


def test_a_program_without_streams(monkeypatch):
    entries = tuple(e for e in tiny.entries() if e.name == "pair")
    row = timed(monkeypatch, without(entries=entries, default_entry="pair", states=()))
    assert row.stream_step is None and row.steps is None


def test_a_program_without_single_steps(monkeypatch):
    entries = tuple(
        rt.Entry(e.name, e.realization, e.inputs, e.input_tree, e.outputs, e.output_tree,
                 tuple(f for f in e.functions if f.dims.get("time") != 1))
        for e in tiny.entries()
    )  # fmt: skip
    row = timed(monkeypatch, without(entries=entries), inputs=[X[:, :4]])
    assert row.stream_step is None and row.steps == 4


def test_inputs_without_an_axis_of_time(monkeypatch):
    row = timed(monkeypatch, lambda: layers.model(takes=("constants",)))
    assert row.stream_step is not None and row.stream_step > 0


def test_systems_that_do_not_tell_their_memory(monkeypatch):
    def refuse(*given, **options):
        raise PermissionError

    monkeypatch.setattr(_bench.Path, "write_text", refuse)
    monkeypatch.setattr(_bench.Path, "read_text", refuse)
    _bench._reset_peak()
    assert _bench._peak() is None
    report = _bench.BenchReport("m", "main", {}, "here", (_bench.BenchRow("cpu", p50=0.5),))
    assert report.table()[1][0][-1] == "-"


def test_progress_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(cli_sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["bench", FILE, "--device", "cpu:local-sync", "--seconds", "0.02"]) == 0
    shown = capsys.readouterr().err
    assert "loading on cpu:local-sync" in shown and "round 10 of 10" in shown
    assert shown.endswith("\r\033[K") and "\n" not in shown


def test_arrays_of_one_file_and_ranges_without_numbers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("one.npz", anything=X)
    np.savez("none.npz", x=X[:, :0])
    run = ["run", FILE, "--device", "cpu:local-sync", "--input"]
    assert main([*run, "x=one.npz"]) == 0
    assert "[1, 5, 3]" in capsys.readouterr().out
    assert main([*run, "none.npz"]) == 0
    assert "[1, 0, 3]  empty" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["none.npz", "one.npz"]
    assert _run._range(np.array([1j])) == "complex"


class Foreign:
    """An array of another library."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_arguments_from_python_and_from_other_libraries():
    model = tiny.fake_model()[0]
    want = tiny.steps(X)[0]
    np.testing.assert_allclose(model(Foreign(X)), want, rtol=1e-6)
    with pytest.raises(rt.SignatureError, match=r"\(Foreign\); expected an array of float32"):
        model(Foreign(np.array([[[None]]])))
    with pytest.raises(rt.SignatureError, match="has dtype complex128; expected float32"):
        model((X + 0j).tolist())
    with pytest.raises(rt.SignatureError, match="shape"):
        model([])


def test_complex_numbers_from_python():
    leaf = rt.Leaf("z", (2,), "complex64")
    tree = rt.tree_of({"args": (0,), "kwargs": {}})[0]
    entry = rt.Entry("main", "module", (leaf,), tree, (leaf,), {"leaf": 0},
                     (rt.Function("main", {}),))  # fmt: skip
    manifest = tiny.manifest(entries=(entry,), default_entry="main", dims=(), states=(),
                             weights=())  # fmt: skip
    data = rt.container_bytes(rt.pack(manifest, {}))
    model = rt.load(data, device=rt.FakeDriver({"main": lambda z: [z.conj()]}))
    assert model([1 + 2j, 3]).tolist() == [1 - 2j, 3]
    assert model([1.5, 2]).dtype == np.complex64
