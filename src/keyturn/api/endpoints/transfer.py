"""Key material that leaves or comes in, passwords of keys, and attestations as a package.

Source: rest-api.md sections 3.1 and 1.2; decisions 6; docs/security/rules.md R4, R18, R27, R28.
"""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.api.answers import Done, ExportedKey, SignedKeyAttributes
from keyturn.api.endpoints.derivation import address_format
from keyturn.api.endpoints.parts import chosen_attributes, chosen_limits, signed_attributes, text
from keyturn.api.fields import keyed_base64
from keyturn.api.http import Call, Reply, Route, Services
from keyturn.api.passwords import sealed_password
from keyturn.api.policies import new_policy
from keyturn.api.schemas.keys import KeyLabelBody
from keyturn.api.schemas.transfer import ChangePasswordBody, ImportKeyBody
from keyturn.broker.calls import ImportCall

if TYPE_CHECKING:
    from keyturn.ska.policy import Policy

_NOT_IN_FILE_NAMES: Final = re.compile(r"[^\w. -]|^\.+")
_WHEN: Final = (1980, 1, 1, 0, 0, 0)
"""Date of the entries of a package: there is none to tell, and the same package has the same bytes."""


async def change_password(services: Services, call: Call, body: ChangePasswordBody) -> Done:
    """Change a key's password, give it a first one, or take it away. The key must be modifiable.

    On a key with a policy this passes only if `ruleModify` needs no approvals.
    """
    del call
    old = await sealed_password(services, "password", body.label, body.password)
    new = await sealed_password(services, "newPassword", body.label, body.new_password)
    await services.broker.transfer.change_password(body.label, new, old)
    return Done()


async def export_key(services: Services, call: Call, body: KeyLabelBody) -> ExportedKey:
    """Export key material in the clear. The key must be extractable and not sensitive, and have no policy."""
    del call
    return await _exported(services, body.label, await sealed_password(services, "password", body.label, body.password))


async def export_key_by_path(services: Services, call: Call, body: None) -> ExportedKey:
    """Export key material in the clear; the old form, for keys without a password."""
    del body
    return await _exported(services, call.parameter, b"")


async def _exported(services: Services, label: str, password: bytes) -> ExportedKey:
    given = await services.broker.transfer.export(label, password)
    return ExportedKey(
        private_key=text(given.private_key) or None,
        public_key=text(given.public_key) or None,
        secret_key=text(given.secret_key) or None,
    )


async def import_key(services: Services, call: Call, body: ImportKeyBody) -> SignedKeyAttributes:
    """Import a key, a public key or a certificate that was made elsewhere. Answers the attested attributes.

    A public key or a certificate on an existing label replaces what stood there; where the label has a private key, it
    must belong to it.
    """
    del call
    policy: Policy | None = None
    blocked = False
    if body.policy is not None:
        policy, blocked = await new_policy(services, "policy", body.policy)
    attributes = body.attributes
    is_public = not (body.private_key or body.secret_key)
    limits = chosen_limits("attributes", attributes or {})
    return signed_attributes(
        await services.broker.transfer.import_key(
            ImportCall(
                label=body.label,
                algorithm=body.algorithm or "",
                private_key=keyed_base64("privateKey", body.private_key) or b"",
                public_key=keyed_base64("publicKey", body.public_key) or b"",
                secret_key=keyed_base64("secretKey", body.secret_key) or b"",
                certificate=keyed_base64("certificate", body.certificate) or b"",
                # What there is a public part of only has attributes of its own; those that clients send say nothing.
                attributes=None if attributes is None or is_public else chosen_attributes("attributes", attributes),
                policy=policy,
                blocked=blocked,
                key_id=body.id or None,
                address_format=address_format(body.address_format),
                sealed_password=await sealed_password(services, "password", body.label, body.password),
                **limits,
            )
        )
    )


async def key_attestation(services: Services, call: Call, body: KeyLabelBody) -> Reply:
    """Give a key's attestation as a package: the XML, its signature, the public key and the chain that verify it."""
    del call
    password = await sealed_password(services, "password", body.label, body.password)
    key = await services.broker.attested_key(body.label, password)
    chain = await services.broker.attestation_chain()
    device = x509.load_pem_x509_certificate(chain[0].encode())
    public_key = device.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    name = _NOT_IN_FILE_NAMES.sub("_", body.label)
    entries = {
        f"{name}.xml": key.xml.encode(),
        f"{name}.sig": key.signature,
        f"{name}.pem": public_key,
        "PrimusHSM_Attestation.crt": "".join(chain).encode("ascii"),
        "README.md": _README.format(name=name).encode(),
    }
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries.items():
            archive.writestr(zipfile.ZipInfo(entry, _WHEN), content, zipfile.ZIP_DEFLATED)
    # Labels may have letters that no header takes.
    headers = {"content-disposition": 'attachment; filename="attestation.zip"'}
    return Reply(package.getvalue(), "application/zip", headers=headers)


_README: Final = """# Attestation of the key "{name}"

`{name}.xml` is what the HSM says of the key, `{name}.sig` the signature of its attestation key (RSA, PKCS#1 v1.5,
SHA-256) over exactly these bytes, `{name}.pem` the public attestation key, `PrimusHSM_Attestation.crt` its certificate
chain, the device certificate first.

    openssl x509 -in PrimusHSM_Attestation.crt -pubkey -noout | diff - {name}.pem
    openssl dgst -sha256 -verify {name}.pem -signature {name}.sig {name}.xml

That the device is the right one shows only in a certificate that you got by another way than this package: compare

    openssl x509 -in PrimusHSM_Attestation.crt -fingerprint -sha256 -noout
"""


ROUTES: Final = (
    Route("POST", "/v1/key/changePassword", change_password, ChangePasswordBody, Done, tag="keys"),
    Route("POST", "/v1/key/export/plain", export_key, KeyLabelBody, ExportedKey, tag="keys", unsigned_use=True),
    Route(
        "GET",
        "/v1/key/{keyName}/export/plain",
        export_key_by_path,
        None,
        ExportedKey,
        tag="keys",
        deprecated=True,
        unsigned_use=True,
    ),
    Route("POST", "/v1/key/import/plain", import_key, ImportKeyBody, SignedKeyAttributes, 201, tag="keys"),
    Route(
        "POST",
        "/v1/key/keyAttestation",
        key_attestation,
        KeyLabelBody,
        tag="keys",
        media={"application/zip": "XML, signature, public key and chain of the attestation key, and how to verify"},
    ),
)
