"""Attested key attributes: what the HSM signs about a key, and the strict reading of it.

The text is the documented XML form, so that existing readers find what they know, followed by exactly one element of
our own, `<keyturn version="1">`. It says what a label cannot: which key of which HSM this is, in which state, under
which switches, and whether its policy can be replaced without approvals.

A reader verifies the signature first, over the exact bytes, and only then parses. What is parsed must be byte for
byte what `render_attestation` writes for it: so there is one text per meaning, and no room for tricks of notation.

Source: rest-api.md section 3.1; ska-wire-format.md section 8; docs/security/rules.md R5, R10, R12, R18, R19.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.approver_keys import load_approver_certificate
from keyturn.ska.attestation_policy import read_base64, read_bool, read_number, read_policy, write_policy
from keyturn.ska.iso_time import format_time, parse_time
from keyturn.ska.labels import check_label
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.xml_tree import MAX_XML, Children, Node, Writer, check_attributes, read_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.ska.policy import Policy

Creation = Literal["generated", "imported", "derived"]
_CREATIONS: Final[dict[str, Creation]] = {"generated": "generated", "imported": "imported", "derived": "derived"}

FORMAT_VERSION: Final = "3"
"""Version of the `<keyturn>` element; it changes with every change of what stands in it."""
VERSION_WITHOUT_STORE: Final = "2"
"""From before the counter of the whole store and accepted rollbacks were attested; still read."""
VERSION_WITHOUT_RECEIPTS: Final = "1"
"""The first version, from before there were receipts; still read, and written where there is no receipt key."""
_VERSIONS: Final = (VERSION_WITHOUT_RECEIPTS, VERSION_WITHOUT_STORE, FORMAT_VERSION)

# API name, XML name, and whether the `json` object has it always (null where unknown), when it is true, or never.
_ATTRIBUTES: Final[tuple[tuple[str, str, Literal["always", "true", "never"]], ...]] = (
    ("decrypt", "decrypt", "always"),
    ("sign", "sign", "always"),
    ("ekaSign", "eka_sign", "always"),
    ("unwrap", "unwrap", "always"),
    ("derive", "derive", "always"),
    ("sensitive", "sensitive", "always"),
    ("alwaysSensitive", "always_sensitive", "always"),
    ("extractable", "extractable", "always"),
    ("neverExtractable", "never_extractable", "always"),
    ("modifiable", "modifiable", "always"),
    ("copyable", "copyable", "always"),
    ("destroyable", "destroyable", "always"),
    ("unique", "unique", "never"),
    ("encrypt", "encrypt", "true"),
    ("verify", "verify", "true"),
    ("wrap", "wrap", "true"),
    ("bip32", "bip32", "true"),
    ("slip10", "slip10", "true"),
)
_SYMMETRIC: Final = frozenset({"AES"})
"""Kinds of keys without a public part."""
_BOTH_WAYS: Final = frozenset({"encrypt", "verify", "wrap"})
"""Attributes that the `json` object of a symmetric key has always (rest-api.md section 3.1)."""
_OWN_ATTRIBUTES: Final = {"boundApprovals": "bound_approvals", "singleUse": "single_use"}
"""Attributes of ours: written into our own element, and into `json` where they are true."""
_LIMITS: Final = {"allowed_operations": "operation", "allowed_algorithms": "algorithm"}
"""Lists that narrow a key (R9), and what an entry is called; written where they are not empty."""
ATTRIBUTE_NAMES: Final = frozenset((*(name for name, _, _ in _ATTRIBUTES), *_OWN_ATTRIBUTES))
"""API names of the attributes that can be attested."""

_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,31}")
_WORD: Final = re.compile("[A-Za-z][A-Za-z0-9._-]{0,63}")
_NUMBER_DIGITS: Final = 18  # Below 2**63 whatever the digits.


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyAttestation:
    """What the HSM says about a key at one moment.

    Args:
        label: The key's label.
        uuid: The key's identity, UUID text in lower case.
        generation: How many keys have borne this label in this HSM, this one included.
        creation: How the key came to be.
        create_time: Seconds since the epoch.
        attest_time: Seconds since the epoch.
        key_use_count: How often it was used.
        algorithm: API name of its kind.
        algorithm_oid: Dotted OID of its kind.
        curve_oid: Dotted OID of its curve; None for RSA and ED.
        key_size: Bits; None where the kind or curve says it.
        public_key: DER SubjectPublicKeyInfo; empty for a symmetric key, whose text is that of a `secret_key`.
        key_id: The API's `id`, or None.
        attributes: API names to values; None (unknown) is not written.
        policy: The policy; None for an ordinary key.
        blocked: Whether the key is blocked; an ordinary key is not.
        instance_id: UUID text of the HSM's store.
        restore_epoch: How often that store was restored from a backup.
        state_counter: The store's state counter at the key's last change; compares only within one instance and epoch.
        isolation: How well the HSM is separated from the broker: `none`, `user` or `machine` (R1).
        switches: Names of active weakening switches, sorted.
        open_modify: Whether this policy can be replaced without the approvals that use needs (R10).
        open_unblock: The same for unblocking.
        integrity_key_name: Name of the key that signs timestamps.
        integrity_key: Its DER SubjectPublicKeyInfo (R12).
        receipt_key: DER SubjectPublicKeyInfo of the key that signs receipts (R24); None in texts of the first version.
        store_counter: The store's state counter at `attest_time`, whichever key changed last: as a witness (R6) it says
            more than `state_counter`. None in texts of the first two versions.
        accepted_rollbacks: How often an administrator accepted that the store had been put back to an older state (R6);
            None in texts of the first two versions.
        allowed_operations: `allowedOperations`, sorted; empty for no limit (R9) and in texts of the first two versions.
        allowed_algorithms: `allowedAlgorithms`, the same.
    """

    label: str
    uuid: str
    generation: int
    creation: Creation
    create_time: int
    attest_time: int
    key_use_count: int
    algorithm: str
    algorithm_oid: str
    curve_oid: str | None
    key_size: int | None
    public_key: bytes
    key_id: str | None
    attributes: Mapping[str, bool | None]
    policy: Policy | None
    blocked: bool
    instance_id: str
    restore_epoch: int
    state_counter: int
    isolation: str
    switches: tuple[str, ...]
    open_modify: bool
    open_unblock: bool
    integrity_key_name: str
    integrity_key: bytes
    receipt_key: bytes | None = None
    store_counter: int | None = None
    accepted_rollbacks: int | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()


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
    _check(attestation)
    writer = Writer()
    writer.open("private_key" if attestation.public_key else "secret_key", {"creation": attestation.creation})
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
    writer.open("attributes")
    for name, tag, _ in _ATTRIBUTES:
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
    for name, tag in _OWN_ATTRIBUTES.items():
        value = attestation.attributes.get(name)
        writer.leaf(tag, None if value is None else _bool(value))
    for tag, leaf in _LIMITS.items():
        _write_words(writer, tag, leaf, getattr(attestation, tag))
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
    if root.tag not in {"private_key", "secret_key"}:
        raise FormatError(
            f"These are attributes of a {root.tag[:64]!a}; only a private_key and a secret_key are known here."
        )
    check_attributes(root, "creation")
    creation = _CREATIONS.get(root.attributes.get("creation", ""))
    if creation is None:
        raise FormatError("creation is neither generated nor imported nor derived.")
    parts = Children(root)
    uuid, label = parts.text("uuid"), parts.text("label")
    create_time, attest_time = parse_time(parts.text("create_time")), parse_time(parts.text("attest_time"))
    key_use_count = read_number(parts.text("key_use_count"), "key_use_count", _NUMBER_DIGITS)
    algorithm, algorithm_oid = parts.text("algorithm"), parts.text("algorithm_oid")
    curve_oid, key_size = parts.text_if("curve_oid"), parts.text_if("key_size")
    public_key = read_base64(parts.text("public_key"), "public_key") if root.tag == "private_key" else b""
    given = Children(parts.take("attributes"))
    attributes: dict[str, bool | None] = {}
    for name, tag, _ in _ATTRIBUTES:
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
        attributes=attributes,
        policy=policy,
        blocked=blocked,
        # From here on in the order in which they stand in the text.
        instance_id=own.text("instance_id"),
        restore_epoch=read_number(own.text("restore_epoch"), "restore_epoch", _NUMBER_DIGITS),
        state_counter=read_number(own.text("state_counter"), "state_counter", _NUMBER_DIGITS),
        generation=read_number(own.text("generation"), "generation", _NUMBER_DIGITS),
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
    for name, tag in _OWN_ATTRIBUTES.items():
        value = own.text_if(tag)
        if value is not None:
            attributes[name] = read_bool(value, tag)
    return {tag: _read_words(own.take(tag), leaf) for tag, leaf in _LIMITS.items() if own.next_is(tag)}


def _read_counter(own: Children, name: str) -> int:
    return read_number(own.text(name), name, _NUMBER_DIGITS)


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


def attestation_to_json(attestation: KeyAttestation) -> dict[str, object]:
    """The `json` object that accompanies the XML: the same data for clients that do not read XML.

    It is made from the signed text alone, so whoever has verified that text can compute and compare it (R19).

    Args:
        attestation: What was attested.

    Returns:
        The object of rest-api.md section 3.1; in its `attributes` also those of ours that narrow the key (R7, R9, R14).
    """
    curve = attestation.curve_oid
    symmetric = not attestation.public_key
    attributes: dict[str, object] = {
        name: attestation.attributes.get(name)
        for name, _, shown in _ATTRIBUTES
        if shown == "always"
        or (shown == "true" and attestation.attributes.get(name))
        or (symmetric and name in _BOTH_WAYS)
    }
    attributes |= {name: True for name in _OWN_ATTRIBUTES if attestation.attributes.get(name)}
    if attestation.allowed_operations:
        attributes["allowedOperations"] = list(attestation.allowed_operations)
    if attestation.allowed_algorithms:
        attributes["allowedAlgorithms"] = list(attestation.allowed_algorithms)
    policy = attestation.policy
    return {
        "label": attestation.label,
        "id": attestation.key_id,
        "uuid": attestation.uuid,
        "algorithm": attestation.algorithm,
        "algorithmOid": attestation.algorithm_oid,
        "curveOid": curve,
        "derivedAttributes": None,
        "keySize": attestation.key_size,
        "keyUsageCount": attestation.key_use_count,
        "createTime": format_time(attestation.create_time),
        "attestTime": format_time(attestation.attest_time),
        "publicKey": None if symmetric else b64encode(attestation.public_key).decode(),
        "addressTruncated": None,
        "attributes": attributes,
        "policy": None if policy is None else policy_to_json(policy, blocked=attestation.blocked),
    }


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


def _check(attestation: KeyAttestation) -> None:
    """Refuse what the form cannot hold or must not; the same for writing and reading."""
    check_label(attestation.label)
    if attestation.creation not in _CREATIONS:
        raise FormatError("creation is neither generated nor imported nor derived.")
    for what, text in (("uuid", attestation.uuid), ("instance_id", attestation.instance_id)):
        if not _UUID.fullmatch(text):
            raise FormatError(f"The {what} is no UUID in lower case.")
    for what, oid in (("algorithm_oid", attestation.algorithm_oid), ("curve_oid", attestation.curve_oid)):
        if oid is not None and not _OID.fullmatch(oid):
            raise FormatError(f"The {what} is no dotted OID.")
    for what, word in (
        ("algorithm", attestation.algorithm),
        ("isolation", attestation.isolation),
        *(("switch", switch) for switch in attestation.switches),
        *(("allowed operation", one) for one in attestation.allowed_operations),
        *(("allowed algorithm", one) for one in attestation.allowed_algorithms),
    ):
        if not _WORD.fullmatch(word):
            raise FormatError(f"The {what} is no plain word.")
    for words in (attestation.switches, attestation.allowed_operations, attestation.allowed_algorithms):
        if list(words) != sorted(set(words)):
            raise FormatError("The switches or a limit are not sorted, or one is there twice.")
    narrowed = attestation.allowed_operations or attestation.allowed_algorithms
    if attestation.store_counter is None and (narrowed or attestation.attributes.keys() & _OWN_ATTRIBUTES.keys()):
        raise FormatError("What narrows a key is attested from the third version on, with the store's counter.")
    for what, number in (
        ("generation", attestation.generation),
        ("key_use_count", attestation.key_use_count),
        ("restore_epoch", attestation.restore_epoch),
        ("state_counter", attestation.state_counter),
        ("store_counter", attestation.store_counter or 0),
        ("accepted_rollbacks", attestation.accepted_rollbacks or 0),
    ):
        if not 0 <= number < 10**_NUMBER_DIGITS:
            raise FormatError(f"The {what} is not between 0 and {10**_NUMBER_DIGITS}.")
    if attestation.generation == 0:
        raise FormatError("The generation counts from 1.")
    if not attestation.attributes.keys() <= ATTRIBUTE_NAMES:
        unknown = min(attestation.attributes.keys() - ATTRIBUTE_NAMES)
        raise FormatError(f"The attribute {unknown[:64]!a} cannot be attested.")
    if attestation.policy is None and attestation.blocked:
        raise FormatError("A key without a policy cannot be blocked.")
    if (attestation.algorithm in _SYMMETRIC) == bool(attestation.public_key):
        raise FormatError("A private key has a public key, a symmetric one has none.")
    if attestation.policy is not None and not attestation.public_key:
        raise FormatError("A symmetric key has no policy.")
    if not attestation.integrity_key or not attestation.integrity_key_name:
        raise FormatError("The integrity key and its name must be there.")
    if attestation.receipt_key == b"":
        raise FormatError("A receipt key that is there is not empty.")
    if (attestation.store_counter is None) != (attestation.accepted_rollbacks is None):
        raise FormatError("The counter of the store and of accepted rollbacks come together.")
    if attestation.store_counter is not None:
        if attestation.receipt_key is None:
            raise FormatError("Where the store's counter is attested, the receipt key is, too.")
        if attestation.store_counter < attestation.state_counter:
            raise FormatError("The store's counter is not below that of one of its keys.")
