"""What the command line takes as text: a program in a Python file, and specs."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from recurrent_iree._spec import Spec, spec
from recurrent_iree_runtime import ArgumentError

_DTYPE = re.compile(r"(?P<dims>[^:]*)(?::(?P<dtype>\w+))?")


def load_program(reference: str) -> Any:
    """The object that ``file.py:name`` or ``package.module:name`` means; name may have dots.

    Raises:
        ArgumentError: the text has another form, or there is no such file, module or name, or
            importing it fails.
    """
    source, colon, name = reference.rpartition(":")
    if not colon or not source or not name:
        raise ArgumentError(
            f"PROGRAM is {reference!r}; expected FILE.py:NAME or MODULE:NAME, "
            "for example model.py:layer"
        )
    found: Any = _load_file(Path(source)) if source.endswith(".py") else _load_module(source)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArgumentError(f"{source} has no {name!r}; it has {_public_names(found)}")
        found = getattr(found, part)
    if not callable(found):
        raise ArgumentError(
            f"{reference} is a {type(found).__name__}; expected a layer or a function"
        )
    return found


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}")
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as `python model.py` would
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises
        raise ArgumentError(f"{path} cannot be imported: {error_text(error)}") from error
    finally:
        sys.path.pop(0)
    return module


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's module raises
        raise ArgumentError(f"the module {name} cannot be imported: {error_text(error)}") from error
    finally:
        sys.path.pop(0)


def error_text(error: Exception) -> str:
    """The type of an error and the first line of what it says."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}".rstrip(": .")


def _public_names(module: Any) -> str:
    names = [name for name, value in vars(module).items() if name[0] != "_" and callable(value)]
    return ", ".join(names[:8]) or "nothing callable"


def parse_spec(text: str) -> Spec:
    """A spec from text: dims between commas and, after a colon, a dtype.

    Raises:
        ArgumentError: as `recurrent_iree.spec`.

    Example:
        >>> from recurrent_iree._cli._load import parse_spec
        >>> str(parse_spec("batch=1,time=?,40:int32"))
        'int32[batch=1, time=?, 40]'
    """
    match = _DTYPE.fullmatch(text.strip())
    if match is None:
        raise ArgumentError(
            f'--spec {text!r} cannot be read; write dims between commas, and a dtype after a colon '
            'if it is not float32: "batch=1,time=?,40:int32"'
        )
    dims = [part.strip() for part in match["dims"].split(",")] if match["dims"].strip() else []
    return spec(
        *(int(dim) if dim.isdecimal() else dim for dim in dims), dtype=match["dtype"] or "float32"
    )
