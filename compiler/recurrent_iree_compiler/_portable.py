"""StableHLO in any of its forms as MLIR text."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from recurrent_iree_runtime import CompileError, CompilerCrashError, CompilerTimeoutError

from ._tools import find_tool

_MAGIC = b"ML\xefR"
_PIPELINE = "builtin.module(iree-stablehlo-input-transformation-pipeline)"
_AFTER = "vhlo-legalize-to-stablehlo"


@lru_cache(maxsize=64)
def stablehlo_text(source: bytes, name: str, time_limit: float = 120.0) -> str:
    """StableHLO text of portable bytecode; text is returned as it is.

    Portable bytecode is in the versioned VHLO dialect. IREE's wheel registers no pass of its own
    for the way back, so its input pipeline is run and the module after that one pass is taken.

    Raises:
        CompileError: `source` is not StableHLO that this compiler can read.
    """
    if not source.startswith(_MAGIC):
        try:
            return source.decode()
        except UnicodeDecodeError as error:
            raise CompileError(f"{name}: the StableHLO is neither bytecode nor text") from error
    with tempfile.TemporaryDirectory(prefix="recurrent-iree-") as folder:
        tree = Path(folder) / "tree"
        _run_pipeline(source, name, tree, Path(folder) / "log", time_limit)
        found = [p for p in tree.rglob("*.mlir") if p.stem.partition("_")[2] == _AFTER]
        if len(found) != 1:
            log = (Path(folder) / "log").read_text(errors="replace")
            first = next((line for line in log.splitlines() if "error" in line), "no message")
            raise CompileError(f"{name}: the StableHLO bytecode cannot be read: {first.strip()}")
        return _without_banner(found[0].read_text())


def _run_pipeline(source: bytes, name: str, tree: Path, log: Path, time_limit: float) -> None:
    command = [str(find_tool("iree-opt")), "-", f"--pass-pipeline={_PIPELINE}"]
    command += ["--mlir-disable-threading", "--mlir-print-ir-after-all", "-o", os.devnull]
    command += [f"--mlir-print-ir-tree-dir={tree}"]
    with log.open("wb") as errors:
        try:
            done = subprocess.run(
                command, input=source, stdout=errors, stderr=errors, timeout=time_limit
            )
        except subprocess.TimeoutExpired as error:
            message = f"{name}: reading the StableHLO took more than {time_limit:g} s"
            raise CompilerTimeoutError(message) from error
    if done.returncode < 0:
        raise CompilerCrashError(f"{name}: iree-opt died with signal {-done.returncode}")


def _without_banner(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.startswith("// -----//"))
