"""One key of each kind, made once."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.crypto.keys import CURVES, ED25519_OID, PrivateKey, generate, make_spec


@pytest.fixture(scope="session")
def keys() -> dict[str, PrivateKey]:
    """Keys by kind; EC keys by the curve's name."""
    made = {curve.name: generate(make_spec("EC", oid, 0)) for oid, curve in CURVES.items()}
    return made | {
        "RSA": generate(make_spec("RSA", "", 2048)),
        "ED": generate(make_spec("ED", ED25519_OID, 0)),
        "DSA": generate(make_spec("DSA", "", 2048)),
        "BLS": generate(make_spec("BLS", "", 0)),
    }


@pytest.fixture(scope="session")
def rsa_key(keys: dict[str, PrivateKey]) -> rsa.RSAPrivateKey:
    """The RSA key among them."""
    key = keys["RSA"]
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
