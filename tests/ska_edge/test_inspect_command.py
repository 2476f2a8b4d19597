"""`keyturn inspect`: base64, files, standard input, QR text, bundles."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.errors import FormatError
from keyturn.ska.attestation import attestation_to_json, parse_attestation
from keyturn.transport import ur
from keyturn.transport.bundle import Bundle, seal_bundle
from keyturn.transport.instance_key import InstanceKey
from keyturn_testing.approval_tasks import PaperHsm
from keyturn_testing.officers import Officer, make_policy, quorum

VECTORS: Final[list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "ska-vectors.json").read_text()
)
SAMPLE: Final = VECTORS[0]["base64"]


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """The real command in a process of its own: exit status, standard output, standard error."""
    command = [sys.executable, "-m", "keyturn", "inspect", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_known_sample_as_base64_file_and_standard_input(tmp_path: Path) -> None:
    raw, text = tmp_path / "approval.bin", tmp_path / "approval.txt"
    raw.write_bytes(base64.b64decode(SAMPLE))
    text.write_text(SAMPLE[:60] + "\n" + SAMPLE[60:] + "\n")
    outputs = [
        run(SAMPLE),
        run(str(raw)),
        run(str(text)),
        run("-", stdin=raw.read_bytes()),
        run("-", stdin=SAMPLE.encode() + b"\n"),
    ]
    assert {status for status, _, _ in outputs} == {0}
    assert len({output for _, output, _ in outputs}) == 1
    found = json.loads(outputs[0][1])
    assert set(found) == {"kind", "fields", "signatureValid"}
    assert found["kind"] == "authorization_token"
    assert (found["fields"]["keyLabel"], found["fields"]["payload"]) == ("MSI-StandaloneKey", "harro")
    assert '"signatureValid": true' in outputs[0][1]


def test_what_cannot_be_read_is_refused_with_a_sentence_and_status_1(tmp_path: Path) -> None:
    for argument in ("AAAA", "no such file.bin", SAMPLE[:-4], ""):
        status, output, error = run(argument)
        assert (status, output) == (1, "")
        assert error.startswith("keyturn: ")
        assert "Traceback" not in error
    assert "There is no file 'no such file.bin'" in run("no such file.bin")[2]
    assert "There is no file" not in run("-", stdin=b"AAAA")[2]
    assert "Is a directory" in run(str(tmp_path))[2]
    large = tmp_path / "large"
    large.write_bytes(b"\0" * (3 << 20))
    assert run(str(large))[0] == 1


def test_control_characters_do_not_reach_the_terminal() -> None:
    from click.testing import CliRunner

    from keyturn.cli.inspect import inspect
    from keyturn.ska.actions import Action
    from keyturn.ska.messages import ApprovalToken, encode_approval

    approval = encode_approval(ApprovalToken(Action.USE, "k\u00e9y".encode(), payload=b"two\nlines"))
    output = CliRunner().invoke(inspect, [base64.b64encode(approval).decode()]).output
    assert output.isascii()
    assert json.loads(output)["fields"]["keyLabel"] == "k\u00e9y"


def test_a_fetch_timestamp_and_attested_attributes_are_found_in_files(tmp_path: Path) -> None:
    from keyturn.cli.inspect import inspect_bytes

    assert inspect_bytes(b"2024-08-14T20:02:58+02:00\n")["kind"] == "task_fetch_timestamp"
    xml = base64.b64decode(next(v["base64"] for v in VECTORS if v["kind"] == "key_attributes_xml"))
    assert inspect_bytes(xml)["kind"] == "key_attributes_xml"


def sealed(tmp_path: Path, *, recipient: bytes | None = None, body: bytes = b'{"id": "7"}') -> tuple[bytes, bytes]:
    """A bundle and the public key of its sender."""
    key = InstanceKey.load_or_create(tmp_path / "instance.key")
    bundle = Bundle(kind="result", request_id="7", sender=key.public, recipient=recipient, sequence=3, body=body)
    return seal_bundle(bundle, key), key.public


@pytest.mark.parametrize("recipient", [None, bytes(32)])
def test_a_bundle_is_opened_whoever_it_is_for(tmp_path: Path, recipient: bytes | None) -> None:
    data, sender = sealed(tmp_path, recipient=recipient)
    file = tmp_path / "result.ktb"
    file.write_bytes(data)
    found = json.loads(run(str(file))[1])
    assert (found["kind"], found["signatureValid"]) == ("bundle", True)
    fields = found["fields"]
    assert (fields["bundleKind"], fields["requestId"], fields["sequence"]) == ("result", "7", 3)
    assert (fields["sender"], fields["body"]) == (sender.hex(), {"id": "7"})
    assert len(fields["senderWords"].split()) == 16
    assert json.loads(run("-", stdin=ur.encode_single(data).encode())[1]) == found
    assert json.loads(run("-", stdin=base64.b64encode(data))[1]) == found


def test_a_large_bundle_travels_compressed_and_is_opened(tmp_path: Path) -> None:
    from keyturn.cli.inspect import inspect_bytes

    data, _ = sealed(tmp_path, body=json.dumps({"id": "7", "text": "x" * 5000}).encode())
    assert len(data) < 1000
    assert inspect_bytes(data)["signatureValid"] is True


def test_a_bundle_with_a_broken_seal_is_shown_as_such(tmp_path: Path) -> None:
    from keyturn.cli.inspect import inspect_bytes

    data, _ = sealed(tmp_path)
    broken = inspect_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert (broken["kind"], broken["signatureValid"]) == ("bundle", False)
    assert "body" not in str(broken["fields"])
    assert inspect_bytes(data)["signatureValid"] is True
    for cut in (data[:1], data[:-1], data[: len(data) // 2]):
        with pytest.raises(FormatError):
            inspect_bytes(cut)


ATTRIBUTES: Final[dict[str, Any]] = next(v for v in VECTORS if v["kind"] == "key_attributes_xml")


def attested() -> tuple[dict[str, Any], bytes]:
    """The answer of `POST /v1/key/attributes` of an HSM on paper, and its device certificate (DER)."""
    hsm = PaperHsm()
    xml, signature = hsm.attest(make_policy(quorum(1, Officer("ada"))))
    twin = attestation_to_json(parse_attestation(xml.encode()))
    answer = {
        "xml": xml,
        "xmlSignature": base64.b64encode(signature).decode(),
        "attestationKeyName": "attestation-key",
        "json": json.loads(json.dumps(twin)),
    }
    return answer, hsm.certificate


def test_the_json_of_attested_attributes_is_shown_as_its_xml(tmp_path: Path) -> None:
    from keyturn.approver.first_trust import certificate_pem
    from keyturn.cli.inspect import inspect_bytes

    answer, certificate = attested()
    device = tmp_path / "device.pem"
    device.write_bytes(certificate_pem(certificate))
    plain = inspect_bytes(answer["xml"].encode())
    text = json.dumps(answer, indent=2).encode()
    found = json.loads(run("-", stdin=text)[1])
    envelope = found["fields"].pop("envelope")
    assert found == json.loads(json.dumps(plain))
    assert found["signatureValid"] is None
    assert (envelope["attestationKeyName"], envelope["jsonAgrees"]) == ("attestation-key", True)

    verified = json.loads(run("-", "--device-cert", str(device), stdin=text)[1])
    assert verified["signatureValid"] is True
    changed = answer | {"xml": answer["xml"].replace("treasury", "treasurz", 1)}
    found = json.loads(run("-", "--device-cert", str(device), stdin=json.dumps(changed).encode())[1])
    assert (found["signatureValid"], found["fields"]["envelope"]["jsonAgrees"]) == (False, False)
    # Without a signature there is nothing to verify, and an option that does nothing is refused.
    status, output, error = run("-", "--device-cert", str(device), stdin=answer["xml"].encode())
    assert (status, output) == (1, "")
    assert "inspect.no-attributes" in error


def test_attributes_of_another_product_are_shown_and_their_signature_is_judged() -> None:
    from keyturn.cli.inspect import inspect_bytes

    text = base64.b64decode(ATTRIBUTES["base64"]).decode()
    _, certificate = attested()
    given = {"xml": text, "xmlSignature": "AAAA", "attestationKeyName": "a", "json": {"label": "k"}}
    found = inspect_bytes(json.dumps(given).encode(), device=certificate)
    assert (found["kind"], found["signatureValid"]) == ("key_attributes_xml", False)
    assert inspect_bytes(json.dumps(given).encode())["signatureValid"] is None


@pytest.mark.parametrize("defect", ["{", "{}", '{"xml": 1, "xmlSignature": ""}', "[]"])
def test_json_that_is_no_attested_attributes_is_refused_with_what_is_needed(defect: str) -> None:
    from keyturn.cli.inspect import inspect_bytes

    with pytest.raises(FormatError) as caught:
        inspect_bytes(defect.encode())
    assert caught.value.refusal in {"inspect.unknown", "format.invalid"}
    answer, _ = attested()
    for name, value in (("xmlSignature", "A"), ("xml", "2024-08-14T20:02:58Z")):
        with pytest.raises(FormatError):
            inspect_bytes(json.dumps(answer | {name: value}).encode())
    assert inspect_bytes(json.dumps(answer).encode())["kind"] == "key_attributes_xml"
