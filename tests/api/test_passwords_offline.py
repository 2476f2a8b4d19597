"""Without an HSM there is nobody to seal a password to: it is typed at the offline side (R27)."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from keyturn_testing.rest_server import ServeProcess, b64

if TYPE_CHECKING:
    from pathlib import Path

SIGN = {"payload": b64(b"pay"), "signKeyName": "vault", "signatureAlgorithm": "SHA256_WITH_ECDSA"}
MODIFY = {"ruleUse": None, "ruleBlock": None, "ruleUnblock": None, "ruleModify": None}


@pytest.mark.rule("R27")
def test_password_offline(tmp_path: Path) -> None:
    requests: dict[str, dict[str, Any]] = {
        "/v1/sign": {"signRequest": SIGN},
        "/v1/block": {"blockRequest": {"blockKeyName": "vault"}},
        "/v1/unblock": {"unblockRequest": {"unblockKeyName": "vault"}},
        "/v1/modify": {"modifyRequest": {"modifyKeyName": "vault", "policy": MODIFY}},
    }
    with (
        ServeProcess(tmp_path / "office", "air-gapped") as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        for path, body in requests.items():
            ((name, inner),) = body.items()
            answer = http.post(path, json={name: inner | {"keyPassword": "Zauberwort"}})
            assert (answer.status_code, answer.json()["errorCode"]) == (400, 611)
            assert answer.json()["refusal"] == "password.offline"
            assert "typed at the offline side" in answer.json()["message"]
            # Without one it gets as far as the register, which does not know the key.
            assert http.post(path, json={name: inner | {"keyPassword": []}}).json()["errorCode"] == 650
    for database in (tmp_path / "office").rglob("*.db"):
        with sqlite3.connect(database) as reader:
            assert reader.execute("SELECT count(*) FROM request").fetchone() == (0,)
        reader.close()
