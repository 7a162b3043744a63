"""Whether the tests take the branches of the runtime that they must: `make coverage` runs this.

    python .ci/branches.py coverage.json

The file is that of `coverage json`. The loader, which reads files that others wrote, must be at
100%, the package as a whole at 95%.
"""

import json
import sys
from pathlib import Path
from typing import Any

PACKAGE = "recurrent_iree_runtime"
LEAST = 95.0
LOADER = (
    "_artifact _codec _container _dtypes _load _manifest _manifest_check _safetensors _signing "
    "_snapshot _storage _tree _variants _versions _zip_layout"
).split()


def percent(taken: int, branches: int) -> float:
    """Rounded down to a tenth, so that only all of them are 100."""
    return 100.0 if not branches else taken * 1000 // branches / 10


def figures(document: dict[str, Any]) -> dict[str, tuple[int, int, list[list[int]]]]:
    """For each file of the package: branches taken, branches, and those that are missing."""
    found = {}
    for path, file in document["files"].items():
        _, package, name = Path(path).as_posix().rpartition(f"{PACKAGE}/")
        summary = file["summary"]
        if package:
            found[name.removesuffix(".py")] = (
                summary["covered_branches"], summary["num_branches"], file["missing_branches"],
            )  # fmt: skip
    return found


def check(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The lines of a table, and a sentence for each thing that is wrong."""
    files = figures(document)
    loader = {name: files[name] for name in LOADER if name in files}
    wrong = [f"{name}.py is a file of the loader and was not measured"
             for name in LOADER if name not in files]  # fmt: skip
    lines = [f"{'branches':<32}{'taken':>7}{'of':>7}{'percent':>9}  missing"]
    for name, (taken, branches, missing) in sorted(files.items()):
        if missing or name in loader:
            arrows = " ".join(f"{a}->{b if b > 0 else 'exit'}" for a, b in missing)
            mark = " (loader)" if name in loader else ""
            lines.append(_line(name + mark, taken, branches) + f"  {arrows}".rstrip())
    for title, group, least in (("the loader", loader, 100.0), ("the package", files, LEAST)):
        taken, branches = (sum(file[i] for file in group.values()) for i in (0, 1))
        lines.append(_line(title, taken, branches))
        if percent(taken, branches) < least:
            names = ", ".join(f"{name}.py" for name, file in sorted(group.items()) if file[2])
            wrong.append(
                f"the tests take {percent(taken, branches):.1f}% of the branches of {title}; at "
                f"least {least:.0f}% are needed: add tests for {names}, or remove dead code"
            )
    return lines, wrong


def _line(name: str, taken: int, branches: int) -> str:
    return f"{name:<32}{taken:>7}{branches:>7}{percent(taken, branches):>9.1f}"


def main(path: str) -> int:
    """Print the table; the status is 1, and a sentence says why, if branches are missing."""
    lines, wrong = check(json.loads(Path(path).read_text()))
    print("\n".join(lines))
    for sentence in wrong:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
