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

from keyturn.cli.examples import examples
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.attestation import attestation_to_json, parse_attestation, verify_attestation
from keyturn.ska.inspect import inspect_blob

MAX_INPUT: Final = 2 << 20
"""Most bytes that are read: a bundle of 1 MiB in base64 takes a third more."""

_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BUNDLE_START: Final = b"\xd2"
"""CBOR tag 18, COSE_Sign1 (RFC 9052 section 2)."""


@click.command(
    epilog=examples(
        "keyturn inspect approval.bin",
        "keyturn inspect result.ktb",
        "curl -s -d '{\"label\":\"k\"}' -H 'content-type: application/json' \\",
        "    http://127.0.0.1:8080/v1/key/attributes | keyturn inspect --device-cert pinned.pem -",
    )
)
@click.argument("source", metavar="BASE64|FILE|-")
@click.option(
    "--device-cert",
    "device_cert",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HSM's certificate as pinned by `keyturn trust confirm`: verify attested attributes (JSON) with it.",
)
def inspect(source: str, device_cert: Path | None) -> None:
    """Decode any token, timestamp, policy, attested attributes or bundle to JSON.

    SOURCE is base64, the name of a file (its content raw, base64, or the text of a QR code, `ur:…`), or - for
    standard input. Attested attributes may be the XML or the JSON of POST /v1/key/attributes. The result says what
    was found, everything in it, and whether a signature in it is valid for the signer named in it. It does not say
    that this signer is to be trusted. Attested attributes name no signer: null, unless --device-cert is given.
    """
    device = None
    if device_cert is not None:
        from keyturn.approver.first_trust import MAX_PEM, device_certificate
        from keyturn.cli.officer import read_file

        device = device_certificate(read_file(device_cert, MAX_PEM))
    data = _read(source)
    try:
        shown = inspect_bytes(data, device=device)
    except FormatError as error:
        if source == "-" or _is_file(source):
            raise
        # What looks like a name was more likely meant as one; base64 of nothing known is told its own story, too.
        raise FormatError(
            f"There is no file {source[:200]!a}, and as base64: {error.message}", refusal=error.refusal
        ) from None
    click.echo(json.dumps(shown, indent=2))


def inspect_bytes(data: bytes, *, device: bytes | None = None) -> dict[str, object]:
    """Tell what some input is, whatever it travels in.

    Args:
        data: A structure, a bundle, one of them as base64 or UR text, or the JSON of `POST /v1/key/attributes`.
        device: The pinned device certificate (DER) under which attested attributes are verified, or None.

    Returns:
        `kind`, `fields`, `signatureValid`.

    Raises:
        FormatError: When it is nothing that is known, or damaged; `inspect.no-attributes` when a device certificate
            is given for something that no device signs.
    """
    data = _unpacked(data)
    if data.lstrip().startswith(b"{"):
        return _attributes(data, device)
    if device is not None:
        raise FormatError(
            "A device certificate verifies the JSON of POST /v1/key/attributes only (XML alone carries no signature), "
            "and this is something else. Leave --device-cert out.",
            refusal="inspect.no-attributes",
        )
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


def _attributes(data: bytes, device: bytes | None) -> dict[str, object]:
    """Show the JSON in which attested attributes travel. Signed is its `xml`; everything shown is read from there."""
    try:
        given = json.loads(data)
    except (ValueError, RecursionError):
        raise FormatError("The input begins like JSON, but is none, or is cut.", refusal="inspect.unknown") from None
    xml, encoded = given.get("xml"), given.get("xmlSignature")
    if not isinstance(xml, str) or not isinstance(encoded, str):
        raise FormatError(
            "This JSON is not attested attributes: `xml` and `xmlSignature` are needed, as POST /v1/key/attributes "
            "answers them.",
            refusal="inspect.unknown",
        )
    try:
        signature, text = b64decode(encoded, validate=True), xml.encode()
    except ValueError:
        raise FormatError(
            "`xmlSignature` is not base64, or `xml` is not Unicode text.", refusal="inspect.unknown"
        ) from None
    if not text.startswith(b"<?xml"):
        raise FormatError("The member `xml` holds no XML.", refusal="inspect.unknown")
    shown = inspect_blob(text)
    fields = shown["fields"]
    assert isinstance(fields, dict)  # noqa: S101 - It is made so above.
    fields["envelope"] = {
        "attestationKeyName": given.get("attestationKeyName"),
        "xmlSignature": encoded,
        "jsonAgrees": _agrees(given.get("json"), text),
    }
    return {**shown, "signatureValid": None if device is None else _signed_by(xml, signature, device)}


def _agrees(unsigned: object, xml: bytes) -> bool | None:
    """Whether the unsigned JSON twin says what the XML says; None where there is none, or the XML is not keyturn's."""
    if unsigned is None:
        return None
    try:
        own = attestation_to_json(parse_attestation(xml))
    except FormatError:
        return None
    return bool(unsigned == json.loads(json.dumps(own)))


def _signed_by(xml: str, signature: bytes, device: bytes) -> bool:
    try:
        verify_attestation(xml, signature, device)
    except FormatError:
        # Raised only after the signature was found valid: attributes of another product.
        return True
    except KeyturnError as error:
        if error.refusal == "attestation.bad-signature":
            return False
        raise
    return True


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
    from keyturn.ska import cbor
    from keyturn.transport import cose
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
