"""Bundles as QR codes: one PNG per symbol, and printable sheets of several (decisions 16 and 17).

UR text is upper case here, so that it fits the alphanumeric mode of ISO/IEC 18004 (5.5 bits a character). Every symbol
has its quiet zone of four modules; nothing is drawn into it. `segno` draws symbols, Pillow only the sheets; both are
imported when they are used.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, cast

from keyturn.errors import ErrorCode, FormatError
from keyturn.transport import ur
from keyturn.transport.limits import MAX_PARTS

DEFAULT_ERROR_CORRECTION: Final = "M"
DEFAULT_MAX_VERSION: Final = 20
"""97 modules a side: what an ordinary telephone still reads from ordinary paper."""
DEFAULT_SCALE: Final = 6
"""Pixels per module of a single symbol."""
QUIET_ZONE: Final = 4
"""Modules of white around a symbol (ISO/IEC 18004 section 9.1)."""
MAX_EXTRA: Final = 256
"""Most extra parts of one set: drawing takes tens of milliseconds a symbol, and nobody prints more spares."""

_LEVELS: Final = "LMQH"
_MODE_BITS: Final = 4
_LARGEST_VERSION: Final = 40


@dataclass(frozen=True, slots=True)
class QRSet:
    """The symbols of one message, before they are drawn.

    Args:
        name: The four words by which a reader names the message; empty for plain text.
        texts: What each symbol holds, in order: the plain parts, then the extra ones.
        total: Number of plain parts.
        error_correction: `L`, `M`, `Q` or `H`.
        max_version: Largest symbol version allowed.
    """

    name: str
    texts: tuple[str, ...]
    total: int
    error_correction: str
    max_version: int

    def caption(self, index: int) -> str:
        """What stands under symbol `index` (from 0) on paper."""
        if index < self.total:
            return f"part {index + 1} of {self.total}"
        return f"extra part {index + 1 - self.total} (stands in for a lost one)"


def qr_set(
    content: bytes | str,
    *,
    error_correction: str = DEFAULT_ERROR_CORRECTION,
    max_version: int = DEFAULT_MAX_VERSION,
    extra: int = 0,
) -> QRSet:
    """Decide how content is split over symbols.

    Args:
        content: Bytes (a sealed bundle) become UR parts; a text becomes one plain symbol.
        error_correction: `L` (7 % of a symbol may be damaged), `M` (15 %), `Q` (25 %) or `H` (30 %).
        max_version: Largest symbol version, 1 to 40.
        extra: Fountain parts behind the plain ones, 0 to 256; at most 4096 parts in all. When one symbol is enough
            there are none.

    Returns:
        The set.

    Raises:
        FormatError: `qr.parameter` if a parameter is out of range, `qr.too-large` if a text does not fit one symbol,
            `ur.too-many-parts` if bytes do not fit 4 096.
    """
    _check_parameters(error_correction, max_version, extra)
    if isinstance(content, str):
        return _plain_set(content, error_correction, max_version)
    capacity = alphanumeric_capacity(max_version, error_correction)
    whole = ur.encode_single(content)
    if len(whole) <= capacity:
        return QRSet(ur.content_name(content), (whole.upper(),), 1, error_correction, max_version)
    encoder = ur.UREncoder(content, _fragment_that_fits(capacity))
    if encoder.total + extra > MAX_PARTS:
        raise FormatError(
            f"{encoder.total} parts and {extra} extra ones are more than {MAX_PARTS}. Ask for fewer extra parts or "
            "larger symbols (maxVersion).",
            refusal="ur.too-many-parts",
        )
    texts = tuple(text.upper() for text in encoder.parts(extra))
    return QRSet(encoder.name, texts, encoder.total, error_correction, max_version)


def qr_pngs(
    content: bytes | str,
    *,
    error_correction: str = DEFAULT_ERROR_CORRECTION,
    max_version: int = DEFAULT_MAX_VERSION,
    extra: int = 0,
    scale: int = DEFAULT_SCALE,
) -> list[bytes]:
    """Draw content as QR codes, one PNG per symbol.

    Args:
        content: Bytes (a sealed bundle) become UR parts, `format=ur`; a text becomes one plain symbol, `format=json`.
        error_correction: `L`, `M`, `Q` or `H`.
        max_version: Largest symbol version, 1 to 40.
        extra: Fountain parts behind the plain ones.
        scale: Pixels per module.

    Returns:
        PNG files in order.

    Raises:
        FormatError: As `qr_set`.
    """
    symbols = qr_set(content, error_correction=error_correction, max_version=max_version, extra=extra)
    return [draw(symbols, index, scale=scale) for index in range(len(symbols.texts))]


def room(*, error_correction: str, max_version: int, extra: int) -> int:
    """Most bytes that a set of symbols of this size can carry.

    Args:
        error_correction: As in `qr_set`.
        max_version: As in `qr_set`.
        extra: As in `qr_set`.
    """
    fragment = _fragment_that_fits(alphanumeric_capacity(max_version, error_correction))
    return max(0, fragment) * (MAX_PARTS - extra)


def draw(symbols: QRSet, index: int, *, scale: int = DEFAULT_SCALE) -> bytes:
    """Draw one symbol of a set as PNG, with its quiet zone.

    Args:
        symbols: The set.
        index: Which symbol, from 0.
        scale: Pixels per module.
    """
    # Drawing a symbol is the only use of segno; readers and small commands start without it.
    import segno

    out = io.BytesIO()
    code = segno.make_qr(symbols.texts[index], error=symbols.error_correction, boost_error=False)
    code.save(out, kind="png", scale=scale, border=QUIET_ZONE)
    return out.getvalue()


def alphanumeric_capacity(version: int, error_correction: str) -> int:
    """Characters of a symbol in alphanumeric mode (ISO/IEC 18004 table 7)."""
    bits = _data_bits(version, error_correction) - _MODE_BITS - (9 if version < 10 else 11 if version < 27 else 13)
    return 2 * (bits // 11) + (1 if bits % 11 >= 6 else 0)


def _byte_capacity(version: int, error_correction: str) -> int:
    bits = _data_bits(version, error_correction) - _MODE_BITS - (8 if version < 10 else 16)
    return bits // 8


def _data_bits(version: int, error_correction: str) -> int:
    from segno import consts

    levels = {
        "L": consts.ERROR_LEVEL_L,
        "M": consts.ERROR_LEVEL_M,
        "Q": consts.ERROR_LEVEL_Q,
        "H": consts.ERROR_LEVEL_H,
    }
    # segno's stub gives the inner dictionaries as plain objects.
    capacities = cast("dict[int, dict[int, int]]", consts.SYMBOL_CAPACITY)
    return capacities[version][levels[error_correction]]


def _fragment_that_fits(capacity: int) -> int:
    """Most bytes of a fragment such that any part of a set fits `capacity` characters.

    Counted with the longest header: numbers up to 4096, a message of 1 MiB.
    """
    text = len("UR:BYTES/4096-4096/")
    checksum = 4
    header = len(b"\x85") + 3 + 3 + 5 + 5 + 3  # array, number, total, message length, CRC-32, length of the bytes
    return (capacity - text) // 2 - checksum - header


def _plain_set(text: str, error_correction: str, max_version: int) -> QRSet:
    size = len(text.encode())
    capacity = _byte_capacity(max_version, error_correction)
    if size > capacity:
        largest = _byte_capacity(_LARGEST_VERSION, "L")
        raise FormatError(
            f"The plain text has {size} bytes; one symbol of version {max_version} at level {error_correction} holds "
            f"{capacity}, the largest at level L {largest}. Use format=ur, which is split over several symbols.",
            code=ErrorCode.VALIDATION_FAILED,
            refusal="qr.too-large",
        )
    return QRSet("", (text,), 1, error_correction, max_version)


def _check_parameters(error_correction: str, max_version: int, extra: int) -> None:
    if error_correction not in tuple(_LEVELS):
        raise _parameter("errorCorrection", "L, M, Q or H")
    if not 1 <= max_version <= _LARGEST_VERSION:
        raise _parameter("maxVersion", f"1 to {_LARGEST_VERSION}")
    if not 0 <= extra <= MAX_EXTRA:
        raise _parameter("extra", f"0 to {MAX_EXTRA}")


def _parameter(name: str, allowed: str) -> FormatError:
    return FormatError(f"Field '{name}' must be {allowed}.", refusal="qr.parameter")
