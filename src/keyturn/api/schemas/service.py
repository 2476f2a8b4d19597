"""Bodies about what the HSM gives beside operations with keys.

Source: rest-api.md sections 3.3 (files) and 3.9.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from keyturn.api.schemas.common import Body, NonEmpty, Password, RequiredBase64, SignableBody


class DataObjectAttributes(Body, frozen=True, rename="camel"):
    """What may be done with a data object; what is absent is true for a new one, and stays for one that exists."""

    private: bool | None = None
    modifiable: bool | None = None
    destroyable: bool | None = None


class DataObjectBody(Body, frozen=True, rename="camel"):
    """A data object: at most 64 KiB that are kept under a name."""

    name: NonEmpty
    value: RequiredBase64
    attributes: DataObjectAttributes | None = None


class RfcTimestampBody(Body, frozen=True, rename="camel"):
    """What is to be dated."""

    payload: RequiredBase64
    hash_algorithm: Annotated[
        NonEmpty,
        Meta(
            description="Hash of the payload that is dated: `SHA224`, `SHA256`, `SHA384`, `SHA512`, `SHA3-224`, "
            "`SHA3-256`, `SHA3-384`, `SHA3-512`, with or without strokes; `NONESHA256` and so on where the payload is "
            "the digest itself"
        ),
    ]


class FileEncryptRequest(Body, frozen=True, rename="camel"):
    """For which key a file is encrypted: EC on curve 1.3.132.0.34 with the attribute `derive`, without a policy."""

    encrypt_key_name: NonEmpty


class SignedFileEncryptRequest(SignableBody, frozen=True, rename="camel", kw_only=True):
    """The JSON part beside a file that is to be encrypted."""

    file_encrypt_request: FileEncryptRequest


class FileDecryptRequest(Body, frozen=True, rename="camel"):
    """With which key a file is decrypted."""

    decrypt_key_name: NonEmpty
    key_password: Password = None


class SignedFileDecryptRequest(SignableBody, frozen=True, rename="camel", kw_only=True):
    """The JSON part beside a file that is to be decrypted."""

    file_decrypt_request: FileDecryptRequest
