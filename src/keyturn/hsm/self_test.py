"""The self test at start: known answers before the first real key is touched.

It finds a broken or mismatched library (a wrong build, a bad update, a CPU that computes nonsense), not an attacker. A
failure stops the start with `self-test.failed`.

It costs every start some 30 milliseconds, so it tests what OpenSSL does within a millisecond or two: RSA, the curves,
Ed25519, DSA, HMAC and the block and stream ciphers. Keys of the other kinds (post-quantum ones, BLS, keys with a state)
are made by few and would cost more than all of these.

The RSA and DSA keys below were made for this test alone and protect nothing; of the second only the public half is
left. The other vectors are public.

Source: RFC 8032 section 7.1 (Ed25519 test 1), RFC 6979 section A.2.5 (P-256, SHA-256, message "sample"), FIPS 197
appendix C.1 (AES), NIST's GCM test case 2, RFC 3713 appendix A (Camellia), NIST SP 800-67 appendix B.1 (TDEA), RFC 8439
sections 2.4.2 and 2.8.2 (ChaCha20).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa

from keyturn.crypto.ciphers import CipherParameters, decrypt
from keyturn.crypto.keys import CURVES, SecretKey, public_spki
from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
_DSA_P: Final = (
    "90cae3e1b02300ff9e63526dd7751e6849c1c9038c88731f5a9cebd625355980af1303ad82afb9e35db124d28ec1c9657917"
    "ece14027dad4c3237d666fb42930693515a716a0962bbdb83937dedc2b656142a52341344950c6afd382c7d10c01c4712986"
    "69044d43739a12280a8136f787acf213463cf4fedae070969fef0ba0f0c9efdd0bd2f5b000ac94399409f64653f8c0f15869"
    "655dfd4e5c6329c7a2386afb2b2a80e5d6b1553ecd449e81ea683e5ae1087a72d9b4e9d2d9a8ff87765505d9bf0eeff3e81b"
    "20b14aae67571b52e451bd96126e3216c2c5ae43d6c90308544cf706568a38e25b3757268eb0d2b680f195ddaca180fc2c46"
    "acaec05d9fb1"
)
_DSA_Q: Final = "9cddff0495a31e4dbd954eb41c39403649ac6fc87647d8742f1596be77087edb"
_DSA_G: Final = (
    "78d329beac2eec9824e675bf58b2d3622e853d58aef663420708a1825a08ae673cfdd1ebe8dae00a7121ee80e094efc9c63d"
    "d235782d1d182d4f7ecc34c89a0d9bdadb0338aa880fcd3a8750c58f9bd0d1eb53cc5954c0e3252dc5d2129047ebcae7c496"
    "fed5c7ba8f11b8eabcec4c0756b8e1ef7c79d528d3b35bb43f3df8bb41f9fb1dce3f13ab064d3248bc9a575f47f727a6f63c"
    "61681daba70e105fc5eaf4ef4c9cbaa3fde5571a045ee96a28d534492dacb57237a61b28203d26c6699fae6ea5e1e824c5c6"
    "6aca2e3a0ee3cce6b9727cfc4715aba1e2d1abdb586f250608b211c5603b6c231eb623238c865bd73f6fe2b919eb57d50be3"
    "275af079188b"
)
_DSA_PUBLIC: Final = (
    "76abf0698f0b0d859ddf20d86f402948710f3e5fd4aec01ae9e027b6ff4c03bf26bb7f2013b8a056fc63e119c214d9306892"
    "7e94fe09e366b22e373f464e9fc13a077440a52b534316e5ff7180e2013ddca8a58246e97666fae911f82b7a3f1be1b1a37e"
    "3fe538c3b8990f5d3555c73020f309ab9951f655a0833c6280c79fcaa4012617e758aacf4864f162af254463f1bc4b49a765"
    "d3b098a0e988e11d8bd6c7670a2b8e399379b543e3b77a0aedf492ad44f27882253b7a6ed38e194e5bf62b8813f8263e8dc1"
    "8cb5b909f625c9955cf0f6caf6552285ea966473301bf4a6eea0e10b41dabdfb8d39e8c3c9daeeff998ae2121bf02bba4fbc"
    "17a9d252825e"
)
_DSA_SIGNATURE: Final = (
    "4e2e04d87b18ca664800e03370608dcb4efa9a27498e9d26aebcfb46e580d160403f3cd4fd28e53459c7f1f72893aa9dc056"
    "e001f59d665863db76cf52a88607"
)
"""Of `_MESSAGE`, with SHA-256."""
_HMAC: Final = "7f67dfe17790460cbc245698421885277bfd3d3376fc666935686c5adf9e4413"
"""Of `_MESSAGE` under the octets 0 to 31, by Python's own `hmac`: the keys of RFC 4231 have other lengths than ours."""
_SUNSCREEN: Final = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
"""What RFC 8439 encrypts."""


@dataclass(frozen=True, slots=True)
class _Ciphertext:
    """A public vector of a cipher; all but the plaintext in hexadecimal digits."""

    cipher: str
    kind: str
    key: str
    ciphertext: str
    plaintext: bytes
    iv: str = ""
    aad: str = ""


_CIPHERTEXTS: Final = (
    _Ciphertext(
        *("AES_ECB", "AES", "000102030405060708090a0b0c0d0e0f", "69c4e0d86a7b0430d8cdb78070b4c55a"),
        bytes.fromhex("00112233445566778899aabbccddeeff"),
    ),
    _Ciphertext(
        *("AES_GCM", "AES", "00" * 16, "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"),
        bytes(16),
        iv="00" * 12,
    ),
    _Ciphertext(
        *("CAMELLIA_ECB", "Camellia", "0123456789abcdeffedcba9876543210", "67673138549669730857065648eabe43"),
        bytes.fromhex("0123456789abcdeffedcba9876543210"),
    ),
    _Ciphertext(
        *("TDEA_ECB", "TDEA", "0123456789abcdef23456789abcdef01456789abcdef0123"),
        "a826fd8ce53b855fcce21c8112256fe668d5c05dd9b6b900",
        b"The qufck brown fox jump",
    ),
    _Ciphertext(
        *("CHACHA20", "ChaCha20", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"),
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0bf91b65c5524733ab8f593dabcd62b3571639d624e65152ab"
        "8f530c359f0861d807ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab77937365af90bbf74a35be6b40b8eedf2785e42"
        "874d",
        _SUNSCREEN,
        iv="01000000000000000000004a00000000",
    ),
    _Ciphertext(
        *("CHACHA20_AEAD", "ChaCha20", "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b29"
        "05d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b"
        "61161ae10b594f09e26a7e902ecbd0600691",
        _SUNSCREEN,
        iv="070000004041424344454647",
        aad="50515253c0c1c2c3c4c5c6c7",
    ),
)


def run_self_test() -> None:
    """Compute all known answers and compare; some 30 milliseconds.

    Raises:
        KeyturnError: `self-test.failed` with the family that failed.
    """
    for family, holds in _checks():
        try:
            good = holds()
        except Exception as error:
            # Whatever it is: a library that cannot do this is not the one that this program needs.
            raise _failed(family) from error
        if not good:
            raise _failed(family)


def _checks() -> Iterator[tuple[str, Callable[[], bool]]]:
    """What is tested, by family."""
    yield "RSA", lambda: _signs(_rsa_key(), "SHA256_WITH_RSA", _MESSAGE, _RSA_SIGNATURE)
    yield "P-256", lambda: _signs(_p256_key(), "SHA256_WITH_ECDSA_DETERMINISTIC", b"sample", _P256_SIGNATURE)
    yield "Ed25519", lambda: _signs(_ed_key(), "EDDSA", b"", _ED25519_SIGNATURE)
    for curve in CURVES.values():
        yield curve.name, partial(_signs_on, curve.instance)
    yield "DSA", _dsa
    yield "HMAC", lambda: sign(SecretKey("HMACSHA256", bytes(range(32))), "HMAC_SHA256", _MESSAGE).hex() == _HMAC
    for one in _CIPHERTEXTS:
        yield one.cipher, partial(_decrypts, one)


_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _rsa_key() -> rsa.RSAPrivateKey:
    p, q, e = int(_RSA_P, 16), int(_RSA_Q, 16), 65537
    d = rsa.rsa_recover_private_exponent(e, p, q)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _p256_key() -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(_P256_KEY, ec.SECP256R1())


def _ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(_ED25519_KEY))


def _signs_on(curve: ec.EllipticCurve) -> bool:
    return _signs(ec.generate_private_key(curve), "SHA256_WITH_ECDSA", _MESSAGE)


def _dsa() -> bool:
    """No known signature comes again, as each takes a random number; loading a private key takes five milliseconds."""
    p, q, g, y = (int(number, 16) for number in (_DSA_P, _DSA_Q, _DSA_G, _DSA_PUBLIC))
    spki = public_spki(dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key())
    return _verifies(spki, "SHA256_WITH_DSA", _MESSAGE, bytes.fromhex(_DSA_SIGNATURE))


def _signs(key: _Key, algorithm: str, message: bytes, expected: str = "") -> bool:
    """Whether a key signs as it should, and its public half knows what it has signed."""
    signature = sign(key, algorithm, message, "RAW")
    return expected in ("", signature.hex()) and _verifies(public_spki(key), algorithm, message, signature)


def _verifies(spki: bytes, algorithm: str, message: bytes, signature: bytes) -> bool:
    """Whether a signature is valid, and none of another message."""
    verify(spki, algorithm, message, signature, signature_type="RAW")
    try:
        verify(spki, algorithm, message + b"!", signature, signature_type="RAW")
    except KeyturnError as error:
        return error.code is ErrorCode.INVALID_SIGNATURE
    return False


def _decrypts(one: _Ciphertext) -> bool:
    iv, aad = (bytes.fromhex(text) or None for text in (one.iv, one.aad))
    key, ciphertext = SecretKey(one.kind, bytes.fromhex(one.key)), bytes.fromhex(one.ciphertext)
    return decrypt(key, one.cipher, ciphertext, CipherParameters(iv, aad)) == one.plaintext


def _failed(family: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.HSM_FAILURE,
        f"the self test of {family} failed: the cryptographic library does not compute what it should; do not use "
        f"this installation",
        refusal="self-test.failed",
    )
