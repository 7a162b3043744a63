"""Collects the conformance cases, and counts them per API at the end."""

from collections import Counter
from pathlib import Path

import pytest
from conformance.cases import find

DATA = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--conformance-dir",
        action="append",
        default=[],
        metavar="DIR",
        help="also replay the conformance cases of this folder (repeatable)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_path" not in metafunc.fixturenames:
        return
    paths = []
    for folder in [DATA, *map(Path, metafunc.config.getoption("--conformance-dir", []))]:
        found = find(folder)
        if not found:
            raise pytest.UsageError(f"no conformance case in {folder}")
        paths += found
    metafunc.parametrize("case_path", paths, ids=[f"{p.parent.name}/{p.stem}" for p in paths])


@pytest.fixture(autouse=True)
def _count(request: pytest.FixtureRequest, record_property) -> None:
    if "case_path" in request.fixturenames:
        kind = request.node.originalname.removeprefix("test_")
        record_property("conformance", f"{request.getfixturevalue('case_path').parent.name} {kind}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, Counter] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            key = dict(getattr(report, "user_properties", ())).get("conformance")
            if key is not None:
                counts.setdefault(key, Counter())[outcome] += 1
    if not counts:
        return
    terminalreporter.section("conformance cases")
    for key, found in sorted(counts.items()):
        parts = ", ".join(f"{number} {outcome}" for outcome, number in found.items())
        terminalreporter.line(f"{key}: {parts}")
