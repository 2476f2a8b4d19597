"""Who may call what: every endpoint against every role, and every way to come in beside one that fails by a bit."""

from __future__ import annotations

import base64
import json
import ssl
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate

from keyturn.api.access.api_keys import ApiKeys, new_api_key
from keyturn.api.access.bearer import BearerTokens, load_jwks
from keyturn.api.access.gate import Gate
from keyturn.api.access.roles import ROLES, Role, roles_of, without_token
from keyturn.api.endpoints import ROUTES
from keyturn.api.errors import HttpError
from keyturn.api.tls import server_context
from keyturn.errors import KeyturnError
from keyturn_testing.certificates import certificate_of
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, create_ec_key, fetch, moment, proof
from keyturn_testing.tls import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path

PATHS = sorted({route.path for route in ROUTES})
KEYS = {role: f"the-key-of-{role.value}" for role in Role}
NOW = 1_800_000_000.0
ISSUER, AUDIENCE = "https://id.example", "keyturn"


class Clock:
    """A clock that a test sets."""

    reading = NOW

    def now(self) -> float:
        return self.reading


def refusal(error: HttpError) -> tuple[int, int]:
    return error.status, error.code.number


# --- roles --------------------------------------------------------------------------------------------


def gate_of_keys() -> Gate:
    return Gate(PATHS, api_keys=ApiKeys({role: [key] for role, key in KEYS.items()}), bearer=None)


@pytest.mark.parametrize("path", PATHS)
def test_every_endpoint_takes_its_roles_and_no_other(path: str) -> None:
    gate, needed = gate_of_keys(), roles_of(path)
    for role, key in KEYS.items():
        if needed is None or role in needed:
            gate.check(path, key.encode(), None, certificate=False)
            continue
        with pytest.raises(HttpError) as caught:
            gate.check(path, key.encode(), None, certificate=False)
        assert refusal(caught.value) == (403, 400)
        assert role.value in caught.value.message
    if needed is not None:
        with pytest.raises(HttpError) as caught:
            gate.check(path, None, None, certificate=False)
        assert refusal(caught.value) == (401, 416)


def test_an_endpoint_that_stands_in_no_role_is_an_error_at_the_start() -> None:
    Gate(["/v1/key"], api_keys=None, bearer=None)
    with pytest.raises(LookupError, match="/v1/keys stands in no role"):
        Gate(["/v1/keys"], api_keys=None, bearer=None)
    with pytest.raises(LookupError):
        roles_of("/v1")


def test_the_published_table_stands_in_ours() -> None:
    """rest-api.md section 1.5, and the deviations below it."""
    management, operation = frozenset({Role.KEY_MANAGEMENT}), frozenset({Role.KEY_OPERATION})
    service, approver = frozenset({Role.SERVICE}), frozenset({Role.APPROVER})
    assert roles_of("/v1/key/{keyName}/attributes") == management
    assert (
        roles_of("/v1/modify") == roles_of("/v1/synchronousModify") == roles_of("/v1/dataObject/{name}") == management
    )
    assert roles_of("/v1/certificate/synchronous/request") == operation | management
    assert roles_of("/v1/request/qrCode/{id}") == roles_of("/v1/filteredRequests") == operation | management
    assert roles_of("/v1/request/{id}/preflight") == operation | management
    # Ours: whoever manages approvers sees what became of their restorations (R23).
    assert roles_of("/v1/request/{id}") == operation | management | {Role.APPROVER_KEY_MANAGEMENT}
    assert roles_of("/v1/generateRandom/{length}") == operation | service
    assert roles_of("/v1/filteredAllApprovalTask") == roles_of("/v1/approver/onboard") == approver
    assert roles_of("/v1/approverManagement/create") == frozenset({Role.APPROVER_KEY_MANAGEMENT})
    assert roles_of("/v1/hsm/log/today") == roles_of("/v1/keystore/statistics") == service
    assert roles_of("/swagger-ui/index.html") is None
    assert all(path.startswith("/v1/") for path in ROLES)


# --- API keys ------------------------------------------------------------------------------------------


def test_a_key_is_known_as_it_is_and_by_its_hash_and_a_bit_beside_is_not() -> None:
    made, hashed = new_api_key()
    assert hashed == f"sha256:{sha256(made.encode()).hexdigest()}"
    keys = ApiKeys({Role.SERVICE: ["old", hashed], Role.APPROVER: ["old"]})
    assert keys.roles(b"old") == {Role.SERVICE, Role.APPROVER}
    assert keys.roles(made.encode()) == {Role.SERVICE}
    for wrong in (bytes([made.encode()[0] ^ 1]) + made.encode()[1:], hashed.encode(), b"", b"ol", b"\xff"):
        with pytest.raises(HttpError) as caught:
            keys.roles(wrong)
        assert refusal(caught.value) == (401, 631)
    assert made not in repr(vars(keys))


# --- bearer tokens -------------------------------------------------------------------------------------

SIGNERS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk(algorithm: str, key: Any) -> dict[str, Any]:
    writer = jwt.get_algorithm_by_name(algorithm)
    entry = writer.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in entry.items() if name != "key_ops"} | {"kid": algorithm}


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [jwk(name, key) for name, key in SIGNERS.items()]}))
    return file


@pytest.fixture
def bearer(jwks: Path) -> BearerTokens:
    return BearerTokens(load_jwks(jwks), issuer=ISSUER, audience=AUDIENCE, role_claim="roles", clock=Clock())


def token(algorithm: str = "ES256", kid: str | None = None, key: Any = None, **changes: Any) -> bytes:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(NOW) + 60, "roles": ["keyOperation"]} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key or SIGNERS[algorithm], algorithm, headers={"kid": kid or algorithm}).encode()


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_token_of_the_issuer_opens_its_roles(bearer: BearerTokens, algorithm: str) -> None:
    assert bearer.roles(b"Bearer " + token(algorithm)) == {Role.KEY_OPERATION}
    assert bearer.roles(b"bearer " + token(algorithm, roles="service approver")) == {Role.SERVICE, Role.APPROVER}
    good = token(algorithm)
    head, body, signature = good.split(b".")
    raw = bytearray(base64.urlsafe_b64decode(signature + b"=="))
    raw[-1] ^= 1
    bad = b".".join([head, body, base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=")])
    with pytest.raises(HttpError) as caught:
        bearer.roles(b"Bearer " + bad)
    assert refusal(caught.value) == (401, 617)


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"iss": "https://other.example"}, 617),
        ({"aud": "another"}, 617),
        ({"exp": int(NOW)}, 617),
        ({"exp": None}, 617),
        ({"exp": "tomorrow"}, 617),
        ({"nbf": int(NOW) + 1}, 617),
        ({"iss": None}, 617),
        ({"aud": None}, 617),
        ({"kid": "unknown"}, 617),
        ({"kid": "RS256"}, 617),
        ({"roles": []}, 618),
        ({"roles": ["root"]}, 618),
        ({"roles": {"service": True}}, 618),
        ({"roles": None}, 618),
    ],
)
def test_a_token_that_differs_in_one_thing_does_not_count(
    bearer: BearerTokens, changes: dict[str, Any], number: int
) -> None:
    assert bearer.roles(b"Bearer " + token())
    with pytest.raises(HttpError) as caught:
        bearer.roles(b"Bearer " + token(**changes))
    assert refusal(caught.value) == (401, number)


def test_a_token_cannot_choose_its_algorithm(bearer: BearerTokens) -> None:
    """RFC 8725, 2.1: neither none, nor the public key as a shared secret, counts."""
    public = SIGNERS["ES256"].public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    shared = token("HS256", kid="ES256", key=public)
    nothing = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "exp": int(NOW) + 60, "roles": ["service"]}, "", "none")
    for one in (shared, nothing.encode(), b"x.y.z", b"a" * (17 << 10), b"\xff\xfe"):
        with pytest.raises(HttpError) as caught:
            bearer.roles(b"Bearer " + one)
        assert refusal(caught.value) == (401, 617)


def test_a_token_that_was_verified_ends_when_it_ends(jwks: Path) -> None:
    clock = Clock()
    bearer = BearerTokens(load_jwks(jwks), issuer=ISSUER, audience=AUDIENCE, role_claim="roles", clock=clock)
    header = b"Bearer " + token()
    assert bearer.roles(header) == bearer.roles(header)
    clock.reading = NOW + 59.9
    assert bearer.roles(header)
    clock.reading = NOW + 60
    with pytest.raises(HttpError, match="has ended"):
        bearer.roles(header)


@pytest.mark.parametrize("header", [b"", b"Bearer", b"Bearer ", b"Basic YTpi"])
def test_what_is_no_bearer_token_is_missing_one(bearer: BearerTokens, header: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        bearer.roles(header)
    assert refusal(caught.value) == (401, 406)


@pytest.mark.parametrize(
    "defect", ["private", "weak", "twice", "no-kid", "shared", "other-use", "empty", "no-json", "gone"]
)
def test_a_key_set_that_cannot_be_relied_on_stops_the_start(tmp_path: Path, defect: str) -> None:
    good = jwk("ES256", SIGNERS["ES256"])
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [good]}))
    assert set(load_jwks(file)) == {"ES256"}
    private = jwt.get_algorithm_by_name("ES256").to_jwk(SIGNERS["ES256"], as_dict=True) | {"kid": "p"}
    weak = jwk("RS256", rsa.generate_private_key(65537, 1024))  # noqa: S505 - That it is refused is the point.
    entries = {
        "private": [private],
        "weak": [weak],
        "twice": [good, good],
        "no-kid": [{name: value for name, value in good.items() if name != "kid"}],
        "shared": [{"kty": "oct", "k": "AAAA", "kid": "s"}],
        "other-use": [good | {"use": "enc"}],
        "empty": [],
    }
    file.write_text("{" if defect == "no-json" else json.dumps({"keys": entries.get(defect, [])}))
    with pytest.raises(KeyturnError) as caught:
        load_jwks(tmp_path / "nowhere.json" if defect == "gone" else file)
    assert caught.value.code.number == 301
    assert caught.value.refusal == "config.jwks"


def test_keys_and_tokens_are_two_ways_to_the_same_roles(bearer: BearerTokens) -> None:
    both = Gate(PATHS, api_keys=ApiKeys({Role.SERVICE: ["s"]}), bearer=bearer)
    good = b"Bearer " + token(roles="service")
    both.check("/v1/versionInfo", b"s", None, certificate=False)
    both.check("/v1/versionInfo", None, good, certificate=False)
    with pytest.raises(HttpError) as caught:
        both.check("/v1/versionInfo", b"wrong", good, certificate=False)
    assert refusal(caught.value) == (401, 631)
    with pytest.raises(HttpError) as caught:
        both.check("/v1/versionInfo", None, None, certificate=True)
    assert refusal(caught.value) == (401, 416)
    Gate(PATHS, api_keys=None, bearer=bearer, certificate_is_enough=True).check(
        "/v1/versionInfo", None, None, certificate=True
    )


def test_tokens_are_not_looked_at_where_approvers_sign(bearer: BearerTokens) -> None:
    """rest-api.md section 1.5: since 1.13.0 for task queries, since 2.2.0 for onboarding."""
    gate = Gate(PATHS, api_keys=None, bearer=bearer)
    gate.check("/v1/filteredAllApprovalTask", None, None, certificate=False)
    assert without_token("/v1/approver/onboard")
    for path in ("/v1/approval", "/v1/task", "/v1/filteredRequests", "/v1/key"):
        with pytest.raises(HttpError) as caught:
            gate.check(path, None, None, certificate=False)
        assert refusal(caught.value) == (401, 406)


# --- the real server -----------------------------------------------------------------------------------


def test_a_server_with_keys_lets_each_role_in_and_nobody_else(tmp_path: Path) -> None:
    service, hashed = new_api_key()
    config = tmp_path / "keyturn.yaml"
    config.write_text(
        "apiAuthentication:\n  enabled: true\n"
        f"  serviceToken: [old-service-key, '{hashed}']\n  keyManagementToken: the-managers-key\n"
    )
    server = ServeProcess(tmp_path / "office", options=["--config", str(config)])
    with server, httpx.Client(base_url=server.url, trust_env=False) as rest:
        for key in ("old-service-key", service):
            assert rest.get("/v1/versionInfo", headers={"X-API-KEY": key}).status_code == 200
        missing, wrong, role = (
            rest.get("/v1/versionInfo", headers=headers)
            for headers in ({}, {"X-API-KEY": service[:-1]}, {"X-API-KEY": "the-managers-key"})
        )
        assert (missing.status_code, missing.json()["errorCode"]) == (401, 416)
        assert (wrong.status_code, wrong.json()["errorCode"]) == (401, 631)
        assert (role.status_code, role.json()["errorCode"]) == (403, 400)
        assert rest.get("/v1/key", headers={"X-API-KEY": "the-managers-key"}).json() == []
        assert rest.get("/v3/api-docs").status_code == 200
        assert rest.post("/v1/sign", content=b"{").json()["errorCode"] == 416, "asked before anything is read"
    assert "API keys" in server.said
    assert service not in server.said


def test_a_server_that_needs_certificates_speaks_tls_with_those_its_authority_knows(tmp_path: Path) -> None:
    ours, others = CertificateAuthority(tmp_path, "ours"), CertificateAuthority(tmp_path, "others")
    end = ours.issue("server", trusting=ours)
    config = tmp_path / "keyturn.yaml"
    config.write_text(
        f"tls:\n  certificate: {end.certificate}\n  key: {end.key}\n  clientAuthentication: need\n"
        f"  clientCa: {ours.file}\n  minimumVersion: TLSv1.3\n"
    )
    with ServeProcess(tmp_path / "office", options=["--config", str(config)]) as server:
        assert server.url.startswith("https://")

        def asked(authority: CertificateAuthority | None, *, newest: ssl.TLSVersion, **headers: str) -> int:
            context = ssl.create_default_context(cafile=str(ours.file))
            context.maximum_version = newest
            if authority is not None:
                mine = authority.issue("client", trusting=ours)
                context.load_cert_chain(mine.certificate, mine.key)
            with httpx.Client(base_url=server.url, verify=context, trust_env=False) as rest:
                return rest.get("/v1/versionInfo", headers=headers).status_code

        assert asked(ours, newest=ssl.TLSVersion.TLSv1_3) == 200
        assert asked(ours, newest=ssl.TLSVersion.TLSv1_3, origin=server.url) == 200
        assert asked(ours, newest=ssl.TLSVersion.TLSv1_3, origin="https://other.example") == 403
        for authority, newest in ((None, ssl.TLSVersion.TLSv1_3), (others, ssl.TLSVersion.TLSv1_3)):
            with pytest.raises(httpx.TransportError):
                asked(authority, newest=newest)
        with pytest.raises(httpx.TransportError):
            asked(ours, newest=ssl.TLSVersion.TLSv1_2)


def test_where_certificates_are_welcome_a_key_does_as_well(tmp_path: Path) -> None:
    ours = CertificateAuthority(tmp_path, "ours")
    end = ours.issue("server", trusting=ours)
    config = tmp_path / "keyturn.yaml"
    config.write_text(
        f"tls: {{certificate: {end.certificate}, key: {end.key}, clientAuthentication: want, clientCa: {ours.file}}}\n"
        "apiAuthentication: {enabled: true, serviceToken: a-service-key}\n"
    )
    with ServeProcess(tmp_path / "office", options=["--config", str(config)]) as server:
        without = ssl.create_default_context(cafile=str(ours.file))
        without.maximum_version = ssl.TLSVersion.TLSv1_2
        with httpx.Client(base_url=server.url, verify=without, trust_env=False) as rest:
            assert rest.get("/v1/versionInfo").status_code == 401
            assert rest.get("/v1/versionInfo", headers={"X-API-KEY": "a-service-key"}).status_code == 200
        mine = ours.issue("client", trusting=ours)
        shown = ssl.create_default_context(cafile=str(ours.file))
        shown.load_cert_chain(mine.certificate, mine.key)
        with httpx.Client(base_url=server.url, verify=shown, trust_env=False) as rest:
            assert rest.get("/v1/versionInfo").status_code == 200
            assert rest.get("/v1/key").json() == []


def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    ours = CertificateAuthority(tmp_path, "ours")
    end, another = ours.issue("server", trusting=ours), ours.issue("another", trusting=ours)

    def context(certificate: Path = end.certificate, key: Path = end.key, ca: Path | None = None) -> ssl.SSLContext:
        return server_context(certificate, key, minimum_version="TLSv1.2", clients="none", client_ca=ca)

    assert context().minimum_version is ssl.TLSVersion.TLSv1_2
    for wrong in (
        {"key": another.key},
        {"certificate": tmp_path / "gone.pem"},
        {"ca": end.key},
        {"key": end.certificate},
    ):
        with pytest.raises(KeyturnError) as caught:
            context(**wrong)
        assert caught.value.refusal == "config.tls"
        assert str(next(iter(wrong.values()))) in caught.value.message


def test_a_listed_service_reads_the_tasks_of_all_officers_and_can_neither_approve_nor_reject(tmp_path: Path) -> None:
    """rest-api.md section 3.7, `timestampSigningCertificate`: 405 where it is not configured."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = certificate_of(key)
    (tmp_path / "service.pem").write_bytes(pem)
    config = tmp_path / "keyturn.yaml"
    config.write_text(f"general:\n  allowedTimestampSigningCertificates: [{tmp_path / 'service.pem'}]\n")
    ada, bob = Officer("ada"), Officer("bob")

    def asked(timestamp: str, by: Any = key, certificate: bytes = pem, **more: object) -> dict[str, object]:
        der = load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
        return {
            "timestamp": timestamp,
            "timestampSignature": base64.b64encode(by.sign(timestamp.encode(), ec.ECDSA(SHA256()))).decode(),
            "timestampDigestAlgorithm": "SHA-256",
            "timestampSigningCertificate": base64.b64encode(der).decode(),
        } | more

    with ServeProcess(tmp_path / "office", options=["--config", str(config)]) as server, server.client() as rest:
        create_ec_key(rest, "treasury", make_policy(quorum(2, ada, bob)))
        payload = base64.b64encode(b"pay").decode()
        rest.sign({"payload": payload, "signKeyName": "treasury", "signatureAlgorithm": "SHA256_WITH_ECDSA"})
        tasks = rest.ask("POST", "/v1/filteredAllApprovalTask", asked(moment()))["tasks"]
        assert {one["approverPublicKey"] for one in tasks} == {base64.b64encode(o.spki).decode() for o in (ada, bob)}
        adas: dict[str, Any] = {"approverPublicKey": base64.b64encode(ada.spki).decode()}
        (one,) = rest.ask("POST", "/v1/filteredSignApprovalTask", asked(moment(), **adas))["tasks"]
        assert one["id"] == fetch(rest, ada)[0]["id"]
        stranger = ec.generate_private_key(ec.SECP256R1())
        theirs = asked(moment(), stranger, certificate_of(stranger))["timestampSigningCertificate"]
        for body, number in (
            (asked(moment(), stranger, certificate_of(stranger)), 405),
            (asked(moment(), stranger), 403),
            (asked("2020-01-01T00:00:00Z"), 404),
            (proof(ada) | {"timestampSigningCertificate": theirs}, 405),
        ):
            with pytest.raises(KeyturnError) as caught:
                rest.call("POST", "/v1/filteredAllApprovalTask", body)
            assert caught.value.code.number == number
        with pytest.raises(KeyturnError, match="only approvers themselves reject"):
            rest.call("DELETE", "/v1/task", asked(moment(), id=one["id"], **adas))
