"""Bound approvals in the real HSM: what genuine approvals can be turned into, and what a bound key makes of it (R7).

Each attack is made twice, with genuine approvals. On a key without `boundApprovals` the documented token form allows
it, and the test shows that it succeeds: that is no defect of the HSM but what the form leaves open. On a bound key the
very same attempt is refused.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from keyturn.hsm.client import HsmClient
from keyturn.ska.actions import Action
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing import openssl_ciphers as openssl
from keyturn_testing.bound import AES, OAEP, OAEP_SHA1, OAEP_SHA256, Key, make, request_id
from keyturn_testing.hsm_actions import refused, stamp
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator


pytestmark = pytest.mark.rule("R7")

on_both = pytest.mark.parametrize("bound", [False, True], ids=["documented", "bound"])
"""An attack is a story of two keys that differ in one attribute."""


async def succeeds_unless_bound(key: Key, attack: Awaitable[object]) -> None:
    """An attack with genuine approvals for something else."""
    if not key.bound:
        await attack
        return
    refusal = await refused(attack)
    assert refusal.refusal == "approvals.missing"
    assert [word for _, word in refusal.bad_approvals] == ["approval.wrong-payload"] * 2


@on_both
async def test_r7_algorithm_swap(client: HsmClient, label: str, *, bound: bool) -> None:
    """Approved under SHA-512, executed under SHA-256. The documented form does not name the algorithm."""
    key = await make(client, label, bound=bound)
    request = request_id()
    approvals = key.to_sign(request, b"pay 5", "SHA512_WITH_ECDSA")

    async def sign(algorithm: str) -> bytes:
        return await client.sign(
            operation_id(), key.label, b"pay 5", algorithm, approvals=approvals, request_id=request
        )

    await succeeds_unless_bound(key, sign("SHA256_WITH_ECDSA"))
    signature = await sign("SHA512_WITH_ECDSA")
    assert await client.verify(key.label, b"pay 5", "SHA512_WITH_ECDSA", signature)


@on_both
async def test_r7_pre_hash_swap(client: HsmClient, label: str, *, bound: bool) -> None:
    """A message of 32 bytes is approved, and signed as the digest of another one. The documented form allows it."""
    digest = sha256(b"pay 1 000 000 to Eve").digest()
    key = await make(client, label, bound=bound)
    request = request_id()
    approvals = key.to_sign(request, digest, "SHA256_WITH_ECDSA")

    async def attack() -> None:
        signature = await client.sign(
            operation_id(), key.label, digest, "NONE_WITH_ECDSA", approvals=approvals, request_id=request
        )
        assert await client.verify(key.label, b"pay 1 000 000 to Eve", "SHA256_WITH_ECDSA", signature)

    await succeeds_unless_bound(key, attack())
    await client.sign(operation_id(), key.label, digest, "SHA256_WITH_ECDSA", approvals=approvals, request_id=request)


@on_both
async def test_r7_decrypt_as_signature(client: HsmClient, label: str, *, bound: bool) -> None:
    """Officers have a "ciphertext" decrypted and get a signature made over it. One code stands for every use."""
    key = await make(client, label, bound=bound, decrypt=True)
    request = request_id()
    letter = b"We owe Eve 1 000 000.".ljust(256)
    approvals = key.approved(letter, lambda key: key.decrypt(request, letter, OAEP))

    async def attack() -> None:
        signature = await client.sign(
            operation_id(), key.label, letter, "SHA256_WITH_RSA", approvals=approvals, request_id=request
        )
        assert await client.verify(key.label, letter, "SHA256_WITH_RSA", signature)

    await succeeds_unless_bound(key, attack())
    good = openssl.rsa_encrypt(key.identity.spki, b"the combination", OAEP_SHA256)
    approvals = key.approved(good, lambda key: key.decrypt(request, good, OAEP))
    decrypted = await client.decrypt(operation_id(), key.label, good, OAEP, approvals=approvals, request_id=request)
    assert decrypted.data == b"the combination"


@on_both
async def test_r7_sign_as_unwrap(client: HsmClient, label: str, *, bound: bool) -> None:
    """Officers have a document signed; its bytes are an unwrap payload, and a key of the attacker's comes in.

    R8 keeps the HSM from signing such a document. The documented approval for it serves for the unwrap all the same.
    """
    attributes = {"decrypt": True, "encrypt": True}
    key = await make(client, label, bound=bound, unwrap=True)
    request, new_label = request_id(), f"{key.label}-in"
    wrapped = openssl.rsa_encrypt(key.identity.spki, AES, OAEP_SHA1)
    document = unwrap_payload_for(attributes, wrapped, new_label)
    approvals = key.to_sign(request, document, "SHA256_WITH_RSA")

    def unwrap(given: list[bytes]) -> Awaitable[object]:
        return client.unwrap(
            operation_id(),
            key.label,
            wrapped,
            "RSA_WRAP_OAEP",
            new_label,
            attributes=attributes,
            approvals=given,
            request_id=request,
        )

    await succeeds_unless_bound(key, unwrap(approvals))
    if key.bound:
        assert new_label not in await client.labels()
        knowing = key.approved(None, lambda key: key.unwrap(request, wrapped, "RSA_WRAP_OAEP", new_label, attributes))
        await unwrap(knowing)
    assert new_label in await client.labels()


@pytest.fixture(scope="module")
def other_hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HsmProcess]:
    """Another HSM, such as the one where people practise."""
    with HsmProcess(tmp_path_factory.mktemp("other") / "data") as process:
        yield process


@on_both
async def test_r7_other_key_under_the_same_label(
    client: HsmClient, other_hsm: HsmProcess, label: str, *, bound: bool
) -> None:
    """What was approved for the key of one HSM serves for its namesake in another. A label is not an identity (R18)."""
    elsewhere = await HsmClient.connect(other_hsm.address)
    try:
        key = await make(client, label, bound=bound)
        namesake = await make(elsewhere, key.label, bound=key.bound)
        request = request_id()
        approvals = key.to_sign(request, b"practise", "SHA256_WITH_ECDSA")

        async def sign(at: HsmClient) -> None:
            await at.sign(
                operation_id(), key.label, b"practise", "SHA256_WITH_ECDSA", approvals=approvals, request_id=request
            )

        assert namesake.identity != key.identity
        await succeeds_unless_bound(key, sign(elsewhere))
        await sign(client)
    finally:
        await elsewhere.close()


@on_both
async def test_r7_re_created_key(client: HsmClient, label: str, *, bound: bool) -> None:
    """The broker replaces the key that officers have looked at, and has them approve with a fresh timestamp.

    R18 keeps old approvals from the new key. Those given now count, although people mean the key that is gone: the
    documented form names the label alone, and its timestamp the payload alone.
    """
    key = await make(client, label, bound=bound, destroyable=True)
    request = request_id()
    await client.delete(operation_id(), key.label)
    again = await make(client, key.label, bound=key.bound, destroyable=True)
    assert again.identity.uuid != key.identity.uuid

    def approvals_of(seen: Key, timestamp: tuple[bytes, bytes]) -> list[bytes]:
        return seen.approved(
            b"pay 5", lambda key: key.sign(request, b"pay 5", "SHA256_WITH_ECDSA", ""), timestamp=timestamp
        )

    def sign(given: list[bytes]) -> Awaitable[bytes]:
        return client.sign(
            operation_id(), key.label, b"pay 5", "SHA256_WITH_ECDSA", approvals=given, request_id=request
        )

    meant = again.covered(b"pay 5", lambda key: key.sign(request, b"pay 5", "SHA256_WITH_ECDSA", ""))
    assert meant is not None
    fresh = await stamp(client, key.label, Action.USE, meant)
    if not key.bound:
        await sign(approvals_of(key, fresh))
        return
    refusal = await refused(sign(approvals_of(key, fresh)))
    assert {word for _, word in refusal.bad_approvals} == {"approval.wrong-payload"}
    # Nor does the HSM give a timestamp for the statement about the key that is gone.
    gone = key.covered(None, lambda key: key.sign(request, b"pay 5", "SHA256_WITH_ECDSA", ""))
    assert gone is not None
    assert (await refused(client.stamp(key.label, Action.USE, gone))).refusal == "stamp.payload"
    await sign(approvals_of(again, fresh))


@on_both
async def test_r7_replay_under_another_request(client: HsmClient, label: str, *, bound: bool) -> None:
    """What was approved for one request is executed for another. The documented form allows it inside the window."""
    key = await make(client, label, bound=bound)
    request = request_id()
    approvals = key.to_sign(request, b"pay 5", "SHA256_WITH_ECDSA")

    async def sign(request: str) -> None:
        await client.sign(
            operation_id(), key.label, b"pay 5", "SHA256_WITH_ECDSA", approvals=approvals, request_id=request
        )

    await sign(request)
    await succeeds_unless_bound(key, sign(request_id()))
    # Under its own id it counts again, bound or not: one execution only is what `singleUse` is for (R14).
    await sign(request)


@on_both
async def test_r7_a_quorum_is_not_put_together_from_two_requests(client: HsmClient, label: str, *, bound: bool) -> None:
    """Ada approves one request and Ben another with the same payload. Documented approvals add up to two."""
    key = await make(client, label, bound=bound)
    one, two = request_id(), request_id()
    mixed = [
        key.to_sign(one, b"pay 5", "SHA256_WITH_ECDSA")[0],
        key.to_sign(two, b"pay 5", "SHA256_WITH_ECDSA")[1],
    ]
    attack = client.sign(operation_id(), key.label, b"pay 5", "SHA256_WITH_ECDSA", approvals=mixed, request_id=one)
    if not key.bound:
        await attack
        return
    refusal = await refused(attack)
    assert refusal.refusal == "approvals.missing"
    assert refusal.bad_approvals == ((1, "approval.wrong-payload"),)
