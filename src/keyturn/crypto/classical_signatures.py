"""The signature algorithms of RSA, EC, ED, DSA, BLS and HMAC keys, as entries of the registry.

Source: rest-api.md section 4.3, decisions 24, 26, 31 and 33.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import (
    SHA1,
    SHA3_224,
    SHA3_256,
    SHA3_384,
    SHA3_512,
    SHA224,
    SHA256,
    SHA384,
    SHA512,
    HashAlgorithm,
)

from keyturn.crypto.bls_signatures import Bls
from keyturn.crypto.dsa_signatures import Dsa
from keyturn.crypto.ethereum import EthereumEcdsa
from keyturn.crypto.macs import HmacSha256
from keyturn.crypto.schemes import (
    Ecdsa,
    EcdsaOverBytes,
    EdDsa,
    RsaPkcs1,
    RsaPkcs1OverBytes,
    RsaPssByLength,
    keccak,
    rsa_pss,
    sha256,
)
from keyturn.crypto.schnorr import Bip340
from keyturn.crypto.signature_entry import ANY_LENGTH, SignatureAlgorithm, hashing, over_digest
from keyturn.crypto.single_meaning import DIGEST_LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ECDSA_DIGEST: Final = 64
"""Most bytes that `NONE_WITH_ECDSA` takes (decisions 33)."""
_SHA_2: Final[dict[str, tuple[str, HashAlgorithm]]] = {
    "SHA1": ("SHA-1", SHA1()),  # noqa: S303 - Documented for ordinary keys (decisions 26).
    "SHA224": ("SHA-224", SHA224()),
    "SHA256": ("SHA-256", SHA256()),
    "SHA384": ("SHA-384", SHA384()),
    "SHA512": ("SHA-512", SHA512()),
}
_SHA_3: Final[dict[str, tuple[str, HashAlgorithm]]] = {
    "SHA3224": ("SHA3-224", SHA3_224()),
    "SHA3256": ("SHA3-256", SHA3_256()),
    "SHA3384": ("SHA3-384", SHA3_384()),
    "SHA3512": ("SHA3-512", SHA3_512()),
}


def entries() -> Iterator[SignatureAlgorithm]:
    """The signature algorithms of these keys."""
    for word, (digest, function) in _SHA_2.items():
        size = function.digest_size
        yield hashing(f"{word}_WITH_RSA", "RSA", digest, size, RsaPkcs1(function))
        yield over_digest(f"NONE{word}_WITH_RSA", "RSA", digest, size, RsaPkcs1(Prehashed(function)))
        yield hashing(f"{word}_WITH_RSA_PSS", "RSA", digest, size, rsa_pss(function))
        if word != "SHA1":  # The API has no NONESHA1_WITH_RSA_PSS.
            yield over_digest(f"NONE{word}_WITH_RSA_PSS", "RSA", digest, size, rsa_pss(function, prehashed=True))
    yield SignatureAlgorithm(
        "NONE_WITH_RSA", ("RSA",), "", prehashed=True, digest_size=0, lengths=ANY_LENGTH, scheme=RsaPkcs1OverBytes()
    )
    yield SignatureAlgorithm(
        "NONE_WITH_RSA_PSS",
        ("RSA",),
        "",
        prehashed=True,
        digest_size=0,
        lengths=DIGEST_LENGTHS | {SHA1.digest_size},
        scheme=RsaPssByLength(),
    )
    for word, (digest, function) in (_SHA_2 | _SHA_3).items():
        yield hashing(f"{word}_WITH_ECDSA", "EC", digest, function.digest_size, Ecdsa(ECDSA(function)))
    yield hashing(
        "SHA256_WITH_ECDSA_DETERMINISTIC", "EC", "SHA-256", 32, Ecdsa(ECDSA(SHA256(), deterministic_signing=True))
    )
    yield hashing("DOUBLE_SHA256_WITH_ECDSA", "EC", "SHA-256", 32, Ecdsa(ECDSA(SHA256()), before=sha256))
    for same_size in (SHA224(), SHA256(), SHA384(), SHA512()):
        bits = 8 * same_size.digest_size
        scheme = Ecdsa(ECDSA(Prehashed(same_size)), before=keccak(bits))
        entry = hashing(f"KECCAK{bits}_WITH_ECDSA", "EC", f"KECCAK-{bits}", same_size.digest_size, scheme)
        if bits == 256:
            entry = replace(entry, scheme=EthereumEcdsa(scheme), forms=("DER", "RAW", "ETH"))
        yield entry
    yield SignatureAlgorithm(
        "NONE_WITH_ECDSA",
        ("EC",),
        "",
        prehashed=True,
        digest_size=0,
        lengths=frozenset(range(1, MAX_ECDSA_DIGEST + 1)),
        scheme=EcdsaOverBytes(),
    )
    yield SignatureAlgorithm(
        "NONE_WITH_EC_SCHNORR_BIP0340",
        ("EC",),
        "",
        prehashed=True,
        digest_size=32,
        lengths=frozenset({32}),
        scheme=Bip340(),
        options=frozenset({"auxiliary_random", "taproot_tweak", "merkle_root"}),
    )
    yield hashing("EDDSA", "ED", "", 0, EdDsa())
    for word, (digest, function) in _SHA_2.items():
        yield hashing(f"{word}_WITH_DSA", "DSA", digest, function.digest_size, Dsa(function))
    yield SignatureAlgorithm(
        "NONE_WITH_DSA",
        ("DSA",),
        "",
        prehashed=True,
        digest_size=0,
        lengths=DIGEST_LENGTHS | {SHA1.digest_size},
        scheme=Dsa(),
    )
    yield hashing("BLS", "BLS", "", 0, Bls())
    yield hashing("HMAC_SHA256", "HMACSHA256", "SHA-256", 32, HmacSha256())
