"""Messages that encrypt data and wrap keys: with symmetric keys, or with the public part of others."""

from __future__ import annotations

from keyturn.hsm.messages.base import Message


class Encrypt(Message, frozen=True, tag="encrypt"):
    """Encrypt. Answer: `Encrypted`.

    Args:
        label: Label of the key.
        payload: The plaintext, at most 64 KiB.
        algorithm: API name of the cipher.
        aad: Additional authenticated data, None where there are none.
        tag_length: Length of the authentication tag in bits; 0 for the algorithm's own.
        sealed_password: Password of a symmetric key (`keyturn.ska.sealed_password`); empty for none.
    """

    label: str
    payload: bytes
    algorithm: str
    aad: bytes | None = None
    tag_length: int = 0
    sealed_password: bytes = b""


class Encrypted(Message, frozen=True, tag="encrypted"):
    """Encrypted data.

    Args:
        ciphertext: With the authentication tag at its end where there is one.
        iv: Initialization vector, made by the HSM; None where the cipher has none.
        mac: The authentication tag; None where the cipher has none.
    """

    ciphertext: bytes
    iv: bytes | None
    mac: bytes | None


class Wrap(Message, frozen=True, tag="wrap"):
    """Wrap a key with another. Answer: `Wrapped`.

    Args:
        label: Label of the wrapping key.
        method: API name of the wrap method.
        wrapped_label: Label of the key that is wrapped; extractable, and without a policy (R4).
        wrapped_sealed_password: Its password; empty for none.
        sealed_password: Password of the wrapping key, where that is symmetric; empty for none.
    """

    label: str
    method: str
    wrapped_label: str
    wrapped_sealed_password: bytes = b""
    sealed_password: bytes = b""


class Wrapped(Message, frozen=True, tag="wrapped"):
    """A wrapped key."""

    wrapped_key: bytes
