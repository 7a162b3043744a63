"""Random cells: a list of numbers is read as the choices that make one.

Values of the cell are (batch, lanes...) floats, integers and bools; every choice picks an operation
of the table and operands of the right kind from what is there. Magnitudes stay small, so that the
comparison is about the compiler and not about overflow.
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

STEPS = 3


@dataclass
class Choices:
    """Numbers, read one after the other; zeros when they run out."""

    numbers: list[int]
    at: int = 0

    def below(self, bound):
        self.at += 1
        return self.numbers[self.at - 1] % bound if self.at <= len(self.numbers) else 0

    def of(self, items):
        return items[self.below(len(items))]


@dataclass
class Pool:
    """The values that a cell has so far, and the weights that it has asked for.

    What would be large for `batch` rows is left out.
    """

    choices: Choices
    batch: int
    weights: list
    values: list = field(default_factory=list)
    next_weight: int = 0

    def weight(self, *shape):
        """A weight of that shape: made in the first trace, an argument in the others."""
        if self.next_weight == len(self.weights):
            random = np.random.default_rng(len(self.weights))
            scale = 0.5 / max(1, shape[0]) ** 0.5 if len(shape) > 1 else 0.5
            made = random.standard_normal(shape) * scale
            self.weights.append(made.astype(np.float32))
        self.next_weight += 1
        return jnp.asarray(self.weights[self.next_weight - 1])

    def pick(self, kind, rank=None, shape=None):
        found = [
            v
            for v in self.values
            if v.dtype.kind == kind
            and (rank is None or v.ndim == rank)
            and (shape is None or v.shape == shape)
        ]
        return self.choices.of(found) if found else None

    def add(self, value):
        if value.size // value.shape[0] * self.batch < 4096:
            self.values.append(value)


UNARY = [
    jnp.tanh,
    jax.nn.sigmoid,
    jnp.exp,
    lambda a: jnp.log(jnp.abs(a) + 0.1),
    lambda a: jnp.log1p(jnp.abs(a)),
    jnp.expm1,
    lambda a: jnp.sqrt(jnp.abs(a) + 0.01),
    lambda a: lax.rsqrt(jnp.abs(a) + 0.1),
    jnp.sin,
    jnp.cos,
    lax.erf,
    jnp.abs,
    jnp.negative,
    jax.nn.relu,
    jax.nn.softplus,
    jax.nn.gelu,
    jnp.square,
    jnp.floor,
    jnp.sign,
    lambda a: jnp.clip(a, -0.5, 0.5),
]
BINARY = [
    jnp.add,
    jnp.subtract,
    jnp.multiply,
    jnp.maximum,
    jnp.minimum,
    lambda a, b: a / (jnp.abs(b) + 0.5),
]


def _unary(pool):
    a = pool.pick("f")
    return jnp.clip(pool.choices.of(UNARY)(a), -4, 4)


def _binary(pool):
    a = pool.pick("f")
    b = pool.pick("f", shape=a.shape)
    return jnp.clip(pool.choices.of(BINARY)(a, b), -4, 4)


def _with_weight(pool):
    a = pool.pick("f")
    return pool.choices.of(BINARY)(a, pool.weight(a.shape[-1]) if a.ndim > 1 else jnp.float32(0.3))


def _product(pool):
    a = pool.pick("f", rank=2) if pool.choices.below(4) else pool.pick("f", rank=3)
    if a is None:
        return None
    return a @ pool.weight(a.shape[-1], pool.choices.of([a.shape[-1], 4, 5, 12, 17]))


def _gates(pool):
    a = pool.pick("f", rank=2)
    count = 2 + pool.choices.below(3)
    z = a @ pool.weight(a.shape[-1], count * a.shape[-1])
    parts = jnp.split(z, count, -1)
    return jax.nn.sigmoid(parts[0]) * jnp.tanh(parts[1]) + sum(parts[2:])


def _row_product(pool):
    a = pool.pick("f", rank=3)
    if a is None:
        return None
    if pool.choices.below(2):
        b = pool.pick("f", shape=a.shape[::2])
        return None if b is None else jnp.einsum("bsd,bd->bs", a, b) * 0.3
    b = pool.pick("f", shape=a.shape[:2])
    return None if b is None else jnp.einsum("bsd,bs->bd", a, b) * 0.3


def _reduce(pool):
    a = pool.pick("f")
    if a.ndim == 1:
        return None
    axis = 1 + pool.choices.below(a.ndim - 1)
    how = pool.choices.of([jnp.mean, jnp.max, jnp.min, jnp.sum, jax.nn.logsumexp])
    keep = bool(pool.choices.below(2))
    made = jnp.clip(how(a, axis=axis, keepdims=keep), -4, 4)
    return jnp.broadcast_to(made, a.shape) if keep else made


def _softmax(pool):
    a = pool.pick("f")
    return jax.nn.softmax(a, -1) if a.ndim > 1 else None


def _layer_norm(pool):
    a = pool.pick("f", rank=2)
    return (a - a.mean(-1, keepdims=True)) * lax.rsqrt(a.var(-1, keepdims=True) + 0.1)


def _move(pool):
    a = pool.pick("f")
    if a.ndim == 1:
        return None
    size = a.shape[-1]
    half = max(1, size // 2)
    return pool.choices.of(
        [
            lambda: jnp.flip(a, -1),
            lambda: jnp.roll(a, 1, -1),
            lambda: a[..., :half],
            lambda: a[..., size - half :],
            lambda: a[..., ::2],
            lambda: jnp.concatenate([a, a[..., :half] * 0.5], -1),
            lambda: jnp.pad(a, [(0, 0)] * (a.ndim - 1) + [(1, 0)]),
            lambda: jnp.repeat(a[..., :half], 2, -1),
            lambda: a.reshape(a.shape[0], -1),
            lambda: a.reshape(a.shape[0], -1, 2) if a[0].size % 2 == 0 else a,
            lambda: jnp.swapaxes(a, 1, -1),
            lambda: jnp.stack([a, a * 0.5, a + 1], 1) if a.ndim < 3 else a,
        ]
    )()


def _compare(pool):
    a = pool.pick("f")
    b = pool.pick("f", shape=a.shape)
    return pool.choices.of([jnp.less, jnp.greater_equal])(a, b + 0.1)


def _select(pool):
    test = pool.pick("b")
    if test is None:
        return None
    if test.ndim == 1 and pool.choices.below(2):
        a = pool.pick("f", rank=2)
        return jnp.where(test[:, None], a, a * 0.5)
    a = pool.pick("f", shape=test.shape)
    return None if a is None else jnp.where(test, a, 0.25 - a)


def _logic(pool):
    a = pool.pick("b")
    if a is None:
        return None
    b = pool.pick("b", shape=a.shape)
    return pool.choices.of([jnp.logical_and, jnp.logical_or, jnp.logical_xor])(a, ~b)


def _integer(pool):
    a = pool.pick("i")
    b = pool.pick("i", shape=a.shape)
    step = 1 + pool.choices.below(3)
    return pool.choices.of(
        [
            lambda: (a + step) % 7,
            lambda: (a * b) % 5,
            lambda: jnp.maximum(a, b) - step,
            lambda: a // step,
            lambda: jnp.abs(a - b),
        ]
    )()


def _count(pool):
    test = pool.pick("b")
    return None if test is None else test.astype(jnp.int32)


def _argmax(pool):
    a = pool.pick("f", rank=2)
    return jnp.argmax(a, -1).astype(jnp.int32)


def _lookup(pool):
    index = pool.pick("i", rank=1)
    if index is None:
        return None
    return pool.weight(9, pool.choices.of([4, 5, 12]))[jnp.abs(index) % 9]


def _to_float(pool):
    a = pool.pick("i")
    return jnp.clip(a.astype(jnp.float32) * 0.1, -4, 4)


TABLE = [
    *[_unary] * 4,
    *[_binary] * 4,
    _with_weight,
    *[_product] * 3,
    *[_gates] * 2,
    *[_row_product] * 2,
    *[_reduce] * 2,
    _softmax,
    _layer_norm,
    *[_move] * 4,
    _compare,
    *[_select] * 2,
    _logic,
    _integer,
    _count,
    _argmax,
    _lookup,
    _to_float,
]


def _cell(numbers, batch, weights, states, inputs):
    pool = Pool(Choices(list(numbers)), batch, weights)
    for value in [*states, *inputs]:
        pool.add(value)
    for _ in range(3 + pool.choices.below(14)):
        made = pool.choices.of(TABLE)(pool)
        if made is not None:
            pool.add(made)
    after = [_fitted(pool, s) for s in states]
    outputs = [pool.choices.of(pool.values) for _ in range(1 + pool.choices.below(2))]
    return after, outputs


def _fitted(pool, state):
    """The new value of a state: something that the cell made, with the shape of the state."""
    made = pool.choices.of(pool.values)
    if state.dtype.kind == "b":
        other = pool.pick("b", shape=state.shape)
        return jnp.logical_xor(state, other)
    if state.dtype.kind == "i":
        return (state + pool.pick("i", shape=state.shape)) % 6
    if made.dtype.kind != "f" or made.ndim < 2 or state.ndim < 2:
        same = pool.pick("f", shape=state.shape)
        return jnp.tanh(same + 0.5 * state)
    flat = made.reshape(made.shape[0], -1) @ pool.weight(made[0].size, state[0].size)
    return jnp.tanh(flat).reshape(state.shape)


def random_cell(numbers, rows=None):
    """A function with a scan over a random cell, and arguments for it.

    The function takes any number of rows; the arguments have as many as the numbers say, or `rows`.
    """
    choices = Choices(list(numbers[:8]))
    small = choices.of([3, 1, 2, 5, 9])
    batch = rows or small
    units = choices.of([4, 5, 8, 16, 7, 24])
    extra = choices.below(6)
    random = np.random.default_rng(int(sum(numbers)) % 2**32)

    def floats(*shape):
        return (random.standard_normal(shape) * 0.5).astype(np.float32)

    states = [floats(batch, units), np.arange(batch, dtype=np.int32)]
    if extra in (1, 2):
        states.append(floats(batch, 3, units))
    if extra in (2, 3):
        states.append(floats(batch) > 0)
    if extra in (4, 5):
        states.append(floats(batch, units + extra))
    inputs = [floats(STEPS, batch, units), floats(STEPS, batch) > 0]
    weights: list = []
    body = list(numbers[8:])
    first = ([jnp.asarray(s) for s in states], [jnp.asarray(x[0]) for x in inputs])
    jax.eval_shape(lambda: _cell(body, small, weights, *first))
    count, reverse, batch_first = len(states), bool(choices.below(2)), bool(choices.below(2))
    if batch_first:
        inputs = [np.swapaxes(x, 0, 1).copy() for x in inputs]

    def turned(values):
        return [jnp.swapaxes(v, 0, 1) if batch_first and v.ndim > 1 else v for v in values]

    def run(*arguments):
        own = list(arguments[count + len(inputs) :])

        def step(carry, xs):
            after, outputs = _cell(body, small, own, list(carry), list(xs))
            return tuple(after), tuple(outputs)

        xs = tuple(turned(arguments[count : count + len(inputs)]))
        last, outputs = lax.scan(step, tuple(arguments[:count]), xs, reverse=reverse)
        return last, turned(outputs)

    return run, [*states, *inputs, *weights]
