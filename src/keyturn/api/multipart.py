"""Bodies of `multipart/form-data`, read as they arrive: one file of any size, and a little JSON beside it.

Nothing of the file is kept here. The library splits the octets at the boundary, and takes part heads of eight lines
and 4 KiB; which parts there may be, how large the JSON may be, and that the body has its end, is checked here.

Sources: RFC 7578; RFC 2046 section 5.1; rest-api.md section 3.3.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from python_multipart import MultipartParser
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import parse_options_header

from keyturn.api.codec import read_body
from keyturn.api.errors import HttpError
from keyturn.errors import ErrorCode, FormatError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

# It would warn of every malformed body, and so let strangers fill the server's log; they are told what was wrong.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

FILE_PART: Final = "file"
MAX_JSON: Final = 64 * 1024
"""Most octets of the JSON part."""
MAX_FILE_NAME: Final = 255
"""Most characters of a file's name that are taken over into an answer."""


@dataclass(frozen=True, slots=True)
class Form:
    """What endpoints with files take.

    Args:
        part: Name of the JSON part.
        body: Its struct.
    """

    part: str
    body: type[Any]


@dataclass(slots=True)
class Upload:
    """A body of `multipart/form-data` that is about to arrive.

    Args:
        pieces: The octets as they come.
        boundary: What stands between the parts.
        most: Most octets of the file.
        most_in_all: Most octets of the body: what stands before, between and behind the parts has no bound of its own.
        check: Gets the JSON part as it was sent, and its struct; raises where the sender may not send it.
    """

    pieces: AsyncIterator[bytes]
    boundary: bytes
    most: int
    most_in_all: int
    check: Callable[[bytes, Any], None]

    async def read(
        self,
        form: Form,
        take_json: Callable[[Any], Awaitable[None]],
        take_file: Callable[[bytes], Awaitable[None]],
    ) -> str:
        """Read the whole body.

        Args:
            form: Which parts there are.
            take_json: Gets the struct, as soon as it is there.
            take_file: Gets each piece of the file.

        Returns:
            The file's name as the client gave it, without a path; empty if there was none.

        Raises:
            FormatError: 600 `upload.…`, and what `read_body` raises for the JSON part.
            HttpError: 413 `upload.too-large`.
        """
        reader = _FormReader(self.boundary, form.part)
        size = arrived = 0
        async for piece in self.pieces:
            arrived += len(piece)
            if arrived > self.most_in_all:
                raise request_too_large(self.most_in_all)
            for event in reader.feed(piece):
                if isinstance(event, bytes):
                    size += len(event)
                    if size > self.most:
                        raise _too_large(self.most)
                    await take_file(event)
                elif event is _JSON:
                    raw = bytes(reader.json)
                    body = read_body(raw, form.body)
                    self.check(raw, body)
                    await take_json(body)
        reader.require_complete()
        return reader.file_name


_JSON: Final = object()
"""The event that the JSON part is complete."""


@dataclass(slots=True)
class _FormReader:
    """Takes pieces of a body and tells what was in them."""

    boundary: bytes
    json_part: str
    json: bytearray = field(default_factory=bytearray)
    file_name: str = ""
    _parser: Any = field(init=False)
    _events: list[object] = field(default_factory=list)
    _header: list[bytes] = field(default_factory=lambda: [b"", b""])
    _disposition: bytes = b""
    _part: str = ""
    _seen: set[str] = field(default_factory=set)
    _ended: bool = False

    def __post_init__(self) -> None:
        self._parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, piece: bytes) -> list[object]:
        """Take a piece; what was in it: octets of the file, or `_JSON`."""
        self._events = []
        try:
            self._parser.write(piece)
        except MultipartParseError:
            raise _refused("The body is no multipart/form-data that can be read.", "malformed") from None
        return self._events

    def require_complete(self) -> None:
        """Refuse a body that has no end, or lacks a part."""
        if not self._ended:
            raise _refused("The body ends in the middle of a part.", "incomplete")
        for name in (FILE_PART, self.json_part):
            if name not in self._seen:
                raise _refused(f"The part '{name}' is missing.", "missing-part")

    def _on_part_begin(self) -> None:
        self._header, self._disposition = [b"", b""], b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0] += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1] += data[start:end]

    def _on_header_end(self) -> None:
        if self._header[0].lower() == b"content-disposition":
            self._disposition = self._header[1]
        self._header = [b"", b""]

    def _on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if kind != b"form-data" or self._part not in {FILE_PART, self.json_part}:
            raise _refused(
                f"The part '{self._part[:60]}' is not known; there are '{FILE_PART}' and '{self.json_part}'.",
                "unknown-part",
            )
        if self._part in self._seen:
            raise _refused(f"The part '{self._part}' stands more than once.", "repeated-part")
        self._seen.add(self._part)
        if self._part == FILE_PART:
            self.file_name = _base_name(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == FILE_PART:
            self._events.append(data[start:end])
            return
        self.json += data[start:end]
        if len(self.json) > MAX_JSON:
            raise _refused(f"The part '{self.json_part}' has more than {MAX_JSON} bytes.", "json-too-large")

    def _on_part_end(self) -> None:
        if self._part == self.json_part:
            self._events.append(_JSON)

    def _on_end(self) -> None:
        self._ended = True


def boundary_of(content_type: bytes | None) -> bytes:
    """The boundary of a multipart body.

    Args:
        content_type: The header, None if absent.

    Returns:
        The boundary.

    Raises:
        HttpError: 415 `http.content-type`: it is another type. 400 where it names no boundary.
    """
    kind, options = parse_options_header(content_type or b"")
    if kind != b"multipart/form-data":
        shown = "missing" if content_type is None else f"'{content_type[:80].decode('ascii', 'replace')}'"
        raise HttpError(
            415,
            ErrorCode.VALIDATION_FAILED,
            f"The Content-Type header is {shown}; this endpoint takes multipart/form-data.",
            refusal="http.content-type",
            close=True,
        )
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise HttpError(
            400,
            ErrorCode.VALIDATION_FAILED,
            "The Content-Type header names no boundary of 1 to 70 characters.",
            refusal="upload.boundary",
            close=True,
        )
    return boundary


def _base_name(name: str) -> str:
    """The last part of a path, by whichever stroke, without what nobody can see."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable() and letter != '"')[-MAX_FILE_NAME:]


def _refused(message: str, word: str) -> FormatError:
    return FormatError(message, refusal=f"upload.{word}")


def _too_large(most: int) -> HttpError:
    return HttpError(
        413,
        ErrorCode.INVALID_PAYLOAD,
        f"The file has more than {most} bytes (files.maxSize).",
        refusal="upload.too-large",
        close=True,
    )


def request_too_large(most: int) -> HttpError:
    """The refusal of a body of too many octets."""
    return HttpError(
        413,
        ErrorCode.INVALID_PAYLOAD,
        f"The request has more than {most} bytes (files.maxRequestSize).",
        refusal="upload.request-too-large",
        close=True,
    )
