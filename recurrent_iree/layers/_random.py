"""The stream of random keys from which layers draw their first weights."""

import jax
import jax.numpy as jnp
import numpy as np

_stream = {"seed": 0, "drawn": 0}


def set_seed(seed: int) -> None:
    """Start the stream of random keys again; a new process starts with seed 0.

    >>> from recurrent_iree import layers
    >>> layers.set_seed(1)
    """
    _stream.update(seed=int(seed), drawn=0)


def next_key() -> jax.Array:
    """The next key of the process-wide stream."""
    _stream["drawn"] += 1
    with jax.ensure_compile_time_eval():
        words = np.random.SeedSequence([_stream["seed"], _stream["drawn"]]).generate_state(2)
        return jax.random.wrap_key_data(jnp.asarray(words, jnp.uint32), impl="threefry2x32")
