"""`keyturn approver onboard | list | remove`: a server's directory of approvers, whom policies may list by name.

The HSM knows keys and no names (R22), so every command shows what a name stands for: a fingerprint, and the words that
its owner can read aloud.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from rich.console import Group
from rich.panel import Panel
from rich.text import Text

from keyturn.approver.keys import identity_words
from keyturn.approver.policy_words import Reader
from keyturn.approver.tasks import decode_base64
from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import (
    FILE,
    address_book_option,
    ca_file_option,
    json_option,
    open_address_book,
    read_file,
    url_option,
)
from keyturn.cli.officer_view import console
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.approver_keys import certificate_name, certificate_spki, load_approver_key

if TYPE_CHECKING:
    from pathlib import Path

MAX_CERTIFICATE: int = 1 << 17
"""Largest certificate file in bytes."""


@click.command(
    "onboard",
    short_help="Enter an approver into a server's directory.",
    epilog=examples("keyturn approver onboard Ben --cert ben.pem --url http://127.0.0.1:8080"),
)
@click.argument("name")
@click.option("--cert", "cert_path", type=FILE, required=True, help="The approver's certificate, PEM or DER.")
@url_option
@ca_file_option
@address_book_option
@json_option
def onboard(
    *, name: str, cert_path: Path, url: str, ca_file: Path | None, address_book_path: Path | None, as_json: bool
) -> None:
    """Enter NAME with a certificate into a server's directory, so that policies can list NAME.

    A policy takes the certificate that stands there at the moment when it is made; what is entered or removed later
    changes no policy.
    """
    certificate = _certificate(cert_path)
    book = open_address_book(address_book_path)
    with connect(url, ca_file) as server:
        server.onboard_approver(name, certificate)
    entry = _entry(name, certificate, Reader(book))
    if as_json:
        click.echo(json.dumps(entry, indent=2))
        return
    click.echo(f"Entered: {visible(name)}")
    click.echo(f"Fingerprint  {spaced_fingerprint(entry['fingerprint'])}")
    click.echo(f"Words        {' '.join(entry['words'])}")
    click.echo(f"Have {visible(name)} read these words to you, so that it is really their certificate.")


@click.command(
    "list",
    short_help="List a server's directory of approvers.",
    epilog=examples("keyturn approver list --url http://127.0.0.1:8080"),
)
@url_option
@ca_file_option
@address_book_option
@json_option
def list_directory(*, url: str, ca_file: Path | None, address_book_path: Path | None, as_json: bool) -> None:
    """List everybody in a server's directory, and whom your own address book knows by the same key.

    The names are the server's. Who somebody is, is said by the fingerprint and the words.
    """
    reader = Reader(open_address_book(address_book_path))
    with connect(url, ca_file) as server:
        entries = [_received(value, reader) for value in server.approvers()]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    screen = console()
    if not entries:
        screen.print("The directory is empty.")
    for entry in entries:
        lines = (
            f"key    {spaced_fingerprint(entry['fingerprint'])}",
            f"words  {' '.join(entry['words'])}",
            f"you    {entry['known']}",
            f'the certificate calls them "{entry["commonName"]}"',
        )
        screen.print(Panel(Group(*map(Text, lines)), title=Text(entry["name"], style="bold"), title_align="left"))


@click.command(
    "remove",
    short_help="Remove an approver from a server's directory.",
    epilog=examples("keyturn approver remove Ben --url http://127.0.0.1:8080"),
)
@click.argument("name")
@url_option
@ca_file_option
@json_option
def remove(*, name: str, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Remove NAME from a server's directory. Policies that list NAME already keep the key: change them with modify."""
    with connect(url, ca_file) as server:
        server.remove_approver(name)
    if as_json:
        click.echo(json.dumps({"removed": name}, indent=2))
    else:
        click.echo(f"Removed: {visible(name)}. No policy changed; who is listed in one stays listed.")


def _certificate(path: Path) -> bytes:
    """A certificate file as DER."""
    content = read_file(path, MAX_CERTIFICATE)
    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
        return x509.load_der_x509_certificate(content).public_bytes(Encoding.DER)
    except (ValueError, x509.InvalidVersion):
        raise KeyturnError(
            ErrorCode.PARSING_CERTIFICATE,
            f"{path} holds no certificate, PEM or DER. `keyturn approver keygen --format pkcs12` makes a key with one; "
            "`keyturn approver whoami --json` prints it.",
            refusal="directory.certificate",
        ) from None


def _received(value: dict[str, Any], reader: Reader) -> dict[str, Any]:
    """One entry of the server's answer."""
    name, certificate = value.get("approverName"), value.get("approverCertificate")
    decoded = decode_base64(certificate) if isinstance(certificate, str) else None
    if not isinstance(name, str) or decoded is None:
        raise KeyturnError(
            ErrorCode.TECHNICAL,
            "The server's directory holds an entry without a name or a certificate; is it a keyturn server?",
            refusal="directory.malformed",
        )
    return _entry(name, decoded, reader)


def _entry(name: str, certificate: bytes, reader: Reader) -> dict[str, Any]:
    known = load_approver_key(certificate_spki(certificate))
    return {
        "name": visible(name),
        "commonName": visible(certificate_name(certificate)),
        "fingerprint": known.fingerprint,
        "words": list(identity_words(known.identity)),
        "known": reader.who(known.fingerprint),
    }
