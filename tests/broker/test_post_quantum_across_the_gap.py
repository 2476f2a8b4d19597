"""Decapsulation and post-quantum signatures across the gap, with approvals as documented and bound ones (R7, R24)."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from keyturn.crypto import registry
from keyturn.crypto.kem import encapsulate
from keyturn.ska.messages import decode_approval
from keyturn.ska.statement import decode_statement
from keyturn_testing.gap_world import PAYLOAD, Gap, gap_of
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import b64

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADA, BEN = Officer("ada"), Officer("ben", "ED")
TWO = make_policy(quorum(2, ADA, BEN))


@pytest_asyncio.fixture
async def gap(tmp_path: Path) -> AsyncIterator[Gap]:
    async with gap_of(tmp_path) as made:
        yield made


async def _key(gap: Gap, algorithm: str, **attributes: bool) -> bytes:
    """A protected key in the vault, known in the office; its SPKI."""
    may = {"decrypt": False, "sign": False, "unwrap": False, **attributes}
    made = await gap.key("k", TWO, algorithm=algorithm, curveOid=None, attributes=may)
    return b64decode(made["json"]["publicKey"])


async def _opened(gap: Gap, path: str, body: dict[str, Any], answered: str) -> str:
    """Open a request in the office, with its timestamp if it waits for one, and two approvals."""
    request_id = str((await gap.office.post(path, body))[answered])
    carried = (await gap.view(request_id)).get("inputOfflineHsm")
    if "timestampRequest" in (carried or {}):
        await gap.bring_back(await gap.ask_the_time(request_id))
    await gap.approve(request_id, ADA, BEN)
    return request_id


@pytest.mark.rule("R24")
@pytest.mark.parametrize("bound", [False, True])
async def test_r24_a_decapsulation_crosses_the_gap_and_counts_with_its_receipt(gap: Gap, bound: bool) -> None:
    spki = await _key(gap, "ML-KEM-768", decrypt=True, boundApprovals=bound)
    new = encapsulate(spki)
    inner = {"decapsulationKeyName": "k", "ciphertext": b64(new.ciphertext)}
    request_id = await _opened(gap, "/v1/decapsulate", {"decapsulationRequest": inner}, "decapsulationRequestId")
    body = await gap.in_the_vault(request_id)
    assert b64decode(body["result"]) == new.shared_secret
    assert await gap.turned_away({name: body[name] for name in ("id", "result")}) == "result.needs-receipt"
    await gap.bring_back(body)
    view = await gap.view(request_id)
    assert (view["status"], b64decode(view["result"])) == ("EXECUTED", new.shared_secret)


@pytest.mark.rule("R7")
async def test_r7_a_bound_decapsulation_is_approved_as_a_decryption_with_ml_kem_and_no_other_ciphertext(
    gap: Gap,
) -> None:
    spki = await _key(gap, "ML-KEM-512", decrypt=True, boundApprovals=True)
    new, other = encapsulate(spki), encapsulate(spki)
    inner = {"decapsulationKeyName": "k", "ciphertext": b64(new.ciphertext)}
    body = {"decapsulationRequest": inner}
    request_id = str((await gap.office.post("/v1/decapsulate", body))["decapsulationRequestId"])
    (task,) = await gap.office.tasks(ADA, request_id)
    payload = decode_approval(b64decode(task["approvalToBeSigned"])).payload
    statement = decode_statement(payload or b"")
    assert (statement.kind, statement.algorithm, statement.data) == ("decrypt", "ML_KEM", new.ciphertext)
    await gap.approve(request_id, ADA, BEN)
    carried = (await gap.view(request_id))["inputOfflineHsm"]["decryptRequest"]
    at_once = {
        "decapsulationKeyName": "k",
        "ciphertext": carried["encryptedPayload"],
        "signedApprovals": carried["signedApprovals"],
        "requestId": request_id,
    }
    changed = {**at_once, "ciphertext": b64(other.ciphertext)}
    answer = await gap.vault.http.post("/v1/synchronousDecapsulate", json={"decapsulationRequest": changed})
    assert answer.json()["refusal"] == "approvals.missing"
    done = await gap.vault.post("/v1/synchronousDecapsulate", {"decapsulationRequest": at_once})
    assert b64decode(done["sharedSecret"]) == new.shared_secret


@pytest.mark.parametrize(("kind", "algorithm"), [("ML-DSA-65", "ML_DSA"), ("LMS", "LMS"), ("BLS", "BLS")])
async def test_a_signature_crosses_the_gap_and_is_checked_at_home(gap: Gap, kind: str, algorithm: str) -> None:
    spki = await _key(gap, kind, sign=True)
    inner = {"signKeyName": "k", "payload": b64(PAYLOAD), "signatureAlgorithm": algorithm}
    request_id = await _opened(gap, "/v1/sign", {"signRequest": inner}, "signRequestId")
    body = await gap.in_the_vault(request_id)
    signature = b64decode(body["result"])
    wrong = b64(signature[:-1] + bytes([signature[-1] ^ 1]))
    assert (await gap.turned_away({"id": request_id, "result": wrong})).startswith(("result.", "signature."))
    await gap.bring_back(body)
    assert (await gap.view(request_id))["status"] == "EXECUTED"
    registry.verify(spki, algorithm, PAYLOAD, signature)
