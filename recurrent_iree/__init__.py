"""Recurrent programs from JAX to one ahead-of-time artifact for any hardware."""

from ._raw_rnn import TensorArray as TensorArray
from ._raw_rnn import dynamic_rnn as dynamic_rnn
from ._raw_rnn import raw_rnn as raw_rnn
from ._recurrent import Recurrent as Recurrent
from ._recurrent import grad as grad
from ._recurrent import value_and_grad as value_and_grad
from ._rnn import rnn as rnn
from ._rnn import rnn_r1_1 as rnn_r1_1
