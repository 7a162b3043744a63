"""IREE writes into the buffers of its callers."""

import numpy as np
import pytest
from compiler.iree_traps.trap import run, still

from compiler import programs
from recurrent_iree_compiler import BuildOptions, GoldenCase, build
from recurrent_iree_runtime import Leaf

_UPDATE = """
func.func public @f(%h: tensor<4xf32>) -> (tensor<4xf32>, RESULT) {
  %c = stablehlo.constant dense<9.0> : tensor<1xf32>
  %i = stablehlo.constant dense<1> : tensor<i32>
  %u = stablehlo.dynamic_update_slice %h, %c, %i
    : (tensor<4xf32>, tensor<1xf32>, tensor<i32>) -> tensor<4xf32>
  BODY
  return %u, %r : tensor<4xf32>, RESULT
}
"""
_RESHAPED = "%r = stablehlo.reshape %h : (tensor<4xf32>) -> tensor<2x2xf32>"


def test_an_update_writes_into_the_buffer_of_the_caller(tmp_path):
    """Issue iree#16168. Decision: a state that was passed is consumed."""
    text = _UPDATE.replace("BODY", "%r = stablehlo.abs %u : tensor<4xf32>")
    script = (
        "given = rt.asdevicearray(device, np.zeros(4, np.float32)); f(given)\n"
        "print(json.dumps(np.asarray(given.to_host()).tolist()))"
    )
    answer = run(tmp_path, text.replace("RESULT", "tensor<4xf32>"), script)
    still(answer == [0, 9, 0, 0], "consumed states in the runtime (docs/decisions.md)")


def test_an_argument_that_is_returned_shows_the_update(tmp_path):
    """Decision: arguments pass a barrier in the wrapper; an output that is an input is copied."""
    text = _UPDATE.replace("BODY", _RESHAPED).replace("RESULT", "tensor<2x2xf32>")
    script = "print(json.dumps(f(np.zeros(4, np.float32))[1].to_host().tolist()))"
    answer = run(tmp_path, text, script)
    still(answer == [[0, 9], [0, 0]], "the barriers in _link._wrapper and Leaf.from_input")


@pytest.mark.parametrize(
    "target", ["cpu", "vmvx", pytest.param("vulkan:llvmpipe", marks=pytest.mark.vulkan)]
)
def test_our_wrapper_makes_it_right(target):
    text = _UPDATE.replace("BODY", _RESHAPED).replace("RESULT", "tensor<2x2xf32>")
    given = np.array([1, 2, 3, 4], np.float32)
    updated = np.array([1, 9, 3, 4], np.float32)
    golden = GoldenCase("main", {}, (given,), (updated, given.reshape(2, 2)), 0.0, 0.0)
    leaves = (Leaf("u", (4,), "float32"), Leaf("r", (2, 2), "float32"))
    program = programs.text_program(
        text.replace("@f", "@main"), (Leaf("h", (4,), "float32"),), leaves, [golden]
    )
    artifact = build(program, [target], options=BuildOptions(cache=False))
    assert artifact.report()["targets"][0]["verification"]["status"] == "verified"
