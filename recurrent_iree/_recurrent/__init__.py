"""`Recurrent`: a recurrence with its own backward pass, which recomputes the cell."""

from ._api import Recurrent as Recurrent
from ._grad import grad as grad, value_and_grad as value_and_grad
