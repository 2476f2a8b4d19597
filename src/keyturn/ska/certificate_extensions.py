"""What the extensions of a certificate say, by the names of the API. All of them, so that nothing is signed unseen.

Source: RFC 5280 section 4.2; rest-api.md section 4.10; docs/security/rules.md R11, R17.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from cryptography import x509

from keyturn.errors import FormatError
from keyturn.ska import der

if TYPE_CHECKING:
    from keyturn.ska.to_be_signed import ToBeSigned

MAX_EXTENSIONS: Final = 64
KEY_USAGES: Final = {
    "DIGITAL_SIGNATURE": "digital_signature",
    "CONTENT_COMMITMENT": "content_commitment",
    "KEY_ENCIPHERMENT": "key_encipherment",
    "DATA_ENCIPHERMENT": "data_encipherment",
    "KEY_AGREEMENT": "key_agreement",
    "KEY_CERT_SIGN": "key_cert_sign",
    "CRL_SIGN": "crl_sign",
    "ENCIPHER_ONLY": "encipher_only",
    "DECIPHER_ONLY": "decipher_only",
}
"""Key usages by their API names (rest-api.md section 4.10), and what the library calls them."""
_NEED_AGREEMENT: Final = frozenset({"ENCIPHER_ONLY", "DECIPHER_ONLY"})

EXTENDED_KEY_USAGES: Final = {
    "ANY_EXTENDED_KEY_USAGE": "2.5.29.37.0",
    "SERVER_AUTH": "1.3.6.1.5.5.7.3.1",
    "CLIENT_AUTH": "1.3.6.1.5.5.7.3.2",
    "CODE_SIGNING": "1.3.6.1.5.5.7.3.3",
    "EMAIL_PROTECTION": "1.3.6.1.5.5.7.3.4",
    "TIME_STAMPING": "1.3.6.1.5.5.7.3.8",
    "OCSP_SIGNING": "1.3.6.1.5.5.7.3.9",
}
"""Extended key usages by their API names, and their OIDs."""
_USAGE_NAMES: Final = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}
NAME_WORDS: Final = {
    x509.NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
    x509.NameOID.EMAIL_ADDRESS: "email",
    x509.NameOID.TITLE: "title",
    x509.NameOID.SURNAME: "surname",
    x509.NameOID.GIVEN_NAME: "givenName",
    x509.NameOID.INITIALS: "initials",
    x509.NameOID.PSEUDONYM: "pseudonym",
    x509.NameOID.GENERATION_QUALIFIER: "generationQualifier",
}
"""Words for parts of names that have no short form in RFC 4514."""


@dataclass(frozen=True, slots=True)
class OtherExtension:
    """An extension without words of its own.

    Args:
        oid: Dotted.
        critical: Whether whoever does not know it must refuse the certificate.
        value: Its content, DER.
    """

    oid: str
    critical: bool
    value: bytes


def with_extensions(bare: ToBeSigned, extensions: x509.Extensions) -> ToBeSigned:
    """Add what the extensions say.

    Args:
        bare: What was read of the rest.
        extensions: As the library read them.

    Returns:
        All of it.

    Raises:
        FormatError: There are too many.
    """
    if len(extensions) > MAX_EXTENSIONS:
        raise FormatError(f"It has more than {MAX_EXTENSIONS} extensions.")
    authority, path_length, key_id, issuer_id = False, None, b"", b""
    usages: tuple[str, ...] = ()
    extended: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    others = []
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints() as constraints:
                authority, path_length = constraints.ca, constraints.path_length
            case x509.KeyUsage() as usage:
                usages = key_usage_names(usage)
            case x509.ExtendedKeyUsage() as purposes:
                extended = tuple(_USAGE_NAMES.get(purpose.dotted_string, purpose.dotted_string) for purpose in purposes)
            case x509.SubjectAlternativeName() as alternative:
                names = tuple(_name_text(name) for name in alternative)
            case x509.SubjectKeyIdentifier() as identifier:
                key_id = identifier.digest
            case x509.AuthorityKeyIdentifier(
                key_identifier=bytes() as issuer_id, authority_cert_issuer=None, authority_cert_serial_number=None
            ):
                pass
            case value:
                others.append(OtherExtension(extension.oid.dotted_string, extension.critical, value.public_bytes()))
    return replace(
        bare,
        certificate_authority=authority,
        path_length=path_length,
        key_usages=usages,
        extended_key_usages=extended,
        names=names,
        subject_key_id=key_id,
        authority_key_id=issuer_id,
        others=tuple(others),
    )


def key_usage_names(usage: x509.KeyUsage) -> tuple[str, ...]:
    """The API names of a key usage extension.

    Args:
        usage: The extension's value.
    """
    # The library refuses to be asked for the last two where there is no key agreement.
    return tuple(
        name
        for name, attribute in KEY_USAGES.items()
        if (usage.key_agreement or name not in _NEED_AGREEMENT) and getattr(usage, attribute)
    )


def _name_text(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case x509.UniformResourceIdentifier():
            return f"URI:{name.value}"
        case x509.RFC822Name():
            return f"EMAIL:{name.value}"
        case x509.OtherName():
            return f"OTHERNAME:{name.type_id.dotted_string};{_utf8_string(name.value)}"
        case x509.DirectoryName():
            return f"DIRECTORY:{name.value.rfc4514_string(NAME_WORDS)}"
        case _:
            return f"OTHER:{name.value}"


def _utf8_string(value: bytes) -> str:
    """The text of a UTF8String, or any other value in hexadecimal."""
    try:
        return "UTF8:" + der.DERReader(value, "name").take(0x0C).decode()
    except (FormatError, UnicodeDecodeError):
        return value.hex()
