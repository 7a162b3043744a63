"""The functions of `chunk` that run any number of steps in one call."""

from __future__ import annotations

from recurrent_iree._spec import TIME

from ._generalize import NotGeneral, any_size
from ._lower import LoweredFunction, chunk_piece, lower_piece
from ._program import Program
from ._storage import StoredWeights
from ._streaming import Streaming


def lower_any_length(
    program: Program, streaming: Streaming, stored: StoredWeights
) -> tuple[list[LoweredFunction], str]:
    """One function for each choice of the other sizes; or none, and why.

    Chunks of known lengths serve in its place, so that nothing is refused for want of it.
    """
    functions = []
    for sizes in program.sizes(time=1):
        rest = {name: size for name, size in sizes.items() if name != TIME}
        try:
            trace, given = any_size(program, rest, [*program.any_dims, TIME])
            piece = chunk_piece(program, streaming, given, trace)
            functions.append(lower_piece(piece, stored, xla=False))
        except NotGeneral as why:
            return [], f"the program is another one for other lengths: {why}"
        except Exception as error:  # JAX has many ways to refuse a size that is a symbol
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return [], f"JAX does not take it for a length that is a symbol: {first}"
    return functions, ""
