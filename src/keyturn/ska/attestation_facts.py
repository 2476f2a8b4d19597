"""What attested attributes say: the fields, which of them fit together, and the `json` object made from them.

How they are written as signed XML stands in `attestation`.

Source: rest-api.md section 3.1; docs/security/rules.md R7, R9, R10, R12, R14, R18, R24.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from keyturn.errors import FormatError
from keyturn.ska.iso_time import format_time
from keyturn.ska.key_names import SEPARATOR, check_key_name
from keyturn.ska.policy_json import policy_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.ska.policy import Policy

Creation = Literal["generated", "imported", "derived"]
CREATIONS: Final[dict[str, Creation]] = {"generated": "generated", "imported": "imported", "derived": "derived"}

ATTRIBUTES: Final[tuple[tuple[str, str, Literal["always", "true", "never"]], ...]] = (
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
"""API name, XML name, and whether the `json` object has it always (null where unknown), when it is true, or never."""
_SYMMETRIC: Final = frozenset({"AES", "Camellia", "ChaCha20", "TDEA", "HMACSHA256"})
"""Kinds of keys without a public part."""
_BOTH_WAYS: Final = frozenset({"encrypt", "verify", "wrap"})
"""Attributes that the `json` object of a symmetric key has always (rest-api.md section 3.1)."""
OWN_ATTRIBUTES: Final = {"boundApprovals": "bound_approvals", "singleUse": "single_use"}
"""Attributes of ours: written into our own element, and into `json` where they are true."""
LIMITS: Final = {"allowed_operations": "operation", "allowed_algorithms": "algorithm"}
"""Lists that narrow a key (R9), and what an entry is called; written where they are not empty."""
ATTRIBUTE_NAMES: Final = frozenset((*(name for name, _, _ in ATTRIBUTES), *OWN_ATTRIBUTES))
"""API names of the attributes that can be attested."""

DERIVATION_TYPES: Final = frozenset({"BIP32", "SLIP-10", "ADA", "ADA/SLIP-10"})
"""The API's `derivationType` (rest-api.md section 3.2)."""
_MAX_ADDRESS: Final = 64
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OID: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,31}")
_WORD: Final = re.compile("[A-Za-z][A-Za-z0-9._-]{0,63}")
NUMBER_DIGITS: Final = 18
"""Digits of a number at most: below 2**63 whatever they are."""


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
        derivation: Of a derived key the API's `derivationType` and its path, which also stands in its label; `uuid` is
            that of its master, whose policy it follows (R21). None for any other.
        address: Format and bytes of its blockchain address; None for none.
        certificate: X.509 certificate attached to the key, DER: in whose name it issues (R17); empty for none and in
            texts of the first two versions.
        remaining_signatures: How many signatures a key of LMS or XMSS can still make; None for other kinds.
        public_only: Whether there is no private key: a public key or certificate was imported alone. Its text is that
            of a `public_key`.
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
    certificate: bytes = b""
    remaining_signatures: int | None = None
    derivation: tuple[str, str] | None = None
    address: tuple[str, bytes] | None = None
    public_only: bool = False


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
        for name, _, shown in ATTRIBUTES
        if shown == "always"
        or (shown == "true" and attestation.attributes.get(name))
        or (symmetric and name in _BOTH_WAYS)
    }
    attributes |= {name: True for name in OWN_ATTRIBUTES if attestation.attributes.get(name)}
    if attestation.allowed_operations:
        attributes["allowedOperations"] = list(attestation.allowed_operations)
    if attestation.allowed_algorithms:
        attributes["allowedAlgorithms"] = list(attestation.allowed_algorithms)
    policy = attestation.policy
    remaining = attestation.remaining_signatures
    return {
        "label": attestation.label,
        "id": attestation.key_id,
        "uuid": attestation.uuid,
        "algorithm": attestation.algorithm,
        "algorithmOid": attestation.algorithm_oid,
        "curveOid": curve,
        "derivedAttributes": None
        if attestation.derivation is None
        else {"derivationType": attestation.derivation[0], "derivationValue": attestation.derivation[1]},
        "keySize": attestation.key_size,
        "keyUsageCount": attestation.key_use_count,
        **({} if remaining is None else {"remainingSignatures": remaining}),
        "createTime": format_time(attestation.create_time),
        "attestTime": format_time(attestation.attest_time),
        "publicKey": None if symmetric else b64encode(attestation.public_key).decode(),
        "addressTruncated": None
        if attestation.address is None
        else {"address": attestation.address[1].hex().upper(), "format": attestation.address[0]},
        "attributes": attributes,
        "policy": None if policy is None else policy_to_json(policy, blocked=attestation.blocked),
    }


def check_attestation(attestation: KeyAttestation) -> None:
    """Refuse what the form cannot hold or must not; the same for writing and reading.

    Args:
        attestation: What is to be written, or was read.

    Raises:
        FormatError: `format.invalid`, or `label.…` (610).
    """
    _check_name(attestation)
    if attestation.creation not in CREATIONS:
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
    if attestation.store_counter is None and (narrowed or attestation.attributes.keys() & OWN_ATTRIBUTES.keys()):
        raise FormatError("What narrows a key is attested from the third version on, with the store's counter.")
    for what, number in (
        ("generation", attestation.generation),
        ("key_use_count", attestation.key_use_count),
        ("restore_epoch", attestation.restore_epoch),
        ("state_counter", attestation.state_counter),
        ("store_counter", attestation.store_counter or 0),
        ("accepted_rollbacks", attestation.accepted_rollbacks or 0),
        ("remaining_signatures", attestation.remaining_signatures or 0),
    ):
        if not 0 <= number < 10**NUMBER_DIGITS:
            raise FormatError(f"The {what} is not between 0 and {10**NUMBER_DIGITS}.")
    if attestation.remaining_signatures is not None and attestation.store_counter is None:
        raise FormatError("Remaining signatures are attested from the third version on, with the store's counter.")
    if attestation.certificate and attestation.store_counter is None:
        raise FormatError("A certificate is attested from the third version on, with the store's counter.")
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


def _check_name(attestation: KeyAttestation) -> None:
    """A path stands in the label and in `derivation`, or in neither; what is derived, is called so."""
    check_key_name(attestation.label)
    _, stroke, path = attestation.label.partition(SEPARATOR)
    if (attestation.derivation is not None) != bool(stroke) or (stroke and attestation.creation != "derived"):
        raise FormatError("A derived key has a path in its label and a derivation, and no other key has.")
    if attestation.derivation is not None:
        kind, value = attestation.derivation
        if kind not in DERIVATION_TYPES or value != path:
            raise FormatError("The derivation is not of a known type, or another one than in the label.")
    if attestation.address is not None:
        name, address = attestation.address
        if not _WORD.fullmatch(name) or not 1 <= len(address) <= _MAX_ADDRESS:
            raise FormatError("The address has no format, or no length, that an address has.")
