"""`build`: from a program to an artifact for all its targets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cached_property

from recurrent_iree_runtime import (
    ArgumentError,
    CompileError,
    CompilerCrashError,
    UnsupportedError,
    VerificationError,
)

from ._artifact import Artifact
from ._iree_compile import compile_module
from ._link import link, module_text
from ._options import BuildOptions, Event, Progress, Stage
from ._package import Constant, constant_of, package
from ._plan import NotForAnyLength, plan_module, plan_schedule, plan_tiling
from ._process import Limits
from ._program import Program
from ._report import TargetReport, Verification
from ._targets import Target, parse_target
from ._verify import Verifier, can_verify, verify_target


def build(
    program: Program,
    targets: Sequence[str] = ("cpu",),
    *,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Compile a program for every target, verify what can run here, and package it.

    Args:
        program: StableHLO functions, signatures, weights and golden calls.
        targets: names as `parse_target` takes them; several per artifact.
        options: limits, cache and number of compilers; see `BuildOptions`.
        progress: called with an `Event` at each step, from one thread at a time.

    Returns:
        The artifact, in memory.

    Raises:
        UnknownTargetError: a target does not exist.
        UnsupportedError: the program cannot be compiled safely for a target.
        CompilerTimeoutError, CompilerCrashError, CompileError: the compiler failed.
        VerificationError: a module that can run here gives wrong numbers or kills its process.
        StorageError: the cache folder cannot be written.

    Example:
        >>> artifact = build(program, ["cpu", "vulkan:llvmpipe"])  # doctest: +SKIP
        >>> artifact.save("model.riree")                           # doctest: +SKIP
    """
    parsed = _parse(targets)
    run = _Build(program, options or BuildOptions(), progress, len(parsed))
    jobs = [run.prepare(target) for target in parsed]
    try:
        run.each(jobs, run.compile)
        draft = run.members(jobs)
        if run.options.verify:
            run.each(jobs, lambda job: run.verify(job, draft))
    finally:
        for job in jobs:
            job.dismiss()
    for job in jobs:
        run.tell(job, "done", job.report.verification.status, finished=True)
    return Artifact(run.members(jobs), {job.target.name: job.seconds for job in jobs})


def _parse(targets: Sequence[str]) -> list[Target]:
    if isinstance(targets, str):
        targets = [targets]
    if not targets:
        raise ArgumentError('targets is empty; name at least one, for example ["cpu"]')
    for name in targets:
        if list(targets).count(name) > 1:
            raise ArgumentError(f"the target {name!r} is given twice")
    return [parse_target(name) for name in targets]


@dataclass
class _Job:
    """One target on its way through the build."""

    target: Target
    report: TargetReport
    text: str = ""
    module: bytes = b""
    seconds: float = 0.0
    lacks: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    waiting: Verifier | None = None

    def dismiss(self) -> None:
        """End the process that waits to verify the module, if there is one."""
        if self.waiting is not None:
            self.waiting.close()
            self.waiting = None


@dataclass
class _Build:
    program: Program
    options: BuildOptions
    progress: Progress | None
    total: int
    finished: int = 0
    cancel: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, job: _Job, stage: Stage, detail: str = "", *, finished: bool = False) -> None:
        with self.lock:
            self.finished += finished
            if self.progress is not None:
                self.progress(Event(job.target.name, stage, detail, self.finished, self.total))

    def prepare(self, target: Target) -> _Job:
        """Link the program for a target and choose the form of its recurrences."""
        job = _Job(target, TargetReport(target.name, target.flags, target.note))
        if target.driver != "xla":
            self.tell(job, "plan")
        if target.driver == "xla":
            self._in_chunks(job, "XLA compiles for sizes that are known")
        elif not self.program.any_length:
            self._plan(job)
        else:
            try:
                self._plan(job, self.program.several_steps)
                job.report.lengths = "one function runs any number of steps"
            except (NotForAnyLength, UnsupportedError) as why:
                self._in_chunks(job, str(why))
                self._plan(job, job.lacks)
        return job

    def _in_chunks(self, job: _Job, why: str) -> None:
        """Leave out the functions of any length; `why` says what stands in their way."""
        job.lacks = self.program.any_length
        job.report.lengths = f"in chunks, because {why}" if job.lacks else ""

    def _plan(self, job: _Job, lacks: tuple[str, ...] = ()) -> None:
        target, options = job.target, self.options.plan
        module = link(self.program, target.abi, lacks)
        try:
            decisions = plan_module(module, target.name, target.driver, options)
        except NotForAnyLength as why:
            if set(self.program.any_length) - set(lacks):
                raise
            raise UnsupportedError(
                f"the program cannot have any size on {target.name!r}: {why}. "
                'Name the sizes, for example "batch=1|8"'
            ) from why
        tiling = plan_tiling(module, target.name, target.driver, decisions, options)
        schedule = plan_schedule(module, target.name, target.driver, options)
        extra = [flag for choice in (tiling, schedule) if choice for flag in choice.flags]
        job.report.decisions = decisions
        job.report.products = tiling.text if tiling else ""
        job.report.schedule = schedule.text if schedule else ""
        job.report.flags = job.flags = (*target.flags, *extra)
        job.text, job.lacks = module_text(module), lacks

    def compile(self, job: _Job) -> None:
        if job.target.driver == "xla":
            return
        self.tell(job, "compile")
        if self.options.verify and can_verify(job.target):
            job.dismiss()
            job.waiting = Verifier(job.target, self._limits)
        start = time.perf_counter()
        try:
            job.module = self._compiled(job)
        except (CompileError, CompilerCrashError) as error:
            reason = (str(error).strip().splitlines() or [""])[0]
            if not self._is_any_length(job):
                raise self._of_unknown_rows(job, error) from error
            self._in_chunks(job, f"IREE does not compile it for any length: {reason}")
            self._plan(job, job.lacks)
            job.module = self._compiled(job)
        job.seconds += time.perf_counter() - start
        job.report.size = len(job.module)

    def _of_unknown_rows(self, job: _Job, error: Exception) -> Exception:
        """`error`, or one that says what to do if steps of any number of rows may be its cause."""
        steps = [d for d in job.report.decisions if d.form == "steps in a row"]
        if not steps or isinstance(error, UnsupportedError):
            return error
        return UnsupportedError(
            f"IREE does not compile {steps[0].recurrence!r} for {job.target.name!r}, written out "
            f"for any number of rows: {steps[0].reason}. Name the sizes, for example "
            f'"{self._unknown[0]}=1|8".\n{error}'
        )

    def _compiled(self, job: _Job) -> bytes:
        target = replace(job.target, flags=job.flags)
        return compile_module(
            job.text, target, self.options, self.cancel, lambda: self.tell(job, "cached")
        )

    def _is_any_length(self, job: _Job) -> bool:
        """Whether the module of `job` has functions of any length, for which chunks could stand."""
        return bool(set(self.program.any_length) - set(job.lacks))

    def verify(self, job: _Job, draft: dict[str, bytes]) -> None:
        result = self._verified(job, draft)
        if result.status == "failed" and self._is_any_length(job):
            result = self._verified_in_chunks(job, result.reason)
        job.report.verification = result
        if result.status == "failed":
            raise VerificationError(self._fails(job, result.reason))
        self.tell(job, "verified" if result.status == "verified" else "not verified", result.reason)

    def _verified(self, job: _Job, draft: dict[str, bytes]) -> Verification:
        self.tell(job, "verify")
        try:
            return verify_target(draft, job.target, self._limits, job.waiting)
        finally:
            job.dismiss()

    @property
    def _limits(self) -> Limits:
        return Limits(self.options.time_limit, None, self.cancel)

    def _verified_in_chunks(self, job: _Job, reason: str) -> Verification:
        """What becomes of a target whose module of any length failed for `reason`."""
        if self.options.plan.fallback == "error":
            instead = (
                ". It runs any number of steps in one call; with "
                'fallback="loop" the program would be compiled in chunks instead'
            )
            raise VerificationError(self._fails(job, reason) + instead * (not self._unknown))
        what = reason.partition(". Do not use it")[0]
        self._in_chunks(job, f"the function of any length does not pass its golden calls: {what}")
        self._plan(job, job.lacks)
        self.compile(job)
        return self._verified(job, self.members([job]))

    def _fails(self, job: _Job, reason: str) -> str:
        text = (
            f"the module for {job.target.name!r} of {self.program.name!r} does not pass its "
            f"golden calls: {reason}"
        )
        if not self._unknown:
            return text
        name = self._unknown[0]
        return (
            f"{text.partition('. Do not use it')[0]}. Nothing can stand in for a function with "
            f'"{name}=?"; name the sizes, for example "{name}=1|8", and please report it'
        )

    @property
    def _unknown(self) -> list[str]:
        """The dims of any size that no chunks stand in for."""
        return [dim.name for dim in self.program.dims if dim.sizes is None and dim.name != "time"]

    @cached_property
    def constant(self) -> Constant:
        return constant_of(self.program)

    def members(self, jobs: list[_Job]) -> dict[str, bytes]:
        modules = {job.target.name: job.module for job in jobs}
        return package(
            self.program,
            self.constant,
            [j.target for j in jobs],
            modules,
            [job.report for job in jobs],
            {job.target.name: job.lacks for job in jobs},
        )

    def each(self, jobs: list[_Job], work: Callable[[_Job], None]) -> None:
        """Do `work` for all jobs at once; the first failure stops the others."""
        with ThreadPoolExecutor(min(self.options.workers, len(jobs))) as pool:
            try:
                futures: list[Future[None]] = [pool.submit(work, job) for job in jobs]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future in done:
                        future.result()
            finally:
                self.cancel.set()
                pool.shutdown(wait=True, cancel_futures=True)
        self.cancel.clear()
