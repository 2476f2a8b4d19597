"""`keyturn receipt verify`: what vouches for what, from the pinned certificate down to the result in the file."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyturn.approver.first_trust import certificate_pem
from keyturn.cli.main import root
from keyturn.errors import KeyturnError
from keyturn.ska.receipt import Receipt, bytes_to_sign, encode_receipt
from keyturn.ska.receipt_hashes import Statement, refusal_hash_of, result_hash_of, statement_hash_of
from keyturn_testing.approval_tasks import PaperHsm, b64
from keyturn_testing.receipts import example_receipt

if TYPE_CHECKING:
    from pathlib import Path

RECEIPT_KEY = ec.derive_private_key(4711, ec.SECP256R1())
SPKI = RECEIPT_KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
INSTANCE = "d2b5c9a0-7a51-4c39-8a3e-3a0f5c1c2b1a"

pytestmark = pytest.mark.rule("R24")


@cache
def paper() -> PaperHsm:
    return PaperHsm()


def attributes(**changes: Any) -> dict[str, Any]:
    """Attested attributes as `POST /v1/key/attributes` answers them."""
    xml, signature = paper().attest(None, **{"receipt_key": SPKI, **changes})
    return {"xml": xml, "xmlSignature": b64(signature), "attestationKeyName": "attestation-key", "json": {}}


def receipted(result: bytes = b"signature", **changes: Any) -> dict[str, Any]:
    """A receipt of this HSM, as members of an answer."""
    receipt: Receipt = example_receipt(**{"instance_id": INSTANCE, "result_hash": result_hash_of(result), **changes})
    data = encode_receipt(receipt)
    signature = RECEIPT_KEY.sign(bytes_to_sign(data), ec.ECDSA(hashes.SHA256()))
    return {"receipt": b64(data), "receiptSignature": b64(signature)}


class Desk:
    """A directory with the pinned certificate, where files are judged."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.device = self._write("pinned.pem", certificate_pem(paper().certificate))

    def _write(self, name: str, content: bytes) -> str:
        path = self._directory / name
        path.write_bytes(content)
        return str(path)

    def verify(self, content: object, *words: str, attested: object = None) -> tuple[str, str]:
        """The refusal word (empty where there is none) and what was printed."""
        call = ["receipt", "verify", self._write("file", json.dumps(content).encode()), "--device-cert", self.device]
        if attested is not None:
            call += ["--attestation", self._write("attestation.json", json.dumps(attested).encode())]
        done = CliRunner().invoke(root, [*call, *words])
        if isinstance(done.exception, KeyturnError):
            return done.exception.refusal, done.output
        assert done.exit_code == 0, done.output
        return "", done.output


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_r24_a_signature_with_its_receipt(desk: Desk) -> None:
    answer = {"signature": b64(b"signature"), **receipted()}
    word, said = desk.verify(answer, attested=attributes())
    assert word == ""
    for part in ("executed `sign`", example_receipt().request_id, INSTANCE, "2024-08-14T18:02:59Z", "lies in the file"):
        assert part in said
    word, said = desk.verify(answer, "--json", attested=attributes())
    found = json.loads(said)
    assert (found["valid"], found["resultCompared"], found["outcome"]) == (True, True, "executed")
    # On its way back the signature is called `result`, and the attested attributes may lie in the same file.
    carried = {"id": "x", "result": b64(b"signature"), "keyAttributes": attributes(), **receipted()}
    assert desk.verify(carried)[0] == ""


def test_r24_without_the_result_only_its_hash_was_seen(desk: Desk) -> None:
    word, said = desk.verify(receipted(), attested=attributes())
    assert (word, "only its hash was seen" in said) == ("", True)
    assert json.loads(desk.verify(receipted(), "--json", attested=attributes())[1])["resultCompared"] is False


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"signature": b64(b"signaturf")}, "receipt.other-result"),
        ({"refused": {"errorCode": 401, "refusal": "approvals.missing"}}, "receipt.other-outcome"),
        ({"receiptSignature": b64(b"no signature")}, "receipt.bad-signature"),
        ({"receiptSignature": None}, "receipt.missing"),
        ({"receipt": "no base64!"}, "receipt.missing"),
        (receipted(instance_id="11111111-2222-3333-4444-555555555555"), "receipt.other-instance"),
        (receipted(outcome="refused"), "receipt.other-outcome"),
    ],
)
def test_r24_what_does_not_fit_together_is_refused(desk: Desk, changes: dict[str, Any], word: str) -> None:
    answer = {"signature": b64(b"signature"), **receipted()}
    assert desk.verify({**answer, **changes}, attested=attributes())[0] == word
    assert desk.verify(answer, attested=attributes())[0] == ""


def test_r24_the_attested_attributes_must_be_the_pinned_devices_and_name_the_key(desk: Desk) -> None:
    answer = {"signature": b64(b"signature"), **receipted()}
    assert desk.verify(answer)[0] == "receipt.no-attestation"
    assert desk.verify(answer, attested=attributes(receipt_key=None))[0] == "receipt.no-key"
    edited = attributes()
    other = ec.derive_private_key(4712, ec.SECP256R1()).public_key()
    edited["xml"] = edited["xml"].replace(
        b64(SPKI), b64(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    )
    assert desk.verify(answer, attested=edited)[0] == "attestation.bad-signature"
    assert desk.verify(answer, attested=attributes(integrity_key=SPKI, receipt_key=paper().integrity_spki))[0] == (
        "receipt.bad-signature"
    )
    assert desk.verify(answer, attested=[])[0] == "format.invalid"
    assert desk.verify(answer, attested=attributes())[0] == ""


def test_r24_a_refusal_is_compared_by_code_and_word(desk: Desk) -> None:
    refused = receipted(outcome="refused", result_hash=refusal_hash_of(401, "approvals.missing"))
    body = {"errorCode": 401, "reason": "res.error.missing.approval", "message": "…", "refusal": "approvals.missing"}
    for content in ({**body, **refused}, {"id": "x", "refused": body, **refused}):
        word, said = desk.verify(content, attested=attributes())
        assert (word, "refused `sign`" in said, "lies in the file" in said) == ("", True, True)
    for changed in ({"errorCode": 402}, {"refusal": "approvals.missinG"}):
        assert desk.verify({**body, **changed, **refused}, attested=attributes())[0] == "receipt.other-result"


def test_r24_an_attested_answer_vouches_for_its_own_receipt_key(desk: Desk) -> None:
    """What a modify, block, unblock or unwrap answers is enough by itself."""
    answer = attributes()
    statement = Statement.block("treasury")
    about = {"action": "block", "statement_hash": statement_hash_of(statement)}
    good = {**answer, **receipted(answer["xml"].encode(), **about)}
    word, said = desk.verify(good)
    assert (word, "executed `block`" in said, "lies in the file" in said) == ("", True, True)
    assert desk.verify({**answer, **receipted(b"another", **about)})[0] == "receipt.other-result"
    assert desk.verify({"keyAttributes": answer, **receipted(answer["xml"].encode(), **about)})[0] == ""
