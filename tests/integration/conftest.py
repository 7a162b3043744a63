"""Each row of the table is compiled once for all targets and shared by the tests."""

import functools
from typing import Any

import programs
import pytest

import recurrent_iree as ri


@functools.cache
def compiled(name: str) -> tuple[Any, Any]:
    """The program of the row `name` and its artifact for every target of the table."""
    row = programs.BY_NAME[name]
    program = row.make()
    artifact = ri.compile(
        program, *row.specs, targets=list(programs.TARGETS), name=name, **row.keywords
    )
    return program, artifact


@pytest.fixture(params=[row.name for row in programs.ROWS])
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
