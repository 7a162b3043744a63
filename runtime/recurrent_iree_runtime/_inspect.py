"""What is inside an artifact, as a tree for readers and as JSON for programs."""

import json
from typing import Any

from ._artifact import ArtifactFile
from ._coerce import shape_text
from ._manifest import Entry, Leaf, Manifest
from ._signing import signatures_of
from ._storage import KEY as STORAGE
from ._text import Node, size_text
from ._tree import leaf_paths


def inspect_json(artifact: ArtifactFile) -> dict[str, Any]:
    """The manifest, the size of the file and whether each member has its hash."""
    artifact.check()
    return {
        "file": artifact.source,
        "size": artifact.size,
        "manifest": json.loads(artifact.manifest.to_json()),
        "signed_by": [signature.key for signature in signatures_of(artifact)],
    }


def inspect_tree(artifact: ArtifactFile) -> Node:
    """The artifact as a tree: entries, states, weights, modules, golden calls, members."""
    artifact.check()
    manifest = artifact.manifest
    root = Node(f"{manifest.name}  ({artifact.source}, {size_text(artifact.size)})")
    root.add(f"format {manifest.format}, default entry {manifest.default_entry!r}")
    _add_versions(root, manifest)
    entries = root.add("entries")
    for entry in manifest.entries:
        _add_entry(entries, entry)
    if manifest.states:
        states = root.add("states, on the device between steps")
        for slot in manifest.states:
            states.add(leaf_text(slot))
    _add_weights(root, artifact)
    _add_modules(root, artifact)
    if manifest.goldens:
        goldens = root.add("golden calls")
        for golden in manifest.goldens:
            sizes = ", ".join(f"{k}={v}" for k, v in golden.dims.items())
            goldens.add(f"{golden.entry}({sizes})  rtol {golden.rtol:g}, atol {golden.atol:g}")
    _add_members(root, artifact)
    for signature in signatures_of(artifact):
        root.add(f"signature by {signature.key}  (checked by load with trusted_keys)")
    return root


def leaf_text(leaf: Leaf) -> str:
    """`x: float32[batch, time, 40]`"""
    text = f"{leaf.name}: {leaf.dtype}{shape_text(leaf.shape)}"
    return text if leaf.from_input is None else f"{text}  (input {leaf.from_input}, passed through)"


def _add_versions(root: Node, manifest: Manifest) -> None:
    for title, pairs in (("versions", manifest.versions), ("metadata", manifest.metadata)):
        if pairs:
            node = root.add(title)
            for key, value in sorted(pairs.items()):
                if pairs is not manifest.metadata or key != STORAGE:
                    node.add(f"{key}: {value}")
    if manifest.dims:
        node = root.add("dims")
        for dim in manifest.dims:
            sizes = "any size" if dim.sizes is None else ", ".join(map(str, dim.sizes))
            node.add(f"{dim.name}: {sizes}")


def _add_entry(parent: Node, entry: Entry) -> None:
    how = "by chunks" if entry.realization == "chunks" else f"{len(entry.functions)} functions"
    node = parent.add(f"{entry.name}  ({how})")
    for title, leaves, tree in (
        ("in", entry.inputs, entry.input_tree),
        ("out", entry.outputs, entry.output_tree),
    ):
        places = leaf_paths(tree)
        for i, leaf in enumerate(leaves):
            place = places.get(i, "").replace("['args']", "args").replace("['kwargs']", "kwargs")
            node.add(f"{title} {leaf_text(leaf)}" + (f"  at {place}" if place else ""))
    for function in entry.functions:
        sizes = ", ".join(f"{k}={v}" for k, v in sorted(function.dims.items()))
        cost = ", ".join(f"{v:.3g} {k}" for k, v in sorted(function.cost.items()))
        node.add(f"@{function.symbol}({sizes})" + (f"  {cost}" if cost else ""))


def _add_weights(root: Node, artifact: ArtifactFile) -> None:
    manifest, storage = artifact.manifest, artifact.storage.weights
    if manifest.weights:
        node = root.add(f"weights  ({len(manifest.weights)} arrays)")
        scales = {stored.scale: name for name, stored in storage.items()}
        for weight in manifest.weights:
            line = node.add(f"{weight.name}: {weight.dtype}{shape_text(weight.shape)}")
            if weight.name in storage:
                line.label += f"  (callers see {storage[weight.name].dtype})"
            elif weight.name in scales:
                line.label += f"  (the scales of {scales[weight.name]})"
        if storage:
            _add_loss(node, artifact)


def _add_loss(node: Node, artifact: ArtifactFile) -> None:
    """What rounding the weights did to the outputs, as it was measured when the file was made."""
    if "report.json" not in artifact.members:
        return
    try:
        report = json.loads(bytes(artifact.read_member("report.json")))["program"]["storage"]
        lines = [f"{name} is kept: {why}" for name, why in report["kept"].items()]
        lines.append(f"{report['bytes']} B instead of {report['bytes in float32']} B in float32")
        lines += [", ".join(f"{k} {_short(v)}" for k, v in row.items()) for row in report["loss"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return
    loss = node.add(f"stored as {_short(report.get('asked'))}, measured against float32")
    for line in lines:
        loss.add(line)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _add_modules(root: Node, artifact: ArtifactFile) -> None:
    node = root.add("modules")
    for module in artifact.manifest.modules:
        members = [module.member] if module.member else list(module.functions_xla.values())
        size = sum(artifact.members[name] for name in members)
        line = node.add(f"{module.target}  ({module.driver}, {size_text(size)})")
        for key, value in sorted(module.needs.items()):
            if value:
                listed = value if isinstance(value, str) else ", ".join(value)
                line.add(f"needs {key}: {listed}")
        for inside, edge in sorted(module.abi.items()):
            line.add(f"passes {inside} as {edge}")
        if module.iree:
            line.add(f"compiled by IREE {module.iree}")


def _add_members(root: Node, artifact: ArtifactFile) -> None:
    node = root.add("members, each with its SHA-256 (checked)")
    for name, member in sorted(artifact.manifest.members.items()):
        node.add(f"{name}  {size_text(member.size)}  {member.sha256[:16]}…")
