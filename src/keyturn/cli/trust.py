"""`keyturn trust`: meeting an HSM for the first time.

On the HSM's side `show` prints the words of its device certificate and integrity key and writes the certificate. On
the online side `confirm` takes that file and the words as read by the other side, and pins the certificate only if
they are the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from keyturn.approver.first_trust import (
    MAX_PEM,
    certificate_pem,
    device_certificate,
    parse_words,
    require_same_words,
    verified_attributes,
    view_device,
    view_integrity_key,
)
from keyturn.approver.keyfiles import write_new_file
from keyturn.approver.terminal import spaced_fingerprint
from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, OfficerGroup, json_option, read_file
from keyturn.cli.officer_view import console
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from pathlib import Path

    from keyturn.approver.first_trust import TrustView

MAX_ATTRIBUTES = 1 << 20
"""Largest file of attested attributes in bytes: 256 KiB of XML (R19), its JSON twin and the base64."""

cert_option = click.option(
    "--cert", "cert_path", type=FILE, help="Device certificate (PEM), as it came from the HSM's side."
)
attributes_option = click.option(
    "--attributes",
    "attributes_path",
    type=FILE,
    help="Attested attributes of one of its keys (JSON of POST /v1/key/attributes); they carry the integrity key.",
)


@click.group(
    "trust",
    cls=OfficerGroup,
    epilog=examples(
        "keyturn trust show --url http://127.0.0.1:8080 --out device.pem",
        "keyturn trust confirm --cert device.pem --out pinned.pem",
    ),
)
def trust() -> None:
    """First trust: compare an HSM's device certificate and integrity key as words, then pin."""


@trust.command(
    "show",
    short_help="Show an HSM's certificate and integrity key as words.",
    epilog=examples(
        "keyturn trust show --url http://127.0.0.1:8080 --out device.pem --attributes-out attributes.json",
        "keyturn trust show --cert device.pem --attributes attributes.json",
    ),
)
@click.option("--url", help="Ask this server (on the HSM's side).")
@click.option("--key-label", help="The key whose attested attributes show the integrity key (default: the first).")
@click.option("--ca-file", type=FILE, help="PEM certificates that may vouch for the server (TLS).")
@cert_option
@attributes_option
@click.option("--out", type=FILE, help="Write the device certificate to this new file, to be carried over.")
@click.option("--attributes-out", type=FILE, help="Write the attested attributes to this new file, to be carried over.")
@json_option
def show(
    *,
    url: str | None,
    key_label: str | None,
    ca_file: Path | None,
    cert_path: Path | None,
    attributes_path: Path | None,
    out: Path | None,
    attributes_out: Path | None,
    as_json: bool,
) -> None:
    """Print the words of a device certificate and an integrity key, from a server (--url) or from files (--cert)."""
    if (url is None) == (cert_path is None):
        raise click.UsageError("Give either --url (the HSM's side) or --cert (files that were carried over).")
    if url is not None:
        with connect(url, ca_file) as server:
            device = device_certificate("\n".join(server.attestation_chain()).encode())
            labels = [key_label] if key_label is not None else server.list_keys()[:1]
            attributes = server.key_attributes(labels[0]) if labels else None
    else:
        device, attributes = _read(cert_path, attributes_path)
    views = _views(device, attributes)
    if out is not None:
        write_new_file(out, certificate_pem(device))
    if attributes_out is not None and attributes is not None:
        write_new_file(attributes_out, json.dumps(attributes, indent=2).encode())
    if as_json:
        click.echo(json.dumps([_view_json(view) for view in views], indent=2))
        return
    for view in views:
        _show(view)
    if len(views) == 1:
        click.echo("The integrity key is shown once a key exists, whose attested attributes carry it.")


@trust.command(
    "confirm",
    short_help="Pin a device certificate after comparing its words.",
    epilog=examples("keyturn trust confirm --cert device.pem --attributes attributes.json --out pinned.pem"),
)
@click.option("--cert", "cert_path", type=FILE, required=True, help="Device certificate (PEM), as it was carried over.")
@attributes_option
@click.option("--words", help="The sixteen words of the device certificate, as read by the other side.")
@click.option("--integrity-words", help="The sixteen words of the integrity key, as read by the other side.")
@click.option("--out", type=FILE, required=True, help="New file for the pinned certificate.")
@json_option
def confirm(
    *,
    cert_path: Path,
    attributes_path: Path | None,
    words: str | None,
    integrity_words: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Pin a device certificate after comparing it, word by word, with the HSM's side.

    Have the other side read its words aloud and type them; they are not shown here first, so that comparing them is
    more than a nod. Hand the pinned file to `keyturn serve --attestation-cert` and to `keyturn approver --device-cert`.
    """
    if integrity_words is not None and attributes_path is None:
        raise click.UsageError("--integrity-words needs --attributes: the integrity key stands in attested attributes.")
    device, attributes = _read(cert_path, attributes_path)
    typed = {"device certificate": words, "integrity key": integrity_words}
    views = _views(device, attributes)
    for view in views:
        given = typed[view.what]
        if given is None:
            given = click.prompt(f"Type the 16 words of the {view.what}, as the other side reads them", err=True)
        require_same_words(parse_words(given), view)
    write_new_file(out, certificate_pem(device))
    if as_json:
        click.echo(json.dumps({"pinned": str(out), "compared": [_view_json(view) for view in views]}, indent=2))
        return
    for view in views:
        click.echo(f"The {view.what} is the same on both sides: {spaced_fingerprint(view.fingerprint)}")
    click.echo(f"Pinned: {out}")


def _read(cert_path: Path | None, attributes_path: Path | None) -> tuple[bytes, Any]:
    """The device certificate (DER) and the attributes (decoded JSON or None) from files."""
    if cert_path is None:
        raise click.UsageError("--cert is missing.")
    device = device_certificate(read_file(cert_path, MAX_PEM))
    if attributes_path is None:
        return device, None
    try:
        return device, json.loads(read_file(attributes_path, MAX_ATTRIBUTES))
    except (ValueError, RecursionError):
        raise KeyturnError(
            ErrorCode.INVALID_JSON, f"{attributes_path} is not JSON.", refusal="first-trust.attributes"
        ) from None


def _views(device: bytes, attributes: Any) -> list[TrustView]:
    views = [view_device(device)]
    if attributes is not None:
        views.append(view_integrity_key(verified_attributes(attributes, device)))
    return views


def _view_json(view: TrustView) -> dict[str, Any]:
    return {"what": view.what, "name": view.name, "fingerprint": view.fingerprint, "words": list(view.words)}


def _show(view: TrustView) -> None:
    words = Table.grid(padding=(0, 3))
    for start in range(0, len(view.words), 4):
        words.add_row(
            *(Text(f"{start + offset + 1:2} {word}") for offset, word in enumerate(view.words[start : start + 4]))
        )
    screen = console()
    screen.print(Panel(words, title=Text(f"{view.what}: {view.name}"), title_align="left", expand=False))
    screen.print(f"SHA-256 {spaced_fingerprint(view.fingerprint)}")
