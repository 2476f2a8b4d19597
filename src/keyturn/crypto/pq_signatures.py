"""The signature algorithms of ML-DSA, SLH-DSA, LMS and XMSS keys, as entries of the registry.

Source: rest-api.md section 4.3, decisions 32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keyturn.crypto.kinds.ml_dsa import ML_DSA
from keyturn.crypto.kinds.slh_dsa import SLH_DSA
from keyturn.crypto.kinds.stateful import STATEFUL
from keyturn.crypto.pq_schemes import MU_SIZE, PRE_HASHES, HashMlDsa, MlDsa, MlDsaMu, SlhDsa, Stateful
from keyturn.crypto.signature_entry import ANY_LENGTH, SignatureAlgorithm, hashing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keyturn.crypto.schemes import Scheme

_CONTEXT: Final = frozenset({"context"})
_ML_DSA_KEYS: Final = tuple(kind.name for kind in ML_DSA)
_SLH_DSA_KEYS: Final = tuple(kind.name for kind in SLH_DSA)


def entries() -> Iterator[SignatureAlgorithm]:
    """The signature algorithms of these keys."""
    yield _with_context("ML_DSA", _ML_DSA_KEYS, MlDsa())
    yield _with_context("SLH_DSA", _SLH_DSA_KEYS, SlhDsa())
    for function in PRE_HASHES:
        yield _with_context(f"{function.name}_WITH_ML_DSA", _ML_DSA_KEYS, HashMlDsa(function), function.digest)
        yield _with_context(f"{function.name}_WITH_SLH_DSA", _SLH_DSA_KEYS, SlhDsa(function), function.digest)
    yield SignatureAlgorithm(
        "ML_DSA_M",
        _ML_DSA_KEYS,
        "",
        prehashed=True,
        digest_size=MU_SIZE,
        lengths=frozenset({MU_SIZE}),
        scheme=MlDsaMu(),
    )
    for kind in STATEFUL:
        yield hashing(kind.name, kind.name, "", 0, Stateful(kind.name))


def _with_context(name: str, key_types: tuple[str, ...], scheme: Scheme, digest: str = "") -> SignatureAlgorithm:
    return SignatureAlgorithm(
        name,
        key_types,
        digest,
        prehashed=False,
        digest_size=0,
        lengths=ANY_LENGTH,
        scheme=scheme,
        options=_CONTEXT,
    )
