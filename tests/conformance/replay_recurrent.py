"""Replays the cases of `Recurrent`."""

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

from recurrent_iree._recurrent import Recurrent

ARRAYS = ("theta", "state0", "inputs", "extras", "max_input_length")


def replay(case: Case) -> None:
    """Run the call eagerly and with traced arguments, take the gradients, and compare."""
    function, arguments = _program(case)
    if case.raises:
        return check_raises(case, lambda: function(arguments))
    for run in (function, jax.jit(function)):
        result = run(arguments)
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
    call = only(case.call, {"cell_fn", "cell_grad", "use_tpu", *ARRAYS}, "call")
    assert call["cell_fn"] == Fn("cell")
    assert case.cell in CELLS, f"unknown cell {case.cell}"
    cell, needed, optional = CELLS[case.cell]
    settings = config(case, *needed, optional=optional)
    cell_grad = None if call["cell_grad"] is None else _cell_grad(call["cell_grad"], settings)

    def function(arguments: dict[str, Any]) -> dict[str, Any]:
        acc_state, final_state = Recurrent(
            cell_fn=lambda *args: cell(settings, *args),
            cell_grad=cell_grad,
            use_tpu=call["use_tpu"],
            **arguments,
        )
        return {"acc_state": acc_state, "final_state": final_state}

    return function, as_jax({name: call[name] for name in ARRAYS if name in call})


def _cell_grad(fn: Fn, settings: dict[str, Any]) -> Callable[..., tuple]:
    assert fn.name in GRADIENTS, f"unknown cell_grad {fn.name}"
    gradient, more = GRADIENTS[fn.name]
    only(fn.config, {"scale", "none", *more}, f"config of {fn.name}")
    scale, none = fn.config.get("scale", {}), set(fn.config.get("none", ()))
    used: set[str] = set()

    def edit(path: tuple, leaf: jax.Array) -> jax.Array | None:
        name = str(path[-1].key)
        used.add(name)
        return None if name in none else leaf * scale.get(name, 1)

    def cell_grad(theta, state, x, extras, d):
        result = gradient({**settings, **fn.config}, theta, state, x, extras, d)
        edited = jax.tree_util.tree_map_with_path(edit, result)
        unknown = ({*scale} | none) - used
        assert not unknown, f"{fn.name} has no leaves {sorted(unknown)}"
        return edited

    return cell_grad


def _polynomial(settings, theta, state, x):
    new = {"v": state["v"] + state["p"] * x["c"], "p": state["p"] * theta["x"]}
    return new, {"p_in": state["p"]} if settings.get("extras") else {}


def _elman(settings, theta, state, x):
    act = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh}[settings["activation"]]
    assert x["x"].shape[1] == settings["input_dim"]
    h = act(jnp.concatenate([x["x"], state["h"]], 1) @ theta["W"] + theta["b"])
    return {"h": h}, {"a": h}


def _elman_nested(settings, theta, state, x):
    (wx,), (wh, b) = theta["in"], theta["rec"]
    return [jnp.tanh(x[0] @ wx + state[0] @ wh + b)], []


def _lstm(settings, theta, state, x):
    z = jnp.concatenate([x["x"], state["h"]], 1) @ theta["W"] + theta["b"]
    zi, zg, zf, zo = jnp.split(z, 4, 1)
    i, g, o = jax.nn.sigmoid(zi), jnp.tanh(zg), jax.nn.sigmoid(zo)
    f = jax.nn.sigmoid(zf + settings["forget_bias"])
    c = f * state["c"] + i * g
    tc = jnp.tanh(c)
    return {"c": c, "h": o * tc}, {"i": i, "g": g, "f": f, "o": o, "tc": tc}


def _two_layer(settings, theta, state, x):
    below, new = x["x"], []
    for weights, layer in zip(theta["layers"], state, strict=True):
        joined = jnp.concatenate([below, layer["h"]], 1)
        below = jnp.tanh(joined @ weights["W"] + weights["b"])
        new.append({"h": below})
    return tuple(new), {}


def _int_leaf(settings, theta, state, x):
    v = state["v"] * theta["w"] + x["c"] * x["k"].astype(state["v"].dtype)
    return {"v": v, "n": state["n"] + x["k"]}, []


def _bool_leaf(settings, theta, state, x):
    new = {"v": jnp.where(x["m"], state["v"] * theta["w"] + x["x"], state["v"])}
    if settings["track"]:
        new["seen"] = state["seen"] | x["m"]
    return new, {}


def _multirank(settings, theta, state, x):
    a, b, c, d = (state[name] for name in "abcd")
    return {
        "a": 0.5 * a + x["s"],
        "b": jnp.tanh(b + x["v"] * a),
        "c": jnp.tanh(c @ theta["A"] + x["m"] * theta["w"] + b[:, None]),
        "d": 0.5 * d + x["q"] * c[:, :, None],
    }, {}


def _accumulate(settings, theta, state, x):
    return {"v": state["v"] + x["c"]}, []


def _fast_weights(settings, theta, state, x):
    x = x["x"]
    return {"A": theta["lam"] * state["A"] + theta["eta"] * x[:, :, None] * x[:, None, :]}, {}


def _hard(settings, theta, state, x):
    pre = x["x"] @ theta["W"] + state["s"] @ theta["U"]
    return {"s": jnp.where(pre > 0, 1.0, 0.0).astype(pre.dtype)}, {"pre": pre}


def _bad(settings, theta, state, x):
    q = state["v"] * theta["w"] + x["c"]
    return {
        "extra_key": {"v": q, "z": q},
        "missing_key": {"v": q},
        "dtype": {"v": q.astype(jnp.int32)},
        "shape": {"v": jnp.stack([q, q])},
    }[settings["kind"]], {}


def _matmul_gradients(theta, x, h, g):
    d_both = g @ theta["W"].T
    width = x.shape[1]
    d_theta = {"W": jnp.concatenate([x, h], 1).T @ g, "b": g.sum(0)}
    return d_theta, d_both[:, width:], d_both[:, :width]


def _elman_grad(settings, theta, state, x, extras, d):
    dh, a = d["h"], extras["a"]
    if "clip" in settings:
        dh = jnp.clip(dh, -settings["clip"], settings["clip"])
    g = dh * (a * (1 - a) if settings["activation"] == "sigmoid" else 1 - a * a)
    d_theta, d_h, d_x = _matmul_gradients(theta, x["x"], state["h"], g)
    return d_theta, {"h": d_h}, {"x": d_x}


def _lstm_grad(settings, theta, state, x, extras, d):
    i, g, f, o, tc = (extras[name] for name in ("i", "g", "f", "o", "tc"))
    dc = d["c"] + d["h"] * o * (1 - tc * tc)
    parts = [dc * g * i * (1 - i), dc * i * (1 - g * g), dc * state["c"] * f * (1 - f)]
    dz = jnp.concatenate([*parts, d["h"] * tc * o * (1 - o)], 1)
    d_theta, d_h, d_x = _matmul_gradients(theta, x["x"], state["h"], dz)
    return d_theta, {"c": dc * f, "h": d_h}, {"x": d_x}


def _polynomial_grad(settings, theta, state, x, extras, d):
    p = extras["p_in"] if settings.get("extras") else state["p"]
    d_state = {"v": d["v"], "p": d["v"] * x["c"] + d["p"] * theta["x"]}
    return {"x": d["p"] * p}, d_state, {"c": d["v"] * p}


def _straight_through(settings, theta, state, x, extras, d):
    g = jnp.where(jnp.abs(extras["pre"]) <= 1, d["s"], 0)
    d_theta = {"W": x["x"].T @ g, "U": state["s"].T @ g}
    return d_theta, {"s": g @ theta["U"].T}, {"x": g @ theta["W"].T}


# name: (function, required settings, optional settings)
CELLS: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "polynomial": (_polynomial, (), ("extras",)),
    "elman": (_elman, ("activation", "input_dim"), ()),
    "elman_nested": (_elman_nested, (), ()),
    "lstm": (_lstm, ("forget_bias",), ("input_dim",)),
    "two_layer": (_two_layer, (), ()),
    "int_leaf": (_int_leaf, (), ()),
    "bool_leaf": (_bool_leaf, ("track",), ()),
    "multirank": (_multirank, (), ()),
    "accumulate": (_accumulate, (), ()),
    "fast_weights": (_fast_weights, (), ()),
    "hard": (_hard, (), ()),
    "bad": (_bad, ("kind",), ()),
}
GRADIENTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "elman_grad": (_elman_grad, ("clip",)),
    "lstm_grad": (_lstm_grad, ()),
    "polynomial_grad": (_polynomial_grad, ()),
    "straight_through": (_straight_through, ()),
}
