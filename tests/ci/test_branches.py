"""The check of `make coverage`: its table, its sentences, its status."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime" / "recurrent_iree_runtime"


@pytest.fixture(scope="module")
def branches():
    spec = importlib.util.spec_from_file_location("branches", ROOT / ".ci" / "branches.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def document(changes, loader):
    """What `coverage json` writes: 10 branches a file, all taken but for `changes`."""
    files = {}
    for name in (*loader, "_model", "_session"):
        missing = changes.get(name, [])
        summary = {"covered_branches": 10 - len(missing), "num_branches": 10}
        path = f"runtime/recurrent_iree_runtime/{name}.py"
        files[path] = {"summary": summary, "missing_branches": missing}
    return {"files": files | {"elsewhere.py": {"summary": summary, "missing_branches": []}}}


def run(branches, tmp_path, changes=None, loader=None):
    path = tmp_path / "coverage.json"
    loader = branches.LOADER if loader is None else loader
    path.write_text(json.dumps(document(changes or {}, loader)))
    return branches.main(str(path))


def test_all_branches(branches, tmp_path, capsys):
    assert run(branches, tmp_path) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out.splitlines()[-1].split() == [
        "the", "package", "170", "170", "100.0",
    ]  # fmt: skip
    assert "_model" not in printed.out and "elsewhere" not in printed.out


def test_a_branch_of_the_loader(branches, tmp_path, capsys):
    assert run(branches, tmp_path, {"_tree": [[3, 5]], "_model": [[8, -2]]}) == 1
    printed = capsys.readouterr()
    assert "9     10     90.0  3->5" in printed.out and "8->exit" in printed.out
    assert printed.err == (
        "error: the tests take 99.3% of the branches of the loader; at least 100% are needed: add "
        "tests for _tree.py, or remove dead code\n"
    )


def test_many_branches_of_the_rest(branches, tmp_path, capsys):
    assert run(branches, tmp_path, {"_session": [[i, i + 1] for i in range(8)]}) == 0
    assert run(branches, tmp_path, {"_session": [[i, i + 1] for i in range(9)]}) == 1
    assert "94.7% of the branches of the package; at least 95%" in capsys.readouterr().err


def test_a_file_that_was_not_measured(branches, tmp_path, capsys):
    assert run(branches, tmp_path, loader=[n for n in branches.LOADER if n != "_codec"]) == 1
    assert "_codec.py is a file of the loader and was not measured" in capsys.readouterr().err


def test_the_files_of_the_loader_exist(branches):
    assert [name for name in branches.LOADER if not (RUNTIME / f"{name}.py").is_file()] == []
