"""Blockchain addresses of keys: the bytes that stand in an address, without network, version and checksum.

How a client spells them (Base58, bech32, `G…`, `0x…`) is its own affair; the bytes are what a key decides.

Source: rest-api.md sections 3.1 and 4.9; BIP 141 (BTC), Ethereum Yellow Paper section 4.2 (ETH), XRPL "Accounts",
"Address Encoding" (XRP), SEP-23 (XLM).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.crypto.keys import CURVES_BY_NAME, ED25519_OID, load_public_key
from keyturn.crypto.schemes import keccak
from keyturn.errors import ErrorCode, KeyturnError

SECP256K1_OID: Final = CURVES_BY_NAME["secp256k1"].oid
ADDRESS_FORMATS: Final = {
    "BTC": (SECP256K1_OID,),
    "ETH": (SECP256K1_OID,),
    "XRP": (SECP256K1_OID, ED25519_OID),
    "XLM": (ED25519_OID,),
}
"""Formats to the curves, by OID, whose keys have such addresses."""
_ED25519_PREFIX: Final = b"\xed"
"""What stands for Ed25519 in front of a public key on the XRP Ledger."""
_SHOWN: Final = 32


def check_address_format(name: str, curve_oid: str) -> str:
    """Check that a key can have addresses of a format.

    Args:
        name: The API's `addressFormat.format`.
        curve_oid: Curve of the key, dotted OID; "" for kinds without one.

    Returns:
        The same name.

    Raises:
        KeyturnError: 605 `address.iota`, `address.format`, or `address.curve`.
    """
    if name == "IOTA":
        raise _refused(
            "addresses of IOTA are hashes of ISS keys (Winternitz signatures over Curl), which the network has given "
            "up and which are not available here",
            "iota",
        )
    curves = ADDRESS_FORMATS.get(name)
    if curves is None:
        shown = ascii(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")
        raise _refused(f"{shown} is not known; available are {', '.join(ADDRESS_FORMATS)}", "format")
    if curve_oid not in curves:
        raise _refused(f"{name} addresses are for keys on the curve {' or '.join(curves)}", "curve")
    return name


def address_of(name: str, spki: bytes) -> bytes:
    """The address of a key.

    Args:
        name: A format of `ADDRESS_FORMATS`, checked for the key's curve.
        spki: The public key, DER SubjectPublicKeyInfo.

    Returns:
        BTC, XRP: 20 bytes, RIPEMD-160 of SHA-256 of the compressed public key (of the prefixed one for Ed25519). ETH:
        the last 20 bytes of Keccak-256 of both coordinates. XLM: the 32 bytes of the public key.

    Raises:
        KeyturnError: 605 `address.format`, `address.curve`.
    """
    key = load_public_key(spki)
    if isinstance(key, Ed25519PublicKey):
        check_address_format(name, ED25519_OID)
        raw = key.public_bytes_raw()
        return raw if name == "XLM" else _hash160(_ED25519_PREFIX + raw)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp256k1":
        raise _refused("a key of this kind has none", "curve")
    check_address_format(name, SECP256K1_OID)
    if name == "ETH":
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        return keccak(256)(point)[-20:]
    return _hash160(key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint))


def _hash160(data: bytes) -> bytes:
    # OpenSSL 3 has RIPEMD-160 among its legacy algorithms, which many builds leave out. Loaded when first needed.
    from Crypto.Hash import RIPEMD160

    return RIPEMD160.new(sha256(data).digest()).digest()


def _refused(message: str, word: str) -> KeyturnError:
    return KeyturnError(ErrorCode.UNSUPPORTED_CRYPTOCURRENCY, f"addressFormat: {message}", refusal=f"address.{word}")
