"""`keyturn config`: check a settings file, show what is in force, write one to start from, make API keys.

Source: decisions 3; docs/configuration.md.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from keyturn.cli.examples import examples
from keyturn.config import NAMES, Settings, read_settings
from keyturn.config.settings import SECRETS
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.plain import system_reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLOSED: Final = "(set, not shown)"
_HASH: Final = "sha256:"
_WEAKENING: Final = (
    "hsm_allow_unlabelled_approvals",
    "hsm_allow_replayed_control_approvals",
    "hsm_allow_weak_keys",
    "hsm_allow_open_backup_key",
)
_ROLES: Final = (
    "keyManagementToken",
    "keyOperationToken",
    "approverToken",
    "approverKeyManagementToken",
    "serviceToken",
)


@click.group(
    epilog=examples(
        "keyturn config init --out /etc/keyturn/keyturn.yaml",
        "keyturn config check /etc/keyturn/keyturn.yaml",
        "keyturn config show --config /etc/keyturn/keyturn.yaml",
        "keyturn config api-key",
    )
)
def config() -> None:
    """Settings of `keyturn serve`: check, show, begin."""


@config.command(epilog=examples("keyturn config check keyturn.yaml", "keyturn config check keyturn.yaml --json"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(file: Path, *, as_json: bool) -> None:
    """Say whether a settings file is good, and what in it may surprise.

    Exit status 0: it can be used (there may be warnings). 1: it cannot, and the message names line and setting.
    """
    settings, _ = read_settings(file=file, environment={}, flags={})
    _open_files(settings)
    warnings = list(warnings_of(settings, file))
    if as_json:
        click.echo(json.dumps({"file": str(file), "good": True, "warnings": warnings}))
        return
    for warning in warnings:
        click.echo(f"warning: {warning}")
    click.echo(f"{file}: good" + (f", {len(warnings)} to think about" if warnings else ""))


@config.command(
    epilog=examples("keyturn config show --config keyturn.yaml", "KEYTURN_PROFILE=air-gapped keyturn config show")
)
@click.option("--config", "file", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name to value and place.")
def show(*, file: Path | None, as_json: bool) -> None:
    """Show all settings in force, and where each comes from.

    They are those that `keyturn serve` would take from this file and environment. What may be secret (API keys, the
    database's address) is not shown, only that it is set.
    """
    settings, places = read_settings(file=file, environment=os.environ, flags={})
    rows = [(name, _shown(settings, field), places.get(field, "default")) for name, field in sorted(NAMES.items())]
    if as_json:
        click.echo(json.dumps({name: {"value": value, "from": place} for name, value, place in rows}, indent=1))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, place in rows:
        text = value if isinstance(value, str) else json.dumps(value)
        click.echo(
            f"{name:{width}}  {text:24}  {'' if place == 'default' else place.removesuffix(f': {name}')}".rstrip()
        )


@config.command(epilog=examples("keyturn config init --out keyturn.yaml", "keyturn config init --profile air-gapped"))
@click.option("--profile", type=click.Choice(("local", "air-gapped")), default="local", help="For which profile.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write, mode 0600; it must not exist.")
def init(*, profile: str, out: Path | None) -> None:
    """Write a production configuration with new API keys.

    The file holds the keys' hashes. The keys themselves are printed once, to standard error: give them to those who
    call, and keep them nowhere else.
    """
    from keyturn.api.access.api_keys import new_api_key

    made = {role: new_api_key() for role in _ROLES}
    text = production_settings(profile, {role: hashed for role, (_, hashed) in made.items()})
    if out is None:
        click.echo(text, nl=False)
    else:
        _write_new(out, text)
        click.echo(f"Written to {out}. Look at what is marked CHANGE, then: keyturn config check {out}", err=True)
    for role, (key, _) in made.items():
        click.echo(f"{role}: {key}", err=True)


@config.command("api-key", epilog=examples("keyturn config api-key", "keyturn config api-key --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def api_key(*, as_json: bool) -> None:
    """Make an API key for a client, and its hash for the file."""
    from keyturn.api.access.api_keys import new_api_key

    key, hashed = new_api_key()
    if as_json:
        click.echo(json.dumps({"key": key, "setting": hashed}))
        return
    click.echo(f"for the client, header X-API-KEY:  {key}")
    click.echo(f"for the settings:                  {hashed}")


def warnings_of(settings: Settings, file: Path) -> Iterator[str]:
    """What is allowed and may surprise.

    Args:
        settings: Read from the file alone.
        file: The file.

    Yields:
        One sentence each.
    """
    from keyturn.config.exposure import asks_for, is_loopback

    asked = asks_for(settings)
    if not asked:
        yield "no authentication: the server will listen on loopback only"
        if not is_loopback(settings.host):
            yield f"server.host is {settings.host}, and without authentication the server will not start there"
    elif settings.tls_certificate is None and not is_loopback(settings.host):
        yield "no TLS: API keys and tokens can be read on the way, unless a proxy in front speaks TLS"
    clear = [
        name
        for name, field in NAMES.items()
        if name.endswith("Token") and not all(key.startswith(_HASH) for key in getattr(settings, field))
    ]
    if clear:
        yield f"{clear[0]} holds a key as it is; `keyturn config api-key` makes one whose hash is enough"
    if (clear or settings.database_url) and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield f"{file} can be read by others and may hold secrets: chmod 600 {file}"
    if settings.profile == "local" and not settings.hsm_address:
        yield "no hsm.address: an HSM is started beside the broker, without isolation (for development)"
    for field in _WEAKENING:
        if getattr(settings, field):
            yield f"{next(name for name, known in NAMES.items() if known == field)} weakens what the HSM checks"
    if settings.approver_management:
        yield "approverManagement.enabled: the HSM makes officers' keys, so others than the officers hold them first"


def production_settings(profile: str, hashes: dict[str, str]) -> str:
    """A configuration file to start from.

    Args:
        profile: `local` or `air-gapped`.
        hashes: Role's setting to the hash of its key.

    Returns:
        YAML with comments; what must be changed is marked.
    """
    lines = [
        "# Settings of `keyturn serve`; docs/configuration.md explains each. Check: keyturn config check FILE",
        f"profile: {profile}",
        "dataDir: /var/lib/keyturn",
        "server:",
        "  host: 127.0.0.1        # CHANGE to the address to listen on, once TLS is set up below",
        "  port: 8080",
        "apiAuthentication:",
        "  enabled: true",
        *(f"  {role}: {hashed}" for role, hashed in hashes.items()),
        "# approverManagement:    # The HSM makes officers' keys. Better: they make them, keyturn approver keygen.",
        "#   enabled: true        # Its HSM needs a backup key with a policy: docs/guide/approver-management.md",
        "# tls:                   # CHANGE: without it put a proxy in front that speaks TLS",
        "#   certificate: /etc/keyturn/tls.pem",
        "#   key: /etc/keyturn/tls.key",
    ]
    if profile == "local":
        lines += [
            "hsm:",
            "  # The HSM runs as another user or on another machine and has settings of its own (R1). Start it with",
            "  # `keyturn hsm serve --require-protected-modify`: no protected key's policy lies open then (R10).",
            "  address: unix:/run/keyturn-hsm/hsm.sock",
        ]
    else:
        lines += [
            "offlineHsm:",
            "  # CHANGE: what GET /v1/attestation of the offline side gives, compared by its words (keyturn trust).",
            "  attestationCertificates: [/etc/keyturn/vault-device.pem]",
        ]
    return "\n".join(lines) + "\n"


def _shown(settings: Settings, field: str) -> Any:
    value = getattr(settings, field)
    if field in SECRETS:
        return CLOSED if value else ""
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return str(value) if isinstance(value, Path) else "" if value is None else value


def _open_files(settings: Settings) -> None:
    """Load what the settings name, so that a missing file is found before the start."""
    from keyturn.cli.access import make_access
    from keyturn.clock import SystemClock

    make_access(settings, settings.port, SystemClock())
    _require_readable("offlineHsm.attestationCertificates", settings.attestation_certificates)
    _require_readable("hsm.tls", [path for path in (settings.hsm_tls_ca, settings.hsm_tls_certificate) if path])


def _require_readable(name: str, files: Sequence[Path]) -> None:
    for file in files:
        try:
            file.read_bytes()
        except OSError as error:
            raise KeyturnError(
                ErrorCode.CONFIG_NOT_VALID, f"{name}: {file}: {system_reason(error)}.", refusal="config.unreadable"
            ) from None


def _write_new(out: Path, text: str) -> None:
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyturnError(
            ErrorCode.CONFIG_NOT_VALID,
            f"{out} cannot be written: {system_reason(error)}. A file that is there is not replaced.",
            refusal="config.unwritable",
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
