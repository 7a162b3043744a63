"""Collects the conformance cases, and counts them per API at the end."""

from collections import Counter
from pathlib import Path

import pytest
from conformance.cases import find

DATA = Path(__file__).parent / "data"
CASES = {"case_path", "case_group", "third_group"}
TOGETHER = 6  # cases in one module: a compiler that is started for each takes much longer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="also replay the conformance cases of this folder (repeatable)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`case_path` is one case; `case_group` has some of one API, `third_group` some of a third."""
    for name in CASES & set(metafunc.fixturenames):
        paths = _paths(metafunc)
        if name == "case_path":
            metafunc.parametrize(name, paths, ids=[f"{p.parent.name}/{p.stem}" for p in paths])
            continue
        groups = _together(paths, 3 if name == "third_group" else 1)
        ids = [f"{g[0].parent.name}/{g[0].stem}..{g[-1].stem}" for g in groups]
        metafunc.parametrize(name, groups, ids=ids)


def _paths(metafunc: pytest.Metafunc) -> list[Path]:
    paths = []
    for folder in [DATA, *map(Path, metafunc.config.getoption("--conformance-dir", []))]:
        found = find(folder)
        if not found:
            raise pytest.UsageError(f"no conformance case in {folder}")
        paths += found
    return paths


def _together(paths: list[Path], step: int) -> list[list[Path]]:
    """Every path number `step` of each API, in groups."""
    by_api: dict[str, list[Path]] = {}
    for path in paths:
        by_api.setdefault(path.parent.name, []).append(path)
    chosen = [found[::step] for found in by_api.values()]
    return [some[n : n + TOGETHER] for some in chosen for n in range(0, len(some), TOGETHER)]


@pytest.fixture(autouse=True)
def _count(request: pytest.FixtureRequest, record_property) -> None:
    kind = request.node.originalname.removeprefix("test_")
    for name in CASES & set(request.fixturenames):
        given = request.getfixturevalue(name)
        for path in [given] if name == "case_path" else given:
            record_property("conformance", f"{path.parent.name} {kind}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, key in getattr(report, "user_properties", ()):
                if name == "conformance":
                    counts.setdefault(key, Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("conformance cases")
    for key, found in sorted(counts.items()):
        parts = ", ".join(f"{number} {outcome}" for outcome, number in found.items())
        terminalreporter.line(f"{key}: {parts}")
