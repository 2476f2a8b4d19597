"""Every entry of every registry has a judge that is not ours: published vectors, or another implementation.

A judge is named by the test in which it judges. An entry without one fails here; so does one whose test is gone.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from keyturn.crypto.addresses import ADDRESS_FORMATS
from keyturn.crypto.ciphers import CIPHER_ALGORITHMS
from keyturn.crypto.classical_signatures import entries
from keyturn.crypto.derivation import DERIVATION_CURVES
from keyturn.crypto.key_types import KEY_TYPES, SECRET_KEY_TYPES
from keyturn.crypto.registry import SIGNATURE_ALGORITHMS
from keyturn.crypto.wrapping import WRAP_METHODS

Judges = dict[str, set[str]]
"""From `file: test` to the entries that are judged there."""

DIGESTS: Final = [
    *(f"SHA2_{bits}" for bits in (224, 256, 384, 512)),
    *(f"SHA3_{bits}" for bits in (224, 256, 384, 512)),
    "SHAKE_128",
    "SHAKE_256",
]
OTHERS: Final = {"NONE_WITH_EC_SCHNORR_BIP0340", "BLS", "HMAC_SHA256"}

SIGNATURES: Final[Judges] = {
    # openssl; that test takes all classical entries but the three.
    "test_registry: test_openssl_accepts_what_we_sign_and_refuses_one_bit_more": {
        entry.name for entry in entries() if entry.name not in OTHERS
    },
    # BIP 340, RFC 4231.
    "test_schnorr: test_the_vectors_of_bip_340": {"NONE_WITH_EC_SCHNORR_BIP0340"},
    "test_dsa_and_hmac: test_the_vectors_of_rfc_4231": {"HMAC_SHA256"},
    # NIST for the pure form, pqcrypto for the others; FIPS 204's own formula for mu.
    "test_post_quantum: test_ml_dsa_takes_nists_keys_and_signatures": {"ML_DSA"},
    "test_post_quantum: test_ml_dsa_and_its_digests_are_accepted_by_another_library_and_the_other_way_round": {
        f"{digest}_WITH_ML_DSA" for digest in DIGESTS
    },
    "test_post_quantum: test_mu_is_signed_as_it_is_given": {"ML_DSA_M"},
    # NIST's ACVP server.
    "test_hash_based_vectors: test_slh_dsa_accepts_nists_signatures_and_one_bit_less_not": {
        "SLH_DSA",
        *(f"{digest}_WITH_SLH_DSA" for digest in DIGESTS),
    },
    # py-ecc, Bouncy Castle, two collections of SP 800-208.
    "test_bls: test_bls_agrees_with_py_ecc": {"BLS"},
    "test_post_quantum: test_lms_makes_the_key_of_another_implementation_and_accepts_its_signatures": {"LMS"},
    "test_hash_based_vectors: test_xmss_accepts_what_others_signed_and_one_bit_less_not": {
        "XMSS-SHA256_10_256",
        "XMSS-SHAKE256_10_256",
    },
}

KINDS: Final[Judges] = {
    # openssl reads what is made.
    "test_keys: test_openssl_reads_what_we_made": {"RSA", "EC", "ED"},
    "test_dsa_and_hmac: test_nists_dsa_signatures_verify_and_one_bit_more_does_not": {"DSA"},
    "test_bls: test_bls_agrees_with_py_ecc": {"BLS"},
    "test_post_quantum: test_ml_dsa_takes_nists_keys_and_signatures": {"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"},
    "test_post_quantum: test_ml_kem_agrees_with_another_library": {"ML-KEM-512", "ML-KEM-768", "ML-KEM-1024"},
    # Bouncy Castle, and NIST for the sets whose signatures are longest.
    "test_post_quantum: test_slh_dsa_accepts_what_another_implementation_signed": {
        "SLH-DSA-SHA2-128s",
        "SLH-DSA-SHA2-128f",
        "SLH-DSA-SHA2-192s",
        "SLH-DSA-SHA2-256s",
        "SLH-DSA-SHAKE-128s",
        "SLH-DSA-SHAKE-192s",
        "SLH-DSA-SHAKE-256s",
    },
    "test_hash_based_vectors: test_slh_dsa_accepts_nists_signatures_and_one_bit_less_not": {
        "SLH-DSA-SHA2-192f",
        "SLH-DSA-SHA2-256f",
        "SLH-DSA-SHAKE-128f",
        "SLH-DSA-SHAKE-192f",
        "SLH-DSA-SHAKE-256f",
    },
    "test_post_quantum: test_lms_makes_the_key_of_another_implementation_and_accepts_its_signatures": {"LMS"},
    "test_hash_based_vectors: test_xmss_makes_the_key_of_others_and_their_very_signature": {
        "XMSS-SHA256_10_256",
        "XMSS-SHAKE256_10_256",
    },
    "test_ciphers: test_published_aes_ciphertexts_decrypt_and_refuse_or_change_with_one_bit_more": {"AES"},
    "test_other_ciphers: test_camellia_as_ntt_published_it": {"Camellia"},
    "test_other_ciphers: test_tdea_with_three_keys_as_nist_has_it": {"TDEA"},
    "test_other_ciphers: test_chacha20_as_rfc_8439_has_it": {"ChaCha20"},
    "test_dsa_and_hmac: test_the_vectors_of_rfc_4231": {"HMACSHA256"},
}

CIPHERS: Final[Judges] = {
    # RSA Laboratories' and the cryptography project's vectors, NIST, RFC 3686; openssl besides.
    "test_ciphers: test_published_rsa_ciphertexts_decrypt_and_refuse_one_bit_more": {
        "RSA",
        "RSA_PADDING_PKCS",
        "RSA_PADDING_OAEP",
        *(f"RSA_PADDING_OAEP_WITH_SHA{bits}" for bits in (1, 224, 256, 384, 512)),
    },
    "test_ciphers: test_without_padding_a_published_pkcs1_ciphertext_shows_its_published_padding": {"RSA_NO_PADDING"},
    "test_ciphers: test_published_aes_ciphertexts_decrypt_and_refuse_or_change_with_one_bit_more": {
        "AES_CBC_NO_PADDING",
        "AES_CTR",
        "AES_ECB",
        "AES_GCM",
    },
    "test_ciphers: test_openssl_and_we_read_each_others_aes_ciphertexts": {"AES"},
    # NTT, OpenSSL's own vectors and program, NIST, RFC 8439, Wycheproof.
    "test_other_ciphers: test_camellia_as_ntt_published_it": {"CAMELLIA_ECB"},
    "test_other_ciphers: test_camellia_in_cbc_as_openssl_has_it": {"CAMELLIA_CBC_NO_PADDING"},
    "test_other_ciphers: test_tdea_with_three_keys_as_nist_has_it": {"TDEA_CBC_NO_PADDING", "TDEA_ECB"},
    "test_other_ciphers: test_openssl_and_we_pad_alike": {"CAMELLIA", "TDEA_CBC"},
    "test_other_ciphers: test_chacha20_as_rfc_8439_has_it": {"CHACHA20"},
    "test_other_ciphers: test_chacha20_poly1305_as_wycheproof_has_it": {"CHACHA20_AEAD"},
    "test_post_quantum: test_ml_kem_agrees_with_another_library": {"ML_KEM"},
}

WRAPPINGS: Final[Judges] = {
    # NIST, RFC 3394, RFC 5649; and openssl, in a test that takes all that there are.
    "test_wrapping: test_published_wrappings_open_and_refuse_one_bit_more": {"AES_WRAP", "AES_WRAP_PAD"},
    "test_wrapping: test_openssl_and_we_read_each_others_aes_wrappings": {
        f"AES_WRAP_{kind}" for kind in ("BLS", "DSA", "EC", "ED", "RSA")
    }
    | {f"AES_WRAP_PAD_{kind}" for kind in ("BLS", "DSA", "EC", "ED", "RSA")},
    "test_wrapping: test_openssl_and_we_read_each_others_rsa_wrappings": {"RSA_WRAP_OAEP", "RSA_WRAP_PAD"},
}

DERIVATIONS: Final[Judges] = {
    # SLIP-0010's vectors, which are BIP 32's for secp256k1; the package slip10 besides.
    "test_derivation: test_the_published_vectors": {"1.3.132.0.10", "1.2.840.10045.3.1.7", "1.3.101.112"},
}

ADDRESSES: Final[Judges] = {
    "test_addresses: test_btc_as_in_bip_173": {"BTC"},
    "test_addresses: test_eth_as_in_eip_155": {"ETH"},
    "test_addresses: test_xrp_as_in_the_ledgers_documentation": {"XRP"},
    "test_addresses: test_xlm_as_in_sep_23": {"XLM"},
}

REGISTRIES: Final = {
    "signatures": (SIGNATURE_ALGORITHMS, SIGNATURES),
    "kinds of keys": ({*KEY_TYPES, *SECRET_KEY_TYPES}, KINDS),
    "ciphers": (CIPHER_ALGORITHMS, CIPHERS),
    "wrap methods": (WRAP_METHODS, WRAPPINGS),
    "derivations": (DERIVATION_CURVES, DERIVATIONS),
    "addresses": (ADDRESS_FORMATS, ADDRESSES),
}


@cache
def names_of_tests(module: str) -> frozenset[str]:
    """Names of the tests in a file of this room."""
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_entry_has_a_judge_that_is_not_ours(name: str) -> None:
    registry, judges = REGISTRIES[name]
    judged: set[str] = set().union(*judges.values())
    assert set(registry) - judged == set(), "entries without a judge"
    assert judged - set(registry) == set(), "judges without an entry"


@pytest.mark.parametrize("name", REGISTRIES)
def test_every_judge_judges_in_a_test_that_is_there(name: str) -> None:
    for place in REGISTRIES[name][1]:
        module, _, test = place.partition(": ")
        assert test in names_of_tests(module), place
