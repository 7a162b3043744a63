"""The capture stage: JAX programs to StableHLO whose recurrences are composites."""

from ._arguments import sort_arguments as sort_arguments
from ._capture import (
    Array as Array,
    Lowered as Lowered,
    LoweredEntry as LoweredEntry,
    capture as capture,
)
from ._golden import GoldenCase as GoldenCase
from ._known import Known as Known
from ._lower import LoweredFunction as LoweredFunction
