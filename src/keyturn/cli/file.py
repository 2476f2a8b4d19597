"""`keyturn file`: files of any size, encrypted for a key of the HSM and decrypted with it.

Source: rest-api.md section 3.3; docs/formats/encrypted-files.md.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, OfficerGroup, ca_file_option, json_option, url_option
from keyturn.cli.outcome import password_in, password_option, require_free
from keyturn.cli.server import connect
from keyturn.plain import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_out = click.option("--out", type=FILE, required=True, help="File to write, mode 0600; it must not exist.")
_key = click.option("--key", "label", required=True, help="Label of the key: EC on P-384 with `derive`, no policy.")


@click.group(
    cls=OfficerGroup,
    epilog=examples(
        "keyturn file encrypt report.pdf --key archive --out report.pdf.enc --url http://127.0.0.1:8080",
        "keyturn file decrypt report.pdf.enc --key archive --out report.pdf --url http://127.0.0.1:8080",
    ),
)
def file() -> None:
    """Encrypt files of any size for a key, and decrypt them with it."""


@file.command(
    epilog=examples("keyturn file encrypt report.pdf --key archive --out report.pdf.enc --url http://127.0.0.1:8080")
)
@click.argument("source", type=FILE)
@_key
@_out
@url_option
@ca_file_option
@json_option
def encrypt(source: Path, *, label: str, out: Path, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Encrypt the file SOURCE for a key. The server sees its content: use TLS, or a server on this machine."""
    with source.open("rb") as content, _appearing(out) as target, connect(url, ca_file) as server:
        size = server.encrypt_file(label, content, target, name=source.name)
    _told(out, size, as_json=as_json)


@file.command(
    epilog=examples("keyturn file decrypt report.pdf.enc --key archive --out report.pdf --url http://127.0.0.1:8080")
)
@click.argument("source", type=FILE)
@_key
@_out
@url_option
@password_option
@ca_file_option
@json_option
def decrypt(
    source: Path,
    *,
    label: str,
    out: Path,
    url: str,
    password_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Decrypt the file SOURCE with a key. Nothing is written of a file that was changed."""
    password = password_in(password_file)
    with source.open("rb") as content, _appearing(out) as target, connect(url, ca_file) as server:
        size = server.decrypt_file(label, content, target, name=source.name, password=password)
    _told(out, size, as_json=as_json)


@contextmanager
def _appearing(out: Path) -> Iterator[BinaryIO]:
    """A file that bears its name only when all of it has been written."""
    piece = out.with_name(f"{out.name}.piece")
    require_free(out)
    handle = os.open(piece, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        piece.rename(out)
    except BaseException:
        piece.unlink(missing_ok=True)
        raise


def _told(out: Path, size: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"file": str(out), "bytes": size}))
    else:
        click.echo(f"{counted(size, 'byte')} written to {out}")
