"""`raw_rnn`: the loop in which a function decides inputs, outputs and the end."""

from ._api import raw_rnn as raw_rnn
from ._dynamic_rnn import dynamic_rnn as dynamic_rnn
from ._tensor_array import TensorArray as TensorArray
