"""Arrays from and to `.npy` and `.npz` files, for the command line."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ._container import write_atomic
from ._errors import ArgumentError
from ._manifest import Entry


def read_arrays(path: str) -> dict[str, np.ndarray] | np.ndarray:
    """The array of a `.npy` file, or those of a `.npz` file by name; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                found = {name: loaded[name] for name in loaded.files}
            if not all(isinstance(array, np.ndarray) for array in found.values()):
                raise ValueError("a member is no .npy file")
            return found
        return loaded
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise ArgumentError(f"{path} is not a .npy or .npz file of plain arrays") from error


def gather_inputs(entry: Entry, given: Sequence[str]) -> list[np.ndarray]:
    """One array per input leaf, from `FILE.npy` (in order), `NAME=FILE.npy` and `FILE.npz`.

    Raises `ArgumentError` for an unknown name and for missing or surplus inputs.
    """
    names = [leaf.name for leaf in entry.inputs]
    found: dict[str, np.ndarray] = {}
    in_order: list[np.ndarray] = []
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in names:
            found[name] = _single(read_arrays(path), path)
        elif equals and not Path(text).exists():
            raise ArgumentError(f"{entry.name!r} has no input {name!r}; it has {', '.join(names)}")
        else:
            array = read_arrays(text)
            if isinstance(array, dict):
                found |= array
            else:
                in_order.append(array)
    for name in found:
        if name not in names:
            raise ArgumentError(f"{entry.name!r} has no input {name!r}; it has {', '.join(names)}")
    open_names = [name for name in names if name not in found]
    if len(in_order) != len(open_names):
        raise ArgumentError(
            f"{entry.name!r} needs {len(names)} inputs ({', '.join(names) or 'none'}); "
            f"{len(in_order) + len(found)} were given with --input"
        )
    found |= dict(zip(open_names, in_order, strict=True))
    return [found[name] for name in names]


def _single(value: dict[str, np.ndarray] | np.ndarray, path: str) -> np.ndarray:
    if isinstance(value, dict):
        if len(value) != 1:
            raise ArgumentError(f"{path} holds {len(value)} arrays; NAME=FILE takes one")
        return next(iter(value.values()))
    return value


def write_arrays(path: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a `.npz` file, or a `.npy` file of the only array; whole or not at all.

    Raises `ArgumentError` for another ending and `StorageError` if it cannot be written.
    """
    buffer = io.BytesIO()
    plain = {name: _plain(array) for name, array in arrays.items()}
    if path.endswith(".npz"):
        np.savez(buffer, **plain)  # pyright: ignore[reportArgumentType]
    elif path.endswith(".npy") and len(plain) == 1:
        np.save(buffer, next(iter(plain.values())))
    else:
        raise ArgumentError(
            f"--output {path} with {len(plain)} arrays; expected a name ending in .npz, or in .npy "
            "for one array"
        )
    write_atomic(path, iter([buffer.getvalue()]))


def _plain(array: np.ndarray) -> np.ndarray:
    """`.npy` files do not know bfloat16 and its kin; they are written as float32."""
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)
