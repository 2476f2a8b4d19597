"""R22: a modify whose request lists approvers by name, and what the names became in the bytes to be signed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.approver.address_book import AddressBook
from keyturn.approver.onboarded import Unresolved
from keyturn.errors import KeyturnError
from keyturn.ska.approver_keys import certificate_name, certificate_spki
from keyturn.ska.policy import encode_policy
from keyturn_testing.approval_tasks import b64, honest_task, modify_token
from keyturn_testing.officers import Officer, make_policy, quorum
from keyturn_testing.reviews import ADA, BEN, EVE, HSM, POLICY, fingerprint, review, spaced

if TYPE_CHECKING:
    from collections.abc import Callable

FAY = Officer("fay")


def named_task(*officers: Officer, change: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """A modify to two of these officers, by certificate, whose request lists them by name."""
    policy = make_policy(quorum(2, *(officer.as_approver(certificate=True) for officer in officers)))
    task = honest_task(ADA, HSM.stamp(modify_token(encode_policy(policy))), hsm=HSM, policy=POLICY)
    request = json.loads(base64.b64decode(task["requestBase64"]))
    for rule in request["modifyRequest"]["policy"].values():
        for group in rule["tokens"][0]["groups"]:
            group["approvals"] = [
                {"type": "onboarded_approver_certificate", "name": officer.name.title()} for officer in officers
            ]
    if change is not None:
        change(request["modifyRequest"]["policy"])
    return task | {"requestBase64": b64(json.dumps(request).encode()), "signedModifyKeyRequest": None}


@pytest.mark.rule("R22")
@pytest.mark.rule("R11")
def test_r22_r11_what_a_name_became_is_shown_by_fingerprint_and_by_the_officers_own_book() -> None:
    book = AddressBook.empty().with_contact(fingerprint(BEN), "Benjamin B.")
    shown = review(named_task(ADA, BEN, FAY), book=book)
    (warning,) = (one for one in shown.warnings if "looked their keys up" in one)
    assert f'"Ada" became {spaced(ADA)} (YOU)' in warning
    assert f'"Ben" became {spaced(BEN)} (Benjamin B.)' in warning
    assert f'"Fay" became {spaced(FAY)} (NOT IN YOUR ADDRESS BOOK)' in warning
    policy = make_policy(quorum(2, ADA, BEN, FAY))
    plain = review(honest_task(ADA, modify_token(encode_policy(policy)), hsm=HSM, policy=POLICY))
    assert not any("looked their keys up" in one for one in plain.warnings)


def group_of(policy: dict[str, Any], rule: str = "ruleUse") -> dict[str, Any]:
    group: dict[str, Any] = policy[rule]["tokens"][0]["groups"][0]
    return group


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "another quorum": lambda policy: group_of(policy).update(quorum=1),
    "a name more": lambda policy: group_of(policy, "ruleModify")["approvals"].append(
        {"type": "onboarded_approver_certificate", "name": "Gil"}
    ),
    "a name less": lambda policy: group_of(policy)["approvals"].pop(),
    "one name for two keys": lambda policy: group_of(policy)["approvals"][1].update(name="Ada"),
    "names in another order elsewhere": lambda policy: group_of(policy, "ruleBlock")["approvals"].reverse(),
    "a timeout": lambda policy: policy["ruleUse"]["tokens"][0].update(timeout=3600),
    "a rule open": lambda policy: policy.update(ruleUnblock=None),
}


@pytest.mark.rule("R22")
@pytest.mark.parametrize("lie", LIES)
def test_r22_a_policy_of_names_that_is_not_the_one_in_the_approval_is_refused(lie: str) -> None:
    assert review(named_task(ADA, BEN, EVE)).policy is not None
    with pytest.raises(KeyturnError) as error:
        review(named_task(ADA, BEN, EVE, change=LIES[lie]))
    assert error.value.refusal == "review.request"
    assert "`requestBase64`" in error.value.message


@pytest.mark.rule("R22")
def test_r22_names_that_became_bare_keys_are_refused() -> None:
    """A name stands for a certificate; whoever put a bare key there did something else than look it up."""
    task = named_task(ADA, BEN, EVE)
    bare = honest_task(ADA, HSM.stamp(modify_token(encode_policy(make_policy(quorum(2, ADA, BEN, EVE))))), hsm=HSM)
    with pytest.raises(KeyturnError) as error:
        review(bare | {"requestBase64": task["requestBase64"], "signedModifyKeyRequest": None})
    assert error.value.refusal == "review.request"


def test_a_stand_in_bears_the_name_and_is_the_same_every_time() -> None:
    names = Unresolved()
    ada = names("Ada")
    assert certificate_name(ada) == "Ada"
    assert certificate_spki(ada) == certificate_spki(Unresolved()("Ada")) != certificate_spki(names("Adb"))
    assert certificate_name(names("x" * 128)) == "x" * 61 + "…"
    assert names.names == ("Ada", "Adb", "x" * 128)
    assert names.name("0" * 64) is None
