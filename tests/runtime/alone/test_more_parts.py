"""Gradients without their compiler, trees of artifacts, and what a fake driver refuses."""

import numpy as np
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree_runtime._drivers._iree import IreeDriver
from recurrent_iree_runtime._entry_plan import EntryPlan
from recurrent_iree_runtime._gradients import COTANGENTS, gradient_values
from recurrent_iree_runtime._inspect import inspect_tree
from recurrent_iree_runtime._text import tree_text
from runtime import rows, tiny

X = np.zeros((4, 3), np.float32)


def gradients(*shapes):
    """The plan of an entry with one input, and a cotangent for each output."""
    leaves = [rt.Leaf("x", ("batch", 3), "float32")]
    leaves += [rt.Leaf(f"d{i}", shape, "float32") for i, shape in enumerate(shapes)]
    given = {"tuple": [{"leaf": i + 1} for i in range(len(shapes))]}
    if len(shapes) == 1:
        given = {"leaf": 1}
    tree = {"dict": {"args": {"tuple": [{"leaf": 0}]}, "kwargs": {"dict": {COTANGENTS: given}}}}
    outputs = (rt.Leaf("dx", ("batch", 3), "float32"),)
    return EntryPlan(rt.Entry("gradients", "module", tuple(leaves), tree, outputs, {"leaf": 0}, ()))


def test_cotangents_that_are_left_out():
    x, ones = gradient_values(gradients(()), (X,), {}, None)
    assert x is X and ones.shape == () and ones == 1
    plan = gradients(("batch", 2), (5,))
    with pytest.raises(rt.SignatureError, match="one array for each output of floats"):
        gradient_values(plan, (X,), {}, None)
    _, first, second = gradient_values(plan, (X,), {}, (None, np.ones(5, np.float32)))
    assert first.shape == (4, 2) and not first.any() and second.all()
    _, first, second = gradient_values(plan, (X,), {}, (np.ones((4, 2), np.float32), None))
    assert first.all() and second.shape == (5,) and not second.any()


def test_a_program_with_nothing_but_a_function():
    none = {"dict": {"args": {"tuple": []}, "kwargs": {"dict": {}}}}
    function = (rt.Function("f", {}),)
    entry = rt.Entry("main", "module", (), none, (rt.Leaf("y", (2,), "float32"),), {"leaf": 0},
                     function)  # fmt: skip
    manifest = tiny.manifest(
        entries=(entry,), default_entry="main", dims=(), states=(), weights=(), metadata={}
    )
    artifact = rt.read(rt.container_bytes(rt.pack(manifest, {})))
    text = tree_text(inspect_tree(artifact))
    assert "main" in text
    assert not any(word in text for word in ("states", "weights", "golden"))


def test_a_signed_artifact_says_so(tmp_path):
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    key = tmp_path / "key"
    key.write_bytes(rt.generate_key()[0])
    signed = rt.read(rt.sign(tiny.artifact(), key))
    assert "signature by" in tree_text(inspect_tree(signed))


def test_functions_that_a_fake_driver_lacks_or_that_return_nonsense():
    driver = rows.driver()
    del driver.functions["chunk_b1_t1"]
    with pytest.raises(rt.ArtifactError, match="no function for the symbol 'chunk_b1_t1'"):
        rt.load(rows.artifact(), device=driver).session(batch=1)
    driver = rows.driver()
    driver.functions["chunk_b1_t1"] = lambda x, h: [np.zeros((1, 1, 9)), h]
    stream = rt.load(rows.artifact(), device=driver).session(batch=1)
    with pytest.raises(rt.ArtifactError, match="returned shape"):
        stream.step(np.zeros((1, 3), np.float32))


def test_a_state_of_a_lost_device():
    model = rows.model()
    state = model.initial_state(batch=1)
    model.lost(model.runner())
    with pytest.raises(rt.StateError, match="the device was lost after this state was made"):
        model.advance(state, np.zeros((1, 2, 3), np.float32))


def test_what_an_artifact_was_compiled_without():
    with pytest.raises(rt.ArgumentError, match="was compiled without gradients; compile it with"):
        rows.model().gradients(X)
    with pytest.raises(rt.ArtifactError, match="there is no IREE module to load on 'cpu'"):
        IreeDriver("cpu", "local-sync").load(None, lambda name: memoryview(b""), {})
