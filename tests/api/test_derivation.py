"""Seeds, derived keys and addresses over REST, with and without a policy, in one room and across the gap."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from api.conftest import error_of, sign_body
from keyturn.crypto.derivation import DERIVATION_CURVES, derive, master_from_seed
from keyturn.errors import KeyturnError
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.key_names import parse_path
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import ServeProcess, approve, b64, fetch, policy_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from keyturn.client import RestClient

    Officers = tuple[Officer, Officer, Officer]

SECP256K1 = "1.3.132.0.10"
SEED = bytes(range(64))
ATTRIBUTES = {"decrypt": False, "sign": True, "unwrap": False, "derive": True, "slip10": True, "destroyable": True}
SHA = "SHA256_WITH_ECDSA"


def seed_body(label: str, **changes: Any) -> dict[str, Any]:
    return {"label": label, "seed": b64(SEED), "curveOid": SECP256K1, "attributes": ATTRIBUTES} | changes


def request_for(name: str, payload: bytes) -> dict[str, Any]:
    return {"payload": b64(payload), "signKeyName": name, "signatureAlgorithm": SHA}


def public_of(path: str) -> bytes:
    return derive(master_from_seed(DERIVATION_CURVES[SECP256K1], SEED), parse_path(path)).public_key


def test_a_seed_is_imported_and_its_children_are_used_by_name(http: httpx.Client, rest: RestClient) -> None:
    made = http.post("/v1/importedKey", json=seed_body("wallet"))
    assert made.status_code == 201
    assert set(made.json()) >= {"json", "xml", "xmlSignature", "attestationKeyName"}
    assert made.json()["json"]["derivedAttributes"] is None
    name = "wallet/44'/0'/0'/0/1"
    signed = http.post("/v1/synchronousSign", json=sign_body(name))
    assert signed.status_code == 200, signed.text
    signature = base64.b64decode(signed.json()["signature"])
    assert dgst_accepts(public_of("44'/0'/0'/0/1"), signature, b"pay", "sha256")
    verify = {"signKeyName": name, "signatureAlgorithm": SHA, "payload": b64(b"pay"), "signature": b64(signature)}
    assert http.post("/v1/verify", json={"verifySignatureRequest": verify}).json() == {"signatureValid": True}
    verify["signKeyName"] = "wallet/44'/0'/0'/0/2"
    assert http.post("/v1/verify", json={"verifySignatureRequest": verify}).json() == {"signatureValid": False}
    json = rest.key_attributes(name)["json"]
    assert json["label"] == name
    assert json["derivedAttributes"] == {"derivationType": "SLIP-10", "derivationValue": "44'/0'/0'/0/1"}
    # The deprecated form has the name in its path.
    assert http.get(f"/v1/key/{name}/attributes").json()["json"]["publicKey"] == json["publicKey"]
    assert name not in rest.list_keys()


def test_a_wallet_client_imports_and_derives_as_it_does(http: httpx.Client) -> None:
    """As emvault sends it: `algorithm`, and attributes that mean nothing here; it reads the end of the SPKI."""
    attributes = ATTRIBUTES | {"encrypt": False, "verify": True, "wrap": False, "bip32": True, "extractable": False}
    made = http.post("/v1/importedKey", json=seed_body("emvault", algorithm="EC", attributes=attributes))
    assert made.status_code == 201, made.text
    given = {"sign": True, "derive": False, "slip10": True, "extractable": False, "destroyable": True}
    body = {"masterKeyLabel": "emvault", "derivationPath": "44'/60'/0'", "attributes": given}
    stored = http.post("/v1/derivedKey", json=body)
    assert stored.status_code == 201, stored.text
    key = load_der_public_key(public_of("44'/60'/0'"))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    point = base64.b64decode(stored.json()["json"]["publicKey"])[-65:]
    assert point == key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert stored.json()["json"]["label"] == "emvault/44'/60'/0'"
    assert "emvault/44'/60'/0'" in http.get("/v1/key").json()
    error_of(http.post("/v1/derivedKey", json=body), 400, 608)
    assert http.post("/v1/key/deleteKey", json={"label": "emvault/44'/60'/0'"}).status_code == 200
    assert "emvault/44'/60'/0'" not in http.get("/v1/key").json()


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [
        ({"seed": b64(bytes(15))}, 600, "seed.size"),
        ({"seed": b64(bytes(65))}, 600, "seed.size"),
        ({"seed": "?"}, 600, None),
        ({"curveOid": "1.3.132.0.34"}, 634, "derive.algorithm"),
        ({"algorithm": "RSA"}, 600, "key.algorithm"),
        ({"curveOid": "1.3.101.112", "attributes": ATTRIBUTES | {"slip10": False, "bip32": True}}, 634, "derive.ada"),
        ({"addressFormat": {"format": "DOGE"}}, 605, "address.format"),
        ({"addressFormat": {"format": "IOTA"}}, 605, "address.iota"),
        ({"addressFormat": {"format": "BTC"}}, 630, "address.without-policy"),
        ({"addressFormat": {"format": 5}}, 600, "json.wrong-type"),
        ({"label": "a/b"}, 610, "label.slash"),
    ],
)
def test_seeds_that_are_refused(http: httpx.Client, changes: dict[str, Any], code: int, word: str | None) -> None:
    label = f"seed-{sha256(repr(changes).encode()).hexdigest()[:8]}"
    error = error_of(http.post("/v1/importedKey", json=seed_body(label) | changes), 400, code)
    if word is not None:
        assert error["refusal"] == word
    assert http.post("/v1/importedKey", json=seed_body(label)).status_code == 201


def test_paths_that_are_refused(http: httpx.Client) -> None:
    http.post("/v1/importedKey", json=seed_body("paths")).raise_for_status()
    for path, code in (("", 610), ("x'", 606), ("m/0", 606), ("00", 606), ("4294967296", 606)):
        error_of(http.post("/v1/derivedKey", json={"masterKeyLabel": "paths", "derivationPath": path}), 400, code)
        error_of(http.post("/v1/synchronousSign", json=sign_body(f"paths/{path}")), 400, code)
    error_of(http.post("/v1/derivedKey", json={"masterKeyLabel": "nobody", "derivationPath": "0"}), 404, 650)
    error_of(http.post("/v1/synchronousSign", json=sign_body("/0'")), 400, 610)
    assert http.post("/v1/derivedKey", json={"masterKeyLabel": "paths", "derivationPath": "0"}).status_code == 201


def test_r21_a_stored_child_is_no_wider_than_its_master(http: httpx.Client) -> None:
    http.post("/v1/importedKey", json=seed_body("narrow")).raise_for_status()
    body = {"masterKeyLabel": "narrow", "derivationPath": "0'", "attributes": {"extractable": True}}
    assert error_of(http.post("/v1/derivedKey", json=body), 400, 606)["refusal"] == "attribute.child-extractable"
    assert http.post("/v1/derivedKey", json=body | {"attributes": {"extractable": None}}).status_code == 201


# --- addresses -------------------------------------------------------------------------------------------


def test_addresses_of_a_key_with_a_policy(http: httpx.Client, rest: RestClient, officers: Officers) -> None:
    policy = policy_json(make_policy(quorum(1, *officers)), new=True)
    body = {"algorithm": "EC", "curveOid": SECP256K1, "attributes": ATTRIBUTES, "policy": policy}
    made = http.post("/v1/key", json=body | {"label": "btc", "addressFormat": {"format": "BTC"}})
    assert made.status_code == 201, made.text
    address = rest.key_address("btc")
    assert len(address) == 20
    assert made.json()["json"]["addressTruncated"] == {"address": address.hex().upper(), "format": "BTC"}
    assert parse_attestation(made.json()["xml"]).address == ("BTC", address)
    assert base64.b64decode(http.get("/v1/key/btc/address").json()["address"]) == address
    child = rest.key_address("btc/84'/0'/0'/0/0")
    assert child != address
    assert base64.b64decode(http.get("/v1/key/btc/84'/0'/0'/0/0/address").json()["address"]) == child
    assert http.post("/v1/key", json=body | {"label": "no-address"}).status_code == 201
    error_of(http.post("/v1/key/address", json={"label": "no-address"}), 400, 630)
    error_of(http.post("/v1/key/address", json={"label": "nobody"}), 404, 650)


def test_an_imported_key_with_a_policy_has_an_address_too(http: httpx.Client, officers: Officers) -> None:
    """The key of BIP 173's examples, whose private key is one."""
    der = ec.derive_private_key(1, ec.SECP256K1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    attributes = {"decrypt": False, "sign": True, "unwrap": False}
    body = {"algorithm": "EC", "privateKey": b64(der), "attributes": attributes, "addressFormat": {"format": "BTC"}}
    error_of(http.post("/v1/key/import/plain", json=body | {"label": "bip-173"}), 400, 630)
    policy = policy_json(make_policy(quorum(1, *officers)), new=True)
    made = http.post("/v1/key/import/plain", json=body | {"label": "bip-173", "policy": policy})
    assert made.status_code == 201, made.text
    address = "751E76E8199196D454941C45D1B3A323F1433BD6"
    assert made.json()["json"]["addressTruncated"] == {"address": address, "format": "BTC"}
    wide = {"attributes": attributes | {"derive": True, "slip10": True}, "addressFormat": None}
    refused = error_of(http.post("/v1/key/import/plain", json=body | wide | {"label": "no-chain-code"}), 400, 606)
    assert refused["refusal"] == "attribute.no-chain-code"


# --- R21: requests with approvals ------------------------------------------------------------------------


@pytest.mark.rule("R21")
def test_r21_a_request_for_a_derived_key_of_a_protected_master(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    policy = policy_json(make_policy(quorum(2, ada, ben, eve)), new=True)
    rest.import_seed("treasury", SEED, SECP256K1, attributes=ATTRIBUTES, policy=policy)
    name = "treasury/44'/0'/7'"
    request_id = rest.sign(request_for(name, b"pay 5"))
    other = rest.sign(request_for("treasury/44'/0'/8'", b"pay 5"))
    own = rest.sign(request_for("treasury", b"pay 5"))
    for officer in (ada, ben):
        tasks = {task["id"]: task for task in fetch(rest, officer, requestId=request_id)}
        (task,) = tasks.values()
        assert name.encode() in base64.b64decode(task["approvalToBeSigned"])
        approve(rest, officer, task)
    done = rest.request(request_id)
    assert done["status"] == "EXECUTED"
    assert dgst_accepts(public_of("44'/0'/7'"), base64.b64decode(done["result"]), b"pay 5", "sha256")
    for waiting in (other, own):
        assert rest.request(waiting)["status"] == "PENDING"
    # Whoever deletes the master ends what waits for its children.
    rest.delete_key("treasury")
    for waiting in (other, own):
        assert rest.request(waiting)["status"] == "CANCELLED"


@pytest.fixture(scope="module")
def front(vault: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestClient]:
    """The online installation, which has no HSM."""
    directory = tmp_path_factory.mktemp("front")
    chain = directory / "device.pem"
    with vault.client() as rest:
        chain.write_text("".join(rest.attestation_chain()))
    with (
        ServeProcess(directory / "data", "air-gapped", ["--attestation-cert", str(chain)]) as server,
        server.client() as client,
    ):
        yield client


@pytest.mark.rule("R21")
def test_r21_across_the_gap_with_bound_approvals(rest: RestClient, front: RestClient, officers: Officers) -> None:
    ada, ben, _ = officers
    policy = policy_json(make_policy(quorum(2, ada, ben)), new=True)
    attributes = ATTRIBUTES | {"boundApprovals": True}
    rest.import_seed("gap-master", SEED, SECP256K1, attributes=attributes, address_format="ETH", policy=policy)
    name = "gap-master/44'/60'/0'/0/0"
    front.register_offline_key(rest.key_attributes(name))
    assert front.list_keys() == [name]
    assert front.key_address(name) == rest.key_address(name)
    request_id = front.sign(request_for(name, b"pay 7"))
    for officer in (ada, ben):
        (task,) = fetch(front, officer, requestId=request_id)
        approve(front, officer, task)
    carried = front.request(request_id)["inputOfflineHsm"]
    assert carried["signRequest"]["signKeyName"] == name
    # Approvals for one path are for that path alone.
    sibling = {"signRequest": carried["signRequest"] | {"signKeyName": "gap-master/44'/60'/0'/0/1"}}
    error_of_client(rest, sibling)
    signature = rest.ask("POST", "/v1/synchronousSign", carried)["signature"]
    front.import_offline_result({"id": request_id, "result": signature})
    done = front.request(request_id)
    assert (done["status"], done["result"]) == ("EXECUTED", signature)
    assert dgst_accepts(public_of("44'/60'/0'/0/0"), base64.b64decode(signature), b"pay 7", "sha256")


@pytest.mark.rule("R21")
def test_r21_open_requests_for_children_follow_their_masters_new_policy(rest: RestClient, officers: Officers) -> None:
    ada, ben, eve = officers
    before = make_policy(quorum(1, ada), modify=quorum(1, ada))
    rest.import_seed("moving", SEED, SECP256K1, attributes=ATTRIBUTES, policy=policy_json(before, new=True))
    request_id = rest.sign(request_for("moving/0'", b"pay 9"))
    assert not fetch(rest, ben, requestId=request_id)
    after = make_policy(quorum(1, ben), modify=quorum(1, eve))
    modify = rest.modify({"modifyKeyName": "moving", "policy": policy_json(after, new=False)})
    (task,) = fetch(rest, ada, requestId=modify)
    approve(rest, ada, task)
    assert rest.request(modify)["status"] == "EXECUTED"
    assert not fetch(rest, ada, requestId=request_id)
    (task,) = fetch(rest, ben, requestId=request_id)
    approve(rest, ben, task)
    assert rest.request(request_id)["status"] == "EXECUTED"


def error_of_client(rest: RestClient, body: dict[str, Any]) -> None:
    with pytest.raises(KeyturnError) as refused:
        rest.ask("POST", "/v1/synchronousSign", body)
    assert refused.value.refusal == "approvals.missing"
