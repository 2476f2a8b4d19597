"""DSA and HMAC-SHA-256 against the vectors of NIST and RFC 4231."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any, Final

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyturn.crypto.imported_keys import checked_private_key
from keyturn.crypto.keys import SecretKey, private_key_to_der, public_spki
from keyturn.crypto.registry import sign, verify
from keyturn.errors import ErrorCode, FormatError, KeyturnError

ROOT: Final = Path(cryptography_vectors.__file__).parent
HMAC: Final = "HMAC_SHA256"


def _dsa_vectors() -> list[tuple[str, dict[str, int], bytes]]:
    """Of NIST's SigGen.txt: one of each hash for L=2048, N=256 and L=3072, N=256."""
    found: list[tuple[str, dict[str, int], bytes]] = []
    numbers, word, message = dict[str, int](), "", b""
    for line in (ROOT / "asymmetric/DSA/FIPS_186-3/SigGen.txt").read_text().splitlines():
        if match := re.match(r"\[mod = L=(\d+), N=(\d+), (SHA-\d+)\]", line):
            fits = match[1] in ("2048", "3072") and match[2] == "256"
            word = f"{match[3].replace('-', '')}_WITH_DSA" if fits else ""
        elif match := re.match(r"(\w+) = ([0-9a-f]+)$", line):
            if match[1] == "Msg":
                message = bytes.fromhex(match[2])
            numbers[match[1]] = int(match[2], 16)
            if match[1] == "S" and word and word not in {one[0] for one in found[-1:]}:
                found.append((word, dict(numbers), message))
    return found


DSA_VECTORS: Final = _dsa_vectors()


def test_there_are_dsa_vectors_of_every_hash() -> None:
    assert {name for name, _, _ in DSA_VECTORS} >= {f"SHA{bits}_WITH_DSA" for bits in (1, 224, 256, 384, 512)}


@pytest.mark.parametrize("number", range(len(DSA_VECTORS)))
def test_nists_dsa_signatures_verify_and_one_bit_more_does_not(number: int) -> None:
    name, numbers, message = DSA_VECTORS[number]
    key = dsa.DSAPublicNumbers(
        numbers["Y"], dsa.DSAParameterNumbers(numbers["P"], numbers["Q"], numbers["G"])
    ).public_key()
    raw = numbers["R"].to_bytes(32, "big") + numbers["S"].to_bytes(32, "big")
    verify(public_spki(key), name, message, raw, signature_type="RAW")
    verify(public_spki(key), name, message, raw)
    for wrong_message, wrong in (
        (message[:-1] + bytes([message[-1] ^ 1]), raw),
        (message, raw[:-1] + bytes([raw[-1] ^ 1])),
        (message, raw + b"\0"),
    ):
        with pytest.raises(KeyturnError) as refused:
            verify(key, name, wrong_message, wrong)
        assert refused.value.code is ErrorCode.INVALID_SIGNATURE
    with pytest.raises(KeyturnError):
        verify(key, name, message, raw, signature_type="DER")


def test_the_digests_of_dsa_are_named_by_their_length(keys: dict[str, Any]) -> None:
    key = keys["DSA"]
    for word in ("sha1", "sha224", "sha256", "sha384", "sha512"):
        signature = sign(key, "NONE_WITH_DSA", hashlib.new(word, b"data").digest())
        verify(public_spki(key), f"{word.upper()}_WITH_DSA", b"data", signature)
    for size in (0, 19, 31, 33, 65):
        with pytest.raises(KeyturnError) as refused:
            sign(key, "NONE_WITH_DSA", bytes(size))
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_PAYLOAD, "payload.digest-length")


def test_a_dsa_key_made_elsewhere_is_checked(keys: dict[str, Any]) -> None:
    good = keys["DSA"]
    assert isinstance(good, dsa.DSAPrivateKey)
    assert private_key_to_der(checked_private_key(private_key_to_der(good))) == private_key_to_der(good)
    private = good.private_numbers()
    public = private.public_numbers
    parameters = public.parameter_numbers
    p, q, g = parameters.p, parameters.q, parameters.g

    def der(p: int, q: int, g: int, x: int, y: int) -> bytes:
        numbers = dsa.DSAPrivateNumbers(x, dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)))
        return numbers.private_key().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    for numbers in ((p + 2 * q, q, g), (p, q, 1), (p, q, p - 1), (p, q - 2, g)):
        try:
            damaged = der(*numbers, private.x, pow(numbers[2], private.x, numbers[0]))
        except ValueError:
            continue  # The library refuses to write it.
        with pytest.raises(KeyturnError) as refused:
            checked_private_key(damaged)
        assert refused.value.code in (ErrorCode.PARSING_KEY, ErrorCode.KEY_SIZE)


def test_a_dsa_key_of_1024_bits_comes_in_with_the_switch_only() -> None:
    weak = private_key_to_der(dsa.generate_private_key(1024))  # noqa: S505 - The refusal is what is tested.
    with pytest.raises(KeyturnError) as refused:
        checked_private_key(weak)
    assert (refused.value.code, refused.value.refusal) == (ErrorCode.KEY_SIZE, "key.weak")
    assert private_key_to_der(checked_private_key(weak, allow_weak=True)) == weak
    with pytest.raises(FormatError):
        checked_private_key(weak[:-1], allow_weak=True)


# RFC 4231 sections 4.2 to 4.4, filled up with zeros to a key's least length (HMAC pads keys with zeros), and 4.5.
RFC_4231: Final = [
    (b"\x0b" * 20 + bytes(12), b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        b"Jefe" + bytes(28),
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (b"\xaa" * 20 + bytes(12), b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)) + bytes(7), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
]


@pytest.mark.parametrize(("secret", "message", "expected"), RFC_4231)
def test_the_vectors_of_rfc_4231(secret: bytes, message: bytes, expected: str) -> None:
    key, mac = SecretKey("HMACSHA256", secret), bytes.fromhex(expected)
    assert sign(key, HMAC, message) == mac == hmac.digest(secret, message, "sha256")
    verify(key, HMAC, message, mac)
    for wrong_message, wrong in (
        (message + b"\0", mac),
        (message, mac[:-1] + bytes([mac[-1] ^ 1])),
        (message, mac[:16]),
        (message, b""),
    ):
        with pytest.raises(KeyturnError) as refused:
            verify(key, HMAC, wrong_message, wrong)
        assert (refused.value.code, refused.value.refusal) == (ErrorCode.INVALID_SIGNATURE, "signature.invalid")


def test_hmac_keys_and_other_keys_do_not_mix(keys: dict[str, Any]) -> None:
    key = SecretKey("HMACSHA256", bytes(32))
    for use in (
        lambda: sign(keys["RSA"], HMAC, b"x"),
        lambda: sign(SecretKey("AES", bytes(32)), HMAC, b"x"),
        lambda: sign(key, "SHA256_WITH_RSA", b"x"),
        lambda: verify(public_spki(keys["RSA"]), HMAC, b"x", bytes(32)),
    ):
        with pytest.raises(KeyturnError) as refused:
            use()
        assert (refused.value.code, refused.value.refusal) == (
            ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY,
            "signature.wrong-key-type",
        )
    assert len(sign(key, HMAC, b"")) == 32
