"""`rnn`: iterate over the time dimension, with the masks of two generations of Keras."""

from ._api import rnn as rnn
from ._r1_1 import rnn_r1_1 as rnn_r1_1
