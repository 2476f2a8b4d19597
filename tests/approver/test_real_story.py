"""The officers' day, on the command line, against the real broker and the real HSM process.

Three officers make keys, meet the HSM, are asked for a signature; two approve, one rejects; then the policy is
replaced. Nothing here is a stand-in, and openssl judges the result.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import P256, ServeProcess

if TYPE_CHECKING:
    from pathlib import Path

    from approver.conftest import Officers

PAYLOAD = b'{"pay": 10, "to": "Bob"}'


def policy(*people: tuple[str, dict[str, Any]], needed: int = 2) -> dict[str, Any]:
    approvals = [{"type": "public_key", "name": name, "value": made["publicKey"]} for name, made in people]
    rule = {
        "tokens": [
            {
                "name": "officers",
                "timelock": 0,
                "timeout": 0,
                "groups": [{"name": "board", "quorum": needed, "approvals": approvals}],
            }
        ]
    }
    return {"ruleUse": rule, "ruleBlock": rule, "ruleUnblock": rule, "ruleModify": rule}


@pytest.mark.rule("R11")
@pytest.mark.rule("R26")
def test_r11_r26_officers_decide_on_the_command_line_and_the_hsm_does_what_they_decided(
    officers: Officers, tmp_path: Path
) -> None:
    # Each officer makes a key of another kind, and Ada learns whose key is whose.
    made = {
        name: officers.keygen(name, key_type)
        for name, key_type in (("ada", "ec-p256"), ("ben", "ed25519"), ("eve", "ec-p521"), ("fay", "secp256k1"))
    }
    for name in ("ada", "ben", "eve"):
        book = ("--address-book", officers.book)
        assert officers.run("approver", "contacts", "add", name.title(), made[name]["publicKey"], *book).code == 0
    board = [(name, made[name]) for name in ("ada", "ben", "eve")]

    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        created = rest.create_key(
            "treasury",
            "EC",
            curve_oid=P256,
            attributes={"decrypt": False, "sign": True, "unwrap": False},
            policy=policy(*board) | {"keyStatus": {"blocked": False}},
        )
        public_key = base64.b64decode(created["json"]["publicKey"])

        # First trust: the words read in the vault are typed by Ada.
        shown = officers.run("trust", "show", "--url", vault.url, "--out", tmp_path / "device.pem", "--json").json()
        pinned = tmp_path / "pinned.pem"
        confirmed = officers.run(
            "trust", "confirm", "--cert", tmp_path / "device.pem", "--out", pinned,
            typed=" ".join(shown[0]["words"]) + "\n",
        )  # fmt: skip
        assert confirmed.code == 0

        def at(name: str) -> tuple[str | Path, ...]:
            return (*officers.at(vault.url, name), "--device-cert", pinned)

        def only_task(name: str, request: str) -> Any:
            (task,) = officers.run("approver", "tasks", *at(name), "--request", request, "--json").json()
            return task

        # A signature is asked for. All three are shown the same bytes under the same words.
        request = rest.sign(
            {
                "payload": base64.b64encode(PAYLOAD).decode(),
                "payloadType": "UNSPECIFIED",
                "signKeyName": "treasury",
                "signatureAlgorithm": "SHA256_WITH_ECDSA",
                "metaData": base64.b64encode(b'{"app": "ERP"}').decode(),
            }
        )
        tasks = {name: only_task(name, request) for name in ("ada", "ben", "eve")}
        assert len({tuple(task["words"]) for task in tasks.values()}) == 1
        for task in tasks.values():
            assert (task["operation"], task["keyLabel"], task["warnings"]) == ("use", "treasury", [])
            assert base64.b64decode(task["payload"]["base64"]) == PAYLOAD
            assert task["keyAttributesVerified"] is True
        assert officers.run("approver", "tasks", *at("fay"), "--json").json() == []

        # Eve rejects, Ada reads and says yes, Ben is sure.
        rejected = officers.run("approver", "reject", tasks["eve"]["taskId"], *at("eve"), "--yes", "--json").json()
        assert base64.b64decode(rejected[0]["signed"]).endswith(tasks["eve"]["taskId"].encode())
        assert rest.request(request)["rejectedBy"] == [made["eve"]["publicKey"]]
        said_yes = officers.run("approver", "approve", tasks["ada"]["taskId"], *at("ada"), typed="y\n")
        assert said_yes.code == 0
        assert '"to": "Bob"' in said_yes.out
        assert rest.request(request)["status"] == "PENDING"
        assert officers.run("approver", "approve", tasks["ben"]["taskId"], *at("ben"), "--yes").code == 0

        state = rest.request(request)
        assert state["status"] == "EXECUTED"
        signature = base64.b64decode(state["result"])
        assert dgst_accepts(public_key, signature, PAYLOAD, "sha256")
        assert not dgst_accepts(public_key, signature, PAYLOAD + b" ", "sha256")

        # Whoever rejected cannot change their mind: the task is gone.
        gone = officers.run("approver", "approve", tasks["eve"]["taskId"], *at("eve"), "--yes")
        assert gone.refusal == "task.unknown"
        gone = officers.run("approver", "approve", "--request", request, *at("eve"), "--yes")
        assert gone.refusal == "task.rejected"
        again = officers.run("approver", "approve", "--request", request, *at("ada"), "--yes")
        assert again.refusal == "task.approved"

        # The policy is replaced: Eve leaves, Fay comes. Ada does not know Fay yet and is told so.
        change = rest.modify({"modifyKeyName": "treasury", "policy": policy(*board[:2], ("fay", made["fay"]))})
        task = only_task("ada", change)
        assert task["operation"] == "modify"
        assert any("not in your address book" in warning for warning in task["warnings"])
        assert f"    key {_spaced(made['fay'])}" in "\n".join(task["changes"])
        for name in ("ada", "ben"):
            assert officers.run("approver", "approve", only_task(name, change)["taskId"], *at(name), "--yes").code == 0
        assert rest.request(change)["status"] == "EXECUTED"

        # From now on Fay's word counts and Eve is not even asked.
        second = rest.sign(
            {
                "payload": base64.b64encode(PAYLOAD).decode(),
                "signKeyName": "treasury",
                "signatureAlgorithm": "SHA256_WITH_ECDSA",
            }
        )
        assert officers.run("approver", "tasks", *at("eve"), "--json").json() == []
        for name in ("fay", "ben"):
            assert officers.run("approver", "approve", only_task(name, second)["taskId"], *at(name), "--yes").code == 0
        assert rest.request(second)["status"] == "EXECUTED"


def _spaced(made: dict[str, Any]) -> str:
    fingerprint: str = made["fingerprint"]
    return " ".join(fingerprint[start : start + 4] for start in range(0, 64, 4))
