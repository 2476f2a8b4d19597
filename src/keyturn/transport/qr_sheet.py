"""Sheets of QR codes for paper: A4 pages with several symbols and what a person needs to put them together."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from keyturn.transport import qr

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

PAGE: Final = (2480, 3508)
"""A4 at 300 dots per inch: width, height."""
DOTS_PER_INCH: Final = 300
COLUMNS: Final = 2
ROWS: Final = 3
PER_PAGE: Final = COLUMNS * ROWS

_MARGIN: Final = 120
_HEAD: Final = 220
_FOOT: Final = 100
_CAPTION: Final = 60
_TEXT: Final = 44
_SMALL: Final = 36
_WHITE, _BLACK = 1, 0


def sheet_pngs(symbols: qr.QRSet, title: str) -> list[bytes]:
    """Draw a set of symbols on as many pages as it takes.

    Args:
        symbols: The set.
        title: What it is, for the head of each page, such as `request 0f1e… for vault`; characters outside ASCII are
            shown as question marks.

    Returns:
        One PNG per page, black and white, 300 dots per inch.
    """
    pages = -(-len(symbols.texts) // PER_PAGE)
    return [_page(symbols, title, page, pages) for page in range(pages)]


def _page(symbols: qr.QRSet, title: str, page: int, pages: int) -> bytes:
    # Pillow is heavy; only sheets need it.
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("1", PAGE, _WHITE)
    pencil = ImageDraw.Draw(image)
    text, small = ImageFont.load_default(_TEXT), ImageFont.load_default(_SMALL)
    width, height = PAGE
    _centred(pencil, _MARGIN, f"keyturn: {_ascii(title)}", text)
    _centred(pencil, _MARGIN + 70, f"{symbols.name}    page {page + 1} of {pages}".strip(), text)
    _centred(
        pencil,
        height - _MARGIN,
        "Scan all pages in any order. All pages of a set show the same four words.",
        small,
    )
    cell_width = (width - 2 * _MARGIN) // COLUMNS
    cell_height = (height - 2 * _MARGIN - _HEAD - _FOOT) // ROWS
    for place, index in enumerate(range(page * PER_PAGE, min((page + 1) * PER_PAGE, len(symbols.texts)))):
        left = _MARGIN + (place % COLUMNS) * cell_width
        top = _MARGIN + _HEAD + (place // COLUMNS) * cell_height
        with Image.open(io.BytesIO(qr.draw(symbols, index, scale=1))) as small_code:
            modules = small_code.width
            scale = max(1, min(cell_width, cell_height - _CAPTION) // modules)
            code = small_code.convert("1").resize((modules * scale, modules * scale), Image.Resampling.NEAREST)
        image.paste(code, (left + (cell_width - code.width) // 2, top))
        _centred(pencil, top + code.height, symbols.caption(index), small, left + cell_width // 2)
    out = io.BytesIO()
    image.save(out, format="PNG", dpi=(DOTS_PER_INCH, DOTS_PER_INCH), optimize=True)
    return out.getvalue()


def _centred(
    pencil: ImageDraw, top: int, text: str, font: FreeTypeFont | ImageFont, middle: int = PAGE[0] // 2
) -> None:
    pencil.text((middle, top), text, fill=_BLACK, font=font, anchor="ma")


def _ascii(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)[:90]
