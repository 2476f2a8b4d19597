"""The HSM's own keys: made once, bound to one purpose each, out of reach of labels (rule R5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from msgspec.structs import replace

from keyturn.errors import KeyturnError
from keyturn.hsm import system_keys
from keyturn.hsm.system_keys import DEFAULT_INTEGRITY_NAME, SystemKeys
from keyturn.hsm.system_signers import MAX_ATTESTATION
from keyturn.ska.actions import Action
from keyturn.ska.messages import ApprovalToken, Timestamp, encode_approval, encode_timestamp
from keyturn.ska.receipt import bytes_to_sign, encode_receipt, verify_receipt
from keyturn_testing.hsm_store import add_key, create_store, open_store
from keyturn_testing.receipts import example_receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keyturn.hsm.store import Store

NOW = 1_700_000_000
XML = '<?xml version="1.0" encoding="UTF-8"?>\n<private_key creation="generated">\n</private_key>\n\n'

pytestmark = pytest.mark.rule("R5")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, SystemKeys]]:
    """System keys that no test changes: an RSA key costs half a second."""
    store = create_store(tmp_path_factory.mktemp("system-keys") / "store")
    yield store, SystemKeys.open(store, now=NOW)
    store.close()


@pytest.fixture
def keys(made: tuple[Store, SystemKeys]) -> SystemKeys:
    return made[1]


def stamp(key_name: str = DEFAULT_INTEGRITY_NAME) -> bytes:
    return encode_timestamp(Timestamp(NOW, key_name, b"payload"))


def test_r5_first_start_makes_them_and_the_next_finds_them(directory: Path, store: Store) -> None:
    keys = SystemKeys.open(store, now=NOW)
    assert not store.pending
    store.close()
    again = open_store(directory)
    found = SystemKeys.open(again, now=NOW + 10)
    assert (found.integrity.name, found.integrity.spki) == (keys.integrity.name, keys.integrity.spki)
    assert found.device_chain == keys.device_chain
    assert found.integrity_keys() == keys.integrity_keys()
    signature = found.integrity.sign_timestamp(stamp())
    public = load_der_public_key(keys.integrity.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, stamp(), ec.ECDSA(hashes.SHA256()))
    again.close()


def test_r5_the_device_certificate_names_the_instance(made: tuple[Store, SystemKeys]) -> None:
    store, keys = made
    (pem,) = keys.device_chain
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert store.instance_id in certificate.subject.rfc4514_string()
    assert certificate.subject == certificate.issuer
    assert certificate.not_valid_before_utc.timestamp() == NOW
    assert certificate.not_valid_after_utc.year == 9999
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    assert public.key_size == 3072
    public.verify(certificate.signature, certificate.tbs_certificate_bytes, padding.PKCS1v15(), hashes.SHA256())
    public.verify(keys.attestation.sign_xml(XML), XML.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_r5_the_integrity_key_signs_timestamps_and_nothing_else(keys: SystemKeys) -> None:
    approval = encode_approval(ApprovalToken(Action.USE, b"treasury", payload=b"payload"))
    for wrong in (b"", b"anything", stamp()[:-1], stamp() + b"\x00", approval, XML.encode()):
        with pytest.raises(KeyturnError) as refused:
            keys.integrity.sign_timestamp(wrong)
        assert refused.value.refusal == "system-key.wrong-purpose"
    keys.integrity.sign_timestamp(stamp())


def test_r5_the_integrity_key_signs_only_what_names_it(keys: SystemKeys) -> None:
    with pytest.raises(KeyturnError) as refused:
        keys.integrity.sign_timestamp(stamp("timestamp-kez"))
    assert refused.value.refusal == "system-key.wrong-purpose"
    keys.integrity.sign_timestamp(stamp("timestamp-key"))


@pytest.mark.parametrize(
    "text",
    ["", "hello", XML[1:], " " + XML, XML.replace("private_key", "private_kez"), XML + "x" * MAX_ATTESTATION],
    ids=["empty", "words", "cut", "space-before", "another-root", "too-long"],
)
def test_r5_the_attestation_key_signs_attestations_and_nothing_else(keys: SystemKeys, text: str) -> None:
    with pytest.raises(KeyturnError) as refused:
        keys.attestation.sign_xml(text)
    assert refused.value.refusal == "system-key.wrong-purpose"
    keys.attestation.sign_xml(XML)


def test_r5_the_receipt_key_signs_receipts_and_nothing_else(keys: SystemKeys) -> None:
    receipt = encode_receipt(example_receipt())
    for wrong in (b"", b"anything", receipt[:-1], receipt + b"\x00", bytes_to_sign(receipt), stamp(), XML.encode()):
        with pytest.raises(KeyturnError) as refused:
            keys.receipt.sign_receipt(wrong)
        assert refused.value.refusal == "system-key.wrong-purpose"
    signature = keys.receipt.sign_receipt(receipt)
    assert verify_receipt(receipt, signature, receipt_key_spki=keys.receipt.spki) == example_receipt()
    # What it signed is no signature over the bare receipt, nor the integrity key's.
    for spki, wrong_signature in ((keys.integrity.spki, signature), (keys.receipt.spki, signature[:-1] + b"\x00")):
        with pytest.raises(KeyturnError) as refused:
            verify_receipt(receipt, wrong_signature, receipt_key_spki=spki)
        assert refused.value.refusal == "receipt.bad-signature"


def test_r5_a_new_name_makes_a_new_receipt_key(directory: Path, store: Store) -> None:
    first = SystemKeys.open(store, now=NOW).receipt
    second = SystemKeys.open(store, now=NOW + 100, receipt_name="receipt-key-2026").receipt
    assert second.spki != first.spki
    with pytest.raises(KeyturnError) as refused:
        SystemKeys.open(store, now=NOW + 200)
    assert refused.value.refusal == "system-key.retired"
    assert SystemKeys.open(store, now=NOW + 200, receipt_name="receipt-key-2026").receipt.spki == second.spki


def test_r5_a_store_from_before_there_were_receipts_gets_its_receipt_key(store: Store) -> None:
    """With a clock that is not believed, too: nothing is retired by it."""
    with store.change() as change:
        for purpose, name in ((system_keys.ATTESTATION, "attestation-key"), (system_keys.INTEGRITY, "timestamp-key")):
            change.put_system_key(*system_keys._make(purpose, name, store.instance_id, NOW))
    before = [one.public_key for one in store.system_keys()]
    keys = SystemKeys.open(store, now=NOW, clock_is_good=False)
    assert [one.public_key for one in store.system_keys()][:2] == before
    assert keys.receipt.spki not in before


def test_r5_a_name_that_a_key_bears_is_found_taken_before_a_system_key_is_made(store: Store) -> None:
    add_key(store, "receipt-key")
    with pytest.raises(KeyturnError, match="another name") as refused:
        SystemKeys.open(store, now=NOW)
    assert refused.value.refusal == "system-key.name-taken"
    assert list(store.system_keys()) == []
    SystemKeys.open(store, now=NOW, receipt_name="another-name")


def test_r5_no_label_reaches_them(made: tuple[Store, SystemKeys]) -> None:
    store, keys = made
    assert keys.names == {"attestation-key", "timestamp-key", "receipt-key", "transport-key", "rfc-timestamp-key"}
    for name in keys.names:
        assert store.key(name) is None
        assert name not in store.labels()
    # A record of the one class is no record of the other, whatever is written into it.
    key = add_key(store, "ordinary")
    theirs = next(one for one in store.system_keys() if one.purpose == "integrity")
    with pytest.raises(KeyturnError) as refused:
        store.open_private_key(replace(key, private_key=theirs.private_key))
    assert refused.value.refusal == "store.seal-broken"
    with pytest.raises(KeyturnError):
        store.open_system_key(replace(theirs, private_key=key.private_key))
    store.open_private_key(key)


def test_r5_nothing_secret_shows(keys: SystemKeys) -> None:
    assert repr(keys.integrity) == "<IntegritySigner timestamp-key>"
    assert repr(keys.receipt) == "<ReceiptSigner receipt-key>"
    assert repr(keys.attestation) == "<AttestationSigner attestation-key>"


def test_r5_a_new_name_makes_a_new_integrity_key_and_retires_the_old(directory: Path, store: Store) -> None:
    first = SystemKeys.open(store, now=NOW).integrity
    second = SystemKeys.open(store, now=NOW + 100, integrity_name="timestamp-key-2026")
    assert second.integrity.spki != first.spki
    assert [(one.name, one.retired_at) for one in second.integrity_keys()] == [
        ("timestamp-key", NOW + 100),
        ("timestamp-key-2026", None),
    ]
    store.close()
    again = open_store(directory)
    with pytest.raises(KeyturnError, match="for good") as refused:
        SystemKeys.open(again, now=NOW + 200)
    assert refused.value.refusal == "system-key.retired"
    found = SystemKeys.open(again, now=NOW + 200, integrity_name="timestamp-key-2026")
    assert found.integrity_keys() == second.integrity_keys()
    others = {"attestation-key", "receipt-key", "transport-key", "rfc-timestamp-key"}
    assert found.names == {"timestamp-key", "timestamp-key-2026"} | others
    again.close()


def test_r5_no_integrity_key_is_retired_by_a_clock_that_is_not_believed(store: Store) -> None:
    """Retired in the far future, the key that was to be withdrawn would have been good until then, for good."""
    SystemKeys.open(store, now=NOW)
    with pytest.raises(KeyturnError) as refused:
        SystemKeys.open(store, now=2 * NOW, clock_is_good=False, integrity_name="timestamp-key-2026")
    assert refused.value.refusal == "system-key.clock"
    # With the name so far it starts, so that the clock can be confirmed; and then the name may change.
    keys = SystemKeys.open(store, now=2 * NOW, clock_is_good=False)
    assert [one.retired_at for one in keys.integrity_keys()] == [None]
    keys = SystemKeys.open(store, now=NOW + 100, integrity_name="timestamp-key-2026")
    assert [one.retired_at for one in keys.integrity_keys()] == [NOW + 100, None]


def test_r5_names_of_system_keys_do_not_collide(store: Store) -> None:
    with pytest.raises(KeyturnError) as refused:
        SystemKeys.open(store, now=NOW, attestation_name="one", integrity_name="one")
    assert refused.value.refusal == "system-key.name-taken"
    for bad in ("", "x" * 129, "a\nb"):
        with pytest.raises(KeyturnError) as refused:
            SystemKeys.open(store, now=NOW, integrity_name=bad)
        assert refused.value.refusal == "system-key.bad-name"
    assert list(store.system_keys()) == []
    SystemKeys.open(store, now=NOW)
    with pytest.raises(KeyturnError) as refused:
        SystemKeys.open(store, now=NOW, integrity_name="attestation-key", attestation_name="timestamp-key")
    assert refused.value.refusal == "system-key.name-taken"


def test_r5_the_attestation_key_is_not_renamed_in_passing(store: Store) -> None:
    SystemKeys.open(store, now=NOW)
    with pytest.raises(KeyturnError, match="pinned") as refused:
        SystemKeys.open(store, now=NOW, attestation_name="another")
    assert refused.value.refusal == "system-key.attestation-fixed"
    SystemKeys.open(store, now=NOW)


def test_r5_a_system_key_changes_in_nothing_but_its_retirement(store: Store) -> None:
    SystemKeys.open(store, now=NOW)
    record = next(one for one in store.system_keys() if one.purpose == "integrity")
    for wrong in (
        replace(record, public_key=b"x"),
        replace(record, purpose="attestation"),
        replace(record, name="new"),
    ):
        with pytest.raises(KeyturnError) as refused, store.change() as change:
            change.put_system_key(wrong)
        assert refused.value.refusal == "store.identity-changed"
    with pytest.raises(KeyturnError), store.change() as change:
        change.put_system_key(record, b"another private half")
    with store.change() as change:
        change.put_system_key(replace(record, retired_at=NOW))
