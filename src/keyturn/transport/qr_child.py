"""Reads QR codes from images in a process of its own, with limits (R29). Started by `qr_reader`, by nothing else.

Picture decoders are large programs in C that read what strangers wrote. This process takes pictures on its standard
input and gives texts on its standard output; it may not write files, hardly open any, and has bounded memory and time.
If it dies over a picture, its parent starts another for the rest.

Protocol: each picture as u32 length (big-endian) and PNG bytes; each answer as u32 length and JSON
`{"texts": [...]}` or `{"problem": "..."}`.
"""

from __future__ import annotations

import io
import json
import resource
import sys
from typing import TYPE_CHECKING, Any, Final

from keyturn.transport.limits import MAX_IMAGE_FILE, MAX_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY: Final = 1 << 30
"""Address space in bytes: 40 megapixels in four channels take 160 MB, the rest is for working copies."""
SECONDS_PER_IMAGE: Final = 20
"""Processor time for one picture."""
MAX_TEXTS: Final = 256
"""Most symbols read from one picture; a sheet of ours has six."""
_FILES: Final = 64


def main() -> None:
    """Answer pictures until the input ends."""
    _limit(resource.RLIMIT_AS, MEMORY)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    # Loaded behind the limits, and only in this process.
    read = _reader()
    while (head := sys.stdin.buffer.read(4)) and len(head) == 4:
        size = int.from_bytes(head, "big")
        if size > MAX_IMAGE_FILE:
            return
        picture = sys.stdin.buffer.read(size)
        _allow_time()
        answer = json.dumps(_answer(read, picture)).encode()
        sys.stdout.buffer.write(len(answer).to_bytes(4, "big") + answer)
        sys.stdout.buffer.flush()


def _answer(read: Callable[[bytes], list[str]], picture: bytes) -> dict[str, Any]:
    try:
        return {"texts": read(picture)}
    except MemoryError:
        return {"problem": "it needs more memory than a picture may"}
    # Whatever a decoder raises over a hostile picture is a fact about the picture.
    except Exception as error:
        return {"problem": str(error)[:200] or type(error).__name__}


def _reader() -> Callable[[bytes], list[str]]:
    import zxingcpp
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # Judged below, before a pixel is decoded.
    formats = zxingcpp.barcode_formats_from_str("QRCode")

    def read(picture: bytes) -> list[str]:
        try:
            image = Image.open(io.BytesIO(picture), formats=("PNG",))
        except OSError as error:
            raise ValueError("it is not a PNG picture") from error
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS // 1_000_000} megapixels")
        grey = image.convert("L")
        found = zxingcpp.read_barcodes(grey, formats=formats, text_mode=zxingcpp.TextMode.Plain)
        return [code.text for code in found[:MAX_TEXTS]]

    return read


def _limit(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _allow_time() -> None:
    """Give the next picture its own processor time; the kernel ends the process when it is used up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = spent + SECONDS_PER_IMAGE
    resource.setrlimit(resource.RLIMIT_CPU, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


if __name__ == "__main__":
    main()
