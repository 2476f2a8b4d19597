"""What the HSM would refuse whatever the approvers say, and so is refused before anybody is asked.

That is courtesy; the HSM checks all of it again. What may have changed past this broker is judged only where there is
an HSM to ask: a register of offline keys may be behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.broker.bound import is_bound
from keyturn.broker.prediction import parsed_policy
from keyturn.crypto.ciphers import cipher_algorithm, require_single_meaning_decrypt
from keyturn.crypto.keys import describe_spki, kind_of, load_public_key
from keyturn.crypto.registry import (
    check_options,
    require_no_options,
    require_single_meaning,
    signature_algorithm,
)
from keyturn.crypto.wrapping import wrap_method
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm.limits import check_limits
from keyturn.ska.certificate_shape import looks_like_certificate
from keyturn.ska.key_attributes import filled_in
from keyturn.ska.labels import check_label
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_from_json, policy_to_json
from keyturn.ska.policy_rules import check_policy, is_protected

if TYPE_CHECKING:
    from keyturn.broker.calls import CertifyCall, DecryptCall, SignCall, UnwrapCall
    from keyturn.broker.executor import KeyRecord
    from keyturn.ska.policy import Policy

MAX_PAYLOAD: Final = 65_536
"""Most payload bytes (rest-api.md section 1.3)."""


def check_size(payload: bytes, cure: str) -> None:
    """Refuse more than an HSM takes.

    Args:
        payload: What is to be processed.
        cure: What to do instead, a sentence.

    Raises:
        KeyturnError: 612 `payload.too-large`.
    """
    if len(payload) > MAX_PAYLOAD:
        raise KeyturnError(
            ErrorCode.INVALID_PAYLOAD,
            f"The payload has {len(payload)} bytes; an HSM takes at most {MAX_PAYLOAD} (64 KiB). {cure}",
            refusal="payload.too-large",
        )


def check_signing(call: SignCall, key: KeyRecord) -> None:
    """Refuse a signature that the key cannot make, or a protected one must not (R8).

    Raises:
        KeyturnError: 606 `key.attribute`, 614 `key.operation-not-allowed`, 607, 612, 600 for an unknown algorithm,
            `signature.option` or `signature.unapproved-option`.
    """
    entry = signature_algorithm(call.algorithm)
    _check_key_type(call.algorithm, entry.key_types, key, "signature.wrong-key-type")
    _check_attribute(key, "sign")
    _check_limits(key, "sign", call.algorithm)
    check_options(call.algorithm, call.options)
    if protected(key):
        if is_bound(key) and looks_like_certificate(call.payload):
            raise KeyturnError(
                ErrorCode.INVALID_PAYLOAD,
                "Signed, this payload is a certificate or a request for one. The key takes bound approvals: ask for it "
                "with POST /v1/certificate/request, sign or selfsign.",
                refusal="payload.certificate",
            )
        _, _, curve_oid, _ = describe_spki(key.public_key)
        require_single_meaning(call.algorithm, call.payload, curve_oid=curve_oid or "")
        if not is_bound(key):
            require_no_options(call.options)


def check_decrypting(call: DecryptCall, key: KeyRecord) -> None:
    """Refuse a decryption that the key cannot do, or a protected one must not (R8).

    Raises:
        KeyturnError: 606 `key.attribute`, 614 `key.operation-not-allowed`, 607, 612, 629 for an unknown cipher, 600
            `cipher.parameters`.
    """
    entry = cipher_algorithm(call.algorithm)
    _check_key_type(call.algorithm, entry.key_types, key, "cipher.wrong-key-type")
    _check_attribute(key, "decrypt")
    _check_limits(key, "decrypt", call.algorithm)
    if not entry.needs_iv and not entry.aead and (call.iv or call.aad or call.tag_length):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"{entry.name} takes no initialization vector, additional data or tag length; leave them out.",
            refusal="cipher.parameters",
        )
    if protected(key):
        require_single_meaning_decrypt(call.algorithm, call.payload, may_sign=key.attributes.get("sign") is not False)


def check_certifying(call: CertifyCall, key: KeyRecord) -> None:
    """Refuse a certificate that the key cannot sign, or a protected one must not (R8, R17).

    Raises:
        KeyturnError: As `check_signing`; 612 `certificate.no-issuer`.
    """
    entry = signature_algorithm(call.algorithm)
    _check_key_type(call.algorithm, entry.key_types, key, "signature.wrong-key-type")
    _check_attribute(key, "sign")
    _check_limits(key, "certify", call.algorithm)
    if protected(key):
        _, _, curve_oid, _ = describe_spki(key.public_key)
        require_single_meaning(call.algorithm, call.to_be_signed, curve_oid=curve_oid or "")


def check_unwrapping(call: UnwrapCall, key: KeyRecord) -> None:
    """Refuse an unwrap that the key cannot do, or approvals for a protected one do not cover (R16).

    Raises:
        KeyturnError: 606 `key.attribute`, 614 `key.operation-not-allowed`, 607, 600 `wrap.method`,
            `unwrap.unapproved-policy` and `unwrap.unapproved-limits`, 610 for the new label, and what `check_policy`
            and `check_limits` raise.
    """
    method = wrap_method(call.method)
    _check_key_type(call.method, (method.wrapping_key_type,), key, "wrap.wrong-key-type")
    _check_attribute(key, "unwrap")
    _check_limits(key, "unwrap", call.method)
    check_label(call.new_label)
    check_limits(
        call.allowed_operations,
        call.allowed_algorithms,
        key_type=method.wrapped_key_type,
        attributes=filled_in(call.attributes),
    )
    if (call.allowed_operations or call.allowed_algorithms) and protected(key) and not is_bound(key):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"Approvals for an unwrap with the protected key {key.label} do not cover allowedOperations and "
            "allowedAlgorithms. Leave them out, or unwrap with a key that has no policy or that was created with "
            "boundApprovals.",
            refusal="unwrap.unapproved-limits",
        )
    if call.policy is None:
        return
    check_policy(call.policy, blocked=call.blocked)
    if is_bound(key):
        _with_json_form(call.policy)
    elif protected(key):
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            f"Approvals for an unwrap do not cover a policy: what the protected key {key.label} unwraps gets none. "
            "Leave policy out, or unwrap with a key that has no policy or that was created with boundApprovals.",
            refusal="unwrap.unapproved-policy",
        )


def check_policy_key(key: KeyRecord) -> None:
    """Refuse to block, unblock or modify a key that has no policy.

    Raises:
        KeyturnError: 614 `policy.none`.
    """
    if not key.policy:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            "This key was created without a policy; it can never get one, and it can be neither blocked nor unblocked. "
            "Create a key with a policy.",
            refusal="policy.none",
        )


def check_blocked(key: KeyRecord) -> None:
    """Refuse to unblock a key that is not blocked.

    Raises:
        KeyturnError: 614 `key.not-blocked`.
    """
    if not key.blocked:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"The key {key.label} is not blocked, so that there is nothing to unblock.",
            refusal="key.not-blocked",
        )


def checked_new_policy(policy: Policy, key: KeyRecord) -> bytes:
    """Refuse a new policy that breaks the rules or would lose its bytes on the way; return its blob.

    Raises:
        KeyturnError: What `check_policy` raises; 600 `policy.no-json-form`.
    """
    check_policy(policy, blocked=key.blocked)
    return _with_json_form(policy)


def _with_json_form(policy: Policy) -> bytes:
    """The blob of a policy that approvals bind; the offline side makes it anew out of the JSON."""
    blob = encode_policy(policy)
    if encode_policy(policy_from_json(policy_to_json(policy, blocked=None), allow_seconds=True)[0]) != blob:
        raise KeyturnError(
            ErrorCode.VALIDATION_FAILED,
            "The policy has no JSON form that gives the same bytes again; name groups and approvers plainly.",
            refusal="policy.no-json-form",
        )
    return blob


def protected(key: KeyRecord) -> bool:
    """Whether use of the key can need approvals."""
    return bool(key.policy) and is_protected(parsed_policy(key.policy))


def _check_key_type(name: str, wanted: tuple[str, ...], key: KeyRecord, refusal: str) -> None:
    # The attested word may stand for several kinds (`XMSS`); the public key says which one it is.
    kind = kind_of(load_public_key(key.public_key)).name if key.public_key else key.algorithm
    if kind not in wanted:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"{name} is for {' or '.join(wanted)} keys, but this is an {key.algorithm} key; choose one of its "
            "algorithms.",
            refusal=refusal,
        )


def _check_attribute(key: KeyRecord, attribute: str) -> None:
    if key.attributes.get(attribute) is False:
        raise KeyturnError(
            ErrorCode.KEY_ATTRIBUTES_INVALID,
            f"The key {key.label} was created without the attribute {attribute}.",
            refusal="key.attribute",
        )


def _check_limits(key: KeyRecord, operation: str, algorithm: str) -> None:
    """What a key was limited to at its creation (R9)."""
    if key.allowed_operations and operation not in key.allowed_operations:
        raise KeyturnError(
            ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
            f"The key {key.label} may only {' and '.join(key.allowed_operations)}: its allowedOperations were fixed at "
            "creation.",
            refusal="key.operation-not-allowed",
        )
    if key.allowed_algorithms and algorithm not in key.allowed_algorithms:
        raise KeyturnError(
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            f"The key {key.label} works only with {', '.join(key.allowed_algorithms)}: its allowedAlgorithms were "
            "fixed at creation.",
            refusal="key.algorithm-not-allowed",
        )
