"""Attested attributes have one text per meaning: what is read back, and every other notation, which is refused."""

from __future__ import annotations

import base64
import dataclasses
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.attestation import (
    KeyAttestation,
    attestation_to_json,
    parse_attestation,
    render_attestation,
)
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token, encode_policy
from keyturn.ska.xml_tree import MAX_XML
from keyturn_testing.attested import example_attestation, officer, two_of_three

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


@given(policies)
def test_r19_the_json_object_follows_from_the_signed_text(policy: Policy) -> None:
    attestation = example_attestation(policy=policy)
    assert attestation_to_json(parse_attestation(render_attestation(attestation))) == attestation_to_json(attestation)
