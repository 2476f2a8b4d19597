"""`keyturn key`: a person accepts a key by its attestation, and sees later whether keys are what was accepted (R20).

The commands about material of keys stand in `key_material`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keyturn.approver.acceptance import view_key
from keyturn.approver.accepted_keys import Acceptance, KeyIdentity, Standing, acceptance_of
from keyturn.approver.address_book import AddressBook, default_path
from keyturn.approver.first_trust import MAX_PEM, device_certificate, verified_attributes
from keyturn.approver.policy_words import Reader
from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.cli.examples import examples
from keyturn.cli.key_material import address, derive, export_key, import_key
from keyturn.cli.officer import (
    FILE,
    OfficerGroup,
    address_book_option,
    ca_file_option,
    json_option,
    open_address_book,
    read_file,
)
from keyturn.cli.officer_view import console
from keyturn.cli.server import connect
from keyturn.client import ServerRefusedError
from keyturn.clock import SystemClock, iso
from keyturn.errors import FormatError
from keyturn.ska.key_names import SEPARATOR

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from keyturn.approver.acceptance import KeyView
    from keyturn.approver.accepted_keys import AcceptedKey
    from keyturn.client import RestClient

EXIT_CHANGED: Final = 3
"""Exit code of `list` where a key is not what was accepted."""
EXIT_DECLINED: Final = 5
"""Exit code of `accept` where the person declined, as in `keyturn transport import`."""
_Row = tuple[str, str, Acceptance | None]
"""Label, fingerprint, and how it stands; None for an accepted key that is not there."""
MAX_FILE: Final = 2 << 20
"""Largest file read: 256 KiB of XML (R19) with its JSON twin."""


@click.group(
    cls=OfficerGroup,
    epilog=examples(
        "keyturn key accept attributes.json --device-cert pinned.pem",
        "keyturn key list --url http://127.0.0.1:8080 --device-cert pinned.pem",
    ),
)
def key() -> None:
    """Accept keys, by their attestation and not by their name; take keys in and out, and derive them."""


for _command in (export_key, import_key, derive, address):
    key.add_command(_command)


@key.command(
    "accept",
    short_help="Look at a key's attestation, and accept the key.",
    epilog=examples(
        "keyturn key accept attributes.json --device-cert pinned.pem",
        "keyturn key accept --url http://127.0.0.1:8080 --label treasury --device-cert pinned.pem",
        "keyturn key accept attributes.json --device-cert pinned.pem --yes --json",
    ),
)
@click.argument("file", type=FILE, required=False)
@click.option("--url", help="Fetch the attributes from this server instead.")
@click.option("--label", help="Label of the key at that server.")
@click.option(
    "--device-cert", "device_cert", type=FILE, required=True, help="The HSM's certificate, as it was pinned (PEM)."
)
@click.option("--yes", is_flag=True, help="Accept without being asked; what is accepted is still printed.")
@address_book_option
@ca_file_option
@json_option
def accept(
    file: Path | None,
    *,
    url: str | None,
    label: str | None,
    device_cert: Path,
    yes: bool,
    address_book_path: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Verify a key's attested attributes, look at what it is, and remember it as accepted.

    FILE is JSON as POST /v1/key/attributes answers it. It is verified under a certificate that was pinned out of band
    (`keyturn trust`); a server cannot vouch for its own keys. Accepted keys are kept in your address book, and every
    screen that shows a key says whether it is one of them, unchanged.

    Exit code 0: accepted; 1: refused; 5: declined.
    """
    if (file is None) == (url is None) or (url is None) != (label is None):
        raise click.UsageError("Which key? Name FILE, or --url and --label.")
    device = device_certificate(read_file(device_cert, MAX_PEM))
    book = open_address_book(address_book_path)
    if file is not None:
        attributes = _parsed(read_file(file, MAX_FILE))
    else:
        with connect(str(url), ca_file) as server:
            attributes = server.key_attributes(str(label))
    attestation = verified_attributes(attributes, device)
    if label is not None and attestation.label != label:
        raise FormatError(
            f"The server answered with the attributes of the key {attestation.label!a}, not of {label!a}.",
            refusal="key-accept.other-label",
        )
    view = view_key(attestation, device, Reader(book), now=int(SystemClock().now()))
    screen = console(err=as_json)
    _show(view, screen)
    if not yes and not click.confirm("Accept exactly this key?", default=False, err=True):
        screen.print("Not accepted.")
        if as_json:
            click.echo(json.dumps({**_view_json(view), "accepted": False}, indent=2))
        sys.exit(EXIT_DECLINED)
    path = default_path() if address_book_path is None else address_book_path
    book.with_key(view.key).save(path)
    screen.print(Text(f"Accepted. It stands in your address book {path}."))
    if as_json:
        click.echo(json.dumps({**_view_json(view), "accepted": True}, indent=2))


@key.command(
    "list",
    short_help="List accepted keys, or a server's keys against them.",
    epilog=examples(
        "keyturn key list",
        "keyturn key list --url http://127.0.0.1:8080 --device-cert pinned.pem --json",
    ),
)
@click.option("--url", help="Hold the keys of this server against those that you accepted.")
@click.option(
    "--device-cert", "device_cert", type=FILE, help="The HSM's certificate, as it was pinned (PEM); with --url."
)
@address_book_option
@ca_file_option
@json_option
def list_keys(
    *,
    url: str | None,
    device_cert: Path | None,
    address_book_path: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """List the keys that you have accepted; with --url also the server's, and whether they are what you accepted.

    Exit code 0: nothing is amiss; 3: a key is not what was accepted, or an accepted key is not there.
    """
    book = open_address_book(address_book_path)
    if url is None:
        if device_cert is not None:
            raise click.UsageError("--device-cert verifies what a server says: give --url, too.")
        _list_accepted(book, as_json=as_json)
        return
    device = None if device_cert is None else device_certificate(read_file(device_cert, MAX_PEM))
    with connect(url, ca_file) as server:
        labels = server.list_keys()
        # A derived key is there as long as its master is; the server lists only those that were stored (R21).
        derived = [known.label for known in book.keys.values() if known.label.partition(SEPARATOR)[0] in labels]
        labels = list(dict.fromkeys((*labels, *derived)))
        rows = [_held_against(book, server, label, device) for label in labels]
    rows += [(known.label, known.fingerprint, None) for known in book.keys.values() if known.label not in labels]
    if as_json:
        click.echo(json.dumps([_row_json(*row) for row in rows], indent=2))
    else:
        _show_rows(rows, console())
    if any(found is None or found.alarming for _, _, found in rows):
        sys.exit(EXIT_CHANGED)


@key.command(
    "forget",
    short_help="Accept a key no more.",
    epilog=examples("keyturn key forget treasury"),
)
@click.argument("which")
@address_book_option
@json_option
def forget(which: str, *, address_book_path: Path | None, as_json: bool) -> None:
    """Accept the key WHICH (its label or UUID) no more."""
    path = default_path() if address_book_path is None else address_book_path
    AddressBook.load(path).without_key(which).save(path)
    click.echo(json.dumps({"done": "forget", "key": which}) if as_json else "It is accepted no more.")


def _held_against(book: AddressBook, server: RestClient, label: str, device: bytes | None) -> _Row:
    """What a server says of one of its keys, held against what was accepted."""
    if device is None:
        return label, "", acceptance_of(book.keys, label, None)
    try:
        attestation = verified_attributes(server.key_attributes(label), device)
    except ServerRefusedError:
        known = next((known for known in book.keys.values() if known.label == label), None)
        if known is None or SEPARATOR not in label:
            raise
        # The master derives no more.
        return label, known.fingerprint, None
    identity = KeyIdentity.of_attestation(attestation) if attestation.label == label else None
    fingerprint = "" if identity is None else identity.fingerprint
    return label, fingerprint, acceptance_of(book.keys, label, identity)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise FormatError(
            "FILE holds no JSON; give the answer of POST /v1/key/attributes as the server sent it.",
            refusal="key-accept.json",
        ) from None


def _show(view: KeyView, to: Console) -> None:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, value in view.facts:
        facts.add_row(name, Text(value))
    facts.add_row("So far", Text(visible(view.standing)))
    to.print(_panel("The key, by the word of the pinned HSM", facts))
    if view.policy:
        to.print(_panel("Its policy", Text("\n".join(view.policy))))
    if view.approvers:
        people = Table.grid(padding=(0, 2))
        for approver in view.approvers:
            name = "unknown" if approver.name is None else visible(approver.name)
            people.add_row(
                Text(name, style="bold red" if approver.name is None else "bold"),
                Text(f"{spaced_fingerprint(approver.fingerprint)}\n{', '.join(approver.rules)}"),
            )
        to.print(_panel("Who may approve, by your own address book", people))
    if view.cautions:
        to.print(_panel("Read this", Text("\n".join(f"! {caution}" for caution in view.cautions)), "red"))


def _view_json(view: KeyView) -> dict[str, Any]:
    return {
        **_key_json(view.key),
        "words": list(view.words),
        "facts": {name: value for name, value in view.facts if name != "In words"},
        "policyInWords": list(view.policy),
        "approvers": [
            {"fingerprint": one.fingerprint, "name": one.name, "rules": list(one.rules)} for one in view.approvers
        ],
        "cautions": list(view.cautions),
        "standing": visible(view.standing),
    }


def _key_json(known: AcceptedKey) -> dict[str, Any]:
    return {
        "label": known.label,
        "uuid": known.uuid,
        "fingerprint": known.fingerprint,
        "policySha256": known.policy,
        "instanceId": known.instance,
        "deviceFingerprint": known.device,
    }


def _list_accepted(book: AddressBook, *, as_json: bool) -> None:
    if as_json:
        shown = [{**_key_json(known), "acceptedAt": iso(known.accepted)} for known in book.keys.values()]
        click.echo(json.dumps(shown, indent=2))
        return
    if not book.keys:
        click.echo("You have accepted no key yet: `keyturn key accept`.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("Key", "Accepted", "Fingerprint"):
        table.add_column(column, overflow="fold")
    for known in book.keys.values():
        table.add_row(
            Text(visible(known.label)), Text(iso(known.accepted)), Text(spaced_fingerprint(known.fingerprint))
        )
    console().print(table)


def _show_rows(rows: list[_Row], to: Console) -> None:
    if not rows:
        to.print("There are no keys, and you have accepted none.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("Key", "Standing", "Fingerprint"):
        table.add_column(column, overflow="fold")
    for label, fingerprint, found in rows:
        words = "MISSING: you accepted it, and the server has no key of this name" if found is None else found.words
        alarm = found is None or found.alarming
        table.add_row(
            Text(visible(label)),
            Text(visible(words), style="bold red" if alarm else "none"),
            Text(spaced_fingerprint(fingerprint)),
        )
    to.print(table)


def _row_json(label: str, fingerprint: str, found: Acceptance | None) -> dict[str, Any]:
    return {
        "label": label,
        "fingerprint": fingerprint or None,
        "standing": "missing" if found is None else found.standing.value,
        "accepted": found is not None and found.standing is Standing.ACCEPTED,
    }


def _panel(title: str, content: Any, style: str = "none") -> Panel:
    return Panel(content, title=Text(title, style="bold"), title_align="left", border_style=style)
