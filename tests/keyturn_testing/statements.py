"""Statements for tests: one ordinary example of each kind, as the golden files have them."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from keyturn.ska.statement import Statement


def example(kind: str, **fields: Any) -> Statement:
    """A statement about one key, for one request."""
    return Statement(
        kind=kind,
        key_uuid="0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        spki_hash=sha256(b"spki").digest(),
        policy_hash=sha256(b"policy").digest(),
        request_id="3f0e9c1a-77aa-4a0f-9a52-0f4f7b6f2f10",
        **fields,
    )


EXAMPLES: Final = {
    "sign": example("sign", algorithm="SHA256_WITH_ECDSA", signature_type="DER", data=b"pay 10 to Ben"),
    "sign-own-form": example("sign", algorithm="EDDSA"),
    "csr": example("csr", algorithm="EDDSA", data=b"a request"),
    "issue": example("issue", algorithm="SHA256_WITH_ECDSA", data=b"a certificate"),
    "issue-attached": example("issue", algorithm="SHA256_WITH_ECDSA", new_label="Zürich", data=b"a certificate"),
    "selfsign": example("selfsign", algorithm="SHA512_WITH_RSA_PSS", data=b"a certificate"),
    "decrypt": example("decrypt", algorithm="RSA_PADDING_OAEP_WITH_SHA256", data=b"\x01\x02\x03"),
    "decrypt-all": example("decrypt", algorithm="AES_GCM", iv=bytes(12), aad=b"", tag_length=128, data=b"\x04"),
    "unwrap": example(
        "unwrap",
        wrap_method="RSA_WRAP_PAD",
        new_label="spare",
        new_attributes={"sign": True, "decrypt": False},
        new_blocked=False,
        data=b"wrapped",
    ),
    "unwrap-all": example(
        "unwrap",
        wrap_method="AES_WRAP_PAD_EC",
        new_label="Zürich",
        new_attributes={"boundApprovals": True, "decrypt": False, "sign": True},
        new_policy=b"policy blob",
        new_blocked=True,
        new_key_id="4711",
        new_allowed_operations=("sign",),
        new_allowed_algorithms=("SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"),
        data=b"wrapped",
    ),
    "block": example("block"),
    "unblock": example("unblock"),
}
