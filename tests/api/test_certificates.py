"""Certificates over REST: the documented endpoints, clients' quirks, approvals, and what comes back across a gap."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from keyturn.clock import iso
from keyturn.crypto.foreign_certificates import read_certificate
from keyturn.ska.to_be_signed import SignedBytes, join_signed, read_to_be_signed, split_signed
from keyturn_testing.certificates import (
    certificate,
    chain_is_valid,
    der_of,
    issued,
    named,
    openssl,
    request_is_valid,
    self_signed,
)
from keyturn_testing.gap_world import gap_of
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import P256, b64, policy_json, proof
from keyturn_testing.timely_world import timely_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from keyturn.ska.policy import Policy
    from keyturn_testing.gap_world import Gap
    from keyturn_testing.timely_world import TimelyWorld

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve")
POLICY = make_policy(use=quorum(2, ADA, BEN, EVE))
AT_ONCE = "/v1/certificate/synchronous"


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[TimelyWorld]:
    async with timely_world(tmp_path) as made:
        yield made


async def _key(world: TimelyWorld, label: str, policy: Policy | None = None, **attributes: bool) -> None:
    body: dict[str, Any] = {
        "label": label,
        "algorithm": "EC",
        "curveOid": P256,
        "attributes": {"decrypt": False, "sign": True, "unwrap": False, **attributes},
    }
    if policy is not None:
        body["policy"] = policy_json(policy, new=True)
    await world.post("/v1/key", body)


async def _refused(world: TimelyWorld, path: str, body: dict[str, Any]) -> tuple[int, str]:
    answer = await world.http.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text
    error = answer.json()
    assert error["message"]
    return error["errorCode"], error["refusal"]


async def _request(world: TimelyWorld, label: str, **fields: Any) -> str:
    answer = await world.post(f"{AT_ONCE}/request", named(label, label, **fields))
    assert answer["label"] == label
    return str(answer["certificateSigningRequest"])


async def test_the_synchronous_endpoints_make_what_openssl_takes(world: TimelyWorld, tmp_path: Path) -> None:
    await _key(world, "root")
    await _key(world, "leaf")
    answer = await world.post(f"{AT_ONCE}/selfsign", self_signed("root", "Root"))
    root = answer["certificate"]
    assert answer["label"] == "root"
    assert (await world.get("/v1/certificate/root")) == {"label": "root", "certificate": root}
    request = await _request(world, "leaf", subjectAlternativeNames=[{"sanType": "DNS", "sanValue": "leaf.example"}])
    assert request.startswith("-----BEGIN NEW CERTIFICATE REQUEST-----\n")
    request_is_valid(request)
    downloaded = await world.http.post(f"{AT_ONCE}/request/download", json=named("leaf", "leaf"))
    assert downloaded.headers["content-disposition"] == 'attachment; filename="leaf.csr"'
    request_is_valid(downloaded.text)
    leaf = await world.post(f"{AT_ONCE}/sign", issued("root", request, copyExtensions="COPY", keyName="leaf"))
    assert leaf["label"] == "leaf"
    assert (await world.get("/v1/certificate/leaf"))["certificate"] == leaf["certificate"]
    text = openssl("x509", "-noout", "-text", stdin=leaf["certificate"])
    assert "Issuer: C = CH" not in text
    assert "DNS:leaf.example" in text
    assert "CA:FALSE" in text
    told = certificate(leaf["certificate"])
    assert (told.not_valid_after_utc - told.not_valid_before_utc).days == 3649
    openssl("x509", "-noout", "-checkend", "0", stdin=root)
    alias = await world.post(f"{AT_ONCE}/create/selfSigned", self_signed("root", "Root"))
    assert certificate(alias["certificate"]).serial_number != certificate(root).serial_number
    assert not chain_is_valid(tmp_path, root, [], request)


async def test_what_clients_send_is_read(world: TimelyWorld) -> None:
    """Usages joined by commas, empty texts for none, a bare common name, requests with either label."""
    await _key(world, "root")
    body = {
        "signKeyName": "root",
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "validity": 30,
        "keyPassword": [],
        "keyUsage": ["DIGITAL_SIGNATURE,KEY_AGREEMENT"],
        "extendedKeyUsage": ["SERVER_AUTH, CLIENT_AUTH"],
    }
    both = body | {"commonName": "a", "standardCertificateAttributes": {"commonName": "a", "country": "CH"}}
    request = (await world.post(f"{AT_ONCE}/request", both))["certificateSigningRequest"]
    told = read_to_be_signed(split_signed(der_of(request)).to_be_signed)
    assert told.key_usages == ("DIGITAL_SIGNATURE", "KEY_AGREEMENT")
    assert told.extended_key_usages == ("SERVER_AUTH", "CLIENT_AUTH")
    assert told.subject_text == "CN=a,C=CH"
    none = body | {"commonName": "a", "certificateAuthority": False, "keyUsage": [""], "extendedKeyUsage": [""]}
    made = (await world.post(f"{AT_ONCE}/selfsign", none))["certificate"]
    told = read_to_be_signed(split_signed(der_of(made)).to_be_signed)
    assert (told.key_usages, told.extended_key_usages) == ((), ())
    both["commonName"] = "b"
    assert await _refused(world, f"{AT_ONCE}/request", both) == (600, "certificate.name")
    for text in (request, request.replace("NEW ", ""), "".join(request.splitlines()[1:-1])):
        await world.post(f"{AT_ONCE}/sign", issued("root", text, "b"))


async def test_the_name_in_the_body_is_the_subjects_unless_it_is_the_issuers(world: TimelyWorld) -> None:
    for label in ("root", "leaf"):
        await _key(world, label)
    request = await _request(world, "leaf")

    async def names(*name: str) -> tuple[str, str]:
        answer = await world.post(f"{AT_ONCE}/sign", issued("root", request, *name))
        told = read_to_be_signed(split_signed(der_of(answer["certificate"])).to_be_signed)
        return told.issuer_text, told.subject_text

    # An ordinary key without a certificate issues in the name that is given, as documented.
    assert await names("Root") == ("CN=Root", "CN=leaf")
    assert await _refused(world, f"{AT_ONCE}/sign", issued("root", request)) == (612, "certificate.no-issuer")
    await world.post(f"{AT_ONCE}/selfsign", self_signed("root", "Root"))
    assert await names("Root") == ("CN=Root", "CN=leaf")
    assert await names() == ("CN=Root", "CN=leaf")
    assert await names("other") == ("CN=Root", "CN=other")


@pytest.mark.parametrize(
    ("path", "changes", "expected"),
    [
        ("request", {"signatureAlgorithm": "SHA1_WITH_RSA"}, (600, "certificate.algorithm")),
        ("request", {"signatureAlgorithm": "SHA256_WITH_RSA"}, (607, "signature.wrong-key-type")),
        ("request", {"signKeyName": "nobody"}, (650, "key.unknown")),
        ("request", {"keyUsage": ["SIGN"]}, (600, "certificate.field")),
        (
            "request",
            {"standardCertificateAttributes": {"commonName": "x", "country": "CHE"}},
            (600, "certificate.name"),
        ),
        ("request", {"standardCertificateAttributes": None}, (600, "certificate.name")),
        ("selfsign", {"validity": 0}, (600, "certificate.validity")),
        ("selfsign", {"keyUsage": ["DIGITAL_SIGNATURE"]}, (600, "certificate.usage")),
        ("sign", {"certificateSigningRequest": "x"}, (628, "csr.form")),
        ("sign", {"keyName": "root"}, (612, "certificate.other-key")),
    ],
)
async def test_what_makes_no_certificate_is_refused_with_its_code(
    world: TimelyWorld, path: str, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    for label in ("root", "leaf"):
        await _key(world, label)
    await world.post(f"{AT_ONCE}/selfsign", self_signed("root", "Root"))
    good = {
        "request": named("root", "x"),
        "selfsign": self_signed("root", "Root"),
        "sign": issued("root", await _request(world, "leaf"), "x"),
    }[path]
    assert await _refused(world, f"{AT_ONCE}/{path}", good | changes) == expected
    await world.post(f"{AT_ONCE}/{path}", good)


async def test_a_request_that_its_key_did_not_sign_is_answered_with_411(world: TimelyWorld) -> None:
    for label in ("root", "leaf"):
        await _key(world, label)
    await world.post(f"{AT_ONCE}/selfsign", self_signed("root", "Root"))
    request = der_of(await _request(world, "leaf"))
    parts = split_signed(request)
    renamed = join_signed(SignedBytes(parts.to_be_signed.replace(b"leaf", b"loaf"), parts.algorithm, parts.signature))
    assert await _refused(world, f"{AT_ONCE}/sign", issued("root", b64(renamed), "x")) == (411, "csr.signature")
    await world.post(f"{AT_ONCE}/sign", issued("root", b64(request), "x"))


async def test_certificates_are_attached_read_and_taken_off(world: TimelyWorld) -> None:
    for label in ("root", "leaf"):
        await _key(world, label)
    root = (await world.post(f"{AT_ONCE}/selfsign", self_signed("root", "Root")))["certificate"]
    for form in (b64(der_of(root)), root):
        answer = await world.post("/v1/certificate/import/plain", {"label": "root", "certificate": form})
        assert answer == {"label": "root", "certificate": root}
    wrong = {"label": "leaf", "certificate": b64(der_of(root))}
    assert await _refused(world, "/v1/certificate/import/plain", wrong) == (612, "certificate.other-key")
    wrong = {"label": "root", "certificate": b64(b"x")}
    assert await _refused(world, "/v1/certificate/import/plain", wrong) == (626, "certificate.encoding")
    assert (await world.http.delete("/v1/certificate/root")).status_code == 200
    for method in ("GET", "DELETE"):
        answer_now = await world.http.request(method, "/v1/certificate/root")
        assert (answer_now.status_code, answer_now.json()["refusal"]) == (400, "certificate.none")
    assert (await world.http.get("/v1/certificate/nobody")).status_code == 404


@pytest.mark.rule("R17")
@pytest.mark.parametrize("bound", [False, True], ids=["as documented", "bound"])
async def test_r17_officers_approve_the_bytes_and_the_certificate_consists_of_them(
    world: TimelyWorld, bound: bool
) -> None:
    await _key(world, "root", POLICY, boundApprovals=bound)
    await _key(world, "leaf")
    for path, inner, body, field in (
        ("selfsign", "selfSignCertificateRequest", self_signed("root", "Root"), "signedSelfSignCertificateRequestDto"),
        ("request", "csrSignRequest", named("root", "Root"), "signedCertificateRequestRequest"),
        (
            "sign",
            "signCertificateRequest",
            issued("root", await _request(world, "leaf"), "leaf", metaData=b64(b"for the shop")),
            "signedSignCertificateRequest",
        ),
    ):
        opened = await world.post(f"/v1/certificate/{path}", {inner: body})
        request_id = opened["signRequestId"]
        tasks = []
        for name in ("Sign", "All"):
            query = {"requestId": request_id, "detailLevel": "level5"}
            fetched = await world.post(f"/v1/filtered{name}ApprovalTask", proof(ADA, _moment(world)) | query)
            tasks += fetched["tasks"]
        assert tasks[0]["id"] == tasks[1]["id"]
        assert tasks[0][field][inner]["signKeyName"] == "root"
        data = b64decode(tasks[0]["payload"])
        told = read_to_be_signed(data)
        assert told.spki
        for officer in (ADA, BEN):
            (task,) = await world.tasks(officer, request_id)
            assert data in b64decode(task["approvalToBeSigned"])
            await world.approve(officer, task)
        view = await world.get(f"/v1/request/{request_id}")
        assert view["status"] == "EXECUTED", view
        assert split_signed(der_of(view["result"])).to_be_signed == data
        if path == "request":
            assert view["result"].startswith("-----BEGIN NEW CERTIFICATE REQUEST-----")
            request_is_valid(view["result"])
        else:
            assert certificate(view["result"]).serial_number == told.serial
            days = 3650 if path == "selfsign" else 90
            assert told.not_after - told.not_before == days * 86_400 - 1
            assert told.not_before == int(world.clock.now())
    # At once there are no approvals that could cover a serial number which nobody has seen yet.
    refusal = await _refused(world, f"{AT_ONCE}/selfsign", self_signed("root", "Root"))
    assert refusal == (701, "approvals.missing")


_ticks = iter(range(1_000_000))


def _moment(world: TimelyWorld) -> str:
    return f"{iso(world.clock.now())[:-1]}.9{next(_ticks):05d}Z"


# --- across the gap ------------------------------------------------------------------------------------------


async def _selfsign_in(gap: Gap, label: str) -> str:
    body = {"selfSignCertificateRequest": self_signed(label, "Root")}
    request_id = str((await gap.office.post("/v1/certificate/selfsign", body))["signRequestId"])
    await gap.approve(request_id, ADA, BEN)
    return request_id


@pytest.mark.rule("R17")
async def test_r17_only_a_certificate_of_the_approved_bytes_counts_at_the_office(tmp_path: Path) -> None:
    async with gap_of(tmp_path) as gap:
        await gap.key("root", POLICY)
        await gap.key("other", None)
        request_id = await _selfsign_in(gap, "root")
        result = await gap.in_the_vault(request_id)
        good = split_signed(b64decode(result["result"]))
        foreign = await gap.vault.post(
            "/v1/synchronousSign",
            {
                "signRequest": {
                    "payload": b64(good.to_be_signed),
                    "signKeyName": "other",
                    "signatureAlgorithm": "SHA256_WITH_ECDSA",
                }
            },
        )
        told = read_to_be_signed(good.to_be_signed)
        for parts in (
            # The subject, one bit of the serial number, another key's signature, a broken one, another algorithm.
            SignedBytes(good.to_be_signed.replace(b"Root", b"Soot"), good.algorithm, good.signature),
            SignedBytes(_bit(good.to_be_signed, told.serial), good.algorithm, good.signature),
            SignedBytes(good.to_be_signed, good.algorithm, b64decode(foreign["signature"])),
            SignedBytes(good.to_be_signed, good.algorithm, good.signature[:-1] + bytes([good.signature[-1] ^ 1])),
            SignedBytes(good.to_be_signed, bytes.fromhex("300a06082a8648ce3d040303"), good.signature),
        ):
            assert await gap.turned_away({"id": request_id, "result": b64(join_signed(parts))}) == "result.wrong"
        assert await gap.turned_away(result | {"result": b64(good.signature)}) == "result.wrong"
        assert (await gap.view(request_id))["status"] == "PENDING"
        await gap.bring_back(result)
        assert (await gap.view(request_id))["status"] == "EXECUTED"
        await gap.bring_back(result)


def _bit(data: bytes, serial: int) -> bytes:
    octets = serial.to_bytes(16, "big")
    return data.replace(octets, octets[:-1] + bytes([octets[-1] ^ 1]))


async def test_without_an_hsm_nothing_is_made_at_once_and_the_cure_is_named(tmp_path: Path) -> None:
    async with gap_of(tmp_path) as gap:
        await gap.key("root", POLICY)
        for path, body, cure in (
            (f"{AT_ONCE}/selfsign", self_signed("root", "Root"), "POST /v1/certificate/selfsign"),
            (f"{AT_ONCE}/request", named("root", "Root"), "POST /v1/certificate/request"),
            ("/v1/certificate/import/plain", {"label": "root", "certificate": b64(b"x")}, "POST /v1/offlineKey"),
        ):
            answer = await gap.office.http.post(path, json=body)
            assert (answer.status_code, answer.json()["errorCode"]) == (400, 611)
            assert cure in answer.json()["message"]
        request_id = await _selfsign_in(gap, "root")
        made = await gap.in_the_vault(request_id)
        await gap.bring_back(made)
        await gap.register("root")
        known = (await gap.office.get("/v1/certificate/root"))["certificate"]
        assert der_of(known) == b64decode(made["result"])
        assert read_certificate(der_of(known)).certificate_authority
