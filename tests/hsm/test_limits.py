"""`allowedOperations` and `allowedAlgorithms` in the real HSM (R9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyturn.errors import ErrorCode
from keyturn.hsm.client import HsmClient, HsmRefusedError
from keyturn.ska.actions import Action
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.ska.policy import encode_policy
from keyturn_testing.bound import ADA, BEN, OAEP, OTHER_POLICY, POLICY
from keyturn_testing.hsm_actions import approve, refused
from keyturn_testing.keys import P256, operation_id

if TYPE_CHECKING:
    from keyturn_testing.hsm_process import HsmProcess


@pytest.mark.rule("R9")
async def test_r9_limits_are_checked_before_anything_is_decided_and_are_attested(
    client: HsmClient, label: str, hsm: HsmProcess
) -> None:
    made = await client.create(
        operation_id(),
        label,
        "RSA",
        key_size=2048,
        attributes={"sign": True, "decrypt": True},
        policy=encode_policy(POLICY),
        allowed_operations=["sign"],
        allowed_algorithms=["SHA512_WITH_RSA", "SHA256_WITH_RSA", "SHA256_WITH_RSA"],
    )
    found = parse_attestation(made.xml)
    limits = (("sign",), ("SHA256_WITH_RSA", "SHA512_WITH_RSA"))
    assert (found.allowed_operations, found.allowed_algorithms) == limits
    shown = attestation_to_json(found)["attributes"]
    assert isinstance(shown, dict)
    assert (shown["allowedOperations"], shown["allowedAlgorithms"]) == tuple(map(list, limits))
    facts = await client.lookup(label)
    assert (facts.allowed_operations, facts.allowed_algorithms) == tuple(map(list, limits))
    # No approvals at all: the word says that it was not even asked whether there are enough.
    refusal = await refused(client.decrypt(operation_id(), label, bytes(256), OAEP))
    assert (refusal.code, refusal.refusal) == (ErrorCode.OPERATION_FORBIDDEN_FOR_KEY, "key.operation-not-allowed")
    refusal = await refused(client.sign(operation_id(), label, b"x", "SHA384_WITH_RSA"))
    assert (refusal.code, refusal.refusal) == (ErrorCode.ALGORITHM_NOT_SUPPORTED_BY_KEY, "key.algorithm-not-allowed")
    assert hsm.last_refusal()["refusal"] == "key.algorithm-not-allowed"
    approvals = [approve(officer, label, Action.USE, b"x") for officer in (ADA, BEN)]
    with pytest.raises(HsmRefusedError):
        await client.sign(operation_id(), label, b"x", "SHA384_WITH_RSA", approvals=approvals)
    await client.sign(operation_id(), label, b"x", "SHA256_WITH_RSA", approvals=approvals)
    # Limits and being bound outlive a restart, and a modify.
    new = encode_policy(OTHER_POLICY)
    await client.modify(
        operation_id(), label, new, [approve(officer, label, Action.MODIFY, new) for officer in (ADA, BEN)]
    )
    found = parse_attestation((await client.attest(label)).xml)
    assert (found.allowed_operations, found.allowed_algorithms) == limits


@pytest.mark.rule("R9")
async def test_r9_an_ordinary_key_keeps_its_limits_too(client: HsmClient, label: str) -> None:
    await client.create(
        operation_id(),
        label,
        "EC",
        curve_oid=P256,
        attributes={"sign": True},
        allowed_algorithms=["NONE_WITH_ECDSA"],
    )
    refusal = await refused(client.sign(b"", label, bytes(32), "SHA256_WITH_ECDSA"))
    assert refusal.refusal == "key.algorithm-not-allowed"
    await client.sign(b"", label, bytes(32), "NONE_WITH_ECDSA")
