"""The settings file: strict YAML, read so that every setting knows the line in which it stands."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

import yaml

from keyturn.config.refusing import refuse, unknown
from keyturn.config.settings import ALIASES, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FILE: Final = 1 << 20
"""Largest settings file read, in bytes."""
_MAX_DEPTH: Final = 8
"""Deepest level of names; a mapping that holds itself would have no end."""


def read_file(file: Path) -> Iterator[tuple[str, object, str]]:
    """Read a settings file.

    Args:
        file: Its path.

    Yields:
        Dotted name, value, and where it stands: file and line.

    Raises:
        KeyturnError: 301 `config.unreadable`, `config.too-large`, `config.malformed`, `config.repeated`,
            `config.unknown-setting`.
    """
    try:
        if file.stat().st_size > MAX_FILE:
            raise refuse(f"{file}: larger than {MAX_FILE} bytes; this is no settings file.", "config.too-large")
        loader = yaml.SafeLoader(file.read_bytes())
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.MappingNode):
            raise refuse(f"{file}: must hold settings by name.", "config.malformed")
        yield from _flatten(loader, file, root, "")
    except OSError as error:
        raise refuse(f"{file}: cannot be read: {error.strerror}.", "config.unreadable") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A ValueError is a text that is not UTF-8, or looks like a date or number and is none.
        first = str(error).replace("\n", " ")
        raise refuse(f"{file}: is not readable YAML: {first}", "config.malformed") from error


def _flatten(
    loader: yaml.SafeLoader, file: Path, mapping: yaml.MappingNode, above: str
) -> Iterator[tuple[str, object, str]]:
    seen: set[object] = set()
    strangers: list[tuple[str, str]] = []
    for name_node, node in mapping.value:
        where = f"{file}, line {name_node.start_mark.line + 1}"
        key: Any = loader.construct_object(name_node, deep=True)
        if not isinstance(key, Hashable):
            raise refuse(f"{where}: a name is a text, not a list or mapping.", "config.malformed")
        if key in seen:
            # YAML itself would keep the last, and a protection could be switched off further down unseen.
            raise refuse(f"{where}: '{above}{key}' stands more than once.", "config.repeated")
        seen.add(key)
        name = f"{above}{key}"
        if name in NAMES or name in ALIASES:
            yield ALIASES.get(name, name), loader.construct_object(node, deep=True), f"{where}: {name}"
        elif isinstance(node, yaml.MappingNode) and above.count(".") < _MAX_DEPTH and _leads_on(name):
            yield from _flatten(loader, file, node, f"{name}.")
        else:
            strangers.append((f"{where}: '{name}'", name))
    if strangers:
        raise unknown(*strangers[0])


def _leads_on(name: str) -> bool:
    return any(known.startswith(f"{name}.") for known in (*NAMES, *ALIASES))
