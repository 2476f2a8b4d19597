"""The password of an offline key is typed at the offline side, and is in no bundle (R27)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import click
import pytest

from keyturn.cli.transport_execute import execute_with_password
from keyturn.client import RestClient, ServerRefusedError
from keyturn.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.rule("R27")


class Locked:
    """A server whose key has the password `open`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    def execute_offline_input(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(dict(body))
        (inner,) = body.values()
        if (inner.get("keyPassword") or inner.get("unwrapKeyPassword")) != list("open"):
            raise ServerRefusedError(ErrorCode.KEY_PASSWORD_MISMATCH, "password mismatch", refusal="key.password")
        return {"signature": "YQ=="}


@pytest.mark.parametrize(
    ("name", "member"), [("signRequest", "keyPassword"), ("unwrapKeyRequest", "unwrapKeyPassword")]
)
def test_a_password_is_asked_for_until_it_is_right(monkeypatch: pytest.MonkeyPatch, name: str, member: str) -> None:
    typed = iter(["wrong", "open"])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    server = Locked()
    carried = {name: {"payload": "YQ=="}}
    assert execute_with_password(cast("RestClient", server), carried) == {"signature": "YQ=="}
    assert [body[name].get(member) for body in server.bodies] == [None, list("wrong"), list("open")]
    assert carried == {name: {"payload": "YQ=="}}


def test_without_a_terminal_or_a_word_it_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click, "prompt", lambda *_, **__: "")
    for at_terminal in (False, True):
        monkeypatch.setattr(sys.stdin, "isatty", lambda at=at_terminal: at)
        with pytest.raises(ServerRefusedError) as refused:
            execute_with_password(cast("RestClient", Locked()), {"signRequest": {"payload": "YQ=="}})
        assert refused.value.code is ErrorCode.KEY_PASSWORD_MISMATCH
