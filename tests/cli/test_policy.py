"""`keyturn policy` on the command line: the rules of a server, warnings, plain words, and what would be decided."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn.ska.policy import Policy, Rule
from keyturn.ska.policy_json import policy_to_json
from keyturn_testing.ska import group, person, token

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

DAY = 86_400
TWO = Rule((token(group(2, "alice", "bob", "carol"), timeout=DAY),))
SOUND = Policy(TWO, TWO, TWO, TWO)
LATER = Rule((token(group(2, "alice", "bob", "carol"), timelock=3600, timeout=DAY),))


def shown(policy: Policy = SOUND, *, blocked: bool | None = False) -> dict[str, Any]:
    return policy_to_json(policy, blocked=blocked)


def run(*words: str, of: object, raw: str | None = None) -> Result:
    done = CliRunner().invoke(root, ["policy", *words], input=json.dumps(of) if raw is None else raw)
    if done.exception is not None and not isinstance(done.exception, SystemExit | KeyturnError):
        raise done.exception
    return done


def refusal(done: Result) -> KeyturnError:
    assert isinstance(done.exception, KeyturnError), done.output
    assert done.exit_code == 1
    return done.exception


def test_a_sound_policy_is_accepted_from_a_file_and_from_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(shown()))
    for done in (run("check", str(file), of=None), run("check", "--strict", "-", of=shown())):
        assert (done.exit_code, done.stdout) == (0, "The policy is accepted, with no warnings.\n")
    assert refusal(run("check", str(tmp_path / "none"), of=None)).refusal == "file.unreadable"


def edited(**changes: object) -> dict[str, Any]:
    """The sound policy with ruleUse's token changed."""
    policy: dict[str, Any] = json.loads(json.dumps(shown()))
    policy["ruleUse"]["tokens"][0].update(changes)
    return policy


def grouped(**changes: object) -> dict[str, Any]:
    """The sound policy with ruleUse's group changed."""
    policy = edited()
    policy["ruleUse"]["tokens"][0]["groups"][0].update(changes)
    return policy


@pytest.mark.rule("R10")
@pytest.mark.parametrize(
    ("word", "bad", "place"),
    [
        ("policy.timeout-below-timelock", edited(timelock=2 * DAY), "ruleUse, token 'main'"),
        ("policy.json", grouped(quorum=4), "policy.ruleUse.tokens[0].groups[0].quorum"),
        ("policy.json", grouped(quorum=True), "policy.ruleUse.tokens[0].groups[0].quorum"),
        ("policy.json", edited(timeout=90), "policy.ruleUse.tokens[0].timeout"),
        ("policy.empty-group", grouped(approvals=[]), "policy.ruleUse.tokens[0].groups[0]"),
        (
            "policy.duplicate-approver",
            grouped(approvals=shown()["ruleUse"]["tokens"][0]["groups"][0]["approvals"][:1] * 2),
            "ruleUse, token 'main', group 'officers'",
        ),
        ("policy.use-never", {**shown(), "ruleUse": {"tokens": None}}, "ruleUse"),
        ("policy.key-status", shown(blocked=None), "keyStatus"),
        (
            "policy.no-unblock",
            {**shown(blocked=True), "ruleUnblock": {"tokens": None}},
            "ruleUnblock",
        ),
        ("policy.json", [], "policy: must be an object"),
    ],
)
def test_what_a_server_refuses_at_creation_is_refused_with_its_place(word: str, bad: object, place: str) -> None:
    found = refusal(run("check", "-", of=bad))
    assert found.refusal == word
    assert place in found.message
    assert run("check", "-", of=shown()).exit_code == 0
    done = run("check", "--json", "-", of=bad)
    said = json.loads(done.stdout)
    assert (done.exit_code, said["accepted"], said["warnings"]) == (1, False, [])
    assert said["refused"] == {"code": found.code.number, "refusal": word, "message": found.message}


def test_a_repeated_name_is_refused() -> None:
    text = json.dumps(shown())
    refusal(run("check", "-", of=None, raw=text[:-1] + ', "ruleUse": null}'))
    assert run("check", "-", of=None, raw=text).exit_code == 0


def test_seconds_are_accepted_where_the_server_allows_them() -> None:
    assert run("check", "--allow-seconds", "-", of=edited(timeout=90)).exit_code == 0
    assert refusal(run("check", "-", of=edited(timeout=90))).refusal == "policy.json"


@pytest.mark.rule("R10")
def test_a_modification_writes_out_all_four_rules_and_no_key_status() -> None:
    whole = shown(blocked=None)
    assert run("check", "--modify", "-", of=whole).exit_code == 0
    part = {name: rule for name, rule in whole.items() if name != "ruleBlock"}
    assert "ruleBlock is missing" in refusal(run("check", "--modify", "-", of=part)).message
    assert run("check", "-", of={**part, "keyStatus": {"blocked": False}}).exit_code == 0
    assert refusal(run("check", "--modify", "-", of=shown())).refusal == "policy.key-status"


def test_warnings_leave_the_exit_code_alone_unless_strict() -> None:
    weak = shown(Policy(TWO, TWO, TWO, Rule.ALWAYS))
    done = run("check", "-", of=weak)
    assert done.exit_code == 0
    assert done.stdout.startswith("warning: ruleModify needs no approval")
    assert done.stdout.endswith("[lint.modify-weaker]\nThe policy is accepted, with 1 warning.\n")
    assert run("check", "--strict", "-", of=weak).exit_code == 1
    said = json.loads(run("check", "--json", "--destroyable", "-", of=weak).stdout)
    assert said["accepted"]
    assert [(one["word"], one["rule"]) for one in said["warnings"]] == [
        ("lint.modify-weaker", "ruleModify"),
        ("lint.destroyable", ""),
    ]
    assert "with 2 warnings" in run("check", "--destroyable", "-", of=weak).stdout


@pytest.mark.rule("R9")
def test_r9_the_whole_body_of_a_new_key_is_checked_with_its_attributes() -> None:
    open_attributes = {"sign": True, "decrypt": True, "unwrap": False, "destroyable": True}
    weak = {"label": "treasury", "algorithm": "RSA", "keySize": 2048, "attributes": open_attributes, "policy": shown()}
    said = json.loads(run("check", "--json", "-", of=weak).stdout)
    assert [one["word"] for one in said["warnings"]] == [
        "lint.destroyable",
        "lint.several-operations",
        "lint.data-and-digests",
        "lint.unbound",
    ]
    assert run("check", "--strict", "-", of=weak).exit_code == 1
    narrow = {"sign": True, "decrypt": False, "unwrap": False, "boundApprovals": True}
    limits = {"allowedAlgorithms": ["SHA256_WITH_RSA_PSS"]}
    sound = {**weak, "attributes": {**narrow, **limits}}
    assert run("check", "--strict", "-", of=sound).stdout == "The policy is accepted, with no warnings.\n"

    for defect, word in (
        ({"label": None}, "json.wrong-type"),
        ({"algorithm": None}, "json.missing-field"),
        ({"algorithmOid": "1.2.840.10045.2.1"}, "key.algorithm"),
        ({"attributes": {"sign": True}}, "json.missing-field"),
        ({"policy": grouped(approvals=[])}, "policy.empty-group"),
    ):
        assert refusal(run("check", "-", of={**sound, **defect})).refusal == word
        assert json.loads(run("check", "--json", "-", of={**sound, **defect}).stdout)["refused"]["refusal"] == word


def test_a_policy_is_said_in_plain_words(tmp_path: Path) -> None:
    book = tmp_path / "book.json"
    fingerprint = hashlib.sha256(person("alice").identity).hexdigest()
    words = ("explain", "-", "--address-book", str(book))
    added = CliRunner().invoke(
        root, ["approver", "contacts", "add", "Alice Ames", fingerprint, "--address-book", str(book)]
    )
    assert added.exit_code == 0
    sound = run(*words, of=shown()).stdout
    assert "2 of these 3 people" in sound
    assert "Alice Ames" in sound
    assert "NOT IN YOUR ADDRESS BOOK" in sound
    assert "not later than 1 day 59 seconds after" in sound
    assert "openModify" not in sound
    assert "BLOCKED" not in sound
    weak = run(*words, of=shown(Policy(TWO, TWO, Rule.ALWAYS, Rule.ALWAYS), blocked=True)).stdout
    assert "REPLACED more easily" in weak
    assert "LIFTED more easily" in weak
    assert "The key starts BLOCKED" in weak


@pytest.mark.rule("decisions 18")
@pytest.mark.parametrize(
    ("approved", "at", "said"),
    [
        (
            "alice",
            "+2h",
            'NO.\n  token "main": approvals are missing\n    group "officers": 1 of 2 approvals, 1 missing',
        ),
        ("alice,bob", "+59m59s", 'NO.\n  token "main": too early; opens at 1 hour, closes at 1 day 1 minute\n'),
        ("alice, bob", "+1h", 'YES.\n  token "main": fulfilled; opened at 1 hour, closes at 1 day 1 minute\n'),
        ("bob,alice", "+1d59s", 'YES.\n  token "main": fulfilled'),
        ("bob,alice", "+1d1m", 'NO.\n  token "main": too late; closed at 1 day 1 minute\n'),
    ],
)
def test_what_would_be_decided(approved: str, at: str, said: str) -> None:
    policy = shown(Policy(LATER, TWO, TWO, LATER))
    words = ("simulate", "-", "--action", "use", "--approved", approved, "--at", at)
    done = run(*words, of=policy)
    assert done.exit_code == 0
    assert said in done.stdout
    answer = json.loads(run(*words, "--json", of=policy).stdout)
    assert answer["authorised"] == said.startswith("YES")
    if "," in approved:
        assert (answer["opensAfter"], answer["closesAfter"]) == (3600, DAY + 60)
    else:
        assert answer["tokens"][0]["groups"][0]["outstanding"] == ["bob", "carol"]
        assert "could still approve: bob, carol\n" in done.stdout


def test_rules_without_a_window_and_rules_for_nobody() -> None:
    policy = shown(Policy(Rule((token(group(1, "alice"), name=None),)), Rule.NEVER, TWO, Rule.ALWAYS))
    words = ("simulate", "-", "--approved", "alice", "--action")
    assert "token number 1: fulfilled, at any time" in run(*words, "use", of=policy).stdout
    assert "rules this action out" in run(*words, "block", of=policy).stdout
    assert "NO." in run(*words, "unblock", of=policy).stdout
    assert "YES." in run("simulate", "-", "--action", "modify", of=policy).stdout
    endless = shown(Policy(Rule((token(group(1, "alice"), timelock=60),)), TWO, TWO, TWO))
    assert "never closes" in run(*words, "use", "--at", "+1m", of=endless).stdout


def test_an_unknown_person_or_time_is_refused() -> None:
    words = ("simulate", "-")
    assert refusal(run(*words, "--approved", "eve", of=shown())).refusal == "simulate.unknown-approver"
    assert refusal(run(*words, "--at", "soon", of=shown())).refusal == "simulate.delay"
    assert run(*words, "--approved", "alice", "--at", "+1h", of=shown()).exit_code == 0


def by_name(*names: str, needed: int = 2) -> dict[str, Any]:
    """The sound policy with approvers who are listed by name only."""
    policy: dict[str, Any] = json.loads(json.dumps(shown()))
    approvals = [{"type": "onboarded_approver_certificate", "name": name} for name in names]
    for name, rule in policy.items():
        if name.startswith("rule"):
            rule["tokens"][0]["groups"][0].update(approvals=approvals, quorum=needed)
    return policy


@pytest.mark.rule("R22")
def test_r22_names_that_only_a_server_can_look_up_are_shown_as_such() -> None:
    policy = by_name("Ada", "Ben", "Eve")
    checked = run("check", "-", of=policy)
    assert checked.exit_code == 0
    assert "Not looked up: Ada, Ben, Eve." in checked.stdout
    assert json.loads(run("check", "--json", "-", of=policy).stdout)["unresolvedNames"] == ["Ada", "Ben", "Eve"]
    explained = run("explain", "-", of=policy).stdout
    assert '- "Ada", BY NAME ONLY: the server looks it up' in explained
    assert "Not looked up: Ada" in explained
    assert not any(line.strip().startswith("key ") for line in explained.splitlines())
    assert "key " in run("explain", "-", of=shown()).stdout
    assert "Not looked up" not in run("check", "-", of=shown()).stdout


@pytest.mark.rule("R22")
def test_r22_the_rules_hold_for_names_as_for_keys() -> None:
    assert refusal(run("check", "-", of=by_name("Ada", "Ada"))).refusal == "policy.duplicate-approver"
    assert run("check", "-", of=by_name("Ada", "Adb")).exit_code == 0
    done = run("simulate", "--action", "use", "--approved", "Ada,Ben", "-", of=by_name("Ada", "Ben", "Eve"))
    assert "YES" in done.stdout
    mixed = by_name("Ada", "Ben")
    mixed["ruleUse"] = shown()["ruleUse"]
    assert refusal(run("check", "-", of=mixed)).refusal == "policy.mixed-types"
