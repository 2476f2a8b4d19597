"""Sentences about what is legal and yet worth a second thought before approving.

Source: docs/security/rules.md R8, R10, R11, R12, R22, R23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.approver.meaning import possible_uses
from keyturn.approver.policy_words import strangers
from keyturn.approver.terminal import has_lookalikes, spaced_fingerprint, visible, visible_bytes
from keyturn.approver.windows import AHEAD, about
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import looks_like_own_structure
from keyturn.ska.policy_lint import server_made
from keyturn.ska.policy_rules import listed_approvers, open_modify, open_unblock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keyturn.approver.meaning import UnwrapView
    from keyturn.approver.payload import PayloadView
    from keyturn.approver.policy_words import Reader
    from keyturn.approver.stamps import AttestedKey, StampView
    from keyturn.approver.windows import Window
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.policy import Policy
    from keyturn.ska.statement import Statement

TALL: Final = 60
"""Lines of text from which on the beginning of a payload may have left the screen."""
SCREEN_WIDTH: Final = 80


def tall_payload(payload: PayloadView | None) -> list[str]:
    """Point out a payload whose beginning, or end, an officer may overlook.

    Args:
        payload: The payload, for a use.
    """
    if payload is None:
        return []
    rows = sum(1 + len(line) // SCREEN_WIDTH for line in payload.shown.split("\n"))
    if rows <= TALL:
        return []
    return [f"The payload fills about {rows} lines: scroll up to its beginning, and read all of it before you decide."]


def label_cautions(token: ApprovalToken) -> list[str]:
    """What the key's label may hide.

    Args:
        token: The approval.
    """
    if not has_lookalikes(visible_bytes(token.label)):
        return []
    return ["The key's label holds letters outside ASCII, which may look like others; compare it letter by letter."]


def use_cautions(
    token: ApprovalToken,
    kind: str,
    unwrap: UnwrapView | None,
    attested: AttestedKey | None,
    statement: Statement | None = None,
) -> list[str]:
    """What else an approval for a use could serve for.

    Args:
        token: The approval.
        kind: The kind of request by the server's word, or empty.
        unwrap: The new key, when it is an unwrap.
        attested: The key's attributes, if known.
        statement: The statement in it, for a key with bound approvals: then it can serve for nothing else.
    """
    if token.action is not Action.USE or not token.payload:
        return []
    if unwrap is not None:
        called = [] if kind in {"unwrap", ""} else [f"The server calls this {kind}, but the bytes are an unwrap's."]
        return [*called, *unwrap.alarms]
    structure = looks_like_own_structure(token.payload if statement is None else statement.data)
    if structure is not None:
        return [f"The payload is itself a {structure} in keyturn's own format. Ask why anybody needs it processed."]
    if statement is not None:
        return []
    if attested is None:
        return ["Whether your approval lets the key sign these bytes or decrypt them is the server's word alone."]
    says = "" if attested.verified else "The server says, unverified: "
    possible = possible_uses(attested)
    if len(possible) > 1:
        either = "this key can sign and decrypt, and an approval does not say which"
        return [f"{says}{either}: whoever holds yours can have these bytes signed as well as decrypted."]
    if kind in {"sign", "decrypt"} and kind not in possible:
        return [f"{says}this key cannot {kind}."]
    return []


def policy_cautions(policy: Policy, reader: Reader, own_spki: bytes, onboarded: Mapping[str, str]) -> list[str]:
    """What a new policy opens, and whom it lists.

    Args:
        policy: The new policy.
        reader: For whom.
        own_spki: The officer's normalised SPKI.
        onboarded: Names in the request with the fingerprints that they became.
    """
    found = []
    if open_modify(policy):
        found.append(
            "Under the NEW policy, the policy can be replaced again without the approvals that a use needs "
            "(open modify)."
        )
    if open_unblock(policy):
        found.append("Under the NEW policy, a blocked key can be unblocked without the approvals that a use needs.")
    unknown = strangers(policy, reader)
    if unknown:
        shown = ", ".join(spaced_fingerprint(fingerprint) for fingerprint in unknown)
        found.append(f"{len(unknown)} key(s) in the NEW policy are not in your address book: {shown}.")
    found += server_made_cautions(policy)
    if own_spki not in {approver.identity for approver in listed_approvers(policy.use)}:
        found.append("Under the NEW policy you are no longer listed for using the key.")
    if onboarded:
        became = "; ".join(
            f'"{visible(name)}" became {spaced_fingerprint(fingerprint)} ({reader.who(fingerprint)})'
            for name, fingerprint in onboarded.items()
        )
        found.append(
            f"The request names approvers, and the server looked their keys up: {became}. Whoever runs the server "
            "could have put other keys there; compare the fingerprints with the people."
        )
    return found


def server_made_cautions(policy: Policy) -> list[str]:
    """That a policy lists keys which a server made for their officers (R23); nothing if it lists none.

    Args:
        policy: Any policy.
    """
    made = [spaced_fingerprint(load_approver_key(one.identity).fingerprint) for one in server_made(policy)]
    if not made:
        return []
    said = f"{len(made)} key(s) in the policy were made on a server for their officers, says the certificate"
    return [f"{said}, and may be in other hands, too: {', '.join(made)}."]


def attested_cautions(attested: AttestedKey | None, token: ApprovalToken, own_spki: bytes) -> list[str]:
    """What the key's present state means for this approval.

    Args:
        attested: The key's attributes, if known.
        token: The approval.
        own_spki: The officer's normalised SPKI.
    """
    if attested is None:
        return ["The task carries no readable key attributes: the key's present policy is not known here."]
    attestation, found = attested.attestation, []
    says = "" if attested.verified else "The server says, unverified: "
    if attestation.open_modify:
        found.append(
            f"{says}this key's policy can be replaced without approvals (open modify), or by fewer people than a use "
            "needs. Your approval protects little."
        )
    if attestation.open_unblock:
        found.append(f"{says}this key can be unblocked without the approvals that a use needs.")
    if attestation.blocked and token.action is not Action.UNBLOCK:
        found.append(f"{says}this key is blocked.")
    if not attestation.blocked and token.action is Action.UNBLOCK:
        found.append(f"{says}this key was not blocked when its attributes were attested.")
    listed = () if attestation.policy is None else listed_approvers(attestation.policy.rule(token.action))
    if own_spki not in {approver.identity for approver in listed}:
        found.append(f"{says}you are not listed for this operation; your approval would not count.")
    return found


def time_cautions(
    token: ApprovalToken, stamp: StampView | None, windows: tuple[Window, ...], attested: AttestedKey | None, now: int
) -> list[str]:
    """What the HSM's time and the policy's limits mean now.

    Args:
        token: The approval.
        stamp: The HSM's timestamp inside it.
        windows: When the approval counts, if the policy is known and it has a timestamp.
        attested: The key's attributes, if known.
        now: Seconds since the epoch, by the officer's clock.
    """
    policy = None if attested is None else attested.attestation.policy
    if stamp is None:
        if policy is not None and any(way.time_bound for way in policy.rule(token.action).tokens):
            return ["The policy has time limits for this operation, but the approval carries no timestamp of the HSM."]
        return []
    found = []
    if attested is not None and attested.verified and not stamp.verified:
        found.append(f"The HSM's timestamp is NOT VERIFIED. {stamp.note}")
    if stamp.seconds > now + AHEAD:
        found.append(
            f"The HSM's time is {about(stamp.seconds - now)} ahead of your clock. One of the two is wrong; how old "
            "a timestamp is cannot be judged here before that is cleared up."
        )
    mine = [window for window in windows if window.listed]
    if any(window.last is not None and window.last < now for window in mine):
        found.append("The time for this is over (or your clock is wrong): an approval given now would not count.")
    if any(stamp.seconds < window.opens <= now for window in mine):
        found.append(
            "The waiting period that the policy asks for is over already: it happens as soon as enough have approved."
        )
    return found
