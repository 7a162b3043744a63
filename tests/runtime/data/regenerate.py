"""Writes tiny.riree for the tests: `python tests/runtime/data/regenerate.py`.

Needs iree-base-compiler. The file has modules for generic x86-64 and aarch64 processors.
"""

import sys
from pathlib import Path

import iree.compiler.tools as compiler

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import recurrent_iree_runtime as rt  # noqa: E402
from runtime import tiny  # noqa: E402

COMMON = [
    "--iree-vm-bytecode-module-strip-source-map",
    "--iree-hal-executable-debug-level=0",
    "--iree-llvmcpu-debug-symbols=false",
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
]
TARGETS = {
    "cpu:x86-64": ("x86_64", ["--iree-llvmcpu-target-triple=x86_64-linux-gnu"]),
    "cpu:aarch64": ("aarch64", ["--iree-llvmcpu-target-triple=aarch64-linux-gnu"]),
}


def main() -> None:
    modules, code = [], {}
    for target, (arch, flags) in TARGETS.items():
        member = f"modules/{target.replace(':', '-')}.vmfb"
        flags = [*COMMON, *flags, "--iree-llvmcpu-target-cpu=generic"]
        code[member] = compiler.compile_str(tiny.mlir(), input_type="stablehlo", extra_args=flags)
        needs = {"arch": arch, "features": ()}
        modules.append(rt.Module(target, "cpu", member, needs, iree=rt.iree_version()))
    rt.write_container(HERE / "tiny.riree", tiny.members(modules, code))
    print(f"{HERE / 'tiny.riree'}: {(HERE / 'tiny.riree').stat().st_size} bytes")


if __name__ == "__main__":
    main()
