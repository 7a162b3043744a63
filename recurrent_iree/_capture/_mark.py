"""Marking a loop of any length for the compiler.

`lax.composite` of JAX 0.10 leaves out the operands that stand for symbolic sizes, so its own
verifier refuses it. This primitive is the same with them; they count as constants of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Primitive, jaxpr_as_fun
from jax.interpreters import mlir

_marked = Primitive("recurrent_iree_marked")
_marked.multiple_results = True


def marked(
    function: Callable[..., tuple[Any, ...]],
    name: str,
    attributes: Mapping[str, Any],
    template: ClosedJaxpr | None = None,
) -> Callable[..., list[Any]]:
    """`function` as a composite called `name`; its attribute ``template`` names the other one."""

    def call(*args: Any) -> list[Any]:
        jaxpr = jax.make_jaxpr(function)(*args)
        given = tuple(sorted(attributes.items()))
        return _marked.bind(*args, jaxpr=jaxpr, name=name, attributes=given, template=template)

    return call


@_marked.def_impl
def _run(*args: Any, jaxpr: ClosedJaxpr, **_: Any) -> list[Any]:
    return jaxpr_as_fun(jaxpr)(*args)


@_marked.def_abstract_eval
def _shapes(*_args: Any, jaxpr: ClosedJaxpr, **_: Any) -> list[Any]:
    return jaxpr.out_avals


def _lower(
    ctx: mlir.LoweringRuleContext,
    *args: Any,
    jaxpr: ClosedJaxpr,
    name: str,
    attributes: tuple[tuple[str, Any], ...],
    template: ClosedJaxpr | None,
) -> Any:
    """A call as JAX lowers it, turned into a composite with the same operands."""
    ir = mlir.ir
    results = mlir.core_call_lowering(ctx, *args, name=name, call_jaxpr=jaxpr)
    call = results[0].owner
    given = dict(attributes)
    if "num_consts" in given:
        given["num_consts"] += len(ctx.dim_var_values)
    written = {key: mlir.ir_attribute(value) for key, value in given.items()}
    if template is not None:
        written["template"] = ir.FlatSymbolRefAttr.get(_function(ctx, template, f"{name}.template"))
    made = ir.Operation.create(
        "stablehlo.composite",
        results=[r.type for r in call.results],
        operands=list(call.operands),
        attributes={
            "name": ir.StringAttr.get(name),
            "decomposition": call.attributes["callee"],
            "composite_attributes": ir.DictAttr.get(written),
            "version": mlir.i32_attr(1),
        },
    )
    call.erase()
    return list(made.results)


def _function(ctx: mlir.LoweringRuleContext, jaxpr: ClosedJaxpr, name: str) -> str:
    """A function of the module that nothing calls; its symbol."""
    made = mlir.lower_jaxpr_to_fun(
        ctx.module_context, name, jaxpr, (), num_const_args=0, in_avals=jaxpr.in_avals
    )
    return made.name.value


mlir.register_lowering(_marked, _lower)
