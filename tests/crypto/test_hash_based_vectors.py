"""Published vectors of SLH-DSA and XMSS: what NIST and others signed, and the keys they made of which seeds."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from keyturn.crypto.kinds.slh_dsa import SlhDsaPublicKey
from keyturn.crypto.schemes import SignOptions
from keyturn.crypto.xmss import PARAMETERS, XmssPrivateKey, XmssPublicKey
from keyturn_testing.one_bit import accepts, one_bit_less

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "hash_based.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["slh_dsa"], ids=lambda v: f"{v['kind']}-{v['algorithm']}")
def test_slh_dsa_accepts_nists_signatures_and_one_bit_less_not(vector: dict[str, Any]) -> None:
    key = SlhDsaPublicKey(vector["kind"], b64decode(vector["public"]))
    message, signature = b64decode(vector["message"]), b64decode(vector["signature"])
    options, algorithm = SignOptions(context=b64decode(vector["context"])), vector["algorithm"]
    assert accepts(key, algorithm, message, signature, options)
    assert not accepts(key, algorithm, one_bit_less(message), signature, options)
    for place in (0, len(signature) // 2, len(signature) - 1):
        assert not accepts(key, algorithm, message, one_bit_less(signature, place), options)
    assert not accepts(key, algorithm, message, signature, SignOptions(context=b"another"))
    other = "SLH_DSA" if algorithm != "SLH_DSA" else "SHA2_256_WITH_SLH_DSA"
    assert not accepts(key, other, message, signature, options)


@pytest.mark.parametrize("vector", VECTORS["xmss"], ids=lambda v: v["algorithm"])
def test_xmss_accepts_what_others_signed_and_one_bit_less_not(vector: dict[str, Any]) -> None:
    key = XmssPublicKey.from_bytes(b64decode(vector["public"]))
    message, signature = b64decode(vector["message"]), b64decode(vector["signature"])
    assert key.algorithm == vector["algorithm"]
    assert accepts(key, key.algorithm, message, signature)
    assert not accepts(key, key.algorithm, one_bit_less(message), signature)
    for place in (3, 4, 40, 2499):
        assert not accepts(key, key.algorithm, message, one_bit_less(signature, place))


@pytest.mark.slow
@pytest.mark.parametrize("vector", [v for v in VECTORS["xmss"] if "secret" in v], ids=lambda v: v["algorithm"])
def test_xmss_makes_the_key_of_others_and_their_very_signature(vector: dict[str, Any]) -> None:
    """PRF_keygen included: of the three seeds comes the same root, and of the index the same 2 500 bytes."""
    public, signature = b64decode(vector["public"]), b64decode(vector["signature"])
    private = XmssPrivateKey.make(
        PARAMETERS[int.from_bytes(public[:4], "big")],
        b64decode(vector["secret"]),
        b64decode(vector["secret_prf"]),
        public[-32:],
    )
    assert private.public_bytes == public
    assert private.sign(b64decode(vector["message"]), int.from_bytes(signature[:4], "big")) == signature
