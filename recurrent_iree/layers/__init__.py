"""Layers: functions that own their weights and states, after tf.keras.layers."""

from ._activations import get_activation as get_activation
from ._base import Layer as Layer
from ._bidirectional import Bidirectional as Bidirectional
from ._conv_lstm import ConvLSTM2D as ConvLSTM2D, ConvLSTM2DCell as ConvLSTM2DCell
from ._dense import Dense as Dense
from ._embedding import Embedding as Embedding
from ._gru import GRU as GRU, GRUCell as GRUCell
from ._initializers import get_initializer as get_initializer
from ._lstm import LSTM as LSTM, LSTMCell as LSTMCell
from ._masking import Masking as Masking
from ._model import Model as Model
from ._node import SymbolicTensor as SymbolicTensor
from ._plain import Activation as Activation, Dropout as Dropout, Flatten as Flatten
from ._random import set_seed as set_seed
from ._regularizers import L1L2 as L1L2, get_regularizer as get_regularizer, l1 as l1, l2 as l2
from ._rnn import RNN as RNN
from ._sequential import Sequential as Sequential
from ._shape import TensorShape as TensorShape
from ._simple_rnn import SimpleRNN as SimpleRNN, SimpleRNNCell as SimpleRNNCell
from ._stacked import StackedRNNCells as StackedRNNCells
from ._symbolic import Input as Input
from ._time_distributed import TimeDistributed as TimeDistributed
from ._variable import Variable as Variable
