"""What is wrong on Vulkan alone."""

import pytest
from compiler.iree_traps.trap import run, still


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
