"""The loader refuses what the format does not know, instead of passing over it."""

import json
from pathlib import Path

import numpy as np
import pytest
from conformance import replay_raw_rnn, replay_recurrent, replay_rnn
from conformance.cases import check_equal, find, load, weighted_loss

CASES = Path(__file__).parent / "data" / "cases"


def changed(tmp_path: Path, name: str, change) -> Path:
    """A copy of a public case with its JSON edited."""
    source = CASES / f"{name}.json"
    raw = json.loads(source.read_text())
    change(raw)
    folder = tmp_path / "cases" / source.parent.name
    folder.mkdir(parents=True)
    (folder / source.name).write_text(json.dumps(raw))
    (folder / f"{source.stem}.npz").write_bytes(source.with_suffix(".npz").read_bytes())
    return folder / source.name


def test_every_folder_layout_is_found(tmp_path) -> None:
    path = changed(tmp_path, "rnn_r2_4/elman_loop", lambda raw: None)
    assert find(tmp_path) == find(tmp_path / "cases") == [path]
    assert len(find(CASES.parent)) == 178


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(format=2), "format 2 is unknown"),
        (lambda raw: raw.update(surprise=1), r"unknown keys \['surprise'\]"),
        (lambda raw: raw["call"].update(mask={"$file": "x"}), r"unknown notation \['\$file'\]"),
        (lambda raw: raw["gradients"].update(order=2), r"unknown keys \['order'\]"),
    ],
)
def test_unknown_parts_of_a_case(tmp_path, change, message) -> None:
    with pytest.raises(AssertionError, match=message):
        load(changed(tmp_path, "rnn_r2_4/elman_loop", change))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (replay_rnn, "rnn_r2_4/elman_loop"),
        (replay_rnn, "rnn_r1_1/elman_loop"),
        (replay_recurrent, "Recurrent/elman_both"),
        (replay_raw_rnn, "raw_rnn/basic_rnn_full"),
    ],
)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(cell="mystery"), "unknown cell mystery"),
        (lambda raw: raw["cell_config"].update(peephole=1), r"unknown keys \['peephole'\]"),
        (lambda raw: raw["call"].update(speed=1), r"unknown keys \['speed'\]"),
        (lambda raw: raw["expect"].update(extra=1), "keys"),
        (lambda raw: raw["gradients"]["expect"].update(q=1), r"unknown keys \['q'\]"),
        (lambda raw: raw["gradients"].update(loss="max(y)"), r"unknown loss max\(y\)"),
    ],
)
def test_unknown_parts_of_a_call(tmp_path, module, name, change, message) -> None:
    with pytest.raises(AssertionError, match=message):
        module.replay(load(changed(tmp_path, name, change)))


@pytest.mark.parametrize(
    ("got", "message"),
    [
        ({"a": [np.float32(1.1), np.int32(2)]}, r"result.a\[0\]: 1 of 1 values differ"),
        ({"a": [np.float32(1), np.int32(3)]}, "result.a"),
        ({"a": [np.float32(1), np.float32(2)]}, "float32, not an integer"),
        ({"a": [np.float32(np.nan), np.int32(2)]}, "values differ"),
        ({"a": [np.ones(2, np.float32), np.int32(2)]}, r"shape \(2,\), expected \(\)"),
        ({"a": [np.float32(1)]}, "expected 2 items"),
        ({"b": 1}, r"expected the keys \['a'\]"),
    ],
)
def test_differences_are_found(got, message) -> None:
    want = {"a": (np.float32(1), np.int32(2))}
    check_equal({"a": (np.float32(1.000001), np.int32(2))}, want, 1e-5, 0.0)
    with pytest.raises(AssertionError, match=message):
        check_equal(got, want, 1e-5, 1e-6)


def test_leaves_without_weight_do_not_count() -> None:
    weights = {"a": [np.float32(3), None]}
    assert weighted_loss("sum(w*y*y)", {"a": (2.0, 9.0), "b": 1.0}, weights) == 12
    assert weighted_loss("sum(w*y)", {"a": 1.0}, None) == 0
