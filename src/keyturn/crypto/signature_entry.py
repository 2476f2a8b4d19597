"""What an entry of the registry of signature algorithms says; `keyturn.crypto.registry` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keyturn.crypto.schemes import Form, Scheme

ANY_LENGTH: Final[frozenset[int]] = frozenset()
BOTH_FORMS: Final[tuple[Form, ...]] = ("DER", "RAW")


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """A signature algorithm.

    Args:
        name: Its API name.
        key_types: Kinds of keys it is for, by their API names.
        digest: Hash function as rest-api.md section 4.5 spells it, or `SHA-1`; "" where the algorithm names none.
        prehashed: Whether the payload is a digest (or, for `NONE_WITH_RSA`, whatever is to be padded).
        digest_size: Bytes of that digest, 0 where the algorithm names none.
        lengths: Payload lengths it takes, in bytes; `ANY_LENGTH` for all.
        scheme: What does the work.
        options: Fields of `SignOptions` that it takes.
        forms: Forms of signatures it makes; the words of `signatureType`.
    """

    name: str
    key_types: tuple[str, ...]
    digest: str
    prehashed: bool
    digest_size: int
    lengths: frozenset[int]
    scheme: Scheme
    options: frozenset[str] = frozenset()
    forms: tuple[Form, ...] = BOTH_FORMS


def hashing(name: str, key_type: str, digest: str, size: int, scheme: Scheme) -> SignatureAlgorithm:
    """An entry that hashes the payload, or takes it whole."""
    return SignatureAlgorithm(
        name, (key_type,), digest, prehashed=False, digest_size=size, lengths=ANY_LENGTH, scheme=scheme
    )


def over_digest(name: str, key_type: str, digest: str, size: int, scheme: Scheme) -> SignatureAlgorithm:
    """An entry whose payload is a digest of exactly `size` bytes."""
    return SignatureAlgorithm(
        name, (key_type,), digest, prehashed=True, digest_size=size, lengths=frozenset({size}), scheme=scheme
    )
