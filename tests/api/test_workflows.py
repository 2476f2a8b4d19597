"""The seven steps of the air-gapped workflow, for signing and for modifying, over REST and with real processes.

Two servers: `vault` is the offline installation with its HSM, `front` the online one without any. Three officers with
three kinds of keys. What crosses the gap are JSON bodies; how they travel (files, QR codes) is the courier's matter.
"""

from __future__ import annotations

import base64
import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.attestation import parse_attestation
from keyturn.transport.bundle import REQUEST
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import (
    ServeProcess,
    approve,
    b64,
    create_ec_key,
    fetch,
    policy_json,
    reject,
    signed_approval,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.client import RestClient

    Officers = tuple[Officer, Officer, Officer]

ALGORITHM = "SHA256_WITH_ECDSA"
WAITING = "Execution shall be made with offline HSM"


@pytest.fixture(scope="module")
def front_server(vault: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """The online installation; it pins the offline device's certificate, which was carried to it."""
    directory = tmp_path_factory.mktemp("front")
    chain = directory / "device.pem"
    with vault.client() as rest:
        chain.write_text("".join(rest.attestation_chain()))
    with ServeProcess(directory / "data", "air-gapped", ["--attestation-cert", str(chain)]) as server:
        yield server


@pytest.fixture
def front(front_server: ServeProcess) -> Iterator[RestClient]:
    """A client of the online installation."""
    with front_server.client() as client:
        yield client


def carry(what: Any) -> Any:
    """Across the gap: only text survives."""
    return json.loads(json.dumps(what))


def public_key(attested: dict[str, Any]) -> bytes:
    return base64.b64decode(attested["json"]["publicKey"])


def test_the_seven_steps_of_signing(rest: RestClient, front: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    label, payload = "gap-sign", b"pay 100 to Bob"

    # Before: the key is made offline, and its attestation is carried to the online side.
    attested = create_ec_key(rest, label, make_policy(quorum(2, ada, ben, eve)))
    front.register_offline_key(carry(attested))
    assert front.list_keys().count(label) == 1
    assert front.key_attributes(label)["xml"] == attested["xml"]

    # 1. The application asks the online side for a signature.
    request = front.sign({"payload": b64(payload), "signKeyName": label, "signatureAlgorithm": ALGORITHM})
    state = front.request(request)
    assert (state["status"], state["result"]) == ("PENDING", None)
    assert front.preflight(request)["satisfied"] is False

    # 2. Each officer finds their task, and sees what will be signed.
    tasks = {}
    for officer in officers:
        (tasks[officer],) = fetch(front, officer, requestId=request)
        assert base64.b64decode(tasks[officer]["payload"]) == payload

    # 3. Two approve, one rejects.
    approve(front, ada, tasks[ada])
    reject(front, eve, tasks[eve])
    assert front.preflight(request)["satisfied"] is False
    approve(front, ben, tasks[ben])

    # 4. The online side shows what to carry, and predicts that it will be enough.
    state = front.request(request)
    assert (state["status"], state["executionTime"], state["result"]) == ("PENDING", None, WAITING)
    assert sorted(state["approvedBy"]) == sorted([b64(ada.spki), b64(ben.spki)])
    assert state["rejectedBy"] == [b64(eve.spki)]
    assert front.preflight(request)["satisfied"] is True

    # 5. The courier carries it over.
    carried = carry(state["inputOfflineHsm"])

    # 6. The offline side takes it as it is; its HSM decides and signs.
    answer = rest.execute_offline_input(carried)

    # 7. The signature is carried back, checked, and the request is done.
    front.import_offline_result({"id": request, "result": carry(answer)["signature"]})
    done = front.request(request)
    assert (done["status"], done["result"]) == ("EXECUTED", answer["signature"])
    assert done["executionTime"] is not None

    signature = base64.b64decode(done["result"])
    assert front.verify(label, ALGORITHM, payload, signature)
    assert dgst_accepts(public_key(attested), signature, payload, "sha256")
    assert not dgst_accepts(public_key(attested), signature, payload + b"0", "sha256")


def test_the_seven_steps_of_modifying(rest: RestClient, front: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    label, fred = "gap-modify", Officer("Fred", "P-384")

    # Before: two of three may change the policy; the key is known to the online side.
    attested = create_ec_key(rest, label, make_policy(quorum(2, ada, ben, eve)))
    front.register_offline_key(carry(attested))
    wanted = make_policy(quorum(2, ada, ben, fred))

    # 1. Somebody asks for another policy: Fred instead of Eve.
    request = front.modify({"modifyKeyName": label, "policy": policy_json(wanted, new=False)})
    assert front.request(request)["status"] == "PENDING"

    # 2. Each officer of the present policy finds their task; Fred has none.
    tasks = {}
    for officer in officers:
        (tasks[officer],) = fetch(front, officer, kind="ModifyKey", requestId=request)
    assert fetch(front, fred, requestId=request) == []

    # 3. Two approve.
    approve(front, eve, tasks[eve])
    approve(front, ben, tasks[ben])

    # 4. The online side shows what to carry.
    state = front.request(request)
    assert (state["status"], state["result"]) == ("PENDING", WAITING)
    assert front.preflight(request)["satisfied"] is True

    # 5. The courier carries it over.
    carried = carry(state["inputOfflineHsm"])
    assert set(carried) == {"modifyRequest"}

    # 6. The offline HSM decides and changes the policy; its answer is the attested new state.
    changed = rest.execute_offline_input(carried)
    before, after = parse_attestation(attested["xml"]), parse_attestation(changed["xml"])
    assert after.policy == wanted
    assert (after.uuid, after.public_key) == (before.uuid, before.public_key)
    assert after.state_counter > before.state_counter

    # 7. The attested answer is carried back, checked, and the online side knows the new policy.
    front.import_offline_result({"id": request, "keyAttributes": carry(changed)})
    assert front.request(request)["status"] == "EXECUTED"
    assert parse_attestation(front.key_attributes(label)["xml"]).policy == wanted

    # After: Fred counts, Eve does not.
    again = front.sign({"payload": b64(b"x"), "signKeyName": label, "signatureAlgorithm": ALGORITHM})
    assert len(fetch(front, fred, requestId=again)) == 1
    assert fetch(front, eve, requestId=again) == []


def test_the_same_journey_without_a_gap(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    attested = create_ec_key(rest, "near", make_policy(quorum(2, ada, ben, eve)))
    request = rest.sign({"payload": b64(b"near"), "signKeyName": "near", "signatureAlgorithm": ALGORITHM})
    for officer in (eve, ada):
        assert rest.request(request)["status"] == "PENDING"
        (task,) = fetch(rest, officer, requestId=request)
        approve(rest, officer, task)
    done = rest.request(request)
    assert done["status"] == "EXECUTED"
    assert dgst_accepts(public_key(attested), base64.b64decode(done["result"]), b"near", "sha256")

    wanted = make_policy(quorum(1, ben))
    request = rest.modify({"modifyKeyName": "near", "policy": policy_json(wanted, new=False)})
    for officer in (ben, ada):
        (task,) = fetch(rest, officer, requestId=request)
        approve(rest, officer, task)
    assert rest.request(request)["status"] == "EXECUTED"
    assert parse_attestation(rest.key_attributes("near")["xml"]).policy == wanted


def test_too_few_approvals_are_refused_by_the_offline_hsm_and_enough_are_taken(
    rest: RestClient, front: RestClient, officers: Officers
) -> None:
    ada, ben, eve = officers
    front.register_offline_key(carry(create_ec_key(rest, "few", make_policy(quorum(2, ada, ben, eve)))))
    request = front.sign({"payload": b64(b"few"), "signKeyName": "few", "signatureAlgorithm": ALGORITHM})
    (task,) = fetch(front, ada, requestId=request)
    approve(front, ada, task)
    with pytest.raises(KeyturnError) as caught:
        rest.execute_offline_input(carry(front.request(request)["inputOfflineHsm"]))
    assert caught.value.refusal == "approvals.missing"
    (task,) = fetch(front, eve, requestId=request)
    approve(front, eve, task)
    assert rest.execute_offline_input(carry(front.request(request)["inputOfflineHsm"]))["signature"]


def test_a_wrong_result_changes_nothing_and_the_right_one_may_come_twice(
    rest: RestClient, front: RestClient, officers: Officers
) -> None:
    ada, *_ = officers
    front.register_offline_key(carry(create_ec_key(rest, "wrong-result", make_policy(quorum(1, *officers)))))
    request = front.sign({"payload": b64(b"this"), "signKeyName": "wrong-result", "signatureAlgorithm": ALGORITHM})
    other = front.sign({"payload": b64(b"that"), "signKeyName": "wrong-result", "signatureAlgorithm": ALGORITHM})
    for one in (request, other):
        (task,) = fetch(front, ada, requestId=one)
        approve(front, ada, task)
    right = rest.execute_offline_input(carry(front.request(request)["inputOfflineHsm"]))["signature"]
    wrong = rest.execute_offline_input(carry(front.request(other)["inputOfflineHsm"]))["signature"]
    for bad in (wrong, "YQ==", ""):
        with pytest.raises(KeyturnError) as caught:
            front.import_offline_result({"id": request, "result": bad})
        assert caught.value.code.http_status == 400
        assert front.request(request)["status"] == "PENDING"
    front.import_offline_result({"id": request, "result": right})
    front.import_offline_result({"id": request, "result": right})
    assert front.request(request)["result"] == right
    with pytest.raises(KeyturnError):
        front.import_offline_result({"id": request, "result": wrong})


@pytest.mark.rule("R19")
def test_r19_only_an_untouched_attestation_of_the_pinned_device_is_registered(
    rest: RestClient, front: RestClient, officers: Officers
) -> None:
    attested = carry(create_ec_key(rest, "pinned", make_policy(quorum(2, *officers))))
    changed = attested["xml"].replace("<quorum>2<", "<quorum>1<")
    assert changed != attested["xml"]
    for defect, code in (
        ({"xml": changed}, 403),
        ({"xmlSignature": "YQ=="}, 403),
        ({"xmlSignature": "?"}, 600),
        ({"json": attested["json"] | {"label": "other"}}, 600),
        ({"more": 1}, 600),
    ):
        with pytest.raises(KeyturnError) as caught:
            front.register_offline_key(attested | defect)
        assert caught.value.code.number == code, caught.value.message
    assert "pinned" not in front.list_keys()
    front.register_offline_key(attested)
    assert "pinned" in [key["label"] for key in front.offline_keys()]
    front.forget_offline_key("pinned")
    assert "pinned" not in front.list_keys()


def test_the_online_side_refuses_what_needs_an_hsm(front: RestClient, rest: RestClient, officers: Officers) -> None:
    front.register_offline_key(carry(create_ec_key(rest, "far", make_policy(quorum(1, *officers)))))
    body = {"payload": b64(b"x"), "signKeyName": "far", "signatureAlgorithm": ALGORITHM}
    for call in (
        lambda: front.synchronous_sign(body),
        lambda: create_ec_key(front, "here", None),
        lambda: front.delete_key("far"),
    ):
        with pytest.raises(KeyturnError) as caught:
            call()
        assert caught.value.code is ErrorCode.UNSUPPORTED_OPERATION
    assert front.version_info()["profile"] == "air-gapped"
    assert front.attestation_chain() == rest.attestation_chain()


def test_a_request_is_shown_as_qr_codes_that_hold_a_sealed_bundle(
    rest: RestClient, front: RestClient, front_server: ServeProcess, officers: Officers, tmp_path: Path
) -> None:
    from keyturn.clock import SystemClock
    from keyturn.transport.qr import qr_pngs
    from keyturn.transport.station import Station

    ada, *_ = officers
    front.register_offline_key(carry(create_ec_key(rest, "shown", make_policy(quorum(1, *officers)))))
    request = front.sign({"payload": b64(b"show"), "signKeyName": "shown", "signatureAlgorithm": ALGORITHM})
    (task,) = fetch(front, ada, requestId=request)
    approve(front, ada, task)

    sheet = front.qr_codes(request, max_version=10, extra=2)
    assert len(sheet) > 3
    assert all(image.startswith(b"\x89PNG") for image in sheet)
    # The same sheet again is the same sheet, and it is what the station of this installation seals.
    assert front.qr_codes(request, max_version=10, extra=2) == sheet
    station = Station(front_server.directory, SystemClock())
    body = json.dumps(front.request(request)["inputOfflineHsm"], separators=(",", ":"), ensure_ascii=False).encode()
    sealed = station.seal(REQUEST, request, body, to=None, reuse=True)
    assert qr_pngs(sealed, max_version=10, extra=2) == sheet
    # One symbol is enough for the largest version.
    assert len(front.qr_codes(request, max_version=40, error_correction="L")) == 1
    with pytest.raises(KeyturnError, match="format=ur"):
        front.qr_codes(request, form="json", max_version=5)
    assert len(front.qr_codes(request, form="json", max_version=40, error_correction="L")) == 1


def test_the_second_verb_of_rejection_leaves_a_signed_statement(
    rest: RestClient, front: RestClient, officers: Officers
) -> None:
    ada, ben, _ = officers
    front.register_offline_key(carry(create_ec_key(rest, "no", make_policy(quorum(2, *officers)))))
    request = front.sign({"payload": b64(b"no"), "signKeyName": "no", "signatureAlgorithm": ALGORITHM})
    for officer in (ada, ben):
        (task,) = fetch(front, officer, requestId=request)
        front.approve(signed_approval(officer, task, prefix=b"REJECTED:"))
    assert front.request(request)["status"] == "REJECTED"


def test_requests_and_approvals_survive_kill_9(tmp_path: Path, officers: Officers) -> None:
    ada, ben, eve = officers
    with ServeProcess(tmp_path / "killed") as server:
        with server.client() as rest:
            attested = create_ec_key(rest, "k", make_policy(quorum(2, ada, ben, eve)))
            request = rest.sign({"payload": b64(b"k"), "signKeyName": "k", "signatureAlgorithm": ALGORITHM})
            (task,) = fetch(rest, ada, requestId=request)
            approve(rest, ada, task)
        server.restart(signal.SIGKILL)
        with server.client() as rest:
            assert rest.key_attributes("k")["json"]["uuid"] == attested["json"]["uuid"]
            state = rest.request(request)
            assert (state["status"], state["approvedBy"]) == ("PENDING", [b64(ada.spki)])
            (task,) = fetch(rest, eve, requestId=request)
            approve(rest, eve, task)
            assert rest.request(request)["status"] == "EXECUTED"
