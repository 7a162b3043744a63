"""Indexes as affine sums, so that data movement is arithmetic on indexes and not on data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Affine:
    """``const + sum(factor * name) + row * (the row) + lane * (0, 1, 2, ... over the lanes)``.

    Attributes:
        const: the constant part.
        terms: names of index values with their factors, sorted by name.
        row: factor of the batch row.
        lane: step from one vector lane to the next; 0 means the same for all lanes.
    """

    const: int = 0
    terms: tuple[tuple[str, int], ...] = ()
    row: int = 0
    lane: int = 0

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for name, factor in other.terms:
            terms[name] = terms.get(name, 0) + factor
        return Affine(
            self.const + other.const,
            tuple(sorted((n, f) for n, f in terms.items() if f)),
            self.row + other.row,
            self.lane + other.lane,
        )

    def __mul__(self, factor: int) -> Affine:
        if factor == 0:
            return Affine()
        return Affine(
            self.const * factor,
            tuple((n, f * factor) for n, f in self.terms),
            self.row * factor,
            self.lane * factor,
        )

    def plus(self, const: int) -> Affine:
        return Affine(self.const + const, self.terms, self.row, self.lane)

    def at_row(self, row: Affine) -> Affine:
        """This index for one row."""
        rest = Affine(self.const, self.terms, 0, self.lane)
        return rest + row * self.row if self.row else rest

    @property
    def is_constant(self) -> bool:
        return not self.terms and not self.row and not self.lane


def variable(name: str) -> Affine:
    return Affine(terms=((name, 1),))


ZERO = Affine()
ROW = Affine(row=1)
