"""The stream of random keys from which layers draw their first weights."""

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_iree_runtime import ArgumentError

from ._scope import current_scope

_stream = {"seed": 0, "drawn": 0}


def set_seed(seed: int) -> None:
    """Start the stream of random keys again; a new process starts with seed 0.

    >>> from recurrent_iree import layers
    >>> layers.set_seed(1)
    """
    _stream.update(seed=int(seed), drawn=0)


def draw_key() -> jax.Array:
    """The key of one random draw inside `call`: of `stateless_call`, else of the process."""
    scope = current_scope()
    key = None if scope is None else scope.next_key()
    if key is None and scope is not None and scope.is_pure():
        raise ArgumentError(
            "this call draws random numbers: give `key=jax.random.key(…)` to `stateless_call`."
        )
    return next_key() if key is None else key


def next_key() -> jax.Array:
    """The next key of the process-wide stream."""
    _stream["drawn"] += 1
    with jax.ensure_compile_time_eval():
        words = np.random.SeedSequence([_stream["seed"], _stream["drawn"]]).generate_state(2)
        return jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32), impl="threefry2x32")
