"""Weak but legal shapes of a protected key: what its attributes and limits leave open to whoever carries approvals.

`policy_lint` looks at the policy; this looks at what the key may do under it. These warnings stop nothing. `verify`,
`encrypt` and `wrap` are not looked at: the public half does that, and it is everybody's (docs/adr/0091).

Source: docs/security/rules.md R7, R9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.ska.policy_lint import LintWarning
from keyturn.ska.policy_rules import is_protected

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keyturn.ska.policy import Policy

_OPERATIONS: Final = ("sign", "decrypt", "unwrap")
_BOTH_FORMS: Final = ("RSA", "EC", "DSA", "ML-DSA")
"""Kinds of keys that sign data and digests unless a list says otherwise; parameter sets follow a hyphen."""
_WHOLE: Final = ("ML_DSA", "SLH_DSA", "EDDSA", "BLS", "LMS", "XMSS-")
"""How the names of signature algorithms begin that take data as it is and name no digest."""
_DIGESTS: Final = ("NONE", "ML_DSA_M")
"""How the names of signature algorithms begin whose payload is a digest; the second signs `mu`, which is one."""


def lint_key(
    policy: Policy | None,
    *,
    algorithm: str,
    attributes: Mapping[str, bool | None],
    allowed_operations: Sequence[str] = (),
    allowed_algorithms: Sequence[str] = (),
) -> tuple[LintWarning, ...]:
    """Find weak but legal shapes of a key.

    Args:
        policy: Its policy, None for an ordinary key.
        algorithm: Its kind, by its API name.
        attributes: Attributes by their API names; those left out are false.
        allowed_operations: `allowedOperations`, empty for no limit.
        allowed_algorithms: `allowedAlgorithms`, empty for no limit.

    Returns:
        `lint.several-operations`, `lint.data-and-digests`, `lint.unbound`; none for a key that is not protected, and
        none for one with bound approvals: they name algorithm and use, whatever else the key may do.
    """
    if policy is None or not is_protected(policy) or attributes.get("boundApprovals"):
        return ()
    operations = [
        name for name in _OPERATIONS if attributes.get(name) and (not allowed_operations or name in allowed_operations)
    ]
    return tuple(_warnings(operations, mixed="sign" in operations and _signs_both(algorithm, allowed_algorithms)))


def _signs_both(algorithm: str, allowed: Sequence[str]) -> bool:
    if not allowed:
        return algorithm in _BOTH_FORMS or algorithm.rpartition("-")[0] in _BOTH_FORMS
    signing = [name for name in allowed if _signs(name)]
    digests = [name for name in signing if name.startswith(_DIGESTS)]
    return bool(digests) and len(digests) < len(signing)


def _signs(algorithm: str) -> bool:
    return algorithm.startswith(_WHOLE) or (
        "_WITH_" in algorithm and not algorithm.startswith(("RSA_PADDING", "RSA_WRAP", "AES_"))
    )


def _warnings(operations: Sequence[str], *, mixed: bool) -> Iterator[LintWarning]:
    if len(operations) > 1:
        yield _warning(
            "lint.several-operations",
            f"The key may {' and '.join(operations)}, and one operation code in approvals stands for all of it. Give "
            "it one of them, or limit it with allowedOperations.",
        )
    if mixed:
        yield _warning(
            "lint.data-and-digests",
            "The key signs data and digests: bytes that were approved as data can be signed as the digest of something "
            "else. Limit it to one kind with allowedAlgorithms.",
        )
    yield _warning(
        "lint.unbound",
        "Approvals for the key name neither the algorithm nor the request nor the key itself, only its label. "
        "Create it with boundApprovals.",
    )


def _warning(word: str, sentence: str) -> LintWarning:
    return LintWarning(word, "", None, None, sentence)
