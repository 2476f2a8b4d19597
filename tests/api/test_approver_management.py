"""Approver management on a real server: officers' keys that the HSM makes, off unless it is switched on (R23)."""

from __future__ import annotations

import base64
import datetime as dt
import signal
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from keyturn.ska.server_made import is_server_made
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, approve, b64, fetch, policy_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

    from keyturn.client import RestClient

MANAGEMENT = "/v1/approverManagement"
PASSWORD = "a backup password"
TRANSPORT = "0123456789abcdef0123456789abcdef"
OPEN = "approverManagement: {enabled: true}\nhsm: {allowOpenBackupKey: true}\n"
GOVERNED = "approverManagement: {enabled: true}\nhsm: {backupKeyName: vault}\n"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server that makes approvers' keys, and lets the backup key be open."""
    directory = tmp_path_factory.mktemp("desk")
    (directory / "keyturn.yaml").write_text(OPEN)
    with ServeProcess(directory / "data", options=["--config", str(directory / "keyturn.yaml")]) as server:
        yield server


@pytest.fixture
def web(desk: ServeProcess) -> Iterator[httpx.Client]:
    """A caller of it."""
    with httpx.Client(base_url=desk.url, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server that makes approvers' keys, and whose backup key people have to make."""
    directory = tmp_path_factory.mktemp("strict")
    (directory / "keyturn.yaml").write_text(GOVERNED)
    with ServeProcess(directory / "data", options=["--config", str(directory / "keyturn.yaml")]) as server:
        yield server


def order(name: str, **changes: Any) -> dict[str, Any]:
    """The documented body that creates an approver."""
    body = {"approverName": name, "algorithm": "RSA", "keySize": 2048, "backupPassword": list(PASSWORD)}
    return {**body, "validity": 365, **changes}


def created(web: httpx.Client, name: str) -> str:
    """Create an approver; the code."""
    answer = web.post(f"{MANAGEMENT}/create", json=order(name))
    assert answer.status_code == 200, answer.text
    code = answer.json()["oneTimeCode"]
    assert isinstance(code, str)
    assert len(code) == 6
    assert code.isdecimal()
    return code


def bring(web: httpx.Client, name: str, code: str, path: str = "/v1/approver/onboard") -> httpx.Response:
    """What the phone sends."""
    body = {"approverName": name, "oneTimeCode": list(code), "transportPassword": list(TRANSPORT)}
    return web.post(path, json=body)


def opened(answer: httpx.Response, password: str = PASSWORD) -> PKCS12KeyAndCertificates:
    """What the phone makes of the answer."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    vector = base64.b64decode(body["initializationVector"])
    assert len(vector) == 12
    file = AESGCM(TRANSPORT.encode()).decrypt(vector, base64.b64decode(body["encryptedPayload"]), None)
    return pkcs12.load_pkcs12(file, password.encode())


def refusal(answer: httpx.Response, status: int = 400) -> tuple[int, str]:
    """Code and word of a refusal."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    return body["errorCode"], body["refusal"]


def names(found: list[dict[str, str]]) -> set[str]:
    return {one["approverName"] for one in found}


@pytest.mark.rule("R23")
def test_r23_it_is_off_unless_it_is_switched_on_and_says_so_by_name(vault: ServeProcess, http: httpx.Client) -> None:
    off = (611, "approver-management.off")
    who = {"approverName": "phone"}
    for verb in ("POST", "PUT"):
        assert refusal(http.request(verb, f"{MANAGEMENT}/create", json=order("phone"))) == off
        for path in ("renewOneTimeCode", "restoreFromBackup"):
            assert refusal(http.request(verb, f"{MANAGEMENT}/{path}", json=who)) == off
        forgot = {**who, "newBackupPassword": "x"}
        assert refusal(http.request(verb, f"{MANAGEMENT}/restoreFromBackup/forgotPassword", json=forgot)) == off
        change = {**forgot, "backupPassword": "y"}
        assert refusal(http.request(verb, f"{MANAGEMENT}/changeBackupPassword", json=change)) == off
    for verb in ("GET", "POST"):
        assert refusal(http.request(verb, f"{MANAGEMENT}/onboarding/status")) == off
    assert refusal(http.delete(f"{MANAGEMENT}/delete/phone")) == off
    for path in ("/v1/approver/onboard", f"{MANAGEMENT}/onboard"):
        assert refusal(bring(http, "phone", "000000", path)) == off
    assert "approver management is on" not in vault.errors


@pytest.mark.rule("R23")
def test_r23_where_it_is_on_the_start_says_so_and_an_open_backup_key_is_attested(
    desk: ServeProcess, web: httpx.Client
) -> None:
    assert "approver management is on" in desk.errors
    assert desk.ready["switches"] == ["allowOpenBackupKey"]
    attested = web.post("/v1/key/attributes", json={"label": "backup-key"}).json()["xml"]
    assert "allowOpenBackupKey" in attested


def test_an_onboarded_approver_is_listed_by_name_and_approves(web: httpx.Client) -> None:
    assert refusal(bring(web, "ada", "000000"), 404) == (654, "approver.unknown")
    created(web, "ada")
    policy = {
        "ruleUse": rule({"type": "onboarded_approver_certificate", "name": "ada", "value": None}),
        "keyStatus": {"blocked": False},
    }
    key = {
        "label": "by-name", "algorithm": "EC", "curveOid": "1.2.840.10045.3.1.7", "policy": policy,
        "attributes": {"sign": True, "decrypt": False, "unwrap": False},
    }  # fmt: skip
    assert refusal(web.post("/v1/key", json=key)) == (414, "approver.not-onboarded")
    first = web.put(f"{MANAGEMENT}/renewOneTimeCode", json={"approverName": "ada"}).json()["oneTimeCode"]
    code = web.put(f"{MANAGEMENT}/renewOneTimeCode", json={"approverName": "ada"}).json()["oneTimeCode"]
    if first != code:
        assert refusal(bring(web, "ada", first)) == (412, "approver.code-wrong")
    file = opened(bring(web, "ada", code))
    private, certificate = file.key, file.cert.certificate if file.cert else None
    assert isinstance(private, rsa.RSAPrivateKey)
    assert certificate is not None
    assert file.cert is not None
    assert file.cert.friendly_name == b"ada"
    assert refusal(bring(web, "ada", code)) == (412, "approver.code-none")
    shown = web.get(f"{MANAGEMENT}/onboarding/status").json()
    (pem,) = (one["approverCertificate"] for one in shown["onboarded"] if one["approverName"] == "ada")
    assert x509.load_pem_x509_certificate(pem.encode()) == certificate
    assert is_server_made(certificate.public_bytes(Encoding.DER))
    assert web.post("/v1/key", json=key).status_code == 201
    sign = {"payload": b64(b"pay"), "signKeyName": "by-name", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
    request = web.post("/v1/sign", json={"signRequest": sign}).json()["signRequestId"]
    moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    me = {"approverCertificate": b64(certificate.public_bytes(Encoding.DER))}
    query = {
        "timestamp": moment, "timestampDigestAlgorithm": "SHA-256", "requestId": request,
        "timestampSignature": b64(private.sign(moment.encode(), padding.PKCS1v15(), hashes.SHA256())), **me,
    }  # fmt: skip
    (task,) = web.post("/v1/filteredAllApprovalTask", json=query).json()["tasks"]
    data = base64.b64decode(task["approvalToBeSigned"])
    approval = {
        "id": task["id"], "approvalToBeSigned": task["approvalToBeSigned"], "approvalDigestAlgorithm": "SHA-384",
        "signature": b64(private.sign(data, padding.PKCS1v15(), hashes.SHA384())), **me,
    }  # fmt: skip
    assert web.post("/v1/approval", json=approval).status_code < 300
    assert web.get(f"/v1/request/{request}").json()["status"] == "EXECUTED"


def rule(*approvals: dict[str, Any]) -> dict[str, Any]:
    group = {"name": "group", "quorum": 1, "approvals": list(approvals)}
    return {"tokens": [{"name": "main", "timelock": 0, "timeout": 0, "groups": [group]}]}


def test_who_waits_and_who_has_the_file_is_told_and_who_is_deleted_is_gone(web: httpx.Client) -> None:
    codes = {name: created(web, name) for name in ("ben", "cleo")}
    assert refusal(web.post(f"{MANAGEMENT}/create", json=order("ben"))) == (632, "approver.exists")
    opened(bring(web, "ben", codes["ben"], f"{MANAGEMENT}/onboard"))
    shown = web.get(f"{MANAGEMENT}/onboarding/status").json()
    assert shown == web.post(f"{MANAGEMENT}/onboarding/status", json={}).json()
    assert "ben" in names(shown["onboarded"])
    assert "cleo" in names(shown["pending"]) - names(shown["onboarded"])
    for name in ("ben", "cleo"):
        assert web.delete(f"{MANAGEMENT}/delete/{name}").status_code == 200
        assert refusal(web.delete(f"{MANAGEMENT}/delete/{name}"), 404) == (654, "approver.unknown")
    assert refusal(bring(web, "cleo", codes["cleo"]), 404) == (654, "approver.unknown")
    shown = web.get(f"{MANAGEMENT}/onboarding/status").json()
    assert not {"ben", "cleo"} & (names(shown["onboarded"]) | names(shown["pending"]))
    created(web, "cleo")


def test_a_file_is_restored_with_the_password_so_far_or_another_one(web: httpx.Client) -> None:
    code, who = created(web, "dora"), {"approverName": "dora"}
    forgot = {**who, "newBackupPassword": list("another one")}
    assert refusal(web.post(f"{MANAGEMENT}/restoreFromBackup", json=who)) == (414, "approver.not-onboarded")
    first = opened(bring(web, "dora", code))
    renewed = web.post(f"{MANAGEMENT}/renewOneTimeCode", json=who)
    assert refusal(renewed) == (611, "approver.nothing-waits")
    code = web.put(f"{MANAGEMENT}/restoreFromBackup", json=who).json()["oneTimeCode"]
    again = opened(bring(web, "dora", code))
    assert (again.cert, numbers(again)) == (first.cert, numbers(first))
    opening = web.put(f"{MANAGEMENT}/restoreFromBackup/forgotPassword", json=forgot).json()
    state = web.get(f"/v1/request/{opening['unwrapRequestId']}").json()
    assert state["status"] == "EXECUTED"
    other = opened(bring(web, "dora", state["result"]), "another one")
    assert (other.cert, numbers(other)) == (first.cert, numbers(first))
    # A code that has served is told no more.
    assert web.get(f"/v1/request/{opening['unwrapRequestId']}").json()["result"] is None
    change = {**who, "backupPassword": PASSWORD, "newBackupPassword": "third"}
    path = f"{MANAGEMENT}/changeBackupPassword"
    assert refusal(web.post(path, json=change)) == (620, "approver.backup-password")
    assert web.post(path, json={**change, "backupPassword": "another one"}).json() == {}
    code = web.post(f"{MANAGEMENT}/restoreFromBackup", json=who).json()["oneTimeCode"]
    assert numbers(opened(bring(web, "dora", code), "third")) == numbers(first)


def numbers(file: PKCS12KeyAndCertificates) -> rsa.RSAPrivateNumbers:
    assert isinstance(file.key, rsa.RSAPrivateKey)
    return file.key.private_numbers()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"algorithm": "EC"}, (600, "approver.algorithm")),
        ({"keySize": 1024}, (603, "approver.key-size")),
        ({"keySize": 10**12}, (603, "approver.key-size")),
        ({"validity": 0}, (600, "approver.validity")),
        ({"validity": -(10**12)}, (600, "approver.validity")),
        ({"backupPassword": []}, (600, "password.missing")),
        ({"backupPassword": ["no", "letters"]}, (600, "password.form")),
        ({"approverName": "a/b"}, (600, "approver.name")),
        ({"approverName": "x" * 65}, (600, "approver.name")),
    ],
)
def test_what_cannot_be_created_is_refused_by_name(
    web: httpx.Client, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refusal(web.post(f"{MANAGEMENT}/create", json=order("never", **changes))) == expected


def test_a_name_stands_for_one_approver(web: httpx.Client) -> None:
    officer = Officer("Elsa", "P-256")
    entry = {"approverName": "elsa", "approverCertificate": b64(officer.certificate)}
    assert web.post("/v1/approverDirectory", json=entry).status_code == 201
    assert refusal(web.post(f"{MANAGEMENT}/create", json=order("elsa"))) == (632, "approver.exists")
    created(web, "fred")
    assert refusal(web.post("/v1/approverDirectory", json={**entry, "approverName": "fred"})) == (
        632,
        "approver.exists",
    )


def test_a_transport_password_is_an_aes_key(web: httpx.Client) -> None:
    code = created(web, "greta")
    body = {"approverName": "greta", "oneTimeCode": code}
    for size in (15, 17, 24, 31):
        answer = web.post("/v1/approver/onboard", json={**body, "transportPassword": "x" * size})
        assert refusal(answer) == (600, "approver.transport-password")
    short = web.post("/v1/approver/onboard", json={**body, "transportPassword": "x" * 16}).json()
    vector, payload = (base64.b64decode(short[field]) for field in ("initializationVector", "encryptedPayload"))
    pkcs12.load_pkcs12(AESGCM(b"x" * 16).decrypt(vector, payload, None), PASSWORD.encode())


@pytest.mark.rule("R23", "R27")
def test_r23_r27_no_secret_lies_in_the_brokers_files_or_the_logs(desk: ServeProcess, web: httpx.Client) -> None:
    secret, transport = "never to be seen again", "transport transport transport!!!"
    answer = web.post(f"{MANAGEMENT}/create", json=order("hugo", backupPassword=secret))
    code = answer.json()["oneTimeCode"]
    body = {"approverName": "hugo", "oneTimeCode": code, "transportPassword": transport}
    assert web.post("/v1/approver/onboard", json=body).status_code == 200
    forgot = {"approverName": "hugo", "newBackupPassword": f"{secret} 2"}
    opening = web.post(f"{MANAGEMENT}/restoreFromBackup/forgotPassword", json=forgot).json()
    code = web.get(f"/v1/request/{opening['unwrapRequestId']}").json()["result"]
    assert code.isdecimal()
    lines = b"".join(path.read_bytes() for path in desk.directory.rglob("*") if path.is_file())
    for text in (secret, transport, "PRIVATE KEY"):
        assert text.encode() not in lines
        assert text not in desk.errors
    broker = b"".join(path.read_bytes() for path in desk.directory.glob("*") if path.is_file())
    assert opening["unwrapRequestId"].encode() in broker
    assert f'"{code}"'.encode() not in broker
    assert code not in desk.errors


def approve_request(rest: RestClient, officer: Officer, request_id: str) -> None:
    """An officer finds the task of a request, and approves it."""
    (task,) = fetch(rest, officer, requestId=request_id)
    approve(rest, officer, task)


@pytest.mark.rule("R23")
def test_r23_a_governed_backup_key_makes_people_decide(strict: ServeProcess) -> None:
    ada = Officer("Ada", "P-256")
    with strict.client() as rest, httpx.Client(base_url=strict.url, trust_env=False, timeout=60) as web:
        refused = web.post(f"{MANAGEMENT}/create", json=order("phone"))
        assert refusal(refused) == (701, "backup-key.missing")
        rest.create_key(
            "vault",
            "RSA",
            key_size=3072,
            attributes={"unwrap": True, "sign": False, "decrypt": False},
            policy=policy_json(make_policy(quorum(1, ada), modify=quorum(1, ada)), new=True),
        )
        who = {"approverName": "phone"}
        first = opened(bring(web, "phone", created(web, "phone")))
        plain = web.post(f"{MANAGEMENT}/restoreFromBackup", json=who).json()
        assert set(plain) == {"unwrapRequestId"}
        forgot = {**who, "newBackupPassword": "another"}
        asked = web.post(f"{MANAGEMENT}/restoreFromBackup/forgotPassword", json=forgot).json()["unwrapRequestId"]
        assert web.get(f"/v1/request/{asked}").json()["status"] == "PENDING"
        assert web.get(f"/v1/request/{asked}").json()["result"] is None
        approve_request(rest, ada, asked)
        state = web.get(f"/v1/request/{asked}").json()
        assert state["status"] == "EXECUTED", state
        other = opened(bring(web, "phone", state["result"]), "another")
        assert numbers(other) == numbers(first)
        # What was approved for the backup of then serves no more: it has been wrapped anew.
        approve_request(rest, ada, plain["unwrapRequestId"])
        stale = web.get(f"/v1/request/{plain['unwrapRequestId']}").json()
        assert (stale["status"], stale["result"]) == ("FAILED", None)
        assert "approver.restoration-differs" in stale["failure"]


@pytest.mark.rule("R23")
def test_r23_an_acknowledged_approver_survives_a_killed_server(tmp_path: Path) -> None:
    (tmp_path / "keyturn.yaml").write_text(OPEN)
    options = ["--config", str(tmp_path / "keyturn.yaml")]
    with ServeProcess(tmp_path / "data", options=options) as server:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as web:
            code = created(web, "phone")
            for _ in range(4):
                bring(web, "phone", f"{(int(code) + 1) % 10**6:06}")
        server.restart(signal.SIGKILL)
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as web:
            assert names(web.get(f"{MANAGEMENT}/onboarding/status").json()["pending"]) == {"phone"}
            # The tries that were used before are used.
            wrong = bring(web, "phone", f"{(int(code) + 1) % 10**6:06}")
            assert refusal(wrong) == (412, "approver.code-wrong")
            assert refusal(bring(web, "phone", code)) == (412, "approver.code-tries")
            code = web.post(f"{MANAGEMENT}/renewOneTimeCode", json={"approverName": "phone"}).json()["oneTimeCode"]
            opened(bring(web, "phone", code))


@pytest.mark.rule("R23")
def test_r23_the_code_of_a_restoration_is_for_the_role_that_manages_approvers(tmp_path: Path) -> None:
    (tmp_path / "keyturn.yaml").write_text(
        f"{OPEN}apiAuthentication: {{enabled: true, keyManagementToken: keys-key, keyOperationToken: uses-key, "
        "approverToken: officers-key, approverKeyManagementToken: desks-key}\n"
    )
    with (
        ServeProcess(tmp_path / "data", options=["--config", str(tmp_path / "keyturn.yaml")]) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60, headers={"X-API-KEY": "desks-key"}) as web,
    ):
        officer, keys, uses = ({"X-API-KEY": f"{who}-key"} for who in ("officers", "keys", "uses"))
        web.headers["X-API-KEY"] = "officers-key"
        assert refusal(web.post(f"{MANAGEMENT}/create", json=order("phone")), 403) == (400, "access.role")
        web.headers["X-API-KEY"] = "desks-key"
        code = created(web, "phone")
        body = {"approverName": "phone", "oneTimeCode": code, "transportPassword": TRANSPORT}
        assert web.post("/v1/approver/onboard", json=body, headers=officer).status_code == 200
        forgot = {"approverName": "phone", "newBackupPassword": "another"}
        asked = web.post(f"{MANAGEMENT}/restoreFromBackup/forgotPassword", json=forgot).json()["unwrapRequestId"]
        for others in (keys, uses):
            state = web.get(f"/v1/request/{asked}", headers=others).json()
            assert (state["status"], state["result"]) == ("EXECUTED", None)
        code = web.get(f"/v1/request/{asked}").json()["result"]
        opened(web.post("/v1/approver/onboard", json={**body, "oneTimeCode": code}, headers=officer), "another")
        # That role opens no other request: neither its result nor its end.
        key = {
            "label": "sales",
            "algorithm": "EC",
            "curveOid": "1.2.840.10045.3.1.7",
            "attributes": {"sign": True, "decrypt": False, "unwrap": False},
            "policy": policy_json(make_policy(quorum(1, Officer("Ada", "P-256"))), new=True),
        }
        made = web.post("/v1/key", json=key, headers=keys)
        assert made.status_code == 201, made.text
        sign = {"payload": b64(b"deal"), "signKeyName": "sales", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
        answer = web.post("/v1/sign", json={"signRequest": sign}, headers=uses)
        other = f"/v1/request/{answer.json()['signRequestId']}"
        assert web.get(other, headers=uses).json()["status"] == "PENDING"
        for verb in ("GET", "DELETE"):
            assert refusal(web.request(verb, other), 403) == (400, "access.role")
        assert refusal(web.get(f"{other}/preflight"), 403) == (400, "access.role")
