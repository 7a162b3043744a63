"""The peak of multiply-adds of one core: chains of them in registers, compiled for this processor.

No library of matrix products comes close to it on every processor, and a limit should be one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from iree.compiler import tools
from iree.runtime import Config, SystemContext, VmModule

from recurrent_iree_compiler._fused import known_machine

_TURNS = 200_000


def multiply_adds() -> tuple[Callable[[], object], float]:
    """A call, and how many floating-point operations it makes."""
    machine = known_machine("cpu")
    lanes, chains = machine.lanes(32), machine.registers * 3 // 4
    context = SystemContext(config=Config("local-sync"))
    module = VmModule.copy_buffer(context.instance, _compiled(lanes, chains))
    context.add_vm_module(module)
    run, numbers = context.modules[module.name]["main"], np.full((chains + 2, lanes), 0.5, "f4")
    return (lambda: run(numbers).to_host()), 2.0 * lanes * chains * _TURNS


@cache
def _compiled(lanes: int, chains: int) -> bytes:
    flags = ["--iree-llvmcpu-target-cpu=host"]
    return tools.compile_str(
        _program(lanes, chains), target_backends=["llvm-cpu"], extra_args=flags
    )


def _program(lanes: int, chains: int) -> str:
    """Every chain is ``a = a * b + c``, `_TURNS` times; no chain waits for another."""
    vector, memory = f"vector<{lanes}xf32>", f"memref<{chains + 2}x{lanes}xf32>"
    tensor = f"tensor<{chains + 2}x{lanes}xf32>"
    names = range(chains)
    load = "\n".join(
        f"%n{i} = arith.constant {i} : index\n"
        f"%v{i} = vector.load %in[%n{i}, %zero] : {memory}, {vector}"
        for i in range(chains + 2)
    )
    starts = ", ".join(f"%a{i} = %v{i}" for i in names)
    kinds = ", ".join([vector] * chains)
    body = "\n".join(
        f"%p{i} = arith.mulf %a{i}, %v{chains} fastmath<contract> : {vector}\n"
        f"%s{i} = arith.addf %p{i}, %v{chains + 1} fastmath<contract> : {vector}"
        for i in names
    )
    sums = ", ".join(f"%s{i}" for i in names)
    store = "\n".join(
        f"vector.store %r#{i}, %out[%n{i}, %zero] : {memory}, {vector}" for i in names
    )
    return f"""
stream.executable private @chains {{
  stream.executable.export public @run workgroups() -> (index, index, index) {{
    %one = arith.constant 1 : index
    stream.return %one, %one, %one : index, index, index
  }}
  builtin.module {{
    func.func @run(%from: !stream.binding, %to: !stream.binding) {{
      %zero = arith.constant 0 : index
      %one = arith.constant 1 : index
      %turns = arith.constant {_TURNS} : index
      %in = stream.binding.subspan %from[%zero] : !stream.binding -> {memory}
      %out = stream.binding.subspan %to[%zero] : !stream.binding -> {memory}
      {load}
      %r:{chains} = scf.for %turn = %zero to %turns step %one iter_args({starts}) -> ({kinds}) {{
        {body}
        scf.yield {sums} : {kinds}
      }}
      {store}
      return
    }}
  }}
}}
func.func public @main(%x: {tensor}) -> {tensor} {{
  %y = flow.dispatch @chains::@run(%x) : ({tensor}) -> {tensor}
  return %y : {tensor}
}}
"""
