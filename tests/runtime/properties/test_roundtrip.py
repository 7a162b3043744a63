"""Random trees, manifests and weights survive the way to bytes and back."""

from collections import namedtuple

import numpy as np
from hypothesis import given, settings, strategies as st

import recurrent_iree_runtime as rt
from runtime import tiny

NAMES = st.text("abcxyz_", min_size=1, max_size=4).filter(lambda s: s[0] != "_")
TEXT = st.text(max_size=20)


def containers(children):
    fields = st.lists(NAMES, min_size=1, max_size=3, unique=True)
    tuples = fields.flatmap(
        lambda names: st.tuples(*[children] * len(names)).map(
            lambda items: namedtuple("Pair", names)(*items)
        )
    )
    return st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(TEXT, children, max_size=3),
        tuples,
    )


VALUES = st.recursive(st.one_of(st.none(), st.integers()), containers, max_leaves=12)


@given(VALUES)
def test_trees(value):
    tree, leaves = rt.tree_of(value)
    rt.check_tree(tree, len(leaves), "$")
    assert rt.flatten(tree, value) == leaves
    back = rt.unflatten(tree, leaves)
    assert rt.tree_of(back) == (tree, leaves)
    assert len(rt.leaf_paths(tree)) == len(leaves)


@given(VALUES)
def test_trees_agree_with_jax(value):
    import jax

    assert rt.tree_of(value)[1] == jax.tree.leaves(value)


SIZES = st.integers(0, 1 << 40)
LEAVES = st.builds(
    rt.Leaf,
    TEXT,
    st.lists(st.one_of(SIZES, st.sampled_from(["batch", "width"])), max_size=4).map(tuple),
    st.sampled_from(["float32", "bfloat16", "bool", "int8"]),
)


@given(
    name=TEXT,
    states=st.lists(LEAVES, max_size=4, unique_by=lambda leaf: leaf.name).map(tuple),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    rtol=st.floats(0, 1e30),
    flops=st.floats(0, 1e30),
)
@settings(max_examples=60)
def test_manifests(name, states, metadata, rtol, flops):
    dims = (rt.Dim("batch", (1, 2)), rt.Dim("width", (3,)), rt.Dim("time", None))
    pair = tiny.entries()[3]
    functions = (rt.Function("pair", {}, {"flops": flops}),)
    entry = rt.Entry("pair", "module", pair.inputs, pair.input_tree, pair.outputs,
                     pair.output_tree, functions)  # fmt: skip
    golden = rt.Golden("pair", {}, ("a", "m", "k"), ("x", "y", "z"), rtol, 0.0)
    members = {"golden.safetensors": rt.Member("0" * 64, 3)}
    manifest = rt.Manifest(name, "pair", dims, (entry,), states, goldens=(golden,),
                           metadata=metadata, members=members)  # fmt: skip
    text = manifest.to_json()
    assert rt.Manifest.from_json(text) == manifest
    assert rt.Manifest.from_json(text).to_json() == text


@given(st.binary(max_size=300))
def test_random_bytes_are_no_manifest_artifact_or_weights(data):
    for read in (rt.Manifest.from_json, rt.read, lambda d: rt.read_safetensors(d, "w")):
        try:
            read(data)
        except rt.ArtifactError:
            continue
        raise AssertionError("accepted")


@given(
    st.dictionaries(
        TEXT.filter(lambda t: t != "__metadata__"),
        st.tuples(
            st.sampled_from(["float32", "int8", "bool", "float64", "bfloat16"]),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=4,
    )
)
def test_weights(plan):
    arrays = {
        name: np.arange(int(np.prod(shape))).reshape(shape).astype(rt.dtype_of(dtype))
        for name, (dtype, shape) in plan.items()
    }
    back = rt.read_safetensors(rt.write_safetensors(arrays), "w")
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in back.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()
    }


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True),
                       st.binary(max_size=200), max_size=5))  # fmt: skip
def test_containers(members):
    members = {"manifest.json": b"{}", **members}
    container = rt.read_container(rt.container_bytes(members))
    assert {name: bytes(container.member(name)) for name in container.names} == members
