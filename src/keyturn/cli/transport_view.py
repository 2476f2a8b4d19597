"""How a bundle looks before anything happens with it: on a terminal for people, as JSON for programs.

What stands in a bundle was written elsewhere: it is escaped, framed, and never read as markup.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keyturn.approver.accepted_keys import KeyIdentity, acceptance_of
from keyturn.approver.payload import view_payload
from keyturn.approver.policy_words import Reader, describe_policy
from keyturn.approver.stamps import LAST_SECOND
from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.clock import iso
from keyturn.ska.certificate_words import certificate_in, describe_certificate
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.statement import describe_statement
from keyturn.transport.contents import KeyContents, RequestContents, ResultContents, body_words
from keyturn.transport.instance_key import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from keyturn.ska.attestation import KeyAttestation
    from keyturn.transport.approval_views import ApprovalView
    from keyturn.transport.bundle import Bundle
    from keyturn.transport.contents import Contents
    from keyturn.transport.station import Station
    from keyturn.transport.ur import Message

TITLES: Final = {
    "request": "A request for the offline HSM",
    "result": "A result of the offline HSM",
    "key": "A key of the offline HSM, to be registered",
}


def show_bundle(bundle: Bundle, contents: Contents, station: Station, reader: Reader, to: Console) -> None:
    """Print what is in an opened bundle.

    Args:
        bundle: The bundle.
        contents: Its body, decoded.
        station: This side, for the other side's name.
        reader: The person's address book.
        to: Where.
    """
    ours = bundle.sender == station.key.public
    facts = _grid()
    sender = "this side" if ours else station.peer_name(bundle.sender)
    facts.add_row("From", Text(f"{sender} (bundle {bundle.sequence})"))
    if bundle.request_id is not None:
        facts.add_row("Request", Text(bundle.request_id))
    facts.add_row("Words of the whole", Text(" ".join(body_words(bundle)), style="bold"))
    facts.add_row("", Text(f"the other side {'shows' if ours else 'showed'} the same words, if nothing was changed"))
    to.print(_panel(TITLES[bundle.kind], facts))
    if isinstance(contents, RequestContents):
        _show_request(contents, reader, to)
    elif isinstance(contents, ResultContents):
        _show_result(contents, reader, to)
    else:
        to.print(_panel("The key, as its XML says; the broker verifies who signed that", _key_table(contents, reader)))
        _show_policy("Its policy", contents.attestation, reader, to)


def _show_request(contents: RequestContents, reader: Reader, to: Console) -> None:
    facts = _grid()
    facts.add_row("Operation", Text(contents.operation.verb))
    if contents.asks_for_time:
        facts.add_row("For", Text(f"approvals to {contents.action.name.lower()}, which are asked for afterwards"))
    facts.add_row("Key", Text(visible(contents.key_label)))
    known = contents.statement
    identity = None if known is None else KeyIdentity.of_statement(known)
    facts.add_row("", _standing(reader, contents.key_label, identity))
    if contents.algorithm:
        facts.add_row("Algorithm", Text(visible(contents.algorithm)))
    for name, value in contents.others:
        facts.add_row("And", Text(f"{visible(name)}: {visible(value)}"))
    if contents.witness is not None:
        facts.add_row(
            "Before it", Text("the HSM is shown something that it signed itself, to see whether its store is older")
        )
    to.print(_panel("What is asked", facts))
    if contents.statement is not None:
        rows = _grid()
        for words, value in describe_statement(contents.statement):
            rows.add_row(words, Text(visible(value)))
        whose = "What the time is asked for" if contents.asks_for_time else "What the approvals are bound to"
        to.print(_panel(f"{whose}, and nothing else", rows))
    payload = _used_bytes(contents)
    told = certificate_in(payload)
    if told is not None:
        rows = _grid()
        for words, value in describe_certificate(told):
            rows.add_row(words, Text(visible(value)))
        to.print(_panel("The CERTIFICATE that the signature makes", rows))
    elif payload is not None:
        view = view_payload(payload)
        head = Text(f"{view.kind}, {view.size} bytes, SHA-256 {view.sha256}")
        note = [Text(f"! {view.note}", style="bold yellow")] if view.note else []
        to.print(_panel("Payload", Group(head, *note, Text(""), Text(view.shown))))
    if contents.policy is not None:
        to.print(_panel("The NEW policy", Text("\n".join(describe_policy(contents.policy, reader)))))
    if contents.asks_for_time:
        return
    if not contents.approvals:
        to.print(_panel("Approvals", Text("none")))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "Approver", "Words the approver saw", "HSM's time in it"):
        table.add_column(column, overflow="fold")
    for position, approval in enumerate(contents.approvals, 1):
        mark = Text("!", style="bold red") if approval.problems else Text(str(position))
        stamp = "" if approval.stamp is None else _when(approval.stamp)
        table.add_row(mark, Text(_signer(approval, reader)), Text(" ".join(approval.words)), Text(stamp))
    problems = [
        Text(f"! Approval {position}: {visible(problem)}", style="bold red")
        for position, approval in enumerate(contents.approvals, 1)
        for problem in approval.problems
    ]
    counted = Text("Whether they are enough, the HSM decides.")
    to.print(_panel(f"Approvals: {len(contents.approvals)}", Group(table, *problems, counted)))


def _used_bytes(contents: RequestContents) -> bytes | None:
    """What the key would process; a request for a timestamp of a bound key holds the statement about it instead."""
    if contents.asks_for_time and contents.statement is not None:
        return contents.statement.data or None
    return contents.payload


def _show_result(contents: ResultContents, reader: Reader, to: Console) -> None:
    if contents.result is not None:
        facts = _grid()
        facts.add_row("Result", Text(base64.b64encode(contents.result).decode()))
        facts.add_row("SHA-256", Text(hashlib.sha256(contents.result).hexdigest()))
        to.print(_panel("The signature, or what was decrypted; the broker verifies it before it counts", facts))
    if contents.attestation is not None:
        to.print(_panel("The key afterwards; the broker verifies who says so", _key_table(contents, reader)))
        _show_policy("Its policy now", contents.attestation, reader, to)
    if contents.stamp is not None:
        facts = _grid()
        facts.add_row("Time of the HSM", Text(_when(contents.stamp.seconds), style="bold"))
        facts.add_row("Signed with", Text(visible(contents.stamp.key_name)))
        to.print(_panel("The HSM's time; approvals count from it on, and the broker verifies it", facts))
    if contents.refused is not None:
        facts = _grid()
        word = f" {visible(contents.refused.word)}" if contents.refused.word else ""
        facts.add_row("Refused", Text(f"{contents.refused.number}{word}", style="bold red"))
        facts.add_row("Because", Text(visible(contents.refused.message)))
        to.print(_panel("A refusal; the broker verifies the HSM's receipt for it", facts))
    if contents.has_receipt:
        to.print(Text("With the HSM's receipt, which the broker verifies and keeps."))


def _when(seconds: int) -> str:
    """A time of the HSM, as somebody says; hostile numbers have no year."""
    return iso(seconds) if seconds <= LAST_SECOND else f"{seconds} seconds since 1970"


def _standing(reader: Reader, label: str, identity: KeyIdentity | None) -> Text:
    """How a key stands to those that this person has accepted."""
    found = acceptance_of(reader.book.keys, label, identity)
    return Text(visible(found.words), style="bold red" if found.alarming else "none")


def _key_table(contents: KeyContents | ResultContents, reader: Reader) -> Table:
    attestation = contents.attestation
    facts = _grid()
    if attestation is None:
        return facts
    facts.add_row("Key", Text(visible(attestation.label)))
    facts.add_row("", _standing(reader, attestation.label, KeyIdentity.of_attestation(attestation)))
    facts.add_row("", Text("(as this XML says; here nobody verifies who signed it)"))
    facts.add_row("Identity", Text(f"{attestation.uuid}, generation {attestation.generation}"))
    facts.add_row("Kind", Text(f"{attestation.algorithm}, {attestation.creation} {iso(attestation.create_time)}"))
    facts.add_row("Public key", Text(spaced_fingerprint(hashlib.sha256(attestation.public_key).hexdigest())))
    facts.add_row("HSM", Text(f"{attestation.instance_id}, counter {attestation.state_counter}"))
    facts.add_row("Isolation", Text(attestation.isolation))
    if attestation.attributes.get("boundApprovals"):
        facts.add_row(
            "Approvals", Text("bound: each says algorithm, key, policy and request, and counts for these alone")
        )
    if attestation.switches:
        facts.add_row("Weakened by", Text(", ".join(attestation.switches), style="bold yellow"))
    if attestation.open_modify:
        facts.add_row("Careful", Text("this key's policy can be replaced without approvals", style="bold yellow"))
    return facts


def _show_policy(title: str, attestation: KeyAttestation, reader: Reader, to: Console) -> None:
    if attestation.policy is None:
        to.print(_panel(title, Text("none: an ordinary key, which needs no approvals")))
    else:
        to.print(_panel(title, Text("\n".join(describe_policy(attestation.policy, reader)))))


def bundle_json(bundle: Bundle, contents: Contents, station: Station) -> dict[str, Any]:
    """What is in an opened bundle, as JSON.

    Args:
        bundle: The bundle.
        contents: Its body, decoded.
        station: This side, for the other side's name.
    """
    shown: dict[str, Any] = {
        "kind": bundle.kind,
        "requestId": bundle.request_id,
        "sequence": bundle.sequence,
        "sender": {"name": station.peer_name(bundle.sender), "fingerprint": fingerprint(bundle.sender)},
        "words": list(body_words(bundle)),
    }
    if isinstance(contents, RequestContents):
        shown["request"] = {
            "operation": contents.operation.inner,
            "action": contents.action.name.lower(),
            "keyLabel": contents.key_label,
            "algorithm": contents.algorithm or None,
            "others": dict(contents.others),
            "bound": None if contents.statement is None else dict(describe_statement(contents.statement)),
            "payload": None if contents.payload is None else _payload_json(contents.payload),
            "policy": None if contents.policy is None else policy_to_json(contents.policy, blocked=None),
            "approvals": [_approval_json(approval) for approval in contents.approvals],
        }
    elif isinstance(contents, ResultContents):
        shown |= _result_json(contents)
    if not isinstance(contents, RequestContents) and contents.attestation is not None:
        attestation = contents.attestation
        shown["key"] = {
            "label": attestation.label,
            "uuid": attestation.uuid,
            "generation": attestation.generation,
            "algorithm": attestation.algorithm,
            "publicKeyFingerprint": hashlib.sha256(attestation.public_key).hexdigest(),
            "stateCounter": attestation.state_counter,
            "openModify": attestation.open_modify,
        }
    return shown


def _result_json(contents: ResultContents) -> dict[str, Any]:
    shown: dict[str, Any] = {"receipt": contents.has_receipt}
    if contents.result is not None:
        shown["result"] = base64.b64encode(contents.result).decode()
    if contents.stamp is not None:
        shown["timestamp"] = {"time": _when(contents.stamp.seconds), "keyName": contents.stamp.key_name}
    if contents.refused is not None:
        refused = contents.refused
        shown["refused"] = {"errorCode": refused.number, "refusal": refused.word, "message": refused.message}
    return shown


def incomplete_json(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What is there and what is missing of each message, as JSON.

    Args:
        messages: The messages, none of them complete.
    """
    return [
        {
            "name": message.name,
            "total": message.progress.total,
            "plain": list(message.progress.plain),
            "mixed": message.progress.mixed,
            "missing": list(message.progress.missing),
            "needed": message.progress.needed,
            "files": list(message.sources),
        }
        for message in messages
    ]


def _payload_json(payload: bytes) -> dict[str, Any]:
    view = view_payload(payload)
    return {
        "kind": view.kind,
        "size": view.size,
        "sha256": view.sha256,
        "shown": view.shown,
        "base64": base64.b64encode(payload).decode(),
        "note": view.note,
    }


def _approval_json(approval: ApprovalView) -> dict[str, Any]:
    return {
        "operation": None if approval.token is None else approval.token.action.name.lower(),
        "signer": approval.signer,
        "signerName": approval.signer_name,
        "words": list(approval.words),
        "timestamp": None if approval.stamp is None else _when(approval.stamp),
        "problems": list(approval.problems),
    }


def _signer(approval: ApprovalView, reader: Reader) -> str:
    if not approval.signer:
        return "unknown"
    named = f" (certificate of {visible(approval.signer_name)})" if approval.signer_name else ""
    return f"{reader.who(approval.signer)}{named}\n{spaced_fingerprint(approval.signer)}"


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    return grid


def _panel(title: str, content: Any) -> Panel:
    return Panel(content, title=Text(title, style="bold"), title_align="left")
