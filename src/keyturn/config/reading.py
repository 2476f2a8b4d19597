"""Reading all settings from their three places, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from keyturn.config.refusing import refuse, unknown
from keyturn.config.settings import ALIASES, NAMES, Settings
from keyturn.config.together import check_together
from keyturn.config.values import from_text, typed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ENVIRONMENT_PREFIX: Final = "KEYTURN_"
OTHER_VARIABLES: Final = frozenset(
    {"KEYTURN_CACHE", "KEYTURN_API_KEY", "KEYTURN_TOKEN", "KEYTURN_CLIENT_CERTIFICATE", "KEYTURN_CLIENT_KEY"}
)
"""Variables with our prefix that set-up scripts and commands read that call a server; they are no settings."""


def load_settings(*, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object | None]) -> Settings:
    """Read all settings.

    Args:
        file: YAML file; None for none.
        environment: The process's environment.
        flags: Dotted names to values given on the command line; None means not given.

    Returns:
        The settings.

    Raises:
        KeyturnError: With 301, naming file and line (or variable) and setting, for an unknown setting, a wrong type, a
            value out of range, or settings that do not go together.
    """
    return read_settings(file=file, environment=environment, flags=flags)[0]


def read_settings(
    *, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object | None]
) -> tuple[Settings, dict[str, str]]:
    """Read all settings, and tell where each was found.

    Args:
        file: As in `load_settings`.
        environment: Likewise.
        flags: Likewise.

    Returns:
        The settings, and field to place for those that are not left at their default.

    Raises:
        KeyturnError: As in `load_settings`.
    """
    found: dict[str, Any] = {}
    places: dict[str, str] = {}

    def put(name: str, value: object, where: str) -> None:
        field = NAMES[name]
        found[field] = typed(field, value, where)
        places[field] = where

    if file is not None:
        from keyturn.config.yaml_file import read_file  # A start without a file reads no YAML.

        for name, value, where in read_file(file):
            if NAMES[name] in found:
                raise refuse(
                    f"{where} stands more than once; the other is at {places[NAMES[name]]}.", "config.repeated"
                )
            put(name, value, where)
    for name, variable, text in _from_environment(environment):
        put(name, from_text(NAMES[name], text, variable), variable)
    for name, flag in flags.items():
        if flag is not None:
            put(name, flag, f"the flag for {name}")
    settings = Settings(**found)
    check_together(settings, places)
    return settings, places


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    names = {name: name for name in NAMES} | ALIASES
    by_variable = {
        ENVIRONMENT_PREFIX + name.upper().replace(".", "__").replace("-", "_"): meant for name, meant in names.items()
    }
    seen: dict[str, str] = {}
    for variable, text in environment.items():
        upper = variable.upper()
        if not upper.startswith(ENVIRONMENT_PREFIX) or upper in OTHER_VARIABLES:
            continue
        if upper not in by_variable:
            dotted = upper.removeprefix(ENVIRONMENT_PREFIX).replace("__", ".")
            raise unknown(f"Environment variable {variable}", dotted)
        name = by_variable[upper]
        if name in seen:
            raise refuse(f"Environment variables {seen[name]} and {variable} are the same setting.", "config.repeated")
        seen[name] = variable
        yield name, f"environment variable {variable}", text
