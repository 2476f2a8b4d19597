"""R7: an approval program that knows nothing of statements approves a bound request: bash, openssl and curl.

It fetches its tasks, signs the bytes that it is handed, and sends the signature: what every approval program does.
"""

from __future__ import annotations

import base64
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from keyturn.client import ServerRefusedError
from keyturn.ska.messages import decode_approval
from keyturn.ska.statement import decode_statement
from keyturn_testing.openssl import dgst_accepts
from keyturn_testing.rest_server import P256, ServeProcess

if TYPE_CHECKING:
    from pathlib import Path

PAYLOAD = b"Pay 10 to Bob."
PROGRAM = r"""
set -euo pipefail
url=$1 key=$2
now=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)
sign() { openssl dgst -sha256 -sign "$key" | base64 -w0; }
member() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
spki=$(openssl pkey -in "$key" -pubout -outform DER | base64 -w0)
proof=$(printf %s "$now" | sign)
tasks=$(curl -sS -H 'content-type: application/json' "$url/v1/filteredAllApprovalTask" -d "{\"timestamp\":\"$now\",
  \"timestampSignature\":\"$proof\",\"timestampDigestAlgorithm\":\"SHA-256\",\"approverPublicKey\":\"$spki\",
  \"detailLevel\":\"level1\"}")
task=$(printf %s "$tasks" | member id)
bytes=$(printf %s "$tasks" | member approvalToBeSigned)
signature=$(printf %s "$bytes" | base64 -d | sign)
curl -sS --fail-with-body -H 'content-type: application/json' "$url/v1/approval" -d "{\"id\":\"$task\",
  \"approvalToBeSigned\":\"$bytes\",\"signature\":\"$signature\",\"approvalDigestAlgorithm\":\"SHA-256\",
  \"approverPublicKey\":\"$spki\"}" > /dev/null
printf %s "$bytes"
"""


def openssl(*words: str | Path) -> bytes:
    return subprocess.run(["openssl", *words], capture_output=True, check=True).stdout


def policy(*keys: Path) -> dict[str, Any]:
    approvals = [
        {
            "type": "public_key",
            "name": key.stem,
            "value": base64.b64encode(openssl("pkey", "-in", key, "-pubout", "-outform", "DER")).decode(),
        }
        for key in keys
    ]
    group = {"name": "board", "quorum": len(keys), "approvals": approvals}
    rule = {"tokens": [{"name": "officers", "timelock": 0, "timeout": 0, "groups": [group]}]}
    return {"ruleUse": rule, "ruleBlock": rule, "ruleUnblock": rule, "ruleModify": rule}


@pytest.mark.rule("R7")
def test_r7_a_shell_script_that_signs_what_it_gets_approves_a_bound_request(tmp_path: Path) -> None:
    keys = [tmp_path / "ada.pem", tmp_path / "ben.pem"]
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", keys[0])
    openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", keys[1])
    script = tmp_path / "approve.sh"
    script.write_text(PROGRAM)
    with ServeProcess(tmp_path / "vault") as vault, vault.client() as rest:
        made = rest.create_key(
            "treasury",
            "EC",
            curve_oid=P256,
            attributes={"decrypt": False, "sign": True, "unwrap": False, "boundApprovals": True},
            policy={**policy(*keys), "keyStatus": {"blocked": False}},
        )
        sign = {
            "payload": base64.b64encode(PAYLOAD).decode(),
            "signKeyName": "treasury",
            "signatureAlgorithm": "SHA256_WITH_ECDSA",
        }
        spki = base64.b64decode(made["json"]["publicKey"])
        request = rest.sign(sign)
        for key in keys:
            signed = subprocess.run(["bash", script, vault.url, key], capture_output=True, check=True, text=True).stdout
            # What it signed without knowing: the statement of this very request.
            statement = decode_statement(decode_approval(base64.b64decode(signed)).payload or b"")
            assert (statement.request_id, statement.data) == (request, PAYLOAD)
            assert (statement.key_uuid, statement.spki_hash) == (made["json"]["uuid"], sha256(spki).digest())
        view = rest.request(request)
        assert view["status"] == "EXECUTED"
        assert dgst_accepts(spki, base64.b64decode(view["result"]), PAYLOAD, "sha256")
        # And nothing that it did not sign.
        with pytest.raises(ServerRefusedError) as error:
            rest.synchronous_sign(sign)
        assert error.value.refusal == "request-id.missing"
