"""Replays every recorded case in JAX: results and gradients."""

import importlib
from pathlib import Path

from conformance.cases import load

REPLAYS = {
    "Recurrent": "replay_recurrent",
    "rnn_r1_1": "replay_rnn",
    "rnn_r2_4": "replay_rnn",
    "raw_rnn": "replay_raw_rnn",
    "layers_RNN": "replay_layers",
}


def test_replay(case_path: Path) -> None:
    case = load(case_path)
    assert case.api in REPLAYS, f"unknown API {case.api}"
    assert (case.api, case.name) == (case_path.parent.name, case_path.stem)
    replay = importlib.import_module(f"conformance.{REPLAYS[case.api]}").replay
    with case.precision():
        replay(case)
