"""Replays the cases of `rnn` (rnn_r2_4) and `rnn_r1_1`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from conformance.cases import (
    Case,
    Fn,
    as_jax,
    check_equal,
    check_gradients,
    check_raises,
    config,
    only,
)

from recurrent_iree._rnn import rnn, rnn_r1_1

STATIC = ("go_backwards", "unroll", "time_major", "zero_output_for_mask")
ARRAYS = ("inputs", "initial_states", "mask", "constants", "input_length")


def replay(case: Case) -> None:
    """Run the call, loop and gradients, and compare."""
    function, arguments = _program(case)
    if case.raises:
        return check_raises(case, lambda: function(arguments))
    result = function(arguments)
    only(case.expect, result, "expect")
    check_equal(result, case.expect, case.rtol, case.atol)
    if case.gradients:
        check_gradients(case, jax.jit(function), arguments)


def forward_program(case: Case) -> tuple[Callable[..., list], list] | None:
    """A function of arrays that gives the leaves of `forward_expected`, and its arguments."""
    if case.raises:
        return None
    function, arguments = _program(case)
    leaves, structure = jax.tree.flatten(arguments)

    def program(*leaves: jax.Array) -> list:
        return jax.tree.leaves(function(jax.tree.unflatten(structure, leaves)))

    return program, leaves


def forward_expected(case: Case) -> list:
    """The expected results of `forward_program`, flat."""
    return jax.tree.leaves(case.expect)


def _program(case: Case) -> tuple[Callable[[dict[str, Any]], dict[str, Any]], dict[str, Any]]:
    call = only(case.call, {"step_function", *ARRAYS, *STATIC}, "call")
    assert call["step_function"] == Fn("cell")
    static = {name: call[name] for name in STATIC if name in call}
    if isinstance(call.get("input_length"), int):
        static["input_length"] = call["input_length"]
    arrays = {name: call[name] for name in ARRAYS if name in call and name not in static}
    arrays["constants"] = call["constants"] or []
    api = rnn_r1_1 if case.api == "rnn_r1_1" else rnn

    def function(arguments: dict[str, Any]) -> dict[str, Any]:
        given = dict(arguments)
        step = _step_function(case, given.pop("params"))
        last, outputs, states = api(step, **given, **static)
        return {"last_output": last, "outputs": outputs, "new_states": states}

    return function, as_jax({"params": case.cell_config.get("params", {}), **arrays})


def _step_function(case: Case, p: dict[str, jax.Array]) -> Callable[[Any, list], tuple[Any, list]]:
    assert case.cell in STEPS, f"unknown cell {case.cell}"
    step, keys = STEPS[case.cell]
    settings = {k: v for k, v in config(case, "params", *keys).items() if k != "params"}
    return lambda x, s: step(p, x, s, **settings)


def _elman(p, x, s):
    h = jnp.tanh(x @ p["W"] + s[0] @ p["U"] + p["b"])
    return h, [h]


def _lstm(p, x, s):
    h, c = s
    i, f, g, o = jnp.split(x @ p["W"] + h @ p["U"] + p["b"], 4, axis=1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return h, [h, c]


def _counter(p, x, s):
    return x, [s[0] + 1]


def _wider(p, x, s):
    h, a = s
    h = jnp.tanh(x @ p["W"] + h @ p["U"] + 0.1 * a.sum(1)[:, None])
    return h, [h, 0.9 * a + x @ p["V"]]


def _stateless(p, x, s):
    return x @ p["W"], []


def _const_affine(p, x, s):
    h, c0, c1 = s
    h = jnp.tanh(h * c0 + x @ p["W"] + c1)
    return h, [h]


def _pair_input(p, x, s, *, container):
    assert container in ("dict", "tuple")
    a, b = (x["a"], x["b"]) if container == "dict" else x
    h = jnp.tanh(a @ p["Wa"] + b @ p["Wb"] + s[0] @ p["U"])
    return h, [h]


def _nested_all(p, x, s):
    a, b = x[0], x[1]["b"]
    new = jnp.tanh(a @ p["Wa"] + s[0]["p"] @ p["U"])
    return {"y": 2 * new, "z": (s[0]["q"],)}, [{"p": new, "q": s[0]["q"] + b @ p["Wb"]}]


def _leaky_nd(p, x, s, *, gain, decay):
    h = jnp.tanh(gain * x + decay * s[0])
    return h, [h]


def _split_nd(p, x, s, *, gain, decay):
    return gain * x + s[0], [decay * s[0] + x]


def _lift_rank(p, x, s):
    return x[:, :, None] * p["w"], [s[0] + x.sum(1)[:, None]]


STEPS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "elman": (_elman, ()),
    "lstm": (_lstm, ()),
    "counter": (_counter, ()),
    "wider": (_wider, ()),
    "stateless": (_stateless, ()),
    "const_affine": (_const_affine, ()),
    "pair_input": (_pair_input, ("container",)),
    "nested_all": (_nested_all, ()),
    "leaky_nd": (_leaky_nd, ("gain", "decay")),
    "split_nd": (_split_nd, ("gain", "decay")),
    "lift_rank": (_lift_rank, ()),
}
