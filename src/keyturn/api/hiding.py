"""What requests and answers show of themselves where a program prints them: no secret (law 1).

Source: /v1/key/export/plain, import, seeds, ML-KEM, passwords (rest-api.md sections 3.1 to 3.3).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import msgspec

_SECRET: Final = re.compile(r"password|(private|secret)_key|shared_secret|^seed$|one_time_code|^random$|^payload$")
"""Fields that hold a secret, or may; a payload is what was decrypted, or is to be encrypted."""


def shown(struct: msgspec.Struct) -> str:
    """The `repr` of a struct, with `…` in place of every secret that is there.

    Args:
        struct: A request or an answer.
    """
    fields = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    parts = (f"{name}={'…' if value and _SECRET.search(name) else repr(value)}" for name, value in fields)
    return f"{type(struct).__name__}({', '.join(parts)})"
