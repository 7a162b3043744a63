"""Every named item of the five reference pages, and the tests that prove it.

    python -m recurrent_iree.coverage_of_seeds [--markdown] [--root DIR]

prints a count per page, and fails where an item has no test, a named test does not exist, or an
item, parameter, property or method of a page is missing here or in the implementation. It is a
tool of the repository: the items are in ``tests/seeds``, one file per page.
"""

import argparse
import ast
import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recurrent_iree_runtime import ArgumentError

DATA, PAGE = "tests/seeds", "docs/coverage_of_seeds.md"
CASES = "tests/conformance/data/cases"
KINDS = ("arguments", "returns", "raises", "properties", "methods", "notes")
HEAD = """# Coverage of the reference pages

Every named item of the five pages that this project follows, and the tests that prove it. Written
by `python -m recurrent_iree.coverage_of_seeds --markdown` from `tests/seeds`; the same command
without `--markdown` fails if an item has no test, or a test named here does not exist.

`file::test` is a test under `tests/`. `api/case` is a recording of the original release under
`tests/conformance/data/cases`, replayed in JAX and, where it computes something forward, compiled.
"""


@dataclass(frozen=True)
class Page:
    """One reference page: what it names, and the tests of each item."""

    file: Path
    name: str
    source: str
    implementation: str
    signature: str
    headings: list[str]
    items: dict[str, dict[str, list[str]]]
    not_applicable: dict[str, str]

    def count(self) -> int:
        """The number of items that need a test."""
        return sum(len(found) for found in self.items.values())


def read_pages(root: Path) -> list[Page]:
    """The pages described under ``root``, in the order of their file names."""
    return [_read(path) for path in sorted((root / DATA).glob("*.toml"))]


def _read(path: Path) -> Page:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    page = Page(
        file=path,
        name=data.pop("name"),
        source=data.pop("source"),
        implementation=data.pop("implementation"),
        signature=data.pop("signature"),
        headings=data.pop("headings", []),
        items={kind: data.pop(kind) for kind in KINDS if kind in data},
        not_applicable=data.pop("not_applicable", {}),
    )
    if data:
        raise ArgumentError(f"{path}: unknown keys {sorted(data)}")
    return page


def problems(page: Page, root: Path) -> Iterator[str]:
    """What is missing of a page, one sentence each."""
    yield from _missing_items(page)
    yield from _missing_code(page)
    for kind, items in page.items.items():
        for item, tests in items.items():
            if not tests:
                yield f"{page.name}: {kind}: `{item}` has no test"
            for test in tests:
                if not exists(test, root):
                    yield f"{page.name}: {kind}: `{item}` names `{test}`, which does not exist"


def exists(test: str, root: Path) -> bool:
    """Whether ``file::function`` (under ``tests``) or the recording ``api/case`` exists."""
    file, separator, function = test.partition("::")
    if not separator:
        return (root / CASES / f"{test}.json").is_file()
    path = root / "tests" / file
    return path.is_file() and function in _tests_of(path)


def _tests_of(path: Path) -> set[str]:
    """The test functions of a file that are not skipped for good."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not any("mark.skip" in ast.unparse(mark) for mark in node.decorator_list)
    }


def _missing_items(page: Page) -> Iterator[str]:
    """Parameters and headings of the page that no item stands for, and the other way round."""
    parameters = [name for name, _ in _parameters(page.signature) if name != "kwargs"]
    for name in parameters:
        if name not in page.items.get("arguments", {}):
            yield f"{page.name}: the parameter `{name}` of its signature is no item"
    members = [*page.items.get("properties", {}), *page.items.get("methods", {})]
    listed = [member.partition("(")[0] for member in members]
    for heading in page.headings:
        if heading not in listed:
            yield f"{page.name}: the heading `{heading}` of the page is no item"
    for name in listed:
        if name not in page.headings:
            yield f"{page.name}: the item `{name}` is no heading of the page"


def _missing_code(page: Page) -> Iterator[str]:
    """What the implementation lacks of signatures, properties and methods of the page."""
    module, _, name = page.implementation.rpartition(".")
    target = getattr(importlib.import_module(module), name)
    owner = page.implementation
    yield from _signature_problems(target, page.signature, owner)
    for prop in page.items.get("properties", {}):
        if not isinstance(getattr(target, prop, None), property) and not _instance_has(
            target, prop
        ):
            yield f"{page.name}: `{owner}` has no property `{prop}`"
    for method in page.items.get("methods", {}):
        name = method.partition("(")[0]
        found = getattr(target, name, None)
        if not callable(found):
            yield f"{page.name}: `{owner}` has no method `{name}`"
        elif name != "__init__":
            yield from _signature_problems(found, method, f"{owner}.{name}")


def _instance_has(target: type, name: str) -> bool:
    """Whether a constructor of ``target`` or of a base assigns ``self.name``."""
    sources = [inspect.getsource(c.__init__) for c in target.__mro__ if "__init__" in vars(c)
               and c is not object]  # fmt: skip
    return any(f"self.{name} = " in source for source in sources)


def _signature_problems(function: Any, signature: str, owner: str) -> Iterator[str]:
    """Parameters of ``signature`` that ``function`` lacks, or has in another order or default."""
    found = list(inspect.signature(function).parameters.values())
    found = [parameter for parameter in found if parameter.name not in ("self", "cls")]
    for index, (name, default) in enumerate(_parameters(signature)):
        parameter = found[index] if index < len(found) else None
        if name in ("args", "kwargs"):
            if not any(p.name == name or p.kind is p.VAR_KEYWORD for p in found):
                yield f"`{owner}` does not take `*{name}` as the page says: `{signature}`"
        elif parameter is None or parameter.name != name:
            yield f"`{owner}` does not take `{name}` where the page says: `{signature}`"
        elif default is not inspect.Parameter.empty and parameter.default != default:
            yield f"`{owner}`: the default of `{name}` is not {default!r}: `{signature}`"


def _parameters(signature: str) -> list[tuple[str, Any]]:
    """Names and defaults of ``name(a, b=1, *args, **kwargs)``."""
    call = signature[signature.index("(") :]
    arguments = ast.parse(f"def f{call}: pass").body[0].args  # type: ignore[attr-defined]
    missing = len(arguments.args) - len(arguments.defaults)
    defaults = [inspect.Parameter.empty] * missing
    defaults += [ast.literal_eval(default) for default in arguments.defaults]
    named = [(a.arg, d) for a, d in zip(arguments.args, defaults, strict=True)]
    stars = [star.arg for star in (arguments.vararg, arguments.kwarg) if star is not None]
    return named + [(star, inspect.Parameter.empty) for star in stars]


def markdown(pages: list[Page]) -> str:
    """The page of the documentation."""
    parts = [HEAD, "| page | items |\n|---|---|"]
    parts[1] += "".join(f"\n| [{page.name}](#{_anchor(page.name)}) | {page.count()} |"
                        for page in pages)  # fmt: skip
    parts[1] += f"\n| together | {sum(page.count() for page in pages)} |\n"
    for page in pages:
        parts.append(f"## {page.name}\n\n<{page.source}> → `{page.implementation}`\n")
        for kind, items in page.items.items():
            rows = [f"| {_code(item)} | {_tests(tests)} |" for item, tests in items.items()]
            parts.append("\n".join([f"| {kind} | proved by |\n|---|---|", *rows]) + "\n")
        if page.not_applicable:
            rows = [f"| {item} | {reason} |" for item, reason in page.not_applicable.items()]
            parts.append("\n".join(["| not applicable | why |\n|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _code(item: str) -> str:
    return item if " " in item and "(" not in item else f"`{item}`"


def _tests(tests: list[str]) -> str:
    return "<br>".join(f"`{test.removeprefix('recurrent_iree/')}`" for test in tests)


def _anchor(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c in "_-")


def report(pages: list[Page], found: list[str]) -> None:
    """Print the counts, and what is missing."""
    table = Table("page", *KINDS, "tests")
    for page in pages:
        kinds = [str(len(page.items.get(kind, {})) or "") for kind in KINDS]
        tests = {
            test for items in page.items.values() for named in items.values() for test in named
        }
        table.add_row(page.name, *kinds, str(len(tests)))
    console = Console(width=max(110, Console().width))
    console.print(table)
    for problem in found:
        console.print(problem, markup=False, highlight=False, soft_wrap=True)
    total = sum(page.count() for page in pages)
    console.print(f"{total} items of {len(pages)} pages, {len(found)} problems", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """The command: 0 if every item has a test that exists, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m recurrent_iree.coverage_of_seeds",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.add_argument("--markdown", action="store_true", help=f"write {PAGE}")
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parents[1], help="the repository"
    )
    options = parser.parse_args(arguments)
    pages = read_pages(options.root)
    if not pages:
        parser.error(f"no {DATA}/*.toml in {options.root}: run it in a checkout, or give --root")
    found = [problem for page in pages for problem in problems(page, options.root)]
    if options.markdown:
        (options.root / PAGE).write_text(markdown(pages), encoding="utf-8")
    report(pages, found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
