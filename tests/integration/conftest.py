"""Each row of the table is compiled once, and shared by the tests."""

import functools
from typing import Any

import programs
import pytest

import recurrent_iree as ri

TOGETHER = ("vmvx", "xla")
OFTEN = {row.name for row in programs.ROWS[::3]}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if _is_seldom(given.get("target", "cpu"), given.get("row")):
            item.add_marker(pytest.mark.slow)


def _is_seldom(target: str, row: str | None) -> bool:
    """All targets but the CPU are slow to build: every third row, and all of them in the sweep."""
    if row is None:
        return target in TOGETHER
    return target != "cpu" and row not in OFTEN


def compiled(name: str, target: str) -> tuple[Any, Any]:
    """The program of the row `name`, and an artifact of it for `target`, maybe among others."""
    return _compiled(name, TOGETHER if target in TOGETHER else (target,))


@functools.cache
def _compiled(name: str, targets: tuple[str, ...]) -> tuple[Any, Any]:
    row = programs.BY_NAME[name]
    program = row.make()
    # A verification on a software driver takes seconds, and says what the tests see anyway.
    options = ri.BuildOptions(verify=not any(t.startswith("vulkan") for t in targets))
    named = {"name": name, "options": options, **row.keywords}
    return program, ri.compile(program, *row.specs, targets=list(targets), **named)


# Of the module, so that pytest runs the tests of one row one after the other.
@pytest.fixture(scope="module", params=[row.name for row in programs.ROWS])
def row(request: pytest.FixtureRequest) -> programs.Row:
    return programs.BY_NAME[request.param]


@pytest.fixture(
    params=[
        pytest.param(t, marks=pytest.mark.vulkan if t.startswith("vulkan") else ())
        for t in programs.TARGETS
    ]
)
def target(request: pytest.FixtureRequest) -> str:
    return request.param


def device_of(target: str) -> str:
    """The device string on which the module for `target` runs here."""
    return target.split(":")[0]
