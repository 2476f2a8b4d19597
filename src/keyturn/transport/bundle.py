"""Bundles: what the courier carries, sealed and named (decisions 16 and 35, R29).

A bundle is a flat deterministic CBOR map inside a COSE_Sign1 (`cose`). It names its kind, who made it, for whom, the
how-manieth it is, the request it belongs to, and carries one body: JSON exactly as the API takes or gives it. The rules
of opening, in this order, each before anything after it:

1. at most 1 MiB, one COSE_Sign1 in the one form;
2. sealed by a trusted key, over the bytes as they travel;
3. only then inflated, to at most 1 MiB;
4. one deterministic map with exactly the known keys, the version and a kind we know;
5. the sender inside is the key that sealed; the digest is the body's; the recipient is us.

The sequence is judged by `book`, which remembers. No check on what the body means is skipped because it came sealed
(law 1). Source: docs/formats/bundle.md; golden files in tests/transport/golden.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska import cbor
from keyturn.transport import cose
from keyturn.transport.limits import MAX_BUNDLE

if TYPE_CHECKING:
    from collections.abc import Collection

VERSION: Final = 1

REQUEST: Final = "request"
"""Body: `inputOfflineHsm` of an online request (decisions 13)."""
RESULT: Final = "result"
"""Body: what `PUT /v1/resultFromOfflineHsm` takes (decisions 14)."""
KEY: Final = "key"
"""Body: attested attributes as `POST /v1/key/attributes` gave them, for `POST /v1/offlineKey` (decisions 11)."""

KINDS: Final = frozenset({REQUEST, RESULT, KEY})
"""Kinds a bundle may have. New ones are added; the meaning of one never changes."""

MAX_SEQUENCE: Final = (1 << 63) - 1
"""Largest sequence number: what a signed 64-bit integer of a data base holds."""

_MAP_KEYS: Final = frozenset({"version", "kind", "sender", "recipient", "sequence", "requestId", "body", "sha256"})
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One thing carried across the gap.

    Args:
        kind: One of `KINDS`.
        request_id: Id of the request it belongs to, 1 to 64 characters of `A-Z a-z 0-9 . _ -`; None for kind `key`.
        sender: Raw public instance key of who made it, 32 bytes.
        recipient: Raw public instance key of whom it is for, 32 bytes; None for whoever trusts the sender.
        sequence: The how-manieth bundle of this sender it is, from 1.
        body: JSON text as the API takes or gives it, UTF-8.
    """

    kind: str
    request_id: str | None
    sender: bytes
    recipient: bytes | None
    sequence: int
    body: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the body."""
        return hashlib.sha256(self.body).digest()

    @property
    def name(self) -> str:
        """A name for people: kind, request and sequence."""
        about = f" {self.request_id}" if self.request_id is not None else ""
        return f"{self.kind}{about} (bundle {self.sequence})"


def seal_bundle(bundle: Bundle, key: cose.Signer) -> bytes:
    """Write and seal a bundle. The same bundle and key give the same bytes.

    Args:
        bundle: What to carry; its sender is `key`.
        key: The instance key of this side.

    Returns:
        The bytes of a `.ktb` file.

    Raises:
        FormatError: If a field is not as `Bundle` says, or the whole is larger than 1 MiB.
    """
    if bundle.sender != key.public:
        raise FormatError("A bundle is sealed by its sender; the sender named is another key.")
    _check_fields(bundle)
    content = cbor.encode(
        {
            "version": VERSION,
            "kind": bundle.kind,
            "sender": bundle.sender,
            "recipient": bundle.recipient,
            "sequence": bundle.sequence,
            "requestId": bundle.request_id,
            "body": bundle.body,
            "sha256": bundle.digest,
        }
    )
    if len(content) > MAX_BUNDLE:
        raise _too_large()
    compressed = zlib.compress(content, level=9)
    if len(compressed) < len(content):
        sealed = cose.seal(compressed, cose.CONTENT_CBOR_DEFLATE, key)
    else:
        sealed = cose.seal(content, cose.CONTENT_CBOR, key)
    if len(sealed) > MAX_BUNDLE:
        raise _too_large()
    return sealed


def open_bundle(data: bytes, trusted: Collection[bytes], *, me: bytes) -> Bundle:
    """Check the seal of a bundle and read it.

    Args:
        data: Bytes of a `.ktb` file, or the message of a set of QR codes.
        trusted: Raw public keys of the pinned other sides.
        me: Raw public key of this side.

    Returns:
        The bundle; its sequence has not been judged yet (`book.Book.require_new`).

    Raises:
        FormatError: `bundle.too-large`, `bundle.malformed`, `bundle.not-deterministic`, `bundle.algorithm`,
            `bundle.version`, `bundle.kind` or `bundle.digest`.
        KeyturnError: `bundle.foreign`, `bundle.bad-signature`, `bundle.sender` or `bundle.wrong-recipient`.
    """
    sealed = cose.take_apart(data)
    signer = cose.require_signature(sealed, trusted)
    bundle = _read(_inflate(sealed))
    if bundle.sender != signer:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            "This bundle names another sender than the key that sealed it.",
            refusal="bundle.sender",
        )
    if bundle.recipient is not None and bundle.recipient != me:
        raise KeyturnError(
            ErrorCode.SECURITY_NOT_ALLOWED,
            f"This bundle is for the installation with key {cose.key_id(bundle.recipient).hex()}, not for this one. "
            "Take it there, or export it again for here (--to).",
            refusal="bundle.wrong-recipient",
        )
    return bundle


def _inflate(sealed: cose.Sealed) -> bytes:
    if sealed.content_format == cose.CONTENT_CBOR:
        return sealed.payload
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(sealed.payload, MAX_BUNDLE + 1)
    except zlib.error as error:
        raise _malformed("what is compressed in it cannot be inflated") from error
    if len(content) > MAX_BUNDLE:
        raise _too_large()
    if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
        raise _malformed("what is compressed in it does not end where it should")
    return content


def _read(content: bytes) -> Bundle:
    fields = cbor.decode(content, what="bundle")
    if not isinstance(fields, dict):
        raise _malformed("its content is not a map")
    version = fields.get("version")
    if version != VERSION:
        raise FormatError(
            f"This bundle has version {version!r:.40}; this program reads version {VERSION}. Use the same release of "
            "keyturn on both sides.",
            refusal="bundle.version",
        )
    if set(fields) != _MAP_KEYS:
        raise _malformed("it has fields missing or unknown")
    match fields:
        case {
            "kind": str() as kind,
            "requestId": (str() | None) as request_id,
            "sender": bytes() as sender,
            "recipient": (bytes() | None) as recipient,
            "sequence": int() as sequence,
            "body": bytes() as body,
            "sha256": bytes() as digest,
        }:
            pass
        case _:
            raise _malformed("a field has the wrong type")
    bundle = Bundle(kind=kind, request_id=request_id, sender=sender, recipient=recipient, sequence=sequence, body=body)
    _check_fields(bundle)
    if digest != bundle.digest:
        raise FormatError("The body of this bundle does not have the digest it names.", refusal="bundle.digest")
    return bundle


def _check_fields(bundle: Bundle) -> None:
    """Hold a bundle against what `Bundle` says of its fields; for the writer and the reader alike."""
    if bundle.kind not in KINDS:
        raise FormatError(
            f"Unknown kind of bundle {bundle.kind[:40]!r}; this program knows {', '.join(sorted(KINDS))}.",
            refusal="bundle.kind",
        )
    if (bundle.kind == KEY) != (bundle.request_id is None):
        raise _malformed("a request or result names its request, a key none")
    if bundle.request_id is not None and not _REQUEST_ID.fullmatch(bundle.request_id):
        raise _malformed("its request id is not 1 to 64 letters, digits, dots, dashes")
    if len(bundle.sender) != cose.PUBLIC_KEY_SIZE:
        raise _malformed("its sender is not a key of 32 bytes")
    if bundle.recipient is not None and len(bundle.recipient) != cose.PUBLIC_KEY_SIZE:
        raise _malformed("its recipient is not a key of 32 bytes")
    if not 1 <= bundle.sequence <= MAX_SEQUENCE:
        raise _malformed("its sequence is not a number from 1 on")


def _malformed(why: str) -> FormatError:
    return FormatError(f"This bundle is malformed: {why}.", refusal="bundle.malformed")


def _too_large() -> FormatError:
    return FormatError(f"This bundle holds more than {MAX_BUNDLE} bytes.", refusal="bundle.too-large")
