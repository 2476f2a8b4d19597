"""pycose, written by others, judges our COSE_Sign1."""

from __future__ import annotations

import zlib

import cbor2
import pytest
from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys.curves import Ed25519
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from keyturn.transport import cose
from keyturn.transport.bundle import Bundle, open_bundle, seal_bundle
from keyturn_testing.carriers import ALICE, BOB, BODY, REQUEST_ID, good_fields


def sealed(body: bytes = BODY * 9) -> bytes:
    made = Bundle(
        kind="request", request_id=REQUEST_ID, sender=ALICE.public, recipient=BOB.public, sequence=7, body=body
    )
    return seal_bundle(made, ALICE)


def judged(data: bytes, public: bytes) -> tuple[Sign1Message, bool]:
    tagged = cbor2.loads(data)
    assert tagged.tag == Sign1Message.cbor_tag
    # `CoseMessage.decode` of pycose 1.1 wants mutable types where cbor2 6 gives immutable ones inside a tag.
    protected, unprotected, payload, signature = tagged.value
    message = Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)
    message.key = OKPKey(crv=Ed25519, x=public)
    return message, bool(message.verify_signature())


def test_pycose_verifies_what_we_seal() -> None:
    message, valid = judged(sealed(), ALICE.public)
    assert valid
    assert message.phdr[Algorithm] is EdDSA
    assert message.phdr[KID] == cose.key_id(ALICE.public)
    assert message.phdr[ContentType] == cose.CONTENT_CBOR_DEFLATE
    assert message.uhdr == {}
    assert message.payload is not None
    assert cbor2.loads(zlib.decompress(message.payload)) == good_fields(BODY * 9)


def test_pycose_refuses_it_under_another_key_and_after_a_change() -> None:
    assert not judged(sealed(), BOB.public)[1]
    changed = bytearray(sealed())
    changed[-100] ^= 1
    assert not judged(bytes(changed), ALICE.public)[1]


@pytest.mark.parametrize("seed", ["one", "two"])
def test_we_open_what_pycose_seals(seed: str) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes((seed * 32)[:32].encode())
    public = private.public_key().public_bytes_raw()
    fields = good_fields() | {"sender": public}
    message = Sign1Message(
        phdr={Algorithm: EdDSA, ContentType: cose.CONTENT_CBOR, KID: cose.key_id(public)},
        uhdr={},
        payload=cbor2.dumps(fields, canonical=True),
    )
    message.key = OKPKey(crv=Ed25519, d=private.private_bytes_raw(), x=public)
    theirs = message.encode()
    assert open_bundle(theirs, [public], me=BOB.public).body == BODY
