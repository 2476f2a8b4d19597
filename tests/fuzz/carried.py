"""Targets: what the courier carries: bundles, their contents, and the texts in QR codes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.harness import Target, refuse, require, same
from fuzz.texts import attestations
from keyturn.errors import FormatError
from keyturn.ska import cbor
from keyturn.transport import bytewords, cose, fountain, ur
from keyturn.transport.bundle import KEY, REQUEST, RESULT, Bundle, open_bundle, seal_bundle
from keyturn.transport.contents import Contents, read_contents

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

GOLDEN: Final = Path(__file__).parent.parent / "transport" / "golden"


class Key:
    """An instance key that is always the same."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)

    @property
    def public(self) -> bytes:
        """The raw public key."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        return self._key.sign(data)


SENDER: Final = Key()
BUNDLE: Final = Bundle(
    kind=REQUEST, request_id="r-1", sender=SENDER.public, recipient=None, sequence=1, body=b'{"a":1}'
)

# --- bundles ------------------------------------------------------------------------------------------------


def _content(sealed: cose.Sealed) -> bytes:
    if sealed.content_format == cose.CONTENT_CBOR:
        return sealed.payload
    return zlib.decompress(sealed.payload)


def _sealed(data: bytes) -> bytes:
    """The first byte says whether the rest is a bundle, or its payload, sealed here by a trusted key."""
    mode, rest = data[:1], data[1:]
    if mode == b"p":
        return cose.seal(rest, cose.CONTENT_CBOR, SENDER)
    if mode == b"z":
        return cose.seal(rest, cose.CONTENT_CBOR_DEFLATE, SENDER)
    return data


def _bundle(data: bytes) -> Bundle:
    return open_bundle(_sealed(data), [SENDER.public], me=SENDER.public)


def _hold_bundle(data: bytes, bundle: Bundle) -> None:
    again = seal_bundle(bundle, SENDER)
    same(open_bundle(again, [SENDER.public], me=SENDER.public), bundle)
    same(_content(cose.take_apart(again)), _content(cose.take_apart(_sealed(data))))


def _bundles() -> list[bytes]:
    whole = seal_bundle(BUNDLE, SENDER)
    plain = _content(cose.take_apart(whole))
    return [whole, b"p" + plain, b"z" + zlib.compress(plain)]


def _hold_cose(data: bytes, sealed: cose.Sealed) -> None:
    same(b"\xd2" + cbor.encode([sealed.protected, {}, sealed.payload, sealed.signature]), data)


def _contents(data: bytes) -> Contents:
    if not data:
        raise refuse("A kind is missing.")
    kind = (REQUEST, RESULT, KEY)[data[0] % 3]
    bundle = Bundle(
        kind=kind,
        request_id=None if kind == KEY else "r-1",
        sender=SENDER.public,
        recipient=None,
        sequence=1,
        body=data[1:],
    )
    return read_contents(bundle)


def _hold_contents(data: bytes, contents: Contents) -> None:
    same(json.loads(data[1:]), contents.body)
    json.dumps(contents.body, ensure_ascii=False, allow_nan=False).encode()
    repr(contents).encode()


def _content_seeds() -> list[bytes]:
    golden = [(GOLDEN / f"{name}-v1.json").read_bytes().strip() for name in ("request", "result")]
    result = json.loads(golden[1])
    result["id"] = "r-1"
    golden[1] = json.dumps(result).encode()
    key = json.dumps({"xml": attestations()[0].decode(), "signature": "AA=="}).encode()
    block = b'{"blockRequest":{"blockKeyName":"k","signedApprovals":["AA=="],"requestId":"r-1"}}'
    refusal = b'{"id":"r-1","refused":{"errorCode":701,"message":"no","refusal":"approvals.missing"}}'
    stamp = b'{"timestampRequest":{"keyName":"k","operation":"use","payload":"AA=="}}'
    found = [bytes([at % 3]) + body for at, body in enumerate((*golden, key, block, refusal))]
    return [*found, b"\x00" + stamp]


# --- UR and fountain -----------------------------------------------------------------------------------------


def _received(data: bytes) -> tuple[ur.Message, ...]:
    """Lines of UR text; one that begins with `=` is content in letters of ours, so that its check sum is right."""
    collector = ur.URCollector()
    for line in data.split(b"\n")[:64]:
        if line.startswith(b"="):
            text = f"ur:bytes/{bytewords.encode(line[1:])}"
        else:
            try:
                text = line.decode()
            except UnicodeDecodeError:
                raise refuse("It is no text.") from None
        collector.receive(text)
    return collector.messages()


def _hold_received(_data: bytes, messages: tuple[ur.Message, ...]) -> None:
    for message in messages:
        require(ur.describe(message))
        if message.content is not None:
            same(ur.decode([ur.encode_single(message.content).upper()]), message.content)


def _texts() -> list[bytes]:
    encoder = ur.UREncoder(b"a message of some length", 7)
    parts = "\n".join(encoder.parts(2)).encode()
    return [ur.encode_single(b"whole").encode(), parts.upper(), b"=" + cbor.encode(b"whole")]


def _hold_part(data: bytes, part: fountain.Part) -> None:
    same(part.encode(), data)
    require(1 <= part.header.message_length <= fountain.MAX_MESSAGE)
    require(part.header.message_length <= part.header.total * len(part.data))
    if part.header.total <= 64:
        mask = fountain.mask_of(part.number, part.header.total, part.header.checksum)
        require(0 < mask < 1 << part.header.total)


Assembly = tuple[bytes, fountain.Decoder, bool]


def _assembled(data: bytes) -> Assembly:
    """A message, cut and put together again: fragment length, message length, then parts to feed (number, damage)."""
    if len(data) < 2:
        raise refuse("It is too short.")
    length, size = 1 + data[0] % 16, 1 + data[1] % 128
    encoder = fountain.Encoder(bytes((7 * at) & 0xFF for at in range(size)), length)
    decoder, honest = fountain.Decoder(encoder.header), True
    for at in range(2, min(len(data) - 2, 600), 3):
        part = encoder.part(1 + (data[at] | data[at + 1] << 8) % 512)
        damage = data[at + 2]
        if damage & 1:
            honest = False
            place = (damage >> 1) % len(part.data)
            spoilt = bytes([part.data[place] ^ damage])
            part = fountain.Part(part.number, part.header, part.data[:place] + spoilt + part.data[place + 1 :])
        decoder.receive(part)
    return encoder._fragments[0][:0] + b"".join(encoder._fragments)[:size], decoder, honest


def _hold_assembled(_data: bytes, found: Assembly) -> None:
    message, decoder, honest = found
    progress = decoder.progress
    require(progress.sentence())
    try:
        got = decoder.message()
    except FormatError as error:
        require(not honest and error.refusal == "ur.poisoned", "honest parts do not give their message")
        return
    require(got is None or zlib.crc32(got) == decoder.header.checksum)
    require((got is None) == (progress.needed > 0))
    require(got is None or not honest or got == message, "honest parts give another message")


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("carried.bundle", _bundle, _hold_bundle, _bundles),
    Target("carried.cose", cose.take_apart, _hold_cose, lambda: _bundles()[:1]),
    Target("carried.contents", _contents, _hold_contents, _content_seeds),
    Target("carried.ur", _received, _hold_received, _texts),
    Target(
        "carried.part",
        fountain.decode_part,
        _hold_part,
        lambda: [fountain.Encoder(b"a message", 4).part(number).encode() for number in (1, 5)],
    ),
    Target(
        "carried.assembly",
        _assembled,
        _hold_assembled,
        lambda: [b"\x03\x20" + b"".join(bytes([at, 0, 0]) for at in range(12)), b"\x03\x20" + b"\x02\x00\x03" * 12],
    ),
)
