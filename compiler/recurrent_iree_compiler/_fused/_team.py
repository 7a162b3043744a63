"""Workgroups that work at one recurrence together, and cannot wait for each other in vain.

Nothing promises that the workgroups of a dispatch run at the same time: on one thread they run one
after the other, and a pool may be busy with other calls. So parts of the work are claimed. For each
part of each place of the program (a stage, cut into parts) memory has

    claimed   the next step for which nobody has claimed this part
    done      the number of steps for which it is complete

A workgroup claims a part by compare-and-swap, computes it, and stores the step behind it in `done`.
It goes on when all parts of the step are done. Who holds a claim waits for nothing, so whoever
waits, waits for a thread that computes. Each workgroup takes the parts that are its own, counted
by how many have arrived, so that a core reads the same weights at each step; after some waiting it
also takes what nobody has claimed. A workgroup that is alone finds all parts to be its own.

Waiting is looking: loads that leave the line where it is until its writer changes it. Claims have
lines that nobody looks at but their owners, unless they are late.

Numbers do not depend on who computes a part, because a part is the same work for everybody.
"""

from __future__ import annotations

from collections.abc import Callable

from ._writer import Writer

# Counters lie this many i32 apart, so that no two share a cache line or a pair of lines.
_APART = 32
# Looks at `done` before a workgroup takes a part of another one that nobody has claimed.
_PATIENCE = 200
_MEMORY = "team"
# Orders of memory as LLVM numbers them.
_ACQUIRE, _RELEASE = 4, 5


class Team:
    """Emits how workgroups claim the `parts` of `places`, and lines of notes between them."""

    def __init__(
        self, writer: Writer, parts: int, places: int, notes: int, architecture: str
    ) -> None:
        self.w = writer
        self.parts = parts
        self.notes = (1 + 2 * places * parts) * _APART
        self.length = self.notes + notes * _APART
        self.architecture = architecture
        self.type = f"memref<{self.length}xi32>"

    def arrive(self) -> None:
        """Be counted; each workgroup gets its number in the order in which they come."""
        w = self.w
        memory = f"%{_MEMORY} : {self.type} -> index"
        w.line(f"%team_start = memref.extract_aligned_pointer_as_index {memory}")
        w.line("%team_address = arith.index_cast %team_start : index to i64")
        w.line("%team_memory = llvm.inttoptr %team_address : i64 to !llvm.ptr")
        one, number = self._i32(1), w.fresh()
        place = self._at(w.index(0))
        w.line(f"{number} = llvm.atomicrmw add {place}, {one} acq_rel : !llvm.ptr, i32")
        w.line(f"%me = arith.index_cast {number} : i32 to index")

    def completed(self, place: int, parts: int) -> str:
        """The number of steps for which all parts of `place` are done."""
        w = self.w
        least = ""
        for part in range(parts):
            done = self._load(self._done(place, w.index(part)))
            least = w.op(f"arith.minui {least}, {done} : i32") if least else done
        return w.op(f"arith.index_cast {least} : i32 to index")

    def look(self, line: str, number: int) -> str:
        """A number of a line of notes."""
        return self._load(self._note(line, number))

    def note(self, line: str, number: int, value: str) -> None:
        """Write a number of a line of notes."""
        self._store(self._note(line, number), value)

    def _note(self, line: str, number: int) -> str:
        w = self.w
        at = w.op(f"arith.muli {line}, {w.index(_APART)} : index")
        return w.op(f"arith.addi {at}, {w.index(self.notes + number)} : index")

    def meet(self, place: int, parts: int, step: str, body: Callable[[str], None]) -> None:
        """All parts of `place` for `step` (an i32): `body` computes the part that it is given.

        Afterwards all of them are done, and what they stored can be read.
        """
        w = self.w
        zero, one, all_parts = w.index(0), w.index(1), w.index(parts)
        target = w.op(f"arith.addi {step}, {self._i32(1)} : i32")
        present = w.op(f"arith.index_cast {self._load(zero)} : i32 to index")
        result, own, part, looks, *back = (w.fresh() for _ in range(7))
        kinds = "(index, index, index)"
        starts = f"{own} = %me, {part} = {zero}, {looks} = {zero}"
        w.line(f"{result}:3 = scf.while ({starts}) : {kinds} -> {kinds} {{")
        with w.scope():
            is_own = w.op(f"arith.cmpi ult, {own}, {all_parts} : index")
            is_late = w.op(f"arith.cmpi eq, {looks}, {w.index(_PATIENCE)} : index")
            w.line(f"scf.if {w.op(f'arith.ori {is_own}, {is_late} : i1')} {{")
            with w.scope():
                chosen = w.op(f"arith.select {is_own}, {own}, {part} : index")
                self.claim(place, chosen, step, body)
            w.line("} else {")
            with w.scope():
                self._relax()
            w.line("}")
            following = w.op(f"arith.addi {own}, {present} : index")
            done = self._load(self._done(place, part))
            is_done = w.op(f"arith.cmpi sge, {done}, {target} : i32")
            ahead = w.op(f"arith.addi {part}, {one} : index")
            after = w.op(f"arith.select {is_done}, {ahead}, {part} : index")
            anew = w.op(f"arith.ori {is_own}, {is_done} : i1")
            more = w.op(f"arith.addi {looks}, {one} : index")
            looked = w.op(f"arith.select {anew}, {zero}, {more} : index")
            waits = w.op(f"arith.cmpi ult, {after}, {all_parts} : index")
            values = f"{following}, {after}, {looked}"
            w.line(f"scf.condition({waits}) {values} : index, index, index")
        w.line("} do {")
        w.line(f"^bb0({', '.join(f'{name}: index' for name in back)}):")
        w.line(f"  scf.yield {', '.join(back)} : index, index, index")
        w.line("}")

    def claim(self, place: int, part: str, step: str, body: Callable[[str], None]) -> None:
        """Run `body`, unless somebody has claimed this part for `step`."""
        w = self.w
        slot = self._claimed(place, part)
        free = w.op(f"arith.cmpi eq, {self._load(slot)}, {step} : i32")
        w.line(f"scf.if {free} {{")
        with w.scope():
            after = w.op(f"arith.addi {step}, {self._i32(1)} : i32")
            w.line(f"scf.if {self._swap(slot, step, after)} {{")
            with w.scope():
                body(part)
                self._store(self._done(place, part), after)
            w.line("}")
        w.line("}")

    def _claimed(self, place: int, part: str) -> str:
        w = self.w
        at = w.op(f"arith.muli {part}, {w.index(_APART)} : index")
        return w.op(f"arith.addi {at}, {w.index((1 + 2 * place * self.parts) * _APART)} : index")

    def _done(self, place: int, part: str) -> str:
        w, claimed = self.w, self._claimed(place, part)
        return w.op(f"arith.addi {claimed}, {w.index(self.parts * _APART)} : index")

    def _relax(self) -> None:
        """Tell the processor that this thread waits."""
        if self.architecture == "x86":
            self.w.line('llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()')
        elif self.architecture == "aarch64":
            hint = self._i32(1)
            self.w.line(f'llvm.call_intrinsic "llvm.aarch64.hint"({hint}) : (i32) -> ()')

    def _i32(self, value: int) -> str:
        return self.w.constant(value, "i32")

    def _at(self, slot: str) -> str:
        w = self.w
        number = w.op(f"arith.index_cast {slot} : index to i64")
        kinds = "(!llvm.ptr, i64) -> !llvm.ptr, i32"
        return w.op(f"llvm.getelementptr %team_memory[{number}] : {kinds}")

    def _load(self, slot: str) -> str:
        """The number; what is read afterwards is as new as it."""
        name, place = self.w.fresh(), self._at(slot)
        how = f"alignment = 4 : i64, ordering = {_ACQUIRE} : i64"
        self.w.line(f'{name} = "llvm.load"({place}) <{{{how}}}> : (!llvm.ptr) -> i32')
        return name

    def _store(self, slot: str, value: str) -> None:
        """What was stored and read before is seen, and over, for who sees the number."""
        place, how = self._at(slot), f"alignment = 4 : i64, ordering = {_RELEASE} : i64"
        self.w.line(f'"llvm.store"({value}, {place}) <{{{how}}}> : (i32, !llvm.ptr) -> ()')

    def _swap(self, slot: str, step: str, after: str) -> str:
        """Make the number `after` if it is `step`; whether it was."""
        w = self.w
        old, place = w.fresh(), self._at(slot)
        order = "acq_rel monotonic"
        w.line(f"{old} = llvm.cmpxchg {place}, {step}, {after} {order} : !llvm.ptr, i32")
        return w.op(f"llvm.extractvalue {old}[1] : !llvm.struct<(i32, i1)>")
