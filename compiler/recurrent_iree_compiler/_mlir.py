"""The MLIR bindings of IREE, which ship without types: `ir`, and names for annotations."""

from typing import Any, TypeAlias

from iree.compiler import ir as _ir

ir: Any = _ir

Module: TypeAlias = Any
Operation: TypeAlias = Any
