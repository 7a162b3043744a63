"""Plain text for terminals: tables, trees, sizes and times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Node:
    """A line of a tree and the lines under it."""

    label: str
    children: list["Node"] = field(default_factory=list)

    def add(self, label: str) -> "Node":
        """Add a line under this one and return it."""
        self.children.append(Node(label))
        return self.children[-1]


def tree_text(node: Node) -> str:
    """The tree as text, one line per node.

    >>> root = Node("a"); _ = root.add("b"); print(tree_text(root))
    a
    └── b
    """
    return "\n".join([node.label, *_branches(node, "")])


def _branches(node: Node, indent: str) -> Iterable[str]:
    for i, child in enumerate(node.children):
        last = i == len(node.children) - 1
        yield f"{indent}{'└── ' if last else '├── '}{child.label}"
        yield from _branches(child, indent + ("    " if last else "│   "))


def table_text(headers: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> str:
    """A table with columns as wide as needed; `right` names the right-aligned headers.

    >>> print(table_text(["name", "ms"], [["a", "1.0"]], right="ms"))
    name   ms
    ----  ---
    a     1.0
    """
    body = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(headers), *body]) for i in range(len(headers))]
    aligned = set(right.split("|")) if right else set()
    lines = [headers, ["-" * width for width in widths], *body]
    texts = []
    for line in lines:
        cells = [
            cell.rjust(width) if header in aligned else cell.ljust(width)
            for cell, width, header in zip(line, widths, headers, strict=True)
        ]
        texts.append("  ".join(cells).rstrip())
    return "\n".join(texts)


def size_text(size: float) -> str:
    """Bytes in the unit that reads best.

    >>> size_text(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def time_text(seconds: float | None) -> str:
    """A time in the unit that reads best; `-` for none.

    >>> time_text(0.00125)
    '1.25 ms'
    """
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
