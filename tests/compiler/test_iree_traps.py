"""What IREE 3.13 does wrong and what the design does about it.

Each test asserts that the wrong behaviour still shows, so that a new IREE that repairs it fails
here and says which decision can go. A trap that could kill the process runs in one of its own.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from compiler import programs
from recurrent_iree_compiler import BuildOptions, GoldenCase, build, parse_target
from recurrent_iree_compiler._iree_compile import COMMON_FLAGS
from recurrent_iree_compiler._tools import find_tool
from recurrent_iree_runtime import Leaf, UnsupportedError

SEARCH = os.pathsep.join(p for p in sys.path if p)

# Runs the function "f" of a module on one device and prints its results as JSON.
_RUN = """
import json, sys
import iree.runtime as rt
import numpy as np
path, driver, script = sys.argv[1:4]
config = rt.Config(driver)
context = rt.SystemContext(config=config)
module = rt.VmModule.copy_buffer(context.instance, open(path, "rb").read())
context.add_vm_module(module)
f = context.modules[module.name]["f"]
device = config.device

def fetched(array, shape, dtype):
    from recurrent_iree_runtime._drivers._iree_arrays import Staging
    (buffer,) = Staging(device, 1).fetch([array._buffer_view])
    return np.array(buffer.map().asarray(shape, np.dtype(dtype)))

exec(script)
"""


def run(tmp_path, text, script, target="cpu", driver="local-sync", flags=None):
    """The JSON that `script` prints, or an answer that starts with "failed:"."""
    source, output = tmp_path / "trap.mlir", tmp_path / "trap.vmfb"
    source.write_text(text)
    flags = (*COMMON_FLAGS, *(parse_target(target).flags if flags is None else flags))
    command = [str(find_tool("iree-compile")), str(source), *flags, "-o", str(output)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if made.returncode != 0:
        return f"failed: compiler: {made.stderr[:300]}"
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(output), driver, script],
        env={**os.environ, "PYTHONPATH": SEARCH},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode != 0:
        return f"failed: {done.returncode}: {done.stderr[-300:]}"
    return json.loads(done.stdout)


def still(shows, decision):
    assert shows, f"IREE fixed it: revisit {decision}"


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


def lstm_of_any_batch():
    """Three steps of two carries in one slab of memory; its size is only known at run time."""
    q = "tensor<?x4xf32>"
    return f"""
func.func public @f(%u: tensor<4x16xf32>, %a0: {q}, %b0: {q}) -> ({q}, {q}) {{
  %a = stablehlo.tanh %a0 : {q}
  %b = stablehlo.negate %b0 : {q}
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %one = stablehlo.constant dense<1> : tensor<i32>
  %n = stablehlo.constant dense<3> : tensor<i32>
  %r:3 = stablehlo.while(%i = %zero, %x = %a, %y = %b) : tensor<i32>, {q}, {q}
  cond {{
    %c = stablehlo.compare LT, %i, %n : (tensor<i32>, tensor<i32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }} do {{
    %j = stablehlo.add %i, %one : tensor<i32>
    %p = stablehlo.dot_general %x, %u, contracting_dims = [1] x [0]
      : ({q}, tensor<4x16xf32>) -> tensor<?x16xf32>
    %th = stablehlo.tanh %p : tensor<?x16xf32>
    %g = stablehlo.get_dimension_size %x, dim = 0 : ({q}) -> tensor<i32>
    %g1 = stablehlo.reshape %g : (tensor<i32>) -> tensor<1xi32>
    %from0 = stablehlo.constant dense<[0, 0]> : tensor<2xi32>
    %from4 = stablehlo.constant dense<[0, 4]> : tensor<2xi32>
    %by = stablehlo.constant dense<[1, 1]> : tensor<2xi32>
    %four = stablehlo.constant dense<4> : tensor<1xi32>
    %eight = stablehlo.constant dense<8> : tensor<1xi32>
    %to4 = stablehlo.concatenate %g1, %four, dim = 0
      : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %to8 = stablehlo.concatenate %g1, %eight, dim = 0
      : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %f = stablehlo.real_dynamic_slice %th, %from0, %to4, %by
      : (tensor<?x16xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> {q}
    %o = stablehlo.real_dynamic_slice %th, %from4, %to8, %by
      : (tensor<?x16xf32>, tensor<2xi32>, tensor<2xi32>, tensor<2xi32>) -> {q}
    %fy = stablehlo.multiply %f, %y : {q}
    %cn = stablehlo.add %fy, %o : {q}
    %tc = stablehlo.tanh %cn : {q}
    %hn = stablehlo.multiply %tc, %o : {q}
    stablehlo.return %j, %hn, %cn : tensor<i32>, {q}, {q}
  }}
  return %r#1, %r#2 : {q}, {q}
}}
"""


def test_a_dynamic_batch_in_a_loop_is_wrong(tmp_path):
    """Decision: batch is static per compiled function."""
    script = (
        "random = np.random.default_rng(0)\n"
        "shapes = (4, 16), (3, 4), (3, 4)\n"
        "u, a, b = (random.standard_normal(s).astype(np.float32) for s in shapes)\n"
        "given = [r.to_host().tolist() for r in f(u, a, b)]\n"
        "a, b = np.tanh(a), -b\n"
        "for _ in range(3):\n"
        "    p = np.tanh(a @ u); b = p[:, :4] * b + p[:, 4:8]; a = np.tanh(b) * p[:, 4:8]\n"
        "errors = [float(np.abs(np.array(g) - e).max()) for g, e in zip(given, (a, b))]\n"
        "print(json.dumps(max(errors)))"
    )
    answer = run(tmp_path, lstm_of_any_batch(), script)
    assert not isinstance(answer, str), answer
    still(answer > 1e-2, "static batches (_plan._safety.check_loops)")


_UNTIL_DONE = """
func.func public @f(%a: tensor<4xf32>, %b: tensor<4xf32>)
    -> (tensor<4xf32>, tensor<4xf32>, tensor<i1>) {
  %flag = stablehlo.constant dense<false> : tensor<i1>
  %r:3 = stablehlo.while(%x = %a, %y = %b, %done = %flag)
      : tensor<4xf32>, tensor<4xf32>, tensor<i1>
  cond {
    %c = stablehlo.not %done : tensor<i1>
    stablehlo.return %c : tensor<i1>
  } do {
    %s = stablehlo.add %x, %y : tensor<4xf32>
    %t = stablehlo.tanh %y : tensor<4xf32>
    %zero = stablehlo.constant dense<0.0> : tensor<f32>
    %limit = stablehlo.constant dense<10.0> : tensor<f32>
    %n = stablehlo.reduce(%s init: %zero) applies stablehlo.add across dimensions = [0]
      : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
    %d = stablehlo.compare GT, %n, %limit : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %s, %t, %d : tensor<4xf32>, tensor<4xf32>, tensor<i1>
  }
  return %r#0, %r#1, %r#2 : tensor<4xf32>, tensor<4xf32>, tensor<i1>
}
"""


def test_a_while_loop_that_ends_on_a_flag_fails(tmp_path):
    """Decision: data-dependent loops are refused; raw_rnn is a bounded masked scan."""
    script = (
        "a, b = np.full(4, 0.5, np.float32), np.full(4, 1.5, np.float32)\n"
        "given = f(a, b)[0].to_host()\n"
        "while a.sum() <= 10: a, b = a + b, np.tanh(b)\n"
        "print(json.dumps(float(np.abs(given - a).max())))"
    )
    answer = run(tmp_path, _UNTIL_DONE, script)
    wrong = isinstance(answer, str) or answer > 1e-3
    still(wrong, "the refusal of data-dependent loops (_plan._safety.check_loops)")
    state = Leaf("a", (4,), "float32")
    leaves = (state, Leaf("b", (4,), "float32"))
    program = programs.text_program(
        _UNTIL_DONE.replace("@f", "@main"), leaves, (*leaves, Leaf("done", (), "bool"))
    )
    with pytest.raises(UnsupportedError, match="depends on data"):
        build(program, ["vmvx"])


@pytest.mark.vulkan
def test_to_host_fails_on_vulkan(tmp_path):
    """Decision: the runtime copies through a staging buffer of its own."""
    text = "func.func public @f(%x: tensor<3xf32>) -> tensor<3xf32> {\n"
    text += "%y = stablehlo.abs %x : tensor<3xf32>\nreturn %y : tensor<3xf32>\n}"
    script = (
        "try: f(np.zeros(3, np.float32)).to_host(); print(json.dumps('works'))\n"
        "except Exception as error: print(json.dumps(str(error)))"
    )
    answer = run(tmp_path, text, script, "vulkan:llvmpipe", "vulkan")
    still("import host allocation" in answer, "Staging in the runtime's IREE driver")


_BYTES = """
func.func public @f(%x: tensor<5xi8>) -> tensor<5xi8> {
  %y = stablehlo.add %x, %x : tensor<5xi8>
  return %y : tensor<5xi8>
}
"""


@pytest.mark.vulkan
def test_the_default_vulkan_target_is_wrong_for_small_types(tmp_path):
    """Decision: a Vulkan target is always named, and small types stay inside the module."""
    script = (
        "x = np.array([1, 2, 3, 4, 5], np.int8)\n"
        "print(json.dumps(fetched(f(x), (5,), np.int8).tolist()))"
    )
    flags = ("--iree-hal-target-device=vulkan",)
    answer = run(tmp_path, _BYTES, script, driver="vulkan", flags=flags)
    assert not isinstance(answer, str), answer
    still(answer != [2, 4, 6, 8, 10], "DEFAULT_VULKAN and _VULKAN_ABI in _gpu_targets")


_TRANSPOSED = """
func.func public @f(%w: tensor<3x4xf32>, %u: tensor<4x4xf32>, %x: tensor<2x3xf32>,
    %h: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %0 = stablehlo.dot_general %w, %x, contracting_dims = [0] x [1]
    : (tensor<3x4xf32>, tensor<2x3xf32>) -> tensor<4x2xf32>
  %t = stablehlo.transpose %0, dims = [1, 0] : (tensor<4x2xf32>) -> tensor<2x4xf32>
  %d = stablehlo.dot_general %h, %u, contracting_dims = [1] x [0]
    : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %r = stablehlo.add %t, %d : tensor<2x4xf32>
  return %r : tensor<2x4xf32>
}
"""
_CHECK_TRANSPOSED = """
random, worst = np.random.default_rng(0), 0.0
for _ in range(4):
    shapes = (3, 4), (4, 4), (2, 3), (2, 4)
    w, u, x, h = (random.standard_normal(s).astype(np.float32) for s in shapes)
    given = fetched(f(w, u, x, h), (2, 4), np.float32)
    worst = max(worst, float(np.abs(given - (x @ w + h @ u)).max()))
print(json.dumps(worst))
"""


@pytest.mark.vulkan
def test_a_transposed_product_added_to_another_is_wrong_on_vulkan(tmp_path):
    """Found by verifying a step function. Decision: the flag _TRANSPOSES of every Vulkan target."""
    plain = ("--iree-hal-target-device=vulkan", "--iree-vulkan-target=llvmpipe")
    wrong = run(tmp_path, _TRANSPOSED, _CHECK_TRANSPOSED, driver="vulkan", flags=plain)
    assert not isinstance(wrong, str), wrong
    still(wrong > 1e-3, "_TRANSPOSES in _gpu_targets")
    right = run(tmp_path, _TRANSPOSED, _CHECK_TRANSPOSED, "vulkan:llvmpipe", "vulkan")
    assert right < 1e-5


_GATHER = """
func.func public @f(%table: tensor<4x2xf32>, %i: tensor<1x1xi32>) -> tensor<1x2xf32> {
  %r = "stablehlo.gather"(%table, %i) <{
    dimension_numbers = #stablehlo.gather<offset_dims = [1], collapsed_slice_dims = [0],
      start_index_map = [0], index_vector_dim = 1>,
    slice_sizes = array<i64: 1, 2>}>
    : (tensor<4x2xf32>, tensor<1x1xi32>) -> tensor<1x2xf32>
  return %r : tensor<1x2xf32>
}
"""


def test_a_gather_does_not_clamp_its_indices(tmp_path):
    script = """
table = np.arange(8, dtype=np.float32).reshape(4, 2)
print(json.dumps([float(v) for v in f(table, np.array([[7]], np.int32)).to_host().ravel()]))
"""
    answer = run(tmp_path, _GATHER, script)
    still(answer != [6.0, 7.0], "that the planner clamps the indices of gathers")


def test_a_gather_of_an_unknown_number_of_indices_does_not_compile(tmp_path):
    """Decision: such lookups are written as loops over IREE's tensors (_plan/_lookups.py)."""
    many = _GATHER.replace("tensor<1x1xi32>", "tensor<?x1xi32>").replace("1x2xf32", "?x2xf32")
    answer = run(tmp_path, many, "print(1)")
    still("must be statically shaped" in str(answer), "_plan/_lookups.py")


_SCATTER = """
func.func public @f(%table: tensor<4x2xf32>, %i: tensor<1x2xi32>) -> tensor<4x2xf32> {
  %one = stablehlo.constant dense<1.0> : tensor<1xf32>
  %r = "stablehlo.scatter"(%table, %i, %one) <{
    scatter_dimension_numbers = #stablehlo.scatter<inserted_window_dims = [0, 1],
      scatter_dims_to_operand_dims = [0, 1], index_vector_dim = 1>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    stablehlo.return %b : tensor<f32>
  }) : (tensor<4x2xf32>, tensor<1x2xi32>, tensor<1xf32>) -> tensor<4x2xf32>
  return %r : tensor<4x2xf32>
}
"""


def test_a_scatter_writes_outside_of_its_row(tmp_path):
    """Decision: updates out of range are left out by the planner (_plan/_scatters.py)."""
    script = """
table = np.zeros((4, 2), np.float32)
print(json.dumps(f(table, np.array([[1, 3]], np.int32)).to_host().ravel().tolist()))
"""
    answer = run(tmp_path, _SCATTER, script)
    still(answer != [0.0] * 8, "that the planner leaves out updates that are out of range")


_ARGMAX = """
func.func public @f(%x: tensor<3x5x8xf32>) -> tensor<5x3xi32> {
  %low = stablehlo.constant dense<0xFF800000> : tensor<f32>
  %zero = stablehlo.constant dense<0> : tensor<i32>
  %n = stablehlo.iota dim = 2 : tensor<3x5x8xi32>
  %r:2 = stablehlo.reduce(%x init: %low), (%n init: %zero) across dimensions = [2]
    : (tensor<3x5x8xf32>, tensor<3x5x8xi32>, tensor<f32>, tensor<i32>)
    -> (tensor<3x5xf32>, tensor<3x5xi32>)
    reducer(%a: tensor<f32>, %b: tensor<f32>) (%i: tensor<i32>, %j: tensor<i32>) {
      %p = stablehlo.compare GE, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
      %v = stablehlo.select %p, %a, %b : tensor<i1>, tensor<f32>
      %k = stablehlo.select %p, %i, %j : tensor<i1>, tensor<i32>
      stablehlo.return %v, %k : tensor<f32>, tensor<i32>
    }
  %t = stablehlo.transpose %r#1, dims = [1, 0] : (tensor<3x5xi32>) -> tensor<5x3xi32>
  return %t : tensor<5x3xi32>
}
"""


def test_a_transposed_argmax_does_not_compile(tmp_path):
    """Decision: a barrier behind reductions that lose a result (_plan/_arg_reductions.py)."""
    answer = run(tmp_path, _ARGMAX, "print(1)")
    still("expected number of yield values" in str(answer), "_plan/_arg_reductions.py")


_EMPTY = """
func.func public @f(%x: tensor<2x0xf32>, %w: tensor<0x5xf32>) -> tensor<2x5xf32> {
  %y = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
    : (tensor<2x0xf32>, tensor<0x5xf32>) -> tensor<2x5xf32>
  return %y : tensor<2x5xf32>
}
"""


def test_a_product_over_no_elements_crashes(tmp_path):
    """Decision: zeros in its place (_plan/_empty_products.py)."""
    answer = run(tmp_path, _EMPTY, "print(1)")
    still(answer != 1, "_plan/_empty_products.py")
