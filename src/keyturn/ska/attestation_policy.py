"""The policy part of attested key attributes: four rules as XML.

The documented layout has no place for three things that keyturn must not lose, since the policy that is read back
must be the policy that was stored: an absent name is an absent `name` attribute, a rule that is never fulfilled is
an element without tokens, and a token whose times count in seconds although they are whole minutes says
`unit="seconds"` (times that are no whole minutes can only be meant in seconds).

Source: ska-wire-format.md section 8, "Key-attributes XML, policy part"; decisions 18 and 19.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final

from keyturn.errors import FormatError
from keyturn.ska.actions import Action
from keyturn.ska.policy import Approver, Group, Policy, Rule, TimeUnit, Token
from keyturn.ska.xml_tree import Children, Writer

if TYPE_CHECKING:
    from keyturn.ska.xml_tree import Node

_MINUTE: Final = TimeUnit.MINUTES.seconds
_SECONDS: Final = "seconds"
_MAX_TIME_DIGITS: Final = 12  # 2**32 minutes in seconds.
_RULES: Final = {
    Action.USE: "rule_use",
    Action.BLOCK: "rule_block",
    Action.UNBLOCK: "rule_unblock",
    Action.MODIFY: "rule_modify",
}


def write_policy(writer: Writer, policy: Policy, *, blocked: bool) -> None:
    """Write the `policy` element.

    Args:
        writer: Where to.
        policy: The policy.
        blocked: Whether the key is blocked.

    Raises:
        FormatError: `xml.character` when a name cannot be written in XML.
    """
    writer.open("policy")
    writer.open("key_status")
    writer.leaf("blocked", "true" if blocked else "false")
    writer.close()
    for action, tag in _RULES.items():
        writer.open(tag)
        for token in policy.rule(action).tokens:
            _write_token(writer, token)
        writer.close()
    writer.close()


def attested_size(policy: Policy) -> int:
    """Bytes that the policy takes in attested attributes.

    Raises:
        FormatError: `xml.character` when a name cannot be written in XML.
    """
    writer = Writer()
    write_policy(writer, policy, blocked=False)
    return len(writer.document().encode())


def _write_token(writer: Writer, token: Token) -> None:
    whole = token.timelock % _MINUTE == token.timeout % _MINUTE == 0
    unit = _SECONDS if token.unit is TimeUnit.SECONDS and whole else None
    writer.open("token", {"name": token.name, "unit": unit})
    writer.leaf("timelock", str(token.timelock))
    writer.leaf("timeout", str(token.timeout))
    for group in token.groups:
        writer.open("group", {"name": group.name})
        writer.leaf("quorum", str(group.quorum))
        for approver in group.approvers:
            kind, value = (
                ("public_key", approver.spki) if approver.certificate is None else ("certificate", approver.certificate)
            )
            writer.leaf("approval", b64encode(value).decode(), {"type": kind, "name": approver.name})
        writer.close()
    writer.close()


def read_policy(node: Node) -> tuple[Policy, bool]:
    """Read the `policy` element.

    Args:
        node: The element.

    Returns:
        The policy and whether the key is blocked.

    Raises:
        FormatError: When it is not what `write_policy` writes, as far as meaning goes; layout is compared elsewhere.
    """
    parts = Children(node)
    status = Children(parts.take("key_status"))
    blocked = read_bool(status.text("blocked"), "blocked")
    status.finish()
    use, block, unblock, modify = (_read_rule(parts.take(tag)) for tag in _RULES.values())
    parts.finish()
    return Policy(use, block, unblock, modify), blocked


def _read_rule(node: Node) -> Rule:
    parts = Children(node)
    tokens = []
    while parts.next_is("token"):
        tokens.append(_read_token(parts.take("token", "name", "unit")))
    parts.finish()
    return Rule(tuple(tokens))


def _read_token(node: Node) -> Token:
    parts = Children(node)
    timelock = read_number(parts.text("timelock"), "timelock", _MAX_TIME_DIGITS)
    timeout = read_number(parts.text("timeout"), "timeout", _MAX_TIME_DIGITS)
    groups = []
    while parts.next_is("group"):
        groups.append(_read_group(parts.take("group", "name")))
    parts.finish()
    unit = node.attributes.get("unit")
    if unit not in (None, _SECONDS):
        raise FormatError("The unit of a token's times is seconds, or it is left out.")
    minutes = unit is None and timelock % _MINUTE == timeout % _MINUTE == 0
    return Token(
        node.attributes.get("name"),
        timelock,
        timeout,
        TimeUnit.MINUTES if minutes else TimeUnit.SECONDS,
        tuple(groups),
    )


def _read_group(node: Node) -> Group:
    parts = Children(node)
    quorum = read_number(parts.text("quorum"), "quorum", 10)
    approvers = []
    while parts.next_is("approval"):
        approvers.append(_read_approver(parts.take("approval", "type", "name")))
    parts.finish()
    return Group(node.attributes.get("name"), quorum, tuple(approvers))


def _read_approver(node: Node) -> Approver:
    if node.children:
        raise FormatError("An approval in the attested policy holds elements where a key belongs.")
    value, name = read_base64(node.text, "approval"), node.attributes.get("name")
    match node.attributes.get("type"):
        case "public_key":
            return Approver(value, None, name)
        case "certificate":
            return Approver.of_certificate(value, name)
        case _:
            raise FormatError("An approval in the attested policy is neither public_key nor certificate.")


def read_bool(text: str, what: str) -> bool:
    """Read `true` or `false`; `what` names it in the refusal."""
    if text not in ("true", "false"):
        raise FormatError(f"{what} is neither true nor false.")
    return text == "true"


def read_number(text: str, what: str, digits: int) -> int:
    """Read a decimal number of at most `digits` digits; `what` names it in the refusal."""
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise FormatError(f"{what} is no number of at most {digits} digits.")
    return int(text)


def read_base64(text: str, what: str) -> bytes:
    """Read standard base64 with padding and without line breaks; `what` names it in the refusal."""
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise FormatError(f"{what} is not base64.") from None
