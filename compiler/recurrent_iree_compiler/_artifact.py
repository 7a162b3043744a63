"""The result of a build: an artifact in memory, to save, to look into or to load."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from recurrent_iree_runtime import (
    ArgumentError,
    Manifest,
    container_bytes,
    write_container,
)

from ._portable import stablehlo_text


class Artifact:
    """A compiled program: modules for its targets, its sources, weights and golden calls.

    `recurrent_iree_runtime.load` takes the saved file, or `to_bytes()`.

    Attributes:
        members: every member of the file by name.
        times: seconds that the compiler took for each target of this build; not in the file.
    """

    def __init__(self, members: Mapping[str, bytes], times: Mapping[str, float]) -> None:
        self.members = dict(members)
        self.times = dict(times)

    @cached_property
    def manifest(self) -> Manifest:
        """Names, signatures, targets and hashes."""
        return Manifest.from_json(self.members["manifest.json"])

    @property
    def name(self) -> str:
        """The name of the program."""
        return self.manifest.name

    @property
    def targets(self) -> list[str]:
        """The targets that it was compiled for."""
        return [module.target for module in self.manifest.modules]

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return len(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The bytes of the file; the same program always gives the same bytes."""
        return container_bytes(self.members)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all.

        Raises:
            StorageError: the disk is full, the folder is missing or may not be written.
        """
        write_container(path, self.members)

    def report(self) -> dict[str, Any]:
        """What was decided for each target and how it was checked, as in ``report.json``."""
        return json.loads(self.members["report.json"])

    def text(self, symbol: str | None = None) -> str:
        """The StableHLO of one function; by default the first of the default entry.

        Raises:
            ArgumentError: there is no function of that symbol.
        """
        if symbol is None:
            entry = self.manifest.entry(self.manifest.default_entry)
            functions = entry.functions if entry is not None else ()
            functions = functions or self.manifest.entries[0].functions
            symbol = functions[0].symbol
        source = self.members.get(f"program/{symbol}.stablehlo")
        if source is None:
            known = sorted(f.symbol for e in self.manifest.entries for f in e.functions)
            raise ArgumentError(f"there is no function {symbol!r}; there are {', '.join(known)}")
        return stablehlo_text(source, symbol)

    def __repr__(self) -> str:
        return f"<Artifact {self.name!r} for {', '.join(self.targets)}: {self.size} bytes>"
