"""The Python blocks of README.md and docs/*.md run, top to bottom, one namespace per file.

A block that opens with ```` ```python no-run: reason ```` is not run.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[int, str, str]]:
    """Line number, info string and code of each Python block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, m.start("code")), m["info"].strip(), m["code"])
        for m in FENCE.finditer(text)
    ]


RUNNABLE = [page for page in PAGES if blocks(page)]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, info, code in blocks(page):
        if info.startswith("no-run"):
            assert len(info) > len("no-run: "), f"{page}:{line}: say why the block is not run"
            continue
        # Blank lines in front, so that a traceback shows the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_pages_with_python_are_found():
    assert {"README.md", "quickstart.md"} <= {page.name for page in RUNNABLE}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to files that do not exist"
