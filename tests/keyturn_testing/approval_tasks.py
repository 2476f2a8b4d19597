"""Approval tasks as an honest broker hands them out, and an HSM whose word stands in them.

    hsm = PaperHsm()
    task = honest_task(ada, sign_token("treasury", b"pay"), hsm=hsm, policy=policy)
    review_task(parse_task(task), own_spki=ada.spki, ...)

A lying broker is an honest task with one thing changed.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from keyturn.ska.actions import Action
from keyturn.ska.attestation import KeyAttestation, render_attestation
from keyturn.ska.messages import (
    ApprovalToken,
    Timestamp,
    decode_unwrap_payload,
    encode_approval,
    encode_timestamp,
)
from keyturn.ska.policy import decode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.policy_rules import open_modify, open_unblock
from keyturn.ska.signatures import api_signature_algorithm, unwrap_signature, wrap_signature
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy
    from keyturn_testing.officers import Officer

LABEL = "treasury"
TASK_ID = "0b7e0a52-6c0f-4f0e-9d0c-2b1a33445566"
STAMPED_AT = 1_700_000_000
NEW_LABEL = "branch office"
WRAPPED_KEY = bytes(range(40))
NEW_ATTRIBUTES = {"sign": True, "decrypt": False, "unwrap": False, "extractable": False}
_OTHER_REQUESTS = (
    "signedSignRequest",
    "signedModifyKeyRequest",
    "signedBlockKeyRequest",
    "signedUnblockKeyRequest",
    "signedDecryptRequest",
    "signedUnwrapKeyRequest",
    "signedCertificateRequestRequest",
    "signedSignCertificateRequest",
    "signedSelfSignCertificateRequestDto",
)


@cache
def _device_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


class PaperHsm:
    """An HSM on paper: a device key with its certificate, an integrity key, and what they sign."""

    def __init__(self, name: str = "integrity-1") -> None:
        self.integrity_name = name
        self.integrity_key = ec.generate_private_key(ec.SECP256R1())
        self.integrity_spki = self.integrity_key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.operational_spki = (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keyturn device on paper")])
        start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(_device_key().public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=9000))
            .sign(_device_key(), hashes.SHA256())
            .public_bytes(Encoding.DER)
        )

    def stamp(self, token: ApprovalToken, *, seconds: int = STAMPED_AT, name: str | None = None) -> ApprovalToken:
        """The token with this HSM's timestamp inside."""
        blob = encode_timestamp(
            Timestamp(seconds, name or self.integrity_name, token.payload, token.action is Action.MODIFY)
        )
        bare = self.integrity_key.sign(blob, ec.ECDSA(hashes.SHA256()))
        return replace(token, timestamp=blob, timestamp_signature=wrap_signature("SHA256_WITH_ECDSA", bare))

    def attest(self, policy: Policy | None, *, label: str = LABEL, **changes: Any) -> tuple[str, bytes]:
        """Attested attributes of a key, and the device's signature over them."""
        attestation = KeyAttestation(
            label=label,
            uuid="6f1c1d6e-4a3b-4c8e-9a54-0f8f7b0c1d2e",
            generation=1,
            creation="generated",
            create_time=STAMPED_AT - 1000,
            attest_time=STAMPED_AT,
            key_use_count=0,
            algorithm="EC",
            algorithm_oid="1.2.840.10045.2.1",
            curve_oid="1.2.840.10045.3.1.7",
            key_size=256,
            public_key=self.operational_spki,
            key_id=None,
            attributes={"sign": True, "decrypt": False, "unwrap": False, "extractable": False, "destroyable": True},
            policy=policy,
            blocked=False,
            instance_id="d2b5c9a0-7a51-4c39-8a3e-3a0f5c1c2b1a",
            restore_epoch=0,
            state_counter=7,
            isolation="machine",
            switches=(),
            open_modify=policy is not None and open_modify(policy),
            open_unblock=policy is not None and open_unblock(policy),
            integrity_key_name=self.integrity_name,
            integrity_key=self.integrity_spki,
        )
        xml = render_attestation(replace(attestation, **changes))
        return xml, _device_key().sign(xml.encode(), padding.PKCS1v15(), hashes.SHA256())


def b64(data: bytes) -> str:
    """Base64 as the API writes it."""
    return base64.b64encode(data).decode("ascii")


def sign_token(payload: bytes, label: str = LABEL) -> ApprovalToken:
    """An approval to use the key, without a timestamp."""
    return ApprovalToken(Action.USE, label.encode(), None, None, payload)


def modify_token(policy: bytes, label: str = LABEL) -> ApprovalToken:
    """An approval to replace the key's policy, without a timestamp."""
    return ApprovalToken(Action.MODIFY, label.encode(), None, None, policy)


def block_token(label: str = LABEL, *, action: Action = Action.BLOCK) -> ApprovalToken:
    """An approval to block (or unblock) the key, without a timestamp."""
    return ApprovalToken(action, label.encode(), None, None, None)


def unwrap_token(attributes: dict[str, bool] | None = None, *, new_label: str = NEW_LABEL) -> ApprovalToken:
    """An approval to unwrap `WRAPPED_KEY`, without a timestamp."""
    payload = unwrap_payload_for({**NEW_ATTRIBUTES, **(attributes or {})}, WRAPPED_KEY, new_label)
    return ApprovalToken(Action.USE, LABEL.encode(), None, None, payload)


SIGNED_FIELDS = {
    "signRequest": "signedSignRequest",
    "decryptRequest": "signedDecryptRequest",
    "unwrapKeyRequest": "signedUnwrapKeyRequest",
    "blockRequest": "signedBlockKeyRequest",
    "unblockRequest": "signedUnblockKeyRequest",
    "modifyRequest": "signedModifyKeyRequest",
}


def inner_request(token: ApprovalToken, *, kind: str = "sign", **more: Any) -> tuple[str, dict[str, Any]]:
    """The request of which the approval speaks: its name and its object.

    Args:
        token: The approval.
        kind: For a use: `sign`, `decrypt` or `unwrap`.
        more: Further members.
    """
    label, payload = token.label.decode(), token.payload or b""
    match (token.action, kind):
        case (Action.MODIFY, _):
            policy = policy_to_json(decode_policy(payload), blocked=None)
            return "modifyRequest", {"modifyKeyName": label, "policy": policy, **more}
        case (Action.BLOCK, _):
            return "blockRequest", {"blockKeyName": label, **more}
        case (Action.UNBLOCK, _):
            return "unblockRequest", {"unblockKeyName": label, **more}
        case (_, "decrypt"):
            decrypt = {"decryptKeyName": label, "encryptedPayload": b64(payload), "cipherAlgorithm": "RSA_PADDING_OAEP"}
            return "decryptRequest", {**decrypt, **more}
        case (_, "unwrap"):
            unwrap = {
                "unwrapKeyName": label,
                "wrappedKey": b64(WRAPPED_KEY),
                "label": decode_unwrap_payload(payload).label.decode(),
                "attributes": NEW_ATTRIBUTES,
                "wrapMethod": "RSA_WRAP_PAD",
            }
            return "unwrapKeyRequest", {**unwrap, **more}
    algorithm = "SHA256_WITH_ECDSA"
    return "signRequest", {"signKeyName": label, "payload": b64(payload), "signatureAlgorithm": algorithm, **more}


def honest_task(
    officer: Officer,
    token: ApprovalToken,
    *,
    hsm: PaperHsm | None = None,
    policy: Policy | None = None,
    attested: dict[str, Any] | None = None,
    kind: str = "sign",
    **request: Any,
) -> dict[str, Any]:
    """A level 5 task for an officer.

    Args:
        officer: Whose task it is.
        token: What is to be approved.
        hsm: Who attests the key; no key attributes without it.
        policy: The key's present policy.
        attested: What else to say about the key, as in `PaperHsm.attest`.
        kind: For a use: `sign`, `decrypt` or `unwrap`.
        request: Further members of the request, such as `metaData`.
    """
    name, inner = inner_request(token, kind=kind, **request)
    signed_field = SIGNED_FIELDS[name]
    xml, xml_signature = (None, None) if hsm is None else hsm.attest(policy, **(attested or {}))
    stamp: dict[str, Any] = dict.fromkeys(
        ("timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampSignatureWithAlgorithm")
    )
    if token.timestamp is not None and token.timestamp_signature is not None:
        scheme, bare = unwrap_signature(token.timestamp_signature)
        stamp = {
            "timestamp": b64(token.timestamp),
            "timestampSignature": b64(bare),
            "timestampSignatureAlgorithm": api_signature_algorithm(scheme),
            "timestampSignatureWithAlgorithm": b64(token.timestamp_signature),
        }
    return {
        "detailLevel": "level5",
        "id": TASK_ID,
        "approvalToBeSigned": b64(encode_approval(token)),
        "approverPublicKey": b64(officer.spki),
        "metaData": inner.get("metaData"),
        "metaDataSignature": None,
        "payload": None if token.payload is None else b64(token.payload),
        "payloadType": inner.get("payloadType", "UNSPECIFIED"),
        "requestBase64": b64(json.dumps({name: inner}).encode()),
        **dict.fromkeys(_OTHER_REQUESTS),
        signed_field: {name: {**inner, "keyPassword": None}, "requestSignature": None},
        **stamp,
        "keyAttributes": xml,
        "keyAttributesSignature": None if xml_signature is None else b64(xml_signature),
    }
