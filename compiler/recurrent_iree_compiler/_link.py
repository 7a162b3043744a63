"""The linker: the functions of a program as one module, with weights as parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from recurrent_iree_runtime import ArgumentError, CompileError, Function, UnsupportedError

from ._mlir import Module, ir
from ._plan import rename_templates
from ._portable import stablehlo_text
from ._program import Program
from ._signature import Signature, Value, signature_of, weight_values

SCOPE = "weights"


def link(program: Program, abi: Mapping[str, str], without: Collection[str] = ()) -> Module:
    """One module with a public function for each symbol of the program but those `without`.

    `abi` maps dtypes to the dtypes that they have at the edge of the module.

    Each public function loads the weights, converts what has another dtype at the edge, and calls
    the private function that the program gave. Symbols of its source get the prefix ``SYMBOL$.``.

    Raises:
        ArgumentError: the name of a weight has a quote, a backslash or a control character.
        CompileError: a source cannot be read, or does not fit its signature.
        UnsupportedError: a function returns an argument as it is.
    """
    context = ir.Context()
    with context, ir.Location.unknown():
        module = ir.Module.create()
        weights = weight_values(program, abi)
        sources: list[Module] = []
        lines = [_global(i, weight) for i, weight in enumerate(weights)]
        for entry in program.entries:
            for function in (f for f in entry.functions if f.symbol not in without):
                signature = signature_of(program, entry, function, abi)
                source = _read(program, function, context)
                _check(source, function.symbol, weights, signature)
                sources.append(source)
                taken = _take_wide(source, function.symbol, weights)
                lines.append(_declaration(function.symbol, taken, signature))
                lines.append(_wrapper(function.symbol, taken, signature))
        frame = ir.Module.parse("\n".join(lines), context)
        for op in [op.operation for op in frame.body.operations]:
            if op.name != "func.func" or op.regions[0].blocks:
                module.body.append(op.detach_from_parent())
        for source in sources:
            for op in [op.operation for op in source.body.operations]:
                module.body.append(op.detach_from_parent())
        module.operation.verify()
    return module


def module_text(module: Module) -> str:
    """The module as text without locations: the same module always gives the same text."""
    return str(module.operation.get_asm(enable_debug_info=False))


def _read(program: Program, function: Function, context: Any) -> Module:
    """The source of one function, its symbols renamed and all of them private."""
    symbol = function.symbol
    given = program.functions[symbol]
    text = given.text or stablehlo_text(given.stablehlo, symbol)
    try:
        source = ir.Module.parse(text, context)
    except ir.MLIRError as error:
        message = f"the StableHLO of {symbol!r} cannot be parsed: {str(error).strip()[:500]}"
        raise CompileError(message) from error
    for op in [op.operation for op in source.body.operations]:
        if op.name != "func.func":
            raise UnsupportedError(
                f"the StableHLO of {symbol!r} holds {op.name}; only functions can be linked. "
                "Export it without sharding (jax_use_shardy_partitioner=False)"
            )
        old = ir.StringAttr(op.attributes["sym_name"]).value
        new = f"{symbol}$.{old}"
        ir.SymbolTable.replace_all_symbol_uses(old, new, source.operation)
        ir.SymbolTable.set_symbol_name(op, new)
        ir.SymbolTable.set_visibility(op, "private")
        for attribute in ("arg_attrs", "res_attrs"):
            if attribute in op.attributes:
                del op.attributes[attribute]
    rename_templates(source, lambda old: f"{symbol}$.{old}")
    return source


def _take_wide(source: Module, symbol: str, weights: list[Value]) -> list[Value]:
    """The weights as the main function takes them, after it was changed to take some as they come.

    A weight that is wider at the edge, and that the function only widens to the very same type,
    would be narrowed first, which some targets cannot compile.
    """
    main = next(
        f.operation for f in source.body.operations if _symbol(f.operation) == f"{symbol}$.main"
    )
    arguments, taken = list(main.regions[0].blocks[0].arguments), []
    for argument, weight in zip(arguments, weights, strict=False):
        users = [use.owner.operation for use in argument.uses]
        same = all(
            user.name == "stablehlo.convert" and str(user.results[0].type) == weight.edge
            for user in users
        )
        if weight.edge == weight.inner or not same:
            taken.append(weight)
            continue
        argument.set_type(ir.Type.parse(weight.edge, source.context))
        for user in users:
            user.results[0].replace_all_uses_with(argument)
            user.erase()
        taken.append(replace(weight, inner=weight.edge))
    old = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
    with source.context:
        new = ir.FunctionType.get([a.type for a in arguments], old.results)
        main.attributes["function_type"] = ir.TypeAttr.get(new)
    return taken


def _check(source: Module, symbol: str, weights: list[Value], signature: Signature) -> None:
    """Refuse a main function of another type than the manifest says, or with a pass-through."""
    name = f"{symbol}$.main"
    main = next((f for f in source.body.operations if _symbol(f.operation) == name), None)
    if main is None:
        raise CompileError(f"the StableHLO of {symbol!r} has no function 'main'")
    kind = ir.FunctionType(ir.TypeAttr(main.operation.attributes["function_type"]).value)
    wanted = [*weights, *signature.arguments]
    _compare(symbol, "takes", [str(t) for t in kind.inputs], wanted)
    _compare(symbol, "returns", [str(t) for t in kind.results], list(signature.results))
    block = main.operation.regions[0].blocks[0]
    arguments = list(block.arguments)
    returned = list(block.operations)[-1].operation.operands
    for value, result in zip(returned, signature.results, strict=True):
        for argument, given in zip(arguments, wanted, strict=True):
            if value == argument:
                raise UnsupportedError(
                    f"{symbol!r} returns its argument {given.name!r} as the result {result.name!r} "
                    "unchanged; IREE 3.13 may overwrite it first. Leave it out of the results, "
                    "or return a value that is computed from it"
                )


def _compare(symbol: str, verb: str, given: list[str], wanted: list[Value]) -> None:
    if len(given) != len(wanted):
        raise CompileError(
            f"the StableHLO of {symbol!r} {verb} {len(given)} arrays; "
            f"its signature has {len(wanted)}: {', '.join(v.name for v in wanted) or 'none'}"
        )
    for type_, value in zip(given, wanted, strict=True):
        if type_ != value.inner:
            raise CompileError(
                f"the StableHLO of {symbol!r} {verb} {type_} for {value.name!r}; "
                f"its signature has {value.inner}"
            )


def _symbol(op: Any) -> str:
    return ir.StringAttr(op.attributes["sym_name"]).value


def _quoted(text: str) -> str:
    safe = set(range(32, 127)) - {ord('"'), ord("\\")}
    return '"' + "".join(chr(b) if b in safe else f"\\{b:02X}" for b in text.encode()) + '"'


def _global(index: int, weight: Value) -> str:
    if not weight.name.isprintable() or any(c in weight.name for c in '"\\'):
        raise ArgumentError(
            f"the weight name {weight.name!r} cannot stand in a module; "
            "use printable characters without quotes and backslashes"
        )
    key = f"#flow.parameter.named<{_quoted(SCOPE)}::{_quoted(weight.name)}>"
    return f'util.global private @"weight${index}" = {key} : {weight.edge}'


def _declaration(symbol: str, weights: list[Value], signature: Signature) -> str:
    takes = ", ".join(v.inner for v in (*weights, *signature.arguments))
    gives = ", ".join(v.inner for v in signature.results)
    return f'func.func private @"{symbol}$.main"({takes}) -> ({gives})'


def _wrapper(symbol: str, weights: list[Value], signature: Signature) -> str:
    """The public function.

    The barrier makes IREE copy an argument before an update in place; without it a result that is
    the argument under another shape shows the update too. IREE cannot compile a barrier over a
    dynamic size; there the golden calls are the only guard.
    """
    parameters = ", ".join(f"%a{i}: {v.edge}" for i, v in enumerate(signature.arguments))
    gives = ", ".join(v.edge for v in signature.results)
    lines = [f'func.func public @"{symbol}"({parameters}) -> ({gives}) {{']
    operands = []
    for i, weight in enumerate(weights):
        lines.append(f'  %w{i} = util.global.load @"weight${i}" : {weight.edge}')
        operands.append(_convert(lines, f"%w{i}", weight.edge, weight.inner))
    for i, value in enumerate(signature.arguments):
        name = f"%a{i}"
        if "?" not in value.edge:
            name = f"%b{i}"
            lines.append(f"  {name} = stablehlo.optimization_barrier %a{i} : {value.edge}")
        operands.append(_convert(lines, name, value.edge, value.inner))
    names = [f"%r{i}" for i in range(len(signature.results))]
    takes = ", ".join(v.inner for v in (*weights, *signature.arguments))
    inner = ", ".join(v.inner for v in signature.results)
    call = f'func.call @"{symbol}$.main"({", ".join(operands)}) : ({takes}) -> ({inner})'
    lines.append(f"  {', '.join(names)} = {call}" if names else f"  {call}")
    results = [
        _convert(lines, name, value.inner, value.edge)
        for name, value in zip(names, signature.results, strict=True)
    ]
    lines.append(f"  func.return {', '.join(results)} : {gives}" if names else "  func.return")
    return "\n".join([*lines, "}"])


def _convert(lines: list[str], name: str, given: str, wanted: str) -> str:
    if given == wanted:
        return name
    lines.append(f"  {name}c = stablehlo.convert {name} : ({given}) -> {wanted}")
    return f"{name}c"
