"""A program that was built before is found again; a program that differs in anything is not."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree._capture._fingerprint import NoFingerprint, fingerprint_of

SPEC = ri.spec("batch=1", "time=4", 3)
W = np.arange(9, dtype=np.float32).reshape(3, 3) / 9


def decay(rate: float = 0.5, w: Any = W, scale: Any = None) -> Any:
    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = rate * h + jnp.tanh(v @ w)
            return h, h if scale is None else h * scale

        return lax.scan(step, jnp.zeros((1, 3)), jnp.swapaxes(x, 0, 1))[1]

    return program


class Build:
    """Compiles with a cache of its own; `stages` are those of the last build."""

    def __init__(self, folder: Path) -> None:
        self.options = ri.BuildOptions(cache_dir=folder)
        self.stages: list[str] = []

    def __call__(self, program: Any, *specs: Any, **keywords: Any) -> Any:
        self.stages = []
        keywords = {"targets": ["vmvx"], "options": self.options, "name": "p", **keywords}
        show = lambda event: self.stages.append(event.stage)  # noqa: E731
        return ri.compile(program, *(specs or (SPEC,)), progress=show, **keywords)

    @property
    def found(self) -> bool:
        return self.stages == ["cached", "done"]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A cache that has `decay()`."""
    build = Build(tmp_path_factory.mktemp("built"))
    build(decay())
    return build


def test_the_same_program_is_found_and_gives_the_same_bytes(build: Build) -> None:
    first = build(decay())
    assert "compile" in build.stages and "verified" in build.stages
    again = build(decay())
    assert build.found
    assert again.to_bytes() == first.to_bytes()
    assert again.report() == first.report()


@pytest.mark.parametrize(
    "other",
    [
        {"program": decay(0.25)},
        {"program": decay(w=W + 1)},
        {"program": decay(scale=np.float32(2))},
        {"specs": (ri.spec("batch=1", "time=5", 3),)},
        {"specs": (ri.spec("batch=1", "time=4|5", 3),)},
        {"metadata": {"author": "me"}},
        {"name": "q"},
        {"chunks": (2, 1)},
        {"targets": ["vmvx", "cpu"]},
        {"options": {"verify": False}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_differs_is_built(built: Build, other: dict[str, Any]) -> None:
    keywords = {k: v for k, v in other.items() if k not in ("program", "specs", "options")}
    if "options" in other:
        folder = built.options.cache_dir
        keywords["options"] = ri.BuildOptions(cache_dir=folder, **other["options"])
    built(other.get("program", decay()), *other.get("specs", ()), **keywords)
    assert not built.found
    built(decay())
    assert built.found


def test_a_layer_with_other_weights_is_built(build: Build) -> None:
    layer = ri.layers.SimpleRNN(2, name="rnn")
    build(layer, name=None)
    build(layer, name=None)
    assert build.found
    layer.set_weights([w + 1 for w in layer.get_weights()])
    build(layer, name=None)
    assert not build.found


def test_a_layer_of_another_configuration_is_built(build: Build) -> None:
    weights = None
    for dropout in (0.0, 0.5):  # no difference to inference, but to the layer's description
        layer = ri.layers.SimpleRNN(2, name="rnn", dropout=dropout)
        layer.build((1, 4, 3))
        weights = weights or layer.get_weights()
        layer.set_weights(weights)
        build(layer)
        assert not build.found


def test_gradients_are_found(build: Build) -> None:
    entry = ["sequence", "gradients"]
    first = build(decay(), entry=entry)
    assert "verified" in build.stages
    assert build(decay(), entry=entry).to_bytes() == first.to_bytes()
    assert build.found
    build(decay(0.25), entry=entry)
    assert not build.found


def test_gradients_by_another_rule_are_built(build: Build) -> None:
    def doubled(times: float) -> Any:
        @jax.custom_vjp
        def double(x: Any) -> Any:
            return 2 * x

        double.defvjp(lambda x: (2 * x, None), lambda _, g: (times * g,))
        return lambda x: double(x)

    for times in (2.0, 3.0):
        artifact = build(doubled(times), ri.spec(3), entry="gradients")
        assert not build.found
        with rt.load(artifact.to_bytes(), device="vmvx") as model:
            got = model.gradients(np.ones(3, np.float32), cotangents=np.ones(3, np.float32))
        np.testing.assert_array_equal(got.inputs[0], np.full(3, times, np.float32))


def test_a_stateful_layer_is_built(build: Build) -> None:
    layer = ri.layers.SimpleRNN(2, stateful=True, name="rnn")
    for _ in range(2):
        build(layer)
        assert not build.found


def test_a_program_that_differs_at_other_sizes_only_is_built(build: Build) -> None:
    def program(x: Any) -> Any:
        return x.reshape(1, 4, 3)[:, :, :2] + 0 * x[:, :, :2]

    def any_batch(x: Any) -> Any:
        return x.reshape(x.shape)[:, :, :2] + 0 * x[:, :, :2]

    build(program)
    build(any_batch)
    assert not build.found


def test_without_cache_nothing_is_found(build: Build) -> None:
    build(decay())
    build(decay(), options=ri.BuildOptions(cache_dir=build.options.cache_dir, cache=False))
    assert not build.found


def test_what_could_not_be_verified_is_built_again(build: Build) -> None:
    for _ in range(2):
        artifact = build(decay(), targets=["hip:gfx942"])
        assert artifact.report()["targets"][0]["verification"]["status"] == "not run"
        assert not build.found


def test_a_damaged_entry_is_built_again(build: Build, tmp_path: Path) -> None:
    first = build(decay())
    (entry,) = (tmp_path / "artifacts-3").glob("??/*")
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)
    assert build(decay()).to_bytes() == first.to_bytes()
    assert not build.found


def test_fingerprints_tell_jaxprs_apart() -> None:
    def of(function: Any, *args: Any) -> str:
        return fingerprint_of(jax.make_jaxpr(function)(*args))

    x = np.zeros((2, 3), np.float32)
    assert of(lambda a: a + 1.0, x) == of(lambda b: b + 1.0, x)
    different = [
        of(lambda a: a + 1.0, x),
        of(lambda a: a + 2.0, x),
        of(lambda a: a - 1.0, x),
        of(lambda a: a + 1.0, x[:1]),
        of(lambda a: a + 1.0, x.astype(np.float16)),
        of(lambda a: a.sum(0), x),
        of(lambda a: a.sum(1), x),
        of(lambda a: a + np.arange(3, dtype=np.float32), x),
        of(lambda a: a + np.arange(3, 0, -1, dtype=np.float32), x),
        of(lambda a: jnp.where(a > 0, a, 0), x),
        of(lambda a: lax.scan(lambda c, v: (c + v, c), a[0], a)[1], x),
        of(lambda a: lax.scan(lambda c, v: (c + v, c), a[0], a, reverse=True)[1], x),
    ]
    assert len(set(different)) == len(different)


def test_a_callback_has_no_fingerprint() -> None:
    def program(x: Any) -> Any:
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(NoFingerprint):
        fingerprint_of(jax.make_jaxpr(program)(np.zeros(3, np.float32)))
