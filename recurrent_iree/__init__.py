"""Recurrent programs from JAX to one ahead-of-time artifact for any hardware."""

from importlib.metadata import version as _version

from recurrent_iree_compiler import BuildOptions as BuildOptions
from recurrent_iree_runtime import (
    ArgumentError as ArgumentError,
    ArgumentTypeError as ArgumentTypeError,
    CompileError as CompileError,
    RecurrentIreeError as RecurrentIreeError,
    UnknownTargetError as UnknownTargetError,
    UnsupportedError as UnsupportedError,
    VerificationError as VerificationError,
)

from . import layers as layers
from ._capture import Lowered as Lowered
from ._compile import compile as compile, lower as lower
from ._raw_rnn import (
    TensorArray as TensorArray,
    dynamic_rnn as dynamic_rnn,
    raw_rnn as raw_rnn,
)
from ._recurrent import (
    Recurrent as Recurrent,
    grad as grad,
    value_and_grad as value_and_grad,
)
from ._rnn import rnn as rnn, rnn_r1_1 as rnn_r1_1
from ._spec import Dim as Dim, Spec as Spec, spec as spec

__version__ = _version("recurrent-iree")
