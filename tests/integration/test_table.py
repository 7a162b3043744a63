"""The table of programs has a row for every authoring API."""

import programs
import pytest

import recurrent_iree as ri

APIS = ["lax.scan", "rnn", "Recurrent", "raw_rnn"]
LAYERS = ["LSTM", "GRU", "SimpleRNN", "RNN", "Dense", "Sequential"]


@pytest.mark.parametrize("api", APIS + LAYERS)
def test_every_api_has_a_row(api: str) -> None:
    assert any(row.api == api for row in programs.ROWS)


@pytest.mark.parametrize("name", APIS[1:])
def test_the_functional_apis_exist(name: str) -> None:
    assert callable(getattr(ri, name))


def test_names_are_unique() -> None:
    assert len(programs.BY_NAME) == len(programs.ROWS)
