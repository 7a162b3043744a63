"""The tiny program compiled for software Vulkan, for faults that only a GPU's driver has."""

import functools

import iree.compiler.tools as compiler

import recurrent_iree_runtime as rt
from runtime import tiny

FLAGS = ["--iree-hal-target-device=vulkan", "--iree-vulkan-target=llvmpipe"]


@functools.cache
def vulkan_artifact() -> bytes:
    """The bytes of an artifact with one module, at whose edge bool is int32."""
    code = compiler.compile_str(tiny.mlir("i32"), input_type="stablehlo", extra_args=FLAGS)
    member = "modules/vulkan-llvmpipe.vmfb"
    needs, abi = {"vulkan_target": "llvmpipe"}, {"bool": "int32"}
    module = rt.Module("vulkan:llvmpipe", "vulkan", member, dict(needs), abi, rt.iree_version())
    return tiny.artifact([module], {member: code})
