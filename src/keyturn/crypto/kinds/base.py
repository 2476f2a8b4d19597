"""What a kind of key consists of: `KeyType` for keys with a public part, `SecretKeyType` for those without.

An entry carries all that the rest of keyturn needs to know of a kind: how a description is checked, how a key is made,
stored, read and described. Everything else dispatches through it (`keyturn.crypto.keys`), so that a further kind is
one entry. What the library reads and writes as PKCS#8 and SubjectPublicKeyInfo needs no functions of its own.

Source: rest-api.md sections 4.1 and 3.1 (the `json` object).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from keyturn.crypto.kinds import pkcs8
from keyturn.errors import ErrorCode, FormatError, KeyturnError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a key to be made is like; made by `make_spec`, which checks it.

    Args:
        algorithm: Name in `KEY_TYPES` or `SECRET_KEY_TYPES`.
        curve_oid: Dotted OID for EC and ED, else "".
        key_size: Bits where the kind has a choice of sizes (of the modulus for RSA), else 0.
    """

    algorithm: str
    curve_oid: str = ""
    key_size: int = 0

    @property
    def slow(self) -> bool:
        """Whether making it takes long enough (RSA: up to many seconds) to be done in a worker process."""
        return self._kind.slow

    @property
    def algorithm_oid(self) -> str:
        """The API's `algorithmOid`."""
        return self._kind.oid

    @property
    def _kind(self) -> KeyType | SecretKeyType:
        # The registry imports the entries, which import this.
        from keyturn.crypto.key_types import key_type

        return key_type(self.algorithm)


def _nothing_to_check(_: Any) -> None:
    return None


def _no_import_check(_: Any, *, allow_weak: bool) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyType:
    """A kind of key that has a public part.

    Private keys are objects of the library or, where it has none, frozen dataclasses of ours with `algorithm` (the
    entry's name) and `public_bytes`, their secret outside `repr`.

    Args:
        name: The API's `algorithm` at creation.
        oid: The API's `algorithmOid`.
        reported: The `algorithm` in attested attributes where it is another one; else the name.
        slow: Whether making such a key takes long enough to be done in a worker process.
        slow_signing: Whether signing takes that long, too.
        signatures: How many signatures a key can make whose state says which come next; 0 for keys without a state.
        private_class: Class of its private keys.
        public_class: Class of its public keys.
        check: Checks curve OID and size of a key to be made and gives its description; keyword `allow_weak`.
        generate: Makes a private key.
        to_stored: A private key as the sealed store holds it: PKCS#8, or what the entry says.
        from_stored: Reads that back; raises `ValueError` or `FormatError` when it is none.
        public_of: The public key of a private one.
        to_spki: A public key as DER SubjectPublicKeyInfo.
        from_spki: Reads that back; raises `ValueError` or `FormatError` when it is none.
        spec_of: The description of a public key: curve and size as at creation.
        spki_oids: Algorithm OIDs in SubjectPublicKeyInfo and PKCS#8 that are of this kind.
        shows_curve: Whether attested attributes show `curveOid` (they do not for ED).
        check_private: Refuses a key on a curve or of a form that is not available, whoever stored it.
        check_imported: Refuses a private key that was made elsewhere and is damaged or weak; keyword `allow_weak`.
        from_pkcs8: Reads PKCS#8 made elsewhere, where `from_stored` reads another form.
        to_pkcs8: Writes PKCS#8 for export and wrapping, where `to_stored` writes another form.
    """

    name: str
    oid: str
    reported: str = ""
    slow: bool = False
    slow_signing: bool = False
    signatures: int = 0
    private_class: type
    public_class: type
    check: Callable[..., KeySpec] = field(repr=False)
    generate: Callable[[KeySpec], Any] = field(repr=False)
    to_stored: Callable[[Any], bytes] = field(repr=False, default=pkcs8.to_pkcs8)
    from_stored: Callable[[bytes], Any] = field(repr=False, default=pkcs8.from_pkcs8)
    public_of: Callable[[Any], Any] = field(repr=False, default=pkcs8.public_of)
    to_spki: Callable[[Any], bytes] = field(repr=False, default=pkcs8.to_spki)
    from_spki: Callable[[bytes], Any] = field(repr=False, default=pkcs8.from_spki)
    spec_of: Callable[[Any], KeySpec] = field(repr=False)
    spki_oids: tuple[str, ...] = ()
    shows_curve: bool = False
    check_private: Callable[[Any], None] = field(repr=False, default=_nothing_to_check)
    check_imported: Callable[..., None] = field(repr=False, default=_no_import_check)
    from_pkcs8: Callable[[bytes], Any] | None = field(repr=False, default=None)
    to_pkcs8: Callable[[Any], bytes] | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKeyType:
    """A kind of key that has no public part; its keys are `SecretKey`.

    Args:
        name: The API's `algorithm`.
        oid: The API's `algorithmOid`.
        check: Checks curve OID and size of a key to be made and gives its description; keyword `allow_weak`.
        generate: Makes the key's bytes.
        check_value: Refuses bytes that are no such key, by their length or because they are weak.
        spec_of: The description of the key with these bytes.
        reported: As in `KeyType`.
        slow: As in `KeyType`.
    """

    name: str
    oid: str
    check: Callable[..., KeySpec] = field(repr=False)
    generate: Callable[[KeySpec], bytes] = field(repr=False)
    check_value: Callable[[bytes], None] = field(repr=False)
    spec_of: Callable[[bytes], KeySpec] = field(repr=False)
    reported: str = ""
    slow: bool = False


def shown(text: str) -> str:
    """A caller's word as it may stand in a message: quoted, escaped, short."""
    return ascii(text if len(text) <= 64 else text[:64] + "…")


def refuse(message: str, refusal: str, code: ErrorCode = ErrorCode.VALIDATION_FAILED) -> NoReturn:
    """Refuse a description of a key."""
    raise KeyturnError(code, message, refusal=refusal)


def refuse_size(message: str, refusal: str = "key.size") -> NoReturn:
    """Refuse a size: 603."""
    refuse(message, refusal, ErrorCode.KEY_SIZE)


def require_no_curve(name: str, curve_oid: str) -> None:
    """Refuse a curve where the kind has none: 600 `key.curve`."""
    if curve_oid:
        refuse(f"curveOid: {name} keys have no curve; leave curveOid out.", "key.curve")


def require_no_size(name: str, key_size: int) -> None:
    """Refuse a size where the kind has but one: 603 `key.size`."""
    if key_size:
        refuse_size(f"keySize: {name} keys have one size; leave keySize out.")


def named_alone(name: str) -> Callable[..., KeySpec]:
    """The check of a kind that has neither curves nor sizes to choose from.

    Args:
        name: The kind's API name.

    Returns:
        What `KeyType.check` and `SecretKeyType.check` take.
    """

    def check(curve_oid: str, key_size: int, *, allow_weak: bool) -> KeySpec:
        require_no_curve(name, curve_oid)
        require_no_size(name, key_size)
        return KeySpec(name)

    return check


def inconsistent(kind: str, why: str) -> NoReturn:
    """Refuse a private key whose numbers do not belong together: 407 `key.inconsistent`."""
    raise FormatError(
        f"The {kind} key is damaged: {why}. Export it again where it was made.",
        code=ErrorCode.PARSING_KEY,
        refusal="key.inconsistent",
    )
