"""Approver keys: which ones may stand in a policy, and who is the same person (rule R13).

An approver *is* a public key. Its identity is the one normal form of that key, so that a certificate and its bare
key, RSA under either object identifier, or a compressed and an uncompressed point are one and the same. Finding an
identity is cheap and done for every signer; the checks of strength cost more and are done only for keys that are
listed in a policy.

Source: docs/security/rules.md R13; decisions 20; RFC 5280 section 4.1, RFC 3279 section 2.3, RFC 5480, RFC 8410,
RFC 8017 section 3.1; docs/adr/0125 (BLS).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.errors import ErrorCode, FormatError
from keyturn.ska import der
from keyturn.ska.bls import BLS_OID, BlsPublicKey
from keyturn.ska.judgements import judgement_of
from keyturn.ska.key_strength import check_dsa, check_ed25519, check_rsa

MAX_SPKI: Final = 4096
"""Largest public key in bytes; an RSA key of 8192 bits has about 1060, a DSA key of 3072 bits about 1230."""

MAX_CERTIFICATE: Final = 16384
"""Largest certificate in bytes; what is read is remembered, and this bounds how much."""

KeyKind = Literal["RSA", "EC", "ED", "DSA", "BLS"]
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | dsa.DSAPublicKey | BlsPublicKey

_RSA: Final = der.encode_oid("1.2.840.113549.1.1.1")
_RSA_PSS: Final = der.encode_oid("1.2.840.113549.1.1.10")
_EC: Final = der.encode_oid("1.2.840.10045.2.1")
_ED25519: Final = der.encode_oid("1.3.101.112")
_DSA: Final = der.encode_oid("1.2.840.10040.4.1")
_BLS: Final = der.encode_oid(BLS_OID)
_NULL: Final = der.encode(der.NULL, b"")
_COMMON_NAME: Final = der.encode_oid("2.5.4.3")

_CURVES: Final[dict[bytes, ec.EllipticCurve]] = {
    der.encode_oid("1.3.132.0.33"): ec.SECP224R1(),
    der.encode_oid("1.3.132.0.10"): ec.SECP256K1(),
    der.encode_oid("1.2.840.10045.3.1.7"): ec.SECP256R1(),
    der.encode_oid("1.3.132.0.34"): ec.SECP384R1(),
    der.encode_oid("1.3.132.0.35"): ec.SECP521R1(),
    der.encode_oid("1.3.36.3.3.2.8.1.1.7"): ec.BrainpoolP256R1(),
    der.encode_oid("1.3.36.3.3.2.8.1.1.11"): ec.BrainpoolP384R1(),
    der.encode_oid("1.3.36.3.3.2.8.1.1.13"): ec.BrainpoolP512R1(),
}
"""The curves of rest-api.md section 4.2 that can be computed here; all have cofactor 1."""
_POINT_FORMS: Final = (0x02, 0x03, 0x04)
_STRINGS: Final = {
    0x0C: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}


@dataclass(frozen=True, eq=False)
class ApproverKey:
    """A public key that may stand in a policy.

    Args:
        identity: The key in normal form: DER SubjectPublicKeyInfo; equal for all spellings of one key.
        public_key: The same key, ready for verifying.
        kind: `RSA`, `EC`, `ED`, `DSA` or `BLS`.
        fingerprint: SHA-256 of `identity`, 64 hexadecimal digits.
    """

    identity: bytes
    public_key: PublicKey
    kind: KeyKind
    fingerprint: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApproverKey) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)


@lru_cache(maxsize=8192)
def identity_of(spki: bytes) -> bytes:
    """Bring a public key into its normal form, without judging its strength.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The identity: named curve and uncompressed point for EC, `rsaEncryption` with NULL for RSA.

    Raises:
        FormatError: `approver.malformed-key` (407) or `approver.unsupported-key` (601).
    """
    return _read(spki)[0]


def public_key_of(spki: bytes) -> PublicKey:
    """Read a public key without judging its strength; cheap whatever the key.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The key.

    Raises:
        FormatError: As `identity_of`.
    """
    return _read(spki)[1]


@lru_cache(maxsize=1024)
def read_approver_key(spki: bytes) -> ApproverKey:
    """Read the key of whoever turns up, without judging its strength; cheap whatever the key.

    Anybody may be able to sign for such a key. That gives nobody anything: only listed keys have a say, and those were
    judged when they entered their policy, and are again by the HSM.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The key.

    Raises:
        FormatError: As `identity_of`.
    """
    identity, key, kind = _read(spki)
    return ApproverKey(identity, key, kind, hashlib.sha256(identity).hexdigest())


@lru_cache(maxsize=4096)
def load_approver_key(spki: bytes) -> ApproverKey:
    """Load a public key that is to stand, or stands, in a policy, and check that nobody else can sign for it.

    Args:
        spki: DER SubjectPublicKeyInfo, at most `MAX_SPKI` bytes.

    Returns:
        The key.

    Raises:
        FormatError: `approver.malformed-key` (407) for what is no public key, `approver.unsupported-key` (601) for
            a type or curve that cannot approve, `approver.weak-key` (600) for one that is too weak (R13).
    """
    known = read_approver_key(spki)
    judgement = judgement_of(spki)
    if judgement is not None:
        if judgement.refusal:
            raise FormatError(judgement.message, code=ErrorCode[judgement.code], refusal=judgement.refusal)
        return known
    key = known.public_key
    if isinstance(key, rsa.RSAPublicKey):
        rsa_numbers = key.public_numbers()
        check_rsa(rsa_numbers.n, rsa_numbers.e)
    elif isinstance(key, dsa.DSAPublicKey):
        dsa_numbers = key.public_numbers()
        domain = dsa_numbers.parameter_numbers
        check_dsa(domain.p, domain.q, domain.g, dsa_numbers.y)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        check_ed25519(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return known


@lru_cache(maxsize=1024)
def certificate_spki(certificate: bytes) -> bytes:
    """Take the public key out of a certificate. Dates, chain and signature are not looked at (wire format 9.13).

    Args:
        certificate: DER X.509 certificate.

    Returns:
        Its SubjectPublicKeyInfo as it stands there.

    Raises:
        FormatError: `approver.malformed-certificate` (409).
    """
    return _certificate_parts(certificate)[1]


def load_approver_certificate(certificate: bytes) -> ApproverKey:
    """Load the public key of a certificate as `load_approver_key` does.

    Args:
        certificate: DER X.509 certificate.

    Returns:
        The key; the same person as its bare key.

    Raises:
        FormatError: As `certificate_spki` and `load_approver_key`.
    """
    return load_approver_key(certificate_spki(certificate))


@lru_cache(maxsize=1024)
def certificate_name(certificate: bytes) -> str:
    """Find the name under which a certificate's holder approves: the subject's common name.

    Args:
        certificate: DER X.509 certificate.

    Returns:
        The common name; the last one, which is the most specific, where there are several.

    Raises:
        FormatError: `approver.malformed-certificate` (409), or 604 `approver.no-name` if there is none.
    """
    try:
        names = list(_common_names(_certificate_parts(certificate)[0]))
    except UnicodeDecodeError:
        raise _bad_certificate("its subject is not text") from None
    if not names or not names[-1]:
        raise FormatError(
            "The approver's certificate has no common name (CN) in its subject; use one that has, or list the bare "
            "public key with a name.",
            code=ErrorCode.NO_NAME_FOR_CERTIFICATE_APPROVER,
            refusal="approver.no-name",
        )
    return names[-1]


def _read(spki: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    if len(spki) > MAX_SPKI:
        raise _bad_key(f"it has {len(spki)} bytes, more than {MAX_SPKI}")
    try:
        reader = der.sequence_of(spki, "public key")
        algorithm = der.DERReader(reader.take(der.SEQUENCE), "public key")
        bits = reader.take_bits()
        reader.finish()
        oid = algorithm.take_any()[2]
        if oid in (_RSA, _RSA_PSS):
            return _read_rsa(algorithm, der.NULL if oid == _RSA else der.SEQUENCE, bits)
        if oid == _EC:
            return _read_ec(algorithm, bits)
        if oid == _ED25519:
            return _read_ed25519(algorithm, bits)
        if oid == _DSA:
            return _read_dsa(algorithm, bits)
        if oid == _BLS:
            return _read_bls(algorithm, bits)
    except FormatError as error:
        if error.refusal != "format.invalid":
            raise
        raise _bad_key(error.message) from None
    except ValueError:
        raise _bad_key("its numbers do not make a key") from None
    raise _unsupported("Only RSA, EC, Ed25519, DSA and BLS12-381 keys can approve.")


def _read_rsa(algorithm: der.DERReader, parameters: int, bits: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    # The parameters of RSASSA-PSS are dropped on purpose: they choose a padding, not another key (R13).
    if not algorithm.at_end() and algorithm.take(parameters) and parameters == der.NULL:
        raise FormatError("The public key holds a NULL with content.")
    algorithm.finish()
    body = der.sequence_of(bits, "RSA public key")
    n, e = body.take_unsigned(), body.take_unsigned()
    body.finish()
    _check_rsa_form(n, e)
    key = rsa.RSAPublicNumbers(e, n).public_key()
    return _spki(_RSA + _NULL, bits), key, "RSA"


def _check_rsa_form(n: int, e: int) -> None:
    """Refuse numbers that the library would refuse with a message nobody can act on."""
    if n.bit_length() < 1024 or not n & 1 or e < 3 or not e & 1 or e >= n:
        raise FormatError(
            "The RSA key is not sane: it needs an odd modulus of 2048 to 8192 bits and an odd exponent from 3 on.",
            refusal="approver.weak-key",
        )


def _read_ec(algorithm: der.DERReader, bits: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    curve_oid = algorithm.take_any()[2]
    algorithm.finish()
    curve = _CURVES.get(curve_oid)
    if curve is None:
        raise _unsupported(
            "EC approver keys lie on a named curve: P-224, P-256, P-384, P-521, secp256k1 or brainpoolP256r1, "
            "P384r1, P512r1."
        )
    if not bits or bits[0] not in _POINT_FORMS:
        raise _bad_key("its point is neither compressed nor uncompressed")
    key = ec.EllipticCurvePublicKey.from_encoded_point(curve, bits)
    if bits[0] != 0x04:
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _spki(_EC + curve_oid, bits), key, "EC"


def _read_ed25519(algorithm: der.DERReader, bits: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    algorithm.finish()
    return _spki(_ED25519, bits), ed25519.Ed25519PublicKey.from_public_bytes(bits), "ED"


def _read_dsa(algorithm: der.DERReader, bits: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    domain = der.DERReader(algorithm.take(der.SEQUENCE), "DSA parameters")
    algorithm.finish()
    p, q, g = domain.take_unsigned(), domain.take_unsigned(), domain.take_unsigned()
    domain.finish()
    value = der.DERReader(bits, "DSA public key")
    y = value.take_unsigned()
    value.finish()
    key = dsa.DSAPublicNumbers(y, dsa.DSAParameterNumbers(p, q, g)).public_key()
    parameters = der.encode(der.SEQUENCE, b"".join(der.encode_unsigned(number) for number in (p, q, g)))
    return _spki(_DSA + parameters, bits), key, "DSA"


def _read_bls(algorithm: der.DERReader, bits: bytes) -> tuple[bytes, PublicKey, KeyKind]:
    # Reading is all the checking there is: curve, group, infinity, and that a point has one encoding.
    algorithm.finish()
    return _spki(_BLS, bits), BlsPublicKey(bits), "BLS"


def _spki(algorithm: bytes, bits: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, algorithm) + der.encode_bits(bits))


def _certificate_parts(certificate: bytes) -> tuple[bytes, bytes]:
    """Subject content and complete SubjectPublicKeyInfo (RFC 5280 section 4.1)."""
    if len(certificate) > MAX_CERTIFICATE:
        raise _bad_certificate(f"it has {len(certificate)} bytes, more than {MAX_CERTIFICATE}")
    try:
        outer = der.sequence_of(certificate, "certificate")
        body = der.DERReader(outer.take(der.SEQUENCE), "certificate")
        outer.take(der.SEQUENCE)
        outer.take_bits()
        outer.finish()
        if body.peek() == 0xA0:
            body.take(0xA0)
        body.take(der.INTEGER)
        for _ in ("signature algorithm", "issuer", "validity"):
            body.take(der.SEQUENCE)
        subject = body.take(der.SEQUENCE)
        tag, _, spki = body.take_any()
    except FormatError as error:
        raise _bad_certificate(error.message) from None
    if tag != der.SEQUENCE:
        raise _bad_certificate("its public key is missing")
    return subject, spki


def _common_names(subject: bytes) -> list[str]:
    names: list[str] = []
    try:
        relative_names = der.DERReader(subject, "certificate subject")
        while not relative_names.at_end():
            attributes = der.DERReader(relative_names.take(der.SET), "certificate subject")
            while not attributes.at_end():
                attribute = der.DERReader(attributes.take(der.SEQUENCE), "certificate subject")
                oid = attribute.take_any()[2]
                tag, value, _ = attribute.take_any()
                attribute.finish()
                if oid == _COMMON_NAME and tag in _STRINGS:
                    names.append(value.decode(_STRINGS[tag]))
    except FormatError as error:
        raise _bad_certificate(error.message) from None
    return names


def _bad_key(why: str) -> FormatError:
    return FormatError(
        f"This is no usable approver key: {why}. Give a DER SubjectPublicKeyInfo.",
        code=ErrorCode.PARSING_KEY,
        refusal="approver.malformed-key",
    )


def _bad_certificate(why: str) -> FormatError:
    return FormatError(
        f"This is no usable approver certificate: {why}. Give a DER X.509 certificate.",
        code=ErrorCode.PARSING_CERTIFICATE,
        refusal="approver.malformed-certificate",
    )


def _unsupported(why: str) -> FormatError:
    return FormatError(why, code=ErrorCode.UNSUPPORTED_APPROVER_KEY_TYPE, refusal="approver.unsupported-key")
