"""Fountain coding of one message: plain parts 1…N, then as many mixed ones as wanted (BCR-2024-001).

A message is cut into N fragments of equal length. Part n up to N is fragment n itself; every later part is the XOR of a
choice of fragments that follows from its header alone. Any N independent parts give the message back; a sheet with K
extra parts survives the loss of about K of its pages.

The decoder solves the linear equations instead of peeling them, so it is done with the first full set, and it can tell
a part that contradicts the others.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.transport.equations import Equations
from keyturn.transport.limits import MAX_BUNDLE, MAX_PARTS
from keyturn.transport.xoshiro import Xoshiro256, degree_sampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keyturn.transport.equations import Solved

MAX_MESSAGE: Final = MAX_BUNDLE + 5
"""Longest message in bytes: the largest bundle with the CBOR head of a byte string. R29."""

MAX_NUMBER: Final = (1 << 32) - 1
"""Largest part number: it is mixed into the seed as 32 bits."""

MAX_TRIALS: Final = 512
"""Most suspects for which it is tried whether the message appears without them, when the set contradicts itself."""


_SPARE_WINDOW: Final = 128
_SPARE_SEARCH: Final = 4096
_SPARE_CARE: Final = 256
"""Up to this many fragments spares are chosen with care; in larger sets chance evens out by itself."""


@dataclass(frozen=True, slots=True)
class Header:
    """What all parts of one message have in common; parts with different headers are never mixed.

    Args:
        total: Number of fragments N.
        message_length: Bytes of the message.
        checksum: CRC-32 of the message.
        fragment_length: Bytes of each fragment, the last one padded with zeros.
    """

    total: int
    message_length: int
    checksum: int
    fragment_length: int


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message.

    Args:
        number: From 1; up to `header.total` the fragment of that number, beyond it a mix.
        header: What it shares with its siblings.
        data: The fragment or mix.
    """

    number: int
    header: Header
    data: bytes

    @property
    def is_plain(self) -> bool:
        """Whether it is a fragment as it is."""
        return self.number <= self.header.total

    def encode(self) -> bytes:
        """The CBOR array `[number, total, message length, checksum, data]`."""
        header = self.header
        return cbor.encode([self.number, header.total, header.message_length, header.checksum, self.data])


def decode_part(encoded: bytes) -> Part:
    """Read what `Part.encode` wrote.

    Raises:
        FormatError: `ur.malformed`, `ur.not-deterministic` or `ur.header` if the header contradicts itself or is
            beyond the limits of R29.
    """
    match cbor.decode(encoded, what="ur"):
        case [int() as number, int() as total, int() as length, int() as checksum, bytes() as data]:
            pass
        case _:
            raise FormatError("This part is not the five elements of a part.", refusal="ur.malformed")
    if not (1 <= total <= MAX_PARTS and 1 <= length <= MAX_MESSAGE):
        raise _bad_header(
            f"it speaks of {total} parts and {length} bytes; at most {MAX_PARTS} and {MAX_MESSAGE} are read"
        )
    if not (1 <= number <= MAX_NUMBER and 0 <= checksum <= 0xFFFFFFFF):
        raise _bad_header("its number or check sum is out of range")
    if not data or -(-length // len(data)) != total:
        raise _bad_header(f"{total} fragments of {len(data)} bytes are not {length} bytes")
    return Part(number, Header(total, length, checksum, len(data)), data)


def fragment_length(message_length: int, max_fragment: int) -> int:
    """The fragment length the specification's encoder chooses.

    Args:
        message_length: Bytes of the message.
        max_fragment: Most bytes of a fragment.

    Returns:
        Bytes per fragment.

    Raises:
        FormatError: `ur.too-many-parts` if that gives more than `MAX_PARTS`.
    """
    if max_fragment >= 1:
        # Starting here instead of at 1 skips only counts that cannot fit; the first that fits is the specification's.
        for count in range(-(-message_length // max_fragment), MAX_PARTS + 1):
            length = -(-message_length // count)
            if length <= max_fragment:
                return length
    raise FormatError(
        f"{message_length} bytes cannot be cut into at most {MAX_PARTS} parts of {max(max_fragment, 0)} bytes. "
        "Allow larger symbols (maxVersion), a lower errorCorrection, or carry a file.",
        refusal="ur.too-many-parts",
    )


def choose_fragments(number: int, total: int, checksum: int) -> tuple[int, ...]:
    """Which fragments part `number` mixes.

    Args:
        number: Part number from 1.
        total: Number of fragments.
        checksum: CRC-32 of the message.

    Returns:
        Indexes from 0, without repetition, in the order in which they are drawn.
    """
    if number <= total:
        return (number - 1,)
    generator = _generator(number, checksum)
    degree = degree_sampler(total).next(generator) + 1
    remaining = list(range(total))
    # The specification shuffles all of them and takes the head; the head does not depend on the rest.
    return tuple(remaining.pop(generator.next_int(0, len(remaining) - 1)) for _ in range(degree))


def mask_of(number: int, total: int, checksum: int) -> int:
    """The fragments of part `number` as a mask: bit i is fragment i."""
    mask = 0
    for index in choose_fragments(number, total, checksum):
        mask |= 1 << index
    return mask


def _generator(number: int, checksum: int) -> Xoshiro256:
    return Xoshiro256(number.to_bytes(4, "big") + checksum.to_bytes(4, "big"))


def _degree(number: int, total: int, checksum: int) -> int:
    return degree_sampler(total).next(_generator(number, checksum)) + 1


def spare_numbers(total: int, checksum: int, count: int) -> tuple[int, ...]:
    """Choose which mixed parts make the best spares for a printed sheet.

    Parts N+1, N+2, … would do in the long run, but a sheet has few spares, and one in three of them may not mix in the
    very part that was lost. Every number gives a part that every decoder understands; so the first spare is one that
    mixes all fragments where it can be found (it makes up for any one loss), and each further one is that which tells
    most fragments apart (two losses can be undone when no two fragments are mixed into the same spares).

    Args:
        total: Number of fragments N.
        checksum: CRC-32 of the message.
        count: How many are wanted.

    Returns:
        Part numbers above N, each once; the same for the same message.
    """
    if count < 1:
        return ()
    window = range(total + 1, total + _SPARE_WINDOW + count)
    if total > _SPARE_CARE:
        return tuple(window[:count])
    masks = {number: mask_of(number, total, checksum) for number in window}
    full = (1 << total) - 1
    wide = (number for number in range(total + 1, total + _SPARE_SEARCH) if _degree(number, total, checksum) == total)
    first = next(wide, None) or max(masks, key=lambda number: masks[number].bit_count())
    chosen = [first]
    # Fragments that the spares chosen so far do not tell apart. The first spare mixes all of them, or nearly.
    classes = _split([full], mask_of(first, total, checksum))
    while len(chosen) < count:
        number = min(
            (number for number in window if number not in chosen),
            key=lambda number: sum(part.bit_count() ** 2 for part in _split(classes, masks[number])),
        )
        chosen.append(number)
        classes = _split(classes, masks[number])
    return tuple(chosen)


def _split(classes: list[int], mask: int) -> list[int]:
    return [part for known in classes for part in (known & mask, known & ~mask) if part]


class Encoder:
    """Cuts a message and gives its parts.

    Args:
        message: 1 to `MAX_MESSAGE` bytes.
        max_fragment: Most bytes of a fragment.
    """

    def __init__(self, message: bytes, max_fragment: int) -> None:
        if not 1 <= len(message) <= MAX_MESSAGE:
            raise FormatError(f"A message of {len(message)} bytes cannot be carried.", refusal="ur.too-large")
        length = fragment_length(len(message), max_fragment)
        pieces = [message[at : at + length] for at in range(0, len(message), length)]
        self._fragments = [piece.ljust(length, b"\0") for piece in pieces]
        self.header = Header(len(pieces), len(message), zlib.crc32(message), length)

    @property
    def total(self) -> int:
        """Number of plain parts N."""
        return self.header.total

    def part(self, number: int) -> Part:
        """Part `number`, from 1 without an end."""
        mixed = 0
        for index in choose_fragments(number, self.total, self.header.checksum):
            mixed ^= int.from_bytes(self._fragments[index], "big")
        return Part(number, self.header, mixed.to_bytes(self.header.fragment_length, "big"))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a message has come together.

    Args:
        total: Number of plain parts N.
        plain: Numbers of the plain parts that are there, ascending.
        mixed: Number of mixed parts that are there and tell something new.
        missing: Numbers of the plain parts that neither are there nor follow from the mixed ones, ascending.
        needed: How many more parts are needed at least; 0 when nothing is missing.
    """

    total: int
    plain: tuple[int, ...]
    mixed: int
    missing: tuple[int, ...]
    needed: int

    def sentence(self) -> str:
        """What is there and what is missing, for a person."""
        have = f"have {len(self.plain)} of {self.total} simple parts"
        if self.mixed:
            have += f" + {self.mixed} mixed"
        if not self.needed:
            return f"{have}: complete"
        which = ", ".join(map(str, self.missing[:20])) + (", …" if len(self.missing) > 20 else "")
        more = "one more part of this set is" if self.needed == 1 else f"{self.needed} more parts of this set are"
        return f"{have}; missing simple parts: {which}; at least {more} needed"


class Decoder:
    """Puts the parts of one message together, in any order, with any losses and repetitions.

    Args:
        header: The header all its parts have.
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._equations = Equations(header.total, header.fragment_length)
        self._seen: set[int] = set()
        self._plain: set[int] = set()
        self._mixed = 0

    def receive(self, part: Part) -> bool:
        """Take in a part.

        Args:
            part: A part with this decoder's header.

        Returns:
            Whether it told something new.
        """
        if part.header != self.header:
            raise ValueError("a part of another message")
        known = hash((part.number, part.data))
        if known in self._seen or len(self._seen) >= MAX_PARTS:
            # A repetition, or more than any set of ours has: not worth the arithmetic.
            return False
        self._seen.add(known)
        if not self._equations.add(_mask(part), part.data):
            return False
        if part.is_plain:
            self._plain.add(part.number)
        else:
            self._mixed += 1
        return True

    @property
    def progress(self) -> Progress:
        """How far it has come."""
        total, known = self.header.total, self._equations.known()
        return Progress(
            total=total,
            plain=tuple(sorted(self._plain)),
            mixed=self._mixed,
            missing=tuple(number for number in range(1, total + 1) if not known >> (number - 1) & 1),
            needed=total - self._equations.rank,
        )

    def message(self) -> bytes | None:
        """The message, or None while parts are missing.

        Raises:
            FormatError: `ur.poisoned` if the parts do not fit together and leaving out any one does not help.
        """
        if self._equations.rank < self.header.total:
            return None
        solution = self._equations.solve()
        found = self._checked(solution)
        if found is not None:
            return found
        for suspect, error in self._equations.suspects(MAX_TRIALS):
            found = self._checked(solution, suspect, error)
            if found is not None:
                return found
        raise FormatError(
            "All parts are there but they do not give the message they were cut from: at least one is forged or was "
            "read wrongly. Scan the set again, with its extra parts if it has some.",
            refusal="ur.poisoned",
        )

    def _checked(self, solution: Sequence[Solved], suspect: int = 0, error: int = 0) -> bytes | None:
        """The message if it has the check sum of the header; with `error` taken from all that `suspect` went into."""
        length = self.header.fragment_length
        joined = b"".join(
            (value ^ error if origin & suspect else value).to_bytes(length, "big") for origin, value in solution
        )
        message, padding = joined[: self.header.message_length], joined[self.header.message_length :]
        return message if zlib.crc32(message) == self.header.checksum and not any(padding) else None


def _mask(part: Part) -> int:
    return mask_of(part.number, part.header.total, part.header.checksum)


def _bad_header(why: str) -> FormatError:
    return FormatError(f"The header of this part cannot be right: {why}.", refusal="ur.header")
