"""What a receipt binds by its hash: the call that was made, and what came of it.

Both sides hash with this, so that a receipt can be held against a call without holding the call itself.

Source: docs/security/rules.md R24; docs/formats/receipts.md (byte by byte).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from keyturn.ska import cbor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STATEMENT_TAG: Final = b"keyturn/statement/1\x00"
_CERTIFICATE_ACTIONS: Final = frozenset({"csr", "issue", "selfsign"})


@dataclass(frozen=True, slots=True)
class Statement:
    """What was asked of the HSM: the call without its approvals, operation id and request id.

    Made by the class methods, one for each kind of call, so that both sides name the same parameters.

    Args:
        action: One of `receipt.ACTIONS`.
        label: Label of the key that acts.
        payload: The bytes that approvals cover or are computed from; empty for block and unblock.
        parameters: Every other parameter of the call by name; what is absent is None.
    """

    action: str
    label: str
    payload: bytes
    parameters: Mapping[str, cbor.CborValue]

    @classmethod
    def sign(
        cls,
        label: str,
        payload: bytes,
        algorithm: str,
        signature_type: str,
        parameters: Mapping[str, bytes] | None = None,
    ) -> Statement:
        """A signature. `signature_type` is `DER`, `RAW`, `ETH` or empty; `parameters` by API names: as in the call."""
        # Further parameters came later than receipts: a call without any has the same hash as before.
        named: dict[str, cbor.CborValue] = {"algorithm": algorithm, "signatureType": signature_type}
        return cls("sign", label, payload, {**named, **(parameters or {})})

    @classmethod
    def decrypt(
        cls, label: str, payload: bytes, algorithm: str, *, iv: bytes | None, aad: bytes | None, tag_length: int
    ) -> Statement:
        """A decryption. `payload` is the ciphertext; `tag_length` counts bits, 0 for the algorithm's own."""
        return cls("decrypt", label, payload, {"algorithm": algorithm, "iv": iv, "aad": aad, "tagLength": tag_length})

    @classmethod
    def unwrap(
        cls,
        label: str,
        wrapped_key: bytes,
        method: str,
        new_label: str,
        attributes: Mapping[str, bool],
        *,
        policy: bytes = b"",
        blocked: bool = False,
        key_id: str | None = None,
        allowed_operations: Sequence[str] = (),
        allowed_algorithms: Sequence[str] = (),
    ) -> Statement:
        """An unwrap. `attributes` are those the call gave, not those the new key got; `policy` is its binary form."""
        # Limits came later than receipts: a call without any has the same hash as before.
        limits: dict[str, cbor.CborValue] = {
            name: list(names)
            for name, names in (("allowedOperations", allowed_operations), ("allowedAlgorithms", allowed_algorithms))
            if names
        }
        return cls(
            "unwrap",
            label,
            wrapped_key,
            {
                "method": method,
                "newLabel": new_label,
                "attributes": {name: int(value) for name, value in attributes.items()},
                "policy": policy,
                "blocked": int(blocked),
                "keyId": key_id,
                **limits,
            },
        )

    @classmethod
    def certify(
        cls,
        label: str,
        kind: str,
        to_be_signed: bytes,
        algorithm: str,
        *,
        certificate_authority: bool = False,
        attach_to: str = "",
    ) -> Statement:
        """A certificate or a request. `kind` is `csr`, `issue` or `selfsign`; the bytes are those that are signed."""
        # An unknown kind is refused, and the receipt for that must have a name, too.
        action = kind if kind in _CERTIFICATE_ACTIONS else "issue"
        parameters: dict[str, cbor.CborValue] = {
            "kind": kind,
            "algorithm": algorithm,
            "certificateAuthority": int(certificate_authority),
            "attachTo": attach_to,
        }
        return cls(action, label, to_be_signed, parameters)

    @classmethod
    def modify(cls, label: str, policy: bytes) -> Statement:
        """A change of policy. `policy` is the new one's binary form, outer header included."""
        return cls("modify", label, policy, {})

    @classmethod
    def block(cls, label: str) -> Statement:
        """A block."""
        return cls("block", label, b"", {})

    @classmethod
    def unblock(cls, label: str) -> Statement:
        """The lifting of a block."""
        return cls("unblock", label, b"", {})


def statement_hash_of(statement: Statement) -> bytes:
    """Hash a statement.

    Args:
        statement: What was asked.

    Returns:
        32 bytes: SHA-256 over a domain tag and the statement in deterministic CBOR.
    """
    return sha256(
        _STATEMENT_TAG
        + cbor.encode(
            {
                "action": statement.action,
                "label": statement.label,
                "payload": statement.payload,
                "parameters": dict(statement.parameters),
            }
        )
    ).digest()


def result_hash_of(result: bytes) -> bytes:
    """Hash the result of an execution.

    Args:
        result: The signature, the decrypted data, or the UTF-8 bytes of the attested attributes' XML.

    Returns:
        Its SHA-256, 32 bytes.
    """
    return sha256(result).digest()


def refusal_hash_of(code: int, refusal: str) -> bytes:
    """Hash a refusal: its code and its stable word, which the API's error body carries; the message is not covered.

    Args:
        code: `errorCode`.
        refusal: `refusal`, such as `approvals.missing`.

    Returns:
        32 bytes: SHA-256 over the two in deterministic CBOR.
    """
    return sha256(cbor.encode([code, refusal])).digest()
