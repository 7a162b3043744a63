"""Loops that IREE computes wrongly."""

import pytest
from compiler.iree_traps.trap import run, still

from compiler import programs
from recurrent_iree_compiler import build
from recurrent_iree_runtime import Leaf, UnsupportedError


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
