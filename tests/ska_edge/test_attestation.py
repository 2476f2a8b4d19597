"""Attested attributes: the documented text, one text per meaning, and what a forger might try."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from keyturn.crypto.keys import public_spki
from keyturn.crypto.registry import sign
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.attestation import (
    attestation_to_json,
    parse_attestation,
    render_attestation,
    verify_attestation,
)
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn_testing.attested import example_attestation, officer
from keyturn_testing.openssl import dgst_accepts

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

VECTORS: Final = Path(__file__).parent.parent / "vectors" / "ska-vectors.json"
GOOD: Final = render_attestation(example_attestation())


def certificate(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """A self-signed device certificate, long expired: dates do not matter to a pinned one."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "device")])
    start = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, start, start + dt.timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def device() -> rsa.RSAPrivateKey:
    """The device's attestation key."""
    return rsa.generate_private_key(65537, 3072)


# --- the text ----------------------------------------------------------------------------------------


def sample(name: str) -> str:
    """The text of a documented sample."""
    vectors = json.loads(VECTORS.read_text())
    return base64.b64decode(next(v["base64"] for v in vectors if v["name"] == name)).decode()


def test_the_text_is_the_documented_one_but_for_our_own_element() -> None:
    """The same key as in the vendor's first sample; only what keyturn adds or has not is taken out on each side."""
    documented = sample("slip10-key-attributes-xml-1")
    value = documented.split('name="ApproverKey1">')[1].split("<")[0]
    approver = Approver(base64.b64decode(value), None, "ApproverKey1")
    rule = Rule((Token("Token1", 0, 600, TimeUnit.MINUTES, (Group("Group1", 1, (approver,)),)),))
    attestation = example_attestation(
        label="TESTKEY2024-08-14_20-02-48.72168016257020",
        algorithm="ED",
        algorithm_oid="1.3.101.112",
        curve_oid=None,
        public_key=base64.b64decode("MCowBQYDK2VwAyEA/GpVPSJzhsGgH4mGLxRK3h1XFh9t90hwn7NKf8RKCNA="),
        attributes={
            "decrypt": True,
            "sign": True,
            "unwrap": True,
            "derive": True,
            "sensitive": True,
            "alwaysSensitive": True,
            "extractable": False,
            "neverExtractable": True,
            "modifiable": True,
            "copyable": False,
            "destroyable": True,
            "unique": True,
        },
        policy=Policy(rule, rule, rule, rule),
    )
    ours = render_attestation(attestation)
    before, _, after = ours.partition("\t<keyturn")
    shared = before + after.partition("</keyturn>\n")[2]
    without_uuid = "".join(line for line in shared.splitlines(True) if "<uuid>" not in line)
    assert without_uuid == "".join(x for x in documented.splitlines(True) if "<derivation_value" not in x)


def test_our_own_element_as_it_stands() -> None:
    text = render_attestation(
        example_attestation(
            policy=None,
            label='it\'s <one> & "only"',
            generation=3,
            key_id="pkcs#11 id",
            switches=("allowWeakKeys", "hsm.allowReplayedControlApprovals"),
            open_modify=True,
            creation="imported",
        )
    )
    key, integrity = (base64.b64encode(officer(n)).decode() for n in (100, 102))
    assert text == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<private_key creation="imported">\n'
        "\t<uuid>0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162</uuid>\n"
        "\t<label>it&apos;s &lt;one&gt; &amp; &quot;only&quot;</label>\n"
        "\t<create_time>2024-08-14T18:02:50Z</create_time>\n\t<attest_time>2024-08-14T18:02:59Z</attest_time>\n"
        "\t<key_use_count>1</key_use_count>\n\t<algorithm>EC</algorithm>\n"
        "\t<algorithm_oid>1.2.840.10045.2.1</algorithm_oid>\n\t<curve_oid>1.2.840.10045.3.1.7</curve_oid>\n"
        f"\t<public_key>{key}</public_key>\n"
        "\t<attributes>\n\t\t<decrypt>false</decrypt>\n\t\t<sign>true</sign>\n\t\t<unwrap>false</unwrap>\n"
        "\t\t<extractable>false</extractable>\n\t\t<destroyable>true</destroyable>\n\t</attributes>\n"
        '\t<keyturn version="1">\n'
        "\t\t<instance_id>6a1d3f60-93a4-4c9f-b0c1-7d5f2f0a1b2c</instance_id>\n"
        "\t\t<restore_epoch>0</restore_epoch>\n\t\t<state_counter>17</state_counter>\n"
        "\t\t<generation>3</generation>\n\t\t<key_id>pkcs#11 id</key_id>\n"
        "\t\t<open_modify>true</open_modify>\n\t\t<open_unblock>false</open_unblock>\n"
        "\t\t<isolation>machine</isolation>\n"
        "\t\t<switches>\n\t\t\t<switch>allowWeakKeys</switch>\n"
        "\t\t\t<switch>hsm.allowReplayedControlApprovals</switch>\n\t\t</switches>\n"
        "\t\t<integrity_key_name>integrity-1</integrity_key_name>\n"
        f"\t\t<integrity_key>{integrity}</integrity_key>\n\t</keyturn>\n</private_key>\n\n"
    )


# --- the signature -------------------------------------------------------------------------------------


@pytest.mark.rule("R19")
def test_r19_a_signed_text_is_verified_under_the_pinned_certificate(device: rsa.RSAPrivateKey) -> None:
    signature = sign(device, "SHA256_WITH_RSA", GOOD.encode())
    assert dgst_accepts(public_spki(device), signature, GOOD.encode(), "sha256")
    assert verify_attestation(GOOD, signature, certificate(device)) == example_attestation()


@pytest.mark.rule("R19")
def test_r19_the_signature_comes_first_and_covers_every_byte(device: rsa.RSAPrivateKey) -> None:
    signature, pinned = sign(device, "SHA256_WITH_RSA", GOOD.encode()), certificate(device)
    raised = GOOD.replace("<quorum>2", "<quorum>1")
    malformed = "<!DOCTYPE x>" + GOOD
    for text, of in (
        (raised, signature),
        (GOOD.rstrip("\n"), signature),
        (malformed, signature),
        (GOOD, bytes([signature[0] ^ 1]) + signature[1:]),
        (GOOD, b""),
        (GOOD, sign(device, "SHA384_WITH_RSA", GOOD.encode())),
        (GOOD, sign(device, "SHA256_WITH_RSA_PSS", GOOD.encode())),
    ):
        with pytest.raises(KeyturnError) as refused:
            verify_attestation(text, of, pinned)
        assert (refused.value.code, refused.value.refusal) == (
            ErrorCode.INVALID_SIGNATURE,
            "attestation.bad-signature",
        )
    with pytest.raises(FormatError) as refused_form:
        verify_attestation(malformed, sign(device, "SHA256_WITH_RSA", malformed.encode()), pinned)
    assert refused_form.value.refusal == "xml.invalid"


@pytest.mark.rule("R19")
def test_r19_another_device_does_not_count(device: rsa.RSAPrivateKey) -> None:
    other = rsa.generate_private_key(65537, 2048)
    signature = sign(device, "SHA256_WITH_RSA", GOOD.encode())
    with pytest.raises(KeyturnError) as refused:
        verify_attestation(GOOD, signature, certificate(other))
    assert refused.value.refusal == "attestation.bad-signature"
    signature = sign(other, "SHA256_WITH_RSA", GOOD.encode())
    assert verify_attestation(GOOD, signature, certificate(other)).label == "treasury"


@pytest.mark.parametrize("pinned", ["nothing", "noise", "EC"])
def test_a_certificate_that_cannot_verify_is_named_as_such(pinned: str, device: rsa.RSAPrivateKey) -> None:
    wrong = {"nothing": b"", "noise": b"\x30\x03abc", "EC": certificate(ec.generate_private_key(ec.SECP256R1()))}
    signature = sign(device, "SHA256_WITH_RSA", GOOD.encode())
    with pytest.raises(KeyturnError) as refused:
        verify_attestation(GOOD, signature, wrong[pinned])
    assert (refused.value.code, refused.value.refusal) == (
        ErrorCode.INVALID_CERTIFICATE,
        "attestation.device-certificate",
    )
    assert verify_attestation(GOOD, signature, certificate(device)).label == "treasury"


def test_the_documented_samples_have_no_element_of_ours_and_are_not_taken() -> None:
    for name in ("slip10-key-attributes-xml-1", "slip10-key-attributes-xml-2"):
        with pytest.raises(FormatError):
            parse_attestation(sample(name))


# --- JSON ------------------------------------------------------------------------------------------------


def test_the_json_object_has_the_documented_fields_and_no_other() -> None:
    shown = attestation_to_json(example_attestation())
    officers = [
        {"type": "public_key", "name": f"Officer {n}", "value": base64.b64encode(officer(n)).decode()}
        for n in (1, 2, 3)
    ]
    rule = {
        "tokens": [
            {
                "name": "main",
                "timelock": 0,
                "timeout": 0,
                "groups": [{"name": "officers", "quorum": 2, "approvals": officers}],
            }
        ]
    }
    assert json.loads(json.dumps(shown)) == {
        "label": "treasury",
        "id": None,
        "uuid": "0b9f3a52-5f0c-4a0e-8f5c-1d2e3f405162",
        "algorithm": "EC",
        "algorithmOid": "1.2.840.10045.2.1",
        "curveOid": "1.2.840.10045.3.1.7",
        "derivedAttributes": None,
        "keySize": None,
        "keyUsageCount": 1,
        "createTime": "2024-08-14T18:02:50Z",
        "attestTime": "2024-08-14T18:02:59Z",
        "publicKey": base64.b64encode(officer(100)).decode(),
        "addressTruncated": None,
        "attributes": {
            "decrypt": False,
            "sign": True,
            "ekaSign": None,
            "unwrap": False,
            "derive": None,
            "sensitive": None,
            "alwaysSensitive": None,
            "extractable": False,
            "neverExtractable": None,
            "modifiable": None,
            "copyable": None,
            "destroyable": True,
        },
        "policy": {
            "ruleUse": rule,
            "ruleBlock": rule,
            "ruleUnblock": rule,
            "ruleModify": rule,
            "keyStatus": {"blocked": False},
        },
    }


def test_the_json_object_of_an_ed_key_without_policy() -> None:
    shown = attestation_to_json(
        example_attestation(
            policy=None,
            algorithm="ED",
            algorithm_oid="1.3.101.112",
            curve_oid=None,
            key_id="7",
            attributes={"sign": True, "verify": True, "wrap": False, "unique": True},
        )
    )
    assert (shown["curveOid"], shown["policy"], shown["id"]) == (None, None, "7")
    attributes = shown["attributes"]
    assert isinstance(attributes, dict)
    assert attributes["verify"] is True
    assert "unique" not in attributes
    assert "wrap" not in attributes
