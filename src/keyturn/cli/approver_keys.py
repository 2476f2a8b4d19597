"""`keyturn approver keygen | whoami | contacts`: approval keys and the officer's address book."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from rich.table import Table
from rich.text import Text

from keyturn.approver.address_book import FINGERPRINT_DIGITS, clean_fingerprint, default_path
from keyturn.approver.keyfiles import pkcs8_file, pkcs12_file, self_signed_certificate, write_new_file
from keyturn.approver.keys import KEY_TYPES, ApproverKey, fingerprint_of, generate_key, identity_words
from keyturn.approver.tasks import decode_base64
from keyturn.approver.terminal import spaced_fingerprint, visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import (
    FILE,
    address_book_option,
    json_option,
    key_option,
    new_passphrase,
    open_address_book,
    open_key,
    passphrase_option,
    read_file,
)
from keyturn.cli.officer_view import console
from keyturn.cli.progress import working
from keyturn.clock import SystemClock
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.ska.approver_keys import load_approver_key

SERIAL_BITS = 127
"""Random bits of a certificate's serial number; positive and within the 20 octets of RFC 5280 section 4.1.2.2."""
MAX_PUBLIC_FILE = 1 << 17


@click.command(
    "keygen",
    epilog=examples(
        "keyturn approver keygen --type ec-p256 --out ada.key",
        "keyturn approver keygen --type ed25519 --out ada.p12 --format pkcs12 --name Ada",
    ),
)
@click.option("--type", "key_type", type=click.Choice(list(KEY_TYPES)), required=True, help="Kind of key.")
@click.option("--out", "path", type=FILE, required=True, help="New file; an existing one is never written over.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["pkcs8", "pkcs12"]),
    default="pkcs8",
    show_default=True,
    help="Encrypted PKCS#8 (PEM), or PKCS#12 with a self-signed certificate.",
)
@click.option("--name", default="keyturn approver", show_default=True, help="Common name of the certificate (pkcs12).")
@passphrase_option
@json_option
def keygen(
    *, key_type: str, path: Path, file_format: str, name: str, passphrase_file: Path | None, as_json: bool
) -> None:
    """Make an approval key. Its private part never leaves the file, which is encrypted."""
    if path.exists():
        raise KeyturnError(
            ErrorCode.PARSING_KEY, f"{path} exists and is never written over; name another file.", refusal="file.exists"
        )
    passphrase = new_passphrase(passphrase_file)
    if key_type.startswith("rsa-"):  # Seconds, until two primes are found; the others take none.
        with working(f"Making an {key_type.upper()} key"):
            key = generate_key(key_type)
    else:
        key = generate_key(key_type)
    if file_format == "pkcs12":
        serial = secrets.randbits(SERIAL_BITS) | 1
        key = ApproverKey(key.private_key, self_signed_certificate(key.private_key, name, SystemClock().now(), serial))
        content = pkcs12_file(key.private_key, key.certificate or b"", passphrase)
    else:
        content = pkcs8_file(key.private_key, passphrase)
    write_new_file(path, content)
    _show_key(key, str(path), as_json=as_json)


@click.command(
    "whoami",
    short_help="Show the public side of an approval key.",
    epilog=examples("keyturn approver whoami --key ada.key"),
)
@key_option
@passphrase_option
@json_option
def whoami(*, key_path: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Show the public side of an approval key: what goes into a policy, and the words to compare."""
    _show_key(open_key(key_path, passphrase_file), str(key_path), as_json=as_json)


@click.group("contacts", epilog=examples("keyturn approver contacts add Ben ben.pem", "keyturn approver contacts list"))
def contacts() -> None:
    """Your own address book: whose key has which fingerprint."""


@contacts.command("add", epilog=examples("keyturn approver contacts add Ben ben.pem"))
@click.argument("name")
@click.argument("key")
@address_book_option
@json_option
def add_contact(*, name: str, key: str, address_book_path: Path | None, as_json: bool) -> None:
    """Note that KEY belongs to NAME.

    KEY is a fingerprint (64 hexadecimal digits), a public key as base64, or a PEM file with a public key or a
    certificate. Compare the words with the person first; whoever sent you the key could have sent another one.
    """
    identity = _identity(key)
    fingerprint = clean_fingerprint(key) if identity is None else fingerprint_of(identity)
    path = default_path() if address_book_path is None else address_book_path
    open_address_book(path).with_contact(fingerprint, name).save(path)
    words = [] if identity is None else list(identity_words(load_approver_key(identity).identity))
    if as_json:
        click.echo(json.dumps({"name": name, "fingerprint": fingerprint, "words": words}, indent=2))
        return
    click.echo(f"{visible(name)}: {spaced_fingerprint(fingerprint)}")
    if words:
        click.echo(f"Have {visible(name)} read these words to you: {' '.join(words)}")


@contacts.command("list", epilog=examples("keyturn approver contacts list"))
@address_book_option
@json_option
def list_contacts(*, address_book_path: Path | None, as_json: bool) -> None:
    """List everybody in the address book."""
    book = open_address_book(address_book_path)
    if as_json:
        known = [{"name": name, "fingerprint": fingerprint} for fingerprint, name in sorted(book.contacts.items())]
        click.echo(json.dumps(known, indent=2))
        return
    table = Table()
    table.add_column("Name", overflow="fold", min_width=16)
    table.add_column("Fingerprint", overflow="fold")
    for fingerprint, name in sorted(book.contacts.items(), key=lambda contact: contact[1].casefold()):
        table.add_row(Text(visible(name)), Text(spaced_fingerprint(fingerprint)))
    console().print(table if book.contacts else "The address book is empty.")


@contacts.command("remove", epilog=examples("keyturn approver contacts remove Ben"))
@click.argument("who")
@address_book_option
def remove_contact(*, who: str, address_book_path: Path | None) -> None:
    """Strike WHO (a name or a fingerprint) from the address book."""
    path = default_path() if address_book_path is None else address_book_path
    open_address_book(path).without(who).save(path)
    click.echo(f"Removed: {visible(who)}")


def _identity(key: str) -> bytes | None:
    """The public key that an argument names, DER; None when it looks like a fingerprint."""
    digits = key.replace(" ", "").replace(":", "")
    if len(digits) == FINGERPRINT_DIGITS and not Path(key).is_file():
        return None
    decoded = decode_base64(key)
    if decoded:
        return load_approver_key(decoded).identity
    content = read_file(Path(key), MAX_PUBLIC_FILE)
    try:
        if b"BEGIN CERTIFICATE" in content:
            public: Any = x509.load_pem_x509_certificate(content).public_key()
        else:
            public = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise KeyturnError(
            ErrorCode.PARSING_KEY,
            f"{key} holds neither a public key nor a certificate in PEM form.",
            refusal="address-book.key",
        ) from None
    return load_approver_key(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).identity


def _show_key(key: ApproverKey, path: str, *, as_json: bool) -> None:
    """Print what others need to know of a key."""
    certificate = None if key.certificate is None else base64.b64encode(key.certificate).decode("ascii")
    if as_json:
        described = {
            "file": path,
            "publicKey": key.spki_base64,
            "certificate": certificate,
            "fingerprint": key.fingerprint,
            "words": list(key.words),
        }
        click.echo(json.dumps(described, indent=2))
        return
    click.echo(f"Key file     {path}")
    click.echo(f"Public key   {key.spki_base64}")
    if certificate is not None:
        click.echo(f"Certificate  {certificate}")
    click.echo(f"Fingerprint  {spaced_fingerprint(key.fingerprint)}")
    click.echo(f"Words        {' '.join(key.words)}")
    click.echo("Whoever writes the policy needs the public key; read the words to them, so that it is really yours.")
