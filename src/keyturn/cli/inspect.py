"""`keyturn inspect`: show what is in any SKA structure, attested attributes or bundle, as JSON."""

from __future__ import annotations

import json
import re
import sys
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Final

import click

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.inspect import inspect_blob

MAX_INPUT: Final = 2 << 20
"""Most bytes that are read: a bundle of 1 MiB in base64 takes a third more."""

_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BUNDLE_START: Final = b"\xd2"
"""CBOR tag 18, COSE_Sign1 (RFC 9052 section 2)."""


@click.command()
@click.argument("source", metavar="BASE64|FILE|-")
def inspect(source: str) -> None:
    """Decode any token, timestamp, policy, attested attributes or bundle to JSON.

    SOURCE is base64, the name of a file (its content raw, base64, or the text of a QR code, `ur:…`), or - for
    standard input. The result says what was found, everything in it, and whether a signature in it is valid for the
    signer named in it. It does not say that this signer is to be trusted.
    """
    data = _read(source)
    try:
        shown = inspect_bytes(data)
    except FormatError as error:
        if source == "-" or _is_file(source):
            raise
        # What looks like a name was more likely meant as one; base64 of nothing known is told its own story, too.
        raise FormatError(
            f"There is no file {source[:200]!a}, and as base64: {error.message}", refusal=error.refusal
        ) from None
    click.echo(json.dumps(shown, indent=2))


def inspect_bytes(data: bytes) -> dict[str, object]:
    """Tell what some input is, whatever it travels in.

    Args:
        data: A structure, a bundle, or one of them as base64 or UR text.

    Returns:
        `kind`, `fields`, `signatureValid`.

    Raises:
        FormatError: When it is nothing that is known, or damaged.
    """
    data = _unpacked(data)
    return _bundle(data) if data.startswith(_BUNDLE_START) else inspect_blob(data)


def _read(source: str) -> bytes:
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_INPUT + 1)
        elif _is_file(source):
            with Path(source).open("rb") as file:
                data = file.read(MAX_INPUT + 1)
        else:
            data = source.encode("utf-8", "surrogateescape")
    except OSError as error:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"Cannot read {source[:200]!a}: {error.strerror}.",
            refusal="inspect.unreadable",
        ) from None
    if len(data) > MAX_INPUT:
        raise FormatError(f"The input has more than {MAX_INPUT} bytes.", refusal="inspect.unknown")
    return data


def _is_file(source: str) -> bool:
    try:
        # A directory, too: reading it says what it is.
        return Path(source).exists()
    except (OSError, ValueError):
        # Base64 is often too long for a file name.
        return False


def _unpacked(data: bytes) -> bytes:
    text = data.strip()
    if not text:
        raise FormatError("There is nothing to inspect.", refusal="inspect.unknown")
    joined = b"".join(text.split())
    if _BASE64.fullmatch(joined):
        return b64decode(joined)
    if text[:3].lower() == b"ur:":
        from keyturn.transport import ur

        return ur.decode(text.decode("ascii", "replace").split())
    # A line of text ends where its line does; attested attributes are signed with their line ends.
    return text if text.isascii() and b"\n" not in text else data


def _bundle(data: bytes) -> dict[str, object]:
    """Show a bundle. Its seal is verified with the key that it names itself, which proves who it claims to be from."""
    from keyturn.transport import bundle, cose, instance_key

    sender, recipient = _parties(data)
    try:
        opened = bundle.open_bundle(data, [sender], me=recipient or sender)
    except KeyturnError as error:
        if error.refusal not in ("bundle.bad-signature", "bundle.foreign"):
            raise
        sealed = cose.take_apart(data)
        fields = {"sealedByKeyId": sealed.key_id.hex(), "claimedSender": sender.hex(), "problem": error.message}
        return {"kind": "bundle", "fields": fields, "signatureValid": False}
    return {
        "kind": "bundle",
        "fields": {
            "bundleKind": opened.kind,
            "requestId": opened.request_id,
            "sequence": opened.sequence,
            "sender": sender.hex(),
            "senderWords": " ".join(instance_key.trust_words(sender)),
            "recipient": None if recipient is None else recipient.hex(),
            "sha256": opened.digest.hex(),
            "body": _body(opened.body),
        },
        "signatureValid": True,
    }


def _parties(data: bytes) -> tuple[bytes, bytes | None]:
    """Who a bundle says that it is from and for, before anything in it is verified; bounded as opening is."""
    from keyturn.transport import cbor, cose
    from keyturn.transport.limits import MAX_BUNDLE

    sealed = cose.take_apart(data)
    content = sealed.payload
    if sealed.content_format != cose.CONTENT_CBOR:
        try:
            content = zlib.decompressobj().decompress(content, MAX_BUNDLE + 1)
        except zlib.error:
            content = b""
    fields = cbor.decode(content, what="bundle") if len(content) <= MAX_BUNDLE else None
    match fields:
        case {"sender": bytes() as sender, "recipient": (bytes() | None) as recipient}:
            return sender, recipient
        case _:
            raise FormatError("This bundle does not name its sender and recipient.", refusal="bundle.malformed")


def _body(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return {"hex": body.hex()}
