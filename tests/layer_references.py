"""Float64 references in plain NumPy, one row and one step at a time."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def simple_rnn_step(weights, x, states):
    kernel, recurrent, bias = weights
    h = np.tanh(x @ kernel + states[0] @ recurrent + bias)
    return h, [h]


def lstm_step(weights, x, states, gate=sigmoid):
    kernel, recurrent, bias = weights
    h, c = states
    i, f, g, o = np.split(x @ kernel + h @ recurrent + bias, 4, axis=-1)
    c = gate(f) * c + gate(i) * np.tanh(g)
    h = gate(o) * np.tanh(c)
    return h, [h, c]


def gru_step(weights, x, states, gate=sigmoid):
    kernel, recurrent, bias = weights
    (h,) = states
    kz, kr, kh = np.split(kernel, 3, axis=-1)
    rz, rr, rh = np.split(recurrent, 3, axis=-1)
    if bias.ndim == 2:
        bz, br, bh = np.split(bias[0], 3)
        cz, cr, ch = np.split(bias[1], 3)
        r = gate(x @ kr + br + h @ rr + cr)
        q = np.tanh(x @ kh + bh + r * (h @ rh + ch))
    else:
        bz, br, bh = np.split(bias, 3)
        cz = 0
        r = gate(x @ kr + br + h @ rr)
        q = np.tanh(x @ kh + bh + (r * h) @ rh)
    z = gate(x @ kz + bz + h @ rz + cz)
    h = z * h + (1 - z) * q
    return h, [h]


def convolve(image, kernel, stride=1, dilation=1, same=False):
    """``image [rows, columns, channels]`` with ``kernel [rows, columns, channels, filters]``."""
    span = [dilation * (size - 1) + 1 for size in kernel.shape[:2]]
    if same:
        pads = []
        for size, width in zip(image.shape[:2], span, strict=True):
            total = max((-(-size // stride) - 1) * stride + width - size, 0)
            pads.append((total // 2, total - total // 2))
        image = np.pad(image, [*pads, (0, 0)])
    sizes = [(n - width) // stride + 1 for n, width in zip(image.shape[:2], span, strict=True)]
    out = np.zeros((*sizes, kernel.shape[-1]))
    for row in range(sizes[0]):
        for column in range(sizes[1]):
            top, left = row * stride, column * stride
            patch = image[top : top + span[0] : dilation, left : left + span[1] : dilation]
            out[row, column] = np.tensordot(patch, kernel, 3)
    return out


def conv_lstm_step(weights, x, states, stride=1, dilation=1, same=False):
    kernel, recurrent, bias = weights
    h, c = states
    z = convolve(x, kernel, stride, dilation, same) + bias + convolve(h, recurrent, same=True)
    i, f, g, o = np.split(z, 4, axis=-1)
    c = hard_sigmoid(f) * c + hard_sigmoid(i) * np.tanh(g)
    h = hard_sigmoid(o) * np.tanh(c)
    return h, [h, c]


def run_row(step, weights, row, states, mask=None, backwards=False, reset=None):
    """Outputs in processing order, and final states, of one row under the rule of r2.4."""
    weights = [weight.astype(np.float64) for weight in weights]
    first = [np.asarray(state, np.float64) for state in states]
    states, previous, outputs = first, None, []
    times = range(len(row))[::-1] if backwards else range(len(row))
    for t in times:
        if reset is not None and reset[t]:
            states, previous = [np.zeros_like(state) for state in first], None
        output, new_states = step(weights, row[t].astype(np.float64), states)
        if mask is None or mask[t]:
            states, previous = new_states, output
        outputs.append(np.zeros_like(output) if previous is None else previous)
    return np.stack(outputs), states


def run(step, weights, inputs, states, mask=None, backwards=False, reset=None):
    """`run_row` for every row: ``(outputs [batch, time, …], states)``."""
    rows = [
        run_row(
            step,
            weights,
            inputs[b],
            [state[b] for state in states],
            None if mask is None else mask[b],
            backwards,
            None if reset is None else reset[b],
        )
        for b in range(len(inputs))
    ]
    outputs = np.stack([outputs for outputs, _ in rows])
    return outputs, [np.stack(parts) for parts in zip(*(s for _, s in rows), strict=True)]
