"""The linked module: text, symbols, weights, edges, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from compiler import programs
from recurrent_iree_compiler._link import link, module_text
from recurrent_iree_compiler._mlir import ir
from recurrent_iree_compiler._portable import stablehlo_text
from recurrent_iree_runtime import ArgumentError, CompileError, Leaf, UnsupportedError

GOLDEN = Path(__file__).parent / "data" / "linked_stream.mlir"
REGENERATE = (
    "python -c 'from compiler import programs, test_link as t; "
    "t.GOLDEN.write_text(t.linked(programs.streaming_program()))' in the folder tests"
)
F32 = (Leaf("x", (4,), "float32"),)


def linked(program, abi=None):
    return module_text(link(program, abi or {}))


def test_golden_text():
    text = linked(programs.streaming_program())
    assert text == GOLDEN.read_text(), f"the linked text changed; if that is wanted: {REGENERATE}"


def test_linking_is_deterministic_and_its_text_can_be_read_again():
    program = programs.streaming_program()
    text = linked(program)
    assert text == linked(program)
    with ir.Context(), ir.Location.unknown():
        assert module_text(ir.Module.parse(text)) == text


def test_weights_are_parameters_and_composites_survive():
    text = linked(programs.rnn_program())
    assert '#flow.parameter.named<"weights"::"rnn/kernel"> : tensor<3x4xf32>' in text
    assert "decomposition = @main$.recurrent_iree.recurrence" in text
    assert "func.func public @main(%arg0: tensor<2x5x3xf32>, %arg1: tensor<2x4xf32>)" in text
    assert text.count("func.func public") == 1


def test_the_edge_has_other_types():
    text = linked(programs.small_types_program(), {"bool": "int32", "uint8": "uint32"})
    assert "public @main(%arg0: tensor<3xi32>, %arg1: tensor<3xui32>, %arg2: tensor<3xf16>)" in text
    assert "stablehlo.convert" in text


def returning(body, result="tensor<4xf32>", arguments="%x: tensor<4xf32>"):
    return f"func.func public @main({arguments}) -> {result} {{\n{body}\n}}"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("return %x : tensor<4xf32>", UnsupportedError, "returns its argument 'x'.*'x' unchanged"),
        ("return %y", CompileError, "the StableHLO of 'main' cannot be parsed"),
    ],
)
def test_refused_bodies(text, error, message):
    with pytest.raises(error, match=message):
        linked(programs.text_program(returning(text), F32, F32))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ((), F32, "takes 1 arrays; its signature has 0: none"),
        ((Leaf("x", (5,), "float32"),), F32, "takes tensor<4xf32> for 'x'.*tensor<5xf32>"),
        (F32, (Leaf("y", (4,), "int32"),), "returns tensor<4xf32> for 'y'.*tensor<4xi32>"),
    ],
)
def test_a_source_that_does_not_fit_its_signature(inputs, outputs, message):
    text = returning("%y = stablehlo.abs %x : tensor<4xf32>\nreturn %y : tensor<4xf32>")
    with pytest.raises(CompileError, match=message):
        linked(programs.text_program(text, inputs, outputs))


def test_a_module_without_main_or_with_more_than_functions():
    other = "func.func public @f(%x: tensor<4xf32>) -> tensor<4xf32> { return %x : tensor<4xf32> }"
    with pytest.raises(CompileError, match="has no function 'main'"):
        linked(programs.text_program(other, F32, F32))
    extra = "util.global private @g = 1 : i32\nfunc.func public @main() { return }"
    with pytest.raises(UnsupportedError, match="holds util.global; only functions"):
        linked(programs.text_program(extra, (), ()))


def test_weight_names_that_cannot_stand_in_a_module():
    program = replace(programs.rnn_program(), weights={'a"b': programs.H0})
    with pytest.raises(ArgumentError, match="the weight name 'a\"b' cannot stand in a module"):
        linked(program)


@pytest.mark.parametrize("source", [b"ML\xefR damaged", b"\xff\xfe"])
def test_damaged_sources(source):
    with pytest.raises(CompileError, match="f: the StableHLO"):
        stablehlo_text(source, "f")


def test_program_checks_its_symbols():
    program = programs.rnn_program()
    with pytest.raises(ArgumentError, match="has no function 'main'"):
        replace(program, functions={})
    with pytest.raises(ArgumentError, match="'other' belongs to no entry"):
        replace(program, functions={**program.functions, "other": program.functions["main"]})
    with pytest.raises(ArgumentError, match="default entry 'run' is no entry"):
        replace(program, default_entry="run")
