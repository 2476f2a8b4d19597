"""Keys of stateful hash-based signatures: LMS and the two parameter sets of XMSS.

What the store holds of such a key never changes: which index comes next stands beside it (`keyturn.hsm.stateful`). The
key itself never leaves, because a copy would sign with the same indices: there is no PKCS#8 of it.

Source: NIST SP 800-208 section 7 (state and export); RFC 9802 (public keys); rest-api.md section 4.1.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, NoReturn

from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.base import KeySpec, KeyType, named_alone
from keyturn.crypto.lms import IDENTIFIER, LmsPrivateKey, LmsPublicKey
from keyturn.crypto.lms import LEAVES as LMS_LEAVES
from keyturn.crypto.xmss import LEAVES as XMSS_LEAVES
from keyturn.crypto.xmss import SHA256, SHAKE256, N, XmssPrivateKey, XmssPublicKey
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from keyturn.crypto.xmss import XmssParameters

LMS_OID: Final = "1.2.840.113549.1.9.16.3.17"
XMSS_OID: Final = "1.3.6.1.5.5.7.6.34"

StatefulPrivateKey = LmsPrivateKey | XmssPrivateKey
StatefulPublicKey = LmsPublicKey | XmssPublicKey


def _never_leaves(_: Any) -> NoReturn:
    raise KeyturnError(
        ErrorCode.OPERATION_FORBIDDEN_FOR_KEY,
        "A key of LMS or XMSS signs once with each of its indices; a copy would sign with the same ones, so it is "
        "neither exported nor wrapped.",
        refusal="stateful.no-copy",
    )


def _never_arrives(_: bytes) -> NoReturn:
    raise KeyturnError(
        ErrorCode.UNSUPPORTED_OPERATION,
        "A private key of LMS or XMSS cannot be imported: nobody can know which of its indices have served. Make one "
        "here.",
        refusal="stateful.no-copy",
    )


LMS: Final = KeyType(
    name="LMS",
    oid=LMS_OID,
    reported="HSS-LMS",
    slow=True,
    signatures=LMS_LEAVES,
    private_class=LmsPrivateKey,
    public_class=LmsPublicKey,
    check=named_alone("LMS"),
    generate=lambda _: LmsPrivateKey.make(secrets.token_bytes(N), secrets.token_bytes(IDENTIFIER)),
    to_stored=lambda key: key.private_bytes(),
    from_stored=LmsPrivateKey.from_bytes,
    public_of=lambda key: key.public,
    to_spki=lambda key: raw.spki(LMS_OID, key.public_bytes),
    from_spki=lambda der: LmsPublicKey.from_bytes(raw.spki_content(der)),
    spec_of=lambda _: KeySpec("LMS"),
    spki_oids=(LMS_OID,),
    from_pkcs8=_never_arrives,
    to_pkcs8=_never_leaves,
)


def _xmss(parameters: XmssParameters, spki_oids: tuple[str, ...]) -> KeyType:
    return KeyType(
        name=parameters.name,
        oid=XMSS_OID,
        reported="XMSS",
        slow=True,
        signatures=XMSS_LEAVES,
        private_class=XmssPrivateKey,
        public_class=XmssPublicKey,
        check=named_alone(parameters.name),
        generate=lambda _: XmssPrivateKey.make(parameters, *(secrets.token_bytes(N) for _ in range(3))),
        to_stored=lambda key: key.private_bytes(),
        from_stored=XmssPrivateKey.from_bytes,
        public_of=lambda key: key.public,
        to_spki=lambda key: raw.spki(XMSS_OID, key.public_bytes),
        from_spki=lambda der: XmssPublicKey.from_bytes(raw.spki_content(der)),
        spec_of=lambda key: KeySpec(key.algorithm),
        spki_oids=spki_oids,
        from_pkcs8=_never_arrives,
        to_pkcs8=_never_leaves,
    )


STATEFUL: Final = (
    LMS,
    # Both sets share one OID; the key itself says which one it is, and either entry reads it.
    _xmss(SHA256, (XMSS_OID,)),
    _xmss(SHAKE256, ()),
)
"""The entries."""
