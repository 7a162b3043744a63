"""The MLIR bindings of IREE, which ship without types: `ir`, and names for annotations."""

from typing import Any, TypeAlias

from iree.compiler import ir as _ir
from iree.compiler._mlir_libs import _mlir  # pyright: ignore[reportAttributeAccessIssue]

_mlir.globals.append_dialect_search_prefix(f"{__package__}._dialects")

ir: Any = _ir

Module: TypeAlias = Any
Operation: TypeAlias = Any
