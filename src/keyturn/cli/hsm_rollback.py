"""`keyturn hsm witness` and `keyturn hsm rollback`: has somebody put the HSM's store back to an older state (R6)?"""

from __future__ import annotations

import base64
import binascii
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn.cli.examples import examples
from keyturn.cli.hsm_admin import FILE, admin_options, json_option, socket_of, tell, with_admin
from keyturn.errors import ErrorCode, FormatError, KeyturnError
from keyturn.hsm import admin
from keyturn.plain import counted

if TYPE_CHECKING:
    from pathlib import Path

EXIT_OLDER: Final = 3
"""Exit code of `witness` where the store is older than what it was shown."""
MAX_FILE: Final = 4 << 20
"""Largest file read in bytes: attested attributes with their JSON twin, and a receipt."""

_ATTESTATION: Final = "attestation"
_RECEIPT: Final = "receipt"
_FIELDS: Final = {_ATTESTATION: ("xml", "xmlSignature"), _RECEIPT: ("receipt", "receiptSignature")}


def rollback_lines(found: admin.Status) -> list[str]:
    """What the status says about rollbacks, in sentences.

    Args:
        found: The status.
    """
    lines = []
    if found.rolled_back:
        lines.append(
            f"ROLLED BACK: this HSM once signed restore epoch {found.witnessed_epoch}, counter "
            f"{found.witnessed_counter}; its store is older"
        )
        lines.append(
            "timestamps, and keys with a policy, are refused: find out why, then `keyturn hsm rollback accept`"
        )
    if found.accepted_rollbacks:
        lines.append(f"{counted(found.accepted_rollbacks, 'rollback')} accepted since the store was made")
    return lines


@click.command(
    short_help="Show the HSM something newer that it signed itself.",
    epilog=examples(
        "keyturn hsm witness attributes.json --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm witness answer-with-receipt.json --data-dir /var/lib/keyturn-hsm --json",
    ),
)
@click.argument("file", type=FILE)
@admin_options
@json_option
def witness(file: Path, data_dir: Path | None, admin_socket: Path | None, *, as_json: bool) -> None:
    """Hold FILE, which this HSM signed, against its store: was the store put back to an older state?

    FILE is JSON with attested attributes of any key (an answer of POST /v1/key/attributes) or with a receipt. Keep
    some of the newest where whoever can reach the HSM's disk cannot. Exit code 0: the store is as new as FILE; 3: it
    is older, and the HSM has stopped what a policy governs; 1: FILE is not this HSM's word.
    """
    pieces = _pieces(file)

    async def act(client: admin.AdminClient) -> admin.Status:
        for kind, evidence, signature in pieces:
            await client.call(admin.PresentWitness(kind, evidence, signature), admin.AdminDone)
        return await client.status()

    found: admin.Status = with_admin(socket_of(data_dir, admin_socket), act)
    done = {
        "done": "witness",
        "shown": [kind for kind, _, _ in pieces],
        "rolledBack": found.rolled_back,
        "witnessedEpoch": found.witnessed_epoch,
        "witnessedCounter": found.witnessed_counter,
        "restoreEpoch": found.restore_epoch,
        "stateCounter": found.state_counter,
    }
    sentence = "the store is as new as what it was shown"
    if found.rolled_back:
        sentence = "\n".join(rollback_lines(found)[:2])
    tell(sentence, done, as_json=as_json)
    if found.rolled_back:
        sys.exit(EXIT_OLDER)


@click.group(epilog=examples("keyturn hsm rollback accept --data-dir /var/lib/keyturn-hsm"))
def rollback() -> None:
    """A store that was put back to an older state."""


@rollback.command(
    short_help="Go on with a store that is an older one, after finding out why.",
    epilog=examples(
        "keyturn hsm rollback accept --data-dir /var/lib/keyturn-hsm",
        "keyturn hsm rollback accept --data-dir /var/lib/keyturn-hsm --yes --json",
    ),
)
@admin_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def accept(data_dir: Path | None, admin_socket: Path | None, *, yes: bool, as_json: bool) -> None:
    """Go on with a store that is an older one; attested for ever, and the beginning of a new restore epoch.

    What is lost stays lost: blocks, changes of policies, withdrawals and approvals that have served may have to be
    done again. Look through the keys before.
    """

    async def act(client: admin.AdminClient) -> admin.Status:
        found = await client.status()
        if found.sealed:
            raise KeyturnError(ErrorCode.HSM_FAILURE, "the HSM is sealed: unseal it first", refusal="hsm.sealed")
        if found.rolled_back:
            # What the person looks at; with --json, standard output holds the object only.
            click.echo(
                f"the store has restore epoch {found.restore_epoch}, counter {found.state_counter}; this HSM once "
                f"signed restore epoch {found.witnessed_epoch}, counter {found.witnessed_counter}",
                err=as_json,
            )
            if not yes:
                click.confirm("Go on with the older store? What is lost stays lost.", abort=True, err=as_json)
        await client.call(admin.AcceptRollback(found.witnessed_epoch, found.witnessed_counter), admin.AdminDone)
        return await client.status()

    found: admin.Status = with_admin(socket_of(data_dir, admin_socket), act)
    done = {
        "done": "rollback accept",
        "restoreEpoch": found.restore_epoch,
        "stateCounter": found.state_counter,
        "acceptedRollbacks": found.accepted_rollbacks,
    }
    tell(f"accepted; the restore epoch is {found.restore_epoch} from now on", done, as_json=as_json)


def _pieces(file: Path) -> list[tuple[str, bytes, bytes]]:
    """Kind, evidence and signature of everything in a file that an HSM signed."""
    try:
        if file.stat().st_size > MAX_FILE:
            raise FormatError(f"{file} has more than {MAX_FILE} bytes; a witness is smaller.", refusal="witness.size")
        body = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise FormatError(f"{file} holds no JSON object; give an answer as the server sent it.", refusal="witness.json")
    inner = body.get("keyAttributes")
    places = [body, inner] if isinstance(inner, dict) else [body]
    found = [piece for place in places for kind in _FIELDS if (piece := _piece(place, kind)) is not None]
    if not found:
        raise FormatError(
            f"{file} holds nothing that an HSM signs: give attested attributes (`xml`, `xmlSignature`) or an answer "
            "with `receipt` and `receiptSignature`.",
            refusal="witness.missing",
        )
    return found


def _piece(place: dict[str, Any], kind: str) -> tuple[str, bytes, bytes] | None:
    text, signature = (place.get(name) for name in _FIELDS[kind])
    if not isinstance(text, str) or not isinstance(signature, str):
        return None
    try:
        evidence = text.encode() if kind == _ATTESTATION else base64.b64decode(text, validate=True)
        return kind, evidence, base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(
            f"{_FIELDS[kind][1]} is not base64 as the server sent it, or the text cannot be read.",
            refusal="witness.encoding",
        ) from None
