"""The `recurrent-iree` group: errors of our tree become one line and exit status 1."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from recurrent_iree_runtime import RecurrentIreeError

from ._bench import bench
from ._compile import compile_command
from ._devices import devices
from ._inspect import inspect
from ._recompile import recompile
from ._run import run
from ._sign import keygen, sign
from ._verify import verify


class OneLineErrors(click.Group):
    """A group whose commands may raise errors of our tree."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RecurrentIreeError as error:
            raise click.ClickException(" ".join(str(error).split())) from error


def _version() -> str:
    try:
        return version("recurrent-iree")
    except PackageNotFoundError:
        return "(not installed)"


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="recurrent-iree")
def main() -> None:
    """Compile recurrent JAX programs to one file, and run, check and measure that file.

    \b
    Examples:
      recurrent-iree compile model.py:layer --spec "batch=1,time=?,40" -o model.riree
      recurrent-iree inspect model.riree
      recurrent-iree bench model.riree --device cpu --device vulkan --against xla
    """


commands = (compile_command, recompile, run, inspect, verify, bench, devices, sign, keygen)
for command in commands:
    main.add_command(command)
