"""What takes seconds says so, where a person watches."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on standard error what is going on while the block runs; nothing where that is no terminal.

    Args:
        what: A sentence without a full stop, our own text.
    """
    if not sys.stderr.isatty():
        yield
        return
    from keyturn.cli.officer_view import console

    with console(err=True).status(f"{what} …"):
        yield
