"""`recurrent-iree keygen` and `recurrent-iree sign`: who vouches for an artifact."""

import os
from pathlib import Path

import click

import recurrent_iree_runtime as rt

from ._options import artifact_argument


@click.command()
@artifact_argument
@click.option("--key", required=True, metavar="KEY", help="The private key, as `keygen` writes it.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write; default: ARTIFACT itself.",
)
def sign(artifact: str, key: str, output: Path | None) -> None:
    """Sign ARTIFACT, so that `load(..., trusted_keys=[...])` takes it.

    Signatures of other keys stay. Any change of ARTIFACT makes them void.

    \b
    Examples:
      recurrent-iree sign model.riree --key release.key
      recurrent-iree verify model.riree --trusted-key release.key.pub
    """
    data = rt.sign(artifact, key)
    rt.write_atomic(output or Path(artifact), iter([data]))


@click.command()
@click.argument("name", type=click.Path(path_type=Path, dir_okay=False))
def keygen(name: Path) -> None:
    """Make a key: NAME is private and stays secret, NAME.pub is for those who check.

    Nothing is overwritten. The private key is not encrypted; only its owner may read the file.

    \b
    Examples:
      recurrent-iree keygen release.key
    """
    private, public = rt.generate_key()
    _write_new(name, private, 0o600)
    _write_new(Path(f"{name}.pub"), public, 0o644)
    click.echo(f"{name} (keep it secret), {name}.pub")


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise rt.StorageError(error.errno, f"{path} could not be written: {reason}") from error
