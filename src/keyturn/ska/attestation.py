"""Attested key attributes: what the HSM signs about a key, and the strict reading of it.

The text is the documented XML form, so that existing readers find what they know, followed by exactly one element of
our own, `<keyturn version="3">`. It says what a label cannot: which key of which HSM this is, in which state, under
which switches, and whether its policy can be replaced without approvals.

A reader verifies the signature first, over the exact bytes, and only then parses. What is parsed must be byte for
byte what `render_attestation` writes for it: so there is one text per meaning, and no room for tricks of notation.

Source: rest-api.md section 3.1; ska-wire-format.md section 8; docs/security/rules.md R5, R10, R12, R18, R19.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.approver_keys import load_approver_certificate
from keyturn.ska.attestation_facts import (
    ATTRIBUTE_NAMES,
    ATTRIBUTES,
    CREATIONS,
    LIMITS,
    NUMBER_DIGITS,
    OWN_ATTRIBUTES,
    Creation,
    KeyAttestation,
    attestation_to_json,
    check_attestation,
)
from keyturn.ska.attestation_policy import read_base64, read_bool, read_number, read_policy, write_policy
from keyturn.ska.iso_time import format_time, parse_time
from keyturn.ska.xml_tree import MAX_XML, Children, Node, Writer, check_attributes, read_tree

__all__ = [
    "ATTRIBUTE_NAMES",
    "FORMAT_VERSION",
    "Creation",
    "KeyAttestation",
    "attestation_to_json",
    "parse_attestation",
    "render_attestation",
    "verify_attestation",
]

FORMAT_VERSION: Final = "3"
"""Version of the `<keyturn>` element; it changes with every change of what stands in it."""
VERSION_WITHOUT_STORE: Final = "2"
"""From before the counter of the whole store and accepted rollbacks were attested; still read."""
VERSION_WITHOUT_RECEIPTS: Final = "1"
"""The first version, from before there were receipts; still read, and written where there is no receipt key."""
_VERSIONS: Final = (VERSION_WITHOUT_RECEIPTS, VERSION_WITHOUT_STORE, FORMAT_VERSION)


def render_attestation(attestation: KeyAttestation) -> str:
    """Write the XML text that is signed.

    Args:
        attestation: What to write.

    Returns:
        The text: tabs, `&apos;`, two newlines at the end; at most `MAX_XML` bytes of UTF-8.

    Raises:
        FormatError: When something in it cannot be written so that it is read back the same, such as a name with a
            character that XML does not have (`xml.character`), or the text becomes too large (`xml.size`).
    """
    check_attestation(attestation)
    writer = Writer()
    writer.open(_root_of(attestation), {"creation": attestation.creation})
    writer.leaf("uuid", attestation.uuid)
    writer.leaf("label", attestation.label)
    writer.leaf("create_time", format_time(attestation.create_time))
    writer.leaf("attest_time", format_time(attestation.attest_time))
    writer.leaf("key_use_count", str(attestation.key_use_count))
    writer.leaf("algorithm", attestation.algorithm)
    writer.leaf("algorithm_oid", attestation.algorithm_oid)
    writer.leaf("curve_oid", attestation.curve_oid)
    writer.leaf("key_size", None if attestation.key_size is None else str(attestation.key_size))
    writer.leaf("public_key", b64encode(attestation.public_key).decode() or None)
    if attestation.derivation is not None:
        kind, path = attestation.derivation
        writer.leaf("derivation_value", path, {"type": kind})
    if attestation.address is not None:
        name, address = attestation.address
        writer.leaf("address_truncated", address.hex().upper(), {"format": name})
    writer.open("attributes")
    for name, tag, _ in ATTRIBUTES:
        value = attestation.attributes.get(name)
        writer.leaf(tag, None if value is None else _bool(value))
    writer.close()
    if attestation.policy is not None:
        write_policy(writer, attestation.policy, blocked=attestation.blocked)
    _write_own(writer, attestation)
    writer.close()
    text = writer.document()
    if len(text.encode()) > MAX_XML:
        raise FormatError(f"The attested attributes would have more than {MAX_XML} bytes.", refusal="xml.size")
    return text


def _root_of(attestation: KeyAttestation) -> str:
    if attestation.public_only:
        return "public_key"
    return "private_key" if attestation.public_key else "secret_key"


def _write_own(writer: Writer, attestation: KeyAttestation) -> None:
    writer.open("keyturn", {"version": _version_of(attestation)})
    writer.leaf("instance_id", attestation.instance_id)
    writer.leaf("restore_epoch", str(attestation.restore_epoch))
    writer.leaf("state_counter", str(attestation.state_counter))
    writer.leaf("generation", str(attestation.generation))
    writer.leaf("key_id", attestation.key_id)
    writer.leaf("open_modify", _bool(attestation.open_modify))
    writer.leaf("open_unblock", _bool(attestation.open_unblock))
    writer.leaf("isolation", attestation.isolation)
    writer.open("switches")
    for switch in attestation.switches:
        writer.leaf("switch", switch)
    writer.close()
    writer.leaf("integrity_key_name", attestation.integrity_key_name)
    writer.leaf("integrity_key", b64encode(attestation.integrity_key).decode())
    if attestation.receipt_key is not None:
        writer.leaf("receipt_key", b64encode(attestation.receipt_key).decode())
    if attestation.store_counter is not None:
        writer.leaf("store_counter", str(attestation.store_counter))
        writer.leaf("accepted_rollbacks", str(attestation.accepted_rollbacks))
    for name, tag in OWN_ATTRIBUTES.items():
        value = attestation.attributes.get(name)
        writer.leaf(tag, None if value is None else _bool(value))
    for tag, leaf in LIMITS.items():
        _write_words(writer, tag, leaf, getattr(attestation, tag))
    if attestation.certificate:
        writer.leaf("certificate", b64encode(attestation.certificate).decode())
    remaining = attestation.remaining_signatures
    writer.leaf("remaining_signatures", None if remaining is None else str(remaining))
    writer.close()


def _write_words(writer: Writer, tag: str, leaf: str, words: tuple[str, ...]) -> None:
    """Write a list; nothing if it is empty."""
    if words:
        writer.open(tag)
        for word in words:
            writer.leaf(leaf, word)
        writer.close()


def _version_of(attestation: KeyAttestation) -> str:
    """The first version that can say all of it."""
    if attestation.store_counter is not None:
        return FORMAT_VERSION
    return VERSION_WITHOUT_RECEIPTS if attestation.receipt_key is None else VERSION_WITHOUT_STORE


def parse_attestation(xml: str | bytes) -> KeyAttestation:
    """Read attested attributes. This says nothing about who wrote them: see `verify_attestation`.

    Args:
        xml: The text, or its UTF-8 bytes; at most `MAX_XML` bytes.

    Returns:
        What it says. Rendering that gives the same bytes again.

    Raises:
        FormatError: For everything that `render_attestation` would not have written: `xml.…`, `label.…` (610),
            `attestation.not-canonical`, or `format.invalid`.
    """
    data = _utf8(xml)
    root = read_tree(data)
    if root.tag not in {"private_key", "secret_key", "public_key"}:
        raise FormatError(
            f"These are attributes of a {root.tag[:64]!a}; only a private_key, a secret_key and a public_key are "
            "known here."
        )
    check_attributes(root, "creation")
    creation = CREATIONS.get(root.attributes.get("creation", ""))
    if creation is None:
        raise FormatError("creation is neither generated nor imported nor derived.")
    parts = Children(root)
    uuid, label = parts.text("uuid"), parts.text("label")
    create_time, attest_time = parse_time(parts.text("create_time")), parse_time(parts.text("attest_time"))
    key_use_count = read_number(parts.text("key_use_count"), "key_use_count", NUMBER_DIGITS)
    algorithm, algorithm_oid = parts.text("algorithm"), parts.text("algorithm_oid")
    curve_oid, key_size = parts.text_if("curve_oid"), parts.text_if("key_size")
    public_key = read_base64(parts.text("public_key"), "public_key") if root.tag != "secret_key" else b""
    derivation = _read_typed(parts, "derivation_value", "type")
    address = _read_typed(parts, "address_truncated", "format")
    given = Children(parts.take("attributes"))
    attributes: dict[str, bool | None] = {}
    for name, tag, _ in ATTRIBUTES:
        value = given.text_if(tag)
        if value is not None:
            attributes[name] = read_bool(value, tag)
    given.finish()
    policy, blocked = read_policy(parts.take("policy")) if parts.next_is("policy") else (None, False)
    own_node = parts.take("keyturn", "version")
    parts.finish()
    version = own_node.attributes.get("version")
    if version not in _VERSIONS:
        raise FormatError(
            f"The attested attributes were written in a version later than {FORMAT_VERSION}; update this side.",
            refusal="attestation.version",
        )
    own = Children(own_node)
    attestation = KeyAttestation(
        label=label,
        uuid=uuid,
        creation=creation,
        create_time=create_time,
        attest_time=attest_time,
        key_use_count=key_use_count,
        algorithm=algorithm,
        algorithm_oid=algorithm_oid,
        curve_oid=curve_oid,
        key_size=None if key_size is None else read_number(key_size, "key_size", 6),
        public_key=public_key,
        public_only=root.tag == "public_key",
        attributes=attributes,
        policy=policy,
        blocked=blocked,
        derivation=derivation,
        address=None if address is None else (address[0], _read_hex(address[1])),
        # From here on in the order in which they stand in the text.
        instance_id=own.text("instance_id"),
        restore_epoch=read_number(own.text("restore_epoch"), "restore_epoch", NUMBER_DIGITS),
        state_counter=read_number(own.text("state_counter"), "state_counter", NUMBER_DIGITS),
        generation=read_number(own.text("generation"), "generation", NUMBER_DIGITS),
        key_id=own.text_if("key_id"),
        open_modify=read_bool(own.text("open_modify"), "open_modify"),
        open_unblock=read_bool(own.text("open_unblock"), "open_unblock"),
        isolation=own.text("isolation"),
        switches=_read_switches(own),
        integrity_key_name=own.text("integrity_key_name"),
        integrity_key=read_base64(own.text("integrity_key"), "integrity_key"),
        receipt_key=None
        if version == VERSION_WITHOUT_RECEIPTS
        else read_base64(own.text("receipt_key"), "receipt_key"),
        store_counter=_read_counter(own, "store_counter") if version == FORMAT_VERSION else None,
        accepted_rollbacks=_read_counter(own, "accepted_rollbacks") if version == FORMAT_VERSION else None,
        **(_read_limits(own, attributes) if version == FORMAT_VERSION else {}),
        certificate=_read_certificate(own) if version == FORMAT_VERSION else b"",
        remaining_signatures=_read_remaining(own) if version == FORMAT_VERSION else None,
    )
    own.finish()
    if render_attestation(attestation).encode() != data:
        raise FormatError(
            "The attested attributes are not written as keyturn writes them; take the text exactly as it was signed.",
            refusal="attestation.not-canonical",
        )
    return attestation


def _read_limits(own: Children, attributes: dict[str, bool | None]) -> dict[str, tuple[str, ...]]:
    """Read what narrows a key; our attributes go to the others."""
    for name, tag in OWN_ATTRIBUTES.items():
        value = own.text_if(tag)
        if value is not None:
            attributes[name] = read_bool(value, tag)
    return {tag: _read_words(own.take(tag), leaf) for tag, leaf in LIMITS.items() if own.next_is(tag)}


def _read_certificate(own: Children) -> bytes:
    return read_base64(own.text("certificate"), "certificate") if own.next_is("certificate") else b""


def _read_remaining(own: Children) -> int | None:
    text = own.text_if("remaining_signatures")
    return None if text is None else read_number(text, "remaining_signatures", NUMBER_DIGITS)


def _read_typed(parts: Children, tag: str, attribute: str) -> tuple[str, str] | None:
    """Read an element of text with one attribute, if it is there: the attribute and the text."""
    if not parts.next_is(tag):
        return None
    node = parts.take(tag, attribute)
    if node.children or attribute not in node.attributes:
        raise FormatError(f"<{tag}> is text with the attribute {attribute}.", refusal="xml.invalid")
    return node.attributes[attribute], node.text


def _read_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise FormatError("address_truncated is not hexadecimal.", refusal="xml.invalid") from None


def _read_counter(own: Children, name: str) -> int:
    return read_number(own.text(name), name, NUMBER_DIGITS)


def _read_switches(own: Children) -> tuple[str, ...]:
    return _read_words(own.take("switches"), "switch")


def _read_words(node: Node, tag: str) -> tuple[str, ...]:
    parts = Children(node)
    words = []
    while parts.next_is(tag):
        words.append(parts.text(tag))
    parts.finish()
    return tuple(words)


def verify_attestation(xml: str, signature: bytes, device_certificate_der: bytes) -> KeyAttestation:
    """Verify attested attributes under the pinned device certificate, then read them (R19).

    The certificate is the trust anchor: its key is used, its dates, issuer and chain are not looked at.

    Args:
        xml: The text exactly as it was received.
        signature: Bare RSA PKCS#1 v1.5 signature with SHA-256 over its UTF-8 bytes.
        device_certificate_der: The pinned device certificate, DER.

    Returns:
        What the text says.

    Raises:
        KeyturnError: 402 `attestation.device-certificate` when the certificate has no usable RSA key; 403
            `attestation.bad-signature` when the signature is not valid under it.
        FormatError: As `parse_attestation`, and only after the signature was found valid, but for `xml.size`.
    """
    data = _utf8(xml)
    try:
        key = load_approver_certificate(device_certificate_der).public_key
    except KeyturnError:
        raise _bad_certificate() from None
    if not isinstance(key, RSAPublicKey):
        raise _bad_certificate()
    try:
        key.verify(signature, data, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise KeyturnError(
            ErrorCode.INVALID_SIGNATURE,
            "The attested attributes are not signed by the pinned device: the signature is not valid under the device "
            "certificate. Take the text exactly as the HSM gave it, and check which device is pinned.",
            refusal="attestation.bad-signature",
        ) from None
    return parse_attestation(data)


def _bad_certificate() -> KeyturnError:
    return KeyturnError(
        ErrorCode.INVALID_CERTIFICATE,
        "The pinned device certificate cannot verify attested attributes: it must be a DER X.509 certificate with "
        "an RSA key of 2048 to 8192 bits. Pin the first certificate of the device's chain.",
        refusal="attestation.device-certificate",
    )


def _utf8(xml: str | bytes) -> bytes:
    if len(xml) > MAX_XML:
        raise FormatError(f"The attested attributes have more than {MAX_XML} bytes.", refusal="xml.size")
    if isinstance(xml, bytes):
        return xml
    try:
        return xml.encode()
    except UnicodeEncodeError:
        raise FormatError("The attested attributes are not text that UTF-8 can carry.", refusal="xml.invalid") from None


def _bool(value: bool) -> str:
    return "true" if value else "false"
