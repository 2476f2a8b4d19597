"""Timestamps of RFC 3161: what a timestamping authority signs, and the response that carries it.

Pure construction by `asn1crypto`; who signs, with which time, is the HSM's business. Requests have no nonce and no
policy here, since the API carries neither.

Source: RFC 3161 (TSTInfo, TimeStampResp), RFC 5652 (SignedData), RFC 5816 (ESSCertIDv2 in timestamps), RFC 5035.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from keyturn.errors import ErrorCode, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

POLICY_OID: Final = "2.25.46464038159112984681958268463999329357"
"""The policy under which every timestamp is issued: the HSM's clock, as far as its administrator keeps it right
(docs/formats/rfc3161.md). An arc made of a UUID, which nobody assigns (X.667)."""

_DIGESTS: Final = {
    "SHA224": "sha224",
    "SHA256": "sha256",
    "SHA384": "sha384",
    "SHA512": "sha512",
    "SHA3224": "sha3_224",
    "SHA3256": "sha3_256",
    "SHA3384": "sha3_384",
    "SHA3512": "sha3_512",
}
_PREFIX: Final = "NONE"
"""Before a name: the payload is the digest itself, as in the names of signature algorithms."""


@dataclass(frozen=True, slots=True)
class Imprint:
    """What a timestamp is about.

    Args:
        algorithm: Name of the digest as `hashlib` has it.
        digest: The digest.
    """

    algorithm: str
    digest: bytes


def imprint_of(payload: bytes, hash_algorithm: str) -> Imprint:
    """Hash a payload.

    Args:
        payload: The data; or its digest, where the name begins with `NONE`.
        hash_algorithm: `SHA256`, `SHA-256`, `SHA3-256`, `NONESHA256`, …; case does not matter.

    Returns:
        The imprint.

    Raises:
        FormatError: 600 `timestamp.hash-algorithm`; 612 `timestamp.digest-length`.
    """
    name = hash_algorithm.upper().replace("-", "").replace("_", "")
    digest_given = name.startswith(_PREFIX)
    algorithm = _DIGESTS.get(name.removeprefix(_PREFIX))
    if algorithm is None:
        raise FormatError(
            f"Value {hash_algorithm[:40]!a} is not valid for field hashAlgorithm; possible: {', '.join(_DIGESTS)}, "
            "and each with NONE before it where the payload is the digest. SHA-1 is too weak to date anything with.",
            refusal="timestamp.hash-algorithm",
        )
    if not digest_given:
        return Imprint(algorithm, hashlib.new(algorithm, payload).digest())
    size = hashlib.new(algorithm).digest_size
    if len(payload) != size:
        raise FormatError(
            f"hashAlgorithm {name} takes a digest of {size} bytes as payload, not {len(payload)}; without NONE the "
            "payload is hashed here.",
            code=ErrorCode.INVALID_PAYLOAD,
            refusal="timestamp.digest-length",
        )
    return Imprint(algorithm, payload)


def timestamp_response(
    imprint: Imprint, *, serial: int, moment: int, certificate: bytes, sign: Callable[[bytes], bytes]
) -> bytes:
    """Make a granted response.

    Args:
        imprint: What is dated.
        serial: Serial number, unique for this authority, positive, at most 160 bits.
        moment: Seconds since the epoch.
        certificate: The authority's certificate, DER; it travels along.
        sign: Signs bytes with the certificate's key, ECDSA with SHA-256, DER.

    Returns:
        TimeStampResp, DER.
    """
    # Loaded when first needed: every HSM would start slower for it, and few date anything.
    from asn1crypto import algos, cms, core, tsp, x509  # type: ignore[import-untyped]  # It has none.

    authority = x509.Certificate.load(certificate)
    info = tsp.TSTInfo(
        {
            "version": "v1",
            "policy": POLICY_OID,
            "message_imprint": tsp.MessageImprint(
                {
                    "hash_algorithm": algos.DigestAlgorithm(
                        {"algorithm": imprint.algorithm, "parameters": core.Null()}
                    ),
                    "hashed_message": imprint.digest,
                }
            ),
            "serial_number": serial,
            "gen_time": datetime.fromtimestamp(moment, tz=UTC),
            "ordering": False,
        }
    ).dump()
    signed = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
            cms.CMSAttribute({"type": "message_digest", "values": [hashlib.sha256(info).digest()]}),
            cms.CMSAttribute(
                {
                    "type": "signing_certificate_v2",
                    "values": [
                        tsp.SigningCertificateV2(
                            {"certs": [tsp.ESSCertIDv2({"cert_hash": hashlib.sha256(certificate).digest()})]}
                        )
                    ],
                }
            ),
        ]
    )
    sha256 = algos.DigestAlgorithm({"algorithm": "sha256"})
    signer = cms.SignerInfo(
        {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                {
                    "issuer_and_serial_number": cms.IssuerAndSerialNumber(
                        {"issuer": authority.issuer, "serial_number": authority.serial_number}
                    )
                }
            ),
            "digest_algorithm": sha256,
            "signed_attrs": signed,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
            # Signed is the SET OF with its own tag, not the implicit one under which it stands (RFC 5652 section 5.4).
            "signature": sign(cms.CMSAttributes(signed).untag().dump()),
        }
    )
    token = cms.ContentInfo(
        {
            "content_type": "signed_data",
            "content": cms.SignedData(
                {
                    "version": "v3",
                    "digest_algorithms": [sha256],
                    "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(info)},
                    "certificates": [authority],
                    "signer_infos": [signer],
                }
            ),
        }
    )
    response: bytes = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump()
    return response
