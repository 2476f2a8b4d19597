"""Every way to a private key: without approvals, with approvals for something else, and with a call that was changed.

R3 names what touches private keys. Ways by which a key leaves, or agrees on secrets, are closed to keys with a policy
(R4); what this HSM does not offer (copies, changes of attributes) is no message of its protocol.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from keyturn.crypto.certificates import Usages, make_name, make_request
from keyturn.crypto.encrypted_files import seal_file_key
from keyturn.crypto.kem import encapsulate
from keyturn.hsm import protocol
from keyturn.hsm.framing import encode_frame
from keyturn.ska.actions import Action
from keyturn.ska.unwrap_flags import unwrap_payload_for
from keyturn_testing.hostile import (
    AGREED,
    MISSING,
    OURS,
    PAYLOAD,
    Case,
    Line,
    World,
    judge,
    lines,
    require_refused,
)
from keyturn_testing.keys import operation_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from keyturn_testing.hostile import Lie
    from keyturn_testing.hsm_process import HsmProcess

CIPHER: Final = "RSA_PADDING_OAEP_WITH_SHA256"
METHOD: Final = "RSA_WRAP_OAEP"
ECDSA: Final = "SHA256_WITH_ECDSA"
ATTRIBUTES: Final = {"decrypt": True, "sensitive": True}
RSA_LABEL: Final = "protected-rsa"
RULE_7, RULE_4 = "section 8, rule 7", "section 8, rule 4"


class _Rsa:
    """The RSA key of an HSM under the usual policy, which may decrypt and unwrap; it is made once."""

    def __init__(self, world: World) -> None:
        self.world = World(world.hsm, world.line, RSA_LABEL)
        facts = world.line.ask(protocol.Lookup(RSA_LABEL))
        if isinstance(facts, protocol.Refused):
            uses = {"decrypt": True, "unwrap": True}
            self.world.do(self.world.creation(algorithm="RSA", curve_oid="", key_size=2048, attributes=uses))
            facts = self.world.do(protocol.Lookup(RSA_LABEL))
        key = load_der_public_key(facts.public_key)
        assert isinstance(key, rsa.RSAPublicKey)
        self.key = key

    def encrypt(self, data: bytes) -> bytes:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return self.key.encrypt(data, oaep)

    def wrap(self, secret: bytes) -> bytes:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - As the method is defined.
        return self.key.encrypt(secret, oaep)

    def use(self, payload: bytes) -> list[bytes]:
        """The officers' approvals to use the key for these bytes."""
        return self.world.approvals(self.world.token(payload=payload))

    def decrypt(self, ciphertext: bytes, approvals: list[bytes]) -> protocol.Decrypt:
        return protocol.Decrypt(operation_id(), RSA_LABEL, ciphertext, CIPHER, None, None, 0, approvals)

    def unwrap(self, wrapped: bytes, label: str, approvals: list[bytes], **changes: Any) -> protocol.Unwrap:
        call = protocol.Unwrap(operation_id(), RSA_LABEL, wrapped, METHOD, label, ATTRIBUTES, approvals)
        return msgspec.structs.replace(call, **changes)


def _decrypt(approvals: Callable[[_Rsa, bytes], list[bytes]]) -> Lie:
    def lie(world: World) -> object:
        key = _Rsa(world)
        ciphertext = key.encrypt(b"the vault's combination")
        bad = key.decrypt(ciphertext, approvals(key, ciphertext))
        return Case(bad, lambda: key.decrypt(ciphertext, key.use(ciphertext)))

    return lie


def _unwrap(
    approvals: Callable[[_Rsa, bytes, str], list[bytes]] | None = None, **changes: Callable[[World], Any]
) -> Lie:
    """An unwrap with other approvals than the honest ones, or with fields that differ from what was approved."""

    def lie(world: World) -> object:
        key, label = _Rsa(world), f"{world.label}-new"
        wrapped = key.wrap(os.urandom(32))
        honest = key.use(unwrap_payload_for(ATTRIBUTES, wrapped, label))
        given = honest if approvals is None else approvals(key, wrapped, label)
        bad = key.unwrap(wrapped, label, given, **{name: make(world) for name, make in changes.items()})
        return Case(bad, lambda: key.unwrap(wrapped, label, honest))

    return lie


def _other_wrapped(world: World) -> bytes:
    return _Rsa(world).wrap(bytes(32))


def _with(**changed: bool) -> Callable[[World], dict[str, bool]]:
    return lambda _: {**ATTRIBUTES, **changed}


def _digest(world: World) -> object:
    """A digest, signed as it is, with approvals for what it is the digest of."""
    call = world.sign(payload=bytes(32), algorithm="NONE_WITH_ECDSA", form="RAW")
    return Case(msgspec.structs.replace(call, approvals=world.sign().approvals), lambda: call)


USE = [
    Line("Sign a digest with approvals for the data", _digest, MISSING, RULE_4, "wrong-payload"),
    Line("Decrypt without approvals", _decrypt(lambda _k, _c: []), MISSING, RULE_7),
    Line(
        "Decrypt with approvals for another ciphertext",
        _decrypt(lambda k, _: k.use(k.encrypt(b"x"))),
        MISSING,
        RULE_4,
        "wrong-payload",
    ),
    Line(
        "Decrypt with approvals for a policy",
        _decrypt(lambda k, _: k.world.approvals(k.world.token(Action.MODIFY, AGREED))),
        MISSING,
        "section 8, rule 1",
        "wrong-operation",
    ),
    Line("Unwrap without approvals", _unwrap(lambda _k, _w, _l: []), MISSING, RULE_7),
    Line(
        "Unwrap with approvals for the wrapped bytes alone",
        _unwrap(lambda k, w, _: k.use(w)),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line("Unwrap another key than approved", _unwrap(wrapped_key=_other_wrapped), MISSING, "R16", "wrong-payload"),
    Line(
        "Unwrap to another label than approved",
        _unwrap(new_label=lambda w: f"{w.label}-x"),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line(
        "Unwrap to a key that may leave",
        _unwrap(attributes=_with(extractable=True, sensitive=False)),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line(
        "Unwrap to a key that is not sensitive",
        _unwrap(attributes=_with(sensitive=False)),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line(
        "Unwrap to a key that may do more than approved",
        _unwrap(attributes=_with(unwrap=True)),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line(
        "Unwrap to a key that can be deleted",
        _unwrap(attributes=_with(destroyable=True)),
        MISSING,
        "R16",
        "wrong-payload",
    ),
    Line(
        "Unwrap to a key that derives by BIP32",
        _unwrap(attributes=_with(derive=True, bip32=True)),
        "attribute.no-chain-code",
        "R16",
    ),
    Line(
        "Unwrap to a symmetric key with a policy of ours", _unwrap(policy=lambda _: OURS), "policy.symmetric-key", "R4"
    ),
    Line(
        "Unwrap to a key pair with a policy that nobody approved",
        _unwrap(policy=lambda _: OURS, method=lambda _: "AES_WRAP_EC"),
        "unwrap.unapproved-policy",
        "R16",
    ),
    Line("Sign with a key that may only decrypt", lambda w: _sign_with_rsa(w), "key.attribute", "R3"),
    Line(
        "Delete a protected key that is not destroyable",
        lambda w: Case(protocol.DeleteKey(operation_id(), w.label), w.sign),
        "key.not-destroyable",
        "R28",
    ),
]


def _certify(approvals: Callable[[World, bytes], list[bytes]], **changes: Any) -> Lie:
    """A request for a certificate with other approvals than for exactly its bytes, or changed after that."""

    def lie(world: World) -> object:
        spki = world.do(protocol.Lookup(world.label)).public_key
        data = make_request(make_name({"commonName": world.label}), spki, Usages())
        good = protocol.SignCertificate(
            operation_id(), world.label, "csr", data, ECDSA, False, "", world.approvals(world.token(payload=data))
        )
        bad = msgspec.structs.replace(good, operation_id=operation_id(), approvals=approvals(world, data))
        return Case(msgspec.structs.replace(bad, **changes), lambda: good)

    return lie


CERTIFY = [
    Line("Sign a request for a certificate without approvals", _certify(lambda _w, _d: []), MISSING, "R17"),
    Line(
        "Sign a request for a certificate with approvals for a payment",
        _certify(lambda w, _: w.approvals(w.token())),
        MISSING,
        "R17",
        "wrong-payload",
    ),
    Line(
        "Have a request for a certificate signed as an authority's",
        _certify(lambda w, d: w.approvals(w.token(payload=d)), certificate_authority=True),
        "certificate.ca-flag",
        "R17",
    ),
    Line(
        "Have a request for a certificate signed as a certificate",
        _certify(lambda w, d: w.approvals(w.token(payload=d)), kind="selfsign"),
        "certificate.wrong-kind",
        "R17",
    ),
    Line(
        "Have a payment signed as a certificate",
        _certify(lambda w, _: w.approvals(w.token()), payload=PAYLOAD),
        "certificate.form",
        "R17",
    ),
]


def _derived(forge: Callable[[World, World, World], object], honest: Callable[[World, World], object]) -> Lie:
    """A call about a child of a protected master, another child, or the master itself."""

    def lie(world: World) -> object:
        names = (f"{world.label}-master{path}" for path in ("", "/0'", "/1'"))
        master, child, sibling = (World(world.hsm, world.line, name) for name in names)
        master.do(master.creation(attributes={"sign": True, "derive": True, "slip10": True}))
        return Case(forge(master, child, sibling), lambda: honest(master, child))

    return lie


def _own_use(_: World, child: World) -> object:
    return child.sign()


def _store(master: World, **attributes: bool) -> protocol.DeriveKey:
    return protocol.DeriveKey(operation_id(), master.label, "0'", attributes)


DERIVED = [
    Line("Sign with a derived key without approvals", _derived(lambda _m, c, _s: c.sign([]), _own_use), MISSING, "R21"),
    Line(
        "Sign with a derived key with approvals for its master",
        _derived(lambda m, c, _: c.sign(m.approvals(m.token())), _own_use),
        MISSING,
        "R21",
        "wrong-label",
    ),
    Line(
        "Sign with a derived key with approvals for its sibling",
        _derived(lambda _, c, s: c.sign(s.approvals(s.token())), _own_use),
        MISSING,
        "R21",
        "wrong-label",
    ),
    Line(
        "Sign with a master with approvals for its child",
        _derived(lambda m, c, _: m.sign(c.approvals(c.token())), lambda m, _: m.sign()),
        MISSING,
        "R21",
        "wrong-label",
    ),
    Line(
        "Give a derived key a policy of its own",
        _derived(lambda _m, c, _s: c.modify(), lambda m, _: m.modify()),
        "key.derived",
        "R21",
    ),
    Line(
        "Store a child that may do more than its master",
        _derived(lambda m, _c, _s: _store(m, decrypt=True), lambda m, _: _store(m)),
        "attribute.child-decrypt",
        "R21",
    ),
    Line(
        "Store a child that may leave",
        _derived(lambda m, _c, _s: _store(m, extractable=True), lambda m, _: _store(m)),
        "attribute.child-extractable",
        "R21",
    ),
]


def _sign_with_rsa(world: World) -> object:
    key = _Rsa(world)
    call = protocol.Sign(operation_id(), RSA_LABEL, PAYLOAD, "SHA256_WITH_RSA", "", key.use(PAYLOAD))
    return Case(call, world.sign)


# --- ways by which a key would leave --------------------------------------------------------------------------


FOREIGN: Final = ec.generate_private_key(ec.SECP256R1())
FOREIGN_PKCS8: Final = FOREIGN.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
FOREIGN_SPKI: Final = FOREIGN.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _wrapped_by_ours(world: World) -> object:
    name = f"{world.label}-wrapping"
    uses = {"decrypt": True, "encrypt": True, "wrap": True, "unwrap": True}
    world.do(world.creation(label=name, algorithm="AES", curve_oid="", key_size=256, attributes=uses, policy=b""))
    return Case(protocol.Wrap(name, "AES_WRAP_PAD_EC", world.label), world.sign)


def _import(world: World, **changes: Any) -> object:
    call = protocol.ImportKey(operation_id(), world.label, "EC", b"", b"", b"", b"", None)
    return Case(msgspec.structs.replace(call, **changes), world.sign)


def _decapsulate(world: World) -> object:
    kem = World(world.hsm, world.line, f"{world.label}-kem")
    world.do(kem.creation(algorithm="ML-KEM-768", curve_oid="", attributes={"decrypt": True}))
    ciphertext = encapsulate(world.do(protocol.Lookup(kem.label)).public_key).ciphertext

    def call(approvals: list[bytes]) -> protocol.Decrypt:
        return protocol.Decrypt(operation_id(), kem.label, ciphertext, "ML_KEM", None, None, 0, approvals)

    return Case(call([]), lambda: call(kem.approvals(kem.token(payload=ciphertext))))


def _open_file(world: World) -> object:
    p384 = World(world.hsm, world.line, f"{world.label}-p384")
    world.do(p384.creation(curve_oid="1.3.132.0.34"))
    header = seal_file_key(world.do(protocol.Lookup(p384.label)).public_key, bytes(32))
    return Case(protocol.OpenFileKey(p384.label, header), p384.sign)


LEAVING = [
    Line("Export a protected key", lambda w: Case(protocol.ExportKey(w.label), w.sign), "key.attribute", "R4"),
    Line("Wrap a protected key with one of ours", _wrapped_by_ours, "key.attribute", "R4"),
    Line("Open a file with a protected key", _open_file, "key.agreement-with-policy", "R4"),
    Line("Decapsulate with a protected key without approvals", _decapsulate, MISSING, "R3"),
    Line(
        "Change the password of a protected key",
        lambda w: Case(protocol.ChangePassword(operation_id(), w.label, b""), w.sign),
        MISSING,
        "R28",
    ),
    Line(
        "Import a key over a protected one",
        lambda w: _import(w, private_key=FOREIGN_PKCS8, attributes={"sign": True}),
        "key.exists",
        "R18",
    ),
    Line(
        "Import another public key onto a protected one",
        lambda w: _import(w, public_key=FOREIGN_SPKI),
        "import.other-key",
        "R18",
    ),
]

# --- keys that would not be protected ----------------------------------------------------------------------


def _creation(**changes: Any) -> Lie:
    return lambda world: world.creation(label=f"{world.label}-new", **changes)


CREATION = [
    Line(
        "Create a protected key that may leave",
        _creation(attributes={"sign": True, "extractable": True}),
        "attribute.extractable-with-policy",
        "R4",
    ),
    Line(
        "Create a protected key that may be copied",
        _creation(attributes={"sign": True, "copyable": True}),
        "attribute.copyable-with-policy",
        "R4",
    ),
    Line(
        "Create a protected key that agrees on keys",
        _creation(attributes={"sign": True, "derive": True}),
        "attribute.derive-with-policy",
        "R4",
    ),
    Line(
        "Create a symmetric key with a policy",
        _creation(algorithm="AES", curve_oid="", key_size=256, attributes={"decrypt": True}),
        "policy.symmetric-key",
        "R4",
    ),
    Line("Create a key over a protected one", lambda w: w.creation(policy=OURS), "key.exists", "R18"),
    Line("Give a policy to a key that has none", lambda w: _policy_for_plain(w), "policy.none", "R4"),
]


def _policy_for_plain(world: World) -> object:
    plain = World(world.hsm, world.line, f"{world.label}-plain")
    world.do(plain.creation(policy=b""))
    return Case(protocol.Modify(operation_id(), plain.label, OURS, []), world.modify)


# --- the HSM's own keys ------------------------------------------------------------------------------------

SYSTEM_KEYS: Final = {
    "integrity": "timestamp-key",
    "attestation": "attestation-key",
    "receipt": "receipt-key",
    "transport": "transport-key",
    "rfc-timestamp": "rfc-timestamp-key",
}


def _system(kind: str, name: str) -> list[Line]:
    def line(what: str, make: Callable[[World], object], word: str = "key.unknown") -> Line:
        return Line(f"{what} the {kind} key", lambda w: Case(make(w), w.sign), word, "R5")

    return [
        line("Sign bytes of our choice with", lambda w: msgspec.structs.replace(w.sign(), label=name)),
        line(
            "Sign a digest of our choice with", lambda _: protocol.Sign(b"", name, bytes(32), "NONE_WITH_ECDSA", "", [])
        ),
        line("Decrypt with", lambda _: protocol.Decrypt(b"", name, bytes(256), CIPHER, None, None, 0, [])),
        line(
            "Unwrap with",
            lambda w: protocol.Unwrap(operation_id(), name, bytes(256), METHOD, w.label + "-n", ATTRIBUTES, []),
        ),
        line("Modify", lambda _: protocol.Modify(operation_id(), name, OURS, [])),
        line("Block", lambda _: protocol.Block(operation_id(), name, [])),
        line("Delete", lambda _: protocol.DeleteKey(operation_id(), name)),
        line("Attest as an ordinary key", lambda _: protocol.Attest(name)),
        line("Stamp for", lambda _: protocol.Stamp(name, 1, PAYLOAD)),
        line("Create a key under the name of", lambda w: w.creation(label=name), "label.system-key"),
    ]


SYSTEM = [line for kind, name in SYSTEM_KEYS.items() for line in _system(kind, name)]


@pytest.mark.rule("R3")
@pytest.mark.rule("R16")
@pytest.mark.rule("R17")
@pytest.mark.rule("R4")
@pytest.mark.rule("R5")
@pytest.mark.parametrize(
    "line",
    [
        *lines("Private keys without the right approvals", USE),
        *lines("Certificates", CERTIFY),
        *lines("Derived keys of protected masters", DERIVED),
        *lines("Ways by which a protected key would leave", LEAVING),
        *lines("Keys that would not be protected", CREATION),
        *lines("The HSM's own keys", SYSTEM),
    ],
)
def test_no_private_key_is_used_but_as_its_policy_says(hsm: HsmProcess, label: str, line: Line) -> None:
    judge(hsm, label, line)


# --- what the protocol does not have -----------------------------------------------------------------------

ABSENT: Final = (
    ("Copy a protected key", "copy", ("copy",)),
    ("Agree on a secret with a protected key", "agree", (b"",)),
    ("Derive a child of a protected key", "derive", ("m/0",)),
    ("Compute an HMAC with a protected key", "hmac", (b"",)),
    ("Decrypt a file with a protected key", "decrypt-file", (b"",)),
    ("Change attributes of a protected key", "attributes", ({"extractable": True},)),
)


@pytest.mark.rule("R3")
@pytest.mark.rule("R4")
@pytest.mark.parametrize(
    ("tag", "fields"),
    [
        pytest.param(
            tag,
            fields,
            id=tag,
            marks=pytest.mark.attack(
                subject="Messages that the broker's protocol does not have",
                attack=attack,
                refused="message.malformed",
                rule="R3, R4",
            ),
        )
        for attack, tag, fields in ABSENT
    ],
)
def test_there_is_no_message_by_which_a_protected_key_leaves(
    hsm: HsmProcess, label: str, tag: str, fields: tuple[Any, ...]
) -> None:
    with hsm.line() as line:
        world = World(hsm, line, label)
        world.create()
        for approvals in ([], world.sign().approvals):
            body = msgspec.msgpack.encode([1, [tag, operation_id(), label, *fields, approvals]])
            line.send(len(body).to_bytes(4, "big") + body)
            require_refused(hsm, line.read()[1], "message.malformed")
        # A message that there is, in the same bytes otherwise, is served.
        line.send(encode_frame(1, world.sign()))
        assert isinstance(line.read()[1], protocol.Signed)


def test_every_call_of_the_protocol_that_touches_a_private_key_stands_in_the_table() -> None:
    """A call that is added must be put into one of these sets, and into the table above if it uses a private key."""
    touching = {protocol.Sign, protocol.SignCertificate, protocol.Decrypt, protocol.Unwrap, protocol.DeleteKey}
    governed = {protocol.Modify, protocol.Block, protocol.Unblock, protocol.Withdraw, protocol.CreateKey}
    governed |= {protocol.ImportSeed, protocol.DeriveKey, protocol.GetAddress}
    leaving = {protocol.ExportKey, protocol.Wrap, protocol.OpenFileKey, protocol.ImportKey, protocol.ChangePassword}
    # With a key pair these take the public part; the attached certificate has its own tests (tests/hsm).
    elsewhere = {protocol.MakeFileKey, protocol.Encrypt, protocol.AttachCertificate, protocol.CheckPassword}
    reading = {protocol.GetInfo, protocol.ListKeys, protocol.Lookup, protocol.Attest, protocol.Verify}
    others = {protocol.Stamp, protocol.GetStatistics, protocol.Witness, protocol.GetRandom, protocol.GetLog}
    others |= {protocol.DateWithRfc3161, protocol.PutObject, protocol.GetObject, protocol.DeleteObject}
    # What opens a backup is an Unwrap; a file leaves for its code and encrypted (tests/hsm/test_restoring.py).
    others |= {protocol.CreateApprover, protocol.RenewApproverCode, protocol.OnboardApprover, protocol.DeleteApprover}
    others |= {protocol.ListApprovers, protocol.GetRestoration, protocol.GetRestoredCode}
    assert touching | governed | leaving | elsewhere | reading | others == set(protocol.Call.__args__)
