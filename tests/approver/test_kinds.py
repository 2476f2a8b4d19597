"""R11: what is shown of decrypt, unwrap, block and unblock, from the bytes to be signed."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from keyturn.cli.officer_view import review_json, show_review
from keyturn.errors import KeyturnError
from keyturn.ska.actions import Action
from keyturn.ska.messages import UnwrapPayload, encode_unwrap_payload
from keyturn.ska.policy import Rule
from keyturn_testing.approval_tasks import WRAPPED_KEY, b64, block_token, honest_task, sign_token, unwrap_token
from keyturn_testing.officers import make_policy, quorum
from keyturn_testing.reviews import (
    ADA,
    BEN,
    CIPHERTEXT,
    DECRYPTS,
    EVERY_KIND,
    HSM,
    POLICY,
    block_task,
    decrypt_task,
    review,
    unblock_task,
    unwrap_task,
)

if TYPE_CHECKING:
    from keyturn.approver.review import Review

BOTH = {"attributes": {**DECRYPTS["attributes"], "sign": True}}


def screen(shown: Review) -> str:
    out = io.StringIO()
    show_review(shown, Console(file=out, width=200, highlight=False, markup=False))
    return " ".join(out.getvalue().replace("│", " ").split())


@pytest.mark.rule("R11")
def test_r11_a_decryption_shows_size_and_digest_and_what_the_answer_tells() -> None:
    shown = review(decrypt_task(initializationVector="AAAA", tagLength=128))
    assert shown.payload is not None
    assert (shown.payload.kind, shown.payload.size) == ("ciphertext", 256)
    assert shown.payload.sha256 == "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"
    assert "Whoever can read the answer will see the plaintext" in shown.payload.note
    assert shown.operation.startswith("decrypt with the key")
    assert shown.warnings == ()
    claims = {claim.name: claim.text for claim in shown.claims}
    assert claims["kind of use"] == "decrypt"
    assert claims["cipher algorithm"] == "RSA_PADDING_OAEP"
    assert (claims["initialization vector"], claims["tag length in bits"]) == ("AAAA", "128")
    assert "Whoever can read the answer will see the plaintext" in screen(shown)


@pytest.mark.rule("R11")
def test_r11_a_key_that_signs_as_well_could_sign_what_the_server_calls_a_ciphertext() -> None:
    task = honest_task(ADA, sign_token(CIPHERTEXT), hsm=HSM, policy=POLICY, attested=BOTH, kind="decrypt")
    shown = review(task)
    assert shown.operation.startswith("use the key")
    assert any("can sign and decrypt, and an approval does not say which" in one for one in shown.warnings)
    only = review(honest_task(ADA, sign_token(CIPHERTEXT), hsm=HSM, policy=POLICY, attested=DECRYPTS, kind="decrypt"))
    assert only.warnings == ()
    unpinned = review(task, pinned=False)
    assert any(one.startswith("The server says, unverified: this key can sign and") for one in unpinned.warnings)
    bare = review(honest_task(ADA, sign_token(CIPHERTEXT), kind="decrypt"))
    assert any("is the server's word alone" in one for one in bare.warnings)


@pytest.mark.rule("R11")
def test_r11_readable_text_that_is_called_a_ciphertext_is_shown_as_what_it_is() -> None:
    token = sign_token(b"Pay 10000 to Eve.")
    shown = review(honest_task(ADA, token, hsm=HSM, policy=POLICY, attested=BOTH, kind="decrypt"))
    assert shown.payload is not None
    assert (shown.payload.kind, shown.payload.shown) == ("text", "Pay 10000 to Eve.")
    assert "it can be read as it stands" in shown.payload.note


@pytest.mark.rule("R11")
@pytest.mark.parametrize(("kind", "attested"), [("sign", DECRYPTS), ("decrypt", {})])
def test_r11_a_key_that_cannot_do_what_the_server_asks_for_is_pointed_out(
    kind: str, attested: dict[str, dict[str, bool]]
) -> None:
    shown = review(honest_task(ADA, sign_token(CIPHERTEXT), hsm=HSM, policy=POLICY, attested=attested, kind=kind))
    assert any(f"this key cannot {kind}" in one for one in shown.warnings)
    assert "(its attributes, attested, allow no other use of these bytes)" in shown.operation


@pytest.mark.rule("R11")
@pytest.mark.rule("R16")
def test_r11_r16_an_unwrap_shows_the_new_keys_name_and_every_flag_in_words() -> None:
    shown = review(unwrap_task())
    assert shown.unwrap is not None
    assert shown.payload is None
    assert (shown.unwrap.label, shown.unwrap.size) == ("branch office", len(WRAPPED_KEY))
    assert shown.unwrap.capabilities == ("sign",)
    assert shown.operation == "unwrap: bring a new key into the HSM"
    lines = "\n".join(shown.meaning)
    for words in (
        "named: branch office",
        "- may sign",
        "- may NOT decrypt",
        "- may NOT encrypt",
        "- may NOT verify signatures",
        "- may NOT wrap other keys",
        "- may NOT unwrap",
        "- may NOT derive",
        "- is never shown in plain text",
        "- never leaves the HSM (not extractable)",
        "- cannot be copied",
        "- cannot be deleted",
        "- its attributes may be changed",
        "- is kept in the HSM's store",
    ):
        assert words in lines
    assert "EXTRACTABLE" not in screen(shown)
    assert any("gets no policy" in one for one in shown.warnings)
    described = review_json(shown)["unwrap"]
    assert described["label"] == "branch office"
    assert described["capabilities"] == ["sign"]


@pytest.mark.rule("R16")
def test_r16_an_extractable_new_key_is_called_so_in_alarm_words() -> None:
    shown = review(unwrap_task(attributes={"extractable": True, "copyable": True}))
    text = screen(shown)
    assert "! EXTRACTABLE: the new key may leave the HSM" in text
    assert "MAY LEAVE THE HSM (extractable)" in text
    assert "! NOT SENSITIVE" in text
    assert "! COPYABLE" in text
    assert not any("EXTRACTABLE" in one or "SENSITIVE" in one for one in review(unwrap_task()).warnings)


def test_flags_without_a_name_are_pointed_out() -> None:
    payload = encode_unwrap_payload(UnwrapPayload(4 | 1 << 20, 1 | 32 | 64 | 512, WRAPPED_KEY, b"new"))
    shown = review(honest_task(ADA, sign_token(payload)) | {"requestBase64": None, "signedSignRequest": None})
    assert any(f"unknown flag {1 << 20}, starts blocked" in one for one in shown.warnings)
    assert f"unknown flag {1 << 20}" in "\n".join(shown.meaning)


@pytest.mark.rule("R8")
def test_r8_an_unwrap_that_the_server_calls_a_signature_is_pointed_out() -> None:
    shown = review(honest_task(ADA, unwrap_token(), hsm=HSM, policy=POLICY))
    assert shown.unwrap is not None
    assert any("calls this sign, but the bytes are an unwrap's" in one for one in shown.warnings)
    assert not any("bytes are an unwrap's" in one for one in review(unwrap_task()).warnings)


@pytest.mark.rule("R11")
def test_r11_a_new_keys_name_cannot_repaint_the_screen() -> None:
    shown = review(honest_task(ADA, unwrap_token(new_label="\x1b[2Jbranch\u202e"), kind="unwrap"))
    assert "<U+001B>[2Jbranch<U+202E>" in "\n".join(shown.meaning)
    assert "\x1b" not in screen(shown)


@pytest.mark.rule("R11")
def test_r11_a_block_says_what_stops_and_who_can_undo_it() -> None:
    policy = make_policy(quorum(2, ADA, BEN), block=quorum(1, ADA, BEN), unblock=quorum(2, ADA, BEN))
    shown = review(honest_task(ADA, HSM.stamp(block_token()), hsm=HSM, policy=policy))
    lines = "\n".join(shown.meaning)
    assert shown.operation == "block the key"
    assert "signs, decrypts and unwraps for nobody" in lines
    assert "To unblock the key:" in lines
    assert "all of these 2 people" in lines
    never = review(honest_task(ADA, block_token(), hsm=HSM, policy=replace(policy, unblock=Rule.NEVER)))
    assert "never possible, nobody can" in "\n".join(never.meaning)


@pytest.mark.rule("R11")
def test_r11_an_unblock_says_what_counts_again_and_whether_the_key_is_blocked_at_all() -> None:
    shown = review(unblock_task())
    assert "Approvals that were given before the block count again" in "\n".join(shown.meaning)
    assert shown.warnings == ()
    free = review(honest_task(ADA, HSM.stamp(block_token(action=Action.UNBLOCK)), hsm=HSM, policy=POLICY))
    assert any("was not blocked" in one for one in free.warnings)
    assert review(block_task()).warnings == ()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_is_shown_on_a_screen_and_as_json(kind: str) -> None:
    shown = review(EVERY_KIND[kind]())
    described = review_json(shown)
    assert described["kind"] == kind
    assert described["counts"][0]["listsYou"] is True
    assert (
        "Counts opens 2023-11-14T22:13:20Z (1 minute ago), never closes by the policy of 2023-11-14T22:13:20Z"
        in screen(shown)
    )


@pytest.mark.rule("R11")
def test_r11_members_of_a_request_that_nobody_knows_are_shown_as_claims() -> None:
    shown = review(EVERY_KIND["sign"](context="AAAA", keyPassword=["s", "3"], auxiliary={"a": 1}))
    claims = {claim.name: claim.text for claim in shown.claims}
    assert claims["member `context` of the request"] == "AAAA"
    assert claims["member `auxiliary` of the request"] == '{"a": 1}'
    assert not any("assword" in name for name in claims)


@pytest.mark.rule("R11")
@pytest.mark.parametrize("depth", [50, 400, 900, 5_000, 90_000])
def test_r11_a_member_that_is_nested_deep_is_shown_or_refused(depth: int) -> None:
    task = EVERY_KIND["block"](metaData=None)
    deep = '{"blockRequest": {"blockKeyName": "treasury", "x": ' + "[" * depth + "]" * depth + "}}"
    try:
        shown = review(task | {"requestBase64": b64(deep.encode())})
    except KeyturnError as error:
        assert error.refusal == "review.request"  # noqa: PT017 - Either outcome is right; which, depends on the stack.
        assert depth > 50
    else:
        assert any(claim.name == "member `x` of the request" for claim in shown.claims)
