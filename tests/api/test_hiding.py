"""No request and no answer shows a secret where a program prints it (law 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.api.answers import Answer
from keyturn.api.endpoints import ROUTES
from keyturn.api.schemas.common import Body

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRETS = {"private_key", "secret_key", "shared_secret", "seed", "random"}
NOT_SECRET = {"public_key", "label", "key_name", "xml", "signature", "message"}


def structs(base: type[Any]) -> Iterator[type[Any]]:
    for kind in base.__subclasses__():
        yield kind
        yield from structs(kind)


ALL = [*structs(Body), *structs(Answer)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_secrets_are_not_shown_and_the_rest_is(kind: type[Any]) -> None:
    assert ROUTES, "all modules with structs are loaded"
    one = kind(**{name: f"value-of-{name}." for name in kind.__struct_fields__})
    text = repr(one)
    assert text.startswith(kind.__name__)
    for name in kind.__struct_fields__:
        secret = "password" in name or name in SECRETS
        assert not (secret and f"value-of-{name}." in text), name
        assert not (name in NOT_SECRET and f"value-of-{name}." not in text), name


def test_absent_secrets_are_told_apart_from_given_ones() -> None:
    from keyturn.api.schemas.keys import KeyLabelBody

    assert repr(KeyLabelBody(label="k")) == "KeyLabelBody(label='k', password=None)"
    assert repr(KeyLabelBody(label="k", password="open")) == "KeyLabelBody(label='k', password=…)"
