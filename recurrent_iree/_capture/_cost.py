"""How much work a jaxpr is, estimated from its shapes."""

from __future__ import annotations

import math
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def estimate(jaxpr: Jaxpr | ClosedJaxpr) -> dict[str, float]:
    """``flops`` and ``bytes`` touched by one evaluation; loops of unknown length count once."""
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    flops = touched = 0.0
    for eqn in inner.eqns:
        size = sum(_size(v.aval) for v in eqn.outvars)
        moved = sum(_bytes(v.aval) for v in [*eqn.invars, *eqn.outvars])
        parts = [estimate(sub) for sub in _bodies(eqn.params)]
        if parts:
            times = eqn.params.get("length", 1) or 1
            flops += times * sum(p["flops"] for p in parts)
            touched += times * sum(p["bytes"] for p in parts)
        else:
            flops += size * _per_element(eqn)
            touched += moved
    return {"flops": flops, "bytes": touched}


def _bodies(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        values = value if isinstance(value, (tuple, list)) else (value,)
        found.extend(v for v in values if isinstance(v, (Jaxpr, ClosedJaxpr)))
    return found


def _per_element(eqn: Any) -> float:
    if eqn.primitive.name == "dot_general":
        (contracting, _), _ = eqn.params["dimension_numbers"]
        return 2.0 * math.prod(_static(eqn.invars[0].aval.shape[d]) for d in contracting)
    if eqn.primitive.name == "conv_general_dilated":
        kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
        return 2.0 * math.prod(_static(d) for d in kernel) / max(1, min(map(_static, out)))
    return 1.0


def _size(aval: Any) -> float:
    return float(math.prod(_static(d) for d in getattr(aval, "shape", ())))


def _bytes(aval: Any) -> float:
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 4)
    return _size(aval) * itemsize


def _static(size: Any) -> int:
    return size if isinstance(size, int) else 1
