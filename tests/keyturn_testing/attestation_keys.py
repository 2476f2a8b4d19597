"""A plugin of the test run: HSMs in the test's own process take their RSA keys from a few that are made once.

To find an RSA key of 3072 bits takes longer than most tests that need a store. What is done with the key is the same;
HSMs in processes of their own make theirs.
"""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING, Final

import pytest

from keyturn.hsm import system_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEYS: Final = 4
"""More than any test has stores at the same time that must have different keys."""

_new = system_keys._new_rsa_key
_turns = itertools.cycle(range(KEYS))


@cache
def _key(_turn: int) -> RSAPrivateKey:
    return _new()


@pytest.fixture(scope="session", autouse=True)
def attestation_keys() -> Iterator[None]:
    """Give out the keys in turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system_keys, "_new_rsa_key", lambda: _key(next(_turns)))
        yield
