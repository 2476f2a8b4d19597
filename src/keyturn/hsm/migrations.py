"""From one store version to the next.

A migration is a function from version n to n + 1. It gets the open container, inside a transaction, and the sealing
keys; it checks what it reads against the sealed root record of version n, writes the tables of version n + 1 and seals
their root record. All steps and the new version number commit together. Before the first step the file is copied beside
itself (`hsm.db.version-<n>`, sealed as it was), so that going back is a rename.

Version 1 is the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from keyturn.hsm.container import Container
from keyturn.hsm.records import store_error
from keyturn.hsm.sealing import SealingKeys

STORE_VERSION: Final = 1
"""Version that this program writes."""

Migration = Callable[[Container, SealingKeys], None]

MIGRATIONS: Final[Mapping[int, Migration]] = {}
"""Version n to the function that leads to n + 1."""


def migrate(
    container: Container,
    sealing: SealingKeys,
    version: int,
    *,
    target: int = STORE_VERSION,
    migrations: Mapping[int, Migration] = MIGRATIONS,
) -> None:
    """Bring a store to this program's version.

    Args:
        container: The open file.
        sealing: Its keys.
        version: Version it has.
        target: Version it shall have.
        migrations: The steps.

    Raises:
        KeyturnError: `store.version-too-new`, `store.version-unknown`; or what a step found wrong. The store is as it
        was then.
    """
    if version == target:
        return
    if version > target:
        raise store_error(
            "version-too-new",
            f"The store has version {version}, this program writes {target}. Use the newer program that wrote it.",
        )
    steps = range(version, target)
    if any(step not in migrations for step in steps):
        raise store_error(
            "version-unknown",
            f"No way leads from store version {version} to {target}. Restore the store from a backup.",
        )
    copy = container.path.with_name(f"{container.path.name}.version-{version}")
    copy.unlink(missing_ok=True)  # Of an attempt that failed; the original is still what it was.
    container.copy_to(copy)
    with container.transaction():
        for step in steps:
            migrations[step](container, sealing)
        container.set_version(target)
