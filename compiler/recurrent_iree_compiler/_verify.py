"""Verification: each module that can run here is run, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from recurrent_iree_runtime import Manifest, Module, container_bytes, pack

from ._process import Finished, Limits, Started
from ._report import Verification
from ._targets import Target

_CHILD = Path(__file__).with_name("_verify_child.py")
_QUEUES = "cpu:local-sync", "cpu:local-task"
_LARGE_FLOPS = 3e8  # as where a loaded model runs such a call: on a pool of threads
_IMPOSSIBLE = {"hip", "metal"}
_ATTEMPTS = 2


class Verifier:
    """A process that does its imports and then waits for the artifact that it shall verify."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="recurrent-iree-")
        # By its path: as a module it would import the compiler first, of which it needs nothing.
        command = [sys.executable, "-P", str(_CHILD), target.driver]
        search = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            folder = Path(self._folder.name)
            self._process = Started(command, folder, limits, environment=search)
        except BaseException:
            self._folder.cleanup()
            raise

    def run(self, path: Path, device: str, limits: Limits) -> Verification:
        """What the golden calls of the artifact at `path` give on `device`; once."""
        with self:
            self._process.tell(json.dumps([str(path), device]).encode())
            return _verification(self._process.finish(limits), limits)

    def close(self) -> None:
        """End the process, if it has not ended; nothing of it is left."""
        self._process.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def can_verify(target: Target) -> bool:
    """Whether the runtime has a driver for `target`, on whatever machine."""
    return target.driver not in _IMPOSSIBLE


def verify_target(
    members: Mapping[str, bytes],
    target: Target,
    limits: Limits,
    waiting: Verifier | None = None,
) -> Verification:
    """Run the golden calls of an artifact on the module of one target.

    A module that kills its process, hangs, or gives other numbers has failed. A device that is lost
    is tried once more, since software Vulkan drivers lose theirs under load. `waiting` is a process
    for it that has not run yet.
    """
    manifest = Manifest.from_json(members["manifest.json"])
    if not manifest.goldens:
        return Verification("not run", "the program has no golden calls")
    module = next(m for m in manifest.modules if m.target == target.name)
    if not can_verify(target):
        return Verification("not run", f"the runtime has no driver {target.driver!r} yet")
    with tempfile.TemporaryDirectory(prefix="recurrent-iree-") as folder:
        path = Path(folder) / "one.riree"
        path.write_bytes(container_bytes(_only(members, manifest, module)))
        device = _device(target, manifest)
        result = (waiting or Verifier(target, limits)).run(path, device, limits)
        for _ in range(_ATTEMPTS - 1):
            if result.status == "failed" and "lost" in result.reason:
                result = Verifier(target, limits).run(path, device, limits)
    return result


def _device(target: Target, manifest: Manifest) -> str:
    if target.driver == "cpu":
        costs = [f.cost.get("flops", 0.0) for e in manifest.entries for f in e.functions]
        return _QUEUES[max(costs, default=0.0) > _LARGE_FLOPS]
    return target.name if ":" in target.name and target.driver == "xla" else target.driver


def _only(members: Mapping[str, bytes], manifest: Manifest, module: Module) -> dict[str, bytes]:
    """The artifact with one module, so that the runtime has no choice."""
    kept = {module.member, *module.functions_xla.values()} - {None}
    kept |= {"weights.safetensors", "golden.safetensors", "report.json"}
    rest = {name: data for name, data in members.items() if name in kept}
    return pack(replace(manifest, modules=(module,)), rest, manifest.members)


def _verification(done: Finished, limits: Limits) -> Verification:
    if done.code is None:
        return Verification("failed", f"its golden calls took more than {limits.seconds:g} s")
    if done.code < 0:
        return Verification("failed", f"its process died with {signal.Signals(-done.code).name}")
    lines = done.output.strip().splitlines()
    if done.code != 0 or not lines:
        last = (done.errors.strip().splitlines() or ["no message"])[-1]
        return Verification("failed", f"its process ended with status {done.code}: {last}")
    return Verification(**json.loads(lines[-1]))
