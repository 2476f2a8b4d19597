"""`keyturn key export`, `import`, `derive` and `address`: keys that leave, come in, or are made of others.

Source: rest-api.md sections 3.1 and 3.2.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from keyturn.approver.keyfiles import write_new_file
from keyturn.approver.terminal import visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, ca_file_option, json_option, read_file, url_option
from keyturn.cli.outcome import password_in, password_option, require_free
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_FILE: Final = 1 << 20
"""Largest file with a key that is read, in bytes."""
USES: Final = ("sign", "verify", "decrypt", "encrypt", "unwrap", "wrap", "derive")
_ARMOUR: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)-----END \1-----", re.DOTALL)
_MEMBERS: Final = {"PUBLIC KEY": "public_key", "CERTIFICATE": "certificate"}
_use_option = click.option(
    "--use", "uses", multiple=True, type=click.Choice(USES), help="What the key may be used for (repeatable)."
)


@click.command(
    "export",
    short_help="Take key material out of the HSM, in the clear.",
    epilog=examples(
        "keyturn key export backup-2026 --out backup.pem --url http://127.0.0.1:8080",
        "keyturn key export backup-2026 --json --url http://127.0.0.1:8080",
    ),
)
@click.argument("label")
@click.option("--out", type=FILE, help="File to write, mode 0600; it must not exist. Nothing is shown on a screen.")
@url_option
@password_option
@ca_file_option
@json_option
def export_key(
    label: str, *, out: Path | None, url: str, password_file: Path | None, ca_file: Path | None, as_json: bool
) -> None:
    """Take the material of the key LABEL out of the HSM, in the clear.

    The key must be extractable and not sensitive, and have no policy: a key with a policy never leaves (R4). A key pair
    is written as PKCS#8, PEM; a symmetric key as its bytes. With --json all of it is printed, base64.
    """
    if out is None and not as_json:
        raise click.UsageError("Where to? Name --out FILE, or print it with --json.")
    require_free(out)
    with connect(url, ca_file) as server:
        given = server.export_key(label, password_in(password_file))
    if out is not None:
        write_new_file(out, material_in(given))
    if as_json:
        click.echo(json.dumps({"label": label, **given} if out is None else {"label": label, "file": str(out)}))
    else:
        click.echo(f"written to {out}: whoever reads it has the key", err=True)


@click.command(
    "import",
    short_help="Take in a key, a public key or a certificate made elsewhere.",
    epilog=examples(
        "keyturn key import web web-key.pem --use sign --use verify --url http://127.0.0.1:8080",
        "keyturn key import partner partner.pem --url http://127.0.0.1:8080",
        "keyturn key import vault aes.bin --secret AES --use encrypt --use decrypt --url http://127.0.0.1:8080",
    ),
)
@click.argument("label")
@click.argument("file", type=FILE)
@click.option("--secret", "secret_kind", help="FILE holds the bytes of a symmetric key of this kind, such as AES.")
@_use_option
@click.option("--extractable", is_flag=True, help="It may leave the HSM again, in the clear.")
@click.option("--policy", "policy_file", type=FILE, help="Policy as JSON: the key acts only when enough people agree.")
@url_option
@password_option
@ca_file_option
@json_option
def import_key(
    label: str,
    file: Path,
    *,
    secret_kind: str | None,
    uses: tuple[str, ...],
    extractable: bool,
    policy_file: Path | None,
    url: str,
    password_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Take in what was made elsewhere, under the name LABEL.

    FILE is PEM without a password: a private key, a public key or a certificate. What was once outside an HSM may have
    been copied; the attested attributes say for ever that it was imported.
    """
    content = read_file(file, MAX_FILE)
    material = {"secret_key": content} if secret_kind else read_material(content, str(file))
    private = not {"public_key", "certificate"} & set(material)
    if private and not uses:
        raise click.UsageError("What may the key be used for? Name at least one --use.")
    attributes = {use: use in uses for use in USES} | {"extractable": extractable, "sensitive": not extractable}
    policy = None if policy_file is None else _json(read_file(policy_file, MAX_FILE), policy_file)
    with connect(url, ca_file) as server:
        made = server.import_key(
            label,
            secret_kind,
            attributes=attributes if private else None,
            policy=policy,
            password=password_in(password_file),
            **material,
        )
    click.echo(json.dumps(made, indent=2) if as_json else f"imported as {visible(label)}")


@click.command(
    "derive",
    short_help="Store a key that is derived from another (SLIP-0010).",
    epilog=examples("keyturn key derive master \"44'/0'/0'\" --url http://127.0.0.1:8080"),
)
@click.argument("master")
@click.argument("path")
@_use_option
@url_option
@password_option
@ca_file_option
@json_option
def derive(
    master: str,
    path: str,
    *,
    uses: tuple[str, ...],
    url: str,
    password_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Store the key at PATH below the key MASTER; it bears the name MASTER/PATH.

    A child follows its master's policy and ends with it. It need not be stored to be used: MASTER/PATH names it in
    every command. Without --use it may do what its master may.
    """
    attributes = {use: use in uses for use in USES} if uses else None
    with connect(url, ca_file) as server:
        made = server.derive_key(master, path, attributes=attributes, master_password=password_in(password_file))
    click.echo(json.dumps(made, indent=2) if as_json else f"stored as {visible(master)}/{visible(path)}")


@click.command(
    short_help="Show the bytes of a key's blockchain address.",
    epilog=examples("keyturn key address \"treasury/44'/0'/0'\" --url http://127.0.0.1:8080"),
)
@click.argument("label")
@url_option
@password_option
@ca_file_option
@json_option
def address(label: str, *, url: str, password_file: Path | None, ca_file: Path | None, as_json: bool) -> None:
    """Show the bytes of the address of the key LABEL, hexadecimal: without network, version and checksum.

    Only keys with a policy and an `addressFormat` have one, and the keys that are derived from them.
    """
    with connect(url, ca_file) as server:
        found = server.key_address(label, password=password_in(password_file)).hex()
    click.echo(json.dumps({"label": label, "address": found}) if as_json else found)


def read_material(content: bytes, name: str) -> dict[str, bytes]:
    """What a PEM file holds, as `RestClient.import_key` takes it.

    Args:
        content: The file.
        name: Its name, for messages.

    Returns:
        One of `private_key` (PKCS#8), `public_key` (SPKI), `certificate`, DER.

    Raises:
        FormatError: `key-import.file` if it is no such PEM, holds several things, or is encrypted.
    """
    found = _ARMOUR.findall(content)
    if len(found) != 1:
        several = (
            "holds more than one thing" if found else "holds no PEM; for the bytes of a symmetric key name --secret"
        )
        raise FormatError(f"{name} {several}.", refusal="key-import.file")
    kind, body = found[0][0].decode(), found[0][1]
    try:
        if kind in {"RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY"}:
            read = load_pem_private_key(content, None)
            return {"private_key": read.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}
        member = "private_key" if kind == "PRIVATE KEY" else _MEMBERS[kind]
        return {member: base64.b64decode(b"".join(body.split()), validate=True)}
    except KeyError:
        cure = " Take its password off first." if kind.startswith("ENCRYPTED") else ""
        raise FormatError(f"{name} holds `{kind}`, which is not taken.{cure}", refusal="key-import.file") from None
    except TypeError:
        raise FormatError(f"{name} has a password. Take it off first.", refusal="key-import.file") from None
    except (ValueError, binascii.Error):
        raise FormatError(f"{name} cannot be read as `{kind}`.", refusal="key-import.file") from None


def material_in(given: Mapping[str, object]) -> bytes:
    """What a file gets of an exported key.

    Args:
        given: The server's answer.

    Returns:
        The bytes of a symmetric key, or PKCS#8 as PEM.

    Raises:
        KeyturnError: `key-export.bad-answer` if there is neither in it.
    """
    private, secret = given.get("privateKey"), given.get("secretKey")
    encoded = secret or private
    try:
        if not isinstance(encoded, str):
            raise TypeError
        decoded = base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError):
        raise KeyturnError(
            ErrorCode.TECHNICAL,
            "The server's answer holds no key material that can be read; nothing is written. Is it a keyturn server?",
            refusal="key-export.bad-answer",
        ) from None
    return decoded if secret else _armoured(encoded)


def _armoured(private_key: str) -> bytes:
    lines = [private_key[start : start + 64] for start in range(0, len(private_key), 64)]
    return "\n".join(("-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", "")).encode()


def _json(content: bytes, file: Path) -> dict[str, Any]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise FormatError(f"{file} is no JSON object.", refusal="key-import.policy")
    return read
