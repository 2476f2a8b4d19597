"""One officer's view of one task: what the tests of the review share."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from keyturn.approver.address_book import AddressBook
from keyturn.approver.keys import fingerprint_of
from keyturn.approver.review import Review, review_task
from keyturn.approver.tasks import parse_task
from keyturn.approver.terminal import spaced_fingerprint
from keyturn.ska.actions import Action
from keyturn.ska.policy import encode_policy
from keyturn_testing.approval_tasks import (
    NEW_ATTRIBUTES,
    STAMPED_AT,
    PaperHsm,
    b64,
    block_token,
    honest_task,
    modify_token,
    sign_token,
    unwrap_token,
)
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from collections.abc import Callable

ADA, BEN, EVE = Officer("ada"), Officer("ben", "ED"), Officer("eve", "P-384")
POLICY = make_policy(quorum(2, ADA, BEN, EVE))
NEW_POLICY = encode_policy(make_policy(quorum(2, ADA, BEN, Officer("fay"))))
PAYLOAD = b"Pay 10 to Bob."
OTHER_PAYLOAD = b"Pay 10000 to Eve."
HSM = PaperHsm()
BOOK = AddressBook.empty()


NOW = STAMPED_AT + 60
"""When everything is reviewed, by the officer's clock."""


def review(
    task: dict[str, Any], *, pinned: bool = True, who: Officer = ADA, book: AddressBook = BOOK, now: int = NOW
) -> Review:
    device = HSM.certificate if pinned else None
    return review_task(parse_task(task), own_spki=who.spki, address_book=book, now=now, device_certificate=device)


def stamped_task(**request: Any) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(sign_token(PAYLOAD)), hsm=HSM, policy=POLICY, **request)


def modify_task(**request: Any) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(modify_token(NEW_POLICY)), hsm=HSM, policy=POLICY, **request)


CIPHERTEXT = bytes(range(256))
DECRYPTS = {"attributes": {"sign": False, "decrypt": True, "unwrap": True, "extractable": False, "destroyable": True}}
"""What the HSM attests of a key that may decrypt and unwrap only."""


def decrypt_task(**request: Any) -> dict[str, Any]:
    token = HSM.stamp(sign_token(CIPHERTEXT))
    return honest_task(ADA, token, hsm=HSM, policy=POLICY, attested=DECRYPTS, kind="decrypt", **request)


def unwrap_task(*, attributes: dict[str, bool] | None = None, **request: Any) -> dict[str, Any]:
    asked = {**NEW_ATTRIBUTES, **(attributes or {})}
    token = HSM.stamp(unwrap_token(asked))
    request = {"attributes": asked, **request}
    return honest_task(ADA, token, hsm=HSM, policy=POLICY, attested=DECRYPTS, kind="unwrap", **request)


def block_task(**request: Any) -> dict[str, Any]:
    return honest_task(ADA, HSM.stamp(block_token()), hsm=HSM, policy=POLICY, **request)


def unblock_task(**request: Any) -> dict[str, Any]:
    token = HSM.stamp(block_token(action=Action.UNBLOCK))
    return honest_task(ADA, token, hsm=HSM, policy=POLICY, attested={"blocked": True}, **request)


EVERY_KIND: dict[str, Callable[..., dict[str, Any]]] = {
    "sign": stamped_task,
    "decrypt": decrypt_task,
    "unwrap": unwrap_task,
    "block": block_task,
    "unblock": unblock_task,
    "modify": modify_task,
}
"""An honest task of every kind."""


def recoded(task: dict[str, Any], field: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the request inside `requestBase64` or one of the `signed…` fields."""
    request = (
        json.loads(base64.b64decode(task[field])) if field == "requestBase64" else json.loads(json.dumps(task[field]))
    )
    change(next(value for name, value in request.items() if name.endswith("Request")))
    task[field] = b64(json.dumps(request).encode()) if field == "requestBase64" else request


def attributes_of(label: str) -> dict[str, str]:
    """Honest attributes of some key of the same HSM."""
    xml, signature = HSM.attest(POLICY, label=label)
    return {"keyAttributes": xml, "keyAttributesSignature": b64(signature)}


def fingerprint(officer: Officer) -> str:
    return fingerprint_of(officer.spki)


def spaced(officer: Officer) -> str:
    return spaced_fingerprint(fingerprint(officer))


def outdented(text: str) -> str:
    """The text with the first two levels of indent made one, so that tests read the same for every depth."""
    return text.replace("\n    -", "\n  -").replace("\n      ", "\n    ")


def foreign_device_certificate() -> bytes:
    return Officer("some other device", "RSA").certificate
