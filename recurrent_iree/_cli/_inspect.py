"""`recurrent-iree inspect`: what is in an artifact, as a tree."""

import json
from typing import Any

import click
from rich.text import Text
from rich.tree import Tree

import recurrent_iree_runtime as rt
from recurrent_iree_runtime.command_line import Node, inspect_json, inspect_tree

from ._options import artifact_argument, console

STYLES = ("bold", "cyan", "")  # of the title, of what hangs on it, of the rest


@click.command()
@artifact_argument
@click.option("--plan", is_flag=True, help="Add the planner's choices and reasons.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a tree.")
def inspect(artifact: str, plan: bool, as_json: bool) -> None:
    """Check ARTIFACT against its hashes and show what is inside.

    \b
    Examples:
      recurrent-iree inspect model.riree
      recurrent-iree inspect model.riree --plan
      recurrent-iree inspect model.riree --json | jq .manifest.entries
    """
    file = rt.read(artifact)
    report = json.loads(bytes(file.read_member("report.json"))) if plan else {}
    if as_json:
        document = inspect_json(file) | ({"report": report} if plan else {})
        click.echo(json.dumps(document, indent=2))
        return
    root = inspect_tree(file)
    if plan:
        _add_plan(root, report)
    console().print(_styled(root, None, 0))


def _styled(node: Node, parent: Tree | None, depth: int) -> Tree:
    label = Text(node.label, style=STYLES[min(depth, len(STYLES) - 1)])
    branch = Tree(label, guide_style="dim") if parent is None else parent.add(label)
    for child in node.children:
        _styled(child, branch, depth + 1)
    return branch


def _add_plan(root: Node, report: dict[str, Any]) -> None:
    plan = root.add("plan")
    captured = report.get("program", {})
    if "streaming" in captured:
        plan.add(f"can be streamed: {captured['streaming']}")
    for loop in captured.get("loops", []):
        plan.add("loop with " + ", ".join(f"{name}: {value}" for name, value in loop.items()))
    for target in report["targets"]:
        node = plan.add(target["target"])
        if target["note"]:
            node.add(target["note"])
        if target.get("lengths"):
            node.add(f"sequences of any length: {target['lengths']}")
        for made, times in _each_once(target["recurrences"]):
            steps = "" if made["steps"] is None else f", {made['steps']} steps"
            often = f", {times} times" if times > 1 else ""
            line = node.add(f"{made['recurrence']}: {made['form']}{steps}{often}")
            line.add(made["reason"])
            _add_details(line, made["details"])
        if target.get("products"):
            node.add(f"products outside of loops: {target['products']}")
        if target.get("schedule"):
            node.add(f"kernels: {target['schedule']}")
        checked = target["verification"]
        calls = f", {checked['calls']} golden calls" if checked["calls"] else ""
        why = f": {checked['reason']}" if checked["reason"] else ""
        node.add(f"{checked['status']} at build time{calls}{why}")


def _each_once(decisions: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Decisions in a row that differ in the name only, such as those of pieces, and how many."""
    found: list[tuple[dict[str, Any], int]] = []
    for made in decisions:
        rest = {key: value for key, value in made.items() if key != "recurrence"}
        if found and {k: v for k, v in found[-1][0].items() if k != "recurrence"} == rest:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((made, 1))
    return found


def _add_details(line: Node, details: dict[str, Any]) -> None:
    """Plain values and the text of a kernel's plan; what is nested is in the JSON."""
    for name, value in details.items():
        if name == "text":
            for text in str(value).splitlines():
                line.add(text.rstrip())
        elif not isinstance(value, (dict, list)):
            line.add(f"{name}: {value}")
