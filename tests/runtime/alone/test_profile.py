"""Profiles by IREE's own tools, and what happens without them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime import _profile
from recurrent_iree_runtime._bench import BenchReport, bench
from recurrent_iree_runtime._cli import main

TINY = Path(__file__).parents[1] / "data" / "tiny.riree"
GROUP = {"type": "host_dispatch_group", "key": "f_dispatch_0_dot", "count": 6, "avg_ns": 2000.0,
         "min_ns": 1000, "total_ns": 12000}  # fmt: skip


@pytest.fixture
def artifact():
    return rt.read(TINY)


def test_dispatches_of_each_function(artifact):
    entry = artifact.manifest.entry("sequence")
    found = _profile.profile(artifact, "cpu", entry, [np.zeros((2, 5, 3), np.float32)])
    assert [p.function for p in found] == ["chunk_b2_t4", "chunk_b2_t1"]
    for one in found:
        assert one.dispatches and not one.error
        assert sum(d.share for d in one.dispatches) == pytest.approx(1)
        assert all(0 < d.shortest <= d.mean < 1 and d.per_call >= 1 for d in one.dispatches)
        assert one.function in one.text() and "share" in one.text()


def test_entries_that_are_one_function(artifact):
    arrays = [np.zeros(2, np.float32), np.zeros(2, bool), np.zeros(2, np.int32)]
    pair = artifact.manifest.entry("pair")
    (found,) = _profile.profile(artifact, "cpu:local-task", pair, arrays)
    assert found.function == "pair"
    chunk = artifact.manifest.entry("chunk")
    found = _profile.profile(artifact, "cpu", chunk, [np.zeros((1, 4, 3), np.float32)])
    assert [p.function for p in found] == ["chunk_b1_t4"]


def test_reading_a_profile():
    other = {**GROUP, "type": "dispatch_group", "key": "g", "count": 2, "total_ns": 4000}
    late = {**other, "time_ns_available": False}
    rows = "\n".join(json.dumps(d) for d in ({"type": "dispatch_summary"}, GROUP, other, late))
    found = _profile._read(rows, "cpu", "f")
    assert [(d.name, d.per_call, d.share) for d in found.dispatches] == [
        ("dispatch_0_dot", 3, 0.75),
        ("g", 1, 0.25),
    ]
    empty = _profile._read("", "vulkan", "f")
    assert empty.text() == "profile of vulkan: the driver gave no times for the dispatches of f"


def test_without_the_tools(artifact, monkeypatch, capsys):
    monkeypatch.setattr(_profile.importlib.util, "find_spec", lambda name: None)
    message = "the tool iree-.* is missing: .*pip install --force-reinstall iree-base-runtime"
    with pytest.raises(rt.MissingPackageError, match=message):
        bench(artifact, ["cpu"], seconds=0.01, rounds=1, profile=True)
    assert main(["bench", str(TINY), "--profile", "--seconds", "0.01"]) == 1
    assert "is missing" in capsys.readouterr().err


def test_tools_that_fail(artifact, monkeypatch, tmp_path):
    entry = artifact.manifest.entry("chunk")
    tool = tmp_path / "tool"
    tool.write_text(f"#!{sys.executable}\nimport sys; sys.exit('no such function')\n")
    tool.chmod(0o755)
    monkeypatch.setattr(_profile, "find_tool", lambda name: tool)
    inputs = [np.zeros((1, 4, 3), np.float32)]
    (found,) = _profile.profiles(artifact, ["cpu"], entry, inputs, lambda text: None)
    assert found.error == "tool failed with exit status 1: no such function"
    tool.write_text(f"#!{sys.executable}\nimport time; time.sleep(60)\n")
    monkeypatch.setattr(_profile, "_LONGEST", 0.2)
    (found,) = _profile.profiles(artifact, ["cpu"], entry, inputs, lambda text: None)
    assert found.error == "tool did not end in 0.2 seconds"


def test_only_iree_can_be_profiled(artifact, monkeypatch):
    module = rt.Module("xla", "xla", None)
    info = rt.DeviceInfo("xla", "xla", "", True, "")
    monkeypatch.setattr(_profile, "choose_device", lambda manifest, device: (info, module))
    entry = artifact.manifest.entry("chunk")
    with pytest.raises(rt.ArgumentError, match="only IREE can be profiled; for XLA use jax"):
        _profile.profile(artifact, "xla", entry, [np.zeros((1, 4, 3), np.float32)])


def test_from_the_command_line(tmp_path, capsys):
    figures = tmp_path / "bench.json"
    command = ["bench", str(TINY), "--device", "cpu", "--seconds", "0.05", "--profile"]
    assert main([*command, "--json", str(figures)]) == 0
    assert "in dispatches per call" in capsys.readouterr().out
    report = BenchReport.from_json(json.loads(figures.read_text()))
    assert report.profiles and report.rows[0].p50
    assert BenchReport.from_json(json.loads(json.dumps(report.to_json()))) == report
