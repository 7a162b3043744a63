"""The text of a function and the bytecode of it in the artifact are the same program."""

from dataclasses import replace

import pytest

import recurrent_iree as ri
from recurrent_iree._compile import _compiler_program
from recurrent_iree_compiler._link import link, module_text


@pytest.mark.parametrize(
    ("batch", "time"), [("batch=2", "time=9"), ("batch=2", "time=?"), ("batch=?", "time=?")]
)
def test_text_and_bytecode_make_the_same_module(batch: str, time: str) -> None:
    layer = ri.layers.LSTM(5, return_sequences=True, activation="gelu")
    program = _compiler_program(ri.lower(layer, ri.spec(batch, time, 3), xla=False), {})
    assert all(source.text for source in program.functions.values())
    sources = {symbol: replace(s, text="") for symbol, s in program.functions.items()}
    assert module_text(link(replace(program, functions=sources), {})) == module_text(
        link(program, {})
    )
