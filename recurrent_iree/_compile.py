"""The front door: from a callable or layer to one artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import jax

from recurrent_iree_compiler import (
    Artifact,
    BuildOptions,
    FunctionSource,
    GoldenCase as CompilerGoldenCase,
    Program,
    build,
)
from recurrent_iree_runtime import ArgumentError, ArgumentTypeError, Dim, Entry, Function, Leaf

from ._capture import (
    Array,
    GoldenCase,
    Known,
    Later,
    Lowered,
    LoweredEntry,
    LoweredFunction,
    capture,
    sort_arguments,
)

Progress = Callable[..., None]


def lower(
    program: Callable[..., Any],
    *specs: Any,
    name: str | None = None,
    chunks: Sequence[int] | None = None,
    entry: str | Sequence[str] | None = None,
    xla: bool = True,
    weights: str = "f32",
    **keyword_specs: Any,
) -> Lowered:
    """Capture a program and lower it to StableHLO, without compiling it.

    Arguments are those of `compile`; with ``xla=False`` no blobs for XLA are made.

    Returns:
        The lowered program: ``.text()`` is StableHLO, ``.report()`` says what was captured.
    """
    captured = sort_arguments(program, specs, keyword_specs)
    name = _name(program, name)
    return capture(captured, name, chunks=chunks, entry=entry, xla=xla, weights=weights)


def compile(
    program: Callable[..., Any],
    *specs: Any,
    targets: Sequence[str] = ("cpu",),
    name: str | None = None,
    chunks: Sequence[int] | None = None,
    entry: str | Sequence[str] | None = None,
    weights: Literal["f32", "bf16", "int8"] = "f32",
    metadata: Mapping[str, str] | None = None,
    fallback: Literal["loop", "error"] | None = None,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    **keyword_specs: Any,
) -> Artifact:
    """Compile a recurrent program ahead of time into one artifact for several targets.

    Args:
        program: a layer of `recurrent_iree.layers`, or any function of arrays that JAX can trace;
            its `lax.scan` loops become recurrences, whoever wrote them.
        *specs: for each positional argument a pytree of `spec` (inputs) and arrays (weights).
        targets: what to compile for: ``"cpu"`` (this machine), ``"cpu:x86-64-v3"``,
            ``"cpu:aarch64"``, ``"vulkan"``, ``"vulkan:llvmpipe"``, ``"cuda"``, ``"cuda:sm_80"``,
            ``"vmvx"``, ``"xla"``, …
        name: what the artifact is called; by default the name of the function or layer.
        chunks: the lengths of the pieces in which sequences of any length are run; by default one
            call serves any length where the target can, and pieces of 64, 8 and 1 steps elsewhere.
        entry: what to compile: ``"sequence"`` (``"main"`` if no input has a time axis), which is
            the default, ``"gradients"``, or a list of both. ``"gradients"`` takes the inputs and
            the cotangents of the outputs, and gives the outputs and the gradients for the inputs
            and the weights; the runtime calls it by ``model.gradients(...)``.
        weights: how the matrices of products are stored: ``"f32"``, ``"bf16"`` (rounded to half
            the bytes) or ``"int8"`` (a quarter, with a scale for each output channel). Sums stay
            in float32. What the rounding does to the outputs is in ``artifact.report()``.
        metadata: free text to store in the artifact.
        fallback: what becomes of a recurrence that cannot be one kernel on a target: ``"loop"``
            runs it as a loop in a safe form, and the report names the operation and the reason;
            ``"error"`` refuses it. By default what ``options.plan`` says, which is ``"loop"``.
        options: limits of the compiler, cache, verification.
        progress: called with each step of the build.
        **keyword_specs: specs or arrays of keyword arguments.

    Returns:
        The artifact; ``artifact.save(path)`` writes it, ``artifact.report()`` explains it.

    Raises:
        ArgumentError, ArgumentTypeError: a spec, array or option that cannot work.
        UnsupportedError: the program needs something that is known to be miscompiled, or a
            recurrence cannot be fused and `fallback` is ``"error"``.
        UnknownTargetError: there is no such target.
        CompileError: the compiler refused, died or took too long.
        VerificationError: a compiled module does not give the numbers of XLA.

    Example:
        >>> import recurrent_iree as ri
        >>> layer = ri.layers.LSTM(4, return_sequences=True)
        >>> artifact = ri.compile(layer, ri.spec("batch=1", "time=?", 3), targets=["cpu"])
        >>> artifact.save("model.riree")
    """
    if isinstance(targets, str):
        raise ArgumentTypeError(
            f'compile: targets is the string {targets!r}; give a list such as ["{targets}"]'
        )
    options = options or BuildOptions()
    if fallback is not None:
        options = replace(options, plan=replace(options.plan, fallback=fallback))
    choices = {
        "name": _name(program, name),
        "chunks": chunks,
        "entry": entry,
        "xla": any(target.split(":")[0] == "xla" for target in targets),
        "weights": weights,
    }
    captured = sort_arguments(program, specs, keyword_specs)
    known = Known(captured, {**choices, "metadata": metadata}, list(targets), options)
    artifact = known.find(progress)
    if artifact is None:
        lowered = capture(captured, **choices)
        made = _compiler_program(lowered, metadata or {})
        artifact = build(made, list(targets), options=options, progress=progress)
        known.keep(artifact, lowered)
    return artifact


def _name(program: Any, name: str | None) -> str:
    name = str(name or getattr(program, "name", "") or getattr(program, "__name__", "program"))
    return name if name != "<lambda>" else "program"


def _compiler_program(lowered: Lowered, metadata: Mapping[str, str]) -> Program:
    functions = [f for entry in lowered.entries for f in entry.functions]
    return Program(
        name=lowered.name,
        default_entry=lowered.default_entry,
        dims=tuple(Dim(name, sizes) for name, sizes in lowered.dims.items()),
        entries=tuple(_entry(lowered, entry) for entry in lowered.entries),
        functions={f.symbol: _source(f) for f in functions},
        states=tuple(_leaf(state) for state in lowered.states),
        weights=lowered.weights,
        goldens=Later(lambda: [*map(_golden, lowered.goldens)]),
        versions={"recurrent_iree": _own_version(), "jax": jax.__version__},
        metadata=_metadata(lowered, metadata),
        captured=lowered.report(),
    )


def _golden(case: GoldenCase) -> CompilerGoldenCase:
    arrays = tuple(case.inputs), tuple(case.outputs)
    return CompilerGoldenCase(case.entry, case.dims, *arrays, case.rtol, case.atol)


def _metadata(lowered: Lowered, given: Mapping[str, str]) -> dict[str, str]:
    own = {}
    if lowered.layer is not None:
        own["layer"] = json.dumps(lowered.layer, sort_keys=True)
    if lowered.stored.layout.weights:
        own["storage"] = lowered.stored.metadata()
    for key in own:
        if key in given:
            raise ArgumentError(f'compile: metadata has the key "{key}", which describes the {key}')
    return {**given, **own}


def _source(function: LoweredFunction) -> FunctionSource:
    xla = {"cpu,cuda,tpu": function.xla} if function.xla else {}
    return FunctionSource(function.portable, xla, function.text)


def _entry(lowered: Lowered, entry: LoweredEntry) -> Entry:
    functions = [Function(f.symbol, f.dims, f.cost) for f in entry.functions]
    sources = _sources(lowered, entry)
    return Entry(
        name=entry.name,
        realization="chunks" if entry.realization == "chunks" else "module",
        inputs=tuple(_leaf(a) for a in entry.inputs),
        input_tree=entry.input_tree,
        outputs=tuple(_leaf(a, source) for a, source in zip(entry.outputs, sources, strict=True)),
        output_tree=entry.output_tree,
        functions=tuple(functions),
    )


def _sources(lowered: Lowered, entry: LoweredEntry) -> Sequence[int | None]:
    """Which input each output is; an entry in chunks has the outputs of its chunks."""
    functions = entry.functions
    if not functions:
        functions = next((e.functions for e in lowered.entries if e.name == "chunk"), [])
    return functions[0].sources if functions else [None] * len(entry.outputs)


def _leaf(array: Array, source: int | None = None) -> Leaf:
    return Leaf(array.name, array.shape, array.dtype, source)


def _own_version() -> str:
    try:
        return version("recurrent-iree")
    except PackageNotFoundError:
        return "unknown"
