"""Messages that use keys, or the public part of one."""

from __future__ import annotations

import msgspec

from keyturn.hsm.messages.base import Message


class Sign(Message, frozen=True, tag="sign"):
    """Sign. Answer: `Signed`.

    Args:
        operation_id: 16 bytes, or empty. Required where the key has a policy; where given, the result is stored.
        label: Label of the key.
        payload: Bytes to be signed (or their digest, for `NONE…` algorithms); at most 64 KiB.
        algorithm: API name of the signature algorithm.
        signature_type: `DER`, `RAW` or `ETH`; empty means the algorithm's own form.
        approvals: Authorization blobs (ska-wire-format.md section 4), at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
        context: Context bytes of ML-DSA and SLH-DSA; None for none.
        auxiliary_random: Of a BIP 340 signature, as are the next two (`keyturn.crypto.schnorr`); None for none.
        taproot_tweak: The tweak of the key path.
        merkle_root: The root of the script path.
    """

    operation_id: bytes
    label: str
    payload: bytes
    algorithm: str
    signature_type: str
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""
    context: bytes | None = None
    auxiliary_random: bytes | None = None
    taproot_tweak: bytes | None = None
    merkle_root: bytes | None = None


class Signed(Message, frozen=True, tag="signed"):
    """A signature.

    Args:
        signature: In the form asked for.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    signature: bytes
    receipt: bytes = b""
    receipt_signature: bytes = b""


class Decrypt(Message, frozen=True, tag="decrypt"):
    """Decrypt. Answer: `Decrypted`.

    Args:
        operation_id: 16 bytes, or empty. Required where the key has a policy; where given, the result is stored.
        label: Label of the key.
        payload: The ciphertext, at most 64 KiB; approvals cover exactly these bytes.
        algorithm: API name of the cipher algorithm, such as `RSA_PADDING_OAEP_WITH_SHA256`.
        iv: Initialization vector, None where the algorithm has none.
        aad: Additional authenticated data, None where there are none.
        tag_length: Length of the authentication tag in bits; 0 for the algorithm's own.
        approvals: Authorization blobs, at most `MAX_APPROVALS`.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
    """

    operation_id: bytes
    label: str
    payload: bytes
    algorithm: str
    iv: bytes | None
    aad: bytes | None
    tag_length: int
    approvals: list[bytes]
    request_id: str = ""
    sealed_password: bytes = b""


class Decrypted(Message, frozen=True, tag="decrypted"):
    """Decrypted data.

    Args:
        data: The plaintext.
        receipt: Receipt for the request id of the call, empty when it had none.
        receipt_signature: The receipt key's signature over it.
    """

    data: bytes
    receipt: bytes = b""
    receipt_signature: bytes = b""


class Unwrap(Message, frozen=True, tag="unwrap"):
    """Unwrap a key and keep it as a new one with the creation `imported`. Answer: `Attested`, of the new key.

    Args:
        operation_id: 16 bytes.
        label: Label of the unwrapping key.
        wrapped_key: The wrapped key.
        method: API name of the wrap method, such as `AES_WRAP_PAD_EC`.
        new_label: Label of the new key; unused so far.
        attributes: Attributes of the new key, as in `CreateKey`.
        approvals: Authorization blobs over the unwrap payload that the HSM builds itself from attributes, wrapped key
            and new label (`keyturn.ska.unwrap_flags`, R16), or over the statement of a bound key; at most
            `MAX_APPROVALS`.
        policy: Binary policy blob of the new key, empty for none. A protected unwrapping key gives one only if it has
            `boundApprovals` (R16).
        blocked: Whether the new key starts blocked.
        key_id: The API's `id` of the new key, or None.
        request_id: The broker's id of the request, for the receipt; empty when nobody asks for one.
        allowed_operations: Of the new key, as in `CreateKey`; a protected key without `boundApprovals` gives none.
        allowed_algorithms: The same.
        sealed_password: The key's password (`keyturn.ska.sealed_password`); empty for none.
        approver: Name of the approver whose file is restored; then the call is what `GetRestoration` answered, nothing
            new is kept under a label, and the answer attests the backup key (`keyturn.hsm.restoring`). "" otherwise.
        purpose: With `approver`: `restore`, `forgot` or `change`, as in `GetRestoration`.
        backup_password: With `approver`: the new backup password, sealed (`keyturn.ska.approver_secrets`).
        old_backup_password: For `change`: the one so far, sealed likewise.
    """

    operation_id: bytes
    label: str
    wrapped_key: bytes
    method: str
    new_label: str
    attributes: dict[str, bool]
    approvals: list[bytes]
    policy: bytes = b""
    blocked: bool = False
    key_id: str | None = None
    request_id: str = ""
    allowed_operations: list[str] = msgspec.field(default_factory=list)
    allowed_algorithms: list[str] = msgspec.field(default_factory=list)
    sealed_password: bytes = b""
    approver: str = ""
    purpose: str = ""
    backup_password: bytes = b""
    old_backup_password: bytes = b""


class Verify(Message, frozen=True, tag="verify"):
    """Verify a signature with a key's public part, or a MAC with the key. Answer: `Verdict`.

    Args:
        label: Label of the key.
        payload: Bytes that were signed.
        algorithm: API name of the signature algorithm.
        signature: Signature bytes; for EC keys DER or raw r||s.
        sealed_password: Password of a symmetric key (`keyturn.ska.sealed_password`); empty for none.
    """

    label: str
    payload: bytes
    algorithm: str
    signature: bytes
    sealed_password: bytes = b""


class Verdict(Message, frozen=True, tag="verdict"):
    """Whether the signature is valid."""

    valid: bool
