"""Post-quantum signatures and ML-KEM against NIST's vectors, other implementations, and one bit less."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cryptography_vectors
import pqcrypto.kem  # type: ignore[import-untyped]
import pqcrypto.sign  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA65PrivateKey, MLDSA87PrivateKey
from pqcrypto import HashAlgorithm

from keyturn.crypto import ciphers, registry
from keyturn.crypto.cipher_schemes import CipherParameters
from keyturn.crypto.imported_keys import checked_private_key
from keyturn.crypto.kem import encapsulate
from keyturn.crypto.keys import (
    describe_spki,
    generate,
    load_public_key,
    make_spec,
    private_key_from_stored,
    private_key_to_der,
    private_key_to_stored,
    public_spki,
)
from keyturn.crypto.kinds import raw
from keyturn.crypto.kinds.ml_kem import MlKem512PrivateKey, MlKem512PublicKey
from keyturn.crypto.kinds.slh_dsa import SLH_DSA, SlhDsaPublicKey
from keyturn.crypto.lms import LmsPrivateKey, LmsPublicKey
from keyturn.crypto.pq_schemes import PRE_HASHES
from keyturn.crypto.schemes import SignOptions
from keyturn.crypto.xmss import SHA256, SHAKE256, XmssPrivateKey, XmssPublicKey
from keyturn.errors import FormatError, KeyturnError
from keyturn_testing.one_bit import accepts, one_bit_less, only_accepts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.crypto.keys import PrivateKey

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "post_quantum.json").read_text())
MESSAGE = b64decode(VECTORS["message"])
CONTEXT = SignOptions(context=b"keyturn")
ML_DSA: dict[str, tuple[Any, int]] = {
    "44": (MLDSA44PrivateKey, 2420),
    "65": (MLDSA65PrivateKey, 3309),
    "87": (MLDSA87PrivateKey, 4627),
}


def _records(name: str) -> Iterator[dict[str, bytes]]:
    """The records of a NIST response file of `cryptography_vectors`."""
    record: dict[str, bytes] = {}
    with cryptography_vectors.open_vector_file(f"asymmetric/{name}", "r") as file:
        for line in file:
            word, _, value = line.partition("=")
            if word.strip() == "count" and record:
                yield record
                record = {}
            elif value.strip() and word.strip() not in {"count", "mlen", "smlen", "ctxlen"}:
                record[word.strip()] = bytes.fromhex(value.strip())
    yield record


def _key(name: str) -> tuple[Any, Any]:
    private: Any = generate(make_spec(name, "", 0))
    return private, load_public_key(public_spki(private))


# --- ML-DSA --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ML_DSA)
def test_ml_dsa_takes_nists_keys_and_signatures(size: str) -> None:
    maker, length = ML_DSA[size]
    records = list(_records(f"MLDSA/kat_MLDSA_{size}_det_pure.rsp"))[:5]
    assert len(records) == 5
    for record in records:
        private = maker.from_seed_bytes(record["xi"])
        public = load_public_key(public_spki(private))
        assert public.public_bytes_raw() == record["pk"]  # type: ignore[union-attr]
        signature = record["sm"][:length]
        only_accepts(public, "ML_DSA", record["msg"], signature, SignOptions(context=record.get("ctx", b"")))


@pytest.mark.parametrize("size", ML_DSA)
def test_ml_dsa_and_its_digests_are_accepted_by_another_library_and_the_other_way_round(size: str) -> None:
    private, public = _key(f"ML-DSA-{size}")
    judge = getattr(pqcrypto.sign, f"ml_dsa_{size}")
    spki = public.public_bytes_raw()
    signature = registry.sign(private, "ML_DSA", MESSAGE, "", CONTEXT)
    assert len(signature) == ML_DSA[size][1]
    judge.verify(spki, MESSAGE, signature, b"keyturn")
    only_accepts(public, "ML_DSA", MESSAGE, signature, CONTEXT)
    assert not accepts(public, "ML_DSA", MESSAGE, signature)
    theirs, secret = judge.keygen()
    other = load_public_key(raw.spki(describe_spki(public_spki(public))[1], bytes(theirs)))
    for function in PRE_HASHES:
        algorithm = f"{function.name}_WITH_ML_DSA"
        signature = registry.sign(private, algorithm, MESSAGE, "", CONTEXT)
        name = getattr(HashAlgorithm, function.library)
        # This library takes the digest for ML-DSA.
        judge.verify(spki, function.function(MESSAGE), signature, b"keyturn", name)
        only_accepts(public, algorithm, MESSAGE, signature, CONTEXT)
        assert not accepts(public, "ML_DSA", MESSAGE, signature, CONTEXT)
        made = bytes(judge.sign(secret, function.function(MESSAGE), b"keyturn", name))
        only_accepts(other, algorithm, MESSAGE, made, CONTEXT)


def test_mu_is_signed_as_it_is_given() -> None:
    private, public = _key("ML-DSA-65")
    hashed = hashlib.shake_256(public.public_bytes_raw()).digest(64)
    documented = hashlib.shake_256(hashed + MESSAGE).digest(64)
    signature = registry.sign(private, "ML_DSA_M", documented)
    only_accepts(public, "ML_DSA_M", documented, signature)
    assert not accepts(public, "ML_DSA", MESSAGE, signature)
    # With the prefix of FIPS 204 it is the mu of a pure signature.
    standard = hashlib.shake_256(hashed + b"\0\0" + MESSAGE).digest(64)
    assert accepts(public, "ML_DSA", MESSAGE, registry.sign(private, "ML_DSA_M", standard))
    with pytest.raises(KeyturnError) as refused:
        registry.sign(private, "ML_DSA_M", documented[:-1])
    assert refused.value.refusal == "payload.digest-length"


@pytest.mark.rule("R8")
def test_r8_a_protected_key_signs_mu_of_64_bytes_and_no_statement_of_ours() -> None:
    registry.require_single_meaning("ML_DSA_M", bytes(64), curve_oid="")
    for size in (63, 65, 32):
        with pytest.raises(KeyturnError) as refused:
            registry.require_single_meaning("ML_DSA_M", bytes(size), curve_oid="")
        assert refused.value.refusal == "payload.digest-length"
    for name in ("ML_DSA", "SHA2_256_WITH_ML_DSA", "SLH_DSA", "SHAKE_128_WITH_SLH_DSA", "BLS", "LMS"):
        registry.require_single_meaning(name, b"any length", curve_oid="")


def test_a_context_has_at_most_255_bytes_and_goes_with_few_algorithms() -> None:
    private, public = _key("ML-DSA-44")
    longest = SignOptions(context=bytes(255))
    only_accepts(public, "ML_DSA", MESSAGE, registry.sign(private, "ML_DSA", MESSAGE, "", longest), longest)
    for algorithm in ("ML_DSA", "SHA2_512_WITH_ML_DSA"):
        with pytest.raises(KeyturnError) as refused:
            registry.sign(private, algorithm, MESSAGE, "", SignOptions(context=bytes(256)))
        assert refused.value.refusal == "signature.context"
    with pytest.raises(KeyturnError) as refused:
        registry.sign(private, "ML_DSA_M", bytes(64), "", CONTEXT)
    assert refused.value.refusal == "signature.option"


# --- SLH-DSA -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VECTORS["slh_dsa"])
def test_slh_dsa_accepts_what_another_implementation_signed(name: str) -> None:
    vector = VECTORS["slh_dsa"][name]
    key = SlhDsaPublicKey(name, b64decode(vector["public"]))
    signature = b64decode(vector["signature"])
    only_accepts(key, "SLH_DSA", MESSAGE, signature, CONTEXT)
    assert not accepts(key, "SLH_DSA", MESSAGE, signature)
    if "prehash" in vector:
        hashed = b64decode(vector["prehash"])
        only_accepts(key, f"{vector['function']}_WITH_SLH_DSA", MESSAGE, hashed, CONTEXT)
        assert not accepts(key, "SLH_DSA", MESSAGE, hashed, CONTEXT)


def test_slh_dsa_signs_with_every_digest_and_every_fast_set() -> None:
    lengths = {"128": 17088, "192": 35664, "256": 49856}
    for kind in SLH_DSA:
        if kind.name.endswith("f"):
            private, public = _key(kind.name)
            signature = registry.sign(private, "SLH_DSA", MESSAGE, "", CONTEXT)
            assert len(signature) == lengths[kind.name[-4:-1]]
            only_accepts(public, "SLH_DSA", MESSAGE, signature, CONTEXT)
    private, public = _key("SLH-DSA-SHA2-128f")
    for function in PRE_HASHES:
        algorithm = f"{function.name}_WITH_SLH_DSA"
        signature = registry.sign(private, algorithm, MESSAGE)
        assert accepts(public, algorithm, MESSAGE, signature)
        assert not accepts(public, algorithm, MESSAGE + b"!", signature)
        assert not accepts(public, "SLH_DSA", MESSAGE, signature)


# --- LMS and XMSS --------------------------------------------------------------------------------------------------


def test_lms_makes_the_key_of_another_implementation_and_accepts_its_signatures() -> None:
    vector = VECTORS["lms"]
    public = LmsPublicKey.from_bytes(b64decode(vector["public"]))
    private = LmsPrivateKey.make(b64decode(vector["seed"]), public.identifier)
    assert private.public == public
    for signature in vector["signatures"]:
        assert len(b64decode(signature)) == 8688
        only_accepts(public, "LMS", MESSAGE, b64decode(signature))
    for index in (0, 1, 31):
        signature = registry.sign(replace(private, index=index), "LMS", MESSAGE)
        assert int.from_bytes(signature[4:8], "big") == index
        only_accepts(public, "LMS", MESSAGE, signature)
    beyond = b64decode(vector["signatures"][0])
    assert not public.verify(MESSAGE, beyond[:4] + (32).to_bytes(4, "big") + beyond[8:])


def test_xmss_accepts_the_signatures_of_another_implementation() -> None:
    vector = VECTORS["xmss"]
    public = XmssPublicKey.from_bytes(b64decode(vector["public"]))
    for index, text in vector["signatures"].items():
        signature = b64decode(text)
        assert int.from_bytes(signature[:4], "big") == int(index)
        only_accepts(public, "XMSS-SHA256_10_256", MESSAGE, signature)
        assert not public.verify(MESSAGE, (1024 + int(index)).to_bytes(4, "big") + signature[4:])
    with pytest.raises(KeyturnError) as refused:
        registry.verify(public, "XMSS-SHAKE256_10_256", MESSAGE, bytes(2500))
    assert refused.value.refusal == "signature.wrong-key-type"


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [SHA256, SHAKE256])
def test_xmss_signs_with_every_part_of_its_tree(parameters: Any) -> None:
    private = XmssPrivateKey.make(parameters, b"a" * 32, b"b" * 32, b"c" * 32)
    assert XmssPrivateKey.from_bytes(private.private_bytes()) == private
    public = load_public_key(public_spki(private))
    for index in (0, 1, 511, 512, 1023):
        signature = registry.sign(replace(private, index=index), parameters.name, MESSAGE)
        assert len(signature) == 2500
        only_accepts(public, parameters.name, MESSAGE, signature)
    for index in (-1, 1024):
        with pytest.raises(ValueError, match="indices"):
            private.sign(MESSAGE, index)
    assert describe_spki(public_spki(private))[0] == "XMSS"


@pytest.mark.rule("R28")
def test_r28_a_stateful_key_signs_only_with_an_index_and_never_leaves() -> None:
    private = LmsPrivateKey.make(bytes(32), bytes(16))
    assert registry.sign(replace(private, index=3), "LMS", MESSAGE)
    with pytest.raises(KeyturnError) as refused:
        registry.sign(private, "LMS", MESSAGE)
    assert refused.value.refusal == "stateful.no-index"
    with pytest.raises(KeyturnError) as refused:
        private_key_to_der(private)
    assert refused.value.refusal == "stateful.no-copy"
    with pytest.raises(KeyturnError) as refused:
        checked_private_key(raw.pkcs8("1.2.840.113549.1.9.16.3.17", private.private_bytes()))
    assert refused.value.refusal == "stateful.no-copy"
    assert describe_spki(public_spki(private))[0] == "HSS-LMS"


# --- ML-KEM --------------------------------------------------------------------------------------------------------


def _decapsulate(key: PrivateKey, ciphertext: bytes) -> bytes:
    return ciphers.decrypt(key, ciphers.DECAPSULATION, ciphertext, CipherParameters())


def test_ml_kem_512_takes_nists_vectors_rejection_included() -> None:
    for record in list(_records("MLKEM/kat_MLKEM_512.rsp"))[:10]:
        key = MlKem512PrivateKey(record["sk"])
        assert key.public_bytes == record["pk"]
        assert _decapsulate(key, record["ct"]) == record["ss"]
        # A ciphertext that was not made for the key gives a secret that nobody knows, and no error.
        assert _decapsulate(key, record["ct_n"]) == record["ss_n"]


@pytest.mark.parametrize(("size", "length"), [("512", 768), ("768", 1088), ("1024", 1568)])
def test_ml_kem_agrees_with_another_library(size: str, length: int) -> None:
    private, public = _key(f"ML-KEM-{size}")
    made = encapsulate(public_spki(public))
    assert (len(made.ciphertext), len(made.shared_secret)) == (length, 32)
    assert made.shared_secret.hex() not in repr(made)
    assert _decapsulate(private, made.ciphertext) == made.shared_secret
    assert _decapsulate(private, one_bit_less(made.ciphertext)) != made.shared_secret
    for wrong in (b"", made.ciphertext[:-1], made.ciphertext + b"\0"):
        with pytest.raises(KeyturnError) as refused:
            _decapsulate(private, wrong)
        assert refused.value.refusal == "decrypt.failed"
    judge = getattr(pqcrypto.kem, f"ml_kem_{size}")
    spki = public.public_bytes if size == "512" else public.public_bytes_raw()
    ciphertext, secret = judge.encaps(spki)
    assert _decapsulate(private, bytes(ciphertext)) == bytes(secret)


def test_nothing_is_encrypted_with_ml_kem_and_no_other_key_encapsulates() -> None:
    private, _ = _key("ML-KEM-768")
    with pytest.raises(KeyturnError) as refused:
        ciphers.encrypt(private, ciphers.DECAPSULATION, b"data", CipherParameters(), random=bytes)
    assert refused.value.refusal == "cipher.encapsulates"
    _, signs = _key("ML-DSA-44")
    with pytest.raises(KeyturnError) as refused:
        encapsulate(public_spki(signs))
    assert refused.value.refusal == "key.wrong-type"


def test_a_damaged_ml_kem_512_key_is_refused() -> None:
    private, public = _key("ML-KEM-512")
    der = private_key_to_der(private)
    assert checked_private_key(der) == private
    for place in (100, len(der) - 40, len(der) - 70):
        with pytest.raises(FormatError) as refused:
            checked_private_key(one_bit_less(der, place))
        assert refused.value.refusal in {"key.inconsistent", "key.unreadable"}
    with pytest.raises(ValueError, match="encapsulation"):
        MlKem512PublicKey(b"\xff\xff" + public.public_bytes[2:])


# --- all kinds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87", "ML-KEM-512", "ML-KEM-768", "SLH-DSA-SHA2-128f", "BLS", "LMS"]
)
def test_a_key_is_stored_and_read_back_and_shows_no_secret(name: str) -> None:
    private, public = _key(name)
    stored = private_key_to_stored(private)
    again: Any = private_key_from_stored(name, stored)
    assert private_key_to_stored(again) == stored
    assert public_spki(public) == public_spki(private)
    assert stored[-16:].hex() not in repr(private)
    with pytest.raises(FormatError):
        private_key_from_stored(name, stored[:-1])
    with pytest.raises(FormatError):
        load_public_key(public_spki(public) + b"\0")
    with pytest.raises(KeyturnError) as refused:
        make_spec(name, "1.2.840.10045.3.1.7", 0)
    assert refused.value.refusal == "key.curve"
    with pytest.raises(KeyturnError) as refused:
        make_spec(name, "", 256)
    assert refused.value.refusal == "key.size"


@pytest.mark.parametrize("algorithm", ["ML_DSA", "ML_DSA_M", "SHA2_256_WITH_ML_DSA", "SLH_DSA", "BLS", "LMS"])
def test_a_key_of_another_kind_is_refused_by_name(algorithm: str) -> None:
    private = generate(make_spec("ED", "1.3.101.112", 0))
    for act in (
        lambda: registry.sign(private, algorithm, bytes(64)),
        lambda: registry.verify(public_spki(private), algorithm, bytes(64), bytes(64)),
    ):
        with pytest.raises(KeyturnError) as refused:
            act()
        assert refused.value.refusal == "signature.wrong-key-type"
