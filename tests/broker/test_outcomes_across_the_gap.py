"""What comes back across the gap counts by what proves it: a receipt, an attestation, or a later one (R24, R19).

The HSM is the real service behind its socket, both sides are their REST applications, the courier is a variable.
"""

from __future__ import annotations

import dataclasses
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.broker import progress
from keyturn.broker.receipts import checked_receipt, given_receipt
from keyturn.broker.register import require_successor
from keyturn.errors import KeyturnError
from keyturn.ska.receipt_hashes import result_hash_of
from keyturn_testing.actions import OAEP_SHA1, decrypt_body, oaep, unwrap_body
from keyturn_testing.attested import example_attestation
from keyturn_testing.gap_world import Gap, flipped, gap_of
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.ska.policy import Policy

ADA, BEN, EVE = Officer("ada", "P-256"), Officer("ben", "ED"), Officer("eve", "P-384")
MINUTE = 60
LOCKED = make_policy(
    use=quorum(2, ADA, BEN, EVE, timelock=60 * MINUTE, timeout=120 * MINUTE), modify=quorum(2, ADA, BEN)
)
"""Opens after one hour, closes after two."""
PLAIN = make_policy(use=quorum(2, ADA, BEN, EVE))


@pytest.fixture
async def gap(tmp_path: Path) -> AsyncIterator[Gap]:
    async with gap_of(tmp_path) as made:
        yield made


@pytest.mark.rule("R24")
@pytest.mark.parametrize("word", ["sign", "modify", "block"])
async def test_r24_a_receipt_that_is_there_is_verified_and_kept_wanted_or_not(gap: Gap, word: str) -> None:
    await gap.key("treasury", PLAIN)
    if word == "sign":
        request_id = await gap.sign("treasury")
    elif word == "modify":
        request_id = await gap.modify("treasury", make_policy(use=quorum(2, ADA, EVE)))
    else:
        request_id = await gap.status_change("block", "treasury")
    await gap.approve(request_id, ADA, BEN)
    body = await gap.in_the_vault(request_id)
    assert await gap.turned_away(body | {"receipt": flipped(body["receipt"])}) == "receipt.bad-signature"
    assert await gap.turned_away({name: body[name] for name in body if name != "receipt"}) == "receipt.incomplete"
    assert (await gap.view(request_id))["status"] == "PENDING"
    await gap.bring_back(body)
    view = await gap.view(request_id)
    assert (view["status"], view["receipt"], view["receiptSignature"]) == (
        "EXECUTED",
        body["receipt"],
        body["receiptSignature"],
    )


async def rsa_key(gap: Gap, label: str, policy: Policy) -> bytes:
    """A key that decrypts and unwraps; its SPKI."""
    attributes = {"decrypt": True, "sign": False, "unwrap": True, "destroyable": True}
    made = await gap.key(label, policy, algorithm="RSA", keySize=2048, curveOid=None, attributes=attributes)
    return b64decode(made["json"]["publicKey"])


@pytest.mark.rule("R24")
async def test_r24_decrypted_data_counts_with_the_hsms_receipt_alone(gap: Gap) -> None:
    secret = b"the plaintext"
    spki = await rsa_key(gap, "vault-key", LOCKED)
    inner = decrypt_body("vault-key", oaep(spki, secret))
    request_id = (await gap.office.post("/v1/decrypt", {"decryptRequest": inner}))["decryptRequestId"]
    await gap.bring_back(await gap.ask_the_time(request_id))
    await gap.approve(request_id, ADA, BEN)
    gap.both_clocks(60 * MINUTE)
    body = await gap.in_the_vault(request_id)
    assert b64decode(body["result"]) == secret
    bare = {name: body[name] for name in ("id", "result")}
    assert await gap.turned_away(bare) == "result.needs-receipt"
    assert await gap.turned_away(body | {"result": flipped(body["result"])}) == "receipt.other-result"
    await gap.bring_back(body)
    await gap.bring_back(bare)
    view = await gap.view(request_id)
    assert (view["status"], b64decode(view["result"])) == ("EXECUTED", secret)
    assert await gap.turned_away(body | {"result": flipped(body["result"])}) == "result.other"


@pytest.mark.rule("R24")
async def test_r24_an_unwrapped_key_counts_with_the_hsms_receipt_alone_and_is_registered(gap: Gap) -> None:
    spki = await rsa_key(gap, "vault-key", PLAIN)
    # What is wrapped is random bytes that are to be a key.
    inner = unwrap_body("vault-key", oaep(spki, bytes(range(32)), OAEP_SHA1), "unwrapped")
    request_id = (await gap.office.post("/v1/unwrap", {"unwrapKeyRequest": inner}))["unwrapRequestId"]
    await gap.approve(request_id, ADA, EVE)
    body = await gap.in_the_vault(request_id)
    assert "keyAttributes" in body, body
    bare = {name: body[name] for name in ("id", "keyAttributes")}
    assert await gap.turned_away(bare) == "result.needs-receipt"
    other = await gap.vault.post("/v1/key/attributes", {"label": "vault-key"})
    assert await gap.turned_away(body | {"keyAttributes": other}) == "result.wrong"
    assert await gap.turned_away(body | {"receipt": flipped(body["receipt"])}) == "receipt.bad-signature"
    await gap.bring_back(body)
    assert (await gap.view(request_id))["status"] == "EXECUTED"
    shown = await gap.office.post("/v1/key/attributes", {"label": "unwrapped"})
    assert shown["xml"] == body["keyAttributes"]["xml"]


@pytest.mark.rule("R24")
async def test_r24_a_block_counts_by_attestation_and_only_of_the_same_key_later_and_blocked(gap: Gap) -> None:
    before = await gap.key("treasury", PLAIN)
    other = await gap.key("other", PLAIN)
    request_id = await gap.status_change("block", "treasury")
    await gap.approve(request_id, ADA, BEN)
    body = await gap.in_the_vault(request_id)
    attributes = body["keyAttributes"]
    for wrong in (before, other, attributes | {"xml": attributes["xml"].replace(">true<", ">false<", 1)}):
        assert await gap.turned_away({"id": request_id, "keyAttributes": wrong}) == "result.wrong"
    await gap.bring_back({"id": request_id, "keyAttributes": attributes})
    assert (await gap.view(request_id))["status"] == "EXECUTED"
    waiting = await gap.sign("treasury")
    assert "blocked" in (await gap.view(waiting))["failure"]
    unblock = await gap.status_change("unblock", "treasury")
    assert await gap.turned_away({"id": unblock, "keyAttributes": attributes}) == "result.wrong"
    await gap.approve(unblock, ADA, BEN)
    await gap.bring_back(await gap.in_the_vault(unblock))
    assert "failure" not in await gap.view(waiting)


async def test_a_change_that_was_registered_before_its_result_came_is_done_by_its_receipt(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)
    request_id = await gap.status_change("block", "treasury")
    await gap.approve(request_id, ADA, BEN)
    body = await gap.in_the_vault(request_id)
    await gap.register("treasury")
    bare = {name: body[name] for name in ("id", "keyAttributes")}
    assert await gap.turned_away(bare) == "result.wrong"
    await gap.bring_back(body)
    assert (await gap.view(request_id))["status"] == "EXECUTED"


@pytest.mark.rule("R24")
async def test_r24_attributes_from_before_there_were_receipts_are_named_with_the_cure(gap: Gap) -> None:
    await gap.key("treasury", PLAIN)
    request_id = await gap.sign("treasury")
    await gap.approve(request_id, ADA, BEN)
    body = await gap.in_the_vault(request_id)
    key = await gap.vault.broker.attested_key("treasury")
    receipt = given_receipt(body)
    assert receipt is not None
    request, _ = await gap.office.broker._database.read(lambda tx: progress.load(tx, request_id))
    hashed = result_hash_of(b64decode(body["result"]))
    checked = checked_receipt(request, receipt, key.attestation, outcome="executed", result_hash=hashed)
    assert checked.request_id == request_id
    old = dataclasses.replace(key.attestation, receipt_key=None)
    with pytest.raises(KeyturnError, match="Register the key's attributes again") as refused:
        checked_receipt(request, receipt, old, outcome="executed", result_hash=hashed)
    assert refused.value.refusal == "receipt.key-unknown"


@pytest.mark.rule("R19")
def test_r19_another_key_of_the_hsm_itself_is_registered_by_the_later_attestation() -> None:
    """A receipt key that there was not, or another integrity key, changes no key's state counter."""
    now = example_attestation()
    later: dict[str, Any] = {"attest_time": now.attest_time + 1}
    of_the_hsm: list[dict[str, Any]] = [
        {"receipt_key": now.integrity_key},
        {"integrity_key_name": "integrity-2"},
        {"switches": ("allowUnlabelledApprovals",)},
    ]
    for changes in of_the_hsm:
        require_successor(now, dataclasses.replace(now, **changes, **later))
        with pytest.raises(KeyturnError) as refused:
            require_successor(now, dataclasses.replace(now, **changes))
        assert refused.value.refusal == "offline-key.older"
    with pytest.raises(KeyturnError) as refused:
        require_successor(now, dataclasses.replace(now, blocked=True, **later))
    assert refused.value.refusal == "offline-key.older"
    require_successor(now, dataclasses.replace(now, blocked=True, state_counter=now.state_counter + 1))
