"""The compiler as a subprocess: limited, cached, and with a reproducer when it fails."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from recurrent_iree_runtime import CompileError, CompilerCrashError, CompilerTimeoutError

from ._cache import Cache, cache_key
from ._diagnostics import compiler_error, first_lines
from ._options import BuildOptions
from ._process import Limits, run_limited
from ._targets import Target
from ._tools import compiler_version, find_tool

_REPRODUCERS = 20
COMMON_FLAGS = (
    "--iree-input-type=stablehlo",
    "--iree-input-demote-f64-to-f32=false",
    "--iree-vm-bytecode-module-strip-source-map",
    "--iree-hal-executable-debug-level=0",
    "--iree-llvmcpu-debug-symbols=false",
)
# MLIR checks what each pass of IREE made of a module, which takes a fifth of the time and changes
# nothing. A module that is then run and compared, as those for this processor are, can do without.
_UNCHECKED = "--verify=false"


def compile_module(
    text: str,
    target: Target,
    options: BuildOptions,
    cancel: threading.Event | None = None,
    on_hit: Callable[[], None] | None = None,
) -> bytes:
    """A .vmfb of the linked and planned module `text`, from the cache if it is there.

    Raises:
        UnsupportedError: the program needs something that IREE cannot compile.
        CompilerTimeoutError, CompilerCrashError, CompileError: the compiler failed.
        StorageError: the cache folder cannot be written.
    """
    flags = (*COMMON_FLAGS, *target.flags)
    unchecked = (_UNCHECKED,) if options.verify and target.name == "cpu" else ()
    # A module that does not pass its golden calls must not be found by a build without them.
    key = cache_key(text, (*flags, *unchecked), _version(options))
    if not options.cache:
        return _run(text, target, flags, unchecked, key, options, cancel)
    cache = Cache(options.folder, options.cache_size)
    with cache.lock(key):
        found = cache.get(key)
        if found is not None:
            if on_hit is not None:
                on_hit()
            return found
        made = _run(text, target, flags, unchecked, key, options, cancel)
        cache.put(key, made)
    return made


def _version(options: BuildOptions) -> str:
    if options.compiler is None:
        return compiler_version()
    return hashlib.sha256(Path(options.compiler).read_bytes()).hexdigest()


def _run(
    text: str,
    target: Target,
    flags: tuple[str, ...],
    unchecked: tuple[str, ...],
    key: str,
    options: BuildOptions,
    cancel: threading.Event | None,
) -> bytes:
    binary = str(options.compiler or find_tool("iree-compile"))
    with tempfile.TemporaryDirectory(prefix="recurrent-iree-") as name:
        folder = Path(name)
        source, output = folder / "module.mlir", folder / "module.vmfb"
        source.write_text(text)
        command, last = [binary, "-", *flags], ["-o", str(output)]
        limits = Limits(options.time_limit, options.memory_limit, cancel)
        try:
            done = run_limited([*command, *unchecked, *last], folder, limits, source=source)
            if done.code and unchecked:  # with checks it may say why
                done = run_limited([*command, *last], folder, limits, source=source)
        except OSError as error:
            message = f"{binary} cannot be run: {error.strerror or error}"
            raise CompileError(message) from error
        if done.code == 0 and output.is_file():
            return output.read_bytes()
        context = _keep(options.folder / "failed" / key[:16], text, binary, flags, done.errors)
    if done.code is None:
        raise CompilerTimeoutError(
            f"iree-compile was stopped after {options.time_limit:g} s while compiling for "
            f"{target.name!r}; raise BuildOptions.time_limit, or compile fewer sizes."
            + "".join(f"\n  {line}" for line in first_lines(done.errors))
            + f"\n{context}"
        )
    if done.code == 0:
        raise CompilerCrashError(
            f"iree-compile ended without a module for {target.name!r}\n{context}"
        )
    raise compiler_error(target.name, done.code, done.errors, context)


def _forget_old(newest: Path) -> None:
    """Remove all but the newest reproducers beside `newest`; other processes may do the same."""
    ages: list[tuple[int, Path]] = []
    for path in newest.parent.iterdir():
        with contextlib.suppress(OSError):
            ages.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(ages, reverse=True)[_REPRODUCERS:]:
        if path != newest:
            shutil.rmtree(path, ignore_errors=True)


def _keep(folder: Path, text: str, binary: str, flags: tuple[str, ...], errors: str) -> str:
    """Save what is needed to see the failure again; returns a sentence that says where it is.

    Only the newest failures are kept.
    """
    command = shlex.join([binary, "module.mlir", *flags, "-o", "module.vmfb"])
    with contextlib.suppress(OSError):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "module.mlir").write_text(text)
        (folder / "command.txt").write_text(command + "\n")
        (folder / "stderr.txt").write_text(errors)
        _forget_old(folder)
        return f"  command: {command}\n  reproducer: {folder}"
    return f"  command: {command}"
