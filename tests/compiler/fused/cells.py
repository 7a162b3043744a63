"""Recurrences with names: each gives a function of JAX arrays and arguments for given sizes."""

import jax
import jax.numpy as jnp
import numpy as np
from compiler.fused.running import normals, together
from jax import lax
from jax.nn import sigmoid

STEPS, FEATURES = 5, 6


def _lstm_cell(z, h, c):
    i, f, g, o = jnp.split(z, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def lstm(make, batch, units):
    def run(x, w, u, b, h, c):
        def step(state, x):
            h, c = state
            h, c = _lstm_cell(x @ w + h @ u + b, h, c)
            return (h, c), h

        return lax.scan(step, (h, c), x)

    gates = 4 * units
    return run, [
        make(STEPS, batch, FEATURES),
        make(FEATURES, gates),
        make(units, gates),
        make(gates),
        make(batch, units),
        make(batch, units),
    ]


def gru_reset_after(make, batch, units):
    def run(x, w, u, b, h):
        def step(h, x):
            xr, xz, xn = jnp.split(x @ w, 3, -1)
            hr, hz, hn = jnp.split(h @ u + b, 3, -1)
            z = sigmoid(xz + hz)
            h = z * h + (1 - z) * jnp.tanh(xn + sigmoid(xr + hr) * hn)
            return h, h

        return lax.scan(step, h, x)

    gates = 3 * units
    x = make(STEPS, batch, FEATURES)
    return run, [x, make(FEATURES, gates), make(units, gates), make(gates), make(batch, units)]


def gru_reset_before(make, batch, units):
    def run(x, w, u, v, h):
        def step(h, x):
            gates, new = jnp.split(x @ w, [2 * units], -1)
            r, z = jnp.split(sigmoid(gates + h @ u), 2, -1)
            h = z * h + (1 - z) * jnp.tanh(new + (r * h) @ v)
            return h, h

        return lax.scan(step, h, x)

    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, 3 * units), make(units, 2 * units), make(units, units)]
    return run, [x, *weights, make(batch, units)]


def simple_rnn(make, batch, units, reverse=False):
    def run(x, w, u, b, h):
        def step(h, x):
            h = jnp.tanh(x @ w + h @ u + b)
            return h, h

        return lax.scan(step, h, x, reverse=reverse)

    x = make(STEPS, batch, FEATURES)
    return run, [x, make(FEATURES, units), make(units, units), make(units), make(batch, units)]


def simple_rnn_reverse(make, batch, units):
    return simple_rnn(make, batch, units, reverse=True)


def peephole_lstm(make, batch, units):
    def run(x, w, u, p, h, c):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x @ w + h @ u, 4, -1)
            c_new = sigmoid(f + p[0] * c + 1) * c + sigmoid(i + p[1] * c) * jnp.tanh(g)
            h = sigmoid(o + p[2] * c_new) * jnp.tanh(c_new)
            return (h, c_new), h

        return lax.scan(step, (h, c), x)

    gates = 4 * units
    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, gates), make(units, gates), make(3, units)]
    return run, [x, *weights, make(batch, units), make(batch, units)]


def _normalised(x, scale, shift):
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) * lax.rsqrt(jnp.var(x, -1, keepdims=True) + 1e-3) * scale + shift


def layer_norm_lstm(make, batch, units):
    def run(x, w, u, s1, b1, s2, b2, h, c):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(_normalised(x @ w + h @ u, s1, b1), 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(_normalised(c, s2, b2))
            return (h, c), h

        return lax.scan(step, (h, c), x)

    gates = 4 * units
    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, gates), make(units, gates), make(gates), make(gates)]
    return run, [x, *weights, make(units), make(units), make(batch, units), make(batch, units)]


def coupled_gates(make, batch, units):
    def run(x, w, u, h, c):
        def step(state, x):
            h, c = state
            f, g, o = jnp.split(x @ w + h @ u, 3, -1)
            f = sigmoid(f)
            c = f * c + (1 - f) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(step, (h, c), x)

    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, 3 * units), make(units, 3 * units)]
    return run, [x, *weights, make(batch, units), make(batch, units)]


def minimal_gated(make, batch, units):
    def run(x, w, v, u, r, h):
        def step(h, x):
            f = sigmoid(x @ w + h @ u)
            h = (1 - f) * h + f * jnp.tanh(x @ v + (f * h) @ r)
            return h, h

        return lax.scan(step, h, x)

    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, units), make(FEATURES, units), make(units, units)]
    return run, [x, *weights, make(units, units), make(batch, units)]


def sru(make, batch, units):
    def run(x, w, v, c):
        def step(c, x):
            z, f, r = jnp.split(x @ w, 3, -1)
            f, r = sigmoid(f + v[0] * c), sigmoid(r + v[1] * c)
            c = f * c + (1 - f) * z
            return c, r * jnp.tanh(c) + (1 - r) * z

        return lax.scan(step, c, x)

    x = make(STEPS, batch, FEATURES)
    return run, [x, make(FEATURES, 3 * units), make(2, units), make(batch, units)]


def leaky_integrator(make, batch, units):
    def run(x, w, u, a, h):
        def step(h, x):
            h = (1 - a) * h + a * jax.nn.relu(x @ w + h @ u)
            return h, h.sum(-1)

        return lax.scan(step, h, x)

    x = make(STEPS, batch, FEATURES)
    return run, [x, make(FEATURES, units), make(units, units), make(units), make(batch, units)]


def additive_attention(make, batch, units):
    def run(x, w, u, q, v, keys, values, h):
        def step(h, x):
            energy = jnp.tanh(keys + (h @ q)[:, None, :]) @ v
            weights = jax.nn.softmax(energy, -1)
            context = jnp.einsum("bs,bsd->bd", weights, values)
            h = jnp.tanh(x @ w + h @ u + context)
            return h, (h, weights)

        return lax.scan(step, h, x)

    x = make(STEPS, batch, FEATURES)
    weights = [make(FEATURES, units), make(units, units), make(units, units), make(units)]
    memory = [make(batch, 7, units), make(batch, 7, units)]
    return run, [x, *weights, *memory, make(batch, units)]


def many_heads(make, batch, units):
    def run(x, w, u, q, keys, values, h):
        def step(h, x):
            query = (h @ q).reshape(batch, 2, units)
            weights = jax.nn.softmax(jnp.einsum("bnd,bsnd->bns", query, keys), -1)
            context = jnp.einsum("bns,bsnd->bnd", weights, values).reshape(batch, 2 * units)
            h = jnp.tanh(x @ w + jnp.concatenate([h, context], -1) @ u)
            return h, h

        return lax.scan(step, h, x)

    x, wide = make(STEPS, batch, FEATURES), 2 * units
    weights = [make(FEATURES, wide), make(2 * wide, wide), make(wide, wide)]
    memory = [make(batch, 7, 2, units), make(batch, 7, 2, units)]
    return run, [x, *weights, *memory, make(batch, wide)]


def two_layers(make, batch, units):
    def run(x, w, u, w2, u2, h1, c1, h2, c2):
        def step(state, x):
            (h1, c1), (h2, c2) = state
            first = _lstm_cell(x @ w + h1 @ u, h1, c1)
            second = _lstm_cell(first[0] @ w2 + h2 @ u2, h2, c2)
            return (first, second), second[0]

        return lax.scan(step, ((h1, c1), (h2, c2)), x)

    gates = 4 * units
    weights = [make(FEATURES, gates), *(make(units, gates) for _ in range(3))]
    return run, [
        make(STEPS, batch, FEATURES),
        *weights,
        *(make(batch, units) for _ in range(4)),
    ]


def masked(make, batch, units):
    def run(x, mask, w, u, h, previous):
        def step(state, inputs):
            h, previous = state
            x, keep = inputs
            new, keep = jnp.tanh(x @ w + h @ u), keep[:, None]
            h, previous = jnp.where(keep, new, h), jnp.where(keep, new, previous)
            return (h, previous), previous

        return lax.scan(step, (h, previous), (x, mask))

    mask = make(STEPS, batch) > -0.1
    weights = [make(FEATURES, units), make(units, units)]
    return run, [
        make(STEPS, batch, FEATURES),
        mask,
        *weights,
        make(batch, units),
        make(batch, units),
    ]


def finishing(make, batch, units):
    """Bool and integer states, and a step counter that has no batch axis."""

    def run(x, w, u, h, count, done):
        def step(state, x):
            h, count, done, time = state
            new = jnp.tanh(x @ w + h @ u * jnp.where(time % 2 == 0, 1.0, 0.5))
            now_done = done | (new.sum(-1) > 1.0)
            h = jnp.where(now_done[:, None], h, new)
            count = count + jnp.where(now_done, 0, 1).astype(count.dtype)
            return (h, count, now_done, time + 1), (h, count % 3, now_done, time)

        return lax.scan(step, (h, count, done, jnp.int32(0)), x)

    weights = [make(FEATURES, units), make(units, units)]
    states = [make(batch, units), np.arange(batch, dtype=np.int32), make(batch) > 0.4]
    return run, [make(STEPS, batch, FEATURES), *weights, *states]


def greedy_decoder(make, batch, units):
    def run(table, u, v, h, token):
        def step(state, _):
            h, token = state
            h = jnp.tanh(table[token] + h @ u)
            logits = h @ v
            token = jnp.argmax(logits, -1).astype(jnp.int32)
            return (h, token), (token, logits)

        return lax.scan(step, (h, token), None, length=STEPS)

    tokens = np.arange(batch, dtype=np.int32)
    return run, [make(11, units), make(units, units), make(units, 11), make(batch, units), tokens]


def no_batch(make, batch, units):
    def run(x, w, u, h, c):
        def step(state, x):
            h, c = _lstm_cell(w @ x + u @ state[0], *state)
            return (h, c), h

        return lax.scan(step, (h, c), x)

    weights = [make(4 * units, FEATURES), make(4 * units, units)]
    return run, [make(STEPS, FEATURES), *weights, make(units), make(units)]


def by_vmap(make, batch, units):
    alone, arguments = no_batch(make, batch, units)

    def run(x, w, u, h, c):
        return jax.vmap(alone, in_axes=(0, None, None, 0, 0))(x, w, u, h, c)

    x = make(batch, STEPS, FEATURES)
    return run, [x, *arguments[1:3], make(batch, units), make(batch, units)]


def batch_norm(make, batch, units):
    """Rows depend on each other, so there is no batch axis to split."""

    def run(x, w, u, h):
        def step(h, x):
            z = x @ w + h @ u
            h = jnp.tanh((z - z.mean(0)) / (z.std(0) + 0.1))
            return h, h

        return lax.scan(step, h, x)

    x = make(STEPS, batch, FEATURES)
    return run, [x, make(FEATURES, units), make(units, units), make(batch, units)]


def fast_weights(make, batch, units):
    """A matrix as state: outer products in, products with it out."""

    def run(x, w, u, h, memory):
        def step(state, x):
            h, memory = state
            memory = 0.9 * memory + 0.5 * h[:, :, None] * h[:, None, :]
            h = jnp.tanh(x @ w + h @ u + jnp.einsum("bij,bj->bi", memory, h))
            return (h, memory), h

        return lax.scan(step, (h, memory), x)

    weights = [make(FEATURES, units), make(units, units)]
    states = [make(batch, units), make(batch, units, units)]
    return run, [make(STEPS, batch, FEATURES), *weights, *states]


def ring_buffer(make, batch, units):
    """A state that is written at an index that moves."""

    def run(x, w, u, h, ring):
        def step(state, x):
            h, ring, at = state
            ring = lax.dynamic_update_slice(ring, h[:, None, :], (0, at, 0))
            old = lax.dynamic_slice(ring, (0, (at + 1) % 4, 0), (batch, 1, units))[:, 0]
            h = jnp.tanh(x @ w + old @ u)
            return (h, ring, (at + 1) % 4), h

        return lax.scan(step, (h, ring, jnp.int32(0)), x)

    weights = [make(FEATURES, units), make(units, units)]
    states = [make(batch, units), make(batch, 4, units)]
    return run, [make(STEPS, batch, FEATURES), *weights, *states]


def shuffled(make, batch, units):
    """Reverse, roll, pad, transpose, strided slices and a running product."""

    def run(x, w, u, h):
        def step(h, x):
            z = x @ w + h @ u
            square = jnp.swapaxes(z.reshape(batch, 2, units), 1, 2) * 2
            parts = [
                jnp.flip(z, -1),
                jnp.roll(z, 1, -1),
                jnp.pad(z[:, 1:], ((0, 0), (0, 1)), constant_values=0.5),
                jnp.repeat(z[:, ::2], 2, -1),
                square.reshape(batch, -1),
                jnp.prod(1 + z, -1, keepdims=True) + z,
                jnp.swapaxes(square, 1, 2).max(2, keepdims=True).repeat(units, 2).reshape(z.shape),
            ]
            return jnp.tanh(sum(parts)), tuple(parts)

        return lax.scan(step, h, x)

    x, wide = make(STEPS, batch, FEATURES), 2 * units
    return run, [x, make(FEATURES, wide), make(wide, wide), make(batch, wide)]


ALL = [
    lstm,
    gru_reset_after,
    gru_reset_before,
    simple_rnn,
    simple_rnn_reverse,
    peephole_lstm,
    layer_norm_lstm,
    coupled_gates,
    minimal_gated,
    sru,
    leaky_integrator,
    additive_attention,
    many_heads,
    two_layers,
    masked,
    finishing,
    greedy_decoder,
    no_batch,
    by_vmap,
    batch_norm,
    fast_weights,
    ring_buffer,
    shuffled,
]


def several_sizes(cell, sizes, seed=0):
    """One function of all arguments that runs `cell` at each ``(batch, units)``."""
    return together([cell(normals(seed), batch, units) for batch, units in sizes])
