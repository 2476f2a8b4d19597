"""Checksums as words that two people can read to each other.

Words over a domain-separated SHA-256. Eight of them (64 bits) are a transmission check for something that is
verified otherwise; sixteen (128 bits) are what first trust is compared by, where nothing else protects (R11).

Source: docs/security/rules.md R11; the word list is that of BCR-2020-012 (Bytewords), one four-letter word per byte
value.
"""

from __future__ import annotations

import hashlib
from typing import Final

TRUST_WORDS: Final = 16
"""Words to compare when trust is given for the first time: 128 bits, out of reach of a search for a twin."""

APPROVAL_DOMAIN: Final = "approval"
"""Domain of the words that stand for the bytes an approver signs; the same wherever they are shown."""

BYTEWORDS: Final[tuple[str, ...]] = tuple(
    """
    able acid also apex aqua arch atom aunt away axis back bald barn belt beta bias
    blue body brag brew bulb buzz calm cash cats chef city claw code cola cook cost
    crux curl cusp cyan dark data days deli dice diet door down draw drop drum dull
    duty each easy echo edge epic even exam exit eyes fact fair fern figs film fish
    fizz flap flew flux foxy free frog fuel fund gala game gear gems gift girl glow
    good gray grim guru gush gyro half hang hard hawk heat help high hill holy hope
    horn huts iced idea idle inch inky into iris iron item jade jazz join jolt jowl
    judo jugs jump junk jury keep keno kept keys kick kiln king kite kiwi knob lamb
    lava lazy leaf legs liar limp lion list logo loud love luau luck lung main many
    math maze memo menu meow mild mint miss monk nail navy need news next noon note
    numb obey oboe omit onyx open oval owls paid part peck play plus poem pool pose
    puff puma purr quad quiz race ramp real redo rich road rock roof ruby ruin runs
    rust safe saga scar sets silk skew slot soap solo song stub surf swan taco task
    taxi tent tied time tiny toil tomb toys trip tuna twin ugly undo unit urge user
    vast very veto vial vibe view visa void vows wall wand warm wasp wave waxy webs
    what when whiz wolf work yank yawn yell yoga yurt zaps zero zest zinc zone zoom
    """.split()  # noqa: SIM905 - A table of 256 words reads best as a table.
)
"""The word of each byte value, from 0 to 255."""


def checksum_words(data: bytes, *, domain: str, count: int = 8) -> tuple[str, ...]:
    """Words that stand for `data`, to be read aloud and compared.

    Args:
        data: What both sides hold.
        domain: What kind of thing it is, such as `approval`; the same bytes give other words in another domain. Must
            not contain NUL.
        count: Number of words, 1 to 32; eight bits each.

    Returns:
        The words of the first `count` bytes of SHA-256 over `keyturn/<domain>`, NUL, `data`.

    Raises:
        ValueError: When `count` or `domain` is out of range, which is a mistake in the calling code.
    """
    if not 1 <= count <= hashlib.sha256().digest_size:
        raise ValueError(f"a checksum has 1 to 32 words, not {count}")
    if not domain or "\0" in domain:
        raise ValueError("the domain must be a text without NUL")
    digest = hashlib.sha256(b"keyturn/" + domain.encode() + b"\0" + data).digest()
    return tuple(BYTEWORDS[value] for value in digest[:count])
