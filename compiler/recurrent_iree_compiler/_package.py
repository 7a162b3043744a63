"""Packaging: modules, sources, weights and golden calls as the members of an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recurrent_iree_runtime import (
    Golden,
    Manifest,
    Member,
    Module,
    UnsupportedError,
    Weight,
    digest,
    dtype_name,
    pack,
    stored_tensors,
    write_safetensors,
)

from ._program import Program
from ._report import Report, report_json
from ._targets import Target
from ._tools import compiler_version


@dataclass(frozen=True)
class Constant:
    """What an artifact of a program holds for any targets: its members, hashed once."""

    members: Mapping[str, bytes]
    hashes: Mapping[str, Member]
    goldens: tuple[Golden, ...]


def constant_of(program: Program) -> Constant:
    """The sources, weights and golden calls of `program` as members."""
    members = {
        f"program/{symbol}.stablehlo": bytes(source.stablehlo)
        for symbol, source in program.functions.items()
    }
    if program.weights:
        members["weights.safetensors"] = write_safetensors(program.weights)
    goldens, tensors = _goldens(program)
    if goldens:
        members["golden.safetensors"] = write_safetensors(tensors)
    hashes = {name: Member(digest(data), len(data)) for name, data in members.items()}
    return Constant(members, hashes, goldens)


def package(
    program: Program,
    constant: Constant,
    targets: Sequence[Target],
    modules: Mapping[str, bytes],
    report: Report,
    lacks: Mapping[str, Sequence[str]],
) -> dict[str, bytes]:
    """All members of the artifact, the manifest included.

    `constant` is that of the program, `modules` holds the compiled bytes by target name, for every
    target but those of XLA, and `lacks` the functions that a target is without. The same arguments
    always give the same bytes.
    """
    members: dict[str, bytes] = dict(constant.members)
    described = [
        replace(
            _module(program, target, modules, members, lacks[target.name]),
            lacks=tuple(sorted(lacks[target.name])),
        )
        for target in targets
    ]
    members["report.json"] = report_json(program.captured, report)
    manifest = Manifest(
        name=program.name,
        default_entry=program.default_entry,
        dims=program.dims,
        entries=program.entries,
        states=program.states,
        weights=tuple(Weight(k, w.shape, dtype_name(w.dtype)) for k, w in program.weights.items()),
        modules=tuple(described),
        goldens=constant.goldens,
        versions={**program.versions, "iree": compiler_version()},
        metadata=dict(program.metadata),
    )
    return pack(manifest, members, constant.hashes)


def _module(
    program: Program,
    target: Target,
    modules: Mapping[str, bytes],
    members: dict[str, bytes],
    lacks: Sequence[str],
) -> Module:
    if target.driver == "xla":
        chosen = _blobs(program, target, members, lacks)
        names = {symbol: _blob_name(program, symbol, key) for symbol, key in chosen.items()}
        needs = _common_platforms(chosen)
        return Module(target.name, "xla", None, dict(needs), functions_xla=names)
    member = f"modules/{target.name.replace(':', '-')}.vmfb"
    members[member] = modules[target.name]
    return Module(
        target=target.name,
        driver=target.driver,
        member=member,
        needs=dict(target.needs),
        abi={k: v for k, v in target.abi.items() if k in _dtypes(program)},
        iree=compiler_version(),
    )


def _blobs(
    program: Program, target: Target, members: dict[str, bytes], lacks: Sequence[str]
) -> dict[str, str]:
    """The platforms of the jax.export blob chosen for each function; adds it to the members."""
    wanted = target.name.partition(":")[2]
    chosen: dict[str, str] = {}
    for symbol, source in program.functions.items():
        if symbol in lacks:
            continue
        fitting = [k for k in sorted(source.xla) if not wanted or wanted in k.split(",")]
        if not fitting:
            raise UnsupportedError(
                f"the function {symbol!r} has no jax.export blob for {target.name!r}; "
                f"it has {', '.join(sorted(source.xla)) or 'none'}. Export it for that platform"
            )
        chosen[symbol] = max(fitting, key=lambda k: len(k.split(",")))
        members[_blob_name(program, symbol, chosen[symbol])] = bytes(source.xla[chosen[symbol]])
    return chosen


def _blob_name(program: Program, symbol: str, platforms: str) -> str:
    single = len(program.functions[symbol].xla) == 1
    return f"program/{symbol}{'' if single else '.' + platforms.replace(',', '-')}.jax"


def blob_platforms(member: str, symbol: str) -> tuple[str, ...]:
    """The platforms that the name of a blob states; none if the program has one blob only.

    >>> blob_platforms("program/chunk.cpu-cuda.jax", "chunk")
    ('cpu', 'cuda')
    >>> blob_platforms("program/chunk.jax", "chunk")
    ()
    """
    stated = member.removeprefix(f"program/{symbol}").removesuffix(".jax").removeprefix(".")
    return tuple(stated.split("-")) if stated else ()


def _common_platforms(chosen: Mapping[str, str]) -> Mapping[str, str | tuple[str, ...]]:
    sets = [set(key.split(",")) for key in chosen.values()]
    common = set.intersection(*sets) if sets else set()
    return {"platforms": tuple(sorted(common))} if common else {}


def _dtypes(program: Program) -> set[str]:
    """Every dtype at the edge of the program, so that the manifest tells only what matters."""
    leaves = [x for e in program.entries for x in (*e.inputs, *e.outputs)]
    used = {leaf.dtype for leaf in (*leaves, *program.states)}
    return used | {dtype_name(w.dtype) for w in program.weights.values()}


def _goldens(program: Program) -> tuple[tuple[Golden, ...], dict[str, np.ndarray]]:
    goldens, tensors = [], {}
    for number, case in enumerate(program.goldens):
        names: dict[str, tuple[str, ...]] = {}
        for kind, arrays in (("input", case.inputs), ("output", case.outputs)):
            keys = [f"{number}.{kind}.{i}" for i in range(len(arrays))]
            tensors |= dict(zip(keys, map(np.asarray, arrays), strict=True))
            names[kind] = tuple(keys)
        sizes = dict(case.dims)
        goldens.append(
            Golden(case.entry, sizes, names["input"], names["output"], case.rtol, case.atol)
        )
    return tuple(goldens), stored_tensors(program.entries, goldens, tensors)
