"""Single operations that IREE computes otherwise than JAX, or does not compile."""

from compiler.iree_traps.trap import run, still

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
