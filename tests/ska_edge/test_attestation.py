"""Attested attributes: the documented text, one text per meaning, and what a forger might try."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from keyturn.crypto.keys import public_spki
from keyturn.crypto.registry import sign
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.attestation import (
    KeyAttestation,
    attestation_to_json,
    parse_attestation,
    render_attestation,
    verify_attestation,
)
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token, encode_policy
from keyturn.ska.xml_tree import MAX_XML
from keyturn_testing.attested import example_attestation, officer, two_of_three
from keyturn_testing.openssl import dgst_accepts

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

VECTORS: Final = Path(__file__).parent.parent / "vectors" / "ska-vectors.json"


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


# --- one text per meaning ------------------------------------------------------------------------------

names = st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=12)
approvers = st.builds(Approver, st.integers(0, 9).map(officer), st.none(), names)
groups = st.builds(Group, names, st.integers(0, 5), st.lists(approvers, max_size=3).map(tuple))


@st.composite
def tokens(draw: st.DrawFn) -> Token:
    """Any token, in either unit, whole minutes or not."""
    unit = draw(st.sampled_from(TimeUnit))
    times = st.integers(0, 5000).map(lambda count: count * unit.seconds) | st.integers(0, 9).map(lambda n: n * 60)
    return Token(draw(names), draw(times), draw(times), unit, tuple(draw(st.lists(groups, max_size=2))))


rules = st.sampled_from([Rule.ALWAYS, Rule.NEVER]) | st.builds(Rule, st.lists(tokens(), max_size=3).map(tuple))
policies = st.builds(Policy, rules, rules, rules, rules)


@given(policies, st.booleans())
def test_a_policy_that_is_read_back_is_the_policy_that_was_attested(policy: Policy, blocked: bool) -> None:
    """Names, absent names, units and order included, so that its binary form (and digest) is the same too."""
    attestation = example_attestation(policy=policy, blocked=blocked)
    again = parse_attestation(render_attestation(attestation))
    assert again == attestation
    assert again.policy is not None
    assert encode_policy(again.policy) == encode_policy(policy)


@given(
    st.builds(
        example_attestation,
        generation=st.integers(1, 10**17),
        creation=st.sampled_from(["generated", "imported", "derived"]),
        create_time=st.integers(0, 10**10),
        key_use_count=st.integers(0, 10**17),
        curve_oid=st.none() | st.just("1.3.132.0.10"),
        key_size=st.none() | st.integers(0, 8192),
        public_key=st.binary(min_size=1, max_size=50),
        key_id=st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=9),
        attributes=st.dictionaries(st.sampled_from(["sign", "ekaSign", "bip32", "unique"]), st.booleans()),
        policy=st.none(),
        restore_epoch=st.integers(0, 99),
        state_counter=st.integers(0, 10**17),
        isolation=st.sampled_from(["none", "user", "machine"]),
        switches=st.sets(st.sampled_from(["a", "b.c", "hsm.allowWeakKeys"])).map(lambda s: tuple(sorted(s))),
        open_modify=st.booleans(),
        open_unblock=st.booleans(),
        integrity_key_name=st.sampled_from(["integrity", "timestamp & <1>"]),
    )
)
def test_what_is_read_back_is_what_was_attested(attestation: KeyAttestation) -> None:
    assert parse_attestation(render_attestation(attestation)) == attestation
    assert parse_attestation(render_attestation(attestation).encode()) == attestation


def test_whole_minutes_written_in_seconds_stay_seconds_and_minutes_stay_minutes() -> None:
    texts = {
        (unit, timeout): render_attestation(example_attestation(policy=Policy(*[two_of_three(unit, 0, timeout)] * 4)))
        for unit, timeout in ((TimeUnit.MINUTES, 600), (TimeUnit.SECONDS, 600), (TimeUnit.SECONDS, 601))
    }
    assert 'unit="seconds"' not in texts[TimeUnit.MINUTES, 600]
    assert texts[TimeUnit.SECONDS, 600].count('<token name="main" unit="seconds">') == 4
    assert "unit" not in texts[TimeUnit.SECONDS, 601]
    for (unit, timeout), text in texts.items():
        policy = parse_attestation(text).policy
        assert policy is not None
        assert (policy.use.tokens[0].unit, policy.use.tokens[0].timeout) == (unit, timeout)


GOOD: Final = render_attestation(example_attestation())


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("\n<private_key", '\n<!DOCTYPE x [<!ENTITY e "v">]>\n<private_key', id="DTD"),
        pytest.param("\n<private_key", '\n<!DOCTYPE x SYSTEM "file:///etc/passwd">\n<private_key', id="external DTD"),
        pytest.param("<label>treasury", "<label>&e;treasury", id="undefined entity"),
        pytest.param("\t<uuid>", "\t<!-- harmless -->\n\t<uuid>", id="comment"),
        pytest.param("treasury</label>", "<!---->treasury</label>", id="comment in text"),
        pytest.param("treasury</label>", "<![CDATA[treasury]]></label>", id="CDATA"),
        pytest.param("\t<uuid>", "\t<?target data?>\n\t<uuid>", id="processing instruction"),
        pytest.param("</private_key>\n\n", "</private_key>\n\n<?end?>", id="processing instruction behind"),
        pytest.param("\t<keyturn", "\t<more>1</more>\n\t<keyturn", id="unknown element"),
        pytest.param("\t\t<generation>", "\t\t<more/>\n\t\t<generation>", id="unknown element of ours"),
        pytest.param("<label>", '<label lang="de">', id="unknown attribute"),
        pytest.param('creation="generated"', 'creation="generated" storage="external"', id="external storage"),
        pytest.param('creation="generated"', 'creation="found"', id="unknown creation"),
        pytest.param('creation="generated"', "creation='generated'", id="other quotes"),
        pytest.param(' creation="generated"', "", id="creation missing"),
        pytest.param("private_key", "secret_key", id="another root"),
        pytest.param("\t<attest_time>2024-08-14T18:02:59Z</attest_time>\n", "", id="element missing"),
        pytest.param("<sign>true</sign>\n", "<sign>true</sign>\n\t\t<sign>true</sign>\n", id="element twice"),
        pytest.param(
            "<decrypt>false</decrypt>\n\t\t<sign>true</sign>",
            "<sign>true</sign>\n\t\t<decrypt>false</decrypt>",
            id="other order",
        ),
        pytest.param("<sign>true", "<sign>TRUE", id="other boolean"),
        pytest.param("<sign>true", "<sign> true", id="space in text"),
        pytest.param("<sign>true", "<sign>&#116;rue", id="character reference"),
        pytest.param("<quorum>2", "<quorum>02", id="leading zero"),
        pytest.param("<quorum>2", "<quorum>+2", id="sign"),
        pytest.param("<quorum>2", "<quorum>\u0662", id="other digits"),
        pytest.param("<timeout>0", "<timeout>-1", id="negative"),
        pytest.param("<timeout>0", "<timeout>9999999999999", id="too many digits"),
        pytest.param("\t<label>", "    <label>", id="spaces for tabs"),
        pytest.param("\t<label>", "\t\t<label>", id="other indentation"),
        pytest.param("\n", "\r\n", id="other line ends"),
        pytest.param("</private_key>\n\n", "</private_key>\n", id="one newline at the end"),
        pytest.param("</private_key>\n\n", "</private_key>\n\n\n", id="three newlines at the end"),
        pytest.param("</private_key>\n\n", "</private_key>\n\n<private_key></private_key>", id="two roots"),
        pytest.param("</private_key>", "", id="cut"),
        pytest.param("<?xml", "\ufeff<?xml", id="byte order mark"),
        pytest.param('encoding="UTF-8"', 'encoding="UTF-16"', id="other encoding"),
        pytest.param('version="1.0"', 'version="1.1"', id="other XML version"),
        pytest.param('<keyturn version="1">', '<keyturn version="2">', id="later version"),
        pytest.param('<keyturn version="1">', "<keyturn>", id="no version"),
        pytest.param("<generation>1", "<generation>0", id="generation 0"),
        pytest.param("0b9f3a52-", "0B9F3A52-", id="UUID in upper case"),
        pytest.param("<isolation>machine", "<isolation>not at all", id="isolation no word"),
        pytest.param("<switches>\n\t\t</switches>", "<switches/>", id="empty element"),
        pytest.param("<label>treasury", "<label>trea/sury", id="label with slash"),
        pytest.param("<label>treasury", "<label>trea<b>s</b>ury", id="element in text"),
        pytest.param("\t<policy>", "\ttext<policy>", id="text beside elements"),
        pytest.param("<key_status>", "<key_status>text", id="text where elements belong"),
        pytest.param('type="public_key"', 'type="certificate"', id="key called a certificate"),
        pytest.param('type="public_key"', 'type="onboarded"', id="unknown kind of approver"),
        pytest.param('<token name="main">', '<token name="main" unit="minutes">', id="unit that is left out"),
        pytest.param('<token name="main">', '<token name="main" unit="hours">', id="unknown unit"),
        pytest.param("2024-08-14T18:02:50Z", "2024-08-14T18:02:50+00:00", id="other time form"),
        pytest.param("<algorithm_oid>1.2", "<algorithm_oid>1.02", id="OID with a zero"),
    ],
)
def test_r19_a_text_with_any_other_notation_is_refused(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(FormatError):
        parse_attestation(GOOD.replace(old, new))
    assert parse_attestation(GOOD) == example_attestation()


@pytest.mark.rule("R24")
def test_r24_the_receipt_key_stands_in_the_second_version_and_the_first_stays_readable() -> None:
    second = render_attestation(example_attestation(receipt_key=officer(104)))
    assert second == GOOD.replace('<keyturn version="1">', '<keyturn version="2">').replace(
        "\t</keyturn>", f"\t\t<receipt_key>{base64.b64encode(officer(104)).decode()}</receipt_key>\n\t</keyturn>"
    )
    assert parse_attestation(second).receipt_key == officer(104)
    assert parse_attestation(GOOD).receipt_key is None
    # Each version holds what belongs to it.
    line = next(line for line in second.splitlines(True) if "receipt_key" in line)
    for wrong in (
        second.replace('<keyturn version="2">', '<keyturn version="1">'),
        second.replace(line, ""),
        second.replace(line, line * 2),
        second.replace(line, "\t\t<receipt_key></receipt_key>\n"),
    ):
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    with pytest.raises(FormatError, match="update this side") as refused:
        parse_attestation(second.replace('<keyturn version="2">', '<keyturn version="4">'))
    assert refused.value.refusal == "attestation.version"
    with pytest.raises(FormatError, match="not empty"):
        render_attestation(example_attestation(receipt_key=b""))


@pytest.mark.rule("R19")
def test_r19_base64_has_one_spelling() -> None:
    value = base64.b64encode(example_attestation().integrity_key).decode()
    for wrong in (
        value.rstrip("="),
        value[:8] + "\n" + value[8:],
        value[:-3] + chr(ord(value[-3]) + 1) + "==",
        "",
        "-_",
    ):
        with pytest.raises(FormatError):
            parse_attestation(GOOD.replace(value, wrong))


@pytest.mark.rule("R19")
def test_r19_every_changed_byte_is_refused_or_changes_the_meaning() -> None:
    original = parse_attestation(GOOD)
    data = GOOD.encode()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 1
        read = None
        try:
            read = parse_attestation(bytes(changed))
        except KeyturnError:
            continue
        assert read != original
        assert render_attestation(read).encode() == bytes(changed)


@pytest.mark.rule("R19")
def test_r19_size_and_depth_are_bounded() -> None:
    padded = GOOD.replace("treasury", "x" * MAX_XML)
    deep = GOOD.replace("<label>", "<label>" + "<a>" * 12).replace("</label>", "</a>" * 12 + "</label>")
    for text, word in ((padded, "xml.size"), (deep, "xml.depth")):
        with pytest.raises(FormatError) as refused:
            parse_attestation(text)
        assert refused.value.refusal == word
    shallow = deep.replace("<a>" * 12, "<a>" * 10).replace("</a>" * 12, "</a>" * 10)
    with pytest.raises(FormatError) as refused:
        parse_attestation(shallow)
    assert refused.value.refusal == "xml.invalid"


@given(st.binary(max_size=300) | st.text(max_size=200))
def test_any_bytes_are_refused_with_our_own_error(noise: bytes | str) -> None:
    with pytest.raises(FormatError):
        parse_attestation(noise)


@given(st.data())
def test_any_mixture_of_parts_is_refused_with_our_own_error(data: st.DataObject) -> None:
    lines = GOOD.splitlines(True)
    picked = data.draw(st.lists(st.sampled_from(lines), max_size=40))
    with pytest.raises(FormatError):
        parse_attestation(lines[0] + "".join(picked))


@pytest.mark.parametrize(
    "bad",
    [
        {"policy": None, "blocked": True},
        {"label": "a/b"},
        {"attributes": {"sing": True}},
        {"switches": ("b", "a")},
        {"switches": ("a", "a")},
        {"switches": ("a b",)},
        {"generation": 0},
        {"state_counter": -1},
        {"state_counter": 10**18},
        {"uuid": "0b9f3a52"},
        {"curve_oid": "P-256"},
        {"create_time": -1},
        {"integrity_key": b""},
        {"creation": "found"},
        {"policy": Policy(*[Rule((Token("a\0b", 0, 0, TimeUnit.MINUTES, ()),))] * 4)},
        {"policy": Policy(*[Rule((Token("x" * 70_000, 0, 0, TimeUnit.MINUTES, ()),))] * 4)},
        {"key_id": "\ud800"},
    ],
)
def test_what_could_not_be_read_back_is_not_written(bad: dict[str, object]) -> None:
    with pytest.raises(KeyturnError):
        render_attestation(dataclasses.replace(example_attestation(), **bad))  # type: ignore[arg-type] # On purpose.
    assert render_attestation(example_attestation()) == GOOD


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


@given(policies)
def test_r19_the_json_object_follows_from_the_signed_text(policy: Policy) -> None:
    attestation = example_attestation(policy=policy)
    assert attestation_to_json(parse_attestation(render_attestation(attestation))) == attestation_to_json(attestation)


@pytest.mark.rule("R6")
def test_r6_the_third_version_holds_the_stores_counter_and_accepted_rollbacks() -> None:
    second = render_attestation(example_attestation(receipt_key=officer(104)))
    third = render_attestation(example_attestation(receipt_key=officer(104), store_counter=23, accepted_rollbacks=1))
    assert '<keyturn version="3">' in third
    lines = "\t\t<store_counter>23</store_counter>\n\t\t<accepted_rollbacks>1</accepted_rollbacks>\n"
    assert lines in third
    read = parse_attestation(third)
    assert (read.store_counter, read.accepted_rollbacks) == (23, 1)
    before = parse_attestation(second)
    assert (before.store_counter, before.accepted_rollbacks) == (None, None)
    for wrong in (
        third.replace('<keyturn version="3">', '<keyturn version="2">'),
        third.replace("\t\t<accepted_rollbacks>1</accepted_rollbacks>\n", ""),
        third.replace("<store_counter>23", "<store_counter>-1"),
        third.replace("<store_counter>23", "<store_counter>16"),
    ):
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    for bad in ({"store_counter": 23}, {"accepted_rollbacks": 1}):
        with pytest.raises(FormatError, match="come together"):
            render_attestation(example_attestation(receipt_key=officer(104), **bad))
    with pytest.raises(FormatError, match="the receipt key is, too"):
        render_attestation(example_attestation(store_counter=23, accepted_rollbacks=0))


NARROWED = {
    "receipt_key": officer(104),
    "store_counter": 23,
    "accepted_rollbacks": 0,
    "attributes": {"sign": True, "boundApprovals": True, "singleUse": False},
    "allowed_operations": ("sign",),
    "allowed_algorithms": ("SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"),
}


@pytest.mark.rule("R7")
@pytest.mark.rule("R9")
def test_r7_r9_the_third_version_says_what_narrows_a_key() -> None:
    attestation = example_attestation(**NARROWED)
    text = render_attestation(attestation)
    assert text.endswith(
        "\t\t<accepted_rollbacks>0</accepted_rollbacks>\n"
        "\t\t<bound_approvals>true</bound_approvals>\n\t\t<single_use>false</single_use>\n"
        "\t\t<allowed_operations>\n\t\t\t<operation>sign</operation>\n\t\t</allowed_operations>\n"
        "\t\t<allowed_algorithms>\n\t\t\t<algorithm>SHA256_WITH_ECDSA</algorithm>\n"
        "\t\t\t<algorithm>SHA512_WITH_ECDSA</algorithm>\n\t\t</allowed_algorithms>\n"
        "\t</keyturn>\n</private_key>\n\n"
    )
    assert parse_attestation(text) == attestation
    shown = attestation_to_json(attestation)["attributes"]
    assert isinstance(shown, dict)
    assert shown["boundApprovals"] is True
    assert "singleUse" not in shown
    assert shown["allowedOperations"] == ["sign"]
    assert shown["allowedAlgorithms"] == ["SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"]
    # A key without any of it is shown as documented.
    plain = attestation_to_json(example_attestation())["attributes"]
    assert isinstance(plain, dict)
    assert not plain.keys() & {"boundApprovals", "singleUse", "allowedOperations", "allowedAlgorithms"}
    for wrong in (
        text.replace("\t\t\t<operation>sign</operation>\n", ""),
        text.replace("<operation>sign</operation>", "<operation></operation>"),
        text.replace("SHA256_WITH_ECDSA", "SHA900_WITH_ECDSA"),
        text.replace(
            "\t\t<bound_approvals>true</bound_approvals>\n\t\t<single_use>false</single_use>\n", "", 1
        ).replace("<allowed_algorithms>", "<bound_approvals>true</bound_approvals>\n<allowed_algorithms>", 1),
        text.replace("<bound_approvals>true", "<bound_approvals>yes"),
    ):
        assert wrong != text
        with pytest.raises(FormatError):
            parse_attestation(wrong)
    changed = parse_attestation(text.replace("<bound_approvals>true", "<bound_approvals>false"))
    assert changed.attributes["boundApprovals"] is False


@pytest.mark.rule("R9")
@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_operations": ("sign", "decrypt")},
        {"allowed_algorithms": ("A", "A")},
        {"allowed_algorithms": ("no word",)},
        {"store_counter": None, "accepted_rollbacks": None},
        {"store_counter": None, "accepted_rollbacks": None, "allowed_operations": (), "allowed_algorithms": ()},
    ],
)
def test_r9_a_limit_that_could_not_be_read_back_is_not_written(changes: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        render_attestation(example_attestation(**(NARROWED | changes)))
    render_attestation(example_attestation(**NARROWED))
