"""`build`: from a program to an artifact for all its targets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from recurrent_iree_runtime import ArgumentError, VerificationError

from ._artifact import Artifact
from ._iree_compile import compile_module
from ._link import link, module_text
from ._options import BuildOptions, Event, Progress, Stage
from ._package import package
from ._plan import Decision, plan_module, plan_tiling
from ._process import Limits
from ._program import Program
from ._report import TargetReport
from ._targets import Target, parse_target
from ._verify import verify_target


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
    run.each(jobs, run.compile)
    draft = run.members(jobs)
    if run.options.verify:
        run.each(jobs, lambda job: run.verify(job, draft))
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
        if target.driver == "xla":
            return job
        self.tell(job, "plan")
        module = link(self.program, target.abi)
        decisions: list[Decision] = plan_module(
            module, target.name, target.driver, self.options.plan
        )
        job.report.decisions = decisions
        tiling = plan_tiling(module, target.name, target.driver, decisions, self.options.plan)
        if tiling is not None:
            job.target = replace(target, flags=(*target.flags, *tiling.flags))
            job.report.flags = job.target.flags
            job.report.products = tiling.text
        job.text = module_text(module)
        return job

    def compile(self, job: _Job) -> None:
        if job.target.driver == "xla":
            return
        self.tell(job, "compile")
        start = time.perf_counter()
        job.module = compile_module(
            job.text, job.target, self.options, self.cancel, lambda: self.tell(job, "cached")
        )
        job.seconds = time.perf_counter() - start
        job.report.size = len(job.module)

    def verify(self, job: _Job, draft: dict[str, bytes]) -> None:
        self.tell(job, "verify")
        result = verify_target(
            draft, job.target, Limits(self.options.time_limit, None, self.cancel)
        )
        job.report.verification = result
        if result.status == "failed":
            raise VerificationError(
                f"the module for {job.target.name!r} of {self.program.name!r} does not pass its "
                f"golden calls: {result.reason}"
            )
        self.tell(job, "verified" if result.status == "verified" else "not verified", result.reason)

    def members(self, jobs: list[_Job]) -> dict[str, bytes]:
        modules = {job.target.name: job.module for job in jobs}
        return package(
            self.program, [j.target for j in jobs], modules, [job.report for job in jobs]
        )

    def each(self, jobs: list[_Job], work: Callable[[_Job], None]) -> None:
        """Do `work` for all jobs at once; the first failure stops the others."""
        with ThreadPoolExecutor(min(self.options.workers, len(jobs))) as pool:
            futures: list[Future[None]] = [pool.submit(work, job) for job in jobs]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in futures:
                    if future in done:
                        future.result()
            finally:
                self.cancel.set()
                pool.shutdown(wait=True, cancel_futures=True)
        self.cancel.clear()
