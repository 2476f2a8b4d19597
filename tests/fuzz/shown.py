"""Targets: what a lying broker hands to an officer's client."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from fuzz import people, structures
from fuzz.harness import Target, joined, pieces, refuse, require, same
from keyturn.approver.address_book import AddressBook
from keyturn.approver.first_trust import TrustView, certificate_pem, device_certificate, view_device
from keyturn.approver.payload import PayloadView, view_payload
from keyturn.approver.review import Review, review_task
from keyturn.approver.tasks import parse_task
from keyturn.ska.actions import Action
from keyturn.ska.messages import decode_authorization, encode_approval
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.unwrap_flags import unwrap_payload_for

if TYPE_CHECKING:
    from fuzz.harness import AnyTarget

_PAGES: Final = 100
"""How many times longer than the payload its view may be: a byte becomes `<U+00FF>`, or a line of a dump."""


def _task(data: bytes) -> Review:
    """A task: the approval, the JSON of its request, and the JSON of its other fields; ids and base64 are put right."""
    approval, rest = pieces(data)
    request, rest = pieces(rest)
    try:
        fields = json.loads(rest.decode())
    except (ValueError, RecursionError):
        raise refuse("The fields are not JSON.") from None
    if not isinstance(fields, dict):
        raise refuse("The fields are no object.")
    fields["approvalToBeSigned"] = base64.b64encode(approval).decode()
    fields.setdefault("id", structures.TASK.decode())
    if request:
        fields["requestBase64"] = base64.b64encode(request).decode()
    return review_task(
        parse_task(fields), own_spki=people.spki("ada"), address_book=AddressBook.empty(), now=people.NOW
    )


def _hold_task(data: bytes, review: Review) -> None:
    same(review.approval, pieces(data)[0])
    same(encode_approval(review.token), review.approval)
    shown: list[str] = [review.label, review.operation, *review.meaning, *review.policy_lines, *review.words]
    shown += [text for claim in review.claims for text in (claim.name, claim.text)]
    for text in shown:
        require(not any(letter in text for letter in "\x1b\x07\x08\u202e"), "a control character is shown as it is")
        text.encode()


def _seed(approval: bytes, request: object, **fields: Any) -> bytes:
    body = b"" if request is None else json.dumps(request).encode()
    return joined(approval, joined(body, json.dumps(fields).encode()))


def _approval(action: Action = Action.USE, payload: bytes | None = people.PAYLOAD, *, stamped: bool = False) -> bytes:
    stamp = people.stamp(payload=payload, is_policy=action is Action.MODIFY) if stamped else None
    return decode_authorization(people.approve("ada", payload, action=action, with_stamp=stamp)).approval


def _tasks() -> list[bytes]:
    payload = base64.b64encode(people.PAYLOAD).decode()
    sign = {"signRequest": {"signKeyName": people.LABEL, "payload": payload, "signatureAlgorithm": "EDDSA"}}
    policy = encode_policy(people.policy())
    modify = {"modifyRequest": {"modifyKeyName": people.LABEL, "policy": policy_to_json(people.policy(), blocked=None)}}
    attributes = {"sign": True}
    unwrap = unwrap_payload_for(attributes, b"wrapped", "new")
    wrapped = base64.b64encode(b"wrapped").decode()
    inner = {"unwrapKeyName": people.LABEL, "wrappedKey": wrapped, "label": "new", "attributes": attributes}
    return [
        _seed(_approval(), sign, metaData=None),
        _seed(_approval(stamped=True), None, approverPublicKey=base64.b64encode(people.spki("ada")).decode()),
        _seed(_approval(Action.MODIFY, policy), modify),
        _seed(_approval(Action.BLOCK, None), {"blockRequest": {"blockKeyName": people.LABEL}}),
        _seed(_approval(Action.USE, unwrap), {"unwrapKeyRequest": inner}),
    ]


def _device(data: bytes) -> TrustView:
    """The certificate that a server says is the HSM's; the armour is put around it here."""
    armour = b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % base64.encodebytes(data)
    return view_device(device_certificate(armour))


def _hold_device(data: bytes, view: TrustView) -> None:
    same(certificate_pem(device_certificate(certificate_pem(data))), certificate_pem(data))
    view.name.encode()
    require(view.words)


def _hold_view(data: bytes, view: PayloadView) -> None:
    same(view.size, len(data))
    require(len(view.shown) <= _PAGES * (len(data) + 1), "the view is endless")
    view.shown.encode()


TARGETS: Final[tuple[AnyTarget, ...]] = (
    Target("shown.task", _task, _hold_task, _tasks),
    Target("shown.device", _device, _hold_device, lambda: map(people.certificate, people.PEOPLE)),
    Target(
        "shown.payload",
        view_payload,
        _hold_view,
        lambda: [b'{"a":[1,{"b":null}]}', b"text\r\n", bytes(32), b"\xff\x00", "ä\u202e".encode()],
    ),
)
