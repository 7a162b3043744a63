"""Modules of the tiny program for targets that the committed artifact does not have."""

import functools

import iree.compiler.tools as compiler
import jax
import jax.export
import jax.numpy as jnp
import pytest

import recurrent_iree_runtime as rt
from runtime import tiny

FLAGS = {
    "vulkan:llvmpipe": ["--iree-hal-target-device=vulkan", "--iree-vulkan-target=llvmpipe"],
    "vmvx": ["--iree-hal-target-device=local", "--iree-hal-local-target-device-backends=vmvx"],
}


@functools.cache
def compiled(target: str) -> bytes:
    """The bytes of an artifact with one IREE module; bool is int32 at its edge on Vulkan."""
    driver, _, variant = target.partition(":")
    vulkan = driver == "vulkan"
    code = compiler.compile_str(
        tiny.mlir("i32" if vulkan else "i1"), input_type="stablehlo", extra_args=FLAGS[target]
    )
    member = f"modules/{target.replace(':', '-')}.vmfb"
    module = rt.Module(
        target,
        driver,
        member,
        {"vulkan_target": variant} if vulkan else {},
        {"bool": "int32"} if vulkan else {},
        rt.iree_version(),
    )
    return tiny.artifact([module], {member: code})


def jax_functions():
    """The tiny program's functions with their arguments: weights, inputs, states."""
    f32 = jnp.float32

    def steps(kernel, x, h, n):
        out = []
        for t in range(x.shape[1]):
            h = jnp.tanh(x[:, t] @ kernel + h)
            out.append(h)
        return jnp.stack(out, 1), h, n + x.shape[1]

    kernel, n = jax.ShapeDtypeStruct((3, 3), f32), jax.ShapeDtypeStruct((), jnp.int32)
    for b in tiny.BATCHES:
        h = jax.ShapeDtypeStruct((b, 3), f32)
        yield f"init_b{b}", lambda kernel, b=b: (jnp.zeros((b, 3)), jnp.int32(0)), (kernel,)
        for t in tiny.CHUNKS:
            yield f"chunk_b{b}_t{t}", steps, (kernel, jax.ShapeDtypeStruct((b, t, 3), f32), h, n)
    a = jax.ShapeDtypeStruct((2,), f32)
    mask, k = jax.ShapeDtypeStruct((2,), jnp.bool_), jax.ShapeDtypeStruct((2,), jnp.int32)
    yield "pair", lambda kernel, a, m, k: (~m, k + 1), (kernel, a, mask, k)


@functools.cache
def exported(platform: str) -> bytes:
    """The bytes of an artifact with jax.export blobs for one platform."""
    code, table = {}, {}
    for symbol, function, specs in jax_functions():
        member = f"program/{symbol}.jax"
        blob = jax.export.export(jax.jit(function), platforms=[platform])(*specs)
        code[member], table[symbol] = bytes(blob.serialize()), member
    module = rt.Module(f"xla:{platform}", "xla", None, functions_xla=table)
    return tiny.artifact([module], code)


@pytest.fixture(
    params=["vmvx", pytest.param("vulkan:llvmpipe", marks=pytest.mark.vulkan), "xla:cpu"]
)
def device_and_artifact(request):
    """A device and the bytes of an artifact for it."""
    if request.param.startswith("xla"):
        return "xla", exported("cpu")
    return request.param.partition(":")[0], compiled(request.param)


@pytest.fixture
def export():
    """`exported`."""
    return exported


@pytest.fixture
def compile_for():
    """`compiled`."""
    return compiled
