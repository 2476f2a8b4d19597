"""The mark in certificates of approvers whose keys a server made for them (R23).

Such a key was in other hands before it was its officer's. The certificate says so by a certificate policy of its own,
so that whoever reads a policy, or lints one, sees which of the listed keys were never made at the officer's side.

Source: RFC 5280 section 4.2.1.4 (certificate policies); ITU-T X.667 (2.25, identifiers made of a UUID);
docs/security/rules.md R23; docs/adr/0113.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from cryptography import x509

SERVER_MADE: Final = x509.ObjectIdentifier("2.25.270791096801025263532015903641943792203")
"""Certificate policy "the key was made on the server side, by approver management"."""


@lru_cache(maxsize=1024)
def is_server_made(certificate: bytes) -> bool:
    """Whether a certificate says that a server made its key.

    Args:
        certificate: X.509 certificate, DER.

    Returns:
        Whether it bears the mark. One that cannot be read bears none.
    """
    try:
        policies = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(
            x509.CertificatePolicies
        )
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    return any(policy.policy_identifier == SERVER_MADE for policy in policies.value)
