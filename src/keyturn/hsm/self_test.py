"""The self test at start: known answers for every family of keys, before the first real key is touched.

It finds a broken or mismatched library (a wrong build, a bad update, a CPU that computes nonsense), not an attacker. A
failure stops the start with `self-test.failed`.

The RSA key below was made for this test alone and protects nothing. The other vectors are public.

Source: RFC 8032 section 7.1 (Ed25519 test 1), RFC 6979 section A.2.5 (P-256, SHA-256, message "sample").
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from keyturn.crypto.keys import CURVES, public_spki
from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, KeyturnError

_RSA_P: Final = (
    "ddc102f3eca76255fb992bda865de58b1aa13ce8e4763f4181213109be2468a76bd43545e1a8780dd018b7780f8de7326789"
    "01c06e8ffa16e1020267930396a2813041bc486c368a4675abcfdbf407ef9a72cf961ae3228c4cd157b4832b8f99cd1286a2"
    "3c972a261f6f64509fed13f21ee6351bde101ce50b8b2e5a1e7a93c7"
)
_RSA_Q: Final = (
    "d288f26ae3b1cf02bacb55b21b7d40d0f1c29b8c87f18f47be448c927715459f5cad2955cc7d6a04c0c49d57f202d77baf81"
    "0babc89c59b07a9a7fbcd8157c390e4a7cb95407434cb9be002d1ae3f7af8c47c0d1ecfb6a8850d7695cba0abc66f34356c2"
    "ac33c3330e13924bbc1a7be241768a907136a3318680ea5c0f1835a1"
)
_RSA_SIGNATURE: Final = (
    "43638cffc022753294c594fad1461ca86a6afe70ea2b86efe2008bed1b4de50f382143ea20f5cba40a5d77f0dbe7b6495bee"
    "3d50c8b47053f99be623c8710273b85cdfbb5c8fe76a17b988a8811933067d1b972d9c179dfaab1036335e8b608d0fc7c6ca"
    "32ce297b8146701d8b72056faa691ae5d32340cf1fee44fb70a4f48764b7d704396adde3a86bc9f01d5c94cbde2242c9e1dd"
    "bdeba54a26e8eb7a51987ef633e04aca4fe0ba2f2ec0b3d8be621680a112527c4c6b4664e2af8dfbc009b2f17485b9706641"
    "225d202397bfa7c11847316d2ea5be206287c7178d77f4fca2dd9932cf40da5cf89ad331f6d671c057c80984336a01434462"
    "0873a0d11d7d"
)
"""Of `_MESSAGE`, by `_RSA_P` and `_RSA_Q` with exponent 65537, PKCS#1 v1.5 with SHA-256."""
_MESSAGE: Final = b"keyturn self test"

_ED25519_KEY: Final = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
_ED25519_SIGNATURE: Final = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
    "d25bf5f0595bbe24655141438e7a100b"
)
_P256_KEY: Final = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
_P256_SIGNATURE: Final = (
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
)


def run_self_test() -> None:
    """Compute all known answers and compare; a few milliseconds.

    Raises:
        KeyturnError: `self-test.failed` with the family that failed.
    """
    _known_answer("RSA", _rsa_key(), "SHA256_WITH_RSA", _MESSAGE, _RSA_SIGNATURE)
    p256 = ec.derive_private_key(_P256_KEY, ec.SECP256R1())
    _known_answer("P-256", p256, "SHA256_WITH_ECDSA_DETERMINISTIC", b"sample", _P256_SIGNATURE)
    ed = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(_ED25519_KEY))
    _known_answer("Ed25519", ed, "EDDSA", b"", _ED25519_SIGNATURE)
    for curve in CURVES.values():
        key = ec.generate_private_key(curve.instance)
        _check_verification(curve.name, key, "SHA256_WITH_ECDSA", sign(key, "SHA256_WITH_ECDSA", _MESSAGE), _MESSAGE)


_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _rsa_key() -> rsa.RSAPrivateKey:
    p, q, e = int(_RSA_P, 16), int(_RSA_Q, 16), 65537
    d = rsa.rsa_recover_private_exponent(e, p, q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _known_answer(family: str, key: _Key, algorithm: str, message: bytes, expected: str) -> None:
    signature = sign(key, algorithm, message, "RAW")
    if signature.hex() != expected:
        raise _failed(family)
    _check_verification(family, key, algorithm, signature, message)


def _check_verification(family: str, key: _Key, algorithm: str, signature: bytes, message: bytes) -> None:
    spki = public_spki(key)
    verify(spki, algorithm, message, signature)
    try:
        verify(spki, algorithm, message + b"!", signature)
    except KeyturnError as error:
        if error.code is ErrorCode.INVALID_SIGNATURE:
            return
    raise _failed(family)


def _failed(family: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.HSM_FAILURE,
        f"the self test of {family} failed: the cryptographic library does not compute what it should; do not use "
        f"this installation",
        refusal="self-test.failed",
    )
