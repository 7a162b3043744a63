"""Steps of `batch=?` whose rows need each other: written out without a loop, or refused."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from compiler.fused.running import assert_trees_close
from jax import lax

import recurrent_iree as ri
import recurrent_iree_runtime as rt
from recurrent_iree_compiler import _build

FEATURES = 3
rng = np.random.default_rng(5)


def _most_of_rows(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = jnp.tanh(v + h - 0.5 * jnp.max(h, axis=0))
        return h, (h, h[:, 0] > 0)

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def _mean_of_rows(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = jnp.tanh(v + h - jnp.mean(h, axis=0))
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def _ends_together(x: Any) -> Any:
    def step(state: Any, v: Any) -> Any:
        h, done = state
        h = jnp.where(done, h, jnp.tanh(v + h))
        return (h, jnp.all(h > 0.9)), h

    return lax.scan(step, (jnp.zeros_like(x[0]), False), x)[1]


def _between_rows(x: Any) -> Any:
    """A product over the rows, backwards."""

    def step(state: Any, v: Any) -> Any:
        h, count = state
        h = jnp.tanh(v + 0.01 * (h @ (h.T @ v)) + 0.1 * count)
        return (h, count + 1), h.T

    return lax.scan(step, (jnp.zeros_like(x[0]), jnp.zeros(())), x, reverse=True)


def _turned(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = 0.5 * jnp.roll(h, 1, axis=0) + v
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def _nested(x: Any) -> Any:
    """Rows of their own, but no kernel: a loop in the loop, over what has no rows."""

    def step(state: Any, v: Any) -> Any:
        h, table = state
        table = lax.fori_loop(0, 3, lambda _, a: jnp.cos(a), table)
        h = 0.5 * h * table + v
        return (h, table), h

    return lax.scan(step, (jnp.zeros_like(x[0]), jnp.ones(FEATURES)), x)[1]


def _loop_in_the_loop(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        return lax.fori_loop(0, 3, lambda _, a: jnp.cos(a + v - jnp.mean(a, 0)), h), h

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


NEED_EACH_OTHER = {
    _most_of_rows: "stablehlo.reduce: a row may need another row",
    _mean_of_rows: "stablehlo.reduce: a row may need another row",
    _ends_together: "stablehlo.reduce: a row may need another row",
    _between_rows: "stablehlo.dot_general: a row may need another row",
    _turned: "stablehlo.slice: a row may need another row",
    _nested: "stablehlo.while: control flow or a region inside the cell",
}


@pytest.mark.parametrize("program", NEED_EACH_OTHER)
def test_steps_whose_rows_need_each_other_are_written_out(program: Any) -> None:
    artifact = ri.compile(program, ri.spec(5, "batch=?", FEATURES), targets=["cpu"])
    (target,) = artifact.report()["targets"]
    assert target["verification"]["status"] == "verified"
    (made,) = target["recurrences"]
    assert (made["form"], made["steps"]) == ("steps in a row", 5)
    assert NEED_EACH_OTHER[program] in made["reason"]
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in (1, 2, 7, 40):
            x = rng.standard_normal((5, batch, FEATURES)).astype(np.float32)
            assert_trees_close(model(x), program(jnp.asarray(x)))


def _sorted(x: Any) -> Any:
    def step(h: Any, v: Any) -> Any:
        h = jnp.sort(v - 0.5 * h, axis=-1)
        return h, h

    return lax.scan(step, jnp.zeros_like(x[0]), x)[1]


def test_parts_of_a_step_that_never_meet() -> None:
    """A state that only goes through the loop is cut into rows, too, and so is a counter."""

    def counted(x: Any, start: Any) -> Any:
        def step(state: Any, v: Any) -> Any:
            h, count, old = state
            return (jnp.tanh(v + h), (count + 1) % 3, old), (h, count, old)

        first = (jnp.zeros_like(x[0]), (x[0, :, 0] > 0).astype(jnp.int32), start)
        return lax.scan(step, first, x)

    specs = ri.spec(5, "batch=?", FEATURES), ri.spec("batch=?", 2)
    artifact = ri.compile(counted, *specs, targets=["cpu"], fallback="error")
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in (1, 4, 7):
            x = rng.standard_normal((5, batch, FEATURES)).astype(np.float32)
            start = rng.standard_normal((batch, 2)).astype(np.float32)
            assert_trees_close(model(x, start), counted(x, start))


def test_a_step_may_compute_with_the_number_of_rows() -> None:
    def program(x: Any) -> Any:
        def step(h: Any, v: Any) -> Any:
            h = jnp.tanh(v + h / h.shape[0])
            return h, h

        return lax.scan(step, jnp.zeros_like(x[0]), x)[1] * x.shape[1]

    artifact = ri.compile(program, ri.spec(5, "batch=?", FEATURES), targets=["cpu"])
    with rt.load(artifact.to_bytes(), device="cpu") as model:
        for batch in (1, 4, 7):
            x = rng.standard_normal((5, batch, FEATURES)).astype(np.float32)
            assert_trees_close(model(x), program(jnp.asarray(x)))


def test_steps_that_iree_does_not_compile_are_refused() -> None:
    message = 'IREE does not compile .*because of stablehlo.sort: .*"batch=1|8"'
    with pytest.raises(ri.UnsupportedError, match=message):
        ri.compile(_sorted, ri.spec(5, "batch=?", FEATURES), targets=["cpu"])


def test_a_loop_in_the_loop_over_any_number_of_rows_is_refused() -> None:
    with pytest.raises(ri.UnsupportedError, match='dynamic size.*"batch=1|8"'):
        ri.compile(_loop_in_the_loop, ri.spec(5, "batch=?", FEATURES), targets=["cpu"])


def test_a_stream_of_rows_that_need_each_other() -> None:
    def program(x: Any) -> Any:
        return jnp.swapaxes(_most_of_rows(jnp.swapaxes(x, 0, 1))[0], 0, 1)

    artifact = ri.compile(program, ri.spec("batch=?", "time=4", FEATURES), targets=["cpu"])
    x = rng.standard_normal((6, 4, FEATURES)).astype(np.float32)
    with rt.load(artifact.to_bytes(), device="cpu") as model, model.session(batch=6) as stream:
        made = np.stack([stream.step(x[:, t]) for t in range(4)], axis=1)
        assert_trees_close([made, model(x)], [program(jnp.asarray(x))] * 2)


@pytest.mark.parametrize(("time", "has"), [(33, "it has 33"), ("time=?", "it has any number of")])
def test_many_steps_whose_rows_need_each_other_are_refused(time: Any, has: str) -> None:
    message = f'stablehlo.reduce: a row may.*Up to 32 steps are written out.*{has}.*"batch=1|8"'
    with pytest.raises(ri.UnsupportedError, match=message):
        ri.compile(_most_of_rows, ri.spec(time, "batch=?", FEATURES), targets=["cpu"])


def test_steps_whose_rows_need_each_other_are_refused_on_request() -> None:
    spec = ri.spec(5, "batch=?", FEATURES)
    with pytest.raises(ri.UnsupportedError, match="cannot be fused.*stablehlo.reduce: a row may"):
        ri.compile(_most_of_rows, spec, targets=["cpu"], fallback="error")


def test_wrong_numbers_of_any_number_of_rows_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """No chunks stand in for a number of rows, as they do for a number of steps."""
    right = _build.compile_module

    def wrong(text: str, *rest: Any) -> bytes:
        assert "8.125000e-01" in text
        return right(text.replace("8.125000e-01", "8.750000e-01"), *rest)

    def program(x: Any) -> Any:
        return lax.scan(lambda h, v: (h * 0.8125 + v, h), jnp.zeros_like(x[0]), x)[1]

    monkeypatch.setattr(_build, "compile_module", wrong)
    message = 'golden calls: .*wrong numbers.*stand in for .*"batch=\\?"; name .*"batch=1|8"'
    with pytest.raises(rt.VerificationError, match=message):
        ri.compile(program, ri.spec(4, "batch=?", FEATURES), targets=["cpu"],
                   options=ri.BuildOptions(cache_dir=tmp_path))  # fmt: skip
