"""Keys and bodies for every action over REST, and the plaintexts and keys that `openssl` locks up for them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.client import ServerRefusedError
from keyturn.ska.messages import ApprovalToken
from keyturn.ska.signatures import wrap_signature
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.openssl_ciphers import rsa_encrypt
from keyturn_testing.rest_server import approve, b64, fetch, policy_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from keyturn.client import RestClient
    from keyturn.client.approval import TaskKind
    from keyturn.ska.actions import Action
    from keyturn.ska.policy import Policy
    from keyturn_testing.officers import Officer

SECRET = "Zürich, Freitag, 10 Uhr".encode()
CIPHER = "RSA_PADDING_OAEP_WITH_SHA256"
OAEP_SHA256 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha256", "rsa_mgf1_md:sha256")
OAEP_SHA1 = ("rsa_padding_mode:oaep", "rsa_oaep_md:sha1", "rsa_mgf1_md:sha1")
AES_ATTRIBUTES = {"decrypt": True, "sign": False, "unwrap": False, "encrypt": True, "destroyable": True}
"""What the key inside a wrapped AES key may do."""


def refused(call: Callable[[], Any]) -> ServerRefusedError:
    """The refusal with which a call ends."""
    with pytest.raises(ServerRefusedError) as caught:
        call()
    return caught.value


def sign_body(label: str, payload: bytes = b"pay") -> dict[str, Any]:
    """The inner object of a call that signs with an EC key."""
    return {"payload": b64(payload), "signKeyName": label, "signatureAlgorithm": "SHA256_WITH_ECDSA"}


def create_rsa_key(rest: RestClient, label: str, policy: Policy | None, **attributes: bool) -> bytes:
    """Create an RSA key that decrypts and unwraps; its SPKI."""
    answer = rest.create_key(
        label,
        "RSA",
        key_size=2048,
        attributes={"decrypt": True, "sign": False, "unwrap": True, "destroyable": True, **attributes},
        policy=None if policy is None else policy_json(policy, new=True),
    )
    return base64.b64decode(answer["json"]["publicKey"])


def decrypt_body(label: str, ciphertext: bytes, **changes: Any) -> dict[str, Any]:
    """The inner object of a call that decrypts."""
    return {"encryptedPayload": b64(ciphertext), "decryptKeyName": label, "cipherAlgorithm": CIPHER} | changes


def unwrap_body(label: str, wrapped: bytes, new_label: str, **changes: Any) -> dict[str, Any]:
    """The inner object of a call that unwraps an AES key."""
    return {
        "wrappedKey": b64(wrapped),
        "label": new_label,
        "attributes": AES_ATTRIBUTES,
        "unwrapKeyName": label,
        "wrapMethod": "RSA_WRAP_OAEP",
    } | changes


def oaep(spki: bytes, data: bytes, options: Sequence[str] = OAEP_SHA256) -> bytes:
    """What `openssl` encrypts for an RSA key."""
    return rsa_encrypt(spki, data, options)


def all_approve(rest: RestClient, request_id: str, officers: Iterable[Officer], kind: TaskKind = "All") -> None:
    """Each officer fetches the one task of the request, through the endpoint of its kind, and approves it."""
    for officer in officers:
        (task,) = fetch(rest, officer, kind=kind, requestId=request_id)
        approve(rest, officer, task)


def ready_approvals(
    officers: Iterable[Officer],
    action: Action,
    label: str,
    payload: bytes | None = None,
    stamp: dict[str, Any] | None = None,
) -> list[str]:
    """`signedApprovals` as a program collects them by itself.

    Args:
        officers: Who approves.
        action: What for.
        label: Which key.
        payload: What approvals bind; None for block and unblock.
        stamp: The answer of `POST /v1/synchronousTimestamp`, None for approvals without a time.
    """
    timestamp = signature = None
    if stamp is not None:
        timestamp = base64.b64decode(stamp["timestamp"])
        bare = base64.b64decode(stamp["timestampSignature"])
        signature = wrap_signature(stamp["timestampSignatureAlgorithm"], bare)
    token = ApprovalToken(action, label.encode(), timestamp, signature, payload)
    return [b64(officer.approve(token)) for officer in officers]


def unwrap_payload(wrapped: bytes, new_label: str) -> bytes:
    """The bytes that approvals bind for the unwrap of `unwrap_body`."""
    return unwrap_payload_for(AES_ATTRIBUTES, wrapped, new_label)


def withdrawal(officer: Officer, task: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body with which an officer takes an approval back (R26)."""
    data = base64.b64decode(task["approvalToBeSigned"])
    return {
        "id": task["id"],
        "approvalToBeSigned": b64(data),
        "signature": b64(officer.sign(b"WITHDRAW:" + data + task["id"].encode("ascii"))),
        "approvalDigestAlgorithm": officer.digest,
        "approverPublicKey": b64(officer.spki),
    } | changes
