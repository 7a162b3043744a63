"""The capture stage: JAX programs to StableHLO whose recurrences are composites."""

from ._capture import (
    Array as Array,
    Lowered as Lowered,
    LoweredEntry as LoweredEntry,
    capture as capture,
)
from ._golden import GoldenCase as GoldenCase
from ._lower import LoweredFunction as LoweredFunction
