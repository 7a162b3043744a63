"""Consistency of a manifest: what its types alone cannot say."""

from collections.abc import Iterable

from ._codec import refuse, short
from ._manifest import Entry, Function, Golden, Leaf, Manifest, Module
from ._tree import check_tree
from ._zip_layout import FIRST


def check_manifest(manifest: Manifest) -> None:
    """Refuse, with `NotAnArtifactError`, a manifest whose parts do not fit together."""
    _unique("$.dims", (d.name for d in manifest.dims))
    _unique("$.entries", (e.name for e in manifest.entries))
    _unique("$.states", (s.name for s in manifest.states))
    _unique("$.weights", (w.name for w in manifest.weights))
    _unique("$.modules", (m.target for m in manifest.modules))
    dims = {d.name for d in manifest.dims}
    _check_leaves("$.states", manifest.states, dims, 0)
    for i, entry in enumerate(manifest.entries):
        _check_entry(f"$.entries[{i}]", entry, dims, manifest)
    if manifest.entry(manifest.default_entry) is None:
        refuse("$.default_entry", f"is {manifest.default_entry!r}, which is no entry")
    for i, module in enumerate(manifest.modules):
        _check_module(f"$.modules[{i}]", module, manifest)
    for i, golden in enumerate(manifest.goldens):
        _check_golden(f"$.goldens[{i}]", golden, manifest)
    for name in manifest.members:
        if name in FIRST:
            refuse("$.members", f"lists {name!r}, which describes the others")


def _unique(path: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            refuse(path, f"has {short(name)} twice")
        seen.add(name)


def _check_leaves(path: str, leaves: tuple[Leaf, ...], dims: set[str], inputs: int) -> None:
    for i, leaf in enumerate(leaves):
        for size in leaf.shape:
            if isinstance(size, str) and size not in dims:
                refuse(f"{path}[{i}].shape", f"uses the unknown dim {size!r}")
        if leaf.shape.count("time") > 1:
            refuse(f"{path}[{i}].shape", "has the dim 'time' more than once")
        if leaf.from_input is not None and leaf.from_input >= inputs:
            refuse(f"{path}[{i}].from_input", f"is {leaf.from_input}; there are {inputs} inputs")


def _check_entry(path: str, entry: Entry, dims: set[str], manifest: Manifest) -> None:
    _check_leaves(f"{path}.inputs", entry.inputs, dims, 0)
    _check_leaves(f"{path}.outputs", entry.outputs, dims, len(entry.inputs))
    for i, leaf in enumerate(entry.outputs):
        if leaf.from_input is not None:
            source = entry.inputs[leaf.from_input]
            if (leaf.shape, leaf.dtype) != (source.shape, source.dtype):
                refuse(f"{path}.outputs[{i}]", f"is input {source.name!r} but differs from it")
    check_tree(entry.input_tree, len(entry.inputs), f"{path}.input_tree")
    check_tree(entry.output_tree, len(entry.outputs), f"{path}.output_tree")
    parts = entry.input_tree.get("dict", {})
    if (
        set(parts) != {"args", "kwargs"}
        or "tuple" not in parts["args"]
        or ("dict" not in parts["kwargs"])
    ):
        refuse(f"{path}.input_tree", "is not {args: tuple, kwargs: dict}")
    for i, function in enumerate(entry.functions):
        for name in function.dims:
            if name not in dims:
                refuse(f"{path}.functions[{i}].dims", f"uses the unknown dim {name!r}")
    if entry.realization == "module" and not entry.functions:
        refuse(f"{path}.functions", "is empty; an entry of a module needs a function")
    if entry.realization == "chunks" and not manifest.streams:
        refuse(f"{path}.realization", "is 'chunks', but there is no chunk and init entry")
    chunk = manifest.entry("chunk")
    if entry.realization == "chunks" and chunk and _edges(chunk) != _edges(entry):
        refuse(path, "is realized by chunks, but its leaves are not those of 'chunk'")
    if entry.name == "chunk" and entry.realization != "module":
        refuse(f"{path}.realization", "of the entry 'chunk' is not 'module'")
    if entry.name == "init" and (entry.inputs or entry.outputs or entry.realization != "module"):
        refuse(path, "is 'init', which has no inputs and only states as results")
    for i, function in enumerate(entry.functions):
        _check_sizes(f"{path}.functions[{i}].dims", entry, function, manifest)


def _check_sizes(path: str, entry: Entry, function: Function, manifest: Manifest) -> None:
    """Refuse a function that leaves out a size which its arrays depend on."""
    anything = {dim.name for dim in manifest.dims if dim.sizes is None}
    states = manifest.states if entry.name in ("chunk", "init") else ()
    for leaf in (*entry.inputs, *entry.outputs, *states):
        for name in leaf.shape:
            if isinstance(name, str) and name not in function.dims and name not in anything:
                refuse(path, f"has no size for {name!r}, which {leaf.name!r} has")
    if entry.name == "chunk" and function.dims.get("time", int("time" in anything)) < 1:
        refuse(path, "has no size of at least 1 for 'time', as every function of 'chunk' must")


def _edges(entry: Entry) -> list[tuple[object, ...]]:
    return [(x.shape, x.dtype, x.from_input) for x in (*entry.inputs, *entry.outputs)]


def _check_module(path: str, module: Module, manifest: Manifest) -> None:
    members = [module.member] if module.member is not None else []
    members += module.functions_xla.values()
    for member in members:
        if member not in manifest.members:
            refuse(path, f"uses the member {member!r}, which is not listed in members")
    if (module.driver == "xla") == (module.member is not None):
        refuse(f"{path}.member", "must be null for xla, and only for xla")
    symbols = {f.symbol for e in manifest.entries for f in e.functions}
    unknown = sorted(set(module.lacks) - symbols)
    if unknown:
        refuse(f"{path}.lacks", f"names {short(unknown[0])}, which is no function")
    for entry in manifest.entries:
        if entry.functions and all(f.symbol in module.lacks for f in entry.functions):
            refuse(f"{path}.lacks", f"leaves the entry {entry.name!r} without a function")
    if module.driver == "xla":
        missing = sorted(symbols - {*module.functions_xla, *module.lacks})
        if missing:
            refuse(f"{path}.functions_xla", f"has no blob for {short(missing[0])}")


def _check_golden(path: str, golden: Golden, manifest: Manifest) -> None:
    entry = manifest.entry(golden.entry)
    if entry is None:
        refuse(f"{path}.entry", f"is {golden.entry!r}, which is no entry")
    states = len(manifest.states) if golden.entry in ("chunk", "init") else 0
    given = (len(golden.inputs), len(golden.outputs))
    inputs = {len(entry.inputs), len(entry.inputs) + (states if entry.name == "chunk" else 0)}
    outputs = {len(entry.outputs) + states}
    if entry.name == "chunk":
        outputs.add(len(entry.outputs))
    if given[0] not in inputs or given[1] not in outputs:
        refuse(path, f"has {given[0]} inputs and {given[1]} outputs, which does not fit its entry")
    if golden.rtol < 0 or golden.atol < 0:
        refuse(path, "has a negative tolerance")
    if "golden.safetensors" not in manifest.members:
        refuse(path, "needs the member 'golden.safetensors', which is not listed in members")
