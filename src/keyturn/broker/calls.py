"""What is asked of the broker about keys: frozen values, already decoded from JSON and base64.

`api` builds them from request bodies; nothing here knows JSON names. All `bytes` are raw. What approvers ask for and
send stands in `approver_calls`, what comes back in `answers`.

Source: rest-api.md sections 3.1 to 3.5 (fields), 4 (enumerations).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from keyturn.crypto.schemes import NO_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.crypto.schemes import SignOptions
    from keyturn.ska.policy import Policy


class RequestKind(StrEnum):
    """What is asked for (rest-api.md section 4.12); later kinds are appended."""

    SIGN = "sign"
    MODIFY = "modify"
    BLOCK = "block"
    UNBLOCK = "unblock"
    DECRYPT = "decrypt"
    UNWRAP = "unwrap"
    CSR = "csrsign"
    ISSUE = "crtsign"
    SELFSIGN = "selfsign"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignCall:
    """A request for a signature: `signRequest`.

    Args:
        payload: Bytes to be signed, at most 64 KiB, decoded (from hexadecimal text for payload type `HEX`).
        key_name: Label of the key.
        algorithm: API name of the signature algorithm.
        signature_type: `DER`, `RAW`, `ETH` or empty (the algorithm's own form).
        payload_type: One of rest-api.md section 4.6; a claim shown to approvers.
        meta_data: Free information for approvers, a claim.
        meta_data_signature: Relayed with it, never checked here.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
        options: Further parameters, for algorithms that take them.
    """

    payload: bytes
    key_name: str
    algorithm: str
    signature_type: str = ""
    payload_type: str = "UNSPECIFIED"
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)
    options: SignOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyCall:
    """A request to replace a key's policy: `modifyRequest`.

    Args:
        key_name: Label of the key.
        policy: The new policy, all four rules.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    key_name: str
    policy: Policy
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecryptCall:
    """A request to decrypt: `decryptRequest`.

    Args:
        payload: Ciphertext, its MAC included, at most 64 KiB.
        key_name: Label of the key.
        algorithm: API name of the cipher (rest-api.md section 4.4).
        iv: Initialization vector, or None where the cipher has none.
        aad: Additional authenticated data, or None.
        tag_length: Bits of the MAC, 0 for the cipher's own.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    payload: bytes
    key_name: str
    algorithm: str
    iv: bytes | None = None
    aad: bytes | None = None
    tag_length: int = 0
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwrapCall:
    """A request to unwrap a key into a new one: `unwrapKeyRequest`.

    Args:
        wrapped_key: The wrapped key, at most 64 KiB.
        key_name: Label of the unwrapping key.
        method: Wrap method (rest-api.md section 4.11).
        new_label: Label of the new key.
        attributes: Attribute names of the new key as in the API to booleans.
        policy: The new key's policy, or None for an ordinary key.
        blocked: Whether the new key starts blocked.
        key_id: The API's `id` of the new key, or None.
        allowed_operations: The new key's limits, empty for none (R9).
        allowed_algorithms: Likewise, API names.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    wrapped_key: bytes
    key_name: str
    method: str
    new_label: str
    attributes: Mapping[str, bool]
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreCall:
    """A request to restore an approver's file, or to change its backup password.

    Args:
        name: The approver's name.
        purpose: `restore`, `forgot` or `change` (`keyturn.ska.restorations`).
        backup_password: The new backup password, sealed; empty for `restore`.
        old_backup_password: For `change` the one so far, sealed.
    """

    name: str
    purpose: str
    backup_password: bytes = field(default=b"", repr=False)
    old_backup_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateOrder:
    """A request for a certificate, or a certificate, to be made: what is asked, not yet the bytes to be signed.

    Args:
        kind: `csr` (a request for the key itself), `issue` (a certificate for another key) or `selfsign`.
        key_name: Label of the key that signs.
        algorithm: API name of the signature algorithm.
        subject: Members of `standardCertificateAttributes`; empty where the request to be answered says it.
        request: For `issue`: the request that is answered, DER.
        days: How long the certificate is valid.
        certificate_authority: Whether the subject may issue certificates.
        key_usages: API names.
        extended_key_usages: API names.
        names: Alternative names, pairs of type and value.
        copy_extensions: For `issue`: whether harmless extensions of the request are taken over.
        attach_to: For `issue`: label of the key that the certificate is for, in the same HSM; empty for none.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    kind: str
    key_name: str
    algorithm: str
    subject: Mapping[str, str] = field(default_factory=dict)
    request: bytes = b""
    days: int = 0
    certificate_authority: bool = False
    key_usages: tuple[str, ...] = ()
    extended_key_usages: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    copy_extensions: bool = False
    attach_to: str = ""
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyCall:
    """A request for a certificate, or a certificate, to be signed: the exact bytes (R17).

    Args:
        kind: As in `CertificateOrder`.
        to_be_signed: CertificationRequestInfo or TBSCertificate, DER.
        key_name: Label of the key that signs.
        algorithm: API name of the signature algorithm.
        certificate_authority: Whether the subject is made an authority.
        attach_to: As in `CertificateOrder`.
        sealed_password: The key's password, sealed to the HSM; empty for none.
    """

    kind: str
    to_be_signed: bytes
    key_name: str
    algorithm: str
    certificate_authority: bool = False
    attach_to: str = ""
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCall:
    """A request to block or unblock a key with a policy: `blockRequest`, `unblockRequest`.

    Args:
        key_name: Label of the key.
        meta_data: As in `SignCall`.
        meta_data_signature: As in `SignCall`.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
    """

    key_name: str
    meta_data: bytes | None = None
    meta_data_signature: bytes | None = None
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateCall:
    """A key to be created.

    Args:
        label: Its label.
        algorithm: `RSA`, `EC` or `ED`.
        curve_oid: Dotted OID for EC and ED, else empty.
        key_size: Bits for RSA, else 0.
        attributes: Attribute names as in the API to booleans.
        policy: Its policy, or None for an ordinary key.
        blocked: Whether it starts blocked (`keyStatus.blocked`).
        key_id: The API's `id`, or None.
        allowed_operations: The only uses, among sign, decrypt and unwrap; empty for no limit (R9).
        allowed_algorithms: API names of the only algorithms; empty for no limit.
        sealed_password: The key's password, sealed to the HSM (`keyturn.ska.sealed_password`); empty for none.
        address_format: `BTC`, `ETH`, `XRP` or `XLM`; empty for none.
    """

    label: str
    algorithm: str
    address_format: str = ""
    curve_oid: str = ""
    key_size: int = 0
    attributes: Mapping[str, bool] = field(default_factory=dict)
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    sealed_password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCall:
    """What was made elsewhere and is to be taken in.

    Args:
        label: Its label.
        algorithm: API name of the kind of key.
        private_key: PKCS#8, DER; empty for none.
        public_key: SPKI, DER; empty for none.
        secret_key: Bytes of a symmetric key; empty for none.
        certificate: X.509, DER; empty for none.
        attributes: As in `CreateCall`; None where there is neither private nor secret key.
        policy: As in `CreateCall`.
        blocked: As in `CreateCall`.
        key_id: As in `CreateCall`.
        allowed_operations: As in `CreateCall`.
        allowed_algorithms: As in `CreateCall`.
        sealed_password: As in `CreateCall`.
        address_format: As in `CreateCall`.
    """

    label: str
    algorithm: str
    private_key: bytes = field(default=b"", repr=False)
    public_key: bytes = b""
    secret_key: bytes = field(default=b"", repr=False)
    certificate: bytes = b""
    attributes: Mapping[str, bool] | None = None
    policy: Policy | None = None
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: tuple[str, ...] = ()
    allowed_algorithms: tuple[str, ...] = ()
    sealed_password: bytes = field(default=b"", repr=False)
    address_format: str = ""
