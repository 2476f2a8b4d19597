"""Two sides of a gap for tests, and a forger who seals what no honest side would.

    online, offline = sides(tmp_path)
    sealed = online.seal("request", "r1", b"{}", to=offline.trust... )

`forge` takes the fields of a good bundle, lets one thing be changed at any layer, and seals again: every negative test
is one line about one defect.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keyturn.clock import ManualClock
from keyturn.transport import cose
from keyturn.transport.instance_key import InstanceKey
from keyturn.transport.station import Station

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BODY = b'{"signRequest":{"payload":"aGFycm8=","signKeyName":"treasury","signatureAlgorithm":"SHA256_WITH_ECDSA"}}'
REQUEST_ID = "0f1e2d3c-4b5a-4687-8796-a5b4c3d2e1f0"


def known_key(seed: str) -> InstanceKey:
    """An instance key that is the same in every run; its private half is the SHA-256 of its name."""
    return InstanceKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest()))


ALICE = known_key("keyturn golden sender")
BOB = known_key("keyturn golden recipient")


def sides(directory: Path) -> tuple[Station, Station]:
    """An online and an offline side that have pinned each other as `vault` and `office`."""
    online, offline = Station(directory / "online", ManualClock()), Station(directory / "offline", ManualClock())
    online.trust.pin("vault", offline.key.public)
    offline.trust.pin("office", online.key.public)
    return online, offline


def good_fields(body: bytes = BODY) -> dict[str, Any]:
    """The map inside a good bundle from `ALICE` to `BOB`."""
    return {
        "version": 1,
        "kind": "request",
        "sender": ALICE.public,
        "recipient": BOB.public,
        "sequence": 7,
        "requestId": REQUEST_ID,
        "body": body,
        "sha256": hashlib.sha256(body).digest(),
    }


def forge(
    fields: dict[str, Any] | None = None,
    *,
    content: bytes | None = None,
    compress: Callable[[bytes], bytes] | None = None,
    header: dict[int, Any] | None = None,
    unprotected: dict[int, Any] | None = None,
    key: InstanceKey = ALICE,
) -> bytes:
    """Seal anything with a proper signature.

    Args:
        fields: The map to carry.
        content: The encoded map, instead of `fields`.
        compress: Given: the payload is its result and the header says compressed.
        header: Replaces fields of the protected header.
        unprotected: The unprotected header.
        key: Who signs.
    """
    if content is None:
        content = cbor2.dumps(good_fields() if fields is None else fields, canonical=True)
    content_format = cose.CONTENT_CBOR
    if compress is not None:
        content, content_format = compress(content), cose.CONTENT_CBOR_DEFLATE
    protected = cbor2.dumps(
        {1: cose.ALGORITHM_EDDSA, 3: content_format, 4: cose.key_id(key.public), **(header or {})}, canonical=True
    )
    signature = key.sign(cbor2.dumps(["Signature1", protected, b"", content], canonical=True))
    return cbor2.dumps(cbor2.CBORTag(18, [protected, unprotected or {}, content, signature]), canonical=True)


def deflate(content: bytes) -> bytes:
    """zlib as the honest side uses it."""
    return zlib.compress(content, 9)
