"""The one table of recurrent programs and targets that every cross-cutting test runs over.

A row is a program a user might write. `tests/integration/test_programs.py` compiles each row for
each target and compares it with JAX; `test_table.py` fails if an authoring API has no row.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import recurrent_iree as ri

B, D, H = 2, 3, 5
X = ri.spec("batch=2", "time=?", D)
FIXED = ri.spec("batch=2", "time=6", D)


@dataclass(frozen=True)
class Row:
    """One program: how to make it, its specs, and the sizes to run it at.

    Attributes:
        make: returns the callable or layer.
        specs: the positional arguments of `recurrent_iree.compile`.
        keywords: its keyword arguments.
        sizes: the sizes of the named dims in each call of the tests.
        streams: whether it can be run step by step.
        api: the authoring API that it stands for.
        rtol, atol: how far a target may be from XLA.
    """

    name: str
    make: Callable[[], Callable[..., Any]]
    specs: tuple[Any, ...] = (X,)
    keywords: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[dict[str, int], ...] = ({"batch": 2, "time": 1}, {"batch": 2, "time": 11})
    streams: bool = True
    api: str = "lax.scan"
    rtol: float = 1e-4
    atol: float = 1e-5


TARGETS = ("cpu", "vulkan:llvmpipe", "vmvx", "xla")


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.4).astype(np.float32)


def over_time(step: Callable[..., Any], init: Callable[[int], Any], **options: Any) -> Any:
    """A program over batch-major inputs that scans `step` along time."""

    def program(x: Any) -> Any:
        _, y = lax.scan(step, init(x.shape[0]), jnp.swapaxes(x, 0, 1), **options)
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), y)

    return program


def zeros(width: int = H) -> Callable[[int], Any]:
    return lambda batch: jnp.zeros((batch, width))


def elman(**options: Any) -> Any:
    w, u = normal(D, H), normal(H, H, seed=1)

    def step(h: Any, x: Any) -> Any:
        h = jnp.tanh(x @ w + h @ u)
        return h, h

    return over_time(step, zeros(), **options)


def leaky_integrator() -> Any:
    w = normal(D, H)
    return over_time(lambda h, x: (0.9 * h + x @ w, jnp.tanh(h)), zeros())


def layer_norm_cell() -> Any:
    w, u = normal(D, H), normal(H, H, seed=1)

    def step(h: Any, x: Any) -> Any:
        z = x @ w + h @ u
        z = (z - z.mean(-1, keepdims=True)) * lax.rsqrt(z.var(-1, keepdims=True) + 1e-5)
        h = jnp.tanh(z)
        return h, h

    return over_time(step, zeros())


def counter() -> Any:
    """An integer and a boolean state, and outputs of three dtypes."""

    def step(carry: Any, x: Any) -> Any:
        count, seen = carry
        count = count + (x[:, 0] > 0).astype(jnp.int32)
        seen = seen | (x[:, 1] > 0.5)
        return (count, seen), {"count": count, "seen": seen, "x": x}

    def init(batch: int) -> Any:
        return jnp.zeros(batch, jnp.int32), jnp.zeros(batch, bool)

    return over_time(step, init)


def attention() -> Callable[..., Any]:
    """A cell that attends over constants of each row."""
    u, q = normal(H, H), normal(D, H, seed=1)

    def program(x: Any, memory: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            scores = jnp.einsum("bmh,bh->bm", memory, h @ u + v @ q)
            h = jnp.tanh(jnp.einsum("bm,bmh->bh", jax.nn.softmax(scores), memory) + h)
            return h, h

        _, y = lax.scan(step, jnp.zeros((x.shape[0], H)), jnp.swapaxes(x, 0, 1))
        return jnp.swapaxes(y, 0, 1)

    return program


def masked_rnn() -> Callable[..., Any]:
    w, u = normal(D, H), normal(H, H, seed=1)

    def program(x: Any, mask: Any) -> Any:
        def step(v: Any, states: Any) -> Any:
            h = jnp.tanh(v @ w + states[0] @ u)
            return h, [h]

        return ri.rnn(step, x, [jnp.zeros((x.shape[0], H))], mask=mask)

    return program


def recurrent() -> Callable[..., Any]:
    theta = {"w": normal(D, H), "u": normal(H, H, seed=1)}

    def cell(theta: Any, state: Any, inputs: Any) -> Any:
        return {"h": jnp.tanh(inputs["x"] @ theta["w"] + state["h"] @ theta["u"])}, {}

    def program(theta: Any, x: Any) -> Any:
        state0 = {"h": jnp.zeros((x.shape[0], H))}
        return ri.Recurrent(theta, state0, {"x": jnp.swapaxes(x, 0, 1)}, cell)

    return lambda x: program(theta, x)


class _Decoder:
    """A cell of `raw_rnn` whose state is its output."""

    state_size = output_size = H

    def __init__(self) -> None:
        self.u = normal(H, H)

    def __call__(self, inputs: Any, state: Any) -> Any:
        state = jnp.tanh(inputs + state @ self.u)
        return state, state


def raw_rnn_decoder() -> Callable[..., Any]:
    """Feeds its output back and ends each row when a unit is large."""

    def program(start: Any) -> Any:
        def loop_fn(time: Any, output: Any, state: Any, loop_state: Any) -> Any:
            if output is None:
                finished = jnp.zeros(start.shape[0], bool)
                return finished, start, jnp.zeros_like(start), None, jnp.int32(0)
            return (output[:, 0] > 0.5) | (time >= 6), output, state, output, loop_state + 1

        emitted, state, steps = ri.raw_rnn(_Decoder(), loop_fn, max_steps=8)
        return emitted.stack(), state, steps

    return program


def flax_lstm() -> Callable[..., Any]:
    from flax import linen as nn

    module = nn.RNN(nn.LSTMCell(H))
    params = module.init(jax.random.key(0), jnp.zeros((B, 4, D)))
    return lambda x: module.apply(params, x)


def haiku_gru() -> Callable[..., Any]:
    import haiku as hk

    def unroll(x: Any) -> Any:
        core = hk.GRU(H)
        return hk.dynamic_unroll(core, jnp.swapaxes(x, 0, 1), core.initial_state(x.shape[0]))[0]

    transformed = hk.without_apply_rng(hk.transform(unroll))
    params = transformed.init(jax.random.key(0), jnp.zeros((B, 4, D)))
    return lambda x: jnp.swapaxes(transformed.apply(params, x), 0, 1)


def equinox_gru() -> Callable[..., Any]:
    import equinox as eqx

    cell = eqx.nn.GRUCell(D, H, key=jax.random.key(0))

    def one(xs: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = cell(v, h)
            return h, h

        return lax.scan(step, jnp.zeros(H), xs)[1]

    return jax.vmap(one)


def layer(name: str, *args: Any, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(ri.layers, name)(*args, **options)


def stack() -> Any:
    return ri.layers.Sequential(
        [
            ri.layers.LSTM(H, return_sequences=True),
            ri.layers.GRU(4, return_sequences=True),
            ri.layers.Dense(2, activation="softmax"),
        ]
    )


def classifier() -> Any:
    return ri.layers.Sequential([ri.layers.GRU(H), ri.layers.Dense(3)])


def stacked_cells() -> Any:
    cells = [ri.layers.LSTMCell(H), ri.layers.GRUCell(4)]
    return ri.layers.RNN(cells, return_sequences=True, return_state=True)


def gradient() -> Callable[..., Any]:
    """The gradient of a loss through a recurrence: a scan forward and one backward."""
    program = elman()

    def loss(x: Any) -> Any:
        return jnp.sum(program(x) ** 2)

    return jax.grad(loss)


MASK = ri.spec("batch=2", "time=?", dtype="bool")
_FIXED_SIZES = ({"batch": 2, "time": 6},)

ROWS = (
    Row("elman", elman),
    Row("elman_reverse", lambda: elman(reverse=True), (FIXED,), sizes=_FIXED_SIZES, streams=False),
    Row(
        "elman_long",
        elman,
        (ri.spec("batch=2", "time=200", D),),
        sizes=({"batch": 2, "time": 200},),
    ),
    Row("leaky_integrator", leaky_integrator),
    Row("layer_norm_cell", layer_norm_cell),
    Row("counter", counter),
    Row("attention", attention, (X, ri.spec("batch=2", 4, H))),
    Row("gradient", gradient, (FIXED,), sizes=_FIXED_SIZES, streams=False),
    Row("flax_lstm", flax_lstm),
    Row("haiku_gru", haiku_gru),
    Row("equinox_gru", equinox_gru),
    Row("rnn_masked", masked_rnn, (X, MASK), api="rnn"),
    Row("recurrent", recurrent, api="Recurrent"),
    Row(
        "raw_rnn_decoder",
        raw_rnn_decoder,
        (ri.spec("batch=2", H),),
        sizes=({"batch": 2},),
        streams=False,
        api="raw_rnn",
    ),
    Row("lstm", layer("LSTM", H, return_sequences=True), api="LSTM"),
    Row("lstm_last_state", layer("LSTM", H, return_state=True), api="LSTM"),
    Row("gru", layer("GRU", H, return_sequences=True), api="GRU"),
    Row("gru_masked", layer("GRU", H, return_sequences=True), (X,), {"mask": MASK}, api="GRU"),
    Row("simple_rnn", layer("SimpleRNN", H, return_sequences=True), api="SimpleRNN"),
    Row(
        "simple_rnn_backwards",
        layer("SimpleRNN", H, return_sequences=True, go_backwards=True),
        (FIXED,),
        sizes=_FIXED_SIZES,
        streams=False,
        api="SimpleRNN",
    ),
    Row("stacked_cells", stacked_cells, api="RNN"),
    Row("stack", stack, api="Sequential"),
    Row(
        "classifier",
        classifier,
        (ri.spec("batch=1|3", "time=5|8", D),),
        sizes=({"batch": 1, "time": 8}, {"batch": 3, "time": 5}),
        api="Sequential",
    ),
    Row(
        "dense",
        layer("Dense", 4, activation="tanh"),
        (ri.spec("batch=1|7", D),),
        sizes=({"batch": 1}, {"batch": 7}),
        streams=False,
        api="Dense",
    ),
)

BY_NAME = {row.name: row for row in ROWS}
