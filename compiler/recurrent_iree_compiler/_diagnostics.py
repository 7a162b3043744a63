"""What the compiler said, as an error of our tree with a sentence that helps."""

from __future__ import annotations

import re
import signal

from recurrent_iree_runtime import CompileError, CompilerCrashError, UnsupportedError

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"undefined symbol: (tanh|exp|log|sin|cos|pow|erf)\w*",
        "it computes {0} in float64, which IREE has no code for on this target; "
        "use float32 for that part",
    ),
    (
        r"failed to legalize operation '(?:arith|math)\.\w+'.*\b(f16|bf16|f64|f8\w+)\b",
        "it computes in {0}, for which this target has no arithmetic; use float32 for that part",
    ),
    (
        r"stablehlo\.(cholesky|triangular_solve)|lapack\w*|'stablehlo\.custom_call'.*(?:lapack|eigh|qr)",
        "it uses a factorisation or a solver of a linear system, which IREE does not compile; "
        'write it as a loop, or compile for the target "xla" only',
    ),
    (
        r"'stablehlo\.dynamic_update_slice'",
        "it updates an array of a dynamic size; name the sizes in the spec, "
        'for example "batch=1|8" instead of "batch=?"',
    ),
    (
        r"'stablehlo\.dynamic_(gather|reshape|broadcast_in_dim|slice)'",
        "it uses stablehlo.dynamic_{0}, an operation on an array of a dynamic size; "
        "name the sizes in the spec",
    ),
    (
        r"'tensor\.dim' op unexpected during shape cleanup",
        "IREE loses track of an array of a dynamic size; name the sizes in the spec, "
        'for example "batch=1|8" instead of "batch=?"',
    ),
    (
        r"'stablehlo\.fft'|fft",
        "it uses an FFT that IREE does not compile here (a length that is no power of two, or this "
        "target); use a power of two, or multiply by a DFT matrix",
    ),
    (
        r"custom_call.*?@(\w+)|'stablehlo\.custom_call'",
        "it calls a function of its host (pure_callback, debug.print, or a kernel of a library), "
        "which cannot be compiled ahead of time; remove the call",
    ),
    (
        r"dialect 'sdy'",
        "it was exported with sharding annotations; export it with "
        "jax_use_shardy_partitioner=False",
    ),
    (
        r"exceeds? (?:the )?(?:shared memory|stack) limit|exceeded (?:GPU|stack) memory limit",
        "a part of it needs more fast memory than the target has; make it smaller",
    ),
)

_CRASH = re.compile(
    r"PLEASE submit a bug report|Stack dump:|LLVM ERROR|std::bad_alloc|Assertion .* failed"
)
_MEMORY = re.compile(r"out of memory|bad_alloc|failed to (?:allocate|reserve)|Cannot allocate")


def compiler_error(target: str, code: int, errors: str, context: str) -> CompileError:
    """The error for a compiler that ended with `code`; `context` says where to look further."""
    first = first_lines(errors)
    if code < 0 or _CRASH.search(errors):
        return CompilerCrashError(
            f"iree-compile {_cause(code, errors)} while compiling for {target!r}.{_quote(first)}"
            f"\n{context}"
        )
    for pattern, sentence in _KNOWN:
        found = re.search(pattern, "\n".join(_errors(errors)))
        if found:
            groups = found.groups() or ("",)
            return UnsupportedError(
                f"the program cannot be compiled for {target!r}: {sentence.format(*groups)}."
                f"{_quote(first)}\n{context}"
            )
    return CompileError(
        f"iree-compile cannot compile the program for {target!r} (exit status {code})."
        f"{_quote(first)}\n{context}"
    )


def first_lines(errors: str, count: int = 3) -> list[str]:
    """The first lines that say something: errors if there are any, else whatever was printed."""
    lines = _errors(errors) or [line for line in errors.splitlines() if line.strip()]
    return [line.strip()[:300] for line in lines[:count]]


def _errors(errors: str) -> list[str]:
    return [
        ln for ln in errors.splitlines() if "error:" in ln or "ERROR" in ln or "undefined" in ln
    ]


def _quote(lines: list[str]) -> str:
    return "".join(f"\n  {line}" for line in lines)


def _cause(code: int, errors: str) -> str:
    if _MEMORY.search(errors):
        return "ran out of memory (raise BuildOptions.memory_limit, or make the program smaller)"
    if code == -signal.SIGKILL:
        return "was killed (by the system when memory is short, or by hand)"
    if code < 0:
        try:
            return f"died with {signal.Signals(-code).name}"
        except ValueError:
            return f"died with signal {-code}"
    return "crashed"
