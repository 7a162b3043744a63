"""Each row of the table is compiled once, and shared by the tests."""

import functools
from typing import Any

import programs
import pytest

import recurrent_iree as ri

VULKAN = tuple(t for t in programs.TARGETS if t.startswith("vulkan"))
OTHERS = tuple(t for t in programs.TARGETS if t not in VULKAN)


def compiled(name: str, target: str) -> tuple[Any, Any]:
    """The program of the row `name`, and an artifact of it for `target` and others.

    Tests on Vulkan run apart from the others (`make test`), so they have an artifact of their own.
    """
    return _compiled(name, VULKAN if target in VULKAN else OTHERS)


@functools.cache
def _compiled(name: str, targets: tuple[str, ...]) -> tuple[Any, Any]:
    row = programs.BY_NAME[name]
    program = row.make()
    artifact = ri.compile(program, *row.specs, targets=list(targets), name=name, **row.keywords)
    return program, artifact


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
