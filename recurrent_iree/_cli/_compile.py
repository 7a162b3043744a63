"""`recurrent-iree compile`: a layer or function of a Python file to an artifact."""

from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from recurrent_iree._compile import compile as compile_program
from recurrent_iree_compiler import Event, parse_target
from recurrent_iree_runtime import ArgumentError, RecurrentIreeError
from recurrent_iree_runtime.command_line import size_text

from ._load import error_text, load_program, parse_spec


@click.command("compile")
@click.argument("program")
@click.option(
    "--spec",
    "specs",
    multiple=True,
    metavar="DIMS[:DTYPE]",
    help="One for each input, in order: its dims between commas, such as batch=1,time=?,40.",
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    default=("cpu",),
    show_default=True,
    help="May be repeated: cpu, cpu:x86-64-v3, vulkan, cuda:sm_80, vmvx, xla, ...",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; default: NAME.riree.",
)
@click.option(
    "--weights",
    type=click.Choice(["f32", "bf16", "int8"]),
    default="f32",
    show_default=True,
    help="How the matrices of products are stored.",
)
@click.option("--name", help="The name of the program; default: the name in PROGRAM.")
@click.option(
    "--entry",
    "entries",
    multiple=True,
    help="May be repeated: sequence (main if no input has a time axis), gradients.",
)
@click.option(
    "--fallback",
    type=click.Choice(["loop", "error"]),
    default="loop",
    show_default=True,
    help="What becomes of a recurrence that cannot be one kernel on a target.",
)
@click.option("--quiet", is_flag=True, help="No progress, no summary.")
@click.option("--traceback", is_flag=True, help="Show where in your program an error comes from.")
def compile_command(
    program: str,
    specs: tuple[str, ...],
    targets: tuple[str, ...],
    output: Path | None,
    weights: Literal["f32", "bf16", "int8"],
    name: str | None,
    entries: tuple[str, ...],
    fallback: Literal["loop", "error"],
    quiet: bool,
    traceback: bool,
) -> None:
    """Compile PROGRAM, which is FILE.py:NAME or MODULE:NAME, ahead of time.

    NAME is a layer, or a function of JAX arrays. Compiling the same again takes the modules from
    the cache.

    \b
    Examples:
      recurrent-iree compile model.py:layer --spec "batch=1,time=?,40" -o model.riree
      recurrent-iree compile model.py:layer --spec "batch=1|8,time=16,40" --target vulkan
      recurrent-iree compile package.nets:decode --spec "batch=1,time=8:int32" --spec 128
    """
    name = name or program.rpartition(":")[2].replace(".", "_")
    output = output or Path(f"{name}.riree")
    found, parsed = load_program(program), [parse_spec(text) for text in specs]
    with TargetBars(targets, quiet) as bars:
        try:
            artifact = compile_program(
                found,
                *parsed,
                targets=targets,
                name=name,
                entry=entries or None,
                fallback=fallback,
                weights=weights,
                progress=bars.show,
            )
        except RecurrentIreeError:
            raise
        except Exception as error:  # whatever the user's program raises when it is traced
            if traceback:
                raise
            raise ArgumentError(
                f"{program} cannot be traced with {len(parsed)} --spec: {error_text(error)}. "
                "--traceback shows where this comes from"
            ) from error
    artifact.save(output)
    if not quiet:
        click.echo(f"{output}  {size_text(artifact.size)}  {', '.join(targets)}")


class TargetBars(Progress):
    """One bar for each target: planned, compiled, verified."""

    STEPS = {"plan": 0, "compile": 1, "cached": 2, "verify": 2, "verified": 3}

    def __init__(self, targets: tuple[str, ...], quiet: bool) -> None:
        console = Console(stderr=True, highlight=False)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[stage]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {
            parse_target(target).name: self.add_task(target, total=3, stage="waits")
            for target in targets
        }

    def show(self, event: Event) -> None:
        row = self._rows.get(event.target)
        if row is not None:
            stage = f"{event.stage} {event.detail}".strip()
            self.update(row, completed=self.STEPS.get(event.stage, 3), stage=stage)
