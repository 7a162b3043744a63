"""The capture stage: JAX programs to StableHLO whose recurrences are composites."""

from ._arguments import sort_arguments as sort_arguments
from ._capture import Lowered as Lowered, capture as capture
from ._entries import Array as Array, LoweredEntry as LoweredEntry
from ._golden import GoldenCase as GoldenCase
from ._known import Known as Known
from ._later import Later as Later
from ._lower import LoweredFunction as LoweredFunction
