"""The harness of benchmarks/rivals: rows, agreement, tables; no rival is needed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.rivals import _limits, _work
from benchmarks.rivals.__main__ import growth
from benchmarks.rivals._cells import CELLS, flops_of, inputs_of, step_bytes_of, weights_of
from benchmarks.rivals._earlier import merged, read_earlier, told
from benchmarks.rivals._limits import seconds_at_limit
from benchmarks.rivals._machine import describe
from benchmarks.rivals._measure import Bench, Settings, disagreement
from benchmarks.rivals._peak import multiply_adds
from benchmarks.rivals._process import Worker, WorkerError
from benchmarks.rivals._systems import OURS
from benchmarks.rivals._table import best_rival, markdown, ratio_of, reached
from benchmarks.rivals._work import Work


@pytest.mark.parametrize("make", [_work.tiny, _work.quick, _work.full])
def test_rows_have_names_of_their_own_and_survive_json(make):
    works = make()
    assert len({work.name for work in works}) == len(works)
    assert [Work(**json.loads(json.dumps(work.to_json()))) for work in works] == works
    assert {work.cell for work in works} == set(CELLS)
    assert {work.kind for work in works} == set(_work.KINDS)


def test_full_has_every_row_of_quick():
    assert set(_work.quick()) <= set(_work.full())


@pytest.mark.parametrize("cell", CELLS)
def test_projecting_before_the_loop_changes_nothing(cell):
    from benchmarks.rivals._jax_programs import program

    work = Work(cell, 2, 8, 5)
    weights, inputs = jax.tree.map(jnp.asarray, (weights_of(work), inputs_of(work)))
    plain = np.asarray(program(work)(weights, *inputs))
    hoisted = np.asarray(program(work, hoisted=True)(weights, *inputs))
    assert plain.shape == ((2, 5) if cell == "decoder" else (2, 5, 8))
    np.testing.assert_allclose(plain, hoisted, rtol=1e-5, atol=1e-6)


def test_gru_is_that_of_keras():
    from benchmarks.rivals._build import _layer
    from benchmarks.rivals._jax_programs import program

    work = Work("gru", 2, 8, 5)
    (x,) = inputs_of(work)
    ours = _layer(work)(x)
    np.testing.assert_allclose(ours, program(work)(weights_of(work), x), rtol=1e-5, atol=1e-6)


def test_arithmetic_of_an_lstm():
    work = Work("lstm", 8, 64, 10)
    assert flops_of(work) == (8 * 10 * 2 * 64 * 256, 8 * 2 * 64 * 256)
    assert step_bytes_of(work) == 4 * 64 * 256


def test_the_higher_limit_counts():
    first = {"threads": 1, "flops": 1.0, "read": {"64": 5.0, "128": 2.0}}
    second = {"threads": 1, "flops": 3.0, "read": {"64": 4.0, "128": 6.0}}
    higher = {"threads": 1, "flops": 3.0, "read": {"64": 5.0, "128": 6.0}}
    assert _limits.higher(first, second) == higher


def test_the_peak_is_that_of_multiply_adds():
    """Every chain ends where a = a / 2 + 1 / 2 does, and so many operations take some time."""
    call, operations = multiply_adds()
    assert np.asarray(call())[0].tolist() == [1.0] * np.asarray(call()).shape[1]
    assert operations > 1e7


def test_limit_is_arithmetic_or_reading():
    limits = {"threads": 1, "flops": 1e9, "read": {"65536": 1e9, "1048576": 1e8}}
    small, large = Work("lstm", 1, 64, 10), Work("lstm", 32, 64, 10)
    outside, _ = flops_of(small)
    assert seconds_at_limit(small, limits) == pytest.approx(outside / 1e9 + 10 * 65536 / 1e9)
    assert seconds_at_limit(large, limits) == pytest.approx(sum_of(large) / 1e9)


def sum_of(work: Work) -> float:
    outside, inside = flops_of(work)
    return outside + work.steps * inside


def test_disagreement_says_what_is_wrong():
    ones = np.ones((2, 3), np.float32)
    assert disagreement(ones, ones) == ""
    assert disagreement(ones, None) == ""
    assert "not finite" in disagreement(ones * np.inf, None)
    assert "shape [2, 3] instead of [3, 2]" in disagreement(ones, ones.T)
    assert disagreement(ones * 1.01, ones).startswith("off by 1.0e-02")
    assert "not a number" in disagreement(ones * np.nan, ones)
    assert "100.0% of the numbers" in disagreement(np.ones(4, int), np.zeros(4, int))


def cell(median: float) -> dict:
    return {"median": median, "p90": 2 * median, "variant": "a", "variants": {"a": median}}


def row(ours: float, other: float, goal: float = 1.0, share: float = 0.5) -> dict:
    cells = {OURS: cell(ours), "xla": cell(other), "torch": {"disagrees": "off by 1"}}
    build = {"cold": 1.0, "cached": 0.1, "bytes": 2048, "forms": ["loop: because"]}
    work = Work("lstm", 1, 8, 5).to_json()
    shares = {"1": share}
    return {"name": "a row", "work": work, "goal": goal, "build": build, "share": shares,
            "threads": {"1": cells}}  # fmt: skip


def test_ratio_is_to_the_best_that_agrees():
    cells = row(1.0, 2.0)["threads"]["1"]
    assert best_rival(cells) == ("xla", 2.0)
    assert ratio_of(cells) == 0.5
    assert ratio_of({OURS: cell(1.0)}) is None


def test_a_goal_is_reached_by_ratio_or_for_other_cells_at_the_limit():
    assert reached(row(1.0, 1.0), "1")
    assert not reached(row(1.1, 1.0, share=0.9), "1")
    assert not reached(row(0.8, 1.0, goal=0.6), "1")
    assert reached(row(0.8, 1.0, goal=0.6, share=0.9), "1")


def test_table_keeps_what_missed_and_what_went_wrong():
    results = {
        "date": "2030-01-01",
        "machine": describe(),
        "versions": {"x": "1"},
        "threads": [1],
        "systems": [OURS, "xla", "torch", "openvino"],
        "missing": {"openvino": "No module named 'openvino'"},
        "rows": [row(3.0, 2.0)],
        "load_after": 0.1,
    }
    page = markdown(results)
    assert "| a row | 3000.000 (6000.000) | 2000.000 (4000.000) | disagrees | 1.50 | xla" in page
    assert "0 of 1 rows reach their goal" in page
    assert "openvino is not installed" in page
    assert "not one kernel: loop: because" in page
    assert "torch disagrees: off by 1" in page


def test_picture_frames_what_missed():
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    from benchmarks.rivals._plot import figure_of

    works = Work("lstm", 1, 64, 100), Work("lstm", 1, 128, 100), Work("gru", 1, 64, 100)
    times = (1.0, 2.0), (3.0, 2.0), (1.0, 4.0)
    rows = [
        row(*t) | {"name": w.name, "work": w.to_json()} for w, t in zip(works, times, strict=True)
    ]
    results = {"date": "2030-01-01", "machine": {"cpu": "a"}, "threads": [1], "rows": rows}
    (axes,) = figure_of(results).axes
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "0.50", (1, 0): "1.50", (0, 1): "0.25"}
    assert [round(frame.get_x()) for frame in axes.patches] == [1]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["lstm B1 T100", "gru B1 T100"]


def test_rows_of_an_earlier_run_stay(tmp_path):
    first, second = (row(1.0, 2.0) | {"name": work.name} for work in _work.full()[:2])
    again = second | {"commit": "abc", "date": "2030-01-02"}
    together = merged([second, first], [again], _work.full())
    assert together == [first, again]
    assert told(together) == (
        "Measured in several sittings: 1 on an unknown day at unknown, 1 on 2030-01-02 at abc."
    )
    assert told([again]) == ""
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps({"machine": describe(), "rows": together}))
    assert read_earlier(file, describe())["rows"] == together
    with pytest.raises(SystemExit, match="another machine .its cores.; ratios of one table"):
        read_earlier(file, describe() | {"cores": 1000})


def test_growth_compares_time_per_step_and_per_row():
    def timed(work: Work, seconds: float) -> dict:
        return {"work": work.to_json(), "threads": {"1": {OURS: cell(seconds)}}}

    rows = [timed(work, s) for work, s in zip(_work.GROWTH, (1.0, 17.6), strict=True)]
    rows += [timed(Work("gru", b, 8, 100), s) for b, s in ((8, 1.0), (32, 3.0))]
    assert [round(found["ratio"], 3) for found in growth(rows)] == [1.1, 0.75]


def test_machine_names_no_place():
    text = json.dumps(describe())
    assert "cores" in text
    assert "/home" not in text and "hostname" not in text


def test_a_worker_that_dies_says_its_last_words(tmp_path):
    with pytest.raises(WorkerError, match="no_such_module"):
        Worker("xla", 1, tmp_path, module="no_such_module")


def test_a_row_is_built_checked_and_timed(tmp_path):
    said = []
    settings = Settings((OURS, "xla"), threads=(1,), rounds=2, turn=0.001)
    with Bench(settings, said.append) as bench:
        found = bench.row(Work("simple_rnn", 1, 4, 3))
    cells = found["threads"]["1"]
    assert set(cells) == {OURS, "xla"}
    assert all(c["median"] <= c["p90"] and c["calls"] >= 4 for c in cells.values())
    assert found["build"]["forms"] and "path" not in found["build"]
    assert any("1 thread: recurrent-iree" in line for line in said)
    assert "jax" in bench.versions
