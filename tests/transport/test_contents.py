"""What is in a bundle, decoded for people: everything that disagrees is said, nothing stumbles."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError, KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.approver_keys import load_approver_key
from keyturn.ska.messages import ApprovalToken, Timestamp, encode_approval, encode_timestamp
from keyturn.ska.policy import encode_policy
from keyturn.ska.policy_json import policy_to_json
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn.ska.words import APPROVAL_DOMAIN, checksum_words
from keyturn.transport.bundle import Bundle
from keyturn.transport.contents import RequestContents, ResultContents, read_contents, strict_json
from keyturn_testing.bls_officer import BlsOfficer
from keyturn_testing.carriers import ALICE, REQUEST_ID
from keyturn_testing.officers import Officer, make_policy, quorum

if TYPE_CHECKING:
    from keyturn.transport.approval_views import ApprovalView

GOLDEN = Path(__file__).parent / "golden"
ADA, BEN = Officer("ada", "P-256"), Officer("ben", "ED")
POLICY = make_policy(use=quorum(2, ADA, BEN))


def carried(body: Any, kind: str = "request") -> Bundle:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    request_id = None if kind == "key" else REQUEST_ID
    return Bundle(kind=kind, request_id=request_id, sender=ALICE.public, recipient=None, sequence=1, body=text)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sign_request(*approvals: bytes | str, **changes: Any) -> dict[str, Any]:
    inner: dict[str, Any] = {
        "signKeyName": "treasury",
        "payload": b64(b"pay 5"),
        "signatureAlgorithm": "SHA256_WITH_ECDSA",
        "signedApprovals": [item if isinstance(item, str) else b64(item) for item in approvals],
    }
    return {"signRequest": inner | changes}


def approval(officer: Officer = ADA, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"action": Action.USE, "label": b"treasury", "payload": b"pay 5"}
    token = ApprovalToken(**{"timestamp": None, "timestamp_signature": None} | fields | changes)
    return officer.approve(token)


def unwrap_request(*approvals: bytes, **changes: Any) -> dict[str, Any]:
    inner: dict[str, Any] = {
        "unwrapKeyName": "treasury",
        "wrappedKey": b64(b"wrapped"),
        "label": "new",
        "attributes": {"sign": True, "decrypt": False, "unwrap": False, "derive": None},
        "wrapMethod": "AES_WRAP_EC",
        "signedApprovals": [b64(item) for item in approvals],
    }
    return {"unwrapKeyRequest": inner | changes}


def views(body: Any) -> tuple[ApprovalView, ...]:
    read = read_contents(carried(body))
    assert isinstance(read, RequestContents)
    return read.approvals


def test_the_golden_request_is_readable() -> None:
    read = read_contents(carried((GOLDEN / "request-v1.json").read_bytes()))
    assert isinstance(read, RequestContents)
    assert (read.key_label, read.payload, read.algorithm) == ("MSI-StandaloneKey", b"harro", "SHA256_WITH_RSA")
    (view,) = read.approvals
    assert view.problems == ()
    assert len(view.words) == 8
    assert len(view.signer) == 64


def test_a_good_approval_has_no_problems_and_the_words_of_the_officers_client() -> None:
    (view,) = views(sign_request(approval()))
    assert view.problems == ()
    assert view.signer == load_approver_key(ADA.spki).fingerprint
    assert view.token is not None
    assert view.words == checksum_words(encode_approval(view.token), domain=APPROVAL_DOMAIN)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"label": b"other"}, "another key"),
        ({"label": b""}, "names no key"),
        ({"payload": b"pay 6"}, "another payload"),
        ({"action": Action.BLOCK, "payload": None}, "another operation"),
    ],
)
def test_an_approval_that_disagrees_is_marked(changed: dict[str, Any], word: str) -> None:
    good, bad = views(sign_request(approval(), approval(**changed)))
    assert good.problems == ()
    assert any(word in problem for problem in bad.problems)


def test_an_approval_with_a_broken_signature_is_marked() -> None:
    data = bytearray(approval())
    at = bytes(data).index(b"pay 5")
    data[at + 4] ^= 1
    good, bad = views(sign_request(approval(), bytes(data)))
    assert good.problems == ()
    assert any("not valid" in problem for problem in bad.problems)


@pytest.mark.parametrize("item", ["", "!!", "AAAA", b64(b"REJECTED:" + bytes(40))])
def test_what_is_no_approval_is_marked_and_spoils_no_other(item: str) -> None:
    good, bad = views(sign_request(approval(), item))
    assert good.problems == ()
    assert bad.token is None
    assert bad.problems


@pytest.mark.parametrize("officer", [Officer("grace", "DSA"), BlsOfficer("heidi")], ids=["DSA", "BLS"])
def test_approvals_with_rarer_keys_are_verified_too(officer: Officer) -> None:
    token = ApprovalToken(Action.USE, b"treasury", None, None, b"pay 5")
    signature = officer.sign(encode_approval(token))
    wrong = officer.approve(token, signature=signature[:-1] + bytes([signature[-1] ^ 1]))
    good, bad = views(sign_request(officer.approve(token), wrong))
    assert (good.problems, good.signer) == ((), load_approver_key(officer.spki).fingerprint)
    assert any("not valid" in problem for problem in bad.problems)


def test_a_certificate_shows_its_name() -> None:
    token = ApprovalToken(Action.USE, b"treasury", None, None, b"pay 5")
    (view,) = views(sign_request(ADA.approve(token, certificate=True)))
    assert view.problems == ()
    assert view.signer_name == "ada"


def test_a_modification_shows_the_policy_and_marks_approvals_for_another() -> None:
    other = make_policy(use=quorum(1, ADA))
    good = approval(action=Action.MODIFY, payload=encode_policy(POLICY))
    bad = approval(action=Action.MODIFY, payload=encode_policy(other))
    inner = {
        "modifyKeyName": "treasury",
        "policy": policy_to_json(POLICY, blocked=None),
        "signedApprovals": [b64(good), b64(bad)],
    }
    read = read_contents(carried({"modifyRequest": inner}))
    assert isinstance(read, RequestContents)
    assert read.policy == POLICY
    assert read.payload is None
    assert [view.problems for view in read.approvals] == [(), ("It is for another policy.",)]


@pytest.mark.parametrize("action", [Action.BLOCK, Action.UNBLOCK])
def test_blocking_and_unblocking_have_no_payload(action: Action) -> None:
    word = action.name.lower()
    good = approval(action=action, payload=None)
    other = Action.UNBLOCK if action is Action.BLOCK else Action.BLOCK
    bad = approval(action=other, payload=None)
    inner = {f"{word}KeyName": "treasury", "signedApprovals": [b64(good), b64(bad)]}
    read = read_contents(carried({f"{word}Request": inner}))
    assert isinstance(read, RequestContents)
    assert (read.action, read.payload, read.policy) == (action, None, None)
    assert [view.problems == () for view in read.approvals] == [True, False]


def test_a_decryption_shows_its_ciphertext_and_everything_else_the_server_gets() -> None:
    inner = {
        "decryptKeyName": "treasury",
        "encryptedPayload": b64(b"pay 5"),
        "cipherAlgorithm": "RSA_PADDING_OAEP_WITH_SHA256",
        "additionalAuthenticationData": b64(b"aad"),
        "tagLength": 0,
        "signedApprovals": [b64(approval())],
    }
    read = read_contents(carried({"decryptRequest": inner}))
    assert isinstance(read, RequestContents)
    assert (read.payload, read.algorithm) == (b"pay 5", "RSA_PADDING_OAEP_WITH_SHA256")
    assert read.approvals[0].problems == ()
    assert dict(read.others) == {"additionalAuthenticationData": b64(b"aad"), "tagLength": "0"}


def test_an_unwrap_is_held_against_what_its_approvals_say_of_the_new_key() -> None:
    wanted = unwrap_payload_for({"sign": True, "decrypt": False, "unwrap": False}, b"wrapped", "new")
    other = unwrap_payload_for(
        {"sign": True, "decrypt": False, "unwrap": False, "extractable": True}, b"wrapped", "new"
    )
    read = read_contents(carried(unwrap_request(approval(payload=wanted), approval(payload=other))))
    assert isinstance(read, RequestContents)
    assert (read.payload, read.algorithm) == (b"wrapped", "AES_WRAP_EC")
    assert [view.problems for view in read.approvals] == [(), ("It is for another payload.",)]
    assert set(dict(read.others)) == {"label", "attributes"}
    with_policy = read_contents(carried(unwrap_request(policy=policy_to_json(POLICY, blocked=None))))
    assert isinstance(with_policy, RequestContents)
    assert with_policy.policy == POLICY


def test_a_request_for_the_time_says_what_the_time_is_for() -> None:
    use = {"keyName": "treasury", "operation": "use", "payload": b64(b"pay 5")}
    modify = {"keyName": "treasury", "operation": "modify", "policy": policy_to_json(POLICY, blocked=None)}
    unblock = {"keyName": "treasury", "operation": "unblock"}
    for inner, action, payload, policy in (
        (use, Action.USE, b"pay 5", None),
        (modify, Action.MODIFY, None, POLICY),
        (unblock, Action.UNBLOCK, None, None),
    ):
        read = read_contents(carried({"timestampRequest": inner}))
        assert isinstance(read, RequestContents)
        assert read.asks_for_time
        assert (read.action, read.payload, read.policy) == (action, payload, policy)
        assert read.others == (("operation", action.name.lower()),)


def test_a_result_may_be_the_time_or_a_refusal_and_carry_a_receipt() -> None:
    receipt = {"receipt": b64(b"r"), "receiptSignature": b64(b"s")}
    stamp = Timestamp(1_700_000_000, "integrity", b"pay 5")
    answer = {
        "timestamp": b64(encode_timestamp(stamp)),
        "timestampSignature": b64(b"s"),
        "timestampSignatureAlgorithm": "SHA256_WITH_ECDSA",
        "timestampKeyName": "integrity",
    }
    read = read_contents(carried({"id": REQUEST_ID, "timestampAnswer": answer}, "result"))
    assert isinstance(read, ResultContents)
    assert (read.stamp, read.has_receipt) == (stamp, False)
    refused = {"errorCode": 701, "reason": "res.error.in.hsm", "message": "too late", "refusal": "approvals.too-late"}
    read = read_contents(carried({"id": REQUEST_ID, "refused": refused, **receipt}, "result"))
    assert isinstance(read, ResultContents)
    assert read.refused is not None
    assert (read.refused.number, read.refused.word, read.has_receipt) == (701, "approvals.too-late", True)


def test_a_hexadecimal_payload_is_shown_as_its_bytes() -> None:
    read = read_contents(carried(sign_request(payload="70617920 35".replace(" ", ""), payloadType="HEX")))
    assert isinstance(read, RequestContents)
    assert read.payload == b"pay 5"
    with pytest.raises(FormatError):
        read_contents(carried(sign_request(payload="xyz", payloadType="HEX")))


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", "contents.json"),
        (b"\xff", "contents.json"),
        (b"[]", "contents.json"),
        (b"{" * 20000, "contents.json"),
        (b"[" * 200000, "contents.json"),
        (b'{"signRequest":{},"signRequest":{}}', "contents.json"),
        (b'{"signRequest":NaN}', "contents.json"),
        ({}, "contents.unknown"),
        ({"deriveRequest": {}}, "contents.unknown"),
        ({"timestampRequest": {"keyName": "treasury", "operation": "sign", "payload": "AQ=="}}, "contents.unknown"),
        ({"timestampRequest": {"keyName": "treasury", "operation": "use"}}, "contents.json"),
        (unwrap_request(attributes={"sign": "yes"}), "contents.json"),
        (unwrap_request(label=None), "contents.json"),
        ({**sign_request(), "modifyRequest": {}}, "contents.unknown"),
        ({"signRequest": []}, "contents.json"),
        ({"signRequest": {}}, "contents.json"),
        (sign_request(signKeyName=7), "contents.json"),
        (sign_request(payload="no base64"), "contents.json"),
        (sign_request(payload=None), "contents.json"),
        (sign_request(signedApprovals="x"), "contents.json"),
        (sign_request(signedApprovals=["x"] * 1025), "contents.json"),
    ],
    ids=range(21),
)
def test_a_request_that_cannot_be_read_is_refused(body: Any, refusal: str) -> None:
    assert isinstance(read_contents(carried(sign_request())), RequestContents)
    with pytest.raises(FormatError) as refused:
        read_contents(carried(body))
    assert refused.value.refusal == refusal


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"id": "another", "result": "AQ=="}, "contents.mismatch"),
        ({"id": REQUEST_ID}, "contents.unknown"),
        ({"id": REQUEST_ID, "result": "AQ==", "more": 1}, "contents.unknown"),
        ({"id": REQUEST_ID, "result": "AQ==", "refused": {"errorCode": 701, "message": "no"}}, "contents.unknown"),
        ({"id": REQUEST_ID, "refused": {"errorCode": 701}}, "contents.json"),
        ({"id": REQUEST_ID, "refused": {"errorCode": True, "message": "no"}}, "contents.json"),
        ({"id": REQUEST_ID, "result": "AQ==", "receipt": "AQ=="}, "contents.json"),
        ({"id": REQUEST_ID, "result": "AQ==", "receipt": "AQ==", "receiptSignature": 7}, "contents.json"),
        ({"id": REQUEST_ID, "timestampAnswer": {"timestamp": "AQ=="}}, "contents.json"),
        ({"id": REQUEST_ID, "keyAttributes": []}, "contents.json"),
        ({"id": REQUEST_ID, "keyAttributes": {}}, "contents.json"),
        ({"id": REQUEST_ID, "result": 7}, "contents.json"),
        ({"result": "AQ=="}, "contents.json"),
    ],
    ids=range(13),
)
def test_a_result_that_cannot_be_read_is_refused(body: Any, refusal: str) -> None:
    good = read_contents(carried({"id": REQUEST_ID, "result": "AQ=="}, "result"))
    assert isinstance(good, ResultContents)
    assert good.result == b"\x01"
    with pytest.raises(FormatError) as refused:
        read_contents(carried(body, "result"))
    assert refused.value.refusal == refusal


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(b64(approval())),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "result", "xml", "policy", "payload", "signKeyName", "ruleUse"]), inner
        )
    ),
    max_leaves=8,
)


@given(
    body=st.binary(max_size=100)
    | st.builds(
        lambda name, inner: json.dumps({name: inner}).encode(),
        st.sampled_from(["signRequest", "modifyRequest", "id", "xml"]),
        JSON,
    )
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps(sign_request(signedApprovals=[value])).encode()),
    kind=st.sampled_from(["request", "result", "key"]),
)
def test_arbitrary_bodies_raise_only_our_errors(body: bytes, kind: str) -> None:
    try:
        read_contents(carried(body, kind))
    except KeyturnError:
        return


def test_strict_json_keeps_what_it_reads() -> None:
    assert strict_json('{"a":["ä",1,null]}'.encode()) == {"a": ["ä", 1, None]}


@pytest.mark.parametrize("odd", ['"\\ud800"', "1e999", "-1e999"])
def test_contents_that_cannot_be_written_again_as_they_were_read_are_refused(odd: str) -> None:
    """What is shown is read from the body, what is executed is written again: `1e999` would have become null."""
    text = json.dumps(sign_request(metaData="ODD"))
    assert isinstance(read_contents(carried(text.encode())), RequestContents)
    with pytest.raises(FormatError) as refused:
        read_contents(carried(text.replace('"ODD"', odd).encode()))
    assert refused.value.refusal == "contents.json"


def test_every_member_that_goes_to_the_server_is_in_the_view() -> None:
    read = read_contents(carried(sign_request(signatureType="RAW", payloadType="UNSPECIFIED", metaData=None)))
    assert isinstance(read, RequestContents)
    assert dict(read.others) == {"signatureType": "RAW", "payloadType": "UNSPECIFIED"}
    plain = read_contents(carried(sign_request()))
    assert isinstance(plain, RequestContents)
    assert plain.others == ()
    change = {"modifyKeyName": "treasury", "policy": policy_to_json(POLICY, blocked=None), "payload": "?"}
    modified = read_contents(carried({"modifyRequest": change}))
    assert isinstance(modified, RequestContents)
    assert modified.others == (("payload", "?"),)
