"""A sequence-to-sequence model that learns to reverse words, decoded greedily by `raw_rnn`.

The encoder is `dynamic_rnn` over words of one to four letters. The decoder is `raw_rnn` twice:
while training, its loop function feeds the wanted letters; afterwards, each row gets its own last
letter and finishes when it says so. Run it with ``python samples/greedy_decoder.py``.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrent_iree as ri

END, LETTERS, LONGEST = 0, "abcdef", 4
VOCABULARY, WIDTH, UNITS = len(LETTERS) + 1, 16, 64


class GRU:
    """A cell for `raw_rnn`: a call and two sizes."""

    state_size = output_size = UNITS

    def __init__(self, weights: dict[str, jax.Array]):
        self.weights = weights

    def __call__(self, x: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        w = self.weights
        z, r = jnp.split(jax.nn.sigmoid(x @ w["x"] + h @ w["h"] + w["b"]), 2, axis=1)
        new = jnp.tanh(x @ w["xn"] + (r * h) @ w["hn"])
        h = z * h + (1 - z) * new
        return h, h


def init(key: jax.Array) -> dict[str, Any]:
    keys = iter(jax.random.split(key, 12))

    def matrix(*shape: int) -> jax.Array:
        return jax.random.normal(next(keys), shape) / np.sqrt(shape[0])

    def gru() -> dict[str, jax.Array]:
        return {
            "x": matrix(WIDTH, 2 * UNITS),
            "h": matrix(UNITS, 2 * UNITS),
            "b": jnp.zeros(2 * UNITS),
            "xn": matrix(WIDTH, UNITS),
            "hn": matrix(UNITS, UNITS),
        }

    return {
        "embedding": matrix(VOCABULARY, WIDTH),
        "encoder": gru(),
        "decoder": gru(),
        "out": matrix(UNITS, VOCABULARY),
    }


def words(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words padded with END, their lengths, and the reversed words padded with END."""
    lengths = random.integers(1, LONGEST + 1, count)
    letters = random.integers(1, VOCABULARY, (count, LONGEST))
    source = np.where(np.arange(LONGEST) < lengths[:, None], letters, END)
    target = np.full((count, LONGEST + 1), END)
    for row, length in enumerate(lengths):
        target[row, :length] = source[row, :length][::-1]
    return source, lengths, target


def encode(params: dict[str, Any], source: jax.Array, lengths: jax.Array) -> jax.Array:
    x = params["embedding"][source]
    return ri.dynamic_rnn(GRU(params["encoder"]), x, lengths)[1]


def decode(
    params: dict[str, Any],
    source: jax.Array,
    lengths: jax.Array,
    wanted: jax.Array | None = None,
    max_steps: int | None = LONGEST + 1,
) -> tuple[ri.TensorArray, ri.TensorArray]:
    """The letters and logits of every step; ``wanted`` are the letters to feed, if given."""
    state0, batch = encode(params, source, lengths), len(source)

    def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> tuple:
        if output is None:
            first = (jnp.int32(0), jnp.zeros(VOCABULARY))
            start = params["embedding"][jnp.full(batch, END)]
            return jnp.zeros(batch, bool), start, state0, first, None
        logits = output @ params["out"]
        letter = logits.argmax(1).astype(jnp.int32)
        fed = letter if wanted is None else wanted[:, jnp.minimum(time - 1, LONGEST)]
        finished = (fed == END) | (time > LONGEST)
        return finished, params["embedding"][fed], state, (letter, logits), None

    return ri.raw_rnn(GRU(params["decoder"]), loop_fn, max_steps=max_steps)[0]


def loss(params: dict[str, Any], source: Any, lengths: Any, target: Any) -> jax.Array:
    rows = decode(params, source, lengths, target)[1].all_rows().swapaxes(0, 1)
    errors = optax.softmax_cross_entropy_with_integer_labels(rows, target)
    counted = jnp.arange(LONGEST + 1) <= lengths[:, None]
    return jnp.where(counted, errors, 0).sum() / counted.sum()


def train(steps: int, random: np.random.Generator) -> dict[str, Any]:
    params = init(jax.random.key(0))
    optimizer = optax.adam(5e-3)
    state = optimizer.init(params)

    @jax.jit
    def update(params: Any, state: Any, source: Any, lengths: Any, target: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(params, source, lengths, target)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), state, value

    for step in range(steps):
        params, state, value = update(params, state, *words(random, 128))
        if step % 100 == 99:
            print(f"step {step + 1}: loss {value:.3f}")
    return params


def spell(letters: np.ndarray) -> str:
    return "".join(LETTERS[letter - 1] for letter in letters if letter != END)


def main(steps: int = 400) -> float:
    """Train, decode other words, print some; return the share of words that are right."""
    random = np.random.default_rng(0)
    params = train(steps, random)
    source, lengths, target = words(random, 200)
    letters = jax.jit(partial(decode, params))(source, lengths)[0].all_rows().T
    right = float((np.asarray(letters) == target).all(axis=1).mean())
    for row in range(4):
        print(f"{spell(source[row])} -> {spell(np.asarray(letters[row]))}")
    one = decode(params, source[:1], lengths[:1], max_steps=None)[0]
    print(f"driven by the host: {spell(source[0])} takes {int(one.size())} steps")
    print(f"{right:.0%} of 200 words are right")
    return right


if __name__ == "__main__":
    main()
