"""The policy of a key: its model and its binary form.

A policy has four rules, one for each action. A rule is a list of tokens, one of which must be fulfilled; a token is
a list of groups, all of which must be fulfilled, and a time window; a group is a quorum of listed approvers.

`decode_policy` accepts the one form that the HSM accepts: outer header, four rules, quorums from 1 on (decisions 21).
Samples in other forms go through `decode_any_policy`, whose result is for looking at. What a policy must satisfy
beyond its form says `policy_rules`.

Source: ska-wire-format.md section 4; decisions 18 to 22.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import certificate_spki, identity_of
from keyturn.ska.tlv import Element, Reader, Tag, decode_blob, decode_body, encode_blob, u32


class TimeUnit(Enum):
    """The unit in which a token's times are written; it also is the grain of its window (decisions 18)."""

    MINUTES = (Tag.MINUTES, 60)
    SECONDS = (Tag.SECONDS, 1)

    @property
    def tag(self) -> Tag:
        """The element that carries a time in this unit."""
        return self.value[0]

    @property
    def seconds(self) -> int:
        """Length of the unit in seconds."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Approver:
    """One listed approver.

    Args:
        spki: Public key, DER SubjectPublicKeyInfo as it was given.
        certificate: DER certificate if the approver is listed by certificate; it must hold `spki`.
        name: Name in the policy. Certificates are listed without one, their common name is used.
    """

    spki: bytes
    certificate: bytes | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.certificate is not None and certificate_spki(self.certificate) != self.spki:
            raise FormatError("The approver's public key is not the one in their certificate.")

    @classmethod
    def of_certificate(cls, certificate: bytes, name: str | None = None) -> Approver:
        """List an approver by certificate.

        Args:
            certificate: DER certificate.
            name: Name element to write before it; None, as is usual, for none.

        Returns:
            The approver.

        Raises:
            FormatError: If this is no certificate.
        """
        return cls(certificate_spki(certificate), certificate, name)

    @property
    def identity(self) -> bytes:
        """The public key in normal form; who has the same identity is the same person.

        Raises:
            FormatError: If the key cannot be read.
        """
        return identity_of(self.spki)


@dataclass(frozen=True, slots=True)
class Group:
    """A quorum of listed approvers.

    Args:
        name: Name, or None.
        quorum: How many of them must approve.
        approvers: Who they are, in order.
    """

    name: str | None
    quorum: int
    approvers: tuple[Approver, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """One way to fulfil a rule: all groups, within a time window.

    Args:
        name: Name, or None.
        timelock: Seconds that must pass after the signed timestamp; 0 for none.
        timeout: Seconds after the signed timestamp from which approvals are void; 0 for never.
        unit: Unit in which both are written.
        groups: The groups; none means that no approval is needed.
    """

    name: str | None
    timelock: int
    timeout: int
    unit: TimeUnit
    groups: tuple[Group, ...]

    @property
    def time_bound(self) -> bool:
        """Whether approvals for this token need a timestamp."""
        return self.timelock != 0 or self.timeout != 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What an action needs: one of the tokens.

    Args:
        tokens: The tokens; none means never.
    """

    tokens: tuple[Token, ...]

    ALWAYS: ClassVar[Rule]
    """Always fulfilled: one unnamed token without times and groups (JSON `null`)."""
    NEVER: ClassVar[Rule]
    """Never fulfilled: no tokens (JSON `{"tokens": null}`)."""


Rule.ALWAYS = Rule((Token(None, 0, 0, TimeUnit.MINUTES, ()),))
Rule.NEVER = Rule(())


@dataclass(frozen=True, slots=True)
class Policy:
    """The four rules of a key.

    Args:
        use: For sign, decrypt, unwrap and certificate operations.
        block: For blocking.
        unblock: For unblocking.
        modify: For replacing this policy.
    """

    use: Rule
    block: Rule
    unblock: Rule
    modify: Rule

    def rule(self, action: Action) -> Rule:
        """The rule that governs `action`."""
        match action:
            case Action.USE:
                return self.use
            case Action.BLOCK:
                return self.block
            case Action.UNBLOCK:
                return self.unblock
            case Action.MODIFY:
                return self.modify


EMPTY_POLICY: Final = Policy(Rule.ALWAYS, Rule.ALWAYS, Rule.ALWAYS, Rule.ALWAYS)
"""The documented empty policy: every action is allowed at once."""

RULE_TAGS: Final = {
    Action.USE: Tag.RULE_USE,
    Action.BLOCK: Tag.RULE_BLOCK,
    Action.UNBLOCK: Tag.RULE_UNBLOCK,
    Action.MODIFY: Tag.RULE_MODIFY,
}
"""The element of each rule, in wire order."""


def encode_policy(policy: Policy) -> bytes:
    """Encode a policy with its header and all four rules.

    Args:
        policy: The policy.

    Returns:
        The blob, at most `tlv.MAX_BLOB` bytes.

    Raises:
        FormatError: If it is too large or a number does not fit its form.
    """
    return encode_blob(Element(tag, encode_rule(policy.rule(action))) for action, tag in RULE_TAGS.items())


def encode_rule(rule: Rule) -> bytes:
    """Encode one rule as a blob, which is also what the PKCS#11 API calls an access blob.

    Args:
        rule: The rule.

    Returns:
        The blob.

    Raises:
        FormatError: If it is too large or a number does not fit its form.
    """
    elements = [Element(Tag.TOKEN_COUNT, u32(len(rule.tokens)))]
    for token in rule.tokens:
        elements += _name(token.name)
        elements += (_time(token, token.timelock), _time(token, token.timeout))
        elements.append(Element(Tag.GROUP_COUNT, u32(len(token.groups))))
        for group in token.groups:
            elements += _name(group.name)
            elements.append(Element(Tag.QUORUM, u32(group.quorum)))
            elements.append(Element(Tag.APPROVER_COUNT, u32(len(group.approvers))))
            for approver in group.approvers:
                elements += _name(approver.name)
                if approver.certificate is not None:
                    elements.append(Element(Tag.CERTIFICATE, approver.certificate))
                else:
                    elements.append(Element(Tag.PUBLIC_KEY, approver.spki))
    return encode_blob(elements)


def decode_policy(data: bytes) -> Policy:
    """Decode a policy in the one form that the HSM accepts.

    Args:
        data: The blob: outer header, all four rules, every quorum at least 1.

    Returns:
        The policy; it encodes to the same bytes again.

    Raises:
        FormatError: For every other form (decisions 21).
    """
    return _policy(decode_blob(data), lax=False)


def decode_any_policy(data: bytes) -> Policy | Rule:
    """Decode a policy in any form that samples show. For looking at only: never authorise with the result.

    Args:
        data: A policy with or without outer header, or a single rule blob; quorum 0 is let through.

    Returns:
        The policy or rule.

    Raises:
        FormatError: If it is none of these.
    """
    try:
        elements = decode_blob(data)
    except FormatError:
        elements = decode_body(data)
    if elements and elements[0].tag == Tag.TOKEN_COUNT:
        return _rule(elements, "rule", lax=True)
    return _policy(elements, lax=True)


def _policy(elements: tuple[Element, ...], *, lax: bool) -> Policy:
    reader = Reader(elements, "policy")
    use, block, unblock, modify = (
        _rule(decode_blob(reader.take(tag)), f"{action.name.lower()} rule", lax=lax)
        for action, tag in RULE_TAGS.items()
    )
    reader.finish()
    return Policy(use, block, unblock, modify)


def _rule(elements: tuple[Element, ...], what: str, *, lax: bool) -> Rule:
    reader = Reader(elements, what)
    tokens = tuple(_token(reader, what, lax=lax) for _ in range(reader.take_count(Tag.TOKEN_COUNT)))
    reader.finish()
    return Rule(tokens)


def _token(reader: Reader, what: str, *, lax: bool) -> Token:
    name = _take_name(reader, what)
    unit = TimeUnit.SECONDS if reader.next_is(Tag.SECONDS) else TimeUnit.MINUTES
    timelock = reader.take_u32(unit.tag) * unit.seconds
    timeout = reader.take_u32(unit.tag) * unit.seconds
    groups = tuple(_group(reader, what, lax=lax) for _ in range(reader.take_count(Tag.GROUP_COUNT)))
    return Token(name, timelock, timeout, unit, groups)


def _group(reader: Reader, what: str, *, lax: bool) -> Group:
    name = _take_name(reader, what)
    quorum = reader.take_u32(Tag.QUORUM)
    if quorum == 0 and not lax:
        raise FormatError(
            f"The {what} has a group with quorum 0; a quorum is at least 1. For a rule that needs no approval write "
            "a token without groups.",
            refusal="policy.quorum-zero",
        )
    approvers = tuple(_approver(reader, what) for _ in range(reader.take_count(Tag.APPROVER_COUNT)))
    return Group(name, quorum, approvers)


def _approver(reader: Reader, what: str) -> Approver:
    name = _take_name(reader, what)
    certificate = reader.take_if(Tag.CERTIFICATE)
    if certificate is not None:
        return Approver.of_certificate(certificate, name)
    return Approver(reader.take(Tag.PUBLIC_KEY), None, name)


def _take_name(reader: Reader, what: str) -> str | None:
    value = reader.take_if(Tag.NAME)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FormatError(f"A name in the {what} is not UTF-8.") from None


def _name(name: str | None) -> list[Element]:
    if name is None:
        return []
    try:
        return [Element(Tag.NAME, name.encode())]
    except UnicodeEncodeError:
        raise FormatError("A name in the policy is not text that UTF-8 can carry.") from None


def _time(token: Token, seconds: int) -> Element:
    count, rest = divmod(seconds, token.unit.seconds)
    if rest:
        raise FormatError(f"{seconds} seconds are no whole number of minutes; write this token in seconds.")
    return Element(token.unit.tag, u32(count))
