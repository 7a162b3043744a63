"""Every program on every target gives the numbers of JAX, whole and step by step."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import programs
import pytest

import recurrent_iree_runtime as rt
from recurrent_iree import Spec

from .conftest import compiled, device_of


def random(given: Spec, sizes: dict[str, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = given.shape(sizes)
    if given.dtype == "bool":
        return rng.random(shape) < 0.6
    return (rng.standard_normal(shape) * 0.7).astype(given.dtype)


def arguments(row: programs.Row, sizes: dict[str, int], seed: int) -> tuple[list[Any], dict]:
    args = [random(given, sizes, seed + i) for i, given in enumerate(row.specs)]
    kwargs = {k: random(given, sizes, seed + 50) for k, given in row.keywords.items()}
    return args, kwargs


def assert_same(got: Any, want: Any, row: programs.Row) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        other = np.asarray(other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=row.rtol, atol=row.atol)


def test_whole_calls(row: programs.Row, target: str) -> None:
    program, artifact = compiled(row.name, target)
    with rt.load(artifact.to_bytes(), device=device_of(target)) as model:
        for seed, sizes in enumerate(row.sizes):
            args, kwargs = arguments(row, sizes, seed=7 * seed + 1)
            assert_same(model(*args, **kwargs), jax.jit(program)(*args, **kwargs), row)


def test_step_by_step_equals_the_sequence(row: programs.Row, target: str) -> None:
    if not row.streams:
        assert not compiled(row.name, target)[1].manifest.streams
        return
    program, artifact = compiled(row.name, target)
    sizes = row.sizes[-1]
    args, kwargs = arguments(row, sizes, seed=3)
    want = jax.jit(program)(*args, **kwargs)
    steps = min(sizes["time"], 12)
    with rt.load(artifact.to_bytes(), device=device_of(target)) as model:
        with model.session(batch=sizes["batch"]) as session:
            outputs = [
                session.step(*cut(row.specs, args, t), **cut_named(row, kwargs, t))
                for t in range(steps)
            ]
    for path, leaf in jax.tree_util.tree_leaves_with_path(want):
        got = [dict(jax.tree_util.tree_leaves_with_path(o))[path] for o in outputs]
        leaf = np.asarray(leaf)
        axis = time_axis(leaf, got[0], sizes["time"])
        if axis is not None:
            expected = np.moveaxis(leaf, axis, 0)[:steps]
            np.testing.assert_allclose(np.stack(got), expected, rtol=row.rtol, atol=row.atol)
        elif steps == sizes["time"]:
            np.testing.assert_allclose(got[-1], leaf, rtol=row.rtol, atol=row.atol)


def cut(specs: Sequence[Spec], args: Sequence[np.ndarray], t: int) -> list[np.ndarray]:
    return [
        a if given.time_axis is None else np.take(a, t, axis=given.time_axis)
        for given, a in zip(specs, args, strict=True)
    ]


def cut_named(row: programs.Row, kwargs: dict[str, np.ndarray], t: int) -> dict[str, Any]:
    names = list(kwargs)
    values = cut([row.keywords[n] for n in names], [kwargs[n] for n in names], t)
    return dict(zip(names, values, strict=True))


def time_axis(whole: np.ndarray, step: np.ndarray, time: int) -> int | None:
    if step.ndim == whole.ndim:
        return None
    return next(
        axis
        for axis, size in enumerate(whole.shape)
        if size == time and whole.shape[:axis] + whole.shape[axis + 1 :] == step.shape
    )


@pytest.mark.parametrize("target", [t for t in programs.TARGETS if not t.startswith("vulkan")])
def test_every_artifact_was_verified_here(row: programs.Row, target: str) -> None:
    _, artifact = compiled(row.name, target)
    statuses = {t["target"]: t["verification"]["status"] for t in artifact.report()["targets"]}
    assert statuses[target] == "verified"
