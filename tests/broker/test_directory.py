"""The approver directory: names that policies can list people by."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from keyturn.broker.directory import resolver
from keyturn.broker.states import RequestStatus
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.policy_json import policy_from_json
from keyturn_testing.broker_world import local_world, memory_world
from keyturn_testing.officers import Officer

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn_testing.broker_world import World
    from keyturn_testing.hsm_process import HsmProcess

ADA, BEN = Officer("ada", "P-256"), Officer("ben", "RSA")


def policy_of(*names: str) -> dict[str, Any]:
    """A policy that lists people by name; one of them is enough."""
    approvals = [{"type": "onboarded_approver_certificate", "name": name} for name in names]
    rule = {
        "tokens": [
            {
                "name": "main",
                "timelock": 0,
                "timeout": 0,
                "groups": [{"quorum": 1, "name": "g", "approvals": approvals}],
            }
        ]
    }
    return {"ruleUse": rule, "ruleBlock": rule, "ruleUnblock": rule, "ruleModify": rule}


async def refused(attempt: Any) -> tuple[ErrorCode, str]:
    with pytest.raises(KeyturnError) as caught:
        await attempt
    return caught.value.code, caught.value.refusal


def certificate(name: str | None, key_size: int = 2048) -> bytes:
    """A certificate with or without a common name, DER."""
    key = rsa.generate_private_key(65537, key_size)
    attribute = x509.NameAttribute(NameOID.COUNTRY_NAME, "CH")
    if name is not None:
        attribute = x509.NameAttribute(NameOID.COMMON_NAME, name)
    subject = x509.Name([attribute])
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start + dt.timedelta(days=9999))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


async def test_people_listed_by_name_approve_with_the_certificate_found_under_it(
    tmp_path: Path, hsm: HsmProcess
) -> None:
    async with local_world(tmp_path, hsm) as world:
        for officer in (ADA, BEN):
            await world.broker.onboard_approver(officer.name, officer.certificate)
        assert [entry.name for entry in await world.broker.approvers()] == ["ada", "ben"]
        found = resolver(await world.broker.approver_certificates())
        policy, _ = policy_from_json(policy_of("ben"), resolve=found)
        await world.create("by-name", policy)
        # Who is removed stays in the policies that list them: the HSM knows keys, not names (R22).
        await world.broker.remove_approver("ben")
        request_id = await world.ask_signature("by-name")
        await world.approve(BEN, request_id)
        assert (await world.view(request_id)).status is RequestStatus.EXECUTED
        # A name that is gone, or never was, is refused when a policy is made.
        found = resolver(await world.broker.approver_certificates())
        for name in ("ben", "eve"):
            with pytest.raises(KeyturnError) as caught:
                policy_from_json(policy_of(name), resolve=found)
            assert (caught.value.code, caught.value.refusal) == (ErrorCode.APPROVER_NOT_EXISTENT, "approver.unknown")
            assert caught.value.code.http_status == 404
            assert "policy.ruleUse.tokens[0].groups[0].approvals[0]" in caught.value.message
        policy_from_json(policy_of("ada"), resolve=found)


async def test_a_name_is_taken_once_and_free_again_when_removed(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        await world.broker.onboard_approver("ada", ADA.certificate)
        again = world.broker.onboard_approver("ada", BEN.certificate)
        assert await refused(again) == (ErrorCode.APPROVER_ALREADY_EXISTING, "approver.exists")
        assert dict(await world.broker.approver_certificates()) == {"ada": ADA.certificate}
        await world.broker.remove_approver("ada")
        assert await refused(world.broker.remove_approver("ada")) == (
            ErrorCode.APPROVER_NOT_EXISTENT,
            "approver.unknown",
        )
        await world.broker.onboard_approver("ada", BEN.certificate)
        (entry,) = await world.broker.approvers()
        assert (entry.certificate, entry.added_at) == (BEN.certificate, world.clock.now())


@pytest.mark.rule("R18")
@pytest.mark.parametrize(
    "name",
    ["", " ada", "a/b", "ada\u202e", "ada\n", unicodedata.normalize("NFD", "Zoë"), "x" * 129],
)
async def test_r18_names_follow_the_rules_of_labels(tmp_path: Path, name: str) -> None:
    async with memory_world(tmp_path) as (world, _):
        attempt = world.broker.onboard_approver(name, ADA.certificate)
        assert await refused(attempt) == (ErrorCode.VALIDATION_FAILED, "approver.name")
        await world.broker.onboard_approver("Zoë", ADA.certificate)


@pytest.mark.rule("R13")
async def test_r13_only_certificates_that_may_approve_are_taken(tmp_path: Path) -> None:
    async with memory_world(tmp_path) as (world, _):
        for der, code in (
            (b"no certificate", ErrorCode.PARSING_CERTIFICATE),
            (ADA.certificate + b"\x00", ErrorCode.PARSING_CERTIFICATE),
            (certificate("weak", 1024), ErrorCode.VALIDATION_FAILED),
            (certificate(None), ErrorCode.NO_NAME_FOR_CERTIFICATE_APPROVER),
        ):
            assert (await refused(world.broker.onboard_approver("eve", der)))[0] is code
        assert await world.broker.approvers() == []
        await world.broker.onboard_approver("eve", certificate("eve"))


async def test_the_directory_is_there_after_a_restart(tmp_path: Path) -> None:
    async def names(world: World) -> list[str]:
        return [entry.name for entry in await world.broker.approvers()]

    async with memory_world(tmp_path) as (world, _):
        await world.broker.onboard_approver("ada", ADA.certificate)
    async with memory_world(tmp_path) as (world, _):
        assert await names(world) == ["ada"]
