"""Running a JAX program through the recurrence compiler, and through XLA for comparison."""

import jax
import numpy as np
from iree.compiler import ir, tools
from iree.runtime import Config, SystemContext, VmModule
from jax import export

from recurrent_iree._capture._jaxpr import evaluate
from recurrent_iree._capture._scan import lower_scan
from recurrent_iree_compiler._fused import (
    FusedKernel,
    Machine,
    Refusal,
    known_machine,
    splice,
    try_fuse,
)
from recurrent_iree_compiler._iree_compile import COMMON_FLAGS
from recurrent_iree_compiler._plan._arg_reductions import hold_arg_reductions

AVX2 = Machine(vector_bits=256, registers=16, l1=32 << 10, l2=256 << 10, cores=3)
TOGETHER = 5  # programs in one module
SSE = Machine(vector_bits=128, registers=16, l1=32 << 10, l2=256 << 10, cores=1)


def captured(function, arguments):
    """StableHLO text in which every scan is a composite."""
    specs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in arguments]
    jaxpr = jax.make_jaxpr(function)(*specs)
    run = jax.jit(lambda *args: evaluate(jaxpr, args, {"scan": lower_scan}), keep_unused=True)
    return export.export(run)(*specs).mlir_module()


def together(cells):
    """One function that runs all `cells`, each a function and its arguments; and the arguments."""
    counts = [len(arguments) for _, arguments in cells]

    def run(*given):
        results = []
        for (function, _), count in zip(cells, counts, strict=True):
            results.append(function(*given[:count]))
            given = given[count:]
        return results

    return run, [a for _, arguments in cells for a in arguments]


def side_by_side(cells):
    """Of each cell, what its kernels give and what XLA gives; and what became of the recurrences.

    All are one module: a compiler that is started for each takes much longer.
    """
    function, arguments = together(cells)
    module, found = fuse(function, arguments)
    made, expected = compiled(module)(*arguments), by_xla(function, arguments)
    assert len(made) == len(expected)
    pairs = []
    for function, inputs in cells:
        count = len(jax.tree.leaves(jax.eval_shape(function, *inputs)))
        pairs.append((made[:count], expected[:count]))
        made, expected = made[count:], expected[count:]
    return pairs, found


class SideBySide:
    """Programs by name, some of which are one module when the first of them is asked for.

    Args:
        make: from a name to a function and its arguments.
        names: all names, in the order in which tests ask for them.
    """

    def __init__(self, make, names):
        self._make, self._names, self._pairs = make, list(names), {}

    def __getitem__(self, name):
        """What the kernels give and what XLA gives; fails if a recurrence has no kernel."""
        if name not in self._pairs:
            start = self._names.index(name) // TOGETHER * TOGETHER
            some = self._names[start : start + TOGETHER]
            pairs, found = side_by_side([self._make(n) for n in some])
            refused = [str(f) for f in found if isinstance(f, Refusal)]
            assert not refused, f"among {some}: {refused}"
            self._pairs.update(zip(some, pairs, strict=True))
        return self._pairs[name]


def composites(module):
    """The recurrences in the public functions of `module`."""
    return [
        op
        for function in module.body.operations
        if not str(function.operation.attributes["sym_name"]).startswith('"recurrent_iree')
        for op in _walk(function.operation)
        if op.name == "stablehlo.composite"
        and str(op.attributes["name"]) == '"recurrent_iree.recurrence"'
    ]


def _walk(op):
    for region in op.regions:
        for block in region.blocks:
            for child in block.operations:
                yield child.operation
                yield from _walk(child.operation)


def fuse(function, arguments, machine=None, share=None):
    """The module with all fusable recurrences replaced, and what became of each."""
    return _fuse(captured(function, arguments), machine, share)


def _fuse(text, machine, share):
    module = ir.Module.parse(text, ir.Context())
    found = []
    spliced = {}
    for number, op in enumerate(composites(module)):
        machine = machine or known_machine("cpu")
        parts = share[number] if isinstance(share, list) else share
        made = try_fuse(module, op, machine, name=f"kernel{number}", share=parts)
        found.append(made)
        if isinstance(made, FusedKernel):
            splice(module, op, made, spliced)
    return module, found


def fused_only(function, arguments, machine=None, share=None):
    """The module; fails if a recurrence was refused."""
    return fused_text(captured(function, arguments), machine, share)


def fused_text(text, machine=None, share=None):
    """The module of `text`; fails if a recurrence was refused."""
    module, found = _fuse(text, machine, share)
    refused = [str(f) for f in found if isinstance(f, Refusal)]
    assert not refused, refused
    return module


def vmfb(module, target=("--iree-llvmcpu-target-cpu=host",)):
    """`module` as a module of IREE for this machine, or for `target`."""
    module = ir.Module.parse(module, ir.Context()) if isinstance(module, str) else module
    hold_arg_reductions(module)
    text = module.operation.get_asm(enable_debug_info=False)
    # Parsing has checked it; checks after each pass are a fifth of the time.
    return tools.compile_str(
        text,
        target_backends=["llvm-cpu"],
        input_type="stablehlo",
        extra_args=[*target, *COMMON_FLAGS[1:], "--verify=false"],
    )


def compiled(module, device="local-sync"):
    """The `main` of `module` on `device`, as a function of arrays."""
    return loaded(vmfb(module), device)


def loaded(code, device="local-sync"):
    """The `main` of a module of IREE, as a function of arrays."""
    context = SystemContext(config=Config(device))
    made = VmModule.copy_buffer(context.instance, code)
    context.add_vm_module(made)
    main = context.modules[made.name]["main"]

    def run(*arguments):
        results = main(*arguments)
        results = results if isinstance(results, (tuple, list)) else [results]
        return [np.array(r.to_host()) for r in results]

    return run


def by_xla(function, arguments):
    """What XLA computes, as a flat list."""
    return [np.asarray(a) for a in jax.tree.leaves(jax.jit(function)(*arguments))]


def assert_close(made, expected, *, rtol=2e-5, atol=2e-6):
    """Floats close, everything else equal."""
    assert len(made) == len(expected)
    for number, (a, b) in enumerate(zip(made, expected, strict=True)):
        assert a.shape == b.shape, number
        if b.dtype.kind in "biu":
            np.testing.assert_array_equal(a.astype(b.dtype), b, err_msg=f"result {number}")
        else:
            a, b = a.astype(np.float64), b.astype(np.float64)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"result {number}")


def assert_trees_close(made, expected):
    """The same for trees of arrays, whose dtypes must be equal, too."""
    ours, theirs = ([np.asarray(y) for y in jax.tree.leaves(tree)] for tree in (made, expected))
    assert [y.dtype for y in ours] == [y.dtype for y in theirs]
    assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def normals(seed):
    """A function of a shape that gives small random float32 arrays, the same for each `seed`."""
    random = np.random.default_rng(seed)
    return lambda *shape: (random.standard_normal(shape) * 0.3).astype(np.float32)
