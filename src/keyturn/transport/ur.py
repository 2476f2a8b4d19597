"""Uniform resources: a bundle as text for QR codes (BCR-2020-005, type `bytes`).

    ur:bytes/<bytewords>                    the whole message in one
    ur:bytes/<number>-<total>/<bytewords>   one of many parts (`fountain`)

Upper case in QR codes, so that they use the compact alphanumeric mode; either case when reading. The message is the
CBOR byte string of the bundle.

The reading side keeps parts of different messages apart by their headers, so that a stray or poisoned part spoils
nothing (R29), and says at the end which message it has. Messages are named by four words (the CRC-32 in bytewords)
that also stand in the captions of a printed sheet.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.transport import bytewords, fountain
from keyturn.transport.limits import MAX_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TYPE: Final = "bytes"

MAX_TEXT: Final = 2 * (fountain.MAX_MESSAGE + 64)
"""Longest UR text read, in characters: the largest message in one part."""

_SINGLE: Final = re.compile(r"ur:bytes/([a-z]+)", re.ASCII)
_MULTI: Final = re.compile(r"ur:bytes/([1-9][0-9]{0,9})-([1-9][0-9]{0,9})/([a-z]+)", re.ASCII)
_OTHER: Final = re.compile(r"ur:([a-z0-9-]+)/.*", re.ASCII | re.DOTALL)


def encode_single(content: bytes) -> str:
    """The whole of `content` as one UR, lower case."""
    return f"ur:{TYPE}/{bytewords.encode(_message(content))}"


class UREncoder:
    """Cuts content into parts and gives them as text, lower case.

    Args:
        content: What to carry, 1 byte to 1 MiB.
        max_fragment: Most bytes of a fragment.
    """

    def __init__(self, content: bytes, max_fragment: int) -> None:
        self._encoder = fountain.Encoder(_message(content), max_fragment)

    @property
    def total(self) -> int:
        """Number of plain parts N."""
        return self._encoder.total

    @property
    def name(self) -> str:
        """The four words by which a reader will name this message."""
        return message_name(self._encoder.header.checksum)

    def part(self, number: int) -> str:
        """Part `number`, from 1: up to N plain, beyond it mixed, without an end."""
        encoded = bytewords.encode(self._encoder.part(number).encode())
        return f"ur:{TYPE}/{number}-{self.total}/{encoded}"

    def parts(self, extra: int = 0) -> Iterator[str]:
        """The N plain parts and `extra` mixed ones that make good spares (`fountain.spare_numbers`)."""
        checksum = self._encoder.header.checksum
        for number in (*range(1, self.total + 1), *fountain.spare_numbers(self.total, checksum, extra)):
            yield self.part(number)


def message_name(checksum: int) -> str:
    """Four words that name a message, from its CRC-32."""
    return bytewords.words(checksum.to_bytes(4, "big"))


def content_name(content: bytes) -> str:
    """The four words that name the message which carries `content`."""
    return message_name(zlib.crc32(_message(content)))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of which at least a part was received.

    Args:
        name: Its four words.
        progress: What is there.
        content: What it carries, None while parts are missing.
        problem: Why it cannot be put together although all parts are there; None otherwise.
        sources: Where its parts came from, such as file names, in order, without repetition.
    """

    name: str
    progress: fountain.Progress
    content: bytes | None
    problem: FormatError | None
    sources: tuple[str, ...]


class URCollector:
    """Receives UR texts in any order, with repetitions, of one or more messages."""

    def __init__(self) -> None:
        self._decoders: dict[fountain.Header, fountain.Decoder] = {}
        self._sources: dict[fountain.Header, dict[str, None]] = {}
        self._wholes: dict[bytes, dict[str, None]] = {}

    def receive(self, text: str, source: str = "") -> bool:
        """Take in one UR.

        Args:
            text: As scanned, either case.
            source: Where it came from, for messages to people.

        Returns:
            Whether it told something new.

        Raises:
            FormatError: `ur.not-ur`, `ur.type`, `ur.bytewords`, `ur.checksum`, `ur.malformed`, `ur.not-deterministic`,
                `ur.header`, `ur.too-large` or `ur.too-many-messages`. What was received before stays as it was.
        """
        part = parse(text)
        if isinstance(part, bytes):
            return self.receive_whole(part, source)
        decoder = self._decoders.get(part.header)
        if decoder is None:
            self._require_room(True)
            decoder = self._decoders[part.header] = fountain.Decoder(part.header)
        self._sources.setdefault(part.header, {})[source] = None
        return decoder.receive(part)

    def receive_whole(self, content: bytes, source: str = "") -> bool:
        """Take in a whole message that came otherwise, such as a file.

        Args:
            content: What it carries.
            source: Where it came from.

        Returns:
            Whether it is new.

        Raises:
            FormatError: `ur.too-many-messages`.
        """
        new = content not in self._wholes
        self._require_room(new)
        self._wholes.setdefault(content, {})[source] = None
        return new

    def messages(self) -> tuple[Message, ...]:
        """Everything received so far; the same message in one piece and in parts counts once."""
        found = {content: _whole(content, tuple(sources)) for content, sources in self._wholes.items()}
        open_ones = []
        for header, decoder in self._decoders.items():
            message = _assembled(header, decoder, tuple(self._sources[header]))
            if message.content is None:
                open_ones.append(message)
            else:
                found.setdefault(message.content, message)
        return (*found.values(), *open_ones)

    def _require_room(self, needed: bool) -> None:
        if needed and len(self._decoders) + len(self._wholes) >= MAX_MESSAGES:
            raise FormatError(
                f"These parts belong to more than {MAX_MESSAGES} different messages. Sort the sheets and import one "
                "message at a time.",
                refusal="ur.too-many-messages",
            )


def parse(text: str) -> bytes | fountain.Part:
    """Read one UR: the content of a whole one, or a part.

    Raises:
        FormatError: As `URCollector.receive` says, except `ur.too-many-messages`.
    """
    if len(text) > MAX_TEXT:
        raise FormatError("This UR is longer than the largest message.", refusal="ur.too-large")
    if not text.isascii():
        raise _not_ur()
    lower = text.lower()
    single = _SINGLE.fullmatch(lower)
    if single is not None:
        return _content(bytewords.decode(single[1]))
    multi = _MULTI.fullmatch(lower)
    if multi is None:
        other = _OTHER.fullmatch(lower)
        if other is not None and other[1] != TYPE:
            raise FormatError(
                f"This is a UR of type {other[1][:40]}, not {TYPE}: it was not made by keyturn.", refusal="ur.type"
            )
        raise _not_ur()
    part = fountain.decode_part(bytewords.decode(multi[3]))
    if (part.number, part.header.total) != (int(multi[1]), int(multi[2])):
        raise FormatError(
            f"This part says {multi[1]}-{multi[2]} outside and {part.number}-{part.header.total} inside.",
            refusal="ur.header",
        )
    return part


def decode(texts: Iterable[str]) -> bytes:
    """Put one message together from its parts; for callers without progress to show.

    Raises:
        FormatError: As `URCollector.receive`; `ur.incomplete` if parts are missing; `ur.several-messages`.
    """
    collector = URCollector()
    for text in texts:
        collector.receive(text)
    return require_one(collector.messages()).content


@dataclass(frozen=True, slots=True)
class Received:
    """A complete message, and what was left aside.

    Args:
        name: Its four words.
        content: What it carries.
        strays: Incomplete messages of which parts lay in the same set.
    """

    name: str
    content: bytes
    strays: tuple[Message, ...]


class IncompleteError(FormatError):
    """Parts are missing; `messages` says of which message which ones. Its refusal word is `ur.incomplete`."""

    messages: tuple[Message, ...] = ()


class SeveralMessagesError(FormatError):
    """Parts of several messages; `messages` are these. Its refusal word is `ur.several-messages`."""

    messages: tuple[Message, ...] = ()


def require_one(messages: tuple[Message, ...]) -> Received:
    """The one complete message of a set.

    Args:
        messages: What a collector gave.

    Returns:
        It, with parts of others that lay beside it: a stray or forged part does not spoil the good ones (R29).

    Raises:
        IncompleteError: `ur.incomplete` if one message is there and parts are missing.
        SeveralMessagesError: `ur.several-messages` if parts of several are there and not exactly one is complete.
        FormatError: `ur.nothing` if nothing is there; `ur.poisoned`.
    """
    complete = [message for message in messages if message.content is not None]
    if len(complete) == 1:
        whole = complete[0]
        assert whole.content is not None  # noqa: S101 - By the line above.
        return Received(whole.name, whole.content, tuple(message for message in messages if message is not whole))
    if not messages:
        raise FormatError("There is no part of any message here.", refusal="ur.nothing")
    if len(messages) > 1:
        several = SeveralMessagesError(
            "These parts belong to different messages: "
            + "; and ".join(describe(message) for message in messages)
            + ". Sort them and import one message at a time.",
            refusal="ur.several-messages",
        )
        several.messages = messages
        raise several
    if messages[0].problem is not None:
        raise messages[0].problem
    error = IncompleteError(f"Parts are missing: {describe(messages[0])}.", refusal="ur.incomplete")
    error.messages = messages
    raise error


def describe(message: Message) -> str:
    """One message in a sentence: its words, what is there, where it came from."""
    where = ", ".join(source for source in message.sources[:8] if source)
    more = ", …" if len(message.sources) > 8 else ""
    return f"“{message.name}” ({message.progress.sentence()})" + (f" from {where}{more}" if where else "")


def _message(content: bytes) -> bytes:
    return cbor.encode(content)


def _content(message: bytes) -> bytes:
    content = cbor.decode(message, what="ur")
    if not isinstance(content, bytes):
        raise FormatError("This UR does not carry bytes.", refusal="ur.malformed")
    return content


def _whole(content: bytes, sources: tuple[str, ...]) -> Message:
    return Message(content_name(content), fountain.Progress(1, (1,), 0, (), 0), content, None, sources)


def _assembled(header: fountain.Header, decoder: fountain.Decoder, sources: tuple[str, ...]) -> Message:
    content, problem = None, None
    try:
        message = decoder.message()
        content = None if message is None else _content(message)
    except FormatError as error:
        problem = error
    return Message(message_name(header.checksum), decoder.progress, content, problem, sources)


def _not_ur() -> FormatError:
    return FormatError(
        "This is not a UR of ours; it should begin with UR:BYTES/. Is it another code on the same page?",
        refusal="ur.not-ur",
    )
