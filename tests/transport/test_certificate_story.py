"""An offline root authority issues an intermediate one with three of five officers, across the air gap (R17).

Real servers and a real HSM process on both sides, `keyturn transport` as the courier, `openssl` as the judge.
"""

from __future__ import annotations

import base64
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.ska.to_be_signed import SignedBytes, join_signed, split_signed
from keyturn_testing.actions import refused
from keyturn_testing.certificates import (
    ROOT_NAME,
    chain_is_valid,
    der_of,
    issued,
    named,
    openssl,
    request_is_valid,
    self_signed,
)
from keyturn_testing.courier_world import World, ok, pin
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.rest_server import ServeProcess, approve, b64, create_ec_key, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LABEL = "root-ca"
OFFICERS = [
    Officer(name, kind) for name, kind in zip("abcde", ("P-256", "ED", "RSA", "secp256k1", "P-256"), strict=True)
]
THREE_OF_FIVE = quorum(3, *OFFICERS)

pytestmark = pytest.mark.rule("R17")


@contextmanager
def _authority(folder: Path, *, bound: bool) -> Iterator[World]:
    """A vault with the root's key, and an office that knows it."""
    with ServeProcess(folder / "vault") as vault:
        with vault.client() as rest:
            policy = make_policy(use=THREE_OF_FIVE, modify=THREE_OF_FIVE)
            attested = create_ec_key(rest, LABEL, policy, boundApprovals=bound, destroyable=False)
            (folder / "device.pem").write_text("".join(rest.attestation_chain()))
        options = ["--attestation-cert", str(folder / "device.pem")]
        with ServeProcess(folder / "office", "air-gapped", options) as office:
            vault_key, office_key = (ok("trust", "--data-dir", side.directory) for side in (vault, office))
            pin(vault.directory, "office", office_key)
            pin(office.directory, "vault", vault_key)
            world = World(folder, vault, office, base64.b64decode(attested["json"]["publicKey"]))
            _register(world, "first")
            yield world


def _register(world: World, name: str) -> None:
    """Carry the key's attested attributes, its certificate among them, into the office."""
    file = world.folder / f"key-{name}.ktb"
    ok("export", "--url", world.vault.url, "--key", LABEL, "--out", file, "--data-dir", world.vault.directory)
    ok("import", *world.at_office(file))


def _all_approve(world: World, request_id: str, officers: Sequence[Officer]) -> dict[str, Any]:
    with world.office.client() as rest:
        for officer in officers:
            (task,) = fetch(rest, officer, kind="Sign", requestId=request_id)
            approve(rest, officer, task)
        return rest.request(request_id)


def _across(world: World, request_id: str, name: str) -> dict[str, Any]:
    """Carry a request into the vault and its result back; the imported result before that, as JSON."""
    there, back = world.folder / f"{name}.ktb", world.folder / f"{name}-result.ktb"
    world.export(request_id, "--out", there)
    answer = ok("import", *world.at_vault(there), "--out", back)
    ok("import", *world.at_office(back))
    result: dict[str, Any] = answer["answer"]
    return result


@pytest.mark.parametrize(
    "bound",
    [
        pytest.param(True, id="bound approvals"),
        pytest.param(False, id="documented approvals", marks=pytest.mark.slow),
    ],
)
def test_r17_an_offline_root_issues_an_intermediate_with_three_of_five_officers(tmp_path: Path, *, bound: bool) -> None:
    with _authority(tmp_path, bound=bound) as world, ServeProcess(tmp_path / "online") as online:
        # The root's own certificate: three officers, the gap, and the vault's key.
        with world.office.client() as rest:
            body = self_signed(LABEL, "x") | {"standardCertificateAttributes": ROOT_NAME, "validity": 7300}
            first = rest.selfsign_certificate(body)
            assert refused(lambda: rest.certificate(LABEL)).refusal == "certificate.none"
        waiting = _all_approve(world, first, OFFICERS[:3])
        assert set(waiting["inputOfflineHsm"]) == {"certificateRequest"}
        result = _across(world, first, "root")
        root = world.status(first)["result"]
        assert der_of(root) == base64.b64decode(result["result"])
        assert chain_is_valid(tmp_path, root, [], root)
        # Its name travels in the attested attributes; from then on the office can name the issuer.
        _register(world, "second")
        with world.office.client() as rest:
            assert rest.certificate(LABEL) == root

        # The intermediate lives online and asks for a certificate.
        with online.client() as rest:
            for label in ("issuing", "leaf"):
                create_ec_key(rest, label, None)
            request = rest.synchronous_request_certificate(named("issuing", "Issuing 1", keyUsage=["KEY_CERT_SIGN"]))
        request_is_valid(request)

        # Three of five officers approve exactly these bytes; two are not enough.
        with world.office.client() as rest:
            wanted = issued(LABEL, request, "Issuing 1", certificateAuthority=True, validity=1825)
            second = rest.sign_certificate(wanted)
            assert not rest.preflight(second)["satisfied"]
        _all_approve(world, second, OFFICERS[1:3])
        with world.office.client() as rest:
            assert not rest.preflight(second)["satisfied"]
        _all_approve(world, second, OFFICERS[3:4])
        with world.office.client() as rest:
            assert rest.preflight(second)["satisfied"]
        carried = world.status(second)["inputOfflineHsm"]
        _refused_in_the_vault(world, carried)
        result = _across(world, second, "intermediate")
        intermediate = world.status(second)["result"]
        assert world.status(second)["status"] == "EXECUTED"
        assert split_signed(der_of(intermediate)).to_be_signed == base64.b64decode(
            carried["certificateRequest"]["toBeSigned"]
        )
        _refused_at_the_office(world, second, result)

        # Back online: attached to its key, it issues the leaf, and openssl follows the chain.
        with online.client() as rest:
            rest.import_certificate("issuing", der_of(intermediate))
            request = rest.synchronous_request_certificate(named("leaf", "leaf.example"))
            leaf = rest.synchronous_sign_certificate(
                issued(
                    "issuing",
                    request,
                    "leaf.example",
                    keyUsage=["DIGITAL_SIGNATURE"],
                    extendedKeyUsage=["SERVER_AUTH"],
                    subjectAlternativeNames=[{"sanType": "DNS", "sanValue": "leaf.example"}],
                    keyName="leaf",
                )
            )
            assert rest.certificate("leaf") == leaf
        assert chain_is_valid(tmp_path, root, [intermediate], leaf)
        assert not chain_is_valid(tmp_path, root, [], leaf)
        assert not chain_is_valid(tmp_path, leaf, [intermediate], root)
        text = openssl("x509", "-noout", "-text", stdin=leaf)
        assert "DNS:leaf.example" in text
        assert "TLS Web Server Authentication" in text
        assert "CA:TRUE" in openssl("x509", "-noout", "-text", stdin=intermediate)


def _refused_in_the_vault(world: World, carried: dict[str, Any]) -> None:
    """What a courier, or the office, could change on the way: the HSM signs none of it."""
    inner = carried["certificateRequest"]
    data = base64.b64decode(inner["toBeSigned"])
    assert data.count(b"Issuing 1") == 1
    assert data.count(b"Keyturn Root") == 1
    flags = bytes.fromhex("30030101ff"), bytes.fromhex("30030101fe")
    lies: list[tuple[dict[str, Any], str]] = [
        ({"toBeSigned": data.replace(b"Issuing 1", b"Issuing 2")}, "approvals.missing"),
        ({"toBeSigned": data.replace(b"Keyturn Root", b"Keyturn Soot")}, "certificate.issuer"),
        ({"toBeSigned": data.replace(*flags)}, "certificate.form"),
        ({"certificateAuthority": False}, "certificate.ca-flag"),
        ({"kind": "selfsign"}, "certificate.other-key"),
        ({"signatureAlgorithm": "SHA384_WITH_ECDSA"}, "certificate.algorithm"),
        ({"toBeSigned": data[:40] + bytes([data[40] ^ 1]) + data[41:]}, ""),
        ({"signedApprovals": inner["signedApprovals"][:2]}, "approvals.missing"),
    ]
    with world.vault.client() as rest:
        for changes, word in lies:
            written = {name: b64(value) if isinstance(value, bytes) else value for name, value in changes.items()}
            body = {"certificateRequest": inner | written}
            refusal = refused(lambda body=body: rest.execute_offline_input(body))  # type: ignore[misc]
            assert refusal.refusal == word or not word, (changes, refusal.refusal)


def _refused_at_the_office(world: World, request_id: str, result: dict[str, Any]) -> None:
    """After the result is in, another one is not taken; the same one twice does no harm."""
    parts = split_signed(base64.b64decode(result["result"]))
    forged = join_signed(SignedBytes(parts.to_be_signed, parts.algorithm, parts.signature[:-1] + b"\0"))
    with world.office.client() as rest:
        rest.import_offline_result(json.loads(json.dumps(result)))
        body = {"id": request_id, "result": b64(forged)}
        assert refused(lambda: rest.import_offline_result(body)).refusal == "result.other"
