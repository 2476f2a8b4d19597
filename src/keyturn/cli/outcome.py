"""What commands that call a server share: a key's password, and where results go."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from keyturn.approver.keyfiles import read_passphrase_file, write_new_file
from keyturn.cli.officer import FILE
from keyturn.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

password_option = click.option(
    "--password-file",
    type=FILE,
    help="File whose content (without its last line break) is the key's password, where it has one.",
)
out_option = click.option("--out", type=FILE, help="File to write, mode 0600; it must not exist.")


def password_in(file: Path | None) -> str | None:
    """A key's password.

    Args:
        file: Where it stands; None for none.

    Raises:
        KeyturnError: `passphrase.file`.
        FormatError: `password.form`: it is no UTF-8.
    """
    if file is None:
        return None
    try:
        return read_passphrase_file(file).decode()
    except UnicodeDecodeError:
        raise FormatError(f"The password in {file} is no text in UTF-8.", refusal="password.form") from None


def require_free(out: Path | None) -> None:
    """Refuse a file that exists, before anything is asked of a server: its answer could not be kept.

    Args:
        out: The file that is to be written, or None.

    Raises:
        FormatError: `file.exists`.
    """
    if out is not None and os.path.lexists(out):
        raise FormatError(f"{out} exists and is never written over; name another file.", refusal="file.exists")


def deliver(text: str, fields: dict[str, Any], *, out: Path | None, as_json: bool) -> None:
    """Write a result to its file, or to standard output.

    Args:
        text: The result, with its last line break.
        fields: What is printed as JSON.
        out: File for the text, or None.
        as_json: Whether JSON is printed.
    """
    if out is not None:
        write_new_file(out, text.encode())
    if as_json:
        click.echo(json.dumps(fields, indent=2))
    elif out is not None:
        click.echo(f"written to {out}", err=True)
    else:
        click.echo(text, nl=False)
