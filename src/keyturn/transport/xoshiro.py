"""The generator of BCR-2024-001: xoshiro256**, seeded through SHA-256, and the alias method.

Not for secrets. Both sides of a fountain code must draw the same numbers from a part's header; nothing here may ever
change. Source: BCR-2024-001 (multipart UR); Blackman and Vigna, xoshiro256** 1.0; Vose, alias method (1991).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

_MASK: Final = (1 << 64) - 1


class Xoshiro256:
    """xoshiro256** as fountain codes use it.

    Args:
        seed: Any bytes; the state is their SHA-256, four big-endian 64-bit words.
    """

    def __init__(self, seed: bytes) -> None:
        digest = hashlib.sha256(seed).digest()
        self._s0, self._s1, self._s2, self._s3 = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8, 16, 24))

    def next(self) -> int:
        """The next 64-bit number."""
        result = (_rotate_left(self._s1 * 5 & _MASK, 7) * 9) & _MASK
        shifted = (self._s1 << 17) & _MASK
        self._s2 ^= self._s0
        self._s3 ^= self._s1
        self._s1 ^= self._s2
        self._s0 ^= self._s3
        self._s2 ^= shifted
        self._s3 = _rotate_left(self._s3, 45)
        return result

    def next_double(self) -> float:
        """The next number divided by 2^64, as an IEEE double in [0, 1]."""
        return self.next() / (1 << 64)

    def next_int(self, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        # The quotient can round up to 1.0 once in 2^53 draws; the bound is then `high`.
        return min(int(self.next_double() * (high - low + 1)) + low, high)


class AliasSampler:
    """Draws an index with a given probability (Vose's alias method).

    Args:
        weights: One positive weight per index.
    """

    def __init__(self, weights: tuple[float, ...]) -> None:
        count, total = len(weights), sum(weights)
        scaled = [weight * count / total for weight in weights]
        self._probabilities = [0.0] * count
        self._aliases = [0] * count
        small = [at for at in range(count - 1, -1, -1) if scaled[at] < 1]
        large = [at for at in range(count - 1, -1, -1) if scaled[at] >= 1]
        while small and large:
            less, more = small.pop(), large.pop()
            self._probabilities[less] = scaled[less]
            self._aliases[less] = more
            scaled[more] += scaled[less] - 1
            (small if scaled[more] < 1 else large).append(more)
        for at in (*large, *small):
            self._probabilities[at] = 1.0

    def next(self, generator: Xoshiro256) -> int:
        """Draw an index with two numbers of `generator`."""
        first, second = generator.next_double(), generator.next_double()
        at = min(int(len(self._probabilities) * first), len(self._probabilities) - 1)
        return at if second < self._probabilities[at] else self._aliases[at]


@lru_cache(maxsize=64)
def degree_sampler(count: int) -> AliasSampler:
    """The sampler of how many of `count` fragments are mixed: one with weight 1, two with 1/2, three with 1/3."""
    return AliasSampler(tuple(1 / degree for degree in range(1, count + 1)))


def _rotate_left(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _MASK
