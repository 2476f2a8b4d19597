"""SubjectPublicKeyInfo and PKCS#8 of keys whose numbers are plain bytes and whose algorithm has no parameters.

Source: RFC 5280 section 4.1, RFC 5958 section 2; RFC 9909 (SLH-DSA), RFC 9935 (ML-KEM) and RFC 9802 (HSS-LMS, XMSS)
use exactly these forms.
"""

from __future__ import annotations

from typing import Final

from keyturn.ska.der import (
    INTEGER,
    OID,
    SEQUENCE,
    DERReader,
    encode,
    encode_bits,
    encode_oid,
    encode_unsigned,
    sequence_of,
)

OCTET_STRING: Final = 0x04


def spki(oid: str, content: bytes) -> bytes:
    """Write SubjectPublicKeyInfo.

    Args:
        oid: Dotted algorithm OID.
        content: The public key's bytes.

    Returns:
        DER.
    """
    return encode(SEQUENCE, encode(SEQUENCE, encode_oid(oid)) + encode_bits(content))


def spki_content(der: bytes) -> bytes:
    """Read SubjectPublicKeyInfo.

    Args:
        der: DER.

    Returns:
        The public key's bytes.

    Raises:
        FormatError: When it is none, has parameters, or something stands behind it.
    """
    reader = sequence_of(der, "public key")
    _require_no_parameters(reader.take(SEQUENCE))
    content = reader.take_bits()
    reader.finish()
    return content


def pkcs8(oid: str, content: bytes) -> bytes:
    """Write PKCS#8, version 1.

    Args:
        oid: Dotted algorithm OID.
        content: The private key's bytes.

    Returns:
        DER, not encrypted.
    """
    return encode(SEQUENCE, encode_unsigned(0) + encode(SEQUENCE, encode_oid(oid)) + encode(OCTET_STRING, content))


def pkcs8_content(der: bytes) -> bytes:
    """Read PKCS#8; attributes and a public key behind the private one are passed over.

    Args:
        der: DER, not encrypted.

    Returns:
        The private key's bytes.

    Raises:
        FormatError: When it is none, or the algorithm has parameters.
    """
    reader = sequence_of(der, "private key")
    reader.take(INTEGER)
    _require_no_parameters(reader.take(SEQUENCE))
    return reader.take(OCTET_STRING)


def _require_no_parameters(algorithm: bytes) -> None:
    reader = DERReader(algorithm, "algorithm")
    reader.take(OID)
    reader.finish()
