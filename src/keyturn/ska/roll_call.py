"""Who is listed in a rule, and in which tokens: prepared once for each rule and kept.

Source: ska-wire-format.md section 8, rules 5 to 8; decisions 20.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from keyturn.errors import FormatError
from keyturn.ska.approver_keys import certificate_spki, identity_of

if TYPE_CHECKING:
    from keyturn.ska.messages import Authorization
    from keyturn.ska.policy import Rule, Token


@dataclass(frozen=True, eq=False)
class RollCall:
    """A rule, seen from its approvers.

    Args:
        by_key: From every listed public key, as it was listed, to the identity: most signers send exactly these bytes
            and are then found without any parsing.
        by_certificate: The same from every listed certificate.
        tokens_of: From identity to the tokens in which it is listed.
        groups: For each token, the listed identities of each group, in order.
    """

    by_key: dict[bytes, bytes]
    by_certificate: dict[bytes, bytes]
    tokens_of: dict[bytes, tuple[Token, ...]]
    groups: tuple[tuple[tuple[bytes, ...], ...], ...]

    def identify(self, authorization: Authorization) -> bytes | None:
        """Find the listed person who signed.

        Args:
            authorization: Its public key or certificate says who.

        Returns:
            The identity, None if this is nobody from the list.
        """
        spki, certificate = authorization.spki, authorization.certificate
        known = self.by_key.get(spki) if spki is not None else self.by_certificate.get(certificate or b"")
        if known is not None:
            return known
        identity = signer_identity(authorization)
        return identity if identity in self.tokens_of else None


def signer_identity(authorization: Authorization) -> bytes | None:
    """Find out who signed, listed or not.

    Args:
        authorization: Its public key or certificate says who.

    Returns:
        The identity, None if the key cannot be read.
    """
    try:
        if authorization.certificate is not None:
            return identity_of(certificate_spki(authorization.certificate))
        return identity_of(authorization.spki or b"")
    except FormatError:
        return None


@lru_cache(maxsize=512)
def roll_call(rule: Rule) -> RollCall:
    """Prepare the roll call of a rule.

    Args:
        rule: The rule.

    Returns:
        The roll call. A listed key that cannot be read stands in nobody's place: it can never be fulfilled.
    """
    by_key: dict[bytes, bytes] = {}
    by_certificate: dict[bytes, bytes] = {}
    tokens_of: dict[bytes, list[Token]] = {}
    groups: list[tuple[tuple[bytes, ...], ...]] = []
    for token in rule.tokens:
        of_token: list[tuple[bytes, ...]] = []
        for group in token.groups:
            of_group: dict[bytes, None] = {}
            for approver in group.approvers:
                try:
                    identity = approver.identity
                except FormatError:
                    continue
                by_key[approver.spki] = identity
                if approver.certificate is not None:
                    by_certificate[approver.certificate] = identity
                of_group[identity] = None
                listed = tokens_of.setdefault(identity, [])
                if not listed or listed[-1] is not token:
                    listed.append(token)
            of_token.append(tuple(of_group))
        groups.append(tuple(of_token))
    listed_in = {identity: tuple(tokens) for identity, tokens in tokens_of.items()}
    return RollCall(by_key, by_certificate, listed_in, tuple(groups))
