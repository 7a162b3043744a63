"""Progress while a sweep runs, and its table at the end."""

from collections.abc import Callable

import pytest

Row = dict[str, object]
_tables: dict[str, list[Row]] = {}


@pytest.fixture
def table() -> Callable[..., None]:
    """`table(title, column=value, ...)` adds a row to a table that is printed at the end."""

    def add(title: str, **row: object) -> None:
        _tables.setdefault(title, []).append(row)

    return add


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints a line at once, in spite of captured output."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    return reporter.write_line if reporter and reporter.verbosity > 0 else lambda line: None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, rows in _tables.items():
        terminalreporter.section(title)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        cells = [columns, *[[str(row.get(c, "")) for c in columns] for row in rows]]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        for line in cells:
            texts = [line[0].ljust(widths[0])]
            texts += [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
            terminalreporter.write_line("  ".join(texts).rstrip())
