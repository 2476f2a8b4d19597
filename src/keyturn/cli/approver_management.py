"""`keyturn approver-management`: approvers whose keys the HSM makes, where a server has that switched on (R23).

Better is a key that its officer makes: `keyturn approver keygen`. `onboard` is the officer's end of the other way.

Source: rest-api.md section 3.8; docs/guide/approver-management.md.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any

import click
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyturn.approver.keyfiles import write_new_file
from keyturn.approver.terminal import visible
from keyturn.cli.examples import examples
from keyturn.cli.officer import FILE, OfficerGroup, ca_file_option, has_terminal, json_option, url_option
from keyturn.cli.outcome import password_in, require_free
from keyturn.cli.server import connect
from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from pathlib import Path

_new_password = click.option(
    "--password-file", type=FILE, help="File with the backup password, its last line break aside; else you are asked."
)


@click.group(
    "approver-management",
    cls=OfficerGroup,
    epilog=examples(
        "keyturn approver-management create phone --url http://127.0.0.1:8080",
        "keyturn approver-management onboard phone --out phone.p12 --url http://127.0.0.1:8080",
        "keyturn approver-management status --url http://127.0.0.1:8080",
    ),
)
def approver_management() -> None:
    """Approvers whose keys the HSM makes, where the server does that.

    Such a key was in other hands before it was its officer's, and its certificate says so. Better is a key that the
    officer makes: keyturn approver keygen.
    """


@approver_management.command(
    epilog=examples(
        "keyturn approver-management create phone --url http://127.0.0.1:8080",
        "keyturn approver-management create phone --key-size 4096 --validity 730 --password-file backup.txt \\\n"
        "    --url http://127.0.0.1:8080",
    )
)
@click.argument("name")
@click.option("--key-size", type=click.Choice(("2048", "3072", "4096")), help="Bits of the RSA key [3072].")
@click.option("--validity", type=click.IntRange(min=1), help="Days for which the certificate is valid [365].")
@_new_password
@url_option
@ca_file_option
@json_option
def create(
    *,
    name: str,
    key_size: str | None,
    validity: int | None,
    password_file: Path | None,
    url: str,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Have a key made for the approver NAME.

    Prints the one-time code. Hand it to the approver by another way than this server; it gets the file once.
    """
    password = _password("Backup password", password_file, again=True)
    with connect(url, ca_file) as server:
        code = server.create_approver(
            name, password, key_size=None if key_size is None else int(key_size), validity=validity
        )
    _tell_code(code, as_json=as_json)


@approver_management.command(
    short_help="Make another one-time code.",
    epilog=examples("keyturn approver-management renew phone --url http://127.0.0.1:8080"),
)
@click.argument("name")
@url_option
@ca_file_option
@json_option
def renew(*, name: str, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Make another one-time code for NAME, whose file waits."""
    with connect(url, ca_file) as server:
        code = server.renew_one_time_code(name)
    _tell_code(code, as_json=as_json)


@approver_management.command(
    epilog=examples(
        "keyturn approver-management restore phone --url http://127.0.0.1:8080",
        "keyturn approver-management restore phone --forgot --url http://127.0.0.1:8080",
    )
)
@click.argument("name")
@click.option("--forgot", is_flag=True, help="The backup password is forgotten: give the file another one.")
@_new_password
@url_option
@ca_file_option
@json_option
def restore(
    *, name: str, forgot: bool, password_file: Path | None, url: str, ca_file: Path | None, as_json: bool
) -> None:
    """Restore the file of NAME from the backup.

    Prints a one-time code. Where the backup key's policy needs approvals, it prints the id of a request: the code is
    its result once people have approved.
    """
    if password_file is not None and not forgot:
        raise click.UsageError("--password-file is for --forgot; without it the backup password stays.")
    password = _password("New backup password", password_file, again=True) if forgot else ""
    with connect(url, ca_file) as server:
        if not forgot:
            done = server.restore_approver(name)
        else:
            done = {"unwrapRequestId": server.restore_approver_with_new_password(name, password)}
            state = server.request(done["unwrapRequestId"])
            if isinstance(state.get("result"), str):
                done["oneTimeCode"] = state["result"]
    _tell(done, as_json=as_json)


@approver_management.command(
    "change-password",
    short_help="Change a backup password.",
    epilog=examples(
        "keyturn approver-management change-password phone --url http://127.0.0.1:8080",
        "keyturn approver-management change-password phone --old-password-file old.txt --password-file new.txt \\\n"
        "    --url http://127.0.0.1:8080",
    ),
)
@click.argument("name")
@click.option("--old-password-file", type=FILE, help="File with the backup password so far; else you are asked.")
@_new_password
@url_option
@ca_file_option
@json_option
def change_password(
    *,
    name: str,
    old_password_file: Path | None,
    password_file: Path | None,
    url: str,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Change the backup password of NAME's file. A file that was given before keeps the password so far."""
    old = _password("Backup password so far", old_password_file)
    new = _password("New backup password", password_file, again=True)
    with connect(url, ca_file) as server:
        done = server.change_backup_password(name, old, new)
    _tell(done, as_json=as_json)


@approver_management.command(
    short_help="List whose keys the HSM made.",
    epilog=examples("keyturn approver-management status --url http://127.0.0.1:8080"),
)
@url_option
@ca_file_option
@json_option
def status(*, url: str, ca_file: Path | None, as_json: bool) -> None:
    """List whose keys the HSM made: who has their file, and who does not yet."""
    with connect(url, ca_file) as server:
        found = server.onboarding_status()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for word in ("onboarded", "pending"):
        for entry in found.get(word, ()):
            click.echo(f"{word:10} {visible(str(entry.get('approverName')))}")


@approver_management.command(
    short_help="Forget an approver.",
    epilog=examples("keyturn approver-management delete phone --url http://127.0.0.1:8080"),
)
@click.argument("name")
@url_option
@ca_file_option
@json_option
def delete(*, name: str, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Forget NAME: key, file and code. Policies that list the certificate stay as they are."""
    with connect(url, ca_file) as server:
        server.delete_approver(name)
    click.echo(json.dumps({"deleted": name}) if as_json else f"deleted: {visible(name)}")


@approver_management.command(
    epilog=examples(
        "keyturn approver-management onboard phone --out phone.p12 --url http://127.0.0.1:8080",
        "keyturn approver-management onboard phone --code-file code.txt --out phone.p12 --url http://127.0.0.1:8080",
    )
)
@click.argument("name")
@click.option("--code-file", type=FILE, help="File with the one-time code; else you are asked.")
@click.option("--out", type=FILE, required=True, help="PKCS#12 file to write, mode 0600; it must not exist.")
@url_option
@ca_file_option
@json_option
def onboard(*, name: str, code_file: Path | None, out: Path, url: str, ca_file: Path | None, as_json: bool) -> None:
    """Get your own key file, as NAME, for your one-time code.

    The file is PKCS#12; its passphrase is the backup password. It works as --key of keyturn approver.
    """
    require_free(out)
    code = _password("One-time code", code_file).strip()
    transport = secrets.token_hex(16)
    with connect(url, ca_file) as server:
        package = server.onboard(name, code, transport)
    write_new_file(out, _opened(package, transport))
    click.echo(json.dumps({"file": str(out)}) if as_json else f"written to {out}")


def _opened(package: dict[str, Any], transport: str) -> bytes:
    try:
        vector = base64.b64decode(package["initializationVector"], validate=True)
        payload = base64.b64decode(package["encryptedPayload"], validate=True)
        return AESGCM(transport.encode()).decrypt(vector, payload, None)
    except (KeyError, TypeError, ValueError, InvalidTag):
        raise KeyturnError(
            ErrorCode.DECRYPT_FAILED,
            "The server's answer is no file under the transport password of this call. Ask for another one-time code.",
            refusal="approver.package",
        ) from None


def _password(question: str, file: Path | None, *, again: bool = False) -> str:
    given = password_in(file)
    if given is not None:
        return given
    if not has_terminal():
        raise click.UsageError(f"There is no terminal to ask for it ({question.lower()}); give a file.")
    answer: str = click.prompt(question, hide_input=True, confirmation_prompt=again, err=True, type=str)
    return answer


def _tell_code(code: str, *, as_json: bool) -> None:
    _tell({"oneTimeCode": code}, as_json=as_json)


def _tell(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(done, indent=2))
    elif "oneTimeCode" in done:
        click.echo(visible(str(done["oneTimeCode"])))
    elif "unwrapRequestId" in done:
        request = visible(str(done["unwrapRequestId"]))
        click.echo(f"waits for approvals: request {request}", err=True)
        click.echo(request)
    else:
        click.echo("done")
