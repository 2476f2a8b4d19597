"""Approval keys in files: made, opened, refused; and judged by openssl, which had no part in them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from keyturn.approver.keyfiles import (
    PrivateKey,
    check_passphrase,
    pkcs8_file,
    pkcs12_file,
    read_key_file,
    read_passphrase_file,
    self_signed_certificate,
    write_new_file,
)
from keyturn.approver.keys import KEY_TYPES, ApproverKey, generate_key
from keyturn.approver.pbes2 import ROUNDS
from keyturn.errors import KeyturnError
from keyturn_testing.openssl import dgst_accepts, pkeyutl_accepts

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE = b"four words drawn at random"
FEW_ROUNDS = 1000
"""What the tests use where the number of rounds is not the point."""
FAST_TYPES = [name for name in KEY_TYPES if name != "rsa-4096"]


def refusal(error: pytest.ExceptionInfo[KeyturnError]) -> str:
    return error.value.refusal


def pkcs12(key: PrivateKey, passphrase: bytes = PASSPHRASE) -> bytes:
    return pkcs12_file(key, self_signed_certificate(key, "Ada", 1_700_000_000, 1), passphrase, rounds=FEW_ROUNDS)


@pytest.mark.parametrize("key_type", FAST_TYPES)
def test_a_key_comes_back_from_both_formats_and_openssl_accepts_what_it_signs(tmp_path: Path, key_type: str) -> None:
    key = generate_key(key_type)
    pem, p12 = tmp_path / "key.pem", tmp_path / "key.p12"
    write_new_file(pem, pkcs8_file(key.private_key, PASSPHRASE, rounds=FEW_ROUNDS))
    write_new_file(p12, pkcs12(key.private_key))

    for path in (pem, p12):
        opened = ApproverKey.load(path, PASSPHRASE)
        assert opened.spki == key.spki
        assert opened.fingerprint == key.fingerprint
        assert opened.words == key.words
        assert (opened.certificate is not None) == (path == p12)
        signature = opened.sign(b"exactly these bytes")
        if key_type == "ed25519":
            assert pkeyutl_accepts(opened.spki, signature, b"exactly these bytes", ["-rawin"])
            assert not pkeyutl_accepts(opened.spki, signature, b"exactly these byteZ", ["-rawin"])
        else:
            digest = opened.digest.replace("-", "").lower()
            assert dgst_accepts(opened.spki, signature, b"exactly these bytes", digest)
            assert not dgst_accepts(opened.spki, signature, b"exactly these byteZ", digest)


def test_the_digest_is_as_strong_as_the_key() -> None:
    digests = {name: generate_key(name).digest for name in FAST_TYPES}
    assert digests == {
        "rsa-3072": "SHA-256",
        "ec-p256": "SHA-256",
        "ec-p384": "SHA-384",
        "ec-p521": "SHA-512",
        "secp256k1": "SHA-256",
        "ed25519": "EdDSA",
    }


def test_openssl_opens_our_pkcs8_and_sees_the_number_of_rounds(tmp_path: Path) -> None:
    key = generate_key("ec-p256")
    path = tmp_path / "key.pem"
    write_new_file(path, pkcs8_file(key.private_key, PASSPHRASE))
    public = subprocess.run(
        ["openssl", "pkey", "-in", str(path), "-passin", f"pass:{PASSPHRASE.decode()}", "-pubout", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    assert public == key.spki
    parsed = subprocess.run(["openssl", "asn1parse", "-in", str(path)], capture_output=True, text=True, check=True)
    assert f"{ROUNDS:06X}" in parsed.stdout


def test_we_open_what_openssl_and_the_library_encrypt(tmp_path: Path) -> None:
    key = generate_key("ec-p384")
    library = tmp_path / "library.pem"
    library.write_bytes(
        key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE))
    )
    der = tmp_path / "library.der"
    der.write_bytes(
        key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE))
    )
    for path in (library, der):
        assert ApproverKey.load(path, PASSPHRASE).spki == key.spki


def test_a_dsa_key_of_before_is_read_and_signs(tmp_path: Path) -> None:
    path = tmp_path / "old.pem"
    path.write_bytes(pkcs8_file(dsa.generate_private_key(2048), PASSPHRASE, rounds=FEW_ROUNDS))
    key = ApproverKey.load(path, PASSPHRASE)
    assert dgst_accepts(key.spki, key.sign(b"approve"), b"approve", "sha256")
    assert not dgst_accepts(key.spki, key.sign(b"approve"), b"approvf", "sha256")


@pytest.mark.parametrize("suffix", ["pem", "p12", "der"])
def test_a_wrong_passphrase_is_refused_and_the_right_one_opens(tmp_path: Path, suffix: str) -> None:
    key = generate_key("ec-p256")
    path = tmp_path / f"key.{suffix}"
    content = {
        "pem": pkcs8_file(key.private_key, PASSPHRASE, rounds=FEW_ROUNDS),
        "p12": pkcs12(key.private_key),
        "der": key.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE)),
    }[suffix]
    path.write_bytes(content)
    # The last ones no PKCS#12 file can have: the library would end the process, and print them.
    for wrong in (b"four words drawn at randoM", b"", b"x", b"x\x00" + PASSPHRASE, b"\xff"):
        with pytest.raises(KeyturnError) as error:
            read_key_file(path, wrong)
        assert refusal(error) == "approver-key.wrong-passphrase"
        assert PASSPHRASE.decode() not in str(error.value)
    assert ApproverKey.load(path, PASSPHRASE).spki == key.spki


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_an_unencrypted_key_file_is_refused_and_the_same_key_encrypted_opens(
    tmp_path: Path, encoding: Encoding
) -> None:
    key = generate_key("ec-p256").private_key
    path = tmp_path / "key"
    path.write_bytes(key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyturnError) as error:
        read_key_file(path, PASSPHRASE)
    assert refusal(error) == "approver-key.unencrypted"
    path.write_bytes(pkcs8_file(key, PASSPHRASE, rounds=FEW_ROUNDS))
    assert ApproverKey.load(path, PASSPHRASE).fingerprint


def test_files_that_are_no_key_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(KeyturnError) as error:
        read_key_file(path, PASSPHRASE)
    assert refusal(error) == "approver-key.unreadable"
    for content in (b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", b"\0" * (1 << 20) + b"\0"):
        path.write_bytes(content)
        with pytest.raises(KeyturnError) as error:
            read_key_file(path, PASSPHRASE)
        assert refusal(error) == "approver-key.unreadable"
    key = generate_key("ec-p256").private_key
    certificate = self_signed_certificate(key, "Ada", 1_700_000_000, 1)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # Neither is asked for a passphrase that could not fit.
    for content in (b"a note to myself\n", certificate, public, b'{"a": "b"}', b"\x30\x03\x02\x01\x02"):
        path.write_bytes(content)
        with pytest.raises(KeyturnError, match="is no key file") as error:
            read_key_file(path, PASSPHRASE)
        assert refusal(error) == "approver-key.unreadable"
    path.write_bytes(pkcs12(key))
    assert read_key_file(path, PASSPHRASE)[1] is not None
    for content in (b"\x30", b"\x30\x82\xff\xff", os.urandom(64)):
        path.write_bytes(content)
        with pytest.raises(KeyturnError):
            read_key_file(path, PASSPHRASE)


@pytest.mark.rule("R13")
def test_a_key_that_cannot_approve_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    """R13: kinds that do not sign, curves that are not listed, keys that are too short."""
    path = tmp_path / "key"
    for key, word in (
        (x25519.X25519PrivateKey.generate(), "approver-key.type"),
        (ec.generate_private_key(ec.SECP192R1()), "approver.unsupported-key"),
        (rsa.generate_private_key(65537, 1024), "approver.weak-key"),  # noqa: S505 - Weak on purpose.
    ):
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE)))
        with pytest.raises(KeyturnError) as error:
            ApproverKey.load(path, PASSPHRASE)
        assert refusal(error) == word
    path.write_bytes(pkcs8_file(rsa.generate_private_key(65537, 2048), PASSPHRASE, rounds=FEW_ROUNDS))
    assert ApproverKey.load(path, PASSPHRASE).digest == "SHA-256"


def test_a_new_file_is_0600_and_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    write_new_file(path, b"first")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyturnError) as error:
        write_new_file(path, b"second")
    assert refusal(error) == "file.exists"
    assert path.read_bytes() == b"first"

    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(KeyturnError):
        write_new_file(link, b"second")
    assert not (tmp_path / "elsewhere.pem").exists()
    with pytest.raises(KeyturnError) as error:
        write_new_file(tmp_path / "no" / "such" / "folder", b"")
    assert refusal(error) == "file.unwritable"


def test_a_passphrase_that_is_easy_to_guess_is_refused_with_the_reason() -> None:
    with pytest.raises(KeyturnError, match="at least 12") as error:
        check_passphrase(b"elevenchars")
    assert refusal(error) == "passphrase.short"
    with pytest.raises(KeyturnError) as error:
        check_passphrase(b"aaaaaaaabbbbbbbb")
    assert refusal(error) == "passphrase.simple"
    check_passphrase(b"twelve chars")


def test_a_passphrase_file_gives_its_bytes_without_one_line_break(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    for content, expected in ((b"secret\n", b"secret"), (b"secret\r\n", b"secret"), (b" se cret", b" se cret")):
        path.write_bytes(content)
        assert read_passphrase_file(path) == expected
    for content in (b"", b"\n", b"x" * 1025):
        path.write_bytes(content)
        with pytest.raises(KeyturnError) as error:
            read_passphrase_file(path)
        assert refusal(error) == "passphrase.file"
    with pytest.raises(KeyturnError) as error:
        read_passphrase_file(tmp_path / "missing")
    assert refusal(error) == "passphrase.file"


def test_a_key_shows_nothing_of_itself() -> None:
    key = generate_key("ed25519")
    assert key.fingerprint in repr(key)
    assert "private" not in repr(key).lower()


def test_an_unknown_kind_of_key_is_refused_by_name() -> None:
    with pytest.raises(KeyturnError, match="ed25519") as error:
        generate_key("rsa-1024")
    assert refusal(error) == "approver-key.type"


def test_a_certificate_needs_a_name_that_can_be_read() -> None:
    key = generate_key("ec-p256").private_key
    for name in ("", "  ", "x" * 65, "Ada\u202eEve", "Ada\n"):
        with pytest.raises(KeyturnError) as error:
            self_signed_certificate(key, name, 1_700_000_000, 1)
        assert refusal(error) == "approver-key.name"
    assert self_signed_certificate(key, "Ada Lovelace", 1_700_000_000, 1)
