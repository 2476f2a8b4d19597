"""What `keyturn transport import` does with an opened bundle on this side's server, and what becomes of the answer.

In the vault a request is executed, and the answer sealed for the way back: a result, the HSM's time, or a refusal
with the HSM's receipt. In the office a result is brought back, or a key registered.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from keyturn.approver.terminal import visible
from keyturn.cli.transport_options import EXIT_REFUSED_THERE, print_json
from keyturn.client import ServerRefusedError
from keyturn.clock import iso
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.transport.bundle import RESULT, Bundle
from keyturn.transport.contents import RequestContents, ResultContents, body_words, read_contents
from keyturn.transport.operations import (
    RECEIPT_FIELDS,
    REFUSED_FIELD,
    RESULT_FIELD,
    TIMESTAMP_FIELD,
)

if TYPE_CHECKING:
    from keyturn.cli.transport_files import Target
    from keyturn.client import RestClient
    from keyturn.transport.contents import Contents
    from keyturn.transport.station import Station

COME_AGAIN: Final = frozenset({"approvals.too-early", "store.rolled-back"})
"""Refusals that time, or the HSM's administrator, cures: the same bundle is imported again later, and nothing is
carried back."""

REFUSAL_STAYS: Final = (
    "Nothing was done with the key, and there is nothing to carry back: the server gave no receipt of the HSM for this "
    "refusal, without which the online side could not tell it from an invention (R24). The request stays as it is "
    "there; tell the people what you read here, and cancel the request online if it is final."
)
REFUSAL_TRAVELS: Final = "Nothing was done with the key. Carry the refusal back: the HSM's receipt is with it."
TOO_EARLY: Final = "Nothing was done with the key. Keep the bundle, and import it again when its time has come."

ANSWER_NOT_WRITTEN: Final = (
    "The HSM has executed the request, but its answer could not be written. So that it is not lost, here it is; save "
    "it and seal it with keyturn transport export --kind result --input FILE --request ID:"
)

_TIMESTAMP_ANSWER: Final = ("timestamp", "timestampSignature", "timestampSignatureAlgorithm", "timestampKeyName")


def clock_lines(server: RestClient) -> list[str]:
    """What the HSM's clock says: an offline ceremony begins with a look at it.

    Args:
        server: This side's server.

    Returns:
        Sentences; people compare the time with a watch, because every time limit is judged by it.
    """
    try:
        told = server.version_info()
    except KeyturnError as error:
        if error.code is ErrorCode.CONNECTIVITY:
            raise
        told = {}
    clock, mark = told.get("hsmTime"), told.get("hsmClockMark")
    if not isinstance(clock, int | float):
        return ["The server does not tell the HSM's time."]
    lines = [f"The HSM's clock: {iso(clock)}. Compare it with yours: time limits are judged by it."]
    if isinstance(mark, int | float):
        lines.append(f"The latest time that the HSM has used: {iso(mark)}.")
    return lines


def execute(
    server: RestClient, station: Station, bundle: Bundle, contents: RequestContents, target: Target, *, as_json: bool
) -> dict[str, Any]:
    """Execute a request on the offline side and write the answer for the way back.

    Args:
        server: The offline side's server.
        station: This side.
        bundle: The bundle with the request.
        contents: Its body, decoded.
        target: Where the answer goes.
        as_json: Whether refusals are printed as JSON, too.

    Returns:
        `said`, and for JSON `answer`, `answerWords`, `written`, `sealed`. Ends the program at a refusal.
    """
    try:
        _show_witness(server, contents)
        answer = execute_with_password(server, contents.body)
    except KeyturnError as error:
        # What could not be reached has refused nothing; it can be tried again. So can a password that was mistyped.
        if error.code in {ErrorCode.CONNECTIVITY, ErrorCode.TECHNICAL, ErrorCode.KEY_PASSWORD_MISMATCH}:
            raise
        _refused(error, station, bundle, target, as_json=as_json)
    return {
        "said": "The HSM has given its time. Carry it back: the approvers get their tasks then."
        if contents.asks_for_time
        else "The HSM has done it. Carry the answer back.",
        **_send_back(station, bundle, _result_body(server, bundle, contents, answer), target),
    }


def execute_with_password(server: RestClient, body: dict[str, Any]) -> dict[str, Any]:
    """Have a carried request executed; the password of a key that has one is typed here, and travels nowhere (R27).

    Args:
        server: The offline side's server.
        body: One inner object by its name, as the bundle brought it.

    Returns:
        The answer.

    Raises:
        KeyturnError: 620 where nobody is at the terminal, or nothing is typed.
    """
    while True:
        try:
            return server.execute_offline_input(body)
        except ServerRefusedError as error:
            if error.code is not ErrorCode.KEY_PASSWORD_MISMATCH or not sys.stdin.isatty():
                raise
            click.echo(f"! {visible(error.message)}", err=True)
            password = click.prompt("Password of the key", hide_input=True, default="", show_default=False, err=True)
            if not password:
                raise
        ((name, inner),) = body.items()
        member = "unwrapKeyPassword" if name == "unwrapKeyRequest" else "keyPassword"
        body = {name: {**inner, member: list(password)}}


def _show_witness(server: RestClient, contents: RequestContents) -> None:
    """Let the HSM see what it signed before; then it refuses the request by itself, if its store was put back.

    Somebody who wants the request refused could leave out the bundle, too; so what the HSM did not sign, or a server of
    another make does not take, is said and does not stop the request.
    """
    if contents.witness is None:
        return
    try:
        older = server.show_hsm_witness(contents.witness)
    except KeyturnError as error:
        if error.code is ErrorCode.CONNECTIVITY:
            raise
        click.echo(f"! The bundle brought a witness that did not count: {visible(error.message)}", err=True)
        return
    if older:
        click.echo(
            "! THE HSM'S STORE WAS PUT BACK to an older state: the online side has something newer that it signed. "
            "Its administrator looks with `keyturn hsm status`.",
            err=True,
        )


def bring_in(server: RestClient, bundle: Bundle, contents: Contents, *, as_json: bool) -> dict[str, Any]:
    """Bring a result back on the online side, or register a key there.

    Args:
        server: The online side's server.
        bundle: The bundle.
        contents: Its body, decoded.
        as_json: Whether refusals are printed as JSON, too.

    Returns:
        `said`, and for a result the request's `status`. Ends the program at a refusal.
    """
    try:
        if not isinstance(contents, ResultContents):
            server.register_offline_key(contents.body)
            return {"said": "The key is registered."}
        server.import_offline_result(contents.body)
    except KeyturnError as error:
        if error.code in {ErrorCode.CONNECTIVITY, ErrorCode.TECHNICAL}:
            raise
        _tell_refusal(error, bundle, as_json=as_json)
        sys.exit(EXIT_REFUSED_THERE)
    status = str(server.request(str(bundle.request_id)).get("status"))
    if contents.stamp is not None:
        said = f"The HSM's time is there: the approvers of request {bundle.request_id} have their tasks now."
    elif contents.refused is not None:
        said = f"The refusal is back, with the HSM's receipt: request {bundle.request_id} is {status}."
    else:
        said = f"The result is back: request {bundle.request_id} is {status}."
    return {"said": said, "status": status}


def _result_body(server: RestClient, bundle: Bundle, contents: RequestContents, answer: dict[str, Any]) -> bytes:
    """The body for `PUT /v1/resultFromOfflineHsm` (decisions 14 and 15)."""
    operation = contents.operation
    receipt: dict[str, Any] = {name: answer[name] for name in RECEIPT_FIELDS if name in answer}
    outcome: Any
    if operation.outcome == RESULT_FIELD:
        outcome = answer.get(operation.answered)
        if not isinstance(outcome, str):
            raise _bad_answer(f"There is no {operation.answered} in it.")
    elif operation.outcome == TIMESTAMP_FIELD:
        outcome = {name: answer.get(name) for name in _TIMESTAMP_ANSWER}
    else:
        if "xml" not in answer:
            # A compatible server may answer with less than the attested attributes.
            label = contents.body[operation.inner].get("label", contents.key_label)
            answer = server.key_attributes(label)
        outcome = {name: value for name, value in answer.items() if name not in RECEIPT_FIELDS}
    return encode({"id": bundle.request_id, operation.outcome: outcome, **receipt})


def _send_back(station: Station, bundle: Bundle, result: bytes, target: Target) -> dict[str, Any]:
    draft = Bundle(
        kind=RESULT,
        request_id=bundle.request_id,
        sender=station.key.public,
        recipient=None,
        sequence=1,
        body=result,
    )
    try:
        read_contents(draft)
    except KeyturnError as error:
        raise _bad_answer(error.message) from error
    sender = next(peer for peer in station.trust.peers() if peer.public == bundle.sender)
    sealed = station.seal(RESULT, bundle.request_id, result, to=sender)
    try:
        written = target.write(sealed, f"result {bundle.request_id} for {sender.name}")
    except KeyturnError:
        # A key of single use would not give it again.
        click.echo(f"keyturn: {ANSWER_NOT_WRITTEN}\n{json.dumps(json.loads(result))}", err=True)
        raise
    return {
        "answer": json.loads(result),
        "answerWords": list(body_words(draft)),
        "written": written,
        "sealed": sealed,
    }


def _refused(error: KeyturnError, station: Station, bundle: Bundle, target: Target, *, as_json: bool) -> NoReturn:
    """Tell of a refusal by the HSM, and write it for the way back where its receipt is there."""
    body: dict[str, Any] = error.body if isinstance(error, ServerRefusedError) else {}
    receipt: dict[str, Any] = {name: body[name] for name in RECEIPT_FIELDS if name in body}
    done: dict[str, Any] = {}
    cure = TOO_EARLY if error.refusal in COME_AGAIN else REFUSAL_STAYS
    if len(receipt) == len(RECEIPT_FIELDS) and error.refusal not in COME_AGAIN:
        refused = {name: value for name, value in body.items() if name not in RECEIPT_FIELDS}
        done = _send_back(station, bundle, encode({"id": bundle.request_id, REFUSED_FIELD: refused, **receipt}), target)
        done.pop("sealed")
        cure = REFUSAL_TRAVELS
    _tell_refusal(error, bundle, as_json=as_json, more=done)
    click.echo(cure, err=True)
    sys.exit(EXIT_REFUSED_THERE)


def _tell_refusal(error: KeyturnError, bundle: Bundle, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    refused = {"errorCode": error.code.number, "reason": error.code.reason, "message": error.message}
    if as_json:
        print_json(
            {REFUSED_FIELD: {**refused, "refusal": error.refusal}, "requestId": bundle.request_id, **(more or {})}
        )
    word = f" [{error.code.number} {error.refusal or error.code.reason}]"
    click.echo(f"keyturn: REFUSED: {visible(error.message)}{word}", err=True)


def _bad_answer(why: str) -> KeyturnError:
    return KeyturnError(
        ErrorCode.TECHNICAL,
        f"The server's answer cannot be carried back: {why} Is it a keyturn server? The bundle can be imported again.",
        refusal="import.bad-answer",
    )


def encode(body: object) -> bytes:
    """Write a body as JSON text.

    Args:
        body: What `json.dumps` takes.
    """
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
