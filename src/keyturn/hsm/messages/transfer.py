"""Messages that bring key material in or out, and those about passwords of keys."""

from __future__ import annotations

import msgspec

from keyturn.hsm.messages.base import Message


class CheckPassword(Message, frozen=True, tag="check-password"):
    """Ask whether a password opens a key, before a request waits days for approvals (R27). Answer: `Done`.

    Wrong tries are limited per key, here as everywhere.

    Args:
        label: Label of the key.
        sealed_password: The password, sealed; empty for none.
    """

    label: str
    sealed_password: bytes = b""


class ChangePassword(Message, frozen=True, tag="change-password"):
    """Give a modifiable key another password, a first one, or none. Answer: `Done`.

    On a key with a policy it passes only if ruleModify needs no approvals (R28).

    Args:
        operation_id: 16 bytes.
        label: Label of the key.
        new_sealed_password: The new password, sealed for this label; empty for none.
        sealed_password: The one so far, sealed; empty for none.
    """

    operation_id: bytes
    label: str
    new_sealed_password: bytes
    sealed_password: bytes = b""


class ExportKey(Message, frozen=True, tag="export"):
    """Ask for a key's material in the clear. Answer: `Exported`.

    The key is extractable and not sensitive, and has no policy (R4).

    Args:
        label: Label of the key.
        sealed_password: Its password, sealed; empty for none.
    """

    label: str
    sealed_password: bytes = b""


class Exported(Message, frozen=True, tag="exported"):
    """Key material.

    Args:
        private_key: PKCS#8, DER; empty for a symmetric key.
        public_key: SPKI, DER; empty for a symmetric key.
        secret_key: Bytes of a symmetric key; empty for others.
    """

    private_key: bytes
    public_key: bytes
    secret_key: bytes

    def __repr__(self) -> str:
        return "Exported(…)"


class ImportKey(Message, frozen=True, tag="import"):
    """Take in a key that was made elsewhere, its public half, or its certificate. Answer: `Attested`.

    A public key or a certificate on a label that has a private key must belong to that key (R18); it replaces what the
    label had of the kind.

    Args:
        operation_id: 16 bytes.
        label: Label.
        algorithm: API name of the kind of key; empty where a certificate says it.
        private_key: PKCS#8, or a bare RSA key, DER; empty for none.
        public_key: SPKI, DER; empty for none.
        secret_key: Bytes of a symmetric key; empty for none.
        certificate: X.509 certificate, DER; empty for none.
        attributes: As in `CreateKey`; None where there is neither private nor secret key.
        policy: As in `CreateKey`.
        blocked: As in `CreateKey`.
        key_id: As in `CreateKey`.
        allowed_operations: As in `CreateKey`.
        allowed_algorithms: As in `CreateKey`.
        sealed_password: The new key's password, sealed for its label; empty for none.
        address_format: As in `CreateKey`.
    """

    operation_id: bytes
    label: str
    algorithm: str
    private_key: bytes
    public_key: bytes
    secret_key: bytes
    certificate: bytes
    attributes: dict[str, bool] | None
    policy: bytes = b""
    blocked: bool = False
    key_id: str | None = None
    allowed_operations: list[str] = msgspec.field(default_factory=list)
    allowed_algorithms: list[str] = msgspec.field(default_factory=list)
    sealed_password: bytes = b""
    address_format: str = ""

    def __repr__(self) -> str:
        return "ImportKey(…)"
