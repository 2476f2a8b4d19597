"""The self test at start: whatever the library computes wrongly keeps the HSM from starting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyturn.clock import SystemClock
from keyturn.crypto.keys import CURVES
from keyturn.errors import ErrorCode, KeyturnError
from keyturn.hsm import self_test
from keyturn.hsm.self_test import run_self_test
from keyturn.hsm.service import HsmService
from keyturn.hsm.settings import HsmSettings
from keyturn.hsm.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KNOWN_SIGNATURES = {
    "RSA": "SHA256_WITH_RSA",
    "P-256": "SHA256_WITH_ECDSA_DETERMINISTIC",
    "Ed25519": "EDDSA",
    "HMAC": "HMAC_SHA256",
}
CURVE_NAMES = [curve.name for curve in CURVES.values()]
CIPHERS = ["AES_ECB", "AES_GCM", "CAMELLIA_ECB", "TDEA_ECB", "CHACHA20", "CHACHA20_AEAD"]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, algorithm: str, wrong: Callable[..., Any] | None = None) -> None:
    """Let one function of the library flip a bit, or do what is `wrong`, for one algorithm; all others work."""
    right = getattr(self_test, name)

    def spoiled(key: Any, asked: str, *rest: Any, **options: Any) -> Any:
        if asked != algorithm:
            return right(key, asked, *rest, **options)
        return flipped(right(key, asked, *rest, **options)) if wrong is None else wrong()

    monkeypatch.setattr(self_test, name, spoiled)


def failed() -> str:
    with pytest.raises(KeyturnError) as caught:
        run_self_test()
    assert (caught.value.code, caught.value.refusal) == (ErrorCode.HSM_FAILURE, "self-test.failed")
    return caught.value.message.removeprefix("the self test of ").partition(" failed")[0]


def test_a_library_that_computes_what_it_should_passes() -> None:
    run_self_test()
    families = [family for family, _ in self_test._checks()]
    assert families == ["RSA", "P-256", "Ed25519", *CURVE_NAMES, "DSA", "HMAC", *CIPHERS]


@pytest.mark.parametrize("family", KNOWN_SIGNATURES)
def test_a_signature_or_mac_that_differs_in_one_bit_is_found(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    spoil(monkeypatch, "sign", KNOWN_SIGNATURES[family])
    assert failed() == family


def test_curves_that_sign_wrongly_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "sign", "SHA256_WITH_ECDSA")
    assert failed() == CURVE_NAMES[0]


@pytest.mark.parametrize(
    ("algorithm", "family"), [("SHA256_WITH_RSA", "RSA"), ("EDDSA", "Ed25519"), ("SHA256_WITH_DSA", "DSA")]
)
def test_a_verification_that_lets_everything_pass_or_nothing_is_found(
    monkeypatch: pytest.MonkeyPatch, algorithm: str, family: str
) -> None:
    def nothing() -> None:
        raise KeyturnError(ErrorCode.INVALID_SIGNATURE, "no signature is valid")

    for wrong in (lambda: None, nothing):
        with monkeypatch.context() as broken:
            spoil(broken, "verify", algorithm, wrong)
            assert failed() == family
    run_self_test()


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_cipher_that_differs_in_one_bit_or_is_missing_is_found(monkeypatch: pytest.MonkeyPatch, cipher: str) -> None:
    def missing() -> None:
        raise NotImplementedError

    for wrong in (None, missing):
        with monkeypatch.context() as broken:
            spoil(broken, "decrypt", cipher, wrong)
            assert failed() == cipher


async def test_an_hsm_with_a_broken_library_does_not_open_its_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hsm_run: Path
) -> None:
    settings = HsmSettings(data_dir=str(tmp_path), admin_socket=f"{hsm_run}/admin.sock", kdf_memory_kib=8192)
    service = HsmService(settings, SystemClock(), [])
    with monkeypatch.context() as broken:
        spoil(broken, "decrypt", "CAMELLIA_ECB")
        with pytest.raises(KeyturnError) as caught:
            service.unseal(b"a passphrase for this", create=True)
    assert caught.value.refusal == "self-test.failed"
    assert (service.sealed, Store.exists(tmp_path)) == (True, False)
    service.unseal(b"a passphrase for this", create=True)
    assert (service.sealed, Store.exists(tmp_path)) == (False, True)
    await service.close()
