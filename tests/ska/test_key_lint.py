"""What the linter says of a protected key's attributes and limits (R9)."""

from __future__ import annotations

import itertools

import pytest

from keyturn.crypto.ciphers import CIPHER_ALGORITHMS
from keyturn.crypto.key_types import KEY_TYPES
from keyturn.crypto.registry import SIGNATURE_ALGORITHMS
from keyturn.crypto.wrapping import WRAP_METHODS
from keyturn.ska.key_lint import lint_key
from keyturn.ska.policy import Policy, Rule
from keyturn_testing.officers import Officer, make_policy, quorum

POLICY = make_policy(quorum(1, Officer("ada")))
OPEN = Policy(Rule.ALWAYS, Rule.NEVER, Rule.NEVER, Rule.NEVER)

pytestmark = pytest.mark.rule("R9")


def words(
    *attributes: str,
    algorithm: str = "EC",
    operations: tuple[str, ...] = (),
    algorithms: tuple[str, ...] = (),
    policy: Policy | None = POLICY,
) -> list[str]:
    found = lint_key(
        policy,
        algorithm=algorithm,
        attributes=dict.fromkeys(attributes, True),
        allowed_operations=operations,
        allowed_algorithms=algorithms,
    )
    assert all(warning.sentence.endswith(".") for warning in found)
    return [warning.word.removeprefix("lint.") for warning in found]


def test_r9_a_protected_key_with_more_than_one_operation_is_pointed_out() -> None:
    assert "several-operations" in words("sign", "decrypt", algorithm="RSA")
    assert "several-operations" in words("decrypt", "unwrap", algorithm="RSA")
    assert "several-operations" not in words("sign", "decrypt", algorithm="RSA", operations=("sign",))
    assert "several-operations" not in words("sign")


def test_r9_a_protected_key_that_signs_data_and_digests_is_pointed_out() -> None:
    assert "data-and-digests" in words("sign")
    assert "data-and-digests" in words("sign", algorithms=("NONE_WITH_ECDSA", "SHA256_WITH_ECDSA"))
    assert "data-and-digests" in words("sign", algorithm="RSA", algorithms=("NONE_WITH_RSA_PSS", "SHA256_WITH_RSA_PSS"))
    assert "data-and-digests" not in words("sign", algorithms=("SHA256_WITH_ECDSA", "SHA512_WITH_ECDSA"))
    assert "data-and-digests" not in words("sign", algorithms=("NONE_WITH_ECDSA",))
    assert "data-and-digests" not in words("sign", algorithm="ED")
    assert "data-and-digests" not in words("decrypt", algorithm="RSA")
    ciphers = ("NONE_WITH_RSA", "RSA_PADDING_OAEP_WITH_SHA256")
    assert "data-and-digests" not in words("sign", "decrypt", algorithm="RSA", algorithms=ciphers)


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_r9_the_linter_knows_of_every_algorithm_whether_its_payload_is_a_digest(kind: str) -> None:
    """Held against the registry, which this room must not know."""
    prehashed = {name: entry.prehashed for name, entry in SIGNATURE_ALGORITHMS.items() if kind in entry.key_types}
    both = set(prehashed.values()) == {True, False}
    assert ("data-and-digests" in words("sign", algorithm=kind)) == both
    for pair in itertools.combinations(prehashed, 2):
        differ = prehashed[pair[0]] != prehashed[pair[1]]
        assert ("data-and-digests" in words("sign", algorithm=kind, algorithms=pair)) == differ, pair


@pytest.mark.parametrize("other", [*CIPHER_ALGORITHMS, *WRAP_METHODS])
def test_r9_ciphers_and_wrap_methods_are_no_signatures(other: str) -> None:
    for signature in ("NONE_WITH_RSA", "SHA256_WITH_RSA"):
        assert "data-and-digests" not in words("sign", "decrypt", algorithm="RSA", algorithms=(signature, other))


@pytest.mark.rule("R7")
def test_r7_bound_approvals_are_advised_and_nothing_is_said_of_a_key_that_has_all() -> None:
    assert words("sign", algorithm="ED") == ["unbound"]
    assert words("sign", "boundApprovals", algorithms=("SHA256_WITH_ECDSA",)) == []


@pytest.mark.rule("R7")
def test_r7_r9_bound_approvals_name_algorithm_and_use_so_that_neither_is_left_open() -> None:
    assert words("sign", "decrypt", algorithm="RSA") == ["several-operations", "data-and-digests", "unbound"]
    assert words("sign", "decrypt", "boundApprovals", algorithm="RSA") == []


def test_r9_keys_that_nobody_needs_approvals_for_are_left_alone() -> None:
    assert words("sign", "decrypt", policy=None) == []
    assert words("sign", "decrypt", policy=OPEN) == []
