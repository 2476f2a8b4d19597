"""The policy in JSON: strict, with the path of what is wrong, and the documented codes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.ska.policy import EMPTY_POLICY, Approver, Policy, Rule, TimeUnit
from keyturn.ska.policy_json import policy_from_json, policy_to_json
from keyturn.ska.policy_rules import check_policy
from keyturn_testing.ska import group, person, token, use_policy


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def by_key(name: str) -> dict[str, Any]:
    return {"type": "public_key", "name": name, "value": b64(person(name).spki)}


def by_certificate(name: str) -> dict[str, Any]:
    return {"type": "certificate", "name": None, "value": b64(person(name).certificate)}


def with_use(rule: object, **more: object) -> dict[str, Any]:
    return {"ruleUse": rule, "ruleBlock": None, "ruleUnblock": None, "ruleModify": {"tokens": None}, **more}


def good() -> dict[str, Any]:
    officers = {"name": "officers", "quorum": 2, "approvals": [by_key("alice"), by_key("bob"), by_key("carol")]}
    return with_use({"tokens": [{"name": "main", "timelock": 60, "timeout": 600, "groups": [officers]}]})


GOOD_POLICY = Policy(
    Rule((token(group(2, "alice", "bob", "carol"), timelock=60, timeout=600),)), Rule.ALWAYS, Rule.ALWAYS, Rule.NEVER
)


def put(policy: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """Set what stands at a path such as `ruleUse.tokens.0.name`."""
    *way, last = path.split(".")
    place: Any = policy
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    place[int(last) if isinstance(place, list) else last] = value
    return policy


TOKEN = "ruleUse.tokens.0"
GROUP = f"{TOKEN}.groups.0"
APPROVER = f"{GROUP}.approvals.0"


def test_a_policy_is_read_and_shown_again() -> None:
    policy, blocked = policy_from_json(good())
    assert (policy, blocked) == (GOOD_POLICY, False)
    assert policy_to_json(policy, blocked=None) == good()
    assert policy_to_json(policy, blocked=True) == {**good(), "keyStatus": {"blocked": True}}
    check_policy(policy)
    assert json.loads(json.dumps(policy_to_json(policy, blocked=False)))["keyStatus"] == {"blocked": False}


def test_null_is_always_and_null_tokens_are_never() -> None:
    policy, _ = policy_from_json({"ruleUse": None, "ruleBlock": {"tokens": None}, "ruleUnblock": {"tokens": []}})
    assert policy == Policy(Rule.ALWAYS, Rule.NEVER, Rule.NEVER, Rule.ALWAYS)
    assert policy_from_json({}) == (EMPTY_POLICY, False)
    nulls = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}
    assert policy_to_json(EMPTY_POLICY, blocked=None) == nulls


@pytest.mark.parametrize("groups", [None, []])
def test_a_token_without_groups_is_read_and_keeps_its_name(groups: object) -> None:
    policy, _ = policy_from_json(with_use({"tokens": [{"name": "main", "groups": groups}]}))
    assert policy.use == Rule((token(),))
    assert policy_to_json(policy, blocked=None)["ruleUse"] == {
        "tokens": [{"name": "main", "timelock": 0, "timeout": 0, "groups": None}]
    }


@pytest.mark.parametrize(
    ("status", "expected"), [({"blocked": True}, True), ({"blocked": False}, False), (None, False)]
)
def test_key_status_says_whether_the_key_is_blocked(status: object, expected: bool) -> None:
    assert policy_from_json({**good(), "keyStatus": status})[1] is expected


@pytest.mark.rule("R10")
def test_a_modify_writes_all_four_rules() -> None:
    assert policy_from_json(good(), require_all_rules=True)[0] == GOOD_POLICY
    for name in ("ruleUse", "ruleBlock", "ruleUnblock", "ruleModify"):
        partial = {key: value for key, value in good().items() if key != name}
        with pytest.raises(FormatError, match=name):
            policy_from_json(partial, require_all_rules=True)
        policy_from_json(partial)


@pytest.mark.rule("R10")
def test_what_opens_a_rule_is_written_out_never_left_out() -> None:
    token = {"name": "main", "timelock": 0, "timeout": 0}
    written = {**good(), "ruleModify": {"tokens": [{**token, "groups": None}]}}
    assert policy_from_json(written)[0].modify.tokens[0].groups == ()
    with pytest.raises(FormatError, match=r"ruleModify\.tokens\[0\]: groups is missing"):
        policy_from_json({**good(), "ruleModify": {"tokens": [token]}})


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{GROUP}.quorum", True),
        (f"{GROUP}.quorum", 2.0),
        (f"{GROUP}.quorum", "2"),
        (f"{GROUP}.quorum", None),
        (f"{GROUP}.quorum", 0),
        (f"{GROUP}.quorum", -1),
        (f"{GROUP}.quorum", 4),
        (f"{TOKEN}.timelock", False),
        (f"{TOKEN}.timelock", 60.0),
        (f"{TOKEN}.timelock", None),
        (f"{TOKEN}.timelock", -60),
        (f"{TOKEN}.timelock", 61),
        (f"{TOKEN}.timeout", 599),
        (f"{TOKEN}.timeout", 60 * 2**32),
        (f"{TOKEN}.groups", {}),
        (f"{TOKEN}.name", 7),
        (f"{TOKEN}.extra", None),
        (f"{GROUP}.name", []),
        (f"{GROUP}.member", []),
        (f"{GROUP}.approvals", "alice"),
        (f"{APPROVER}.type", "bls"),
        (f"{APPROVER}.type", None),
        (f"{APPROVER}.type", []),
        (f"{APPROVER}.fingerprint", ""),
        (f"{APPROVER}.value", None),
        (f"{APPROVER}.value", ""),
        (f"{APPROVER}.value", "not base64"),
        (f"{APPROVER}.value", "QUI"),
        (f"{APPROVER}.value", "QUJ-"),
        (f"{APPROVER}.value", "QUJD\n"),
        (APPROVER, "alice"),
        (GROUP, None),
        (TOKEN, None),
        ("ruleUse", []),
        ("ruleUse", {}),
        ("ruleUse", {"tokens": None, "more": 1}),
        ("ruleUse", False),
        ("ruleSign", None),
        ("keyStatus", {"blocked": 1}),
        ("keyStatus", {}),
        ("keyStatus", {"blocked": True, "by": "me"}),
        ("keyStatus", True),
    ],
)
def test_what_is_not_exactly_a_policy_is_refused_600(path: str, value: object) -> None:
    with pytest.raises(FormatError) as caught:
        policy_from_json(put(good(), path, value))
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.VALIDATION_FAILED, "policy.json")
    assert caught.value.message.startswith("policy")
    assert policy_from_json(good())[0] == GOOD_POLICY


@pytest.mark.parametrize("value", [None, [], "policy", 1, True])
def test_a_policy_is_an_object(value: object) -> None:
    with pytest.raises(FormatError, match="policy: must be an object"):
        policy_from_json(value)


def test_a_missing_quorum_is_named_with_its_path() -> None:
    policy = good()
    del policy["ruleUse"]["tokens"][0]["groups"][0]["quorum"]
    with pytest.raises(FormatError, match=r"policy\.ruleUse\.tokens\[0\]\.groups\[0\]\.quorum: is missing"):
        policy_from_json(policy)


@pytest.mark.rule("decisions 19")
def test_whole_minutes_unless_seconds_are_allowed() -> None:
    seconds = put(good(), f"{TOKEN}.timelock", 5)
    with pytest.raises(FormatError, match="seconds must represent full minutes"):
        policy_from_json(seconds)
    policy, _ = policy_from_json(seconds, allow_seconds=True)
    assert (policy.use.tokens[0].timelock, policy.use.tokens[0].unit) == (5, TimeUnit.SECONDS)
    minutes, _ = policy_from_json(good(), allow_seconds=True)
    assert minutes.use.tokens[0].unit is TimeUnit.MINUTES


@pytest.mark.parametrize("approvals", [[], None])
def test_a_group_without_approvers_is_refused_401(approvals: object) -> None:
    with pytest.raises(FormatError) as caught:
        policy_from_json(put(good(), f"{GROUP}.approvals", approvals))
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.MISSING_APPROVAL, "policy.empty-group")


def test_mixed_types_are_refused_602() -> None:
    for path in (f"{GROUP}.approvals.1", "ruleBlock"):
        mixed: object = by_certificate("bob")
        if path == "ruleBlock":
            mixed = {"tokens": [{"groups": [{"quorum": 1, "approvals": [mixed]}]}]}
        with pytest.raises(FormatError) as caught:
            policy_from_json(put(good(), path, mixed))
        assert caught.value.code is ErrorCode.UNSUPPORTED_APPROVAL_COMBINATION


def test_certificates_are_listed_by_their_common_name() -> None:
    policy = good()
    for index, name in enumerate(("alice", "bob", "carol")):
        put(policy, f"{GROUP}.approvals.{index}", by_certificate(name))
    parsed, _ = policy_from_json(policy)
    listed = parsed.use.tokens[0].groups[0].approvers
    assert listed == tuple(person(name).by_certificate for name in ("alice", "bob", "carol"))
    shown: Any = policy_to_json(parsed, blocked=None)["ruleUse"]
    assert [a["name"] for a in shown["tokens"][0]["groups"][0]["approvals"]] == ["alice", "bob", "carol"]
    check_policy(parsed)


@pytest.mark.parametrize(
    ("change", "code", "refusal"),
    [
        ({"value": b64(b"junk")}, ErrorCode.PARSING_KEY, "approver.malformed-key"),
        (
            {"value": b64(bytes.fromhex("3043300506032b6571033a00") + bytes(57))},
            ErrorCode.UNSUPPORTED_APPROVER_KEY_TYPE,
            "approver.unsupported-key",
        ),
        (
            {"value": b64(bytes.fromhex("302a300506032b6570032100") + b"\1" + bytes(31))},
            ErrorCode.VALIDATION_FAILED,
            "approver.weak-key",
        ),
        (
            {"type": "certificate", "value": b64(person("alice").spki)},
            ErrorCode.PARSING_CERTIFICATE,
            "approver.malformed-certificate",
        ),
    ],
)
def test_approvers_that_cannot_be_listed_are_refused(change: dict[str, str], code: ErrorCode, refusal: str) -> None:
    policy = put(good(), APPROVER, {**by_key("alice"), **change})
    with pytest.raises(FormatError) as caught:
        policy_from_json(policy)
    assert (caught.value.code, caught.value.refusal) == (code, refusal)
    assert caught.value.message.startswith("policy.ruleUse.tokens[0].groups[0].approvals[0].value: ")


def test_pem_armour_is_taken_off() -> None:
    text = b64(person("alice").spki)
    lines = "\n".join(text[i : i + 64] for i in range(0, len(text), 64))
    for armoured in (
        f"-----BEGIN PUBLIC KEY-----{text}-----END PUBLIC KEY-----",
        f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n",
    ):
        assert policy_from_json(put(good(), f"{APPROVER}.value", armoured))[0] == GOOD_POLICY
    for broken in (
        f"-----BEGIN PUBLIC KEY-----{text}-----END CERTIFICATE-----",
        f"-----BEGIN SECRET-----{text}-----END SECRET-----",
        f"-----BEGIN PUBLIC KEY-----{text}",
    ):
        with pytest.raises(FormatError, match="not a valid base64"):
            policy_from_json(put(good(), f"{APPROVER}.value", broken))


# --- onboarded approvers -----------------------------------------------------------------------------


def onboarded(name: object, value: object = None) -> dict[str, Any]:
    approver = {"type": "onboarded_approver_certificate", "name": name, "value": value}
    return with_use({"tokens": [{"groups": [{"quorum": 1, "approvals": [approver]}]}]})


def resolve(name: str) -> bytes:
    if name == "junk":
        return b"junk"
    if name != "alice":
        raise KeyturnError(ErrorCode.VALIDATION_FAILED, f"There is no approver {name}.", refusal="approver.unknown")
    return person("alice").certificate


def test_onboarded_approvers_are_found_by_name() -> None:
    policy, _ = policy_from_json(onboarded("alice"), resolve=resolve)
    assert policy.use.tokens[0].groups[0].approvers == (Approver.of_certificate(person("alice").certificate),)


def test_without_approver_management_onboarded_approvers_are_refused() -> None:
    with pytest.raises(FormatError, match="no approver management"):
        policy_from_json(onboarded("alice"))


@pytest.mark.parametrize(
    ("name", "value"), [(None, None), ("", None), ("alice", "QUJD"), ("nobody", None), ("junk", None)]
)
def test_onboarded_approvers_that_cannot_be_found_are_refused(name: object, value: object) -> None:
    with pytest.raises(KeyturnError) as caught:
        policy_from_json(onboarded(name, value), resolve=resolve)
    assert "policy.ruleUse.tokens[0].groups[0].approvals[0]" in caught.value.message


def test_the_name_of_an_unknown_property_is_not_sent_back_by_the_page() -> None:
    with pytest.raises(FormatError, match="unknown property") as caught:
        policy_from_json(with_use(None, **{"x\n\u202e" + "y" * 50_000: 1}))
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()
    assert policy_from_json(with_use(None))


# --- anything at all ---------------------------------------------------------------------------------

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["ruleUse", "tokens", "groups", "approvals", "quorum", "type", "value", "name", "keyStatus", "blocked"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JUNK)
def test_any_json_is_a_policy_or_a_format_error(value: object) -> None:
    try:
        policy, blocked = policy_from_json(value, allow_seconds=True)
    except FormatError:
        return
    assert policy_from_json(policy_to_json(policy, blocked=blocked), allow_seconds=True) == (policy, blocked)


@given(st.sampled_from([GROUP, APPROVER, TOKEN, f"{TOKEN}.timelock", f"{APPROVER}.value", "ruleBlock"]), JUNK)
def test_any_json_inside_a_policy_is_read_or_refused(path: str, value: object) -> None:
    try:
        policy, _ = policy_from_json(put(good(), path, value))
    except FormatError:
        return
    assert use_policy(*policy.use.tokens).use == policy.use
