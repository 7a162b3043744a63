"""The programs of the installed IREE compiler, and what its version is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from functools import cache
from pathlib import Path

from recurrent_iree_runtime import CompileError


@cache
def find_tool(name: str) -> Path:
    """The path of `iree-compile` or `iree-opt` in the installed wheel.

    Raises:
        CompileError: the IREE compiler is not installed, or its wheel lacks the program.
    """
    suffix = ".exe" if sys.platform == "win32" else ""
    spec = importlib.util.find_spec("iree.compiler._mlir_libs")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / f"{name}{suffix}"
        if path.is_file():
            return path
    raise CompileError(
        f"{name} was not found in {', '.join(folders) or 'any installed package'}; "
        "install it with `pip install 'iree-base-compiler==3.13.*'`"
    )


@cache
def compiler_version() -> str:
    """The version of the installed IREE compiler, such as ``3.13.0``."""
    try:
        return importlib.metadata.version("iree-base-compiler")
    except importlib.metadata.PackageNotFoundError:
        from iree.compiler.version import VERSION

        return str(VERSION)
