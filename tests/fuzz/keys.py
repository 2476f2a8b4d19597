"""Targets: public keys and certificates of approvers (R13), and private keys that come out of a wrapping."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from fuzz import people
from fuzz.harness import Target, refuse, require, same
from keyturn.crypto.imported_keys import checked_private_key
from keyturn.crypto.keys import SecretKey, private_key_to_der, public_spki
from keyturn.crypto.kinds import raw
from keyturn.crypto.wrapping import UnwrappedKey, unwrap, wrap
from keyturn.ska import der
from keyturn.ska.approver_keys import (
    ApproverKey,
    certificate_name,
    certificate_spki,
    identity_of,
    load_approver_certificate,
    load_approver_key,
)
from keyturn.ska.bls import BLS_OID, GENERATOR

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget
    from keyturn.crypto.keys import PrivateKey

KEK: Final = SecretKey("AES", bytes(range(32)))
_METHODS: Final = tuple(f"AES_WRAP{pad}{kind}" for pad in ("", "_PAD") for kind in ("", "_EC", "_ED", "_RSA"))


def _hold_key(data: bytes, key: ApproverKey) -> None:
    same(identity_of(key.identity), key.identity)
    same(load_approver_key(key.identity), key)
    same(identity_of(data), key.identity)
    if key.kind == "BLS":
        same(data, key.identity)
    _hold_against_library(data, key)


def _hold_against_library(data: bytes, key: ApproverKey) -> None:
    """Where the library reads the same bytes as a key, it is the same key."""
    try:
        other = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        return
    same(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key.identity)


def _certificate(data: bytes) -> tuple[ApproverKey, str]:
    return load_approver_certificate(data), certificate_name(data)


def _hold_certificate(data: bytes, found: tuple[ApproverKey, str]) -> None:
    key, name = found
    require(name.encode())
    require(certificate_spki(data) in data)
    try:
        other = x509.load_der_x509_certificate(data).public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return
    same(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key.identity)


def _hold_private(_data: bytes, key: PrivateKey) -> None:
    written = private_key_to_der(key)
    again = checked_private_key(written)
    same(public_spki(again), public_spki(key))
    same(private_key_to_der(again), written)


def _unwrapped(data: bytes) -> tuple[str, UnwrappedKey]:
    if not data:
        raise refuse("A method is missing.")
    method, content = _METHODS[data[0] % len(_METHODS)], data[1:]
    try:
        wrapped = (aes_key_wrap_with_padding if "_PAD" in method else aes_key_wrap)(KEK.value, content)
    except ValueError:
        raise refuse("Content of this length cannot be wrapped so.") from None
    return method, unwrap(KEK, method, wrapped)


def _hold_unwrapped(_data: bytes, found: tuple[str, UnwrappedKey]) -> None:
    method, key = found
    same(unwrap(KEK, method, wrap(KEK, method, key.private_key)), key)


def _pkcs8(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@cache
def _rsa() -> rsa.RSAPrivateKey:
    """An RSA key that is always the same: its primes are the first good ones behind two round numbers."""
    p, q, e = 3 * (1 << 1022) + 1037, 3 * (1 << 1022) + (1 << 1000) + 1011, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def _private_keys() -> tuple[bytes, ...]:
    curves = (ec.SECP256R1(), ec.SECP521R1(), ec.SECP256K1())
    elliptic = (_pkcs8(ec.derive_private_key(4711, curve)) for curve in curves)
    return (_pkcs8(_rsa()), _pkcs8(ed25519.Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)), *elliptic)


def _public_keys() -> tuple[bytes, ...]:
    curves = (ec.SECP224R1(), ec.SECP384R1(), ec.SECP256K1(), ec.BrainpoolP256R1())
    keys: list[rsa.RSAPublicKey | ec.EllipticCurvePublicKey] = [_rsa().public_key()]
    keys += (ec.derive_private_key(4711, curve).public_key() for curve in curves)
    point = (
        ec.derive_private_key(4711, ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
    algorithm = der.encode_oid("1.2.840.10045.2.1") + der.encode_oid("1.2.840.10045.3.1.7")
    return (
        *(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in keys),
        people.spki("eve"),
        raw.spki(BLS_OID, GENERATOR),
        der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, algorithm) + der.encode_bits(point)),
    )


def _wrapped() -> list[bytes]:
    def inputs(method: str) -> bytes:
        content = {"EC": _private_keys()[2], "ED": _private_keys()[1], "RSA": _private_keys()[0]}.get(
            method.rpartition("_")[2], bytes(32)
        )
        filling = b"" if "_PAD" in method else bytes(-len(content) % 8)
        return bytes([_METHODS.index(method)]) + content + filling

    return [inputs(method) for method in _METHODS]


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("keys.public", load_approver_key, _hold_key, _public_keys),
    Target("keys.certificate", _certificate, _hold_certificate, lambda: map(people.certificate, people.PEOPLE)),
    Target("keys.private", checked_private_key, _hold_private, _private_keys),
    Target("keys.unwrapped", _unwrapped, _hold_unwrapped, _wrapped),
)
