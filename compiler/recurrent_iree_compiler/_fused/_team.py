"""Workgroups that work at one recurrence together, and cannot wait for each other in vain.

Nothing promises that the workgroups of a dispatch run at the same time: on one thread they run one
after the other, and a pool may be busy with other calls. So parts of the work are claimed. For each
place of the program (a stage, cut into parts) memory has

    claimed[part]   the next step for which nobody has claimed this part
    done            how many parts were completed, over all steps

A workgroup claims a part by compare-and-swap, computes it, and adds one to `done`. It goes on when
all parts of the step are done. Who holds a claim waits for nothing, so whoever waits, waits for a
thread that computes. At first each workgroup takes the parts that are its own, counted by how many
have arrived, so that a core reads the same weights at each step; after some waiting it takes any.
A workgroup that is alone finds all parts to be its own and never waits.

Numbers do not depend on who computes a part, because a part is the same work for everybody.
"""

from __future__ import annotations

from collections.abc import Callable

from ._writer import Writer

# Counters lie this many i32 apart, so that no two share a cache line or a pair of lines.
_APART = 32
# Looks at `done` before a workgroup takes parts of others.
_PATIENCE = 200
_MEMORY = "team"


class Team:
    """Emits how workgroups claim the `parts` of `places`, and lines of notes between them."""

    def __init__(
        self, writer: Writer, parts: int, places: int, notes: int, architecture: str
    ) -> None:
        self.w = writer
        self.parts = parts
        self.notes = (1 + places * (1 + parts)) * _APART
        self.length = self.notes + notes * _APART
        self.architecture = architecture
        self.type = f"memref<{self.length}xi32>"

    def arrive(self) -> None:
        """Be counted; each workgroup gets its number in the order in which they come."""
        number = self._add(self.w.index(0))
        self.w.line(f"%me = arith.index_cast {number} : i32 to index")

    def completed(self, place: int, parts: int) -> str:
        """The number of steps for which all parts of `place` are done."""
        done = self._read(self._done(place))
        steps = self.w.op(f"arith.divui {done}, {self._i32(parts)} : i32")
        return self.w.op(f"arith.index_cast {steps} : i32 to index")

    def look(self, line: str, number: int) -> str:
        """A number of a line of notes."""
        return self._read(self._note(line, number))

    def note(self, line: str, number: int, value: str) -> None:
        """Write a number of a line of notes."""
        self._rmw(self._note(line, number), value, "assign")

    def _note(self, line: str, number: int) -> str:
        w = self.w
        at = w.op(f"arith.muli {line}, {w.index(_APART)} : index")
        return w.op(f"arith.addi {at}, {w.index(self.notes + number)} : index")

    def meet(self, place: int, parts: int, step: str, body: Callable[[str], None]) -> None:
        """All parts of `place` for `step` (an i32): `body` computes the part that it is given.

        Afterwards all of them are done, and what they stored can be read.
        """
        w = self.w
        done = self._done(place)
        after = w.op(f"arith.addi {step}, {self._i32(1)} : i32")
        target = w.op(f"arith.muli {after}, {self._i32(parts)} : i32")
        present = self._read(w.index(0)) if parts > 1 else ""
        result, visit, again, back = (w.fresh() for _ in range(4))
        w.line(f"{result} = scf.while ({visit} = {w.index(0)}) : (index) -> index {{")
        with w.scope():
            part, wanted = self._choose(visit, parts, present)
            w.line(f"scf.if {wanted} {{")
            with w.scope():
                self.claim(place, part, step, body)
            w.line("} else {")
            with w.scope():
                self._relax()
            w.line("}")
            seen = self._read(done)
            more = w.op(f"arith.cmpi slt, {seen}, {target} : i32")
            w.line(f"{again} = arith.addi {visit}, {w.index(1)} : index")
            w.line(f"scf.condition({more}) {again} : index")
        w.line("} do {")
        w.line(f"^bb0({back}: index):")
        w.line(f"  scf.yield {back} : index")
        w.line("}")

    def claim(self, place: int, part: str, step: str, body: Callable[[str], None]) -> None:
        """Run `body`, unless somebody has claimed this part for `step`."""
        w = self.w
        slot = self._claimed(place, part)
        free = w.op(f"arith.cmpi eq, {self._read(slot)}, {step} : i32")
        w.line(f"scf.if {free} {{")
        with w.scope():
            won = w.op(f"arith.cmpi eq, {self._swap(slot, step)}, {step} : i32")
            w.line(f"scf.if {won} {{")
            with w.scope():
                body(part)
                self._add(self._done(place))
            w.line("}")
        w.line("}")

    def _choose(self, visit: str, parts: int, present: str) -> tuple[str, str]:
        """The part to try in a visit, and whether to try one at all."""
        w = self.w
        if parts == 1:
            return w.index(0), w.constant(True, "i1")
        count = w.op(f"arith.index_cast {present} : i32 to index")
        ahead = w.op(f"arith.muli {visit}, {count} : index")
        own = w.op(f"arith.addi %me, {ahead} : index")
        is_own = w.op(f"arith.cmpi ult, {own}, {w.index(parts)} : index")
        any_part = w.op(f"arith.remui {visit}, {w.index(parts)} : index")
        late = w.op(f"arith.cmpi uge, {visit}, {w.index(_PATIENCE)} : index")
        part = w.op(f"arith.select {is_own}, {own}, {any_part} : index")
        return part, w.op(f"arith.ori {is_own}, {late} : i1")

    def _done(self, place: int) -> str:
        return self.w.index((1 + place * (1 + self.parts)) * _APART)

    def _claimed(self, place: int, part: str) -> str:
        w = self.w
        at = w.op(f"arith.muli {part}, {w.index(_APART)} : index")
        return w.op(f"arith.addi {at}, {w.index((2 + place * (1 + self.parts)) * _APART)} : index")

    def _relax(self) -> None:
        """Tell the processor that this thread waits."""
        if self.architecture == "x86":
            self.w.line('llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()')
        elif self.architecture == "aarch64":
            hint = self._i32(1)
            self.w.line(f'llvm.call_intrinsic "llvm.aarch64.hint"({hint}) : (i32) -> ()')

    def _i32(self, value: int) -> str:
        return self.w.constant(value, "i32")

    def _add(self, slot: str) -> str:
        """One more; gives the count before. What was stored before is seen by who sees the sum."""
        return self._rmw(slot, self._i32(1))

    def _read(self, slot: str) -> str:
        """The count; what is read afterwards is as new as it."""
        return self._rmw(slot, self._i32(0))

    def _rmw(self, slot: str, value: str, kind: str = "addi") -> str:
        name, kinds = self.w.fresh(), f"(i32, {self.type}) -> i32"
        self.w.line(f"{name} = memref.atomic_rmw {kind} {value}, %{_MEMORY}[{slot}] : {kinds}")
        return name

    def _swap(self, slot: str, step: str) -> str:
        """Make the count ``step + 1`` if it is `step`; gives what it was."""
        w = self.w
        after = w.op(f"arith.addi {step}, {self._i32(1)} : i32")
        old, now, same, new = (w.fresh() for _ in range(4))
        w.line(f"{old} = memref.generic_atomic_rmw %{_MEMORY}[{slot}] : {self.type} {{")
        w.line(f"^bb0({now}: i32):")
        w.line(f"  {same} = arith.cmpi eq, {now}, {step} : i32")
        w.line(f"  {new} = arith.select {same}, {after}, {now} : i32")
        w.line(f"  memref.atomic_yield {new} : i32")
        w.line("}")
        return old
