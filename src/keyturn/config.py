"""Settings: read once at the start, checked, frozen.

A setting has one dotted name, such as `general.allowSecondsInPolicies`. It may stand in the YAML file under that name,
in the environment as `KEYTURN_` and the name with `__` between the levels (case does not matter), or be given as a
flag. Flags win over the environment, the environment over the file. An unknown or badly typed setting stops the
start with a message that names where it stands: a misspelt protection must not be silently absent.

Only settings that do something in this version exist.

Source: decisions 3, 19, 25; rest-api.md sections 6.4 and 6.9 (documented names).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Hashable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from keyturn.errors import ErrorCode, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENVIRONMENT_PREFIX: Final = "KEYTURN_"
OTHER_VARIABLES: Final = frozenset({"KEYTURN_CACHE"})
"""Variables with our prefix that are read by the set-up scripts and are no settings."""
PROFILES: Final = ("local", "air-gapped")
DEFAULT_DATA_DIR: Final = Path("keyturn-data")
MAX_DIGITS: Final = 100
"""No whole number has so many digits; the interpreter refuses to read very long ones."""
MAX_FILE: Final = 1 << 20
"""Largest settings file read, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of `keyturn serve`.

    Args:
        profile: `local` (broker with an HSM) or `air-gapped` (broker without one).
        data_dir: Where the broker keeps its state.
        host: Address to listen on.
        port: TCP port to listen on; 0 takes any free one.
        max_timestamp_age: Oldest timestamp of a task query that is accepted, in seconds.
        max_timestamp_ahead: How far such a timestamp may lie in the future, in seconds.
        database_url: `postgresql://…` as libpq reads it, or `sqlite:////path`; empty for a file in the data directory.
            May hold a password and is therefore never shown.
        allow_seconds: Whether policies may hold times that are no whole minutes (decisions 19).
        hsm_address: `unix:PATH` or `tcp://HOST:PORT` of the HSM; empty starts one beside the broker (local profile).
        hsm_passphrase_file: Passphrase file of the HSM that is started; None makes the development default.
        hsm_require_protected_modify: That HSM refuses protected keys whose policy fewer people could replace (R10).
        hsm_allow_unlabelled_approvals: That HSM counts approvals without a key label (decisions 29). Weakening.
        hsm_allow_replayed_control_approvals: That HSM lets unblock and modify be replayed (R15). Weakening.
        hsm_allow_weak_keys: That HSM creates RSA 1024 (decisions 28). Weakening.
        hsm_timestamp_key_name: Name of that HSM's integrity key; empty for its default.
        hsm_attestation_key_name: Name of that HSM's attestation key; empty for its default.
        hsm_receipt_key_name: Name of that HSM's receipt key; empty for its default.
        hsm_clock_tolerance: Seconds that HSM's clock may be behind the highest time it has used.
        hsm_clock_bound: Seconds it may be ahead of that before a person must confirm it.
        hsm_tls_ca: PEM file with the authority that vouches for the HSM (`tcp://` only).
        hsm_tls_certificate: PEM file with the broker's own certificate for the HSM (`tcp://` only).
        hsm_tls_key: PEM file with the key that belongs to it (`tcp://` only).
        attestation_certificates: PEM files with the chains of the offline devices (air-gapped profile).
        swagger_ui: Whether the page that shows the API is served.
    """

    profile: str = "local"
    data_dir: Path = DEFAULT_DATA_DIR
    host: str = "127.0.0.1"
    port: int = 8080
    max_timestamp_age: int = 600
    max_timestamp_ahead: int = 5
    database_url: str = dataclasses.field(default="", repr=False)
    allow_seconds: bool = False
    hsm_address: str = ""
    hsm_passphrase_file: Path | None = None
    hsm_require_protected_modify: bool = False
    hsm_allow_unlabelled_approvals: bool = False
    hsm_allow_replayed_control_approvals: bool = False
    hsm_allow_weak_keys: bool = False
    hsm_timestamp_key_name: str = ""
    hsm_attestation_key_name: str = ""
    hsm_receipt_key_name: str = ""
    hsm_clock_tolerance: int = 2
    hsm_clock_bound: int = 90 * 86_400
    hsm_tls_ca: Path | None = None
    hsm_tls_certificate: Path | None = None
    hsm_tls_key: Path | None = None
    attestation_certificates: tuple[Path, ...] = ()
    swagger_ui: bool = True


NAMES: Final[dict[str, str]] = {
    "profile": "profile",
    "dataDir": "data_dir",
    "server.host": "host",
    "server.port": "port",
    "general.databaseUrl": "database_url",
    "general.maxTimestampDiffApprovalClient": "max_timestamp_age",
    "general.maxFutureTimestampDiffApprovalClient": "max_timestamp_ahead",
    "general.allowSecondsInPolicies": "allow_seconds",
    "hsm.address": "hsm_address",
    "hsm.passphraseFile": "hsm_passphrase_file",
    "hsm.requireProtectedModify": "hsm_require_protected_modify",
    "hsm.allowUnlabelledApprovals": "hsm_allow_unlabelled_approvals",
    "hsm.allowReplayedControlApprovals": "hsm_allow_replayed_control_approvals",
    "hsm.allowWeakKeys": "hsm_allow_weak_keys",
    "hsm.timestampKeyName": "hsm_timestamp_key_name",
    "hsm.attestationKeyName": "hsm_attestation_key_name",
    "hsm.receiptKeyName": "hsm_receipt_key_name",
    "hsm.clockTolerance": "hsm_clock_tolerance",
    "hsm.clockBound": "hsm_clock_bound",
    "hsm.tls.ca": "hsm_tls_ca",
    "hsm.tls.certificate": "hsm_tls_certificate",
    "hsm.tls.key": "hsm_tls_key",
    "offlineHsm.attestationCertificates": "attestation_certificates",
    "swaggerUI.enabled": "swagger_ui",
}
"""Dotted name of every setting, and the field of `Settings` it fills."""

_EMBEDDED: Final = (
    "hsm_passphrase_file",
    "hsm_require_protected_modify",
    "hsm_allow_unlabelled_approvals",
    "hsm_allow_replayed_control_approvals",
    "hsm_allow_weak_keys",
    "hsm_timestamp_key_name",
    "hsm_attestation_key_name",
    "hsm_receipt_key_name",
    "hsm_clock_tolerance",
    "hsm_clock_bound",
)
"""Settings that only an HSM started beside the broker takes from here (R1)."""
_DEFAULTS: Final = {field.name: field.default for field in fields(Settings)}
_KINDS: Final = {field.name: str(field.type) for field in fields(Settings)}
_RANGES: Final = {
    "port": (0, 65535),
    "max_timestamp_age": (1, 86_400),
    "max_timestamp_ahead": (0, 3_600),
    "hsm_clock_tolerance": (0, 3_600),
    "hsm_clock_bound": (60, 10 * 366 * 86_400),
}


def load_settings(*, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object | None]) -> Settings:
    """Read all settings.

    Args:
        file: YAML file; None for none.
        environment: The process's environment.
        flags: Dotted names to values given on the command line; None means not given.

    Raises:
        KeyturnError: With 301, naming file (or variable) and setting, for an unknown setting, a wrong type, a value
            out of range, or settings that do not go together.
    """
    found: dict[str, Any] = {}
    if file is not None:
        for name, value in _from_file(file):
            if NAMES[name] in found:
                raise _refuse(f"{file}: {name} stands more than once, dotted and nested.", "config.repeated")
            found[NAMES[name]] = _typed(NAMES[name], value, f"{file}: {name}")
    for name, variable, text in _from_environment(environment):
        found[NAMES[name]] = _typed(NAMES[name], _from_text(NAMES[name], text, variable), variable)
    for name, flag in flags.items():
        if flag is not None:
            found[NAMES[name]] = _typed(NAMES[name], flag, f"the flag for {name}")
    settings = Settings(**found)
    _check_together(settings)
    return settings


def _refuse(message: str, refusal: str) -> KeyturnError:
    return KeyturnError(ErrorCode.CONFIG_NOT_VALID, message, refusal=refusal)


# --- file ---------------------------------------------------------------------------------------------


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that refuses mappings which repeat a name, of which YAML itself would keep the last."""


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[object] = set()
    for node_of_name, _ in node.value:
        name = loader.construct_object(node_of_name)
        if not isinstance(name, Hashable):
            raise yaml.constructor.ConstructorError(None, None, "a list is no name", node_of_name.start_mark)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"'{name}' stands more than once", node.start_mark)
        seen.add(name)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _strict_mapping)


def _from_file(file: Path) -> Iterator[tuple[str, object]]:
    try:
        if file.stat().st_size > MAX_FILE:
            raise _refuse(f"{file}: larger than {MAX_FILE} bytes; this is no settings file.", "config.too-large")
        tree = yaml.load(file.read_bytes(), Loader=_StrictLoader)  # noqa: S506 - A SafeLoader, made stricter.
    except OSError as error:
        raise _refuse(f"{file}: cannot be read: {error.strerror}.", "config.unreadable") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A ValueError is a text that is not UTF-8, or looks like a date or number and is none.
        first = str(error).replace("\n", " ")
        raise _refuse(f"{file}: is not readable YAML: {first}", "config.malformed") from error
    if tree is None:
        return
    if not isinstance(tree, dict):
        raise _refuse(f"{file}: must hold settings by name.", "config.malformed")
    yield from _flatten(file, tree, "")


def _flatten(file: Path, tree: dict[Any, Any], above: str) -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        name = f"{above}{key}"
        if name in NAMES:
            yield name, value
        elif isinstance(value, dict) and any(known.startswith(f"{name}.") for known in NAMES):
            yield from _flatten(file, value, f"{name}.")
        else:
            raise _unknown(f"{file}: '{name}'", name)


def _unknown(where: str, name: str) -> KeyturnError:
    by_lower = {known.lower(): known for known in NAMES}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=1)
    hint = f"did you mean '{by_lower[near[0]]}'?" if near else f"known are: {', '.join(sorted(NAMES))}."
    return _refuse(f"{where} is not a setting of this version; {hint}", "config.unknown-setting")


# --- environment ----------------------------------------------------------------------------------------


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    by_variable = {ENVIRONMENT_PREFIX + name.upper().replace(".", "__"): name for name in NAMES}
    seen: dict[str, str] = {}
    for variable, text in environment.items():
        upper = variable.upper()
        if not upper.startswith(ENVIRONMENT_PREFIX) or upper in OTHER_VARIABLES:
            continue
        if upper not in by_variable:
            dotted = upper.removeprefix(ENVIRONMENT_PREFIX).replace("__", ".")
            raise _unknown(f"Environment variable {variable}", dotted)
        if upper in seen:
            raise _refuse(
                f"Environment variables {seen[upper]} and {variable} are the same setting.", "config.repeated"
            )
        seen[upper] = variable
        yield by_variable[upper], f"environment variable {variable}", text


def _from_text(field: str, text: str, where: str) -> object:
    kind = _KINDS[field]
    if kind == "bool":
        words = {"true": True, "false": False}
        if text.strip().lower() not in words:
            raise _refuse(f"{where}: must be true or false.", "config.wrong-type")
        return words[text.strip().lower()]
    if kind == "int":
        if not (text.strip().isascii() and text.strip().isdigit() and len(text) < MAX_DIGITS):
            raise _refuse(f"{where}: must be a whole number.", "config.wrong-type")
        return int(text.strip())
    if kind.startswith("tuple"):
        return [part for part in text.split(":") if part]
    return text


# --- values ---------------------------------------------------------------------------------------------


def _typed(field: str, value: object, where: str) -> object:
    kind = _KINDS[field]
    if kind == "bool":
        if not isinstance(value, bool):
            raise _refuse(f"{where}: must be true or false.", "config.wrong-type")
        return value
    if kind == "int":
        if not isinstance(value, int) or isinstance(value, bool):
            raise _refuse(f"{where}: must be a whole number.", "config.wrong-type")
        least, most = _RANGES[field]
        if not least <= value <= most:
            raise _refuse(f"{where}: must lie between {least} and {most}.", "config.out-of-range")
        return value
    if kind.startswith("tuple"):
        if not isinstance(value, list | tuple) or not all(isinstance(part, str | Path) for part in value):
            raise _refuse(f"{where}: must be a list of paths.", "config.wrong-type")
        return tuple(Path(part) for part in value)
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise _refuse(f"{where}: must be a text that is not empty.", "config.wrong-type")
    if kind.startswith("Path"):
        return Path(value)
    if field == "profile" and value not in PROFILES:
        raise _refuse(f"{where}: must be one of {', '.join(PROFILES)}.", "config.wrong-value")
    return str(value)


def _check_together(settings: Settings) -> None:
    """Refuse settings that would do nothing in the chosen profile: whoever wrote them expects something."""
    if settings.profile == "air-gapped" and settings.hsm_address:
        raise _refuse("hsm.address: the air-gapped profile has no HSM; leave it out.", "config.contradiction")
    if settings.profile == "local" and settings.attestation_certificates:
        raise _refuse(
            "offlineHsm.attestationCertificates: only the air-gapped profile registers keys of an offline HSM.",
            "config.contradiction",
        )
    own = [name for name, field in NAMES.items() if field in _EMBEDDED and getattr(settings, field) != _DEFAULTS[field]]
    if own and (settings.profile == "air-gapped" or settings.hsm_address):
        raise _refuse(
            f"{own[0]}: configures the HSM that is started beside the broker, and none is. An HSM of its own reads its "
            "own settings, never the broker's (keyturn hsm serve --help).",
            "config.contradiction",
        )
    tls = (settings.hsm_tls_ca, settings.hsm_tls_certificate, settings.hsm_tls_key)
    if settings.hsm_address.startswith("tcp:"):
        if not all(tls):
            raise _refuse(
                "hsm.tls: an HSM over TCP needs hsm.tls.ca, hsm.tls.certificate and hsm.tls.key (mutual TLS).",
                "config.tls-missing",
            )
    elif any(tls):
        raise _refuse("hsm.tls: is used only with an hsm.address that begins with tcp://.", "config.contradiction")
