"""Certificates inside approvals: what a signature would make, and what the officer must know before.

Source: docs/security/rules.md R7, R11, R17.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.ska.actions import Action
from keyturn.ska.certificate_words import certificate_cautions, certificate_in

if TYPE_CHECKING:
    from keyturn.ska.messages import ApprovalToken
    from keyturn.ska.statement import Statement
    from keyturn.ska.to_be_signed import ToBeSigned

_KINDS: Final = frozenset({"csr", "issue", "selfsign"})


def certificate_to_be_signed(token: ApprovalToken, statement: Statement | None) -> ToBeSigned | None:
    """What a signature over the approved bytes would make, if that is a certificate or a request for one.

    Args:
        token: The approval.
        statement: The statement in it, for a key with bound approvals.
    """
    if token.action is not Action.USE:
        return None
    if statement is not None:
        return certificate_in(statement.data) if statement.kind in _KINDS else None
    return certificate_in(token.payload)


def made_cautions(told: ToBeSigned | None, kind: str, statement: Statement | None) -> list[str]:
    """What to read before a certificate is approved.

    Args:
        told: What the signature would make, None for no certificate.
        kind: The kind of request by the server's word, or empty.
        statement: The statement, for a key with bound approvals.
    """
    if told is None:
        return []
    found = list(certificate_cautions(told))
    if statement is None and kind not in _KINDS and kind:
        found.append(
            f"The server calls this {kind}, but a signature over these bytes is a certificate or a request for one."
        )
    return found
