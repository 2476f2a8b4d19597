"""Linear equations over GF(2), as the parts of a fountain code are, with memory of who said what.

A set of parts that contradict each other is not lost: because every row remembers which parts were added up to it, the
few that can be the wrong one are known, and so is the error in them (R29).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Solved: TypeAlias = tuple[int, int]
"""Which parts went into a fragment (bit k is the k-th part kept), and the fragment."""

MAX_ERRORS: Final = 64
"""Most different errors among contradictions that are kept in the hope of finding out who is wrong."""


class Equations:
    """Linear equations over GF(2), solved as they come.

    A row is one integer: on top the mask (bit i is fragment i), then the origin (bit k is the k-th part that told
    something new: which parts were added up to this row), at the bottom the sum of those fragments. So adding two rows
    is one XOR, and the largest set needs seconds where separate fields need half a minute (R29).

    Args:
        count: Number of fragments.
        length: Bytes of each.
    """

    def __init__(self, count: int, length: int) -> None:
        self._count = count
        self._value_bits = 8 * length
        self._shift = self._value_bits + count
        self._rows: dict[int, int] = {}
        """Highest set bit of the mask to row."""
        self._contradictions: dict[int, tuple[int, int]] = {}
        """Error to the origins that all contradictions with this error share, and how many there were."""

    @property
    def rank(self) -> int:
        """How many parts told something new; `count` of them are enough."""
        return len(self._rows)

    def add(self, mask: int, data: bytes) -> bool:
        """Take in an equation; whether it told something new."""
        row = mask << self._shift | int.from_bytes(data, "big")
        while (pivot := row.bit_length() - self._shift - 1) >= 0:
            other = self._rows.get(pivot)
            if other is None:
                self._rows[pivot] = row ^ 1 << (self._value_bits + self.rank)
                return True
            row ^= other
        origin, error = self._split(row)
        if error:
            # Somebody is wrong, this part or one of those it was compared with; `suspects` tells whom to ask.
            shared, times = self._contradictions.get(error, (origin, 0))
            if times or len(self._contradictions) < MAX_ERRORS:
                self._contradictions[error] = (shared & origin, times + 1)
        return False

    def suspects(self, most: int) -> Iterator[tuple[int, int]]:
        """Parts that may be the wrong one, as origin bit and the error in it, likely ones first.

        If a single part is wrong, every sum that it went into is wrong by the same error: the wrong part is among those
        that all contradictions of that error share.
        """
        by_weight = sorted(self._contradictions.items(), key=lambda item: (-item[1][1], item[1][0].bit_count()))
        for error, (shared, _) in by_weight:
            while shared and most:
                suspect = shared & -shared
                yield suspect, error
                shared ^= suspect
                most -= 1

    def known(self) -> int:
        """The fragments that are determined already, as a mask."""
        if self.rank == self._count:
            return (1 << self._count) - 1
        pivots = sum(1 << pivot for pivot in self._rows)
        reduced: dict[int, int] = {}
        known = 0
        for pivot in sorted(self._rows):
            mask = self._rows[pivot] >> self._shift
            below = (mask ^ 1 << pivot) & pivots
            while below:
                at = below.bit_length() - 1
                mask ^= reduced[at]
                below ^= 1 << at
            reduced[pivot] = mask
            if mask == 1 << pivot:
                known |= mask
        return known

    def solve(self) -> list[Solved]:
        """All fragments with their origins, by substitution; needs full rank."""
        solved: list[int] = []
        low = (1 << self._shift) - 1
        for pivot in range(self._count):
            mask, row = self._rows[pivot] >> self._shift, self._rows[pivot] & low
            mask ^= 1 << pivot
            while mask:
                at = mask.bit_length() - 1
                row ^= solved[at]
                mask ^= 1 << at
            solved.append(row)
        return [self._split(row) for row in solved]

    def _split(self, row: int) -> Solved:
        return row >> self._value_bits, row & (1 << self._value_bits) - 1
