"""Certificates in the real HSM: it signs exactly the bytes that were approved, after checking what they say (R17)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.crypto.certificate_signatures import identifier_of
from keyturn.crypto.certificates import (
    CertificateFields,
    Issuer,
    Usages,
    key_identifier,
    make_certificate,
    make_name,
    make_request,
    serial_from,
)
from keyturn.crypto.foreign_certificates import read_certificate
from keyturn.crypto.registry import verify
from keyturn.hsm.client import HsmClient
from keyturn.ska import der
from keyturn.ska.actions import Action
from keyturn.ska.attestation import parse_attestation
from keyturn.ska.bound_key import BoundKey
from keyturn.ska.policy import Rule, encode_policy
from keyturn.ska.to_be_signed import read_to_be_signed, split_signed
from keyturn_testing.bound import ADA, BEN, POLICY, Key, make, request_id
from keyturn_testing.hsm_actions import approve, refused
from keyturn_testing.hsm_process import HsmProcess
from keyturn_testing.keys import P256, operation_id
from keyturn_testing.officers import make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.rule("R17")

ECDSA = "SHA256_WITH_ECDSA"
NOW = 1_800_000_000
ROOT, OTHER, LEAF = (make_name({"commonName": name}) for name in ("Root", "Other Root", "Leaf"))


async def _ordinary(client: HsmClient, label: str) -> bytes:
    made = await client.create(operation_id(), label, "EC", curve_oid=P256, attributes={"sign": True})
    return parse_attestation(made.xml).public_key


def _certificate(spki: bytes, signer: bytes, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "issuer": Issuer(ROOT, key_identifier(signer)),
        "subject": ROOT,
        "spki": spki,
        "algorithm": identifier_of(ECDSA, signer),
        "serial": serial_from(bytes(range(16))),
        "not_before": NOW,
        "days": 365,
        "certificate_authority": True,
        "usages": Usages(),
    }
    return make_certificate(CertificateFields(**values | changes))


class _Signer:
    """A key with what its officers approve.

    Args:
        client: A client of the HSM.
        key: The key.
    """

    def __init__(self, client: HsmClient, key: Key) -> None:
        self.client = client
        self.key = key
        self.spki = key.identity.spki

    def approvals(self, kind: str, data: bytes, request: str, algorithm: str = ECDSA) -> list[bytes]:
        return self.key.approved(data, lambda key: key.certify(request, kind, data, algorithm))

    async def sign(
        self,
        kind: str,
        data: bytes,
        *,
        approvals: Sequence[bytes] | None = None,
        authority: bool | None = None,
        algorithm: str = ECDSA,
        request: str = "",
        attach_to: str = "",
    ) -> bytes:
        request = request or request_id()
        if authority is None:
            authority = read_to_be_signed(data).certificate_authority
        answer = await self.client.sign_certificate(
            operation_id(),
            self.key.label,
            kind,
            data,
            algorithm,
            certificate_authority=authority,
            attach_to=attach_to,
            approvals=self.approvals(kind, data, request) if approvals is None else approvals,
            request_id=request,
        )
        return answer.data


@pytest.fixture(params=[False, True], ids=["as documented", "bound"])
async def root(request: pytest.FixtureRequest, client: HsmClient, label: str) -> _Signer:
    """A key under a policy, with a self-signed certificate."""
    signer = _Signer(client, await make(client, label, bound=request.param))
    made = await signer.sign("selfsign", _certificate(signer.spki, signer.spki))
    assert (await client.lookup(label)).certificate == made
    return signer


async def test_r17_a_key_signs_exactly_the_bytes_that_were_approved(root: _Signer) -> None:
    data = make_request(LEAF, root.spki, Usages(("DIGITAL_SIGNATURE",)))
    made = split_signed(await root.sign("csr", data))
    assert made.to_be_signed == data
    verify(root.spki, ECDSA, data, made.signature)
    for approvals in ([], root.approvals("csr", data, request_id())[:1]):
        assert (await refused(root.sign("csr", data, approvals=approvals))).refusal == "approvals.missing"
    # One bit of a name: the letter is another one, and nobody approved it.
    changed = data.replace(b"Leaf", b"Meaf")
    request = request_id()
    approved = root.approvals("csr", data, request)
    refusal = await refused(root.sign("csr", changed, approvals=approved, request=request))
    assert (0, "approval.wrong-payload") in refusal.bad_approvals
    await root.sign("csr", data, approvals=approved, request=request)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"issuer": Issuer(OTHER, bytes(20))}, "certificate.issuer"),
        ({"authority": True}, "certificate.ca-flag"),
        ({"certificate_authority": True, "authority": False}, "certificate.ca-flag"),
        ({"algorithm": identifier_of("SHA384_WITH_ECDSA", b"")}, "certificate.algorithm"),
        ({"kind": "selfsign"}, "certificate.other-key"),
        ({"kind": "csr"}, "certificate.wrong-kind"),
        ({"kind": "crl"}, "certificate.kind"),
    ],
)
async def test_r17_an_issued_certificate_names_its_issuer_and_says_what_was_asked(
    root: _Signer, changes: dict[str, Any], word: str
) -> None:
    leaf = await _ordinary(root.client, f"{root.key.label}-leaf")
    changes = dict(changes)
    how = {"authority": changes.pop("authority", None), "kind": changes.pop("kind", "issue")}
    fields = {"subject": LEAF, "certificate_authority": False} | changes
    data = _certificate(leaf, root.spki, **fields)
    request = request_id()
    # All of it is approved; what does not fit together is refused all the same.
    approvals = root.approvals(how["kind"] if how["kind"] != "crl" else "issue", data, request)
    refusal = await refused(
        root.sign(how["kind"], data, authority=how["authority"], approvals=approvals, request=request)
    )
    assert refusal.refusal == word
    made = await root.sign("issue", _certificate(leaf, root.spki, subject=LEAF, certificate_authority=False))
    assert read_certificate(made).spki == leaf


async def test_r17_what_is_signed_for_the_key_itself_is_about_the_key_itself(root: _Signer) -> None:
    other = await _ordinary(root.client, f"{root.key.label}-other")
    for kind, data in (
        ("csr", make_request(ROOT, other, Usages())),
        ("selfsign", _certificate(other, root.spki)),
    ):
        assert (await refused(root.sign(kind, data))).refusal == "certificate.other-key"
    data = _certificate(root.spki, root.spki, subject=LEAF)
    assert (await refused(root.sign("selfsign", data))).refusal == "certificate.issuer"
    await root.sign("csr", make_request(ROOT, root.spki, Usages()))
    await root.sign("selfsign", _certificate(root.spki, root.spki))


async def test_r17_bytes_that_are_no_certificate_are_not_signed_as_one(root: _Signer) -> None:
    data = _certificate(root.spki, root.spki)
    version, truth = bytes.fromhex("a003020102"), bytes.fromhex("0101ff")
    assert version in data
    assert truth in data
    for bad in (
        data.replace(version, bytes.fromhex("a003020101")),
        data.replace(truth, bytes.fromhex("010101")),
        b"\x31" + data[1:],
        data + b"\0",
        data[:-1],
        b"pay 5 to eve",
        b"",
    ):
        assert (await refused(root.sign("selfsign", bad, authority=True))).refusal == "certificate.form"
    await root.sign("selfsign", data)


@pytest.mark.rule("R7")
async def test_r7_no_approval_of_one_kind_serves_for_another_on_a_bound_key(client: HsmClient, label: str) -> None:
    signer = _Signer(client, await make(client, label, bound=True))
    data, request = _certificate(signer.spki, signer.spki), request_id()
    as_payload = signer.key.to_sign(request, data, ECDSA)
    as_certificate = signer.approvals("selfsign", data, request)
    as_issue = signer.approvals("issue", data, request)
    for approvals in (as_payload, as_issue):
        refusal = await refused(signer.sign("selfsign", data, approvals=approvals, request=request))
        assert (0, "approval.wrong-payload") in refusal.bad_approvals
    for approvals in (as_certificate, as_payload):
        # Not even with approvals for just that: a signature over these bytes is a certificate.
        act = client.sign(operation_id(), label, data, ECDSA, approvals=approvals, request_id=request)
        assert (await refused(act)).refusal == "payload.certificate"
    # Nor are bytes signed that keyturn would not sign as a certificate, and others would take for one: of version 1.
    version = bytes.fromhex("a003020102")
    lax = der.encode(der.SEQUENCE, data[data.index(version) + len(version) :])
    act = client.sign(
        operation_id(), label, lax, ECDSA, approvals=signer.key.to_sign(request, lax, ECDSA), request_id=request
    )
    assert (await refused(act)).refusal == "payload.certificate"
    other = signer.key.approved(data, lambda key: key.certify(request, "selfsign", data, "SHA384_WITH_ECDSA"))
    assert (await refused(signer.sign("selfsign", data, approvals=other, request=request))).bad_approvals
    await signer.sign("selfsign", data, approvals=as_certificate, request=request)


async def test_a_key_without_bound_approvals_signs_the_same_bytes_as_a_payload_unless_it_only_certifies(
    client: HsmClient, label: str
) -> None:
    """What the documented form cannot tell apart (docs/adr/0105): the officers saw these very bytes."""
    open_key = _Signer(client, await make(client, label, bound=False))
    data = _certificate(open_key.spki, open_key.spki)
    approvals = open_key.approvals("selfsign", data, request_id())
    assert await client.sign(operation_id(), label, data, ECDSA, approvals=approvals)
    narrow = f"{label}-ca"
    made = await client.create(
        operation_id(),
        narrow,
        "EC",
        curve_oid=P256,
        attributes={"sign": True},
        policy=encode_policy(POLICY),
        allowed_operations=["certify"],
        allowed_algorithms=[ECDSA],
    )
    spki = parse_attestation(made.xml).public_key
    key = _Signer(client, Key(narrow, bound=False, identity=BoundKey("", spki, b"")))
    data = _certificate(spki, spki)
    approvals = [approve(officer, narrow, Action.USE, data) for officer in (ADA, BEN)]
    refusal = await refused(client.sign(operation_id(), narrow, data, ECDSA, approvals=approvals))
    assert refusal.refusal == "key.operation-not-allowed"
    await key.sign("selfsign", data, approvals=approvals)
    signs = f"{label}-sign"
    await client.create(
        operation_id(), signs, "EC", curve_oid=P256, attributes={"sign": True}, allowed_operations=["sign"]
    )
    spki = (await client.lookup(signs)).public_key
    call = client.sign_certificate(operation_id(), signs, "csr", make_request(ROOT, spki, Usages()), ECDSA)
    assert (await refused(call)).refusal == "key.operation-not-allowed"


async def test_a_key_under_a_policy_issues_only_in_the_name_of_its_own_authority(client: HsmClient, label: str) -> None:
    signer = _Signer(client, await make(client, label, bound=False))
    leaf = await _ordinary(client, f"{label}-leaf")
    data = _certificate(leaf, signer.spki, subject=LEAF, certificate_authority=False)
    assert (await refused(signer.sign("issue", data))).refusal == "certificate.no-issuer"
    await signer.sign("selfsign", _certificate(signer.spki, signer.spki, certificate_authority=False))
    assert (await refused(signer.sign("issue", data))).refusal == "certificate.issuer-no-ca"
    await signer.sign("selfsign", _certificate(signer.spki, signer.spki))
    await signer.sign("issue", data)
    # An ordinary key issues in any name, as documented.
    ordinary = await client.sign_certificate(
        operation_id(),
        f"{label}-leaf",
        "issue",
        _certificate(signer.spki, leaf, subject=LEAF, certificate_authority=False),
        ECDSA,
    )
    assert read_certificate(ordinary.data).spki == signer.spki


@pytest.mark.rule("R18")
async def test_a_certificate_is_attached_only_to_the_key_that_it_is_for(client: HsmClient, label: str) -> None:
    leaf, other = f"{label}-leaf", f"{label}-other"
    spki = await _ordinary(client, leaf)
    await _ordinary(client, other)
    root = _Signer(client, await make(client, label, bound=False))
    await root.sign("selfsign", _certificate(root.spki, root.spki))
    data = _certificate(spki, root.spki, subject=LEAF, certificate_authority=False)
    assert (await refused(root.sign("issue", data, attach_to=other))).refusal == "certificate.other-key"
    assert (await refused(root.sign("issue", data, attach_to="nobody"))).refusal == "key.unknown"
    made = await root.sign("issue", data, attach_to=leaf)
    assert (await client.lookup(leaf)).certificate == made
    assert parse_attestation((await client.attest(leaf)).xml).certificate == made
    assert (await refused(client.attach_certificate(operation_id(), other, made))).refusal == "certificate.other-key"
    assert (await refused(client.attach_certificate(operation_id(), leaf, b"x"))).refusal == "certificate.encoding"
    await client.attach_certificate(operation_id(), leaf, b"")
    assert (await client.lookup(leaf)).certificate == b""
    assert (await refused(client.attach_certificate(operation_id(), leaf, b""))).refusal == "certificate.none"
    await client.attach_certificate(operation_id(), leaf, made)


@pytest.mark.rule("R28")
async def test_the_name_in_which_a_protected_key_issues_is_not_taken_away_without_approvals(
    client: HsmClient, label: str
) -> None:
    held = make_policy(use=quorum(2, ADA, BEN), modify=quorum(2, ADA, BEN))
    for name, policy, kept in (
        (label, held, True),
        (f"{label}-open", replace(held, modify=Rule.ALWAYS), False),
    ):
        made = await client.create(
            operation_id(), name, "EC", curve_oid=P256, attributes={"sign": True}, policy=encode_policy(policy)
        )
        spki = parse_attestation(made.xml).public_key
        signer = _Signer(client, Key(name, bound=False, identity=BoundKey("", spki, b"")))
        first = await signer.sign("selfsign", _certificate(spki, spki))
        again = await signer.sign("selfsign", _certificate(spki, spki, serial=7))
        # A renewal for the same name is taken; another name, or none, is not.
        await client.attach_certificate(operation_id(), name, first)
        foreign = f"{name}-ca"
        ca = await _ordinary(client, foreign)
        renamed = _certificate(spki, ca, subject=OTHER)
        other = (
            await client.sign_certificate(operation_id(), foreign, "issue", renamed, ECDSA, certificate_authority=True)
        ).data
        for certificate in (other, b""):
            act = client.attach_certificate(operation_id(), name, certificate)
            if kept:
                assert (await refused(act)).refusal == "certificate.name-kept"
                await client.attach_certificate(operation_id(), name, again)
            else:
                await act


async def test_a_certificate_outlives_the_process_and_a_repeated_call_signs_nothing_new(tmp_path: Path) -> None:
    with HsmProcess(tmp_path / "data") as hsm:
        client = await HsmClient.connect(hsm.address)
        signer = _Signer(client, await make(client, "root", bound=False))
        data, operation = _certificate(signer.spki, signer.spki), operation_id()
        approvals = signer.approvals("selfsign", data, "")

        async def sign() -> bytes:
            call = client.sign_certificate(
                operation, "root", "selfsign", data, ECDSA, certificate_authority=True, approvals=approvals
            )
            return (await call).data

        made = await sign()
        await client.close()
        hsm.kill()
        hsm.start()
        client = await HsmClient.connect(hsm.address)
        assert (await client.lookup("root")).certificate == made
        assert await sign() == made
        await client.close()


async def test_a_symmetric_key_has_no_certificates(client: HsmClient, label: str) -> None:
    await client.create(operation_id(), label, "AES", key_size=256, attributes={"decrypt": True})
    data = make_request(ROOT, await _ordinary(client, f"{label}-x"), Usages())
    call = client.sign_certificate(operation_id(), label, "csr", data, ECDSA)
    assert (await refused(call)).refusal == "key.symmetric"
    assert (await refused(client.attach_certificate(operation_id(), label, b"x"))).refusal == "key.symmetric"
    assert (await client.sign_certificate(operation_id(), f"{label}-x", "csr", data, ECDSA)).data


async def test_a_signature_that_takes_long_is_made_in_a_worker_and_attached(client: HsmClient, label: str) -> None:
    await client.create(operation_id(), label, "SLH-DSA-SHA2-128f", attributes={"sign": True})
    spki = (await client.lookup(label)).public_key
    data = _certificate(spki, spki, algorithm=identifier_of("SLH_DSA", spki))
    operation = operation_id()

    async def sign(algorithm: str = "SLH_DSA") -> bytes:
        call = client.sign_certificate(operation, label, "selfsign", data, algorithm, certificate_authority=True)
        return (await call).data

    assert (await refused(sign("SHA256_WITH_ECDSA"))).refusal == "certificate.algorithm"
    made = await sign()
    parts = split_signed(made)
    verify(spki, "SLH_DSA", data, parts.signature)
    assert parts.to_be_signed == data
    assert (await client.lookup(label)).certificate == made
    assert await sign() == made


@pytest.mark.rule("R21")
async def test_a_derived_key_asks_for_certificates_and_keeps_them_once_it_is_stored(
    client: HsmClient, label: str
) -> None:
    attributes = {"sign": True, "derive": True, "bip32": True}
    await client.create(operation_id(), label, "EC", curve_oid="1.3.132.0.10", attributes=attributes)
    child = f"{label}/0"
    spki = (await client.lookup(child)).public_key
    request = make_request(LEAF, spki, Usages())
    made = split_signed((await client.sign_certificate(operation_id(), child, "csr", request, ECDSA)).data)
    verify(spki, ECDSA, request, made.signature)
    act = client.sign_certificate(operation_id(), label, "csr", request, ECDSA)
    assert (await refused(act)).refusal == "certificate.other-key"
    data = _certificate(spki, spki)
    call = client.sign_certificate(operation_id(), child, "selfsign", data, ECDSA, certificate_authority=True)
    certificate = (await call).data
    assert (await client.lookup(child)).certificate == b""
    assert (await client.lookup(label)).certificate == b""
    assert (await refused(client.attach_certificate(operation_id(), child, certificate))).refusal == "key.derived"
